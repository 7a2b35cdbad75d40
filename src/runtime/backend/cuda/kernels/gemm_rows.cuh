// Products of matrices: a tile has TILE_ROWS rows, and a step multiplies TILE_BYTES of their FEATURES.

#define TILE_BYTES 128
#define STEPS ((FEATURES * ELEMENT_BYTES + TILE_BYTES - 1) / TILE_BYTES)
#define ROW_TILES ((ROWS + TILE_ROWS - 1) / TILE_ROWS)
#define IS_RAGGED (ROWS % (TILE_ROWS * CLUSTER) != 0)

__device__ __forceinline__ void fetch_x(unsigned to, const TensorMap* map, int step, int tile, unsigned barrier) {
  fetch(to, map, step * (TILE_BYTES / ELEMENT_BYTES), tile * TILE_ROWS, 0, 0, barrier);
}

__device__ __forceinline__ void fetch_weight(unsigned to, const TensorMap* map, int step, int column, unsigned barrier) {
  fetch_for_all(to, map, step * (TILE_BYTES / ELEMENT_BYTES), column, 0, 0, barrier, CLUSTER);
}

__device__ __forceinline__ int row_at(int tile, int row) { return tile * TILE_ROWS + row; }
