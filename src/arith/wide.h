/* The widest accumulator: a two's-complement integer of three 64-bit limbs.
 *
 * Range: a sum of fewer than 2**63 products of two int64 (each at most 2**126 in magnitude)
 * and one int64 shifted up by at most 126 stays below 2**189 + 2**189 < 2**191, so nothing in
 * this library overflows it; where a shift could, the function says so.
 *
 * Compilers without a 128-bit integer (or with IM_NO_INT128 defined) multiply by halves.
 */
#ifndef IM_WIDE_H
#define IM_WIDE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__SIZEOF_INT128__) && !defined(IM_NO_INT128)
#define IM_INT128 1
__extension__ typedef unsigned __int128 im_u128;
__extension__ typedef __int128 im_i128;
#endif

typedef struct im_wide {
  uint64_t limb[3]; /* lowest first */
} im_wide;

static inline im_wide im_wide_of(int64_t v) {
  uint64_t sign = v < 0 ? UINT64_MAX : 0;
  return (im_wide){{(uint64_t)v, sign, sign}};
}

static inline bool im_wide_negative(im_wide x) { return x.limb[2] >> 63; }

static inline bool im_wide_zero(im_wide x) { return (x.limb[0] | x.limb[1] | x.limb[2]) == 0; }

/* Whether int64 holds x, that is, whether the upper limbs repeat the sign of the lowest. */
static inline bool im_wide_fits(im_wide x) {
  uint64_t sign = x.limb[0] >> 63 ? UINT64_MAX : 0;
  return x.limb[1] == sign && x.limb[2] == sign;
}

static inline im_wide im_wide_add(im_wide x, im_wide y) {
  im_wide sum;
  sum.limb[0] = x.limb[0] + y.limb[0];
  uint64_t carry = sum.limb[0] < x.limb[0];
  uint64_t middle = x.limb[1] + y.limb[1];
  uint64_t carry_up = middle < x.limb[1];
  sum.limb[1] = middle + carry;
  carry_up += sum.limb[1] < middle;
  sum.limb[2] = x.limb[2] + y.limb[2] + carry_up;
  return sum;
}

static inline im_wide im_wide_negate(im_wide x) {
  im_wide inverted = {{~x.limb[0], ~x.limb[1], ~x.limb[2]}};
  return im_wide_add(inverted, im_wide_of(1));
}

/* The product of two unsigned 64-bit integers, exact. */
static inline im_wide im_wide_mul_u64(uint64_t a, uint64_t b) {
#ifdef IM_INT128
  im_u128 p = (im_u128)a * b;
  return (im_wide){{(uint64_t)p, (uint64_t)(p >> 64), 0}};
#else
  uint64_t a0 = a & UINT32_MAX, a1 = a >> 32, b0 = b & UINT32_MAX, b1 = b >> 32;
  uint64_t low = a0 * b0;
  /* At most (2**32 - 1)**2 + 2 * (2**32 - 1) = 2**64 - 1: no carry is lost. */
  uint64_t middle = a1 * b0 + (low >> 32);
  uint64_t cross = a0 * b1 + (middle & UINT32_MAX);
  uint64_t high = a1 * b1 + (middle >> 32) + (cross >> 32);
  return (im_wide){{(cross << 32) | (low & UINT32_MAX), high, 0}};
#endif
}

/* The product of two int64, exact: the unsigned product, less 2**64 times the other factor for
 * each negative one. */
static inline im_wide im_wide_mul(int64_t a, int64_t b) {
  im_wide p = im_wide_mul_u64((uint64_t)a, (uint64_t)b);
  p.limb[1] -= (a < 0 ? (uint64_t)b : 0) + (b < 0 ? (uint64_t)a : 0);
  p.limb[2] = p.limb[1] >> 63 ? UINT64_MAX : 0;
  return p;
}

