// The index of the first of the largest of COLUMNS numbers, one warp per row.
extern "C" __global__ void __launch_bounds__(32) argmax(const int* __restrict__ x, int* __restrict__ to) {
  begin();
  x += blockIdx.x * (long long)COLUMNS;
  int most = x[0], at = 0;
  for (int column = threadIdx.x; column < COLUMNS; column += 32) {
    if (x[column] > most) most = x[column], at = column;
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const int other = __shfl_xor_sync(~0u, most, distance), other_at = __shfl_xor_sync(~0u, at, distance);
    if (other > most || (other == most && other_at < at)) most = other, at = other_at;
  }
  if (threadIdx.x == 0) to[blockIdx.x] = at;
}
