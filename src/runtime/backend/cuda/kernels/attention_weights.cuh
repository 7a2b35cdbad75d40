// From sums of products to weights.

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
