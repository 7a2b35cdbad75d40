// Convolutions of BATCH pictures of HEIGHT by WIDTH with CHANNELS channels, which are neighbours in memory, as products
// without the matrix: a tile has TILE_HEIGHT by TILE_WIDTH pixels, and a step multiplies TILE_BYTES of the channels at one
// of the KERNEL * KERNEL positions of the weight, shifted by that position less PADDING. Pixels outside of the picture are
// zero.

#define TILE_BYTES 128
#define TILE_CHANNELS (TILE_BYTES / ELEMENT_BYTES)
#define SLICES ((CHANNELS + TILE_CHANNELS - 1) / TILE_CHANNELS)
#define STEPS (KERNEL * KERNEL * SLICES)
#define TILES_X ((WIDTH + TILE_WIDTH - 1) / TILE_WIDTH)
#define TILES_Y ((HEIGHT + TILE_HEIGHT - 1) / TILE_HEIGHT)
#define ROW_TILES (BATCH * TILES_Y * TILES_X)
#define IS_RAGGED (WIDTH % TILE_WIDTH != 0 || HEIGHT % TILE_HEIGHT != 0 || ROW_TILES % CLUSTER != 0)

__device__ __forceinline__ void fetch_x(unsigned to, const TensorMap* map, int step, int tile, unsigned barrier) {
  const int place = step / SLICES, x = tile % TILES_X * TILE_WIDTH, y = tile / TILES_X % TILES_Y * TILE_HEIGHT;
  fetch(to, map, step % SLICES * TILE_CHANNELS, x + place % KERNEL - PADDING, y + place / KERNEL - PADDING, tile / (TILES_X * TILES_Y), barrier);
}

__device__ __forceinline__ void fetch_weight(unsigned to, const TensorMap* map, int step, int column, unsigned barrier) {
  fetch_for_all(to, map, step % SLICES * TILE_CHANNELS, step / SLICES, column, 0, barrier, CLUSTER);
}

// The row of a pixel; ROWS, which is out of range, outside of the picture.
__device__ __forceinline__ int row_at(int tile, int row) {
  const int x = tile % TILES_X * TILE_WIDTH + row % TILE_WIDTH, y = tile / TILES_X % TILES_Y * TILE_HEIGHT + row / TILE_WIDTH;
  const int picture = tile / (TILES_X * TILES_Y);
  return x < WIDTH && y < HEIGHT && picture < BATCH ? (picture * HEIGHT + y) * WIDTH + x : ROWS;
}
