/* Kernels in portable C: any processor, any compiler. */
#include "gemm.h"

#define INLINE static inline

/* f64: integers in float64, the widest multiplier of processors without wide integer vectors. Two
 * lanes where the compiler has vectors of its own. */
#ifdef __GNUC__
typedef double f64_word __attribute__((vector_size(16)));
#else
typedef double f64_word;
#endif
typedef f64_word f64_acc;
enum { f64_head_bytes = 0, f64_word_bytes = 8, f64_vector_bytes = sizeof(f64_word) };
enum { F64_LANES = sizeof(f64_word) / sizeof(double) };
INLINE f64_acc f64_start(const char* head) {
  f64_acc zero = {0};
  return (void)head, zero;
}
INLINE f64_word f64_spread(const char* a) {
  double word;
  memcpy(&word, a, sizeof word);
  f64_word zero = {0};
  return zero + word;
}
INLINE f64_word f64_load(const char* b) {
  f64_word words;
  memcpy(&words, b, sizeof words);
  return words;
}
INLINE f64_acc f64_mac0(f64_acc acc, f64_word a, f64_word b) { return acc + a * b; }
INLINE void f64_move(f64_acc acc, void* sums, int at, bool first) {
  double lanes[F64_LANES];
  int64_t* to = (int64_t*)sums + at * F64_LANES;
  memcpy(lanes, &acc, sizeof lanes);
  for (int i = 0; i < F64_LANES; i++) to[i] = (first ? 0 : to[i]) + (int64_t)lanes[i];
}
#define TILE_KERNEL f64
#define TILE_WORDS 1
#define TILE_ROWS 4
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"

/* i64 */
typedef int64_t i64_acc, i64_word;
enum { i64_head_bytes = 0, i64_word_bytes = 8, i64_vector_bytes = 8 };
INLINE i64_acc i64_start(const char* head) { return (void)head, 0; }
INLINE i64_word i64_spread(const char* a) {
  int64_t word;
  memcpy(&word, a, sizeof word);
  return word;
}
INLINE i64_word i64_load(const char* b) { return i64_spread(b); }
INLINE i64_acc i64_mac0(i64_acc acc, i64_word a, i64_word b) { return acc + a * b; }
INLINE void i64_move(i64_acc acc, void* sums, int at, bool first) {
  int64_t* to = (int64_t*)sums + at;
  *to = (first ? 0 : *to) + acc;
}
#define TILE_KERNEL i64
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_ROWS

#define TILE_ROWS 2

/* i128: a product of 128 bits, added with a carry. */
#ifdef IM_INT128
typedef im_i128 i128_acc;
typedef int64_t i128_word;
enum { i128_head_bytes = 0, i128_word_bytes = 8, i128_vector_bytes = 8 };
INLINE i128_acc i128_start(const char* head) { return (void)head, 0; }
INLINE i128_word i128_spread(const char* a) { return i64_spread(a); }
INLINE i128_word i128_load(const char* b) { return i64_spread(b); }
INLINE i128_acc i128_mac0(i128_acc acc, i128_word a, i128_word b) { return acc + (im_i128)a * b; }
INLINE void i128_move(i128_acc acc, void* sums, int at, bool first) {
  uint64_t* low = ((im_sums*)sums)->i128.low + at;
  int64_t* high = ((im_sums*)sums)->i128.high + at;
  if (!first) acc += (im_i128)((im_u128)(uint64_t)*high << 64 | *low);
  *low = (uint64_t)acc;
  *high = (int64_t)(acc >> 64);
}
#define TILE_KERNEL i128
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#endif

/* wide: every operand. With 128-bit integers, the lower words of the products and their upper ones
 * are summed apart, each exact for fewer than 2**63 steps, without a carry between them: the true
 * sum is 2**64 upper + lower. Else by three limbs (wide.h). */
#ifdef IM_INT128
typedef struct {
  im_u128 lower;
  im_i128 upper;
} wide_acc;
#else
typedef im_wide wide_acc;
#endif
typedef int64_t wide_word;
enum { wide_head_bytes = 0, wide_word_bytes = 8, wide_vector_bytes = 8 };
INLINE wide_acc wide_start(const char* head) {
  wide_acc acc = {0};
  return (void)head, acc;
}
INLINE wide_word wide_spread(const char* a) { return i64_spread(a); }
INLINE wide_word wide_load(const char* b) { return i64_spread(b); }
#ifdef IM_INT128
INLINE wide_acc wide_mac0(wide_acc acc, wide_word a, wide_word b) {
  im_i128 product = (im_i128)a * b;
  acc.lower += (uint64_t)product;
  acc.upper += (int64_t)(product >> 64);
  return acc;
}
INLINE im_wide wide_sum(wide_acc acc) {
  im_wide lower = {{(uint64_t)acc.lower, (uint64_t)(acc.lower >> 64), 0}};
  im_wide upper = {{0, (uint64_t)acc.upper, (uint64_t)(acc.upper >> 64)}};
  return im_wide_add(lower, upper);
}
#else
INLINE wide_acc wide_mac0(wide_acc acc, wide_word a, wide_word b) {
  return im_wide_add(acc, im_wide_mul(a, b));
}
INLINE im_wide wide_sum(wide_acc acc) { return acc; }
#endif
INLINE void wide_move(wide_acc acc, void* sums, int at, bool first) {
  im_wide* to = (im_wide*)sums + at;
  *to = first ? wide_sum(acc) : im_wide_add(*to, wide_sum(acc));
}
#define TILE_KERNEL wide
#define TILE_MOST_VECTORS 1
#include "tiles_tpl.h"

static const im_kernel f64 = {"f64", IM_SCHEME_F64, 4,   F64_LANES, 2, {f64_tile4x1, f64_tile4x2},
                              250,   1000,          NULL};
static const im_kernel i64 = {"i64", IM_SCHEME_I64, 4, 1, 2, {i64_tile4x1, i64_tile4x2}, 330,
                              0,     NULL};
#ifdef IM_INT128
const im_kernel im_kernel_i128 = {
    "i128", IM_SCHEME_I128, 2, 1, 2, {i128_tile2x1, i128_tile2x2}, 400, 0, NULL};
#endif
const im_kernel im_kernel_wide = {"wide", IM_SCHEME_WIDE, 2, 1, 1, {wide_tile2x1}, 1000, 0, NULL};

const im_kernel* const im_kernels_scalar[] = {&f64, &i64, IM_ANY_OPERAND_KERNELS, NULL};
