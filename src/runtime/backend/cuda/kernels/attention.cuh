// Attention of bf16 heads of 64 or 128: softmax(scale * q k^T + bias) v, by tiles (FlashAttention-2: Dao, 2023).
//
// A block computes QUERIES queries of one head, 16 per warp, and passes over the keys KEYS at a time; keys and values of the
// next pass are fetched while this one is computed. Scores are f32, and stay in registers.
//
// Set by the host: DIM, elements of a head; QUERIES_TOTAL, KEYS_TOTAL; SCALE_LOG2 (the scale times log2 e); IS_CAUSAL, whether a
// query sees no later keys; HAS_BIAS; and for each of Q, K, V, O the distance in elements of one batch, token and head from the
// next, as in Q_BATCH, Q_TOKEN, Q_HEAD. For the bias, tokens are the queries; the keys are contiguous.

#define WARPS 8
#define QUERIES (16 * WARPS)
#define KEYS 64

// The factor of scores for powers of two. With a bias, they have been multiplied already.
#define LOG2_E 1.4426950408889634
#define UNIT (HAS_BIAS ? 1.0f : (float)SCALE_LOG2)

typedef unsigned short half_bits;

__device__ __forceinline__ float bf16_bits(half_bits x) { return __uint_as_float((unsigned)x << 16); }

// Rows of DIM elements, in units of 8; the unit is swapped by the row so that eight rows of one column do not collide.
__device__ __forceinline__ int place(int row, int unit) { return row * DIM + ((unit ^ (row & 7)) * 8); }

__device__ __forceinline__ void copy_async(unsigned to, const void* from, bool inside) {
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ROWS rows of DIM elements from `first` on; rows beyond the last of `total` are zero.
template <int ROWS>
__device__ __forceinline__ void fetch(half_bits* to, const half_bits* from, long long stride, int first, int total) {
#pragma unroll
  for (int i = 0; i < ROWS * (DIM / 8) / (WARPS * 32); ++i) {
    const int index = i * WARPS * 32 + threadIdx.x;
    const int row = index / (DIM / 8), unit = index % (DIM / 8);
    const bool inside = first + row < total;
    copy_async(shared_address(to + place(row, unit)), from + (inside ? first + row : 0) * stride + unit * 8, inside);
  }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)
    attention(const half_bits* __restrict__ q, const half_bits* __restrict__ k, const half_bits* __restrict__ v, half_bits* __restrict__ o
#if HAS_BIAS
              , const half_bits* __restrict__ bias
#endif
    ) {
  extern __shared__ __align__(128) half_bits memory[];
  half_bits* q_tile = memory;
  half_bits* k_tiles = q_tile + QUERIES * DIM;
  half_bits* v_tiles = k_tiles + 2 * KEYS * DIM;
  const int first_query = blockIdx.x * QUERIES, head = blockIdx.y, batch = blockIdx.z;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  q += batch * (long long)Q_BATCH + head * (long long)Q_HEAD;
  k += batch * (long long)K_BATCH + head * (long long)K_HEAD;
  v += batch * (long long)V_BATCH + head * (long long)V_HEAD;
  o += batch * (long long)O_BATCH + head * (long long)O_HEAD;
#if HAS_BIAS
  bias += batch * (long long)BIAS_BATCH + head * (long long)BIAS_HEAD;
#endif
  const int seen = IS_CAUSAL ? min(first_query + QUERIES, KEYS_TOTAL) : KEYS_TOTAL, passes = (seen + KEYS - 1) / KEYS;
  begin();

  fetch<QUERIES>(q_tile, q, Q_TOKEN, first_query, QUERIES_TOTAL);
  fetch<KEYS>(k_tiles, k, K_TOKEN, 0, KEYS_TOTAL);
  asm volatile("cp.async.commit_group;");
  fetch<KEYS>(v_tiles, v, V_TOKEN, 0, KEYS_TOTAL);
  asm volatile("cp.async.commit_group;");

  unsigned q_parts[DIM / 16][4];
  float out[DIM / 8][4];
#pragma unroll
  for (int n = 0; n < DIM / 8; ++n) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0.0f;
  // For the two rows that a thread holds a part of.
  float largest[2] = {-1e30f, -1e30f}, total[2] = {0.0f, 0.0f};

  for (int pass = 0; pass < passes; ++pass) {
    const half_bits* k_tile = k_tiles + (pass & 1) * KEYS * DIM;
    const half_bits* v_tile = v_tiles + (pass & 1) * KEYS * DIM;
    const int next = pass + 1;
    // The keys of this pass have arrived; its values may still be in flight.
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
    if (pass == 0) {
#pragma unroll
      for (int d = 0; d < DIM / 16; ++d) {
        const int row = warp * 16 + lane % 16;
        load_matrices(q_parts[d], shared_address(q_tile + place(row, d * 2 + lane / 16)));
      }
    }
    if (next < passes) fetch<KEYS>(k_tiles + (next & 1) * KEYS * DIM, k, K_TOKEN, next * KEYS, KEYS_TOTAL);
    asm volatile("cp.async.commit_group;");

    float scores[KEYS / 8][4];
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) scores[n][0] = scores[n][1] = scores[n][2] = scores[n][3] = 0.0f;
#pragma unroll
    for (int d = 0; d < DIM / 16; ++d) {
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        // Sixteen keys by sixteen of their elements: matrices in the order keys 0-7, 8-15 by elements 0-7, then 8-15.
        unsigned part[4];
        const int row = n * 16 + lane % 16;
        load_matrices(part, shared_address(k_tile + place(row, d * 2 + lane / 16)));
        multiply(scores[n * 2], q_parts[d], part[0], part[2]);
        multiply(scores[n * 2 + 1], q_parts[d], part[1], part[3]);
      }
    }
    const int query = first_query + warp * 16 + lane / 4;
#if HAS_BIAS
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = min(query + i / 2 * 8, QUERIES_TOTAL - 1), key = min(pass * KEYS + n * 8 + (lane % 4) * 2 + i % 2, KEYS_TOTAL - 1);
        scores[n][i] = scores[n][i] * (float)SCALE_LOG2 + bf16_bits(bias[row * (long long)BIAS_TOKEN + key]) * (float)LOG2_E;
      }
    }