/* x * v modulo 2**192: the products of the magnitude of v with the limbs. */
static inline im_wide im_wide_times(im_wide x, int64_t v) {
  uint64_t size = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  im_wide low = im_wide_mul_u64(x.limb[0], size), middle = im_wide_mul_u64(x.limb[1], size);
  im_wide upper = {{0, middle.limb[0], middle.limb[1] + x.limb[2] * size}};
  im_wide product = im_wide_add(low, upper);
  return v < 0 ? im_wide_negate(product) : product;
}

/* x * 2**n modulo 2**192, n >= 0. */
static inline im_wide im_wide_shl(im_wide x, int n) {
  if (n >= 192) return im_wide_of(0);
  for (; n >= 64; n -= 64) x = (im_wide){{0, x.limb[0], x.limb[1]}};
  if (n > 0) {
    x.limb[2] = (x.limb[2] << n) | (x.limb[1] >> (64 - n));
    x.limb[1] = (x.limb[1] << n) | (x.limb[0] >> (64 - n));
    x.limb[0] <<= n;
  }
  return x;
}

/* floor(x / 2**k), k >= 0; *half is bit k-1 of x and *sticky the OR of the bits below it, with
 * x's sign repeated without end above its top bit. */
static inline im_wide im_wide_floor_shift(im_wide x, int k, bool* half, bool* sticky) {
  uint64_t sign = im_wide_negative(x) ? UINT64_MAX : 0;
  bool below = false, last = false; /* last: the highest bit shifted out so far */
  if (k > 256) k = 256;             /* past all limbs, every shift gives the same */
  while (k >= 64) {
    below = below || last || (x.limb[0] << 1) != 0;
    last = x.limb[0] >> 63;
    x = (im_wide){{x.limb[1], x.limb[2], sign}};
    k -= 64;
  }
  if (k > 0) {
    below = below || last || (x.limb[0] & ((UINT64_C(1) << (k - 1)) - 1)) != 0;
    last = (x.limb[0] >> (k - 1)) & 1;
    x.limb[0] = (x.limb[0] >> k) | (x.limb[1] << (64 - k));
    x.limb[1] = (x.limb[1] >> k) | (x.limb[2] << (64 - k));
    x.limb[2] = (x.limb[2] >> k) | (sign << (64 - k));
  }
  *half = last;
  *sticky = below;
  return x;
}

/* The highest 32 of the k >= 1 bits that a shift of x by k discards, zeros below them where there
 * are fewer. */
static inline uint64_t im_wide_lost(im_wide x, int k) {
  bool half, sticky;
  uint64_t lost =
      k < 32 ? x.limb[0] << (32 - k) : im_wide_floor_shift(x, k - 32, &half, &sticky).limb[0];
  return lost & UINT32_MAX;
}

/* Number of bits of v: 0 for 0, else 1 + floor(log2 v). */
static inline int im_bit_length(uint64_t v) {
#ifdef __GNUC__ /* and clang */
  return v ? 64 - __builtin_clzll(v) : 0;
#else
  int length = 0;
  for (; v; v >>= 1) length++;
  return length;
#endif
}

/* The same of a non-negative x. */
static inline int im_wide_length(im_wide x) {
  for (int i = 2; i >= 0; i--)
    if (x.limb[i]) return 64 * i + im_bit_length(x.limb[i]);
  return 0;
}

/* x * 2**-frac, correctly rounded to float64 with ties to even. The magnitude is cut to its 53
 * leading bits, rounded there once, and scaled by a power of two, which is exact: |x| < 2**191
 * and frac of at most some hundreds stay far from float64's ends. */
static inline double im_wide_to_double(im_wide x, int frac) {
  bool negative = im_wide_negative(x);
  im_wide magnitude = negative ? im_wide_negate(x) : x;
  int cut = im_wide_length(magnitude) - 53;
  uint64_t leading = magnitude.limb[0];
  if (cut > 0) {
    bool half, sticky;
    leading = im_wide_floor_shift(magnitude, cut, &half, &sticky).limb[0];
    leading += half && (sticky || (leading & 1));
  } else {
    cut = 0;
  }
  double value = ldexp((double)leading, cut - frac);
  return negative ? -value : value;
}

#endif
