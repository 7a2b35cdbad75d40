// Products that are added to the sums of another one, as further steps of its tiles: parts of gemm_sm90.cuh.
//
// Set by the host: ROW_SCALE and COLUMN_SCALE, which make numbers of the sums, if IS_SCALED; SCALES, their parameters; and
// `multiply_added(numbers, x, weight, add)`, which starts the product of 64 rows and 32 bytes of bf16.

// Sums as numbers. A thread has pairs of each eight columns of two rows, eight apart.
#if IS_SCALED
__device__ __forceinline__ void scale_sums(float (&numbers)[SUMS], const sum_type (&sums)[SUMS], int row, int column SCALES) {
  const float scales[2] = {ROW_SCALE(min(row, ROWS - 1)), ROW_SCALE(min(row + 8, ROWS - 1))};
#pragma unroll
  for (int sum = 0; sum < SUMS; sum += 4) {
    EACH(2) {
      const float scale = COLUMN_SCALE(min(column + sum * 2 + e, COLUMNS - 1));
      numbers[sum + e] = (float)sums[sum + e] * scales[0] * scale;
      numbers[sum + 2 + e] = (float)sums[sum + 2 + e] * scales[1] * scale;
    }
  }
}
#endif

// Adds the products of a stage once it has arrived.
__device__ __forceinline__ void add_stage(float (&numbers)[SUMS], unsigned full, descriptor x, descriptor weight, int stage, int parity) {
  wait(full + stage * 8, parity);
  const int start = stage * (STAGE_BYTES / 16);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
  for (int part = 0; part < TILE_BYTES / 32; ++part) multiply_added(numbers, x + start + part * 2, weight + start + part * 2, 1);
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}

__device__ __forceinline__ void fetch_tiles(unsigned x_to, unsigned weight_to, const TensorMap* x, const TensorMap* weight, int step, int tile, int column, unsigned barrier) {
  fetch(x_to, x, step * (TILE_BYTES / 2), tile * TILE_ROWS, 0, 0, barrier);
  fetch_for_all(weight_to, weight, step * (TILE_BYTES / 2), column, 0, 0, barrier, CLUSTER);
}
