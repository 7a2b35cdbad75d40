// Row r of the result is row index[r] of table number r, of which each has ROWS_APART rows; with 0, of the same table for all.
// Rows are of WORDS times four bytes. A number beyond a table's TABLE_ROWS is that of its last or first row, so that nothing else
// is read.
extern "C" __global__ void __launch_bounds__(256) gather(const unsigned* __restrict__ table, const int* __restrict__ index, unsigned* __restrict__ to) {
  begin();
  const long long row = blockIdx.x, from = row * ROWS_APART + max(0, min(index[row], TABLE_ROWS - 1));
  const int word = blockIdx.y * 256 + threadIdx.x;
  if (word < WORDS) to[row * WORDS + word] = table[from * WORDS + word];
}
