// Products x · Wᵀ of few columns with an epilogue, for sm_90a.
//
// All columns are one tile, so there are too few tiles to fill the GPU and too little to multiply: what takes the time is
// fetching x. So SPLIT blocks, a cluster, divide the steps of a tile among themselves, and add up their sums in shared memory;
// each applies the epilogue to some of the rows.
//
// Set by the host: as for gemm_sm90.cuh, where a cluster is SPLIT blocks of the same rows; WIDTH, the columns of the tile, a
// multiple of 16.

#define OWN_ROWS (TILE_ROWS / SPLIT)

// The sums of a row and four neighbouring columns in the memory of a block of the cluster.
__device__ __forceinline__ void add_from(sum_type (&sums)[4], unsigned address, int block) {
  unsigned there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
  unsigned words[4];
  asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(there) : "memory");
  EACH(4) sums[e] += *reinterpret_cast<sum_type*>(&words[e]);
}

extern "C" __global__ void __cluster_dims__(SPLIT, 1, 1) __launch_bounds__(160)
    gemm(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap weight_map PARAMETERS) {
  extern __shared__ char memory[];
  const unsigned base = (shared_address(memory) + 1023) & ~1023u;
  const unsigned full = base + STAGES * STAGE_BYTES, empty = full + STAGES * 8;
  const int tile = blockIdx.x / SPLIT, block = blockIdx.x % SPLIT;
  const int first = STEPS * block / SPLIT, last = STEPS * (block + 1) / SPLIT;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < STAGES; ++stage) {
      make_barrier(full + stage * 8, 1);
      make_barrier(empty + stage * 8, 1);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  begin();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  sum_type sums[SUMS];
  int stage = 0, parity = 0;
  if (warp == 4) {
    for (int step = first; step < last && lane == 0; ++step) {
      // Stages start out empty, as if a round before the first had been read.
      wait(empty + stage * 8, parity ^ 1);
      const unsigned to = base + stage * STAGE_BYTES, barrier = full + stage * 8;
      arrive_with_bytes(barrier, STAGE_BYTES);
      fetch_x(to, &x_map, step, tile, barrier);
      fetch(to + X_BYTES, &weight_map, step * (TILE_BYTES / ELEMENT_BYTES), 0, 0, 0, barrier);
      if (++stage == STAGES) stage = 0, parity ^= 1;
    }
  } else {
    const descriptor x = describe(base), weight = describe(base + X_BYTES);
    EACH(SUMS) sums[e] = 0;
    int before = -1;
    // Where ptxas knows how many steps there are, it unrolls the loop, and then waits for each product before the next.
#pragma unroll 1
    for (int step = first; step < last; ++step) {
      multiply_stage<false>(sums, full, x, weight, stage, parity);
      // The products of the preceding stage have been computed, so it can be released.
      asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
      if (threadIdx.x == 0 && before >= 0) arrive(empty + before * 8);
      before = stage;
      if (++stage == STAGES) stage = 0, parity ^= 1;
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  // All stages have been read, and their memory takes the sums.
  __syncthreads();
  if (warp < 4) {
#pragma unroll
    for (int sum = 0; sum < SUMS; sum += 2) {
      const int row = warp * 16 + lane / 4 + sum / 2 % 2 * 8, column = sum / 4 * 8 + lane % 4 * 2;
      sum_type* const to = reinterpret_cast<sum_type*>(memory + (base - shared_address(memory))) + row * TILE_COLUMNS + column;
      *reinterpret_cast<Pack<sum_type, 2>*>(to) = Pack<sum_type, 2>{{sums[sum], sums[sum + 1]}};
    }
  }
  meet_cluster();
  for (int item = threadIdx.x; item < OWN_ROWS / 4 * (TILE_COLUMNS / 8); item += blockDim.x) {
    const int column = item % (TILE_COLUMNS / 8) * 8, row = block * OWN_ROWS + item / (TILE_COLUMNS / 8) * 4;
    float acc[4][8];
    int rows[4];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      sum_type whole[4] = {0, 0, 0, 0};
      for (int other = 0; other < SPLIT; ++other) {
        add_from(whole, base + ((row + i / 2) * TILE_COLUMNS + column + i % 2 * 4) * 4, other);
      }
      EACH(4) acc[i / 2][i % 2 * 4 + e] = (float)whole[e];
    }
    EACH(4) rows[e] = row_at(tile, row + e);
    finish(acc, rows, column ARGUMENTS);
  }
  // No block may exit while another one can still read its sums.
  meet_cluster();
}
