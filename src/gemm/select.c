/* Which kernel is exact for these operands, for how many steps, and which is the cheapest.
 *
 * With |a| <= A and |b| <= B, every product is at most p = A B, every partial sum over k steps, in
 * any order, at most k p, and the complete sum with its bias at most k p + bias. Kernels that
 * write int64 sums need k p + bias < 2**63, those of 128 bits < 2**127. Within a block of steps
 * their accumulators are exact where:
 *
 *   i8      a, b in int8. 8192 steps of at most 2**14 stay below 2**31; a's offset by 128 is
 *           undone modulo 2**32 by the head of each block.
 *   i16     a, b in int16, and 2 p groups < 2**31 for the two steps of a group.
 *   i16split  a, b in int16, 2 p < 2**31, and 65535 groups: at the kernel.
 *   i16any  a, b in int16; 128 steps: the proof stands at the kernel.
 *   i24     a, b in 24 bits; 254 steps: at the kernel.
 *   i24x16  a in 24 bits, b in int16, and with l, the larger magnitude of a's two limbs (2**11, or
 *           its high part), l B steps < 2**31. i16x24: the same for limbs of b.
 *   f64     p block <= 2**53: float64 multiplies and adds such integers without rounding.
 *   i32     a, b in int32; int64 holds the whole sum.
 *   i32any  a, b in int32; 2046 steps: at the kernel.
 *   i64     int64 holds the whole sum.
 *   i128    128 bits hold the whole sum.
 *   wide    always: see wide.h.
 *
 * An accumulator that wraps takes the exact sum modulo 2**bits: the sink does so, whatever the
 * kernel. In one that saturates no partial sum is lost where k p + bias, which bounds them all in
 * the order of k too, is at most its largest value, `limit`. Elsewhere sums are added in order:
 *
 *   in_order       limit + p < 2**63 - 1: int64 holds accumulator and product, and their sum.
 *   in_order_wide  always.
 */
#include "gemm.h"

/* Bounds ------------------------------------------------------------------------------------- */

static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static uint64_t largest(im_range range) {
  uint64_t low = magnitude(range.low), high = magnitude(range.high);
  return low > high ? low : high;
}

