// Attention with heads of 128 on Hopper: softmax(scale * q k^T) v, non-causal (FlashAttention-3: Shah et al., 2024).
//
// A block has one warp group that fetches, by TMA, and two that compute, with 64 queries each. They pass over the keys KEYS at a
// time, from the last to the first, so that only the first pass has keys to mask. While a group weighs the scores of one pass
// the tensor cores add up the values of the pass before; and the two groups take turns at starting products, so that one
// weighs while the products of the other run. Scores, weights and sums stay in registers.
//
// Blocks are persistent: they share out the tiles of QUERIES queries, and fetch the next tile while they finish one.
//
// Where the host knows a bound of all scores, and it is small, weights are exponentials of the scores themselves: they stay within
// f32's range, and bf16's is the same. Then no largest score of a row is looked for, which takes a tenth of the time.
//
// Values and weights are bf16. So are queries and keys, or they are codes of 8 bits with a scale for each row, e4m3 with CODES 1, i8 with
// CODES 2: their products take half the time. The scales of a pass's keys are fetched beside them, by a warp of the first group, which also looks
// whether all are the same: then nothing is left to multiply each score with, which takes an eighth of the time.
//
// Set by the host: CODES; KEYS, a multiple of 16, K_STAGES and V_STAGES;
// `multiply(scores, q, k, add)`, which starts the product of 64 queries, KEYS keys and 32 bytes of their elements; QUERIES_TOTAL, KEYS_TOTAL, HEADS, BATCHES,
// SCALE_LOG2 (the scale times log2 e, above zero), HAS_BOUND, and the distance in elements of one batch, token and head of O from the next, as
// in O_BATCH, O_TOKEN, O_HEAD, all multiples of 8, as is where O starts; of codes, those of the scales, as in QS_BATCH and KS_BATCH.
// The maps of Q, K and V are of four dimensions, innermost first 128 elements, heads, tokens, batch, with boxes of 128 bytes, 1, QUERIES or
// KEYS, 1, swizzled by 128 bytes and zero outside.

#define DIM 128
#define GROUPS 2
#define QUERIES (64 * GROUPS)
#define QUERY_BLOCKS ((QUERIES_TOTAL + QUERIES - 1) / QUERIES)
#define PASSES ((KEYS_TOTAL + KEYS - 1) / KEYS)

// In bytes. A tile of bf16 is two boxes, of the first and the last 64 elements of each row; one of codes is a single box.
#define QK_BOXES (CODES ? 1 : 2)
#define Q_BYTES (QUERIES * 128 * QK_BOXES)
#define K_BYTES (KEYS * 128 * QK_BOXES)
#define V_BYTES (KEYS * 128 * 2)

// With codes, vector units have more to do than the tensor cores: so values have eight more columns, all ones, whose sums are those of the
// weights. They are the start of a third box.
#define HAS_ONES (CODES > 0)
#define V_STAGE (V_BYTES + HAS_ONES * KEYS * 128)
// The factors of a pass's keys, and then the one that all have, if it is the same.
#define FACTOR_BYTES (CODES ? KEYS * 4 + 16 : 0)
#define DIFFERENT -1.0f
// Sums of a thread: half a row of values, and with ones, four more.
#define OUT (DIM / 2 + HAS_ONES * 4)

typedef unsigned short bf16;
typedef unsigned long long descriptor;

#if CODES == 2
typedef int Score;
#else
typedef float Score;
#endif

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

// Arrives at a barrier, if `is_here`.
__device__ __forceinline__ void arrive(unsigned barrier, bool is_here) {
  asm volatile("{\n.reg .pred here;\nsetp.ne.b32 here, %1, 0;\n@here mbarrier.arrive.shared::cta.b64 _, [%0];\n}" ::"r"(barrier), "r"((int)is_here) : "memory");
}

// Rows from `token` on, as boxes of `box` bytes, to shared memory; the bytes count at the barrier.
template <int BOXES>
__device__ __forceinline__ void fetch(unsigned to, int box, const TensorMap& map, int head, int token, int batch, unsigned barrier) {
#pragma unroll
  for (int half = 0; half < BOXES; ++half) {
    fetch(to + half * box, &map, half * 64, head, token, batch, barrier);
  }
}

// The tensor cores' descriptor of a matrix in shared memory: its address, two distances, and that rows of 128 bytes are
// swizzled; all in units of 16 bytes. Eight rows lie one after another, and the next eight 1024 bytes on. A matrix that is
// contiguous in the direction of the products is not wider than a row, so `apart` means nothing; one contiguous in the other
// direction is wider, and its next 64 columns are `apart` bytes on.
__device__ __forceinline__ descriptor describe(unsigned address, unsigned apart) {
  return 1ull << 62 | 1024ull >> 4 << 32 | (descriptor)(apart >> 4) << 16 | address >> 4;
}

