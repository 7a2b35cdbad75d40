// Row r of the result is row index[r] of table r, each table having ROWS_APART rows; if that is 0, all rows are of one
// table. A row has WORDS times four bytes. An index outside of a table's TABLE_ROWS is clamped to its first or last row, so
// that nothing else is read.
extern "C" __global__ void __launch_bounds__(256) gather(const unsigned* __restrict__ table, const int* __restrict__ index, unsigned* __restrict__ to) {
  begin();
  const long long row = blockIdx.x, from = row * ROWS_APART + max(0, min(index[row], TABLE_ROWS - 1));
  const int word = blockIdx.y * 256 + threadIdx.x;
  if (word < WORDS) to[row * WORDS + word] = table[from * WORDS + word];
}
