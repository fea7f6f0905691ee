/* How a value enters a format: the one definition of round, saturate and wrap.
 *
 * A shift by k splits s into its floor q and the k bits that it discards; im_round_more
 * decides from these whether q or q + 1 is the result. This serves int64, im_wide and float64
 * alike. All of it is free of branches, so that the compiler vectorises the loops around it.
 */
#ifndef IM_ROUND_H
#define IM_ROUND_H

#include <float.h>
#include <string.h>

#include "../intmlp.h"
#include "long.h"
#include "wide.h"

/* A loop that is compiled once for each set of constants it is called with. */
#ifdef _MSC_VER
#define IM_INLINE static __forceinline
#else
#define IM_INLINE static inline __attribute__((always_inline))
#endif

/* Float parts are sequences of float64 operations, each rounded once (docs/numerics.md, section 7):
 * the registers of the x87 round twice. Where float32 is computed in float64 (method 1), code that
 * counts on its rounding assigns each result to a variable. */
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "float64 must be computed as float64: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

/* Shifting a negative integer right is implementation-defined in C11: all of gcc, clang and
 * MSVC repeat the sign, and a compiler that does not stops here. */
_Static_assert((INT64_C(-1) >> 1) == -1, "a right shift must repeat the sign");

#define IM_INT int64_t
#define IM_UINT uint64_t
#define IM_WIDTH 64
#define IM_REAL double
#define IM_MAGIC 0x1.8p52
#define IM_SMALL 0x1p51
#define IM_ABS fabs
#define IM_NAME(name) name
#include "round_tpl.h"

#define IM_INT int32_t
#define IM_UINT uint32_t
#define IM_WIDTH 32
#define IM_REAL float
#define IM_MAGIC 0x1.8p23f
#define IM_SMALL 0x1p22f
#define IM_ABS fabsf
#define IM_NAME(name) name##_32
#include "round_tpl.h"

/* The carry, 0 or 1, into q, the floor of s * 2**-k, k >= 1, given what im_wide_floor_shift tells
 * of the bits below. Two bits say as much as all k, and to stochastic rounding 32. */
static inline uint64_t im_wide_up(im_wide s, int k, im_wide q, bool half, bool sticky,
                                  im_rounding rounding, uint32_t word) {
  bool random = rounding == IM_STOCHASTIC;
  uint64_t lost = random ? im_wide_lost(s, k) : 2 * (uint64_t)half + sticky;
  return im_round_up(rounding, lost, random ? 32 : 2, (int64_t)q.limb[0], im_wide_negative(s),
                     word);
}

/* R of docs/numerics.md: s * 2**-k rounded, any k. For k <= 0 this multiplies: modulo 2**192
 * where the result will wrap; where it will saturate, a product that may need more than 128
 * bits is replaced by +-2**128, which is beyond every format, also after an int64 is added. */
static inline im_wide im_round_wide(im_wide s, int k, im_rounding rounding, im_overflow overflow,
                                    uint32_t word) {
  if (k > 0) {
    bool half, sticky;
    im_wide q = im_wide_floor_shift(s, k, &half, &sticky);
    uint64_t up = im_wide_up(s, k, q, half, sticky, rounding, word);
    return im_wide_add(q, im_wide_of((int64_t)up));
  }
  if (overflow == IM_SATURATE && !(k >= -64 && im_wide_fits(s))) {
    bool negative = im_wide_negative(s);
    im_wide magnitude = negative ? im_wide_negate(s) : s;
    if (!im_wide_zero(s) && im_wide_length(magnitude) - k > 128) {
      im_wide far = {{0, 0, 1}};
      return negative ? im_wide_negate(far) : far;
    }
  }
  return im_wide_shl(s, -k);
}

static inline int64_t im_enter_wide(im_wide v, int bits, im_overflow overflow) {
  if (overflow == IM_SATURATE && !im_wide_fits(v))
    return im_enter(im_wide_negative(v) ? INT64_MIN : INT64_MAX, bits, overflow);
  return im_enter((int64_t)v.limb[0], bits, overflow);
}

/* requantize(s * 2**-k) for an exact sum s; k = frac_in - fmt.frac. */
static inline int64_t im_requantize_wide(im_wide s, int k, im_format fmt, uint32_t word) {
  im_wide rounded = im_round_wide(s, k, fmt.rounding, fmt.overflow, word);
  return im_enter_wide(rounded, fmt.bits, fmt.overflow);
}

