// Matrices in shared memory, TMA and barriers, for kernels for sm_90a.

typedef unsigned long long descriptor;

// The tensor cores' descriptor of a matrix in shared memory: its address, two distances, and that rows of 128 bytes are
// swizzled; all in units of 16 bytes. Eight rows lie one after another, and the next eight 1024 bytes on. A matrix that is
// contiguous in the direction of the products is not wider than a row, so `apart` means nothing; one contiguous in the other
// direction is wider, and its next 64 columns are `apart` bytes on.
__device__ __forceinline__ descriptor describe(unsigned address, unsigned apart = 16) {
  return 1ull << 62 | 1024ull >> 4 << 32 | (descriptor)(apart >> 4) << 16 | (address & 0x3ffff) >> 4;
}

// A CUtensorMap.
struct __align__(64) TensorMap { unsigned long long words[16]; };

// Barriers in shared memory, each with a phase that ends when `arrivals` have come, and as many bytes as were announced.

__device__ __forceinline__ void make_barrier(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void arrive_with_bytes(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Waits until the phase of this parity has ended; for a new barrier, the phase of parity 1 counts as ended.
__device__ __forceinline__ void wait(unsigned barrier, unsigned parity) {
  asm volatile("{\n.reg .pred over;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n@!over bra AGAIN;\n}" ::"r"(barrier), "r"(parity)
               : "memory");
}

// A tile of a tensor of four axes, from these coordinates on, the innermost first; elements outside of the tensor are zero.
__device__ __forceinline__ void fetch(unsigned to, const TensorMap* map, int c0, int c1, int c2, int c3, unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
               "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(barrier)
               : "memory");
}

// To the same place in each of the cluster's first `blocks` blocks.
__device__ __forceinline__ void fetch_for_all(unsigned to, const TensorMap* map, int c0, int c1, int c2, int c3, unsigned barrier, int blocks) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3, %4, %5}], [%6], %7;" ::"r"(to),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(barrier), "h"((unsigned short)((1 << blocks) - 1))
      : "memory");
}

// Arrives at the barrier of a block of the cluster. The caller has only read what the barrier guards, so there are no writes to make
// visible.
__device__ __forceinline__ void arrive_at(unsigned barrier, int block) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(barrier), "r"(block) : "memory");
}

// Waits for all threads of the cluster.
__device__ __forceinline__ void meet_cluster() { asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory"); }
