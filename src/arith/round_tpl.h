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
 * the whole value. At most 2**k - 1. */
static inline IM_UINT IM_NAME(im_round_more)(im_rounding rounding, int k, IM_INT q,
                                             IM_UINT negative) {
  IM_UINT half = (IM_UINT)1 << (k - 1);
  switch (rounding) {
    case IM_FLOOR: break;
    case IM_TOWARD_ZERO: return (2 * half - 1) & (0 - negative);
    case IM_HALF_UP: return half;
    case IM_HALF_AWAY: return half - negative;
    case IM_HALF_EVEN: return half - 1 + ((IM_UINT)q & 1);
  }
  return 0;
}

/* The carry, 0 or 1, from the k bits below q; their sum does not overflow. */
static inline IM_UINT IM_NAME(im_round_up)(im_rounding rounding, IM_UINT lost, int k, IM_INT q,
                                           IM_UINT negative) {
  if (rounding == IM_FLOOR) return 0;
  return (lost + IM_NAME(im_round_more)(rounding, k, q, negative)) >> k;
}

/* s / 2**k rounded, k 1..IM_WIDTH - 1. Result: magnitude at most 2**(IM_WIDTH - 2). */
static inline IM_INT IM_NAME(im_round_shift)(IM_INT s, int k, im_rounding rounding) {
  IM_INT q = s >> k;
  IM_UINT lost = (IM_UINT)s & (((IM_UINT)1 << k) - 1);
  return q + (IM_INT)IM_NAME(im_round_up)(rounding, lost, k, q, (IM_UINT)s >> (IM_WIDTH - 1));
}

/* The same in fewer instructions, where s + 2**k <= 2**(IM_WIDTH - 1). */
static inline IM_INT IM_NAME(im_round_narrow)(IM_INT s, int k, im_rounding rounding) {
  IM_UINT negative = (IM_UINT)s >> (IM_WIDTH - 1);
  return (s + (IM_INT)IM_NAME(im_round_more)(rounding, k, s >> k, negative)) >> k;
}

/* The overflow rule: the raw value that v becomes, bits 2..IM_WIDTH. */
static inline IM_INT IM_NAME(im_enter)(IM_INT v, int bits, im_overflow overflow) {
  int unused = IM_WIDTH - bits;
  if (overflow == IM_WRAP) return (IM_INT)((IM_UINT)v << unused) >> unused;
  IM_INT high = (IM_INT)((IM_UINT)-1 >> 1) >> unused, low = -high - 1;
  v = v > low ? v : low;
  return v < high ? v : high;
}

/* v * 2**frac rounded to an integer, given scale = 2**(frac + 2), where |v * scale| < IM_SMALL.
 *
 * Rounding needs no more than two bits below one, the last of them sticky. So x = v * scale,
 * which is exact, becomes the odd integer s next to it, or x itself where that is an integer.
 * IM_MAGIC has no bits below one: added to x, the sum's own rounding makes the nearest integer,
 * which is also the difference of the two bit patterns; what x differs from it by is a multiple
 * of x's last place and at most 1/2, hence exact. */
static inline IM_INT IM_NAME(im_round_small)(IM_REAL v, IM_REAL scale, im_rounding rounding) {
  const IM_REAL magic = IM_MAGIC;
  IM_REAL x = v * scale, sum = x + magic, rest = x - (sum - magic);
  IM_INT s, zero;
  memcpy(&s, &sum, sizeof s);
  memcpy(&zero, &magic, sizeof zero);
  s = (s - zero - (rest < 0)) | (rest != 0);
  return IM_NAME(im_round_narrow)(s, 2, rounding);
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
