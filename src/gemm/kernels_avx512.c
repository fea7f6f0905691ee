/* Kernels for AVX-512; those that need VNNI say so. */
#include "../cpu/isa.h"

#ifdef IM_X86

#include <immintrin.h>

IM_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,bmi2")

#include "gemm.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i spread32(const char* a) {
  int32_t word;
  memcpy(&word, a, sizeof word);
  return _mm512_set1_epi32(word);
}
INLINE __m512i spread64(const char* a) {
  int64_t word;
  memcpy(&word, a, sizeof word);
  return _mm512_set1_epi64(word);
}
/* The multiply-adds, each an instruction by name. Written as intrinsics, gcc 12 moves them apart
 * and copies or spills accumulators: half the speed. */
INLINE __m512i dpbusd(__m512i acc, __m512i a, __m512i b) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
}
INLINE __m512i dpwssd(__m512i acc, __m512i a, __m512i b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
}
INLINE __m512d fmadd(__m512d acc, __m512d a, __m512d b) {
  __asm__("vfmadd231pd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
}
INLINE __m512i muldq_add(__m512i acc, __m512i a, __m512i b) {
  __m512i product;
  __asm__("vpmuldq %3, %2, %1\n\tvpaddq %1, %0, %0" : "+v"(acc), "=&v"(product) : "v"(a), "v"(b));
  return acc;
}
INLINE __m512i maddwd_add(__m512i acc, __m512i a, __m512i b) {
  __m512i products;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(acc), "=&v"(products) : "v"(a), "v"(b));
  return acc;
}
INLINE __m512i zero(void) { return _mm512_setzero_si512(); }
INLINE __m512i load(const char* b) { return _mm512_loadu_si512(b); }

/* What kernels of one word share: see tile_tpl.h. HEAD is 64 bytes a vector, or 0. */
#define WORDS(K, BITS, HEAD)                                                        \
  typedef __m512i K##_word;                                                         \
  enum { K##_head_bytes = HEAD, K##_word_bytes = BITS / 8, K##_vector_bytes = 64 }; \
  INLINE K##_word K##_spread(const char* a) { return spread##BITS(a); }             \
  INLINE K##_word K##_load(const char* b) { return load(b); }

/* Sums of int64 in vector `at` of a tile. */
INLINE void add_sums(void* sums, int at, bool first, __m512i v) {
  __m512i* to = (__m512i*)sums + at;
  if (!first) v = _mm512_add_epi64(v, _mm512_loadu_si512(to));
  _mm512_storeu_si512(to, v);
}
INLINE __m512i lower(__m512i v) { return _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v)); }
INLINE __m512i upper(__m512i v) { return _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1)); }

/* i8: a + 128 as four uint8, b as four int8; vpdpbusd adds their four products to int32. The head
 * holds -128 times the sum of b over the block, so that the offset's share is gone at its end. */
