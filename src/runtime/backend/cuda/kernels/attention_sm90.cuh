// Attention with heads of 128 on Hopper: softmax(scale * q k^T) v, non-causal (FlashAttention-3: Shah et al., 2024).
//
// A block has one warp group that fetches, by TMA, and two that compute, with 64 queries each, which they keep in registers. They pass over
// the keys KEYS at a time, from the last to the first, so that only the first pass has keys to mask. While a group weighs the scores of one
// pass the tensor cores add up the values of the pass before; and the two groups take turns at starting products, so that one
// weighs while the products of the other run. Scores, weights and sums stay in registers.
//
// Blocks are persistent; what they do one after the other is in attention_pieces.cuh. The blocks of a cluster have queries of the same head:
// each fetches a part of its keys and values, for all.
//
// Where the host knows a bound of all scores, and it is small, weights are exponentials of the scores themselves: they stay within
// f32's range, and bf16's is the same. Then no largest score of a row is looked for, which takes a tenth of the time.
//
// Values and weights are bf16. So are queries and keys, or they are codes of 8 bits with a scale for each row, e4m3 with CODES 1, i8 with
// CODES 2: their products take half the time. The scales of a pass's keys are fetched beside them, by a warp of the first group, which also looks
// whether all are the same: then nothing is left to multiply each score with, which takes an eighth of the time.
//
// Set by the host: CODES; KEYS, a multiple of 32, K_STAGES and V_STAGES; CLUSTER and CLUSTERS;
// `multiply(scores, q, k, add)`, which starts the product of 64 queries, in registers, KEYS keys and 32 bytes of their elements; QUERIES_TOTAL,
// KEYS_TOTAL, HEADS, BATCHES, SCALE_LOG2 (the scale times log2 e, above zero), HAS_BOUND, and the distance in elements of one batch, token
// and head of O from the next, as in O_BATCH, O_TOKEN, O_HEAD, all multiples of 8, as is where O starts; of codes, those of the scales, as in
// QS_BATCH and KS_BATCH. The maps of Q, K and V are of four dimensions, innermost first 128 elements, heads, tokens, batch, with boxes of
// 128 bytes, 1, QUERIES or KEYS / CLUSTER, 1, swizzled by 128 bytes and zero outside.

#if CODES
#define FACTORS , const float* __restrict__ q_scales, const float* __restrict__ k_scales
#define FACTORS_OF , q_scales, k_scales
#else
#define FACTORS
#define FACTORS_OF
#endif

#if HAS_BOUND
#define BOUND , const float* __restrict__ bound
#else
#define BOUND
#endif

#if IS_DIVIDED
#define DIVIDED , float* __restrict__ partials, unsigned* signals
#define DIVIDED_OF , partials, signals
#else
#define DIVIDED
#define DIVIDED_OF
#endif

// Arrives at a barrier, if `is_here`.
__device__ __forceinline__ void arrive(unsigned barrier, bool is_here) {
  asm volatile("{\n.reg .pred here;\nsetp.ne.b32 here, %1, 0;\n@here mbarrier.arrive.shared::cta.b64 _, [%0];\n}" ::"r"(barrier), "r"((int)is_here) : "memory");
}

// A warp is done with a stage: says so to all blocks of the cluster, which fetch parts of the next.
__device__ __forceinline__ void release(unsigned barrier, int lane) {
#if CLUSTER > 1
  // As `arrive_at`, without a branch.
  asm volatile(
      "{\n"
      ".reg .pred here;\n"
      ".reg .b32 there;\n"
      "setp.lt.s32 here, %1, %2;\n"
      "@here mapa.shared::cluster.u32 there, %0, %1;\n"
      "@here mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(barrier), "r"(lane), "n"(CLUSTER)
      : "memory");
#else
  arrive(barrier, lane == 0);
#endif
}

// Rows from `token` on, as boxes of `box` bytes, to shared memory; the bytes count at the barrier.
template <int BOXES>
__device__ __forceinline__ void fetch(unsigned to, int box, const TensorMap& map, int head, int token, int batch, unsigned barrier) {
#pragma unroll
  for (int half = 0; half < BOXES; ++half) {
    fetch(to + half * box, &map, half * 64, head, token, batch, barrier);
  }
}

// A block's part of a pass's rows, to all blocks of the cluster.
template <int BOXES>
__device__ __forceinline__ void fetch_part(unsigned to, int box, const TensorMap& map, int head, int token, int batch, unsigned barrier, int block) {
  constexpr int PART = KEYS / CLUSTER;
#pragma unroll
  for (int half = 0; half < BOXES; ++half) {
#if CLUSTER > 1
    fetch_for_all(to + half * box + block * (PART * 128), &map, half * 64, head, token + block * PART, batch, barrier, CLUSTER);
#else
    fetch(to + half * box, &map, half * 64, head, token, batch, barrier);
#endif
  }
}

