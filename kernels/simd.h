// Vectors of one instruction set. Everything here is exact IEEE arithmetic in a fixed order, so that both
// widths give the same bits: a fused multiply-add is always written `fma`, and the compiler fuses nothing.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifndef LANES_WIDTH
#error "LANES_WIDTH (8 or 16 floats a vector) is set by the build, once for each instruction set"
#endif

// Each instruction set has its own namespace and its own module: code of one never runs as the other's.
#if LANES_WIDTH == 16
#define LANES_ISA avx512
#else
#define LANES_ISA avx2
#endif

#define LANES_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define LANES_UNROLL(n) LANES_PRAGMA(unroll)
#else
#define LANES_UNROLL(n) LANES_PRAGMA(GCC unroll n)
#endif
#define LANES_INLINE inline __attribute__((always_inline))
#define LANES_NOINLINE __attribute__((noinline))

namespace lanes::LANES_ISA {

constexpr int WIDTH = LANES_WIDTH;
// Examples side by side. In a prototype 16 and 64 differed little from it.
constexpr int TILE = 32;
constexpr int PARTS = TILE / WIDTH;

// Not `using`: Clang then ignores the alignment.
typedef float V __attribute__((vector_size(WIDTH * 4), may_alias));
typedef std::int32_t VI __attribute__((vector_size(WIDTH * 4), may_alias));
typedef float VLoose __attribute__((vector_size(WIDTH * 4), may_alias, aligned(4)));
typedef float V4 __attribute__((vector_size(16), may_alias));
typedef float V4Loose __attribute__((vector_size(16), may_alias, aligned(4)));

LANES_INLINE V load(const float* p) { return *reinterpret_cast<const V*>(p); }
LANES_INLINE void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
LANES_INLINE void store_loose(float* p, V v) { *reinterpret_cast<VLoose*>(p) = v; }
LANES_INLINE V zero() { return V{}; }
LANES_INLINE V splat(float x) { return x - V{}; }
LANES_INLINE V select(VI where, V yes, V no) { return where ? yes : no; }
LANES_INLINE V larger(V a, V b) { return a > b ? a : b; }
// ReLU that lets NaN through: a divergence must not be hidden.
LANES_INLINE V positive(V v) { return V{} > v ? V{} : v; }
LANES_INLINE V keep(V v, VI bits) { return reinterpret_cast<V>(reinterpret_cast<VI>(v) & bits); }

#if LANES_WIDTH == 16
// GCC 12 does the conversions between bytes and integers one by one if they are left to it.
LANES_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
LANES_INLINE V root(V a) { return _mm512_maskz_sqrt_ps(0xffff, a); }
LANES_INLINE VI widen(const std::uint8_t* bytes) {
    return reinterpret_cast<VI>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
}
LANES_INLINE void narrow(std::uint8_t* bytes, VI small) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(small)));
}
#else
LANES_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
LANES_INLINE V root(V a) { return _mm256_sqrt_ps(a); }
LANES_INLINE VI widen(const std::uint8_t* bytes) {
    return reinterpret_cast<VI>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}
LANES_INLINE void narrow(std::uint8_t* bytes, VI small) {
    const auto all = reinterpret_cast<__m256i>(small);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(words, words));
}
#endif
// Keeps a shared operand in a register: without it GCC folds the load into every multiply-add.
#define LANES_PIN(v) asm("" : "+v"(v))
LANES_INLINE V4 fma(V4 a, V4 b, V4 c) { return _mm_fmadd_ps(a, b, c); }

// The upper and the lower halves of two vectors, interleaved.
#if LANES_WIDTH == 16
LANES_INLINE V low(V a, V b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
LANES_INLINE V high(V a, V b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#else
LANES_INLINE V low(V a, V b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
LANES_INLINE V high(V a, V b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#endif

// A weight gradient has 16 partial sums, one for each lane modulo 16, whatever the width: wide vectors hold
// all of them, narrow ones half. They are added as a tree: lane l and l + 8, then l + 4, l + 2, l + 1.
constexpr int CLASSES = 16;
constexpr int HALVES = CLASSES / WIDTH;

// The lane sums of WIDTH vectors as one vector: the same tree for each of them.
LANES_INLINE V tree(const V* a) {
    V r[WIDTH];
    LANES_UNROLL(16)
    for (int i = 0; i < WIDTH; i++) r[i] = a[i];
    LANES_UNROLL(4)
    for (int half = WIDTH / 2; half >= 1; half /= 2) {
        LANES_UNROLL(8)
        for (int i = 0; i < half; i++) r[i] = low(r[i], r[i + half]) + high(r[i], r[i + half]);
    }
    return r[0];
}

LANES_INLINE float tree_of_one(V a) {
    float s[WIDTH];
    std::memcpy(s, &a, sizeof a);
    for (int half = WIDTH / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}

// The sum of a weight gradient's partial sums.
LANES_INLINE float sum_of_classes(const V* halves) {
    V sum = halves[0];
    for (int h = 1; h < HALVES; h++) sum += halves[h];
    return tree_of_one(sum);
}

// A square of floats, rows to columns.
LANES_INLINE void transpose_square(const V* rows, V* columns) {
    V a[WIDTH], b[WIDTH];
    LANES_UNROLL(16)
    for (int i = 0; i < WIDTH; i++) a[i] = rows[i];
    LANES_UNROLL(4)
    for (int step = 1; step < WIDTH; step *= 2) {
        LANES_UNROLL(8)
        for (int i = 0; i < WIDTH / 2; i++) {
            b[2 * i] = low(a[i], a[i + WIDTH / 2]);
            b[2 * i + 1] = high(a[i], a[i + WIDTH / 2]);
        }
        LANES_UNROLL(16)
        for (int i = 0; i < WIDTH; i++) a[i] = b[i];
    }
    LANES_UNROLL(16)
    for (int i = 0; i < WIDTH; i++) columns[i] = a[i];
}

// e to the x for x <= 0, to about two units in the last place; 0 below -87.
// Cody and Waite's reduction, the polynomial of the Cephes library.
LANES_INLINE V exponential(V x) {
    const VI tiny = x < splat(-87.f);
    x = larger(x, splat(-87.f));
    const VI n = __builtin_convertvector(fma(x, splat(1.44269504f), splat(-0.5f)), VI);
    const V whole = __builtin_convertvector(n, V);
    V r = fma(whole, splat(-0.693359375f), x);
    r = fma(whole, splat(2.12194440e-4f), r);
    V p = splat(1.9875691500e-4f);
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p, r * r, r + splat(1.f));
    return keep(p * reinterpret_cast<V>((n + 127) << 23), ~tiny);
}

}  // namespace lanes::LANES_ISA
