// The largest magnitude of the part of COUNT numbers that each of PARTS blocks reads, rounded by ROUND.
extern "C" __global__ void __launch_bounds__(THREADS) largest(const ELEMENT* __restrict__ x, float* __restrict__ parts) {
  begin();
  float most = 0.0f;
#pragma unroll 4
  for (long long at = blockIdx.x * (long long)THREADS + threadIdx.x; at < COUNT / VECTOR; at += PARTS * (long long)THREADS) {
    float y[VECTOR];
    take<VECTOR>(y, x + at * VECTOR);
    EACH(VECTOR) most = Largest()(most, ROUND(y[e]));
  }
  most = reduce<THREADS>(most, Largest());
  if (threadIdx.x == 0) parts[blockIdx.x] = most;
}
