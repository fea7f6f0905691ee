/* A two's-complement integer of six limbs, for sums of what is read at different fraction widths.
 *
 * Range: an exact sum, below 2**190 (wide.h), shifted up by at most 126, and a weight or velocity
 * of 64 bits, shifted up by at most 157 (gemm/types.h), stay below 2**318; nothing overflows
 * 2**383. It is for general paths: what is likely has a path in int64.
 */
#ifndef IM_LONG_H
#define IM_LONG_H

#include <string.h>

#include "wide.h"

enum { IM_LIMBS = 6 };

typedef struct {
  uint64_t limb[IM_LIMBS]; /* lowest first */
} im_long;

static inline im_long im_long_of(im_wide x) {
  uint64_t sign = im_wide_negative(x) ? UINT64_MAX : 0;
  return (im_long){{x.limb[0], x.limb[1], x.limb[2], sign, sign, sign}};
}

static inline im_long im_long_of_i64(int64_t v) { return im_long_of(im_wide_of(v)); }

static inline bool im_long_negative(im_long x) { return x.limb[IM_LIMBS - 1] >> 63; }

/* Whether x is v, 0 or -1. */
static inline bool im_long_is(im_long x, int64_t v) {
  uint64_t differs = 0;
  for (int i = 0; i < IM_LIMBS; i++) differs |= x.limb[i] ^ (uint64_t)v;
  return differs == 0;
}

static inline im_long im_long_add(im_long x, im_long y) {
  uint64_t carry = 0;
  for (int i = 0; i < IM_LIMBS; i++) {
    uint64_t sum = x.limb[i] + y.limb[i], all = sum + carry;
    carry = (sum < y.limb[i]) | (all < carry);
    x.limb[i] = all;
  }
  return x;
}

static inline im_long im_long_invert(im_long x) {
  for (int i = 0; i < IM_LIMBS; i++) x.limb[i] = ~x.limb[i];
  return x;
}

static inline im_long im_long_negate(im_long x) {
  return im_long_add(im_long_invert(x), im_long_of_i64(1));
}

/* x * 2**n modulo 2**384, n >= 0. */
static inline im_long im_long_shl(im_long x, int n) {
  im_long out = {{0}};
  int whole = n / 64, bits = n % 64;
  for (int i = whole; i < IM_LIMBS; i++) {
    out.limb[i] = x.limb[i - whole] << bits;
    if (bits && i > whole) out.limb[i] |= x.limb[i - whole - 1] >> (64 - bits);
  }
  return out;
}

/* floor(x / 2**k), k >= 0, with the bits below it as in im_wide_floor_shift. */
static inline im_long im_long_floor_shift(im_long x, int k, bool* half, bool* sticky) {
  uint64_t sign = im_long_negative(x) ? UINT64_MAX : 0;
  bool below = false, last = false; /* last: the highest bit shifted out so far */
  if (k > 64 * (IM_LIMBS + 1)) k = 64 * (IM_LIMBS + 1); /* past all limbs, all shifts are one */
  for (; k >= 64; k -= 64) {
    below = below || last || (x.limb[0] << 1) != 0;
    last = x.limb[0] >> 63;
    memmove(x.limb, x.limb + 1, (IM_LIMBS - 1) * sizeof *x.limb);
    x.limb[IM_LIMBS - 1] = sign;
  }
  if (k > 0) {
    below = below || last || (x.limb[0] & ((UINT64_C(1) << (k - 1)) - 1)) != 0;
    last = (x.limb[0] >> (k - 1)) & 1;
    for (int i = 0; i < IM_LIMBS; i++) {
      uint64_t above = i + 1 < IM_LIMBS ? x.limb[i + 1] : sign;
      x.limb[i] = (x.limb[i] >> k) | (above << (64 - k));
    }
  }
  *half = last;
  *sticky = below;
  return x;
}

/* im_wide_lost. */
static inline uint64_t im_long_lost(im_long x, int k) {
  bool half, sticky;
  uint64_t lost =
      k < 32 ? x.limb[0] << (32 - k) : im_long_floor_shift(x, k - 32, &half, &sticky).limb[0];
  return lost & UINT32_MAX;
}

/* The width of the shortest two's complement that holds x, 1 for 0 and -1. */
static inline int im_long_width(im_long x) {
  if (im_long_negative(x)) x = im_long_invert(x);
  for (int i = IM_LIMBS - 1; i >= 0; i--)
    if (x.limb[i]) return 1 + 64 * i + im_bit_length(x.limb[i]);
  return 1;
}

#endif
