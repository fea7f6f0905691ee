/* The rules of rounding and overflow for integers of one width, so that narrow values can use
 * narrow lanes. round.h includes this for each width after it has defined
 *
 *   IM_INT, IM_UINT, IM_WIDTH   the integer types, and their width
 *   IM_REAL, IM_MAGIC           a float of that width, and 1.5 * 2**(bits of its fraction)
 *   IM_SMALL, IM_ABS            2**(bits of its fraction - 1), and its fabs
 *   IM_NAME(name)               the name of a function for this width
 */

/* What is added to the k bits below q, the floor of a value, so that a carry into q makes the
 * rounded value (docs/numerics.md, section 1); k 1..IM_WIDTH - 1. `negative`, 0 or 1, is that of
 * the whole value. At most 2**k - 1. `word` is what stochastic rounding reads: its top k bits, or
 * all of them above k - 32 zeros, where what it is compared with, too, ends after 32 bits. */
static inline IM_UINT IM_NAME(im_round_more)(im_rounding rounding, int k, IM_INT q,
                                             IM_UINT negative, uint32_t word) {
  IM_UINT half = (IM_UINT)1 << (k - 1);
  switch (rounding) {
    case IM_FLOOR: break;
    case IM_TOWARD_ZERO: return (2 * half - 1) & (0 - negative);
    case IM_HALF_UP: return half;
    case IM_HALF_AWAY: return half - negative;
    case IM_HALF_EVEN: return half - 1 + ((IM_UINT)q & 1);
    case IM_STOCHASTIC: return (IM_UINT)(((uint64_t)word << 32) >> (64 - k));
  }
  return 0;
}

/* The carry, 0 or 1, from the k bits below q; their sum does not overflow. */
static inline IM_UINT IM_NAME(im_round_up)(im_rounding rounding, IM_UINT lost, int k, IM_INT q,
                                           IM_UINT negative, uint32_t word) {
  if (rounding == IM_FLOOR) return 0;
  return (lost + IM_NAME(im_round_more)(rounding, k, q, negative, word)) >> k;
}

/* s / 2**k rounded, k 1..IM_WIDTH - 1. Result: magnitude at most 2**(IM_WIDTH - 2). */
static inline IM_INT IM_NAME(im_round_shift)(IM_INT s, int k, im_rounding rounding, uint32_t word) {
  IM_INT q = s >> k;
  IM_UINT lost = (IM_UINT)s & (((IM_UINT)1 << k) - 1), negative = (IM_UINT)s >> (IM_WIDTH - 1);
  return q + (IM_INT)IM_NAME(im_round_up)(rounding, lost, k, q, negative, word);
}

/* The overflow rule: the raw value that v becomes, bits 2..IM_WIDTH. */
static inline IM_INT IM_NAME(im_enter)(IM_INT v, int bits, im_overflow overflow) {
  int unused = IM_WIDTH - bits;
  if (overflow == IM_WRAP) return (IM_INT)((IM_UINT)v << unused) >> unused;
  IM_INT high = (IM_INT)((IM_UINT)-1 >> 1) >> unused, low = -high - 1;
  v = v > low ? v : low;
  return v < high ? v : high;
}

/* x rounded to an integer, |x| < IM_SMALL: the same rules for a float, which tells by itself what
 * was discarded. IM_MAGIC has no bits below one: added to x, the sum's own rounding makes the
 * nearest integer, ties to even. What x differs from it by is a multiple of x's last place and at
 * most 1/2, hence exact. A zero may have either sign.
 *
 * With u = word * 2**-32, exact in float64, stochastic rounding goes up from the floor where the
 * fraction of x is at least 1 - u: that is rest where it is not negative, else rest + 1. */
static inline IM_REAL IM_NAME(im_round_real)(IM_REAL x, im_rounding rounding, uint32_t word) {
  const IM_REAL magic = IM_MAGIC, half = (IM_REAL)0.5;
  IM_REAL sum = x + magic, nearest = sum - magic, rest = x - nearest;
  double u = word * 0x1p-32, least = rest < 0 ? -u : 1 - u;
  switch (rounding) {
    case IM_FLOOR: return nearest - (rest < 0);
    case IM_TOWARD_ZERO: return nearest - (rest < 0 && x > 0) + (rest > 0 && x < 0);
    case IM_HALF_UP: return nearest + (rest == half);
    case IM_HALF_AWAY: return nearest + (rest == half && x > 0) - (rest == -half && x < 0);
    case IM_HALF_EVEN: break;
    case IM_STOCHASTIC: return nearest - (rest < 0) + ((double)rest >= least);
  }
  return nearest;
}

/* An integer in a float, |v| <= IM_SMALL: the difference of two bit patterns. */
static inline IM_INT IM_NAME(im_integer)(IM_REAL v) {
  const IM_REAL magic = IM_MAGIC;
  IM_REAL sum = v + magic;
  IM_INT bits, zero;
  memcpy(&bits, &sum, sizeof bits);
  memcpy(&zero, &magic, sizeof zero);
  return bits - zero;
}

/* v * 2**frac rounded to an integer, given scale = 2**frac, where |v * scale| < IM_SMALL. */
static inline IM_INT IM_NAME(im_round_small)(IM_REAL v, IM_REAL scale, im_rounding rounding,
                                             uint32_t word) {
  return IM_NAME(im_integer)(IM_NAME(im_round_real)(v * scale, rounding, word));
}

static inline bool IM_NAME(im_is_small)(IM_REAL v, IM_REAL scale) {
  return IM_ABS(v * scale) < IM_SMALL;
}

#undef IM_INT
#undef IM_UINT
#undef IM_WIDTH
#undef IM_REAL
#undef IM_MAGIC
#undef IM_ABS
#undef IM_SMALL
#undef IM_NAME
