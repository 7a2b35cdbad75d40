// Functions for kernels of formulas. A row of C elements is held by T threads: each has K chunks of V neighbours, the
// first of them at lane * V. Elements beyond the end of a row are zero and are not stored.

struct __align__(2) bf16 { unsigned short bits; };
struct __align__(2) f16 { unsigned short bits; };
struct f8e4m3 { unsigned char bits; };
// Two codes of four bits, the first in the lower half.
struct u4x2 { unsigned char bits; };

#define EACH(N) _Pragma("unroll") for (int e = 0; e < (N); ++e)

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(int x) { return (float)x; }
__device__ __forceinline__ float to_float(signed char x) { return (float)x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ float to_float(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

// Two numbers, the first in the lower half.
__device__ __forceinline__ void pair_to_floats(float* y, unsigned short pair) {
#if __CUDA_ARCH__ >= 890
  unsigned halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
  y[0] = to_float(f16{(unsigned short)halves});
  y[1] = to_float(f16{(unsigned short)(halves >> 16)});
#else
  // The exponent counts from 7, and f32's from 127. All ones are NaN.
  EACH(2) {
    const unsigned bits = pair >> (8 * e) & 0xff, rest = bits & 0x7f;
    y[e] = rest == 0x7f ? __int_as_float(0x7fffffff) : __uint_as_float((bits & 0x80) << 24 | rest << 20) * 0x1p120f;
  }
#endif
}
__device__ __forceinline__ float to_float(f8e4m3 x) {
  float y[2];
  pair_to_floats(y, x.bits);
  return y[0];
}

__device__ __forceinline__ void from_float(float& y, float x) { y = x; }
__device__ __forceinline__ void from_float(signed char& y, float x) { y = (signed char)x; }
__device__ __forceinline__ void from_float(bf16& y, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
__device__ __forceinline__ void from_float(f16& y, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }

// Two as a word, the first in the lower half.
template <class Y> __device__ unsigned pair_of(float low, float high);
template <> __device__ __forceinline__ unsigned pair_of<bf16>(float low, float high) { return pack(low, high); }
template <> __device__ __forceinline__ unsigned pair_of<f16>(float low, float high) {
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

__device__ __forceinline__ float round_to_f32(float x) { return x; }
__device__ __forceinline__ float round_to_bf16(float x) { bf16 y; from_float(y, x); return to_float(y); }
__device__ __forceinline__ float round_to_f16(float x) { f16 y; from_float(y, x); return to_float(y); }

// 1 / (1 + 2^-x)
__device__ __forceinline__ float logistic2(float x) { return reciprocal_approximate(1.0f + exp2_approximate(-x)); }

// Constants times log2 e.
__device__ __forceinline__ float silu(float x) { return x * logistic2(1.4426950f * x); }
__device__ __forceinline__ float quick_gelu(float x) { return x * logistic2(2.4554670f * x); }
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
// The hardware's tanh, within 2^-11, is exact enough for bf16. Its argument is sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float gelu_tanh(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x * (0.79788456f + 0.035677408f * (x * x))));
  return 0.5f * x + 0.5f * x * y;
}

// NaN if one of them is NaN, unlike fminf and fmaxf.
__device__ __forceinline__ float lesser(float a, float b) { return a < b || a != a ? a : b; }
__device__ __forceinline__ float greater(float a, float b) { return a > b || a != a ? a : b; }

// V neighbours, moved in one access.
template <class T, int V> struct __align__(sizeof(T) * V) Pack { T at[V]; };

// Stores V neighbours in one access. For types of two bytes, inline assembly is used: the compiler would store four bytes at
// a time, and each time a part of a sector. It need not know about the store, as no kernel reads again what it stores.
template <int V, class Y> __device__ __forceinline__ void put(Y* y, const float* x) {
  if constexpr (sizeof(Y) == 2 && V % 4 == 0) {
    unsigned pairs[V / 2];
    EACH(V / 2) pairs[e] = pair_of<Y>(x[2 * e], x[2 * e + 1]);
    if constexpr (V == 8) {
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(y)), "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3]));
    } else {
      asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(y)), "r"(pairs[0]), "r"(pairs[1]));
    }
  } else {
    Pack<Y, V> pack;
    EACH(V) from_float(pack.at[e], x[e]);
    *reinterpret_cast<Pack<Y, V>*>(y) = pack;
  }
}

// V neighbours as numbers; codes are not scaled yet.
template <class X> __device__ constexpr bool is_f8() { return false; }
template <> __device__ constexpr bool is_f8<f8e4m3>() { return true; }