/* enter(w + R(-s)): the update of one weight by the negative of an exact sum s. */
static inline int64_t im_update_wide(int64_t w, im_wide s, int k, im_format fmt, uint32_t word) {
  im_wide step = im_round_wide(im_wide_negate(s), k, fmt.rounding, fmt.overflow, word);
  return im_enter_wide(im_wide_add(im_wide_of(w), step), fmt.bits, fmt.overflow);
}

/* The same where it is proved that int64 holds everything: -s does not overflow (|s| < 2**63),
 * k is 1..63, so |R(-s)| <= 2**62, and |w| <= 2**61 (bits <= 62), so their sum fits. */
static inline bool im_update_is_narrow(int k, int bits) { return k >= 1 && k <= 63 && bits <= 62; }

static inline int64_t im_update_i64(int64_t w, int64_t s, int k, im_format fmt, uint32_t word) {
  return im_enter(w + im_round_shift(-s, k, fmt.rounding, word), fmt.bits, fmt.overflow);
}

/* im_wide_up of an integer of six limbs. */
static inline uint64_t im_long_up(im_long s, int k, im_long q, bool half, bool sticky,
                                  im_rounding rounding, uint32_t word) {
  bool random = rounding == IM_STOCHASTIC;
  uint64_t lost = random ? im_long_lost(s, k) : 2 * (uint64_t)half + sticky;
  return im_round_up(rounding, lost, random ? 32 : 2, (int64_t)q.limb[0], im_long_negative(s),
                     word);
}

/* The same of an integer of six limbs: R; requantize; the update by its negative. What saturates is
 * replaced by +-2**320 where it might need more. */
static inline im_long im_round_long(im_long s, int k, im_rounding rounding, im_overflow overflow,
                                    uint32_t word) {
  enum { FAR = 320 };
  if (k > 0) {
    bool half, sticky;
    im_long q = im_long_floor_shift(s, k, &half, &sticky);
    uint64_t up = im_long_up(s, k, q, half, sticky, rounding, word);
    return im_long_add(q, im_long_of_i64((int64_t)up));
  }
  if (overflow == IM_SATURATE && !im_long_is(s, 0) && im_long_width(s) - k > FAR) {
    im_long far = im_long_shl(im_long_of_i64(1), FAR);
    return im_long_negative(s) ? im_long_negate(far) : far;
  }
  return im_long_shl(s, -k);
}

static inline int64_t im_enter_long(im_long v, int bits, im_overflow overflow) {
  if (overflow == IM_SATURATE && im_long_width(v) > 64)
    return im_enter(im_long_negative(v) ? INT64_MIN : INT64_MAX, bits, overflow);
  return im_enter((int64_t)v.limb[0], bits, overflow);
}

static inline int64_t im_requantize_long(im_long s, int k, im_format fmt, uint32_t word) {
  im_long rounded = im_round_long(s, k, fmt.rounding, fmt.overflow, word);
  return im_enter_long(rounded, fmt.bits, fmt.overflow);
}

static inline int64_t im_update_long(int64_t w, im_long s, int k, im_format fmt, uint32_t word) {
  im_long step = im_round_long(im_long_negate(s), k, fmt.rounding, fmt.overflow, word);
  return im_enter_long(im_long_add(im_long_of_i64(w), step), fmt.bits, fmt.overflow);
}

/* The word of element i, given those of all; 0 where none is read, and there are none. */
static inline uint32_t im_word(im_rounding rounding, const uint32_t* words, int64_t i) {
  return rounding == IM_STOCHASTIC ? words[i] : 0;
}

/* CALL(rounding), a constant, for an inlined loop to be compiled once for each of them; the
 * wordless ones read no random words, and do nothing where rounding is stochastic. */
#define IM_FOR_EACH_ROUNDING(rounding, CALL) \
  IM_ROUNDING_CASES_(rounding, CALL, case IM_STOCHASTIC : CALL(IM_STOCHASTIC); break;)
#define IM_FOR_EACH_WORDLESS_ROUNDING(rounding, CALL) \
  IM_ROUNDING_CASES_(rounding, CALL, default : break;)
#define IM_ROUNDING_CASES_(rounding, CALL, LAST)      \
  switch (rounding) {                                 \
    case IM_FLOOR: CALL(IM_FLOOR); break;             \
    case IM_TOWARD_ZERO: CALL(IM_TOWARD_ZERO); break; \
    case IM_HALF_UP: CALL(IM_HALF_UP); break;         \
    case IM_HALF_AWAY: CALL(IM_HALF_AWAY); break;     \
    case IM_HALF_EVEN:                                \
      CALL(IM_HALF_EVEN);                             \
      break;                                          \
      LAST                                            \
  }

