// Products of attention on Hopper's tensor cores, whose left operands are in registers.

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
template <int COUNT>
__device__ __forceinline__ void hold(int (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}
template <int COUNT>
__device__ __forceinline__ void hold(unsigned (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// Queries of a warp, as products take them: of each 32 bytes of its 16 rows, four registers. Rows are those of a tile of boxes that are
// swizzled, which starts at `tile`; `row` is the first.
__device__ __forceinline__ void load_queries(unsigned (&queries)[QUERY_REGISTERS], unsigned tile, int row, int lane) {
  const int own = row + lane % 16, half = lane / 16;
#pragma unroll
  for (int d = 0; d < QUERY_REGISTERS / 4; ++d) {
    const unsigned at = tile + d / 4 * (QUERIES * 128) + own * 128 + ((d % 4 * 2 + half ^ own % 8) << 4);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(queries[d * 4]), "=r"(queries[d * 4 + 1]), "=r"(queries[d * 4 + 2]), "=r"(queries[d * 4 + 3])
                 : "r"(at)
                 : "memory");
  }
}

__device__ __forceinline__ void start_scores(Score (&scores)[KEYS / 2], const unsigned (&queries)[QUERY_REGISTERS], descriptor k) {
#pragma unroll
  for (int d = 0; d < QUERY_REGISTERS / 4; ++d) {
    multiply(scores, queries + d * 4, k + ((d / 4 * (KEYS * 128) + d % 4 * 32) >> 4), CODES == 2 || d > 0);
  }
  end_products();
}

__device__ __forceinline__ void start_sums(float (&out)[OUT], const unsigned (&weights)[KEYS / 4], descriptor v) {
#pragma unroll
  for (int n = 0; n < KEYS / 16; ++n) multiply_values(out, weights + n * 4, v + (n * (16 * 128) >> 4));
  end_products();
}
