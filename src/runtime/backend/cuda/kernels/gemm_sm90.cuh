// Products x · Wᵀ with an epilogue, for sm_90a.
//
// A warpgroup fetches tiles of x and W by TMA, STAGES of them ahead; two others multiply them by wgmma, 64 rows of the tile
// each, their sums in registers. Blocks are persistent and compute tile after tile, so that the next tile's first stages
// arrive while the last one is written. CLUSTER blocks with neighbouring rows share the tile of W; each fetches a part of it
// for all.
//
// Set by the host: ROWS and COLUMNS of the product; TILE_COLUMNS, a multiple of 16; CLUSTER and STAGES; ELEMENT_BYTES of x
// and W; PARAMETERS and ARGUMENTS of `finish(sums, rows, first)`, which applies the epilogue to eight neighbours of four
// rows and stores those that are part of the product; and
// - `multiply(sums, x, weight, add)`, which starts the product of 64 rows and 32 bytes of their features to SUMS `sum_type`s;
// - what tells products of matrices from convolutions: ROW_TILES, tiles one below the other; STEPS, each over TILE_BYTES of what
//   is summed up; IS_RAGGED, whether tiles reach beyond the product; `fetch_x` and `fetch_weight` of a step; and `row_at`, which row of the product a row of a tile is;
// - IS_SUM, whether products are added to some columns (gemm_added.cuh), `added_steps` that they take in a tile, and `fetch_added`.

#define GROUP 8

// The size of a warp's staging: 64 columns of eight rows.
#define CHUNK 64
#define STAGING_BYTES (8 * CHUNK * 4)

#if IS_SUM
typedef float number_type;
#else
typedef sum_type number_type;
#endif

// Where staging has a number: no two of those that a warp writes, or reads, at a time are in the same bank.
__device__ __forceinline__ int staged_at(int row, int column) { return row * CHUNK + (column ^ column / 32 * 4 ^ row % 4 * 8); }

// A chunk of columns of eight of a warp's 16 rows, the lower half or the upper: a thread has pairs of each eight columns of one.
__device__ __forceinline__ void stage_sums(const number_type (&sums)[SUMS], int chunk, int half, float* staging, int lane) {
#pragma unroll
  for (int column = 0; column < CHUNK; column += 8) {
    const int sum = (chunk * CHUNK + column) / 2 + half * 2;
    if (sum < SUMS) {
      *reinterpret_cast<Pack<number_type, 2>*>(staging + staged_at(lane / 4, column + lane % 4 * 2)) = Pack<number_type, 2>{{sums[sum], sums[sum + 1]}};
    }
  }
}

