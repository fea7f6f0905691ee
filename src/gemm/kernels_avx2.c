/* Kernels for AVX2 and FMA: sixteen registers of 256 bits. */
#include "../cpu/isa.h"

#ifdef IM_X86

#include <immintrin.h>

IM_TARGET_BEGIN("avx2,fma,bmi2")

#include "gemm.h"

#define INLINE static inline __attribute__((always_inline))

/* A word of a, in all lanes. */
INLINE __m256i spread32(const char* a) {
  int32_t word;
  memcpy(&word, a, sizeof word);
  return _mm256_set1_epi32(word);
}
INLINE __m256i spread64(const char* a) {
  int64_t word;
  memcpy(&word, a, sizeof word);
  return _mm256_set1_epi64x(word);
}
INLINE __m256i load(const char* b) { return _mm256_loadu_si256((const void*)b); }
INLINE __m256i zero(void) { return _mm256_setzero_si256(); }

/* The multiply-adds, each an instruction by name: compilers move intrinsics apart, and run out of
 * registers. */
INLINE __m256i maddwd_add(__m256i acc, __m256i a, __m256i b) {
  __m256i products;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(products) : "x"(a), "x"(b));
  return acc;
}
INLINE __m256i muldq_add(__m256i acc, __m256i a, __m256i b) {
  __m256i product;
  __asm__("vpmuldq %3, %2, %1\n\tvpaddq %1, %0, %0" : "+x"(acc), "=&x"(product) : "x"(a), "x"(b));
  return acc;
}
INLINE __m256d fmadd(__m256d acc, __m256d a, __m256d b) {
  __asm__("vfmadd231pd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
  return acc;
}

/* Sums of int64 in vector `at` of a tile. */
INLINE void add_sums(void* sums, int at, bool first, __m256i v) {
  __m256i* to = (__m256i*)sums + at;
  if (!first) v = _mm256_add_epi64(v, _mm256_loadu_si256(to));
  _mm256_storeu_si256(to, v);
}
INLINE __m256i lower(__m256i v) { return _mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)); }
INLINE __m256i upper(__m256i v) { return _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)); }

#define TILE_ROWS 4
#define TILE_WORDS 1

/* i16: two int16 each; vpmaddwd makes the sum of their two products, vpaddd adds it. */
typedef __m256i i16_acc, i16_word;
enum { i16_head_bytes = 0, i16_word_bytes = 4, i16_vector_bytes = 32 };
INLINE i16_acc i16_start(const char* head) { return (void)head, zero(); }
INLINE i16_word i16_spread(const char* a) { return spread32(a); }
INLINE i16_word i16_load(const char* b) { return load(b); }
INLINE i16_acc i16_mac0(i16_acc acc, i16_word a, i16_word b) { return maddwd_add(acc, a, b); }
INLINE void i16_move(i16_acc acc, void* sums, int at, bool first) {
  add_sums(sums, 2 * at, first, lower(acc));
  add_sums(sums, 2 * at + 1, first, upper(acc));
}
#define TILE_KERNEL i16
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"

/* f64: vfmadd231pd on integers. */
typedef __m256d f64_acc, f64_word;
enum { f64_head_bytes = 0, f64_word_bytes = 8, f64_vector_bytes = 32 };
INLINE f64_acc f64_start(const char* head) { return (void)head, _mm256_setzero_pd(); }
INLINE f64_word f64_spread(const char* a) { return _mm256_castsi256_pd(spread64(a)); }
INLINE f64_word f64_load(const char* b) { return _mm256_castsi256_pd(load(b)); }
INLINE f64_acc f64_mac0(f64_acc acc, f64_word a, f64_word b) { return fmadd(acc, a, b); }
INLINE void f64_move(f64_acc acc, void* sums, int at, bool first) {
  double lanes[4];
  _mm256_storeu_pd(lanes, acc);
  int64_t* to = (int64_t*)sums + 4 * at;
  for (int i = 0; i < 4; i++) to[i] = (first ? 0 : to[i]) + (int64_t)lanes[i];
}
#define TILE_KERNEL f64
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i32: one int32 in a lane of 64 bits; vpmuldq multiplies, vpaddq adds. */
typedef __m256i i32_acc, i32_word;
enum { i32_head_bytes = 0, i32_word_bytes = 8, i32_vector_bytes = 32 };
INLINE i32_acc i32_start(const char* head) { return (void)head, zero(); }
INLINE i32_word i32_spread(const char* a) { return spread64(a); }
INLINE i32_word i32_load(const char* b) { return load(b); }
INLINE i32_acc i32_mac0(i32_acc acc, i32_word a, i32_word b) { return muldq_add(acc, a, b); }
INLINE void i32_move(i32_acc acc, void* sums, int at, bool first) {
  add_sums(sums, at, first, acc);
}
#define TILE_KERNEL i32
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_ROWS

/* The kernels below have two accumulators for a sum: fewer rows in a tile. */
#define TILE_ROWS 2

