/* Products of one row, and outer products, of int32 without packing: what batch 1 needs.
 *
 *   dot     m = 1 and b's columns are contiguous (a layer's forward pass, b = W.T)
 *   axpy    m = 1 and b's rows are contiguous (the error sent down, b = W)
 *   outer   k = 1 (the gradient of one sample)
 *
 * Accumulator int64, exact where total < 2**63 (select.c); for an outer product of int32 always,
 * since 2**31 * 2**31 = 2**62.
 */
#include "gemm.h"

enum { CHUNK = 256 };

static void dot(const int32_t *a, im_matrix b, int64_t n, int64_t k, const im_sink *sink) {
  for (int64_t j = 0; j < n; j++) {
    const int32_t *column = (const int32_t *)((const char *)b.data + j * b.col_stride);
    int64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int64_t i = 0;
    for (; i + 4 <= k; i += 4) {
      s0 += (int64_t)a[i] * column[i];
      s1 += (int64_t)a[i + 1] * column[i + 1];
      s2 += (int64_t)a[i + 2] * column[i + 2];
      s3 += (int64_t)a[i + 3] * column[i + 3];
    }
    for (; i < k; i++) s0 += (int64_t)a[i] * column[i];
    int64_t sum = s0 + s1 + s2 + s3;
    im_sink_i64(sink, n, 0, j, 1, &sum);
  }
}

static void axpy(const int32_t *a, im_matrix b, int64_t n, int64_t k, const im_sink *sink) {
  for (int64_t start = 0; start < n; start += CHUNK) {
    int64_t count = n - start < CHUNK ? n - start : CHUNK;
    int64_t sums[CHUNK] = {0};
    for (int64_t i = 0; i < k; i++) {
      if (a[i] == 0) continue;
      const int32_t *row = (const int32_t *)((const char *)b.data + i * b.row_stride) + start;
      for (int64_t j = 0; j < count; j++) sums[j] += (int64_t)a[i] * row[j];
    }
    im_sink_i64(sink, n, 0, start, count, sums);
  }
}

static void outer(im_matrix a, im_matrix b, int64_t m, int64_t n, const im_sink *sink) {
  for (int64_t i = 0; i < m; i++) {
    int64_t factor = *(const int32_t *)((const char *)a.data + i * a.row_stride);
    /* A zero step changes nothing: R(0) = 0, and the weight is in its format already. */
    if (factor == 0 && sink->kind == IM_UPDATE) continue;
    for (int64_t start = 0; start < n; start += CHUNK) {
      int64_t count = n - start < CHUNK ? n - start : CHUNK;
      int64_t sums[CHUNK];
      const char *element = (const char *)b.data + start * b.col_stride;
      for (int64_t j = 0; j < count; j++)
        sums[j] = factor * *(const int32_t *)(element + j * b.col_stride);
      im_sink_i64(sink, n, i, start, count, sums);
    }
  }
}

bool im_vector_product(im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                       const im_sink *sink) {
  if (a.elem != IM_I32 || b.elem != IM_I32) return false;
  if (k == 1 && !sink->bias) {
    outer(a, b, m, n, sink);
    return true;
  }
  bool contiguous = a.col_stride == 4 && (b.row_stride == 4 || b.col_stride == 4);
  if (m != 1 || !contiguous) return false;
  im_bounds bounds = im_bounds_of_formats(a, b, k);
  im_scan_a(a, 1, k, &bounds);
  if (sink->bias) bounds.bias = im_bias_bound(sink->bias, sink->bias_elem, n, sink->bias_shift);
  if (!im_fits_i64(bounds)) return false;
  if (b.row_stride == 4)
    dot(a.data, b, n, k, sink);
  else
    axpy(a.data, b, n, k, sink);
  return true;
}
