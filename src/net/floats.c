/* The float sum of products, in the one order that every backend keeps (docs/numerics.md,
 * section 7): eight partial sums, s_j over the terms with k % 8 == j, added pairwise at the end.
 * No fused multiply-add: the build turns contraction off. */
#include "net.h"

static double add_partial(const double* s) {
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* One sum over contiguous operands. */
static double dot(const double* a, const double* b, int64_t k) {
  double s[8] = {0};
  int64_t i = 0;
  for (; i + 8 <= k; i += 8)
    for (int j = 0; j < 8; j++) s[j] += a[i + j] * b[i + j];
  for (; i < k; i++) s[i % 8] += a[i] * b[i];
  return add_partial(s);
}

/* One row of sums over contiguous rows of b: the columns of a block side by side. */
static void sum_rows(const double* a, ptrdiff_t a_stride, im_real_matrix b, int64_t n, int64_t k,
                     double* out) {
  enum { COLUMNS = 32 };
  for (int64_t start = 0; start < n; start += COLUMNS) {
    int64_t count = n - start < COLUMNS ? n - start : COLUMNS;
    if (k == 1) { /* the other seven sums are +0.0, which changes nothing once s_0 began there */
      for (int64_t j = 0; j < count; j++) out[start + j] = 0.0 + a[0] * b.data[start + j];
      continue;
    }
    double s[COLUMNS][8] = {{0}};
    for (int64_t i = 0; i < k; i++) {
      const double* row = b.data + i * b.row_stride + start;
      for (int64_t j = 0; j < count; j++) s[j][i % 8] += a[i * a_stride] * row[j];
    }
    for (int64_t j = 0; j < count; j++) out[start + j] = add_partial(s[j]);
  }
}

void im_float_product(im_real_matrix a, im_real_matrix b, int64_t m, int64_t n, int64_t k,
                      const double* bias, double* out) {
  for (int64_t i = 0; i < m; i++) {
    const double* row = a.data + i * a.row_stride;
    double* to = out + i * n;
    if (a.col_stride == 1 && b.row_stride == 1) {
      for (int64_t j = 0; j < n; j++) to[j] = dot(row, b.data + j * b.col_stride, k);
    } else {
      sum_rows(row, a.col_stride, b, n, k, to);
    }
    if (bias)
      for (int64_t j = 0; j < n; j++) to[j] += bias[j];
  }
}

bool im_all_finite(const double* v, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(v[i])) return false;
  return true;
}