// Element j.
template <class X> __device__ __forceinline__ const X* at(const X* x, int j) { return x + j; }
__device__ __forceinline__ const u4x2* at(const u4x2* x, int j) { return x + j / 2; }

template <int V, class X> __device__ __forceinline__ void take(float* y, const X* x) {
  const Pack<X, V> pack = *reinterpret_cast<const Pack<X, V>*>(x);
  if constexpr (V % 2 == 0 && is_f8<X>()) {
    EACH(V / 2) pair_to_floats(y + 2 * e, pack.at[2 * e].bits | pack.at[2 * e + 1].bits << 8);
  } else {
    EACH(V) y[e] = to_float(pack.at[e]);
  }
}
// Unsigned codes count from 8.
template <int V> __device__ __forceinline__ void take(float* y, const u4x2* x) {
  const Pack<u4x2, V / 2> pack = *reinterpret_cast<const Pack<u4x2, V / 2>*>(x);
  // The lowest bit of 2^23 is one.
  EACH(V) y[e] = __uint_as_float(0x4b000000 | (pack.at[e / 2].bits >> e % 2 * 4 & 15)) - 8388616.0f;
}

template <int N> __device__ __forceinline__ void repeat(float (&y)[N], float x) { EACH(N) y[e] = x; }

// Whether element e of a thread is part of the row.
template <int C, int T, int V> __device__ __forceinline__ bool is_inside(int e, int lane) {
  return C % (T * V) == 0 || ((e / V) * T + lane) * V < C;
}

template <int C, int T, int V, int K, class X>
__device__ __forceinline__ void load(float (&y)[V * K], const X* x, int lane) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int j = (k * T + lane) * V;
    if (is_inside<C, T, V>(k * V, lane)) {
      take<V>(y + k * V, at(x, j));
    } else {
      EACH(V) y[k * V + e] = 0.0f;
    }
  }
}

// The scale of each element's group of SIZE elements.
template <int C, int T, int V, int K, int SIZE, class X>
__device__ __forceinline__ void spread(float (&y)[V * K], const X* x, int lane) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int j = (k * T + lane) * V;
    if (is_inside<C, T, V>(k * V, lane)) {
      if constexpr (SIZE % V == 0) {
        const float of_all = to_float(x[j / SIZE]);
        EACH(V) y[k * V + e] = of_all;
      } else {
        EACH(V) y[k * V + e] = to_float(x[(j + e) / SIZE]);
      }
    } else {
      EACH(V) y[k * V + e] = 0.0f;
    }
  }
}

// Elements that do not lie next to each other.
template <int C, int T, int V, int K, class X>
__device__ __forceinline__ void gather(float (&y)[V * K], const X* x, long long stride, int lane) {
  EACH(V * K) {
    const int j = ((e / V) * T + lane) * V + e % V;
    y[e] = is_inside<C, T, V>(e, lane) ? to_float(x[j * stride]) : 0.0f;
  }
}

template <int C, int T, int V, int K, class Y>
__device__ __forceinline__ void store(Y* y, const float (&x)[V * K], int lane) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int j = (k * T + lane) * V;
    if (is_inside<C, T, V>(k * V, lane)) {
      put<V>(y + j, x + k * V);
    }
  }
}

// Stores elements that do not lie next to each other.
template <int C, int T, int V, int K, class Y>
__device__ __forceinline__ void scatter(Y* y, const float (&x)[V * K], long long stride, int lane) {
  EACH(V * K) {
    const int j = ((e / V) * T + lane) * V + e % V;
    if (is_inside<C, T, V>(e, lane)) from_float(y[j * stride], x[e]);
  }
}

struct Sum { __device__ __forceinline__ float operator()(float a, float b) const { return a + b; } };
struct Max { __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); } };
// The larger magnitude, and NaN where there is one: as bits, magnitudes are in order, NaN beyond all of them.
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return __uint_as_float(max(__float_as_uint(fabsf(a)), __float_as_uint(fabsf(b))));
  }
};

// Reduces over the T threads of a row; each gets the result. All threads of their warps must call it.
template <int T, class F> __device__ __forceinline__ float reduce(float x, F f) {
#pragma unroll
  for (int step = T < 32 ? T / 2 : 16; step > 0; step /= 2) x = f(x, __shfl_xor_sync(0xffffffffu, x, step));
  if (T > 32) {
    __shared__ float parts[32];
    const int warp = threadIdx.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[warp] = x;
    __syncthreads();
    x = parts[0];
#pragma unroll
    for (int other = 1; other < T / 32; ++other) x = f(x, parts[other]);
  }
  return x;
}