// Names of registers in a product, ten of the numbers that start with `t`; and eight operands that have such names.
#define TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define SIXTY_FOUR TEN() ", " TEN(1) ", " TEN(2) ", " TEN(3) ", " TEN(4) ", " TEN(5) ", %60, %61, %62, %63"
#define OF_8(r, i) "+f"(r[i]), "+f"(r[i + 1]), "+f"(r[i + 2]), "+f"(r[i + 3]), "+f"(r[i + 4]), "+f"(r[i + 5]), "+f"(r[i + 6]), "+f"(r[i + 7])
#define OF_64(r) OF_8(r, 0), OF_8(r, 8), OF_8(r, 16), OF_8(r, 24), OF_8(r, 32), OF_8(r, 40), OF_8(r, 48), OF_8(r, 56)

// Sixteen keys further: out += weights v.
__device__ __forceinline__ void multiply_values(float (&out)[OUT], const unsigned* weights, descriptor v) {
#if HAS_ONES
  asm volatile("wgmma.mma_async.sync.aligned.m64n136k16.f32.bf16.bf16 {" SIXTY_FOUR ", %64, %65, %66, %67}, {%68, %69, %70, %71}, %72, 1, 1, 1, 1;"
               : OF_64(out), "+f"(out[64]), "+f"(out[65]), "+f"(out[66]), "+f"(out[67])
               : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(v));
#else
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SIXTY_FOUR "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
               : OF_64(out)
               : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(v));
#endif
}

// Orders accesses to registers before products that start from here on.
__device__ __forceinline__ void start_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups of products are unfinished.
template <int PENDING>
__device__ __forceinline__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving accesses to these registers across this point: products still use them after their
// instruction was issued.
template <int COUNT>
__device__ __forceinline__ void hold(float (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

#if CODES == 2
template <int COUNT>
__device__ __forceinline__ void hold(int (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

#endif
template <int COUNT>
__device__ __forceinline__ void hold(unsigned (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// Another group passes on the turn to start products.
__device__ __forceinline__ void take_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void give_turn(int group) { asm volatile("bar.arrive %0, 256;" ::"r"(group == GROUPS - 1 ? 1 : 2 + group) : "memory"); }

// How much a score may exceed the base of its row, as a power of two of weights. Weights above one are as exact as those below,
// so a base is kept until a score exceeds it by this much (Flash Attention 4). Sums then seldom have to be rescaled.
constexpr float SLACK_LOG2 = 8.0f;

// The largest bound of scores, as a power of two, with which weights need no base: f32 has 2^127, which leaves 2^27 for the number of
// keys and their values; and above 2^-126, no weight loses bits.
constexpr float GREATEST_BOUND_LOG2 = 100.0f;

#if CODES
// What is left to multiply terms with: the scale is a factor of the queries.
constexpr float REST_LOG2 = 1.0f;
#else
constexpr float REST_LOG2 = (float)SCALE_LOG2;
#endif

#if CODES == 2
// Sums of products of integers start with this: then, read as f32, they are 1.5 * 2^23 more than the sum, which is below 2^22. So nothing
// has to be converted, which a GPU does slowly.
constexpr int INTEGER_BASE_BITS = 0x4b400000;
constexpr float INTEGER_BASE = 12582912.0f;
#endif

// Readies the registers of sums for products.
__device__ __forceinline__ void prepare(Score (&scores)[KEYS / 2]) {
#if CODES == 2
#pragma unroll
  for (int i = 0; i < KEYS / 2; ++i) scores[i] = INTEGER_BASE_BITS;
  hold(scores);
#endif
}

#if CODES == 2
__device__ __forceinline__ float times(int sum, float factor) { return __int_as_float(sum) * factor - INTEGER_BASE * factor; }
#elif CODES
__device__ __forceinline__ float times(float sum, float factor) { return sum * factor; }
#endif

// Sums of products as terms, which are scores but for REST_LOG2: with codes, times the factors of the two rows of queries that a thread
// has parts of, and those of the pass's keys, which are at `of_keys` in shared memory.
__device__ __forceinline__ void convert(float (&terms)[KEYS / 2], const Score (&sums)[KEYS / 2], const float (&of_queries)[2], unsigned of_keys, int lane) {
#if CODES
  float of_all;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(of_all) : "r"(of_keys + KEYS * 4));
  if (of_all != DIFFERENT) {
    const float factors[2] = {of_queries[0] * of_all, of_queries[1] * of_all};
#pragma unroll
    for (int i = 0; i < KEYS / 2; ++i) terms[i] = times(sums[i], factors[i / 2 % 2]);
    return;
  }
#pragma unroll
  for (int n = 0; n < KEYS / 8; ++n) {
    float of_key[2];
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(of_key[0]), "=f"(of_key[1]) : "r"(of_keys + n * 32 + lane % 4 * 8));
#pragma unroll
    for (int i = n * 4; i < n * 4 + 4; ++i) terms[i] = times(sums[i], of_queries[i / 2 % 2]) * of_key[i % 2];
  }
#else
#pragma unroll
  for (int i = 0; i < KEYS / 2; ++i) terms[i] = sums[i];
#endif
}

// Turns terms into weights, in place. A thread holds parts of two rows: of four registers, 0 and 1 are of one, 2 and 3 of
// the other. Weights are relative to that of the score `base`. Returns whether the sums of earlier passes must be multiplied
// by `shrink`, as `total` has been.
template <bool IS_FIRST>
__device__ __forceinline__ bool weigh(float (&scores)[KEYS / 2], float (&base)[2], float (&total)[2], float (&shrink)[2]) {
  float largest[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = fmaxf(scores[half * 2], scores[half * 2 + 1]);
#pragma unroll
    for (int n = 1; n < KEYS / 8; ++n) most = fmaxf(most, fmaxf(scores[n * 4 + half * 2], scores[n * 4 + half * 2 + 1]));
    if (!IS_FIRST) most = fmaxf(most, base[half]);
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    largest[half] = most;
  }
  const float growth = IS_FIRST ? 0.0f : fmaxf(largest[0] - base[0], largest[1] - base[1]) * REST_LOG2;
  const bool is_rebased = IS_FIRST || __any_sync(0xffffffffu, growth > SLACK_LOG2);
  if (is_rebased) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      shrink[half] = IS_FIRST ? 1.0f : exp2_approximate((base[half] - largest[half]) * REST_LOG2);
      total[half] = IS_FIRST ? 0.0f : total[half] * shrink[half];
      base[half] = largest[half];
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float scaled = base[half] * REST_LOG2;
    float sum = total[half];
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n * 4 + half * 2 + i];
        score = exp2_approximate(score * REST_LOG2 - scaled);
        if (!HAS_ONES) sum += score;
      }
    }
    total[half] = sum;
  }
  return is_rebased;
}