/* i16split: with p the sum of two products, in int32, t sums p modulo 2**32 and s sums p >> 16.
 * What s leaves, the sum of p & 0xffff, lies in 0 .. 65535**2 < 2**32 after 65535 groups: so it is
 * t - 2**16 s modulo 2**32, and the true sum 2**16 s plus that. |s| <= 65535 * 2**15 < 2**31. */
typedef struct {
  __m256i t, s;
} i16split_acc;
typedef __m256i i16split_word;
enum { i16split_head_bytes = 0, i16split_word_bytes = 4, i16split_vector_bytes = 32 };
INLINE i16split_acc i16split_start(const char* head) {
  return (void)head, (i16split_acc){zero(), zero()};
}
INLINE i16split_word i16split_spread(const char* a) { return spread32(a); }
INLINE i16split_word i16split_load(const char* b) { return load(b); }
INLINE i16split_acc i16split_mac0(i16split_acc acc, i16split_word a, i16split_word b) {
  __m256i p = _mm256_madd_epi16(a, b);
  acc.t = _mm256_add_epi32(acc.t, p);
  acc.s = _mm256_add_epi32(acc.s, _mm256_srai_epi32(p, 16));
  return acc;
}
INLINE void i16split_move(i16split_acc acc, void* sums, int at, bool first) {
  __m256i rest = _mm256_sub_epi32(acc.t, _mm256_slli_epi32(acc.s, 16));
  __m256i rest_low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(rest));
  __m256i rest_high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(rest, 1));
  __m256i low = _mm256_add_epi64(_mm256_slli_epi64(lower(acc.s), 16), rest_low);
  __m256i high = _mm256_add_epi64(_mm256_slli_epi64(upper(acc.s), 16), rest_high);
  add_sums(sums, 2 * at, first, low);
  add_sums(sums, 2 * at + 1, first, high);
}
#define TILE_KERNEL i16split
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_WORDS

/* i32any: words and proof are those of the AVX-512 kernel of this name; vpmaddwd and vpaddd sum
 * the products of tops. */
typedef struct {
  __m256i t, s;
} i32any_acc;
typedef __m256i i32any_word;
enum { i32any_head_bytes = 0, i32any_word_bytes = 8, i32any_vector_bytes = 32 };
INLINE i32any_acc i32any_start(const char* head) {
  return (void)head, (i32any_acc){zero(), zero()};
}
INLINE i32any_word i32any_spread(const char* a) { return spread64(a); }
INLINE i32any_word i32any_load(const char* b) { return load(b); }
INLINE i32any_acc i32any_mac0(i32any_acc acc, i32any_word a, i32any_word b) {
  return (i32any_acc){muldq_add(acc.t, a, b), maddwd_add(acc.s, a, b)};
}
INLINE i32any_acc i32any_mac1(i32any_acc acc, i32any_word a, i32any_word b) {
  return (i32any_acc){muldq_add(acc.t, a, b), acc.s};
}
INLINE void i32any_move(i32any_acc acc, void* sums, int at, bool first) {
  int64_t t[4], s[4];
  _mm256_storeu_si256((void*)t, acc.t);
  _mm256_storeu_si256((void*)s, acc.s);
  uint64_t* low = ((im_sums*)sums)->i128.low + 4 * at;
  int64_t* high = ((im_sums*)sums)->i128.high + 4 * at;
  for (int i = 0; i < 4; i++) {
    /* 2**42 s + e in two words: the low ones add up to t, with a carry where t is less. */
    int64_t tops = s[i] >> 32;
    uint64_t shifted = (uint64_t)tops << 42, sum = (uint64_t)t[i];
    int64_t carry = (tops >> 22) + ((int64_t)(sum - shifted) >> 63) + (sum < shifted);
    low[i] = (first ? 0 : low[i]) + sum;
    high[i] = (first ? 0 : high[i]) + carry + (low[i] < sum);
  }
}
#define TILE_KERNEL i32any
#define TILE_WORDS 2
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_WORDS
#undef TILE_ROWS

/* The times were taken on a Zen 5; only their ratios matter. */
static const im_kernel i16 = {"i16", IM_SCHEME_I16, 4, 8, 2, {i16_tile4x1, i16_tile4x2}, 10,
                              80,    NULL};
static const im_kernel i16split = {
    "i16split", IM_SCHEME_I16SPLIT, 2, 8, 2, {i16split_tile2x1, i16split_tile2x2}, 20, 100, NULL};
static const im_kernel f64 = {
    "f64", IM_SCHEME_F64, 4, 4, 3, {f64_tile4x1, f64_tile4x2, f64_tile4x3}, 34, 300, NULL};
static const im_kernel i32 = {"i32", IM_SCHEME_I32, 4, 4, 2, {i32_tile4x1, i32_tile4x2}, 42,
                              80,    NULL};
static const im_kernel i32any = {
    "i32any", IM_SCHEME_I32ANY, 2, 4, 2, {i32any_tile2x1, i32any_tile2x2}, 60, 1500, NULL};

IM_TARGET_END

const im_kernel* const im_kernels_avx2[] = {
    &i16, &i16split, &f64, &i32, &i32any, IM_ANY_OPERAND_KERNELS, NULL};

#endif