typedef __m512i i8_acc;
WORDS(i8, 32, 64)
INLINE i8_acc i8_start(const char* head) { return load(head); }
INLINE i8_acc i8_mac0(i8_acc acc, i8_word a, i8_word b) { return dpbusd(acc, a, b); }
INLINE void i8_move(i8_acc acc, void* sums, int at, bool first) {
  add_sums(sums, 2 * at, first, lower(acc));
  add_sums(sums, 2 * at + 1, first, upper(acc));
}
#define TILE_KERNEL i8
#define TILE_WORDS 1
#define TILE_ROWS 8
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i16: two int16 each; vpdpwssd adds their two products to int32. */
typedef __m512i i16_acc;
WORDS(i16, 32, 0)
INLINE i16_acc i16_start(const char* head) { return (void)head, zero(); }
INLINE i16_acc i16_mac0(i16_acc acc, i16_word a, i16_word b) { return dpwssd(acc, a, b); }
INLINE void i16_move(i16_acc acc, void* sums, int at, bool first) { i8_move(acc, sums, at, first); }
#define TILE_KERNEL i16
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i16madd: the same without VNNI; vpmaddwd makes the sum of two products, vpaddd adds it. */
typedef __m512i i16madd_acc;
WORDS(i16madd, 32, 0)
INLINE i16madd_acc i16madd_start(const char* head) { return (void)head, zero(); }
INLINE i16madd_acc i16madd_mac0(i16madd_acc acc, i16madd_word a, i16madd_word b) {
  return maddwd_add(acc, a, b);
}
INLINE void i16madd_move(i16madd_acc acc, void* sums, int at, bool first) {
  i8_move(acc, sums, at, first);
}
#define TILE_KERNEL i16madd
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* f64: vfmadd231pd on integers. */
typedef __m512d f64_acc, f64_word;
enum { f64_head_bytes = 0, f64_word_bytes = 8, f64_vector_bytes = 64 };
INLINE f64_acc f64_start(const char* head) { return (void)head, _mm512_castsi512_pd(zero()); }
INLINE f64_word f64_spread(const char* a) { return _mm512_castsi512_pd(spread64(a)); }
INLINE f64_word f64_load(const char* b) { return _mm512_castsi512_pd(load(b)); }
INLINE f64_acc f64_mac0(f64_acc acc, f64_word a, f64_word b) { return fmadd(acc, a, b); }
INLINE void f64_move(f64_acc acc, void* sums, int at, bool first) {
  add_sums(sums, at, first, _mm512_cvtpd_epi64(acc));
}
#define TILE_KERNEL f64
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i32: one int32 in a lane of 64 bits; vpmuldq multiplies, vpaddq adds. */
typedef __m512i i32_acc;
WORDS(i32, 64, 0)
INLINE i32_acc i32_start(const char* head) { return (void)head, zero(); }
INLINE i32_acc i32_mac0(i32_acc acc, i32_word a, i32_word b) { return muldq_add(acc, a, b); }
INLINE void i32_move(i32_acc acc, void* sums, int at, bool first) {
  add_sums(sums, at, first, acc);
}
#define TILE_KERNEL i32
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"
#undef TILE_ROWS
#undef TILE_WORDS

/* The kernels below have more than one accumulator for a sum: fewer rows in a tile. */
#define TILE_ROWS 4

/* i16any: two pairs of int16 and their four high bytes h. t sums all products modulo 2**32 by
 * vpdpwssd; s sums the products of high bytes by vpdpbusd, a's offset by 128, the head holding
 * -128 times the sum of b's. With v = 2**8 h + l, 0 <= l < 2**8, the rest e = t - 2**16 s is the
 * sum of 2**8 (h l' + l h') + l l', which lies in -16711680 .. 16646145 for one step: int32 holds
 * it for 128 steps, and the true sum is 2**16 s + e. */
typedef struct {
  __m512i t, s;
} i16any_acc;
WORDS(i16any, 32, 64)
INLINE i16any_acc i16any_start(const char* head) { return (i16any_acc){zero(), load(head)}; }
INLINE i16any_acc i16any_mac0(i16any_acc acc, i16any_word a, i16any_word b) {
  return (i16any_acc){dpwssd(acc.t, a, b), acc.s};
}
INLINE i16any_acc i16any_mac1(i16any_acc acc, i16any_word a, i16any_word b) {
  return (i16any_acc){dpwssd(acc.t, a, b), acc.s};
}
INLINE i16any_acc i16any_mac2(i16any_acc acc, i16any_word a, i16any_word b) {
  return (i16any_acc){acc.t, dpbusd(acc.s, a, b)};
}
INLINE void i16any_move(i16any_acc acc, void* sums, int at, bool first) {
  __m512i e = _mm512_sub_epi32(acc.t, _mm512_slli_epi32(acc.s, 16));
  __m512i low = _mm512_add_epi64(lower(e), _mm512_slli_epi64(lower(acc.s), 16));
  __m512i high = _mm512_add_epi64(upper(e), _mm512_slli_epi64(upper(acc.s), 16));
  add_sums(sums, 2 * at, first, low);
  add_sums(sums, 2 * at + 1, first, high);
}
#define TILE_KERNEL i16any
#define TILE_WORDS 3
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i24: v = 2**12 h + l with l in -2**11 .. 2**11 - 1, so |h| <= 2**11. Words: pairs of l, of h and
 * of l + h. The product is 2**24 h h' + 2**12 m + l l' with m = (l + h)(l' + h') - h h' - l l'
 * (Karatsuba), each summed in int32 by vpdpwssd; m's first term modulo 2**32. |m| <= 2**23 in one
 * step, so that int32 holds its sum for 254 steps, and those of l l' and h h', half of it. */