// Weights by the scores alone: see GREATEST_BOUND_LOG2.
template <bool IS_FIRST>
__device__ __forceinline__ void weigh_bounded(float (&scores)[KEYS / 2], float (&total)[2]) {
  // Two sums for each row, so that additions do not wait for each other.
  float sums[2][2] = {{IS_FIRST ? 0.0f : total[0], 0.0f}, {IS_FIRST ? 0.0f : total[1], 0.0f}};
#pragma unroll
  for (int i = 0; i < KEYS / 2; ++i) {
    scores[i] = exp2_approximate(scores[i] * REST_LOG2);
    if (!HAS_ONES) sums[i / 2 % 2][i % 2] += scores[i];
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) total[half] = sums[half][0] + sums[half][1];
}

// Scores are in the registers in which the tensor cores expect weights; only the element size differs.
__device__ __forceinline__ void pack_weights(unsigned (&weights)[KEYS / 4], const float (&scores)[KEYS / 2]) {
#pragma unroll
  for (int i = 0; i < KEYS / 4; ++i) weights[i] = pack(scores[2 * i], scores[2 * i + 1]);
}

__device__ __forceinline__ void start_scores(Score (&scores)[KEYS / 2], descriptor q, descriptor k) {
#pragma unroll
  for (int d = 0; d < 4 * QK_BOXES; ++d) {
    const int within = d % 4 * 32;
    multiply(scores, q + ((d / 4 * (QUERIES * 128) + within) >> 4), k + ((d / 4 * (KEYS * 128) + within) >> 4), CODES == 2 || d > 0);
  }
  end_products();
}

__device__ __forceinline__ void start_sums(float (&out)[OUT], const unsigned (&weights)[KEYS / 4], descriptor v) {
#pragma unroll
  for (int n = 0; n < KEYS / 16; ++n) multiply_values(out, weights + n * 4, v + (n * (16 * 128) >> 4));
  end_products();
}

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