#endif
    if ((pass + 1) * KEYS > KEYS_TOTAL) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) {
        const int key = pass * KEYS + n * 8 + (lane % 4) * 2;
        if (key >= KEYS_TOTAL) scores[n][0] = scores[n][2] = -1e30f;
        if (key + 1 >= KEYS_TOTAL) scores[n][1] = scores[n][3] = -1e30f;
      }
    }
    if (IS_CAUSAL && (pass + 1) * KEYS > first_query) {
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (pass * KEYS + n * 8 + (lane % 4) * 2 + i % 2 > query + i / 2 * 8) scores[n][i] = -1e30f;
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) most = fmaxf(most, fmaxf(scores[n][half * 2], scores[n][half * 2 + 1]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      const float shrink = exp2_approximate((largest[half] - most) * UNIT);
      largest[half] = most;
      const float base = most * UNIT;
      float sum = 0.0f;
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][half * 2 + i];
          score = exp2_approximate(score * UNIT - base);
          sum += score;
        }
      }
      total[half] = total[half] * shrink + sum;
#pragma unroll
      for (int n = 0; n < DIM / 8; ++n) {
        out[n][half * 2] *= shrink;
        out[n][half * 2 + 1] *= shrink;
      }
    }
    // The values of this pass have arrived; the keys of the next one may be in flight.
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
    if (next < passes) fetch<KEYS>(v_tiles + (next & 1) * KEYS * DIM, v, V_TOKEN, next * KEYS, KEYS_TOTAL);
    asm volatile("cp.async.commit_group;");
#pragma unroll
    for (int n = 0; n < KEYS / 16; ++n) {
      const unsigned weights[4] = {pack(scores[2 * n][0], scores[2 * n][1]), pack(scores[2 * n][2], scores[2 * n][3]),
                                   pack(scores[2 * n + 1][0], scores[2 * n + 1][1]), pack(scores[2 * n + 1][2], scores[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < DIM / 16; ++d) {
        unsigned part[4];
        const int row = n * 16 + lane % 16;
        load_matrices_transposed(part, shared_address(v_tile + place(row, d * 2 + lane / 16)));
        multiply(out[d * 2], weights, part[0], part[1]);
        multiply(out[d * 2 + 1], weights, part[2], part[3]);
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int query = first_query + warp * 16 + half * 8 + lane / 4;
    if (query >= QUERIES_TOTAL) continue;
    const float factor = 1.0f / total[half];
#pragma unroll
    for (int n = 0; n < DIM / 8; ++n) {
      unsigned* to = reinterpret_cast<unsigned*>(o + query * (long long)O_TOKEN + n * 8 + (lane % 4) * 2);
      *to = pack(out[n][half * 2] * factor, out[n][half * 2 + 1] * factor);
    }
  }
}
