// Codes of COUNT numbers with one scale, computed from the largest magnitudes of PARTS parts. ROUND rounds to the scale's
// dtype, and MOST is the code of the largest number. Goes from the last number to the first, since the last ones may still
// be in the cache.
extern "C" __global__ void __launch_bounds__(THREADS)
    quantize_tensor(const ELEMENT* __restrict__ x, const float* __restrict__ parts, CODE* __restrict__ codes, float* __restrict__ scales) {
  begin();
  float most = 0.0f;
  for (int part = threadIdx.x; part < PARTS; part += THREADS) most = Largest()(most, parts[part]);
  const float scale = scale_of(reduce<THREADS>(most, Largest()), MOST, EPS, ROUND);
  if (blockIdx.x == 0 && threadIdx.x == 0) scales[0] = scale;
#pragma unroll 4
  for (long long back = blockIdx.x * (long long)THREADS + threadIdx.x; back < COUNT / VECTOR; back += gridDim.x * (long long)THREADS) {
    const long long first = (COUNT / VECTOR - 1 - back) * VECTOR;
    float y[VECTOR];
    take<VECTOR>(y, x + first);
    Pack<CODE, VECTOR> pack;
    EACH(VECTOR) pack.at[e] = ENCODE(ROUND(y[e]), scale, ROUND);
    *reinterpret_cast<Pack<CODE, VECTOR>*>(codes + first) = pack;
  }
}