// What one of the groups computes: 64 queries of each tile of the block.
template <bool IS_BOUNDED>
__device__ __forceinline__ void compute(const Shared& at, bf16* o, int group, int warp, int lane, int first_tile, int tiles, int tiles_step FACTORS) {
  const auto [q_tile, k_tiles, v_tiles, k_factors, q_full, q_empty, k_full, k_empty, v_full, v_empty] = at;
  const bool is_voice = lane == 0;
  const descriptor q = describe(q_tile + group * (64 * 128), 16);
  const descriptor k = describe(k_tiles, 16), v = describe(v_tiles, KEYS * 128);
  // The first group has the first turn.
  if (group == GROUPS - 1) give_turn(group);
  unsigned pass = 0, q_parity = 0;
  for (int tile = first_tile; tile < tiles; tile += tiles_step, q_parity ^= 1) {
    const int heads = tile / QUERY_BLOCKS, head = heads % HEADS, batch = heads / HEADS;
    const int first_query = tile % QUERY_BLOCKS * QUERIES + group * 64 + warp % 4 * 16;
    float out[OUT];
    unsigned weights[KEYS / 4];
    float base[2], total[2], shrink[2], factors[2] = {1.0f, 1.0f};
#pragma unroll
    for (int i = 0; i < OUT; ++i) out[i] = 0.0f;
#if CODES
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = first_query + half * 8 + lane / 4;
      factors[half] = query < QUERIES_TOTAL ? q_scales[batch * (long long)QS_BATCH + query * (long long)QS_TOKEN + head * (long long)QS_HEAD] * (float)SCALE_LOG2 : 0.0f;
    }
#endif
    wait(q_full, q_parity);
    {
      Score scores[KEYS / 2];
      float terms[KEYS / 2];
      const unsigned stage = pass % K_STAGES;
      wait(k_full + stage * 8, pass / K_STAGES & 1);
      prepare(scores);
      start_products();
      start_scores(scores, q, k + stage * (K_BYTES >> 4));
      await_products<0>();
      hold(scores);
      convert(terms, scores, factors, k_factors + stage * FACTOR_BYTES, lane);
      arrive(k_empty + stage * 8, is_voice);
      if (KEYS_TOTAL % KEYS != 0) {
#pragma unroll
        for (int i = 0; i < KEYS / 2; ++i) {
          const int key = (PASSES - 1) * KEYS + i / 4 * 8 + lane % 4 * 2 + i % 2;
          if (key >= KEYS_TOTAL) terms[i] = __int_as_float(0xff800000);
        }
      }
      if constexpr (IS_BOUNDED) weigh_bounded<true>(terms, total);
      else weigh<true>(terms, base, total, shrink);
      pack_weights(weights, terms);
    }
#pragma unroll 1
    for (int block = 1; block < PASSES; ++block) {
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
      start_scores(scores, q, k + k_stage * (K_BYTES >> 4));
      wait(v_full + v_stage * 8, v_parity);
      start_products();
      start_sums(out, weights, v + v_stage * (V_STAGE >> 4));
      give_turn(group);
      await_products<1>();
      hold(scores);
      convert(terms, scores, factors, k_factors + k_stage * FACTOR_BYTES, lane);
      arrive(k_empty + k_stage * 8, is_voice);
      bool is_rebased = false;
      if constexpr (IS_BOUNDED) weigh_bounded<false>(terms, total);
      else is_rebased = weigh<false>(terms, base, total, shrink);
      // This has ended long ago, but without the branch the assembler would wait for the sums before it computes the weights.
      wait(v_full + v_stage * 8, v_parity);
      await_products<0>();
      hold(out);
      hold(terms);
      arrive(v_empty + v_stage * 8, is_voice);
      pack_weights(weights, terms);
      if (is_rebased) {
#pragma unroll
        for (int i = 0; i < OUT; ++i) out[i] *= shrink[i / 2 % 2];
      }
    }
    arrive(q_empty, is_voice);
    const unsigned stage = pass % V_STAGES;
    wait(v_full + stage * 8, pass / V_STAGES & 1);
    hold(weights);
    hold(out);
    start_products();
    start_sums(out, weights, v + stage * (V_STAGE >> 4));
    await_products<0>();
    hold(out);
    arrive(v_empty + stage * 8, is_voice);
    ++pass;
    store(out, total, o + batch * (long long)O_BATCH + head * (long long)O_HEAD, first_query, lane);
  }
}