// Another group passes on the turn to start products.
__device__ __forceinline__ void take_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void give_turn(int group) { asm volatile("bar.arrive %0, 256;" ::"r"(group == GROUPS - 1 ? 1 : 2 + group) : "memory"); }

// Divides the rows that a thread has parts of by their totals, and stores them. The four threads of a row have two elements of each
// eight: they swap until each has eight in a row.
__device__ __forceinline__ void store(float (&out)[OUT], float (&total)[2], bf16* o, int first_query, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (HAS_ONES) {
      total[half] = out[OUT - 4 + half * 2];
    } else {
      total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
      total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    }
    const float factor = reciprocal_approximate(total[half]);
    const int query = first_query + half * 8 + lane / 4;
    const bool is_odd = lane & 1, is_upper = lane & 2;
#pragma unroll
    for (int n = 0; n < DIM / 8; n += 4) {
      unsigned x[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = pack(out[(n + i) * 4 + half * 2] * factor, out[(n + i) * 4 + half * 2 + 1] * factor);
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const unsigned got = __shfl_xor_sync(0xffffffffu, is_odd ? x[i] : x[i + 1], 1);
        (is_odd ? x[i] : x[i + 1]) = got;
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const unsigned got = __shfl_xor_sync(0xffffffffu, is_upper ? x[i] : x[i + 2], 2);
        (is_upper ? x[i] : x[i + 2]) = got;
      }
      if (query < QUERIES_TOTAL) *reinterpret_cast<uint4*>(o + query * (long long)O_TOKEN + (n + lane % 4) * 8) = make_uint4(x[0], x[1], x[2], x[3]);
    }
  }
}

// The addresses of tiles and barriers, those of stages of the first.
struct Shared {
  unsigned q_tile, k_tiles, v_tiles, k_factors, q_full, q_empty, k_full, k_empty, v_full, v_empty;
};

// What one of the groups computes: 64 queries of each piece.
template <bool IS_BOUNDED>
__device__ __forceinline__ void compute(const Shared& at, bf16* o, int group, int warp, int lane, int block FACTORS DIVIDED) {
  const auto [q_tile, k_tiles, v_tiles, k_factors, q_full, q_empty, k_full, k_empty, v_full, v_empty] = at;
  const descriptor k = describe(k_tiles), v = describe(v_tiles, KEYS * 128);
  // The first group has the first turn.
  if (group == GROUPS - 1) give_turn(group);
  unsigned pass = 0;
  Piece piece;
#pragma unroll 1
  for (int index = 0; piece_at(index, piece); ++index) {
    float out[OUT];
    unsigned weights[KEYS / 4], queries[QUERY_REGISTERS];
    float base[2] = {0.0f, 0.0f}, total[2], shrink[2], factors[2] = {1.0f, 1.0f};
#pragma unroll
    for (int i = 0; i < OUT; ++i) out[i] = 0.0f;
#if CODES
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = piece.query(block) + group * 64 + warp % 4 * 16 + half * 8 + lane / 4;
      const long long row = piece.batch() * (long long)QS_BATCH + query * (long long)QS_TOKEN + piece.head() * (long long)QS_HEAD;
      factors[half] = query < QUERIES_TOTAL ? q_scales[row] * (float)SCALE_LOG2 : 0.0f;
    }
#endif
    wait(q_full, index & 1);
    load_queries(queries, q_tile, group * 64 + warp % 4 * 16, lane);
    hold(queries);
    arrive(q_empty, lane == 0);
    {
      Score scores[KEYS / 2];
      float terms[KEYS / 2];
      const unsigned stage = pass % K_STAGES;
      wait(k_full + stage * 8, pass / K_STAGES & 1);
      prepare(scores);
      start_products();
      start_scores(scores, queries, k + stage * (K_BYTES >> 4));
      await_products<0>();
      hold(scores);
      convert(terms, scores, factors, k_factors + stage * FACTOR_BYTES, lane);
      release(k_empty + stage * 8, lane);
      if (KEYS_TOTAL % KEYS != 0) {
#pragma unroll
        for (int i = 0; i < KEYS / 2; ++i) {
          const int key = (PASSES - 1 - piece.first) * KEYS + i / 4 * 8 + lane % 4 * 2 + i % 2;
          if (key >= KEYS_TOTAL) terms[i] = __int_as_float(0xff800000);
        }
      }
      if constexpr (IS_BOUNDED) weigh_bounded<true>(terms, total);
      else weigh<true>(terms, base, total, shrink);
      pack_weights(weights, terms);
    }
#pragma unroll 1
    for (int left = piece.end - piece.first - 1; left > 0; --left) {
      // Scores of this pass, and sums of the one before.
      Score scores[KEYS / 2];
      float terms[KEYS / 2];
      const unsigned v_stage = pass % V_STAGES, v_parity = pass / V_STAGES & 1;
      ++pass;
      const unsigned k_stage = pass % K_STAGES, k_parity = pass / K_STAGES & 1;
      wait(k_full + k_stage * 8, k_parity);
      prepare(scores);
      take_turn(group);
      hold(weights);
      hold(out);
      start_products();
      start_scores(scores, queries, k + k_stage * (K_BYTES >> 4));
      wait(v_full + v_stage * 8, v_parity);
      start_products();
      start_sums(out, weights, v + v_stage * (V_STAGE >> 4));
      give_turn(group);
      await_products<1>();
      hold(scores);
      convert(terms, scores, factors, k_factors + k_stage * FACTOR_BYTES, lane);
      release(k_empty + k_stage * 8, lane);
      bool is_rebased = false;
      if constexpr (IS_BOUNDED) weigh_bounded<false>(terms, total);
      else is_rebased = weigh<false>(terms, base, total, shrink);
      // This has ended long ago, but without the branch the assembler would wait for the sums before it computes the weights.
      wait(v_full + v_stage * 8, v_parity);
      await_products<0>();
      hold(out);
      hold(terms);
      hold(queries);
      release(v_empty + v_stage * 8, lane);
      pack_weights(weights, terms);
      if (is_rebased) {
#pragma unroll
        for (int i = 0; i < OUT; ++i) out[i] *= shrink[i / 2 % 2];
      }
    }
    const unsigned stage = pass % V_STAGES;
    wait(v_full + stage * 8, pass / V_STAGES & 1);
    hold(weights);
    hold(out);
    start_products();
    start_sums(out, weights, v + stage * (V_STAGE >> 4));
    await_products<0>();
    hold(out);
    release(v_empty + stage * 8, lane);
    ++pass;
    piece_at(index, piece);
    const int first_query = piece.query(block) + group * 64 + warp % 4 * 16;
#if IS_DIVIDED
    // Of this cluster, or of the next, which has the latter piece.
    const int slot = (blockIdx.x + (piece.first == 0 ? CLUSTER : 0)) * (GROUPS * 4) + warp - 4;
    float* const partial = partials + slot * (HANDED_ON * 32);
    if (piece.first > 0) {
      hand_on(partial, signals + slot, out, total, base, lane);
      continue;
    }
    if (piece.end < PASSES) add_handed_on<IS_BOUNDED>(partial, signals + slot, out, total, base, lane);
#endif
    store(out, total, o + piece.batch() * (long long)O_BATCH + piece.head() * (long long)O_HEAD, first_query, lane);
  }
}

