/* How a value enters a format: the one definition of round, saturate and wrap.
 *
 * A shift by k splits s into its floor q and the k bits that it discards; im_round_up decides
 * from these whether q or q + 1 is the result. This serves int64, im_wide and float64 alike.
 * All of it is free of branches, so that the compiler vectorises the loops around it.
 */
#ifndef IM_ROUND_H
#define IM_ROUND_H

#include <float.h>
#include <string.h>

#include "../intmlp.h"
#include "wide.h"

/* A loop that is compiled once for each set of constants it is called with. */
#ifdef _MSC_VER
#define IM_INLINE static __forceinline
#else
#define IM_INLINE static inline __attribute__((always_inline))
#endif

/* Shifting a negative integer right is implementation-defined in C11: all of gcc, clang and
 * MSVC repeat the sign, and a compiler that does not stops here. */
_Static_assert((INT64_C(-1) >> 1) == -1, "a right shift must repeat the sign");

/* Whether q + lost * 2**-k rounds to q + 1 (docs/numerics.md, section 1), as 0 or 1; k 1..63,
 * lost the k bits below q. Each rule is what must be added to them for a carry into q: at most
 * 2**k - 1 + 2**(k-1), so that uint64 holds the sum. `negative`, 0 or 1, is that of the whole
 * value. */
static inline uint64_t im_round_up(im_rounding rounding, uint64_t lost, int k, int64_t q,
                                   uint64_t negative) {
  uint64_t half = UINT64_C(1) << (k - 1), more = 0;
  switch (rounding) {
    case IM_FLOOR: return 0;
    case IM_TOWARD_ZERO: more = (2 * half - 1) & (0 - negative); break;
    case IM_HALF_UP: more = half; break;
    case IM_HALF_AWAY: more = half - negative; break;
    case IM_HALF_EVEN: more = half - 1 + ((uint64_t)q & 1); break;
  }
  return (lost + more) >> k;
}

/* s / 2**k rounded, k 1..63. Result: magnitude at most 2**62, no overflow. */
static inline int64_t im_round_shift(int64_t s, int k, im_rounding rounding) {
  int64_t q = s >> k;
  uint64_t lost = (uint64_t)s & ((UINT64_C(1) << k) - 1);
  return q + (int64_t)im_round_up(rounding, lost, k, q, (uint64_t)s >> 63);
}

/* R of docs/numerics.md: s * 2**-k rounded, any k. For k <= 0 this multiplies: modulo 2**192
 * where the result will wrap; where it will saturate, a product that may need more than 128
 * bits is replaced by +-2**128, which is beyond every format, also after an int64 is added. */