template <int C, int T, int V, int K>
__device__ __forceinline__ void standardize(float (&y)[V * K], const float (&x)[V * K], float eps, int lane) {
  float sum = 0.0f;
  EACH(V * K) if (is_inside<C, T, V>(e, lane)) sum += x[e];
  const float mean = reduce<T>(sum, Sum()) * (1.0f / C);
  float squares = 0.0f;
  EACH(V * K) if (is_inside<C, T, V>(e, lane)) squares += (x[e] - mean) * (x[e] - mean);
  const float factor = rsqrtf(reduce<T>(squares, Sum()) * (1.0f / C) + eps);
  EACH(V * K) y[e] = (x[e] - mean) * factor;
}

template <int C, int T, int V, int K>
__device__ __forceinline__ void divide_by_rms(float (&y)[V * K], const float (&x)[V * K], float eps, int lane) {
  float squares = 0.0f;
  EACH(V * K) if (is_inside<C, T, V>(e, lane)) squares += x[e] * x[e];
  const float factor = rsqrtf(reduce<T>(squares, Sum()) * (1.0f / C) + eps);
  EACH(V * K) y[e] = x[e] * factor;
}

template <int C, int T, int V, int K>
__device__ __forceinline__ void rotate(float (&y)[V * K], const float (&x)[V * K], const float* cosines, const float* sines, int lane) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int j = (k * T + lane) * V;
    Pack<float, V / 2> c = {}, s = {};
    if (is_inside<C, T, V>(k * V, lane)) {
      c = *reinterpret_cast<const Pack<float, V / 2>*>(cosines + j / 2);
      s = *reinterpret_cast<const Pack<float, V / 2>*>(sines + j / 2);
    }
#pragma unroll
    for (int v = 0; v < V; v += 2) {
      const int e = k * V + v;
      y[e] = x[e] * c.at[v / 2] - x[e + 1] * s.at[v / 2];
      y[e + 1] = x[e + 1] * c.at[v / 2] + x[e] * s.at[v / 2];
    }
  }
}

// The code of y, in units of scale; the quotient is computed in the scale's dtype, to which `round` rounds.
struct ToI8 {
  typedef signed char Code;
  float least;
  template <class R> __device__ __forceinline__ Code operator()(float y, float scale, R round) const {
    const float inverse = round(__fdiv_rn(1.0f, scale));
    const float clamped = fminf(fmaxf(round(__fmul_rn(y, inverse)), least), 127.0f);
    // The lowest bit of 1.5 * 2^23 is one: the sum is rounded, and ends with the code. Fewer roundings and conversions fit into a cycle.
    return (Code)__float_as_int(clamped + 12582912.0f);
  }
};
struct ToF8E4M3 {
  typedef f8e4m3 Code;
  template <class R> __device__ __forceinline__ Code operator()(float y, float scale, R round) const {
    unsigned short code;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(code) : "f"(0.0f), "f"(round(__fdiv_rn(y, scale))));
    return Code{(unsigned char)code};
  }
};

// If the largest is NaN, so is the scale, and NaN shows in the result.
template <class R> __device__ __forceinline__ float scale_of(float largest, float most, float eps, R round) {
  const float scale = round(__fdiv_rn(largest, most)), least = round(eps);
  return scale < least ? least : scale;
}

// torchao's symmetric rule, all of it rounded to the scales' dtype: see reflux_ir::op::Quantize. `most` is the code of the
// largest.
template <int C, int T, int V, int K, class R, class E>
__device__ __forceinline__ void quantize(typename E::Code* codes, float* scales, const float (&x)[V * K], float most, float eps, R round, E encode, int lane) {
  float y[V * K];
  float largest = 0.0f;
  EACH(V * K) {
    y[e] = round(x[e]);
    if (is_inside<C, T, V>(e, lane)) largest = Largest()(largest, y[e]);
  }
  const float scale = scale_of(reduce<T>(largest, Largest()), most, eps, round);
  if (lane == 0) scales[0] = scale;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int j = (k * T + lane) * V;
    if (is_inside<C, T, V>(k * V, lane)) {
      Pack<typename E::Code, V> pack;
      EACH(V) pack.at[e] = encode(y[k * V + e], scale, round);
      *reinterpret_cast<Pack<typename E::Code, V>*>(codes + j) = pack;
    }
  }
}