#if CODES
// Brings the scales of each pass's keys to shared memory, beside the keys. A warp does so, while another fetches tiles.
__device__ __forceinline__ void fetch_factors(const Shared& at, const float* __restrict__ k_scales, int lane) {
  constexpr int EACH_LANE = KEYS / 32;
  unsigned pass = 0;
  Piece piece;
#pragma unroll 1
  for (int index = 0; piece_at(index, piece); ++index) {
    // 32 bits, as there are few registers; they suffice for 16 GB of scales.
    const unsigned of_head = piece.batch() * (unsigned)KS_BATCH + piece.head() * (unsigned)KS_HEAD;
#pragma unroll 1
    for (int step = piece.first; step < piece.end; ++step, ++pass) {
      const int key = (PASSES - 1 - step) * KEYS + lane * EACH_LANE;
      const unsigned stage = pass % K_STAGES;
      float factors[EACH_LANE];
      // Those beyond the last key do not count, so that they may be any.
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) factors[i] = k_scales[of_head + (KEYS_TOTAL % KEYS == 0 ? key + i : min(key + i, KEYS_TOTAL - 1)) * (unsigned)KS_TOKEN];
      const float first = __shfl_sync(0xffffffffu, factors[0], 0);
      bool is_same = true;
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) is_same &= factors[i] == first;
      const float of_all = __all_sync(0xffffffffu, is_same) ? first : DIFFERENT;
      wait(at.k_empty + stage * 8, pass / K_STAGES & 1 ^ 1);
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) {
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(at.k_factors + stage * FACTOR_BYTES + (lane * EACH_LANE + i) * 4), "f"(factors[i]) : "memory");
      }
      if (lane == 0) asm volatile("st.shared.f32 [%0], %1;" ::"r"(at.k_factors + stage * FACTOR_BYTES + KEYS * 4), "f"(of_all) : "memory");
      __syncwarp();
      arrive(at.k_full + stage * 8, lane == 0);
    }
  }
}
#endif

