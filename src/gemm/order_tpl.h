/* Sums that saturate at every step, in the order of k: a body for isa_tpl.h.
 *
 * Each lane owns an accumulator, and sums[i * stride + j] goes through
 *
 *     sum = held to -2**(bits-1) .. 2**(bits-1) - 1 of (sum + a[k][i] * b[k][j])     k = 0, 1, ...
 *
 * on panels of words of 64 bits. im_exact_block proves that int64 holds what is between the two.
 */
#include "gemm.h"

static void sum_in_order(const int64_t* a, int a_lanes, const int64_t* b, int64_t k, int rows,
                         int stride, int bits, int64_t* sums) {
  const int64_t high = INT64_MAX >> (64 - bits), low = -high - 1;
  for (int64_t step = 0; step < k; step++, a += a_lanes, b += stride)
    for (int i = 0; i < rows; i++) {
      const int64_t factor = a[i], *restrict row = b;
      int64_t* restrict to = sums + i * stride;
      for (ptrdiff_t j = 0; j < stride; j++) {
        int64_t sum = to[j] + factor * row[j];
        sum = sum > low ? sum : low;
        to[j] = sum < high ? sum : high;
      }
    }
}