/* CALL(fmt) with fmt's rounding and overflow as constants, for an inlined loop to be compiled
 * once for each of them. */
#define IM_FOR_EACH_RULE(fmt, CALL) \
  IM_RULE_CASES_(fmt, CALL, IM_RULE_CASE_(IM_STOCHASTIC, fmt, CALL))
#define IM_FOR_EACH_WORDLESS_RULE(fmt, CALL) IM_RULE_CASES_(fmt, CALL, default : break;)
#define IM_RULE_CASES_(fmt, CALL, LAST)      \
  switch ((fmt).rounding) {                  \
    IM_RULE_CASE_(IM_FLOOR, fmt, CALL)       \
    IM_RULE_CASE_(IM_TOWARD_ZERO, fmt, CALL) \
    IM_RULE_CASE_(IM_HALF_UP, fmt, CALL)     \
    IM_RULE_CASE_(IM_HALF_AWAY, fmt, CALL)   \
    IM_RULE_CASE_(IM_HALF_EVEN, fmt, CALL)   \
    LAST                                     \
  }
#define IM_RULE_CASE_(ROUNDING, fmt, CALL)                                                   \
  case ROUNDING:                                                                             \
    if ((fmt).overflow == IM_SATURATE)                                                       \
      CALL(((im_format){(fmt).bits, (fmt).frac, ROUNDING, IM_SATURATE, (fmt).random_bits})); \
    else                                                                                     \
      CALL(((im_format){(fmt).bits, (fmt).frac, ROUNDING, IM_WRAP, (fmt).random_bits}));     \
    break;

/* The step of a weight by one sample: its gradient is a sum of one product, and 0.0 + that has not
 * the sign of a negative zero. */
static inline double im_step_of(double d, double x, double rate) { return (0.0 + d * x) * -rate; }

/* 2**e, e -1022 .. 1023: the exponent field of a float64 with an empty fraction. */
static inline double im_power_of_two(int e) {
  uint64_t bits = (uint64_t)(e + 1023) << 52;
  double power;
  memcpy(&power, &bits, sizeof power);
  return power;
}

/* v * 2**e, rounded once, for any e. Not by ldexp, which cuts subnormal results off in some C
 * libraries. For e < -1022: where the first product is rounded it is at most 2**-1022, and the
 * 55 or more places that are left make it zero, as the exact value rounds to. */
static inline double im_scale(double v, int e) {
  for (; e < -1022; e += 968) v *= 0x1p-968;
  for (; e > 1023; e -= 1023) v *= 0x1p1023;
  return v * im_power_of_two(e);
}

/* The scale of im_round_small. */
static inline double im_small_scale(im_format fmt) { return im_power_of_two(fmt.frac); }

/* R of a finite float64, read at frac 0 and written by fmt, whose frac is 0..63. Scaling up by a
 * power of two is exact. From 2**49 on the scaled value is a multiple of 1/8, and from 2**52 on an
 * integer, which int64 holds below 2**63. Above that v is taken apart into an integer mantissa
 * times a power of two. */
static inline im_wide im_round_double(double v, im_format fmt, uint32_t word) {
  double x = v * im_power_of_two(fmt.frac);
  if (im_is_small(v, im_small_scale(fmt)))
    return im_wide_of(im_round_small(v, im_small_scale(fmt), fmt.rounding, word));
  if (fabs(x) < 0x1p52) return im_wide_of(im_round_shift((int64_t)(8 * x), 3, fmt.rounding, word));
  if (fabs(x) < 0x1p63) return im_wide_of((int64_t)x);
  int exponent;
  int64_t mantissa = (int64_t)ldexp(frexp(v, &exponent), 53);
  return im_round_wide(im_wide_of(mantissa), 53 - exponent - fmt.frac, fmt.rounding, fmt.overflow,
                       word);
}

/* quantize(v) for one finite value. */
static inline int64_t im_quantize_double(double v, im_format fmt, uint32_t word) {
  im_wide rounded = im_round_double(v, fmt, word);
  return im_enter_wide(rounded, fmt.bits, fmt.overflow);
}

/* Reading and writing one element of a raw array ----------------------------------------- */

static inline int64_t im_load(const void* data, im_elem elem, int64_t i) {
  return elem == IM_I32 ? ((const int32_t*)data)[i] : ((const int64_t*)data)[i];
}

/* v lies in the format of the array. */
static inline void im_store(void* data, im_elem elem, int64_t i, int64_t v) {
  if (elem == IM_I32)
    ((int32_t*)data)[i] = (int32_t)v;
  else
    ((int64_t*)data)[i] = v;
}

#endif
