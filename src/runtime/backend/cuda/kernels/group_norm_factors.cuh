// The factor and the summand of each of a picture's channels that normalise it group by group, computed from the sums of
// PARTS parts that group_norm_sums computes.
//
// Set by the host: ELEMENT, the type of x, weight and bias; CHANNELS, GROUPS, PIXELS and PARTS; PICTURE_STRIDE in elements; EPS.

#define SIZE (CHANNELS / GROUPS)

extern "C" __global__ void __launch_bounds__(1024)
    group_norm_factors(const ELEMENT* __restrict__ x, const float* __restrict__ sums, const ELEMENT* __restrict__ weight,
                       const ELEMENT* __restrict__ bias, float* __restrict__ factors, float* __restrict__ offsets) {
  begin();
  const int lane = threadIdx.x % 32, picture = blockIdx.x;
  for (int group = threadIdx.x / 32; group < GROUPS; group += 32) {
    float sum = 0.0f, squares = 0.0f;
    for (int part = lane; part < PARTS; part += 32) {
      const float* of_part = sums + ((picture * PARTS + part) * GROUPS + group) * 2;
      sum += of_part[0];
      squares += of_part[1];
    }
    const float more = reduce<32>(sum, Sum()) / (SIZE * (float)PIXELS);
    const float variance = fmaxf(reduce<32>(squares, Sum()) / (SIZE * (float)PIXELS) - more * more, 0.0f);
    const float mean = to_float(x[picture * PICTURE_STRIDE + group * SIZE]) + more, factor = rsqrtf(variance + EPS);
    for (int channel = group * SIZE + lane; channel < (group + 1) * SIZE; channel += 32) {
      const float scaled = factor * to_float(weight[channel]);
      factors[picture * CHANNELS + channel] = scaled;
      offsets[picture * CHANNELS + channel] = to_float(bias[channel]) - mean * scaled;
    }
  }
}
