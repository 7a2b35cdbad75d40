// Sums of a picture's groups of channels, and of their squares, over PART of its pixels. The group's first number is
// subtracted from each, so that the variance does not cancel in the difference of large sums.
//
// Set by the host: ELEMENT, the type of x; CHANNELS, which are neighbours in memory, GROUPS of them, and PIXELS; PICTURE_STRIDE
// and PIXEL_STRIDE in elements.

#define VECTOR 8
#define THREADS 256
#define SIZE (CHANNELS / GROUPS)
// Threads that share a pixel, and pixels that are read at once.
#define LANES (CHANNELS / VECTOR)
#define AT_ONCE (THREADS / LANES)

extern "C" __global__ void __launch_bounds__(THREADS) group_norm_sums(const ELEMENT* __restrict__ x, float* __restrict__ sums) {
  begin();
  const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
  x += blockIdx.y * PICTURE_STRIDE;
  float first[VECTOR], sum[VECTOR], squares[VECTOR];
  EACH(VECTOR) {
    first[e] = to_float(x[(lane * VECTOR + e) / SIZE * SIZE]);
    sum[e] = squares[e] = 0.0f;
  }
  const int end = min((int)(blockIdx.x + 1) * PART, PIXELS);
  for (int pixel = blockIdx.x * PART + row; row < AT_ONCE && pixel < end; pixel += AT_ONCE) {
    const Pack<ELEMENT, VECTOR> pack = *reinterpret_cast<const Pack<ELEMENT, VECTOR>*>(x + pixel * PIXEL_STRIDE + lane * VECTOR);
    EACH(VECTOR) {
      const float more = to_float(pack.at[e]) - first[e];
      sum[e] += more;
      squares[e] += more * more;
    }
  }
  __shared__ float parts[2][THREADS * VECTOR];
  EACH(VECTOR) {
    parts[0][threadIdx.x * VECTOR + e] = sum[e];
    parts[1][threadIdx.x * VECTOR + e] = squares[e];
  }
  __syncthreads();
  for (int group = threadIdx.x; group < GROUPS; group += THREADS) {
    float of_group[2] = {0.0f, 0.0f};
    for (int row = 0; row < AT_ONCE; ++row) {
      for (int channel = group * SIZE; channel < (group + 1) * SIZE; ++channel) {
        EACH(2) of_group[e] += parts[e][row * CHANNELS + channel];
      }
    }
    EACH(2) sums[((blockIdx.y * gridDim.x + blockIdx.x) * GROUPS + group) * 2 + e] = of_group[e];
  }
}