// Fetches tiles of queries, keys and values. A thread does so.
__device__ __forceinline__ void fetch_tiles(const Shared& at, const TensorMap& q_map, const TensorMap& k_map, const TensorMap& v_map, int block) {
  unsigned pass = 0;
  Piece piece;
#pragma unroll 1
  for (int index = 0; piece_at(index, piece); ++index) {
    const int head = piece.head(), batch = piece.batch();
    // Values follow one pass after the keys, in the order of their use.
#pragma unroll 1
    for (int step = piece.first; step <= piece.end; ++step) {
      if (step < piece.end) {
        const unsigned stage = pass % K_STAGES;
        wait(at.k_empty + stage * 8, pass / K_STAGES & 1 ^ 1);
        arrive_with_bytes(at.k_full + stage * 8, K_BYTES);
        fetch_part<QK_BOXES>(at.k_tiles + stage * K_BYTES, KEYS * 128, k_map, head, (PASSES - 1 - step) * KEYS, batch, at.k_full + stage * 8, block);
      }
      if (step == piece.first) {
        wait(at.q_empty, index & 1 ^ 1);
        arrive_with_bytes(at.q_full, Q_BYTES);
        fetch<QK_BOXES>(at.q_tile, QUERIES * 128, q_map, head, piece.query(block), batch, at.q_full);
      } else {
        const unsigned stage = (pass - 1) % V_STAGES;
        wait(at.v_empty + stage * 8, (pass - 1) / V_STAGES & 1 ^ 1);
        arrive_with_bytes(at.v_full + stage * 8, V_BYTES);
        fetch_part<2>(at.v_tiles + stage * V_STAGE, KEYS * 128, v_map, head, (PASSES - step) * KEYS, batch, at.v_full + stage * 8, block);
      }
      if (step < piece.end) ++pass;
    }
  }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__((1 + GROUPS) * 128, 1)
    attention(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map, const __grid_constant__ TensorMap v_map, bf16* __restrict__ o BOUND FACTORS DIVIDED) {
  extern __shared__ unsigned char memory[];
  const unsigned q_tile = (shared_address(memory) + 1023) & ~1023u;
  const unsigned k_tiles = q_tile + Q_BYTES;
  const unsigned v_tiles = k_tiles + K_STAGES * K_BYTES;
  const unsigned k_factors = v_tiles + V_STAGES * V_STAGE;
  const unsigned barriers = k_factors + K_STAGES * FACTOR_BYTES;
  const unsigned q_full = barriers, q_empty = barriers + 8;
  // The barriers of the first stage; those of the next are 8 bytes on.
  const unsigned k_full = barriers + 16, k_empty = k_full + K_STAGES * 8, v_full = k_empty + K_STAGES * 8, v_empty = v_full + V_STAGES * 8;
  const Shared at = {q_tile, k_tiles, v_tiles, k_factors, q_full, q_empty, k_full, k_empty, v_full, v_empty};
  // Tells the compiler that this is the same in all threads of a warp.
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int block = blockIdx.x % CLUSTER;

#if HAS_ONES
  for (int stage = 0; stage < V_STAGES; ++stage) {
    for (int i = threadIdx.x; i < KEYS * 32; i += blockDim.x) {
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(v_tiles + stage * V_STAGE + V_BYTES + i * 4), "r"(0x3f803f80) : "memory");
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
  if (threadIdx.x == 0) {
    make_barrier(q_full, 1);
    // Each warp releases what it has read, because the other warps of its group may not be done.
    make_barrier(q_empty, GROUPS * 4);
#pragma unroll
    for (int stage = 0; stage < K_STAGES; ++stage) {
      // Of codes, the scales arrive by themselves.
      make_barrier(k_full + stage * 8, CODES ? 2 : 1);
      make_barrier(k_empty + stage * 8, CLUSTER * GROUPS * 4);
    }
#pragma unroll
    for (int stage = 0; stage < V_STAGES; ++stage) {
      make_barrier(v_full + stage * 8, 1);
      make_barrier(v_empty + stage * 8, CLUSTER * GROUPS * 4);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
  }
  __syncthreads();
  if (CLUSTER > 1) meet_cluster();
  begin();

  // Passes are counted over all pieces: pass i uses stage i % K_STAGES of the keys, for the i / K_STAGES-th time; and so for values.
  if (warp < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == 0) fetch_tiles(at, q_map, k_map, v_map, block);
#if CODES
    if (warp == 1) fetch_factors(at, k_scales, lane);
#endif
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = warp / 4 - 1;
#if HAS_BOUND
    if (*bound * 1.4426950f <= GREATEST_BOUND_LOG2) compute<true>(at, o, group, warp, lane, block FACTORS_OF DIVIDED_OF);
    else
#endif
      compute<false>(at, o, group, warp, lane, block FACTORS_OF DIVIDED_OF);
  }
  // No block may exit while another one can still arrive at its barriers.
  __syncwarp();
  if (CLUSTER > 1) meet_cluster();
}