typedef struct {
  __m512i low, high, both;
} i24_acc;
WORDS(i24, 32, 0)
INLINE i24_acc i24_start(const char* head) { return (void)head, (i24_acc){zero(), zero(), zero()}; }
INLINE i24_acc i24_mac0(i24_acc acc, i24_word a, i24_word b) {
  return (i24_acc){dpwssd(acc.low, a, b), acc.high, acc.both};
}
INLINE i24_acc i24_mac1(i24_acc acc, i24_word a, i24_word b) {
  return (i24_acc){acc.low, dpwssd(acc.high, a, b), acc.both};
}
INLINE i24_acc i24_mac2(i24_acc acc, i24_word a, i24_word b) {
  return (i24_acc){acc.low, acc.high, dpwssd(acc.both, a, b)};
}
INLINE __m512i i24_join(__m512i low, __m512i middle, __m512i high) {
  __m512i upper_part = _mm512_add_epi64(_mm512_slli_epi64(high, 12), middle);
  return _mm512_add_epi64(_mm512_slli_epi64(upper_part, 12), low);
}
INLINE void i24_move(i24_acc acc, void* sums, int at, bool first) {
  __m512i middle = _mm512_sub_epi32(acc.both, _mm512_add_epi32(acc.low, acc.high));
  add_sums(sums, 2 * at, first, i24_join(lower(acc.low), lower(middle), lower(acc.high)));
  add_sums(sums, 2 * at + 1, first, i24_join(upper(acc.low), upper(middle), upper(acc.high)));
}
#define TILE_KERNEL i24
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"

#undef TILE_WORDS
#define TILE_WORDS 2

/* i24x16: the limbs of i24 for a, 16 bits for b: pairs of l and of h, and pairs of b. Two sums of
 * int32 by vpdpwssd, of l b and of h b, are exact for as long as the ranges allow. */
typedef struct {
  __m512i low, high;
} limbs_acc;
INLINE limbs_acc limbs_add_low(limbs_acc acc, __m512i a, __m512i b) {
  return (limbs_acc){dpwssd(acc.low, a, b), acc.high};
}
INLINE limbs_acc limbs_add_high(limbs_acc acc, __m512i a, __m512i b) {
  return (limbs_acc){acc.low, dpwssd(acc.high, a, b)};
}
INLINE __m512i limbs_join(__m512i low, __m512i high) {
  return _mm512_add_epi64(_mm512_slli_epi64(high, 12), low);
}
#define LIMBS(K)                                                                               \
  typedef limbs_acc K##_acc;                                                                   \
  WORDS(K, 32, 0)                                                                              \
  INLINE K##_acc K##_start(const char* head) { return (void)head, (K##_acc){zero(), zero()}; } \
  INLINE K##_acc K##_mac0(K##_acc acc, K##_word a, K##_word b) {                               \
    return limbs_add_low(acc, a, b);                                                           \
  }                                                                                            \
  INLINE K##_acc K##_mac1(K##_acc acc, K##_word a, K##_word b) {                               \
    return limbs_add_high(acc, a, b);                                                          \
  }                                                                                            \
  INLINE void K##_move(K##_acc acc, void* sums, int at, bool first) {                          \
    add_sums(sums, 2 * at, first, limbs_join(lower(acc.low), lower(acc.high)));                \
    add_sums(sums, 2 * at + 1, first, limbs_join(upper(acc.low), upper(acc.high)));            \
  }
LIMBS(i24x16)
#define TILE_KERNEL i24x16
#define TILE_B_WORDS 1
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i16x24: the limbs are those of b. */
LIMBS(i16x24)
#define TILE_KERNEL i16x24
#define TILE_A_WORDS 1
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"

/* i32any: the lanes of 64 bits of two steps hold v and v' in their lower halves, and the first
 * has their tops h = (v + 2**20) >> 21 as a pair of int16 in its upper half, which vpmuldq does
 * not read. t sums the products modulo 2**64; s, in upper halves, those of tops by vpdpwssd, at
 * most 2**21 for two steps: exact for 2046 steps. With v = 2**21 h + l, |l| <= 2**20 and
 * |h| <= 2**10, the rest e = t - 2**42 s is the sum of 2**21 (h l' + l h') + l l', at most
 * 2**52 + 2**40 for one step: int64 holds it for 2046 steps, and the true sum is 2**42 s + e. */
