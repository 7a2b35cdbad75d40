// How attention is divided among clusters of blocks, and how they put together what they have divided.
//
// A unit is CLUSTER tiles of queries, one below the other, of a head. Clusters take them in turns. If units are divided, each cluster has as
// many whole ones as the others; those that are left, and as many more as there are clusters, are divided into pieces of passes, so that all
// have equally much to do. A unit then has at most two pieces: the cluster that starts with the latter hands on its sums, and the one that
// ends with the former, much later, adds them.
//
// Set by the host: CLUSTERS, of which there are no more than units, and IS_DIVIDED.

#define UNITS ((QUERY_BLOCKS + CLUSTER - 1) / CLUSTER * HEADS * BATCHES)
#define WHOLE_UNITS (IS_DIVIDED ? (UNITS / CLUSTERS - 1) * CLUSTERS : UNITS)

// Passes of a unit, from `first` to before `end`.
struct Piece {
  int unit, first, end;
  __device__ __forceinline__ int batch() const { return BATCHES > 1 ? unit / (UNITS / BATCHES) : 0; }
  __device__ __forceinline__ int head() const { return unit / (UNITS / BATCHES / HEADS) - batch() * HEADS; }
  // The first query of a block.
  __device__ __forceinline__ int query(int block) const { return (unit % (UNITS / BATCHES / HEADS) * CLUSTER + block) * QUERIES; }
};

// The piece with this index of the block's cluster; returns whether there is one.
__device__ __forceinline__ bool piece_at(int index, Piece& piece) {
  // Read each time, so that what follows from it is not kept in registers meanwhile.
  unsigned block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  const int cluster = block / CLUSTER, unit = index * CLUSTERS + cluster;
  if (unit < WHOLE_UNITS) {
    piece = {unit, 0, PASSES};
    return true;
  }
#if IS_DIVIDED
  constexpr int DIVIDED_PASSES = (UNITS - WHOLE_UNITS) * PASSES;
  const int from = cluster * DIVIDED_PASSES / CLUSTERS, to = (cluster + 1) * DIVIDED_PASSES / CLUSTERS;
  const int part = from / PASSES + index - WHOLE_UNITS / CLUSTERS;
  piece = {WHOLE_UNITS + part, max(from - part * PASSES, 0), min(to - part * PASSES, PASSES)};
  return piece.end > 0;
#else
  return false;
#endif
}

#if IS_DIVIDED
// What a thread hands on: sums, totals and bases.
#define HANDED_ON (OUT + 4)

// Hands on what a warp has of a unit.
__device__ __forceinline__ void hand_on(float* partial, unsigned* signal, const float (&out)[OUT], const float (&total)[2], const float (&base)[2], int lane) {
#pragma unroll
  for (int i = 0; i < OUT; ++i) __stcg(partial + i * 32 + lane, out[i]);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    __stcg(partial + (OUT + half) * 32 + lane, total[half]);
    __stcg(partial + (OUT + 2 + half) * 32 + lane, base[half]);
  }
  __threadfence();
  __syncwarp();
  if (lane == 0) asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(signal), "r"(1) : "memory");
}

// Adds what was handed on. Signals are zero before a kernel and after it.
template <bool IS_BOUNDED>
__device__ __forceinline__ void add_handed_on(const float* partial, unsigned* signal, float (&out)[OUT], float (&total)[2], const float (&base)[2], int lane) {
  if (lane == 0) {
    unsigned is_there;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(is_there) : "l"(signal) : "memory");
    while (!is_there);
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(signal), "r"(0) : "memory");
  }
  __syncwarp();
  float own[2] = {1.0f, 1.0f}, others[2] = {1.0f, 1.0f};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (!IS_BOUNDED) {
      const float of_others = __ldcg(partial + (OUT + 2 + half) * 32 + lane), most = fmaxf(base[half], of_others);
      own[half] = exp2_approximate((base[half] - most) * REST_LOG2);
      others[half] = exp2_approximate((of_others - most) * REST_LOG2);
    }
    total[half] = total[half] * own[half] + __ldcg(partial + (OUT + half) * 32 + lane) * others[half];
  }
#pragma unroll
  for (int i = 0; i < OUT; ++i) out[i] = out[i] * own[i / 2 % 2] + __ldcg(partial + i * 32 + lane) * others[i / 2 % 2];
}
#endif
