// The mean of COLUMNS numbers of type ELEMENT, one block per row.
extern "C" __global__ void __launch_bounds__(THREADS) mean(const ELEMENT* __restrict__ x, float* __restrict__ to) {
  begin();
  x += blockIdx.x * (long long)COLUMNS;
  float sum = 0.0f;
  for (int column = threadIdx.x; column < COLUMNS; column += THREADS) sum += to_float(x[column]);
  sum = reduce<THREADS>(sum, Sum());
  if (threadIdx.x == 0) to[blockIdx.x] = sum / COLUMNS;
}