#if CODES
// Brings the scales of each pass's keys to shared memory, beside the keys. A warp does so, while another fetches tiles.
__device__ __forceinline__ void fetch_factors(const Shared& at, const float* __restrict__ k_scales, int lane, int first_tile, int tiles, int tiles_step) {
  constexpr int EACH_LANE = (KEYS + 31) / 32;
  unsigned pass = 0;
  for (int tile = first_tile; tile < tiles; tile += tiles_step) {
    const int heads = tile / QUERY_BLOCKS, head = heads % HEADS, batch = heads / HEADS;
    const float* scales = k_scales + batch * (long long)KS_BATCH + head * (long long)KS_HEAD;
#pragma unroll 1
    for (int block = PASSES - 1; block >= 0; --block, ++pass) {
      const unsigned stage = pass % K_STAGES;
      float factors[EACH_LANE];
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) {
        // Those beyond the last key do not count, so that they may be any.
        factors[i] = scales[min(block * KEYS + min(i * 32 + lane, KEYS - 1), KEYS_TOTAL - 1) * (long long)KS_TOKEN];
      }
      const float first = __shfl_sync(0xffffffffu, factors[0], 0);
      bool is_same = true;
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) is_same &= factors[i] == first;
      const float of_all = __all_sync(0xffffffffu, is_same) ? first : DIFFERENT;
      wait(at.k_empty + stage * 8, pass / K_STAGES & 1 ^ 1);
#pragma unroll
      for (int i = 0; i < EACH_LANE; ++i) {
        const int within = i * 32 + lane;
        if (within < KEYS) asm volatile("st.shared.f32 [%0], %1;" ::"r"(at.k_factors + stage * FACTOR_BYTES + within * 4), "f"(factors[i]) : "memory");
      }
      if (lane == 0) asm volatile("st.shared.f32 [%0], %1;" ::"r"(at.k_factors + stage * FACTOR_BYTES + KEYS * 4), "f"(of_all) : "memory");
      __syncwarp();
      arrive(at.k_full + stage * 8, lane == 0);
    }
  }
}
#endif

extern "C" __global__ void __launch_bounds__((1 + GROUPS) * 128, 1)
    attention(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map, const __grid_constant__ TensorMap v_map, bf16* __restrict__ o BOUND FACTORS) {
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
  const int tiles = QUERY_BLOCKS * HEADS * BATCHES;
  const int first_tile = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), tiles_step = gridDim.x * gridDim.y * gridDim.z;

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
      make_barrier(k_empty + stage * 8, GROUPS * 4);
    }
#pragma unroll
    for (int stage = 0; stage < V_STAGES; ++stage) {
      make_barrier(v_full + stage * 8, 1);
      make_barrier(v_empty + stage * 8, GROUPS * 4);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
  }
  __syncthreads();
  begin();

  // Passes are counted over all tiles: pass i uses stage i % K_STAGES of the keys, for the i / K_STAGES-th time; and so for values.
  if (warp < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
#if CODES
    if (warp == 1) fetch_factors(at, k_scales, lane, first_tile, tiles, tiles_step);
#endif
    if (threadIdx.x != 0) return;
    unsigned pass = 0, q_parity = 1;
    for (int tile = first_tile; tile < tiles; tile += tiles_step, q_parity ^= 1) {
      const int token = tile % QUERY_BLOCKS * QUERIES, heads = tile / QUERY_BLOCKS, head = heads % HEADS, batch = heads / HEADS;
      // Values follow one pass after the keys, in the order of their use.
#pragma unroll 1
      for (int block = PASSES - 1; block >= -1; --block) {
        if (block >= 0) {
          const unsigned stage = pass % K_STAGES;
          wait(k_empty + stage * 8, pass / K_STAGES & 1 ^ 1);
          arrive_with_bytes(k_full + stage * 8, K_BYTES);
          fetch<QK_BOXES>(k_tiles + stage * K_BYTES, K_BYTES / 2, k_map, head, block * KEYS, batch, k_full + stage * 8);
        }
        if (block == PASSES - 1) {
          wait(q_empty, q_parity);
          arrive_with_bytes(q_full, Q_BYTES);
          fetch<QK_BOXES>(q_tile, Q_BYTES / 2, q_map, head, token, batch, q_full);
        } else {
          const unsigned stage = (pass - 1) % V_STAGES;
          wait(v_empty + stage * 8, (pass - 1) / V_STAGES & 1 ^ 1);
          arrive_with_bytes(v_full + stage * 8, V_BYTES);
          fetch<2>(v_tiles + stage * V_STAGE, V_BYTES / 2, v_map, head, (block + 1) * KEYS, batch, v_full + stage * 8);
        }
        if (block >= 0) ++pass;
      }
    }
    return;
  }

  asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
  const int group = warp / 4 - 1;
#if HAS_BOUND
  if (*bound * 1.4426950f <= GREATEST_BOUND_LOG2) return compute<true>(at, o, group, warp, lane, first_tile, tiles, tiles_step FACTORS_OF);
#endif
  compute<false>(at, o, group, warp, lane, first_tile, tiles, tiles_step FACTORS_OF);
}