// The tile of this number: its first row in tiles of a cluster, and its column in tiles. Tiles that are computed at the same
// time form a square, so that what they read is in the cache.
__device__ __forceinline__ void tile_at(int index, int& row, int& column) {
  const int rows = (ROW_TILES + CLUSTER - 1) / CLUSTER;
  const int columns = (COLUMNS + TILE_COLUMNS - 1) / TILE_COLUMNS;
  const int group = index / (GROUP * columns), rest = index % (GROUP * columns);
  const int height = min(GROUP, rows - group * GROUP);
  row = group * GROUP + rest % height;
  column = rest / height;
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(384, 1)
    gemm(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap weight_map ADDED_MAPS PARAMETERS) {
  extern __shared__ char memory[];
  const unsigned base = (shared_address(memory) + 1023) & ~1023u;
  const unsigned staging = base + STAGES * STAGE_BYTES;
  const unsigned full = staging + 8 * STAGING_BYTES, empty = full + STAGES * 8;
  const int group = threadIdx.x / 128, block = CLUSTER > 1 ? blockIdx.x % CLUSTER : 0;
  const int tiles = ((ROW_TILES + CLUSTER - 1) / CLUSTER) * ((COLUMNS + TILE_COLUMNS - 1) / TILE_COLUMNS);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < STAGES; ++stage) {
      make_barrier(full + stage * 8, 1);
      make_barrier(empty + stage * 8, 2 * CLUSTER);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (CLUSTER > 1) meet_cluster();
  begin();

  int stage = 0, parity = 0;
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 0) {
      for (int index = blockIdx.x / CLUSTER; index < tiles; index += gridDim.x / CLUSTER) {
        int row, column;
        tile_at(index, row, column);
        const int first_column = column * TILE_COLUMNS;
        for (int step = 0; step < STEPS; ++step) {
          // Stages start out empty, as if a round before the first had been read.
          wait(empty + stage * 8, parity ^ 1);
          const unsigned to = base + stage * STAGE_BYTES, barrier = full + stage * 8;
          arrive_with_bytes(barrier, STAGE_BYTES);
          fetch_x(to, &x_map, step, row * CLUSTER + block, barrier);
          const int part = block * (TILE_COLUMNS / CLUSTER);
          fetch_weight(to + X_BYTES + part * TILE_BYTES, &weight_map, step, first_column + part, barrier);
          if (++stage == STAGES) stage = 0, parity ^= 1;
        }
#if IS_SUM
        for (int step = 0; step < added_steps(first_column); ++step) {
          wait(empty + stage * 8, parity ^ 1);
          const unsigned to = base + stage * STAGE_BYTES, barrier = full + stage * 8;
          arrive_with_bytes(barrier, STAGE_BYTES);
          const int part = block * (TILE_COLUMNS / CLUSTER);
          fetch_added(to, to + X_BYTES + part * TILE_BYTES, step, row * CLUSTER + block, first_column, part, barrier ADDED_ARGUMENTS);
          if (++stage == STAGES) stage = 0, parity ^= 1;
        }
#endif
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int half = group - 1, warp = (threadIdx.x / 32) % 4, lane = threadIdx.x % 32;
    float* const own = reinterpret_cast<float*>(memory + (staging - shared_address(memory)) + (half * 4 + warp) * STAGING_BYTES);
    const descriptor x = describe(base + half * 64 * TILE_BYTES), weight = describe(base + X_BYTES);
    for (int index = blockIdx.x / CLUSTER; index < tiles; index += gridDim.x / CLUSTER) {
      int row, tile_column;
      tile_at(index, row, tile_column);
      const int first_column = tile_column * TILE_COLUMNS;
      sum_type sums[SUMS];
      multiply_stage<true>(sums, full, x, weight, stage, parity);
      for (int step = 1; step < STEPS; ++step) {
        const int last = stage;
        if (++stage == STAGES) stage = 0, parity ^= 1;
        multiply_stage<false>(sums, full, x, weight, stage, parity);
        // The products of the preceding stage have been computed, so it can be released.
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        if (threadIdx.x % 128 < CLUSTER) arrive_at(empty + last * 8, threadIdx.x % 128);
      }
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      if (threadIdx.x % 128 < CLUSTER) arrive_at(empty + stage * 8, threadIdx.x % 128);
      if (++stage == STAGES) stage = 0, parity ^= 1;
#if IS_SUM && IS_SCALED
      float numbers[SUMS];
      scale_sums(numbers, sums, row_at(row * CLUSTER + block, half * 64 + warp * 16 + lane / 4), first_column + lane % 4 * 2 SCALE_ARGUMENTS);
#else
      number_type (&numbers)[SUMS] = sums;
#endif
#if IS_SUM
      for (int step = added_steps(first_column); step > 0; --step) {
        add_stage(numbers, full, x, weight, stage, parity);
        if (threadIdx.x % 128 < CLUSTER) arrive_at(empty + stage * 8, threadIdx.x % 128);
        if (++stage == STAGES) stage = 0, parity ^= 1;
      }
#endif

      // Through shared memory, a thread gets eight neighbours, which it moves in one access, and eight threads a whole cache
      // line.
      const int column = lane % 8 * 8;
      int rows[4];
      EACH(4) rows[e] = row_at(row * CLUSTER + block, half * 64 + warp * 16 + e * 4 + lane / 8);
// Not unrolled: copies of `finish` for all chunks would not fit into the instruction cache.
#pragma unroll 1
      for (int chunk = 0; chunk * CHUNK < TILE_COLUMNS; ++chunk) {
        float acc[4][8];
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          __syncwarp();
          // Registers must be known at compile time.
#pragma unroll
          for (int known = 0; known * CHUNK < TILE_COLUMNS; ++known) {
            if (known == chunk) stage_sums(numbers, known, part, own, lane);
          }
          __syncwarp();
#pragma unroll
          for (int i = 0; i < 16; i += 4) {
            const int from = staged_at(lane / 8 + i / 8 * 4, column + i % 8);
            const Pack<number_type, 4> pack = *reinterpret_cast<const Pack<number_type, 4>*>(own + from);
            EACH(4) acc[part * 2 + i / 8][i % 8 + e] = (float)pack.at[e];
          }
        }
        if (TILE_COLUMNS % CHUNK == 0 || chunk * CHUNK + column < TILE_COLUMNS) finish(acc, rows, first_column + chunk * CHUNK + column ARGUMENTS);
      }
    }
  }
  // No block may exit while another one can still arrive at its barriers.
  if (CLUSTER > 1) {
    __syncthreads();
    meet_cluster();
  }
}
