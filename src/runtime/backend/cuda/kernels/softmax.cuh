// Turns rows of scores into rows of weights that add up to one.
//
// Set by the host: LAYOUT, see above, of COLUMNS columns and THREADS threads, of which each has ELEMENTS elements; VECTOR; and
// SCALE_LOG2, the factor of the scores times log2 e.

extern "C" __global__ void __launch_bounds__(THREADS) softmax(const float* __restrict__ scores, bf16* __restrict__ weights) {
  begin();
  const int lane = threadIdx.x;
  const long long first = blockIdx.x * (long long)COLUMNS;
  float x[ELEMENTS], largest = -1e30f, sum = 0.0f;
  load<LAYOUT>(x, scores + first, lane);
  EACH(ELEMENTS) if (is_inside<COLUMNS, THREADS, VECTOR>(e, lane)) largest = fmaxf(largest, x[e]);
  largest = reduce<THREADS>(largest, Max());
  EACH(ELEMENTS) {
    x[e] = is_inside<COLUMNS, THREADS, VECTOR>(e, lane) ? exp2_approximate((x[e] - largest) * SCALE_LOG2) : 0.0f;
    sum += x[e];
  }
  const float share = 1.0f / reduce<THREADS>(sum, Sum());
  EACH(ELEMENTS) x[e] *= share;
  store<LAYOUT>(weights + first, x, lane);
}