typedef struct {
  __m512i t, s;
} i32any_acc;
WORDS(i32any, 64, 0)
INLINE i32any_acc i32any_start(const char* head) {
  return (void)head, (i32any_acc){zero(), zero()};
}
INLINE i32any_acc i32any_mac0(i32any_acc acc, i32any_word a, i32any_word b) {
  return (i32any_acc){muldq_add(acc.t, a, b), dpwssd(acc.s, a, b)};
}
INLINE i32any_acc i32any_mac1(i32any_acc acc, i32any_word a, i32any_word b) {
  return (i32any_acc){muldq_add(acc.t, a, b), acc.s};
}
INLINE void i32any_move(i32any_acc acc, void* sums, int at, bool first) {
  __m512i s = _mm512_srai_epi64(acc.s, 32), shifted = _mm512_slli_epi64(s, 42);
  __m512i rest = _mm512_sub_epi64(acc.t, shifted);
  /* 2**42 s + e in two words: the low ones add up to t, with a carry where t < their first. */
  __m512i low = acc.t, one = _mm512_set1_epi64(1);
  __m512i high = _mm512_add_epi64(_mm512_srai_epi64(s, 22), _mm512_srai_epi64(rest, 63));
  high = _mm512_mask_add_epi64(high, _mm512_cmplt_epu64_mask(low, shifted), high, one);
  __m512i* to_low = (__m512i*)((im_sums*)sums)->i128.low + at;
  __m512i* to_high = (__m512i*)((im_sums*)sums)->i128.high + at;
  if (!first) {
    __m512i before = _mm512_loadu_si512(to_low);
    low = _mm512_add_epi64(low, before);
    high = _mm512_add_epi64(high, _mm512_loadu_si512(to_high));
    high = _mm512_mask_add_epi64(high, _mm512_cmplt_epu64_mask(low, before), high, one);
  }
  _mm512_storeu_si512(to_low, low);
  _mm512_storeu_si512(to_high, high);
}
#define TILE_KERNEL i32any
#define TILE_MOST_VECTORS 3
#include "tiles_tpl.h"
#undef TILE_ROWS

static bool has_vnni(void) { return __builtin_cpu_supports("avx512vnni"); }

/* The times were taken on a Zen 5; only their ratios matter. */
static const im_kernel i8 = {
    "i8", IM_SCHEME_I8, 8, 16, 3, {i8_tile8x1, i8_tile8x2, i8_tile8x3}, 2.2, 30, has_vnni};
static const im_kernel i16 = {
    "i16", IM_SCHEME_I16, 8, 16, 3, {i16_tile8x1, i16_tile8x2, i16_tile8x3}, 4.3, 34, has_vnni};
static const im_kernel i16madd = {
    "i16madd", IM_SCHEME_I16, 8, 16, 3, {i16madd_tile8x1, i16madd_tile8x2, i16madd_tile8x3}, 7.0,
    34,        NULL};
static const im_kernel i16any = {
    "i16any", IM_SCHEME_I16ANY, 4, 16, 3, {i16any_tile4x1, i16any_tile4x2, i16any_tile4x3}, 6.7,
    40,       has_vnni};
static const im_kernel i24 = {"i24", IM_SCHEME_I24, 4, 16, 2, {i24_tile4x1, i24_tile4x2}, 13.2,
                              60,    has_vnni};
static const im_kernel i24x16 = {
    "i24x16", IM_SCHEME_I24X16, 4, 16, 3, {i24x16_tile4x1, i24x16_tile4x2, i24x16_tile4x3}, 8.8,
    50,       has_vnni};
static const im_kernel i16x24 = {
    "i16x24", IM_SCHEME_I16X24, 4, 16, 3, {i16x24_tile4x1, i16x24_tile4x2, i16x24_tile4x3}, 8.8,
    50,       has_vnni};
static const im_kernel f64 = {
    "f64", IM_SCHEME_F64, 8, 8, 3, {f64_tile8x1, f64_tile8x2, f64_tile8x3}, 16.8, 40, NULL};
static const im_kernel i32 = {
    "i32", IM_SCHEME_I32, 8, 8, 3, {i32_tile8x1, i32_tile8x2, i32_tile8x3}, 18.9, 30, NULL};
static const im_kernel i32any = {
    "i32any", IM_SCHEME_I32ANY, 4, 8, 3, {i32any_tile4x1, i32any_tile4x2, i32any_tile4x3}, 26.3,
    100,      has_vnni};

IM_TARGET_END

const im_kernel* const im_kernels_avx512[] = {&i8,
                                              &i16,
                                              &i16madd,
                                              &i16any,
                                              &i24,
                                              &i24x16,
                                              &i16x24,
                                              &f64,
                                              &i32,
                                              &i32any,
                                              IM_ANY_OPERAND_KERNELS,
                                              NULL};

#endif
