/* Which kernel is exact for these operands, and for how many steps.
 *
 * With |a| <= bounds.a and |b| <= bounds.b, every product is at most p = bounds.a * bounds.b,
 * and every partial sum of a row, in any order, is at most
 *
 *     products = bounds.a_row_sum * bounds.b
 *
 * since sum |a_k b_k| <= max |b| * sum |a_k|. The bias is added when the sum is complete. Each
 * accumulator is exact where:
 *
 *   f64   every product and every partial sum within a block is an integer of magnitude at most
 *         2**53, where float64 multiplies and adds integers without rounding: products <= 2**53
 *         for the whole length, or else blocks of floor(2**53 / p) steps, after each of which
 *         the accumulators are moved into int64 sums; products + bias < 2**63 fits those.
 *   i64   products + bias < 2**63: int64 products and sums do not overflow.
 *   wide  always: see wide.h.
 */
#include "gemm.h"

static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static uint64_t add_saturating(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t multiply_saturating(uint64_t a, uint64_t b) {
  return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

im_bounds im_bounds_of_formats(im_matrix a, im_matrix b, int64_t k) {
  im_bounds bounds = {UINT64_C(1) << (a.bits - 1), UINT64_C(1) << (b.bits - 1), 0, 0};
  bounds.a_row_sum = multiply_saturating(bounds.a, (uint64_t)k);
  return bounds;
}

/* The largest magnitude of `count` elements, and their sum. */
static uint64_t scan_row(const char* row, ptrdiff_t stride, im_elem elem, int64_t count,
                         uint64_t* largest) {
  uint64_t sum = 0, most = *largest;
  if (elem == IM_I32) { /* the sum of fewer than 2**32 magnitudes of at most 2**31 fits */
    for (int64_t j = 0; j < count; j++) {
      uint64_t v = magnitude(*(const int32_t*)(row + j * stride));
      sum += v;
      most = v > most ? v : most;
    }
  } else {
    for (int64_t j = 0; j < count; j++) {
      uint64_t v = magnitude(*(const int64_t*)(row + j * stride));
      sum = add_saturating(sum, v);
      most = v > most ? v : most;
    }
  }
  *largest = most;
  return sum;
}

void im_scan_a(im_matrix a, int64_t m, int64_t k, im_bounds* bounds) {
  uint64_t largest = 0, largest_sum = 0;
  for (int64_t i = 0; i < m; i++) {
    const char* row = (const char*)a.data + i * a.row_stride;
    uint64_t sum = scan_row(row, a.col_stride, a.elem, k, &largest);
    largest_sum = sum > largest_sum ? sum : largest_sum;
  }
  bounds->a = largest;
  bounds->a_row_sum = largest_sum;
}

void im_scan_b(im_matrix b, int64_t k, int64_t n, im_bounds* bounds) {
  /* The shorter stride goes inside. */
  if (magnitude(b.row_stride) < magnitude(b.col_stride)) {
    im_matrix turned = {b.data, b.col_stride, b.row_stride, b.elem, b.bits};
    im_scan_b(turned, n, k, bounds);
    return;
  }
  uint64_t largest = 0;
  for (int64_t i = 0; i < k; i++)
    scan_row((const char*)b.data + i * b.row_stride, b.col_stride, b.elem, n, &largest);
  bounds->b = largest;
}

uint64_t im_bias_bound(const void* bias, im_elem elem, int64_t n, int shift) {
  uint64_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    uint64_t v = magnitude(im_load(bias, elem, i));
    largest = v > largest ? v : largest;
  }
  if (largest == 0) return 0;
  return shift < 64 ? multiply_saturating(largest, UINT64_C(1) << shift) : UINT64_MAX;
}

static uint64_t products(im_bounds bounds) {
  return multiply_saturating(bounds.a_row_sum, bounds.b);
}

bool im_fits_i64(im_bounds bounds) {
  return add_saturating(products(bounds), bounds.bias) <= INT64_MAX;
}

int64_t im_exact_block(im_accumulator accumulator, im_bounds bounds, int64_t k) {
  const uint64_t exact_f64 = UINT64_C(1) << 53;
  int64_t whole = k > 0 ? k : 1;
  switch (accumulator) {
    case IM_SUM_F64: {
      uint64_t product = multiply_saturating(bounds.a, bounds.b);
      if (!im_fits_i64(bounds) || product > exact_f64) return 0;
      if (products(bounds) <= exact_f64) return whole;
      int64_t block = (int64_t)(exact_f64 / product); /* their sum is not 0, nor is product */
      return block < whole ? block : whole;
    }
    case IM_SUM_I64: return im_fits_i64(bounds) ? whole : 0;
    case IM_SUM_WIDE: break;
  }
  return whole;
}

int im_select(const im_isa* isa, im_bounds bounds, int64_t k) {
  /* Shorter blocks than this spend more on moving float64 sums than int64 spends on adding. */
  enum { SHORTEST_BLOCK = 32 };
  int last = isa->kernel_count - 1;
  for (int i = 0; i < last; i++) {
    im_accumulator accumulator = isa->kernels[i].accumulator;
    int64_t block = im_exact_block(accumulator, bounds, k);
    if (block > 0 && (block >= k || block >= SHORTEST_BLOCK)) return i;
  }
  return last;
}
