// Stages of tiles of x and W in shared memory, and their products by wgmma: parts of the kernels for products.

#define X_BYTES (TILE_ROWS * TILE_BYTES)
#define W_BYTES (TILE_COLUMNS * TILE_BYTES)
#define STAGE_BYTES (X_BYTES + W_BYTES)

// Starts adding the products of a stage once it has arrived; the first ones of a tile overwrite `sums`.
template <bool FIRST>
__device__ __forceinline__ void multiply_stage(sum_type (&sums)[SUMS], unsigned full, descriptor x, descriptor weight, int stage, int parity) {
  wait(full + stage * 8, parity);
  // Descriptors are in units of 16 bytes.
  const int start = stage * (STAGE_BYTES / 16);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
  for (int part = 0; part < TILE_BYTES / 32; ++part) {
    multiply(sums, x + start + part * 2, weight + start + part * 2, !FIRST || part > 0);
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
