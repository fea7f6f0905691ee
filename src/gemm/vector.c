/* Products of one row, and outer products, of int32 without packing: what batch 1 needs.
 *
 *   dot     m = 1 and b's columns are contiguous (a layer's forward pass, b = W.T)
 *   axpy    m = 1 and b's rows are contiguous (the error sent down, b = W)
 *   outer   k = 1 (the gradient of one sample)
 *
 * Accumulator int64, exact where row_fits says so; for an outer product of int32 always, since
 * 2**31 * 2**31 = 2**62: what overflows in the accumulator of the call is left to the sink. Zero
 * operands are left out: they add nothing to an exact sum, and change no weight, since R(0) = 0 and
 * a weight is in its format already. Pixels, outputs of a relu and its deltas are mostly zero.
 */
#include "gemm.h"

enum { CHUNK = 256 };

/* The entries of a vector that are not zero. */
typedef struct {
  int count;
  int32_t at[CHUNK], value[CHUNK];
} im_entries;

static void list_entries(const char* vector, ptrdiff_t stride, int64_t length,
                         im_entries* entries) {
  entries->count = 0;
  for (int32_t i = 0; i < length; i++) {
    int32_t v = *(const int32_t*)(vector + i * stride);
    entries->at[entries->count] = i;
    entries->value[entries->count] = v;
    entries->count += v != 0;
  }
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t dot_entries(const im_entries* a, const int32_t* column) {
  int64_t even = 0, odd = 0;
  int i = 0;
  for (; i + 2 <= a->count; i += 2) {
    even += (int64_t)a->value[i] * column[a->at[i]];
    odd += (int64_t)a->value[i + 1] * column[a->at[i + 1]];
  }
  if (i < a->count) even += (int64_t)a->value[i] * column[a->at[i]];
  return even + odd;
}

static void dot(const im_isa* isa, im_matrix a, im_matrix b, int64_t n, int64_t k,
                const im_sink* sink) {
  im_entries entries;
  for (int64_t column = 0; column < n; column += CHUNK) {
    int64_t columns = smaller(n - column, CHUNK);
    int64_t sums[CHUNK] = {0};
    for (int64_t step = 0; step < k; step += CHUNK) {
      const char* chunk = (const char*)b.data + step * b.row_stride;
      list_entries((const char*)a.data + step * a.col_stride, a.col_stride,
                   smaller(k - step, CHUNK), &entries);
      for (int64_t j = 0; j < columns; j++)
        sums[j] += dot_entries(&entries, (const int32_t*)(chunk + (column + j) * b.col_stride));
    }
    isa->loops->sink_i64(sink, (im_place){n, 0, column, 1, (int)columns}, sums, CHUNK);
  }
}

static void axpy(const im_isa* isa, im_matrix a, im_matrix b, int64_t n, int64_t k,
                 const im_sink* sink) {
  for (int64_t column = 0; column < n; column += CHUNK) {
    int64_t columns = smaller(n - column, CHUNK);
    int64_t sums[CHUNK] = {0};
    for (int64_t step = 0; step < k; step++) {
      int64_t factor = *(const int32_t*)((const char*)a.data + step * a.col_stride);
      if (factor == 0) continue;
      const int32_t* row = (const int32_t*)((const char*)b.data + step * b.row_stride) + column;
      for (int64_t j = 0; j < columns; j++) sums[j] += factor * row[j];
    }
    isa->loops->sink_i64(sink, (im_place){n, 0, column, 1, (int)columns}, sums, CHUNK);
  }
}

/* w = enter(w + R(-factor * x)), one loop for each rule so that the choice is outside it; wordless
 * rules, since entries stand apart. */
static inline void update_row(int32_t* w, int64_t factor, const im_entries* x, int k,
                              im_format rules) {
  for (int i = 0; i < x->count; i++) {
    int32_t* weight = w + x->at[i];
    *weight = (int32_t)im_update_i64(*weight, factor * x->value[i], k, rules, 0);
  }
}

static void update_outer(im_matrix a, im_matrix b, int64_t m, int64_t n, const im_sink* sink) {
  im_format fmt = sink->fmt;
  int k = sink->frac_in - fmt.frac;
  im_entries entries;
  for (int64_t column = 0; column < n; column += CHUNK) {
    list_entries((const char*)b.data + column * b.col_stride, b.col_stride,
                 smaller(n - column, CHUNK), &entries);
    for (int64_t i = 0; i < m; i++) {
      int64_t factor = *(const int32_t*)((const char*)a.data + i * a.row_stride);
      if (factor == 0) continue;
      int32_t* w = (int32_t*)sink->out + i * n + column;
#define UPDATE_ROW(RULES) update_row(w, factor, &entries, k, RULES)
      IM_FOR_EACH_WORDLESS_RULE(fmt, UPDATE_ROW)
#undef UPDATE_ROW
    }
  }
}

static void outer(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n,
                  const im_sink* sink) {
  for (int64_t i = 0; i < m; i++) {
    int64_t factor = *(const int32_t*)((const char*)a.data + i * a.row_stride);
    for (int64_t column = 0; column < n; column += CHUNK) {
      int64_t columns = smaller(n - column, CHUNK);
      int64_t sums[CHUNK];
      const char* x = (const char*)b.data + column * b.col_stride;
      for (int64_t j = 0; j < columns; j++)
        sums[j] = factor * *(const int32_t*)(x + j * b.col_stride);
      isa->loops->sink_i64(sink, (im_place){n, i, column, 1, (int)columns}, sums, CHUNK);
    }
  }
}

/* Whether all sums of one row by columns of at most 2**(b.bits - 1), bias included, and partial
 * ones in any order, are at most `most`, which int64 holds. */
static bool row_fits(im_matrix a, int b_bits, int64_t k, uint64_t bias, uint64_t most) {
  uint64_t sum = 0; /* fewer than 2**32 magnitudes of at most 2**31 */
  for (int64_t i = 0; i < k; i++) {
    int64_t v = *(const int32_t*)((const char*)a.data + i * a.col_stride);
    sum += (uint64_t)(v < 0 ? -v : v);
  }
  return sum <= most >> (b_bits - 1) && (sum << (b_bits - 1)) + bias >= bias &&
         (sum << (b_bits - 1)) + bias <= most;
}

bool im_vector_product(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                       const im_sink* sink) {
  if (a.elem != IM_I32 || b.elem != IM_I32) return false;
  if (k == 1 && !sink->bias) {
    int shift = sink->frac_in - sink->fmt.frac;
    if (sink->kind == IM_UPDATE && !sink->accumulator.bits && !sink->addend.kept &&
        sink->fmt.bits <= 32 && sink->fmt.rounding != IM_STOCHASTIC &&
        im_update_is_narrow(shift, sink->fmt.bits))
      update_outer(a, b, m, n, sink);
    else
      outer(isa, a, b, m, n, sink);
    return true;
  }
  if (m != 1 || !(b.row_stride == 4 || b.col_stride == 4)) return false;
  uint64_t bias = 0;
  if (sink->bias) bias = im_bias_bound(sink->bias, sink->bias_elem, n, sink->bias_shift);
  uint64_t limit = im_limit(sink->accumulator);
  if (!row_fits(a, b.bits, k, bias, limit < INT64_MAX ? limit : INT64_MAX)) return false;
  if (b.row_stride == 4)
    dot(isa, a, b, n, k, sink);
  else
    axpy(isa, a, b, n, k, sink);
  return true;
}