static inline im_wide im_round_wide(im_wide s, int k, im_rounding rounding, im_overflow overflow) {
  if (k > 0) {
    bool half, sticky;
    im_wide q = im_wide_floor_shift(s, k, &half, &sticky);
    uint64_t lost = 2 * (uint64_t)half + sticky; /* two bits say as much as all k */
    uint64_t up = im_round_up(rounding, lost, 2, (int64_t)q.limb[0], im_wide_negative(s));
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

/* The overflow rule: the raw value that v becomes. */
static inline int64_t im_enter(int64_t v, int bits, im_overflow overflow) {
  if (overflow == IM_WRAP) {
    int unused = 64 - bits;
    return (int64_t)((uint64_t)v << unused) >> unused;
  }
  int64_t high = INT64_MAX >> (64 - bits), low = -high - 1;
  v = v > low ? v : low;
  return v < high ? v : high;
}

static inline int64_t im_enter_wide(im_wide v, int bits, im_overflow overflow) {
  if (overflow == IM_SATURATE && !im_wide_fits(v))
    return im_enter(im_wide_negative(v) ? INT64_MIN : INT64_MAX, bits, overflow);
  return im_enter((int64_t)v.limb[0], bits, overflow);
}

/* requantize(s * 2**-k) for an exact sum s; k = frac_in - fmt.frac. */
static inline int64_t im_requantize_wide(im_wide s, int k, im_format fmt) {
  im_wide rounded = im_round_wide(s, k, fmt.rounding, fmt.overflow);
  return im_enter_wide(rounded, fmt.bits, fmt.overflow);
}

static inline int64_t im_requantize_i64(int64_t s, int k, im_format fmt) {
  if (k >= 1 && k <= 63)
    return im_enter(im_round_shift(s, k, fmt.rounding), fmt.bits, fmt.overflow);
  if (k == 0) return im_enter(s, fmt.bits, fmt.overflow);
  return im_requantize_wide(im_wide_of(s), k, fmt);
}

/* enter(w + R(-s)): the update of one weight by the negative of an exact sum s. */
static inline int64_t im_update_wide(int64_t w, im_wide s, int k, im_format fmt) {
  im_wide step = im_round_wide(im_wide_negate(s), k, fmt.rounding, fmt.overflow);
  return im_enter_wide(im_wide_add(im_wide_of(w), step), fmt.bits, fmt.overflow);
}

/* The same where it is proved that int64 holds everything: -s does not overflow (|s| < 2**63),
 * k is 1..63, so |R(-s)| <= 2**62, and |w| <= 2**61 (bits <= 62), so their sum fits. */
static inline bool im_update_is_narrow(int k, int bits) { return k >= 1 && k <= 63 && bits <= 62; }

static inline int64_t im_update_i64(int64_t w, int64_t s, int k, im_format fmt) {
  return im_enter(w + im_round_shift(-s, k, fmt.rounding), fmt.bits, fmt.overflow);
}

/* CALL(fmt) with fmt's rounding and overflow as constants, for an inlined loop to be compiled
 * once for each of them. */
#define IM_FOR_EACH_RULE(fmt, CALL)           \
  switch ((fmt).rounding) {                   \
    IM_RULE_CASES_(IM_FLOOR, fmt, CALL)       \
    IM_RULE_CASES_(IM_TOWARD_ZERO, fmt, CALL) \
    IM_RULE_CASES_(IM_HALF_UP, fmt, CALL)     \
    IM_RULE_CASES_(IM_HALF_AWAY, fmt, CALL)   \
    IM_RULE_CASES_(IM_HALF_EVEN, fmt, CALL)   \
  }
#define IM_RULE_CASES_(ROUNDING, fmt, CALL)                               \
  case ROUNDING:                                                          \
    if ((fmt).overflow == IM_SATURATE)                                    \
      CALL(((im_format){(fmt).bits, (fmt).frac, ROUNDING, IM_SATURATE})); \
    else                                                                  \
      CALL(((im_format){(fmt).bits, (fmt).frac, ROUNDING, IM_WRAP}));     \
    break;

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

/* v * 2**frac rounded to an integer, given scale = 2**(frac + 2), where |v * scale| < 2**51.
 *
 * Rounding needs no more than two bits below one, the last of them sticky. So x = v * scale,
 * which is exact, becomes the integer s next to it that is odd, or x itself where that is an
 * integer. Adding 1.5 * 2**52 leaves no bits below one: the sum's own rounding makes the
 * nearest integer, which is also the difference of the two bit patterns; what x differs from
 * it by is a multiple of x's last place and at most 1/2, hence exact. */
static inline int64_t im_round_small(double v, double scale, im_rounding rounding) {
  const double magic = 0x1.8p52;
  double x = v * scale, sum = x + magic, rest = x - (sum - magic);
  int64_t s, zero;
  memcpy(&s, &sum, sizeof s);
  memcpy(&zero, &magic, sizeof zero);
  s = (s - zero - (rest < 0)) | (rest != 0);
  return im_round_shift(s, 2, rounding);
}

static inline double im_small_scale(im_format fmt) { return im_power_of_two(fmt.frac + 2); }
static inline bool im_is_small(double v, double scale) { return fabs(v * scale) < 0x1p51; }

/* R of a finite float64, read at frac 0 and written by fmt, whose frac is 0..63. From 2**51 on x,
 * above, is a multiple of one half, so that 2 * x is an integer, which int64 holds below 2**62.
 * Elsewhere v is taken apart into an integer mantissa times a power of two. */
static inline im_wide im_round_double(double v, im_format fmt) {
  double scale = im_small_scale(fmt), x = v * scale;
  if (im_is_small(v, scale)) return im_wide_of(im_round_small(v, scale, fmt.rounding));
  if (fabs(x) < 0x1p62) return im_wide_of(im_round_shift((int64_t)(2 * x), 3, fmt.rounding));
  int exponent;
  int64_t mantissa = (int64_t)ldexp(frexp(v, &exponent), 53);
  return im_round_wide(im_wide_of(mantissa), 53 - exponent - fmt.frac, fmt.rounding, fmt.overflow);
}

/* quantize(v) for one finite value. */
static inline int64_t im_quantize_double(double v, im_format fmt) {
  im_wide rounded = im_round_double(v, fmt);
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
