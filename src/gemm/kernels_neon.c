/* Kernels for the baseline of aarch64: thirty-two registers of 128 bits. */
#include "gemm.h"

#ifdef __aarch64__

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

/* A word of a. */
INLINE int32_t word32(const char* a) {
  int32_t word;
  memcpy(&word, a, sizeof word);
  return word;
}
INLINE int64_t word64(const char* a) {
  int64_t word;
  memcpy(&word, a, sizeof word);
  return word;
}

/* Sums of int64 in vector `at` of a tile. */
INLINE void add_sums(void* sums, int at, bool first, int64x2_t v) {
  int64_t* to = (int64_t*)sums + 2 * at;
  vst1q_s64(to, first ? v : vaddq_s64(v, vld1q_s64(to)));
}

#define TILE_WORDS 1

/* i16: two int16 each; smlal multiplies the pairs of the lower two lanes and adds each product to
 * an int32 of its own, smlal2 does so for the upper two. A lane's sum is that of two such
 * neighbours, each at most p in a group: the bound 2 p groups < 2**31 holds for both, and for
 * their sum, which addp makes at the end of a block. */
typedef struct {
  int32x4_t lower, upper;
} i16_acc;
typedef int16x8_t i16_word;
enum { i16_head_bytes = 0, i16_word_bytes = 4, i16_vector_bytes = 16 };
INLINE i16_acc i16_start(const char* head) {
  return (void)head, (i16_acc){vdupq_n_s32(0), vdupq_n_s32(0)};
}
INLINE i16_word i16_spread(const char* a) { return vreinterpretq_s16_s32(vdupq_n_s32(word32(a))); }
INLINE i16_word i16_load(const char* b) { return vreinterpretq_s16_s32(vld1q_s32((const void*)b)); }
INLINE i16_acc i16_mac0(i16_acc acc, i16_word a, i16_word b) {
  return (i16_acc){vmlal_s16(acc.lower, vget_low_s16(a), vget_low_s16(b)),
                   vmlal_high_s16(acc.upper, a, b)};
}
INLINE void i16_move(i16_acc acc, void* sums, int at, bool first) {
  int32x4_t lanes = vpaddq_s32(acc.lower, acc.upper);
  add_sums(sums, 2 * at, first, vmovl_s32(vget_low_s32(lanes)));
  add_sums(sums, 2 * at + 1, first, vmovl_high_s32(lanes));
}
#define TILE_KERNEL i16
#define TILE_ROWS 4 /* each sum has two accumulators */
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_ROWS

#define TILE_ROWS 8

/* f64: fmla on integers. It rounds once, after the addition: up to 2**53 there is nothing to
 * round. */
typedef float64x2_t f64_acc, f64_word;
enum { f64_head_bytes = 0, f64_word_bytes = 8, f64_vector_bytes = 16 };
INLINE f64_acc f64_start(const char* head) { return (void)head, vdupq_n_f64(0); }
INLINE f64_word f64_spread(const char* a) { return vreinterpretq_f64_s64(vdupq_n_s64(word64(a))); }
INLINE f64_word f64_load(const char* b) { return vld1q_f64((const void*)b); }
INLINE f64_acc f64_mac0(f64_acc acc, f64_word a, f64_word b) { return vfmaq_f64(acc, a, b); }
INLINE void f64_move(f64_acc acc, void* sums, int at, bool first) {
  add_sums(sums, at, first, vcvtq_s64_f64(acc));
}
#define TILE_KERNEL f64
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"

/* i32: one int32 in a word of 64 bits, whose lower half xtn takes; smlal multiplies two of them to
 * int64, and adds. No product exceeds 2**62, and the bound holds for all of their sums. */
typedef int64x2_t i32_acc;
typedef int32x2_t i32_word;
enum { i32_head_bytes = 0, i32_word_bytes = 8, i32_vector_bytes = 16 };
INLINE i32_acc i32_start(const char* head) { return (void)head, vdupq_n_s64(0); }
INLINE i32_word i32_spread(const char* a) { return vdup_n_s32((int32_t)word64(a)); }
INLINE i32_word i32_load(const char* b) { return vmovn_s64(vld1q_s64((const void*)b)); }
INLINE i32_acc i32_mac0(i32_acc acc, i32_word a, i32_word b) { return vmlal_s32(acc, a, b); }
INLINE void i32_move(i32_acc acc, void* sums, int at, bool first) {
  add_sums(sums, at, first, acc);
}
#define TILE_KERNEL i32
#define TILE_MOST_VECTORS 2
#include "tiles_tpl.h"
#undef TILE_ROWS
#undef TILE_WORDS

/* Nothing was timed: the ratios are those of the instructions that an output takes, 250 each. */
static const im_kernel i16 = {"i16", IM_SCHEME_I16, 4,   4, 2, {i16_tile4x1, i16_tile4x2},
                              63,    560,           NULL};
static const im_kernel f64 = {"f64", IM_SCHEME_F64, 8,   2, 2, {f64_tile8x1, f64_tile8x2},
                              125,   500,           NULL};
static const im_kernel i32 = {"i32", IM_SCHEME_I32, 8,   2, 2, {i32_tile8x1, i32_tile8x2},
                              141,   375,           NULL};

const im_kernel* const im_kernels_neon[] = {&i16, &f64, &i32, IM_ANY_OPERAND_KERNELS, NULL};

#endif
