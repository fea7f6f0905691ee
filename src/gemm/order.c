/* Products whose accumulator may saturate: every sum is added in the order of k, docs/numerics.md,
 * section 2. Which of the two serves is decided by im_select.
 */
#include "gemm.h"

const im_kernel im_kernel_in_order = {
    .name = "in_order", .scheme = IM_SCHEME_IN_ORDER, .rows = 8, .lanes = 16, .vectors = 3};
const im_kernel im_kernel_in_order_wide = {.name = "in_order_wide",
                                           .scheme = IM_SCHEME_IN_ORDER_WIDE,
                                           .rows = 8,
                                           .lanes = 16,
                                           .vectors = 3};

/* loops->sum_in_order for any operands. An accumulator is at most 2**63 and a product 2**126. */
static void sum_in_order_wide(const int64_t* a, int a_lanes, const int64_t* b, int64_t k, int rows,
                              int stride, int bits, int64_t* sums) {
  for (int64_t step = 0; step < k; step++, a += a_lanes, b += stride)
    for (int i = 0; i < rows; i++)
      for (int j = 0; j < stride; j++) {
        int64_t* to = &sums[i * stride + j];
        im_wide sum = im_wide_add(im_wide_of(*to), im_wide_mul(a[i], b[j]));
        *to = im_enter_wide(sum, bits, IM_SATURATE);
      }
}

void im_tile_in_order(const im_isa* isa, const im_kernel* kernel, const im_sink* sink,
                      im_place place, int64_t k, const void* a, const void* b, int stride) {
  int bits = sink->accumulator.bits;
  int64_t sums[IM_MAX_TILE];
  im_sink unbiased = *sink;
  unbiased.bias = NULL; /* it is where the sums start */
  for (int j = 0; j < stride; j++) {
    int64_t start = 0;
    if (sink->bias && j < place.columns) {
      im_wide bias = im_wide_of(im_load(sink->bias, sink->bias_elem, place.column + j));
      start = im_enter_wide(im_wide_shl(bias, sink->bias_shift), bits, IM_SATURATE);
    }
    for (int i = 0; i < place.rows; i++) sums[i * stride + j] = start;
  }
  if (kernel->scheme == IM_SCHEME_IN_ORDER) {
    isa->loops->sum_in_order(a, kernel->rows, b, k, place.rows, stride, bits, sums);
    isa->loops->sink_i64(&unbiased, place, sums, stride);
    return;
  }
  /* One of 64 bits may hold -2**63, for which the sink of int64 is not made. */
  im_wide wide[IM_MAX_TILE];
  sum_in_order_wide(a, kernel->rows, b, k, place.rows, stride, bits, sums);
  for (int at = 0; at < place.rows * stride; at++) wide[at] = im_wide_of(sums[at]);
  isa->loops->sink_wide(&unbiased, place, wide, stride);
}