static uint64_t add_saturating(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b) {
  return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

uint64_t im_bias_bound(const void* bias, im_elem elem, int64_t n, int shift) {
  uint64_t most = 0;
  for (int64_t i = 0; i < n; i++) {
    uint64_t v = magnitude(im_load(bias, elem, i));
    most = v > most ? v : most;
  }
  if (most == 0) return 0;
  return shift < 64 ? multiply_saturating(most, UINT64_C(1) << shift) : UINT64_MAX;
}

/* The largest magnitude that a sum and its partial sums can have, bias included; UINT64_MAX where
 * it may be larger. */
static uint64_t sum_bound(im_bounds bounds, int64_t k) {
  uint64_t product = multiply_saturating(largest(bounds.a), largest(bounds.b));
  return add_saturating(multiply_saturating(product, (uint64_t)k), bounds.bias);
}

static bool fits(im_range range, int bits) {
  int64_t high = INT64_MAX >> (64 - bits);
  return range.low >= -high - 1 && range.high <= high;
}

/* How many steps of limbs of `split`, at most 24 bits, times `whole`, an int16, int32 sums. */
static uint64_t limb_steps(im_range split, im_range whole) {
  if (!fits(split, 24) || !fits(whole, 16)) return 0;
  uint64_t high = (largest(split) + 2048) >> 12, limb = high > 2048 ? high : 2048;
  uint64_t product = limb * largest(whole);
  return product ? INT32_MAX / product : UINT64_MAX;
}

static bool both_fit(im_bounds bounds, int bits) {
  return fits(bounds.a, bits) && fits(bounds.b, bits);
}

/* Whether k A B + bias < 2**127: the product by its upper half, rounded up, and a bias below
 * 2**126 or none. Two minima of int64 alone make 2**126. */
static bool fits_i128(im_bounds bounds, int64_t k) {
  im_wide product = im_wide_mul_u64(largest(bounds.a), largest(bounds.b));
  uint64_t upper = add_saturating(product.limb[1], 1);
  return multiply_saturating(upper, (uint64_t)k) < (UINT64_C(1) << 62) && bounds.bias < UINT64_MAX;
}

/* The choice --------------------------------------------------------------------------------- */

int64_t im_exact_block(im_scheme scheme, im_bounds bounds, int64_t k) {
  im_layout layout = im_layouts[scheme];
  bool in_order = scheme == IM_SCHEME_IN_ORDER || scheme == IM_SCHEME_IN_ORDER_WIDE;
  uint64_t product = multiply_saturating(largest(bounds.a), largest(bounds.b));
  if (in_order) {
    bool fits = add_saturating(product, bounds.limit) < INT64_MAX;
    return !fits && scheme == IM_SCHEME_IN_ORDER ? 0 : k > 0 ? k : 1;
  }
  if (sum_bound(bounds, k) > bounds.limit) return 0;
  if (layout.sum == IM_SUM_I64 && sum_bound(bounds, k) > INT64_MAX) return 0;
  if (layout.sum == IM_SUM_I128 && !fits_i128(bounds, k)) return 0;
  uint64_t most = UINT64_MAX; /* steps of a block */
  switch (scheme) {
    case IM_SCHEME_I8: most = both_fit(bounds, 8) ? 8192 : 0; break;
    case IM_SCHEME_I16:
      most = !both_fit(bounds, 16) ? 0 : product ? INT32_MAX / product : UINT64_MAX;
      break;
    case IM_SCHEME_I16SPLIT:
      most = both_fit(bounds, 16) && 2 * product <= INT32_MAX ? 2 * 65535 : 0;
      break;
    case IM_SCHEME_I16ANY: most = both_fit(bounds, 16) ? 128 : 0; break;
    case IM_SCHEME_I24: most = both_fit(bounds, 24) ? 254 : 0; break;
    case IM_SCHEME_I24X16: most = limb_steps(bounds.a, bounds.b); break;
    case IM_SCHEME_I16X24: most = limb_steps(bounds.b, bounds.a); break;
    case IM_SCHEME_F64: most = product ? (UINT64_C(1) << 53) / product : UINT64_MAX; break;
    case IM_SCHEME_I32: most = both_fit(bounds, 32) ? UINT64_MAX : 0; break;
    case IM_SCHEME_I32ANY: most = both_fit(bounds, 32) ? 2046 : 0; break;
    case IM_SCHEME_I64:
    case IM_SCHEME_I128:
    case IM_SCHEME_WIDE:
    case IM_SCHEME_IN_ORDER:
    case IM_SCHEME_IN_ORDER_WIDE: break;
  }
  int64_t whole = im_groups(scheme, k);
  uint64_t steps = (uint64_t)layout.steps;
  if (most >= (uint64_t)whole * steps) most = (uint64_t)(whole > 0 ? whole : 1) * steps;
  return (int64_t)(most / steps);
}

const im_kernel* im_select(const im_isa* isa, im_bounds bounds, int64_t k) {
  const im_kernel* best = NULL;
  double least = 0;
  for (int i = 0; isa->kernels[i]; i++) {
    const im_kernel* kernel = isa->kernels[i];
    if (!im_kernel_usable(kernel)) continue;
    int64_t block = im_exact_block(kernel->scheme, bounds, k);
    if (block == 0) continue;
    double moves = (double)((im_groups(kernel->scheme, k) + block - 1) / block);
    double cost = (double)k * kernel->step + moves * kernel->move;
    if (!best || cost < least) {
      best = kernel;
      least = cost;
    }
  }
  if (best) return best; /* the wide kernel is exact for every operand, within the limit */
  return im_exact_block(IM_SCHEME_IN_ORDER, bounds, k) ? &im_kernel_in_order
                                                       : &im_kernel_in_order_wide;
}
