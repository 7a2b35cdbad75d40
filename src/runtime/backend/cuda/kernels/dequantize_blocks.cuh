// Numbers of GGML's blocks: see `reflux_ir::BlockFormat`, whose roundings these are, one by one. A thread makes eight neighbours;
// BLOCK is how many elements and BLOCK_BYTES how many bytes a block has, DECODE its function, OUT the type of COUNT results.
typedef const unsigned char* Bytes;

__device__ __forceinline__ float half_at(Bytes at) {
  f16 half;
  half.bits = at[0] | at[1] << 8;
  return to_float(half);
}

__device__ __forceinline__ unsigned word_at(Bytes at) { return at[0] | at[1] << 8 | at[2] << 16 | (unsigned)at[3] << 24; }

__device__ __forceinline__ float scaled(float scale, int code, float least) { return __fadd_rn(__fmul_rn(scale, (float)code), least); }

__device__ __forceinline__ void q4_0(float* y, Bytes block, int first) {
  const float d = half_at(block);
  EACH(8) y[e] = __fmul_rn(d, (float)((block[2 + first % 16 + e] >> first / 16 * 4 & 15) - 8));
}

__device__ __forceinline__ void q4_1(float* y, Bytes block, int first) {
  const float d = half_at(block), m = half_at(block + 2);
  EACH(8) y[e] = scaled(d, block[4 + first % 16 + e] >> first / 16 * 4 & 15, m);
}

__device__ __forceinline__ void q5_0(float* y, Bytes block, int first) {
  const float d = half_at(block);
  const unsigned fifth = word_at(block + 2) >> first;
  EACH(8) y[e] = __fmul_rn(d, (float)((int)((block[6 + first % 16 + e] >> first / 16 * 4 & 15) | (fifth >> e & 1) << 4) - 16));
}

__device__ __forceinline__ void q5_1(float* y, Bytes block, int first) {
  const float d = half_at(block), m = half_at(block + 2);
  const unsigned fifth = word_at(block + 4) >> first;
  EACH(8) y[e] = scaled(d, (block[8 + first % 16 + e] >> first / 16 * 4 & 15) | (fifth >> e & 1) << 4, m);
}

__device__ __forceinline__ void q8_0(float* y, Bytes block, int first) {
  const float d = half_at(block);
  EACH(8) y[e] = __fmul_rn(d, (float)(signed char)block[2 + first + e]);
}

__device__ __forceinline__ void q2_k(float* y, Bytes block, int first) {
  const int scale = block[first / 16];
  const float d = __fmul_rn(half_at(block + 80), (float)(scale & 15)), least = __fmul_rn(half_at(block + 82), (float)(scale >> 4));
  EACH(8) y[e] = scaled(d, block[16 + first / 128 * 32 + first % 32 + e] >> first / 32 % 4 * 2 & 3, -least);
}

__device__ __forceinline__ void q3_k(float* y, Bytes block, int first) {
  const int of = first / 16;
  const int scale = (block[96 + of % 8] >> of / 8 * 4 & 15) | (block[104 + of % 4] >> of / 4 * 2 & 3) << 4;
  const float d = __fmul_rn(half_at(block + 108), (float)(scale - 32));
  EACH(8) {
    const int low = block[32 + first / 128 * 32 + first % 32 + e] >> first / 32 % 4 * 2 & 3;
    y[e] = __fmul_rn(d, (float)(low - (block[first % 32 + e] >> first / 32 & 1 ? 0 : 4)));
  }
}

// The scale and the minimum, of six bits each, of 32 of a block; the latter negative.
__device__ __forceinline__ void scale_and_least(Bytes block, int of, float& d, float& least) {
  Bytes packed = block + 4;
  const int scale = of < 4 ? packed[of] & 63 : (packed[of + 4] & 15) | (packed[of - 4] >> 2 & 48);
  const int by = of < 4 ? packed[of + 4] & 63 : packed[of + 4] >> 4 | (packed[of] >> 2 & 48);
  d = __fmul_rn(half_at(block), (float)scale), least = -__fmul_rn(half_at(block + 2), (float)by);
}

__device__ __forceinline__ void q4_k(float* y, Bytes block, int first) {
  const int of = first / 32;
  float d, least;
  scale_and_least(block, of, d, least);
  EACH(8) y[e] = scaled(d, block[16 + of / 2 * 32 + first % 32 + e] >> of % 2 * 4 & 15, least);
}

__device__ __forceinline__ void q5_k(float* y, Bytes block, int first) {
  const int of = first / 32;
  float d, least;
  scale_and_least(block, of, d, least);
  EACH(8) {
    const int low = block[48 + of / 2 * 32 + first % 32 + e] >> of % 2 * 4 & 15;
    y[e] = scaled(d, low | (block[16 + first % 32 + e] >> of & 1) << 4, least);
  }
}

__device__ __forceinline__ void q6_k(float* y, Bytes block, int first) {
  const int part = first / 128, within = first % 128;
  const float d = __fmul_rn(half_at(block + 208), (float)(signed char)block[192 + first / 16]);
  EACH(8) {
    const int low = block[part * 64 + within % 64 + e] >> within / 64 * 4 & 15;
    const int high = block[128 + part * 32 + within % 32 + e] >> within / 32 * 2 & 3;
    y[e] = __fmul_rn(d, (float)((low | high << 4) - 32));
  }
}

extern "C" __global__ void __launch_bounds__(256) dequantize_blocks(Bytes __restrict__ blocks, OUT* __restrict__ to) {
  begin();
  const long long first = (blockIdx.x * 256LL + threadIdx.x) * 8;
  if (first >= COUNT) return;
  float y[8];
  DECODE(y, blocks + first / BLOCK * BLOCK_BYTES, first % BLOCK);
  put<8>(to + first, y);
}
