// What kernels for sm_90a fetch by, and wait for.

// A CUtensorMap.
struct __align__(64) TensorMap { unsigned long long words[16]; };

// Barriers in shared memory, each with a phase that ends when `arrivals` have come, and as many bytes as were announced.

__device__ __forceinline__ void make_barrier(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void arrive_with_bytes(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Until the phase of this parity has ended; of a new barrier the phase of parity 1 has.
__device__ __forceinline__ void wait(unsigned barrier, unsigned parity) {
  asm volatile("{\n.reg .pred over;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n@!over bra AGAIN;\n}" ::"r"(barrier), "r"(parity)
               : "memory");
}
