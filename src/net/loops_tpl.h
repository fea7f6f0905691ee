/* Loops of a layer and of the loss, for one target: bodies for isa_tpl.h, after
 * arith/loops_tpl.h, whose blocks they use. */

/* A derivative by the sign of z, -1, 0 or 1: f' is 1 from `whole` on, below that 2**-shift from
 * `part` on, below that 0. */
typedef struct {
  int whole, part, shift;
} im_derivative;

static im_derivative derivative(const im_layer* layer) {
  switch (layer->function) {
    case IM_LINEAR: break;
    case IM_RELU: return (im_derivative){1, layer->half_at_zero ? 0 : 1, 1};
    case IM_LEAKY_RELU: return (im_derivative){0, -1, layer->slope_shift};
  }
  return (im_derivative){-1, -1, 0};
}

/* Fixed point ------------------------------------------------------------------------------ */

#define RELU(TYPE)                   \
  for (int64_t i = 0; i < n; i++) {  \
    TYPE v = ((const TYPE*)z)[i];    \
    ((TYPE*)out)[i] = v > 0 ? v : 0; \
  }

static void activate(const im_layer* layer, const void* z, int64_t n, void* out) {
  im_elem elem = im_elem_of(layer->activation);
  switch (layer->function) {
    case IM_LINEAR: memcpy(out, z, (size_t)n * im_elem_size(elem)); return;
    case IM_RELU:
      if (elem == IM_I32)
        RELU(int32_t)
      else
        RELU(int64_t)
      return;
    case IM_LEAKY_RELU: break;
  }
  int64_t v[BLOCK], part[BLOCK];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(z, elem, at, count, v);
    memcpy(part, v, (size_t)count * sizeof *v);
    requantize_block(part, count, layer->slope_shift, layer->activation);
    for (int64_t i = 0; i < count; i++) v[i] = v[i] >= 0 ? v[i] : part[i];
    store_block(v, count, out, elem, at);
  }
}
#undef RELU

/* g = requantize(f'(z) * g * 2**-k) into the delta format, in place. */
static void gate_block(const im_layer* layer, const int64_t* z, int64_t* g, int64_t n, int k) {
  im_derivative f = derivative(layer);
  int64_t part[BLOCK] = {0};
  if (f.part < f.whole) {
    memcpy(part, g, (size_t)n * sizeof *g);
    requantize_block(part, n, k + f.shift, layer->delta);
  }
  requantize_block(g, n, k, layer->delta);
  for (int64_t i = 0; i < n; i++) {
    int64_t sign = (z[i] > 0) - (z[i] < 0);
    int64_t below = sign >= f.part ? part[i] : 0;
    g[i] = sign >= f.whole ? g[i] : below;
  }
}

static void gate(const im_layer* layer, const void* z, const void* e, int64_t n, void* d) {
  im_elem elem = im_elem_of(layer->delta), z_elem = im_elem_of(layer->activation);
  bool keeps_or_drops = layer->function == IM_RELU && !layer->half_at_zero;
  if (keeps_or_drops && elem == IM_I32 && z_elem == IM_I32) {
    for (int64_t i = 0; i < n; i++)
      ((int32_t*)d)[i] = ((const int32_t*)z)[i] > 0 ? ((const int32_t*)e)[i] : 0;
    return;
  }
  int64_t signs[BLOCK], g[BLOCK];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(z, z_elem, at, count, signs);
    load_block(e, elem, at, count, g);
    gate_block(layer, signs, g, count, 0);
    store_block(g, count, d, elem, at);
  }
}

/* One element of a last layer whose 2 * (a - y) int64 may not hold. */
static int64_t wide_loss_gradient(const im_layer* layer, int64_t z, int64_t a, int64_t y, int k,
                                  int doubled) {
  im_derivative f = derivative(layer);
  int sign = (z > 0) - (z < 0);
  if (sign < f.part) return 0;
  im_wide gradient = im_wide_add(im_wide_of(a), im_wide_negate(im_wide_of(y)));
  gradient = im_wide_shl(gradient, doubled);
  return im_requantize_wide(gradient, sign >= f.whole ? k : k + f.shift, layer->delta);
}

static void loss_gradient(const im_layer* layer, const void* z, const void* a, const void* y,
                          int64_t n, bool half_loss, void* d) {
  int64_t zs[BLOCK], as[BLOCK], ys[BLOCK];
  im_elem elem = im_elem_of(layer->activation);
  int k = layer->activation.frac - layer->delta.frac, doubled = !half_loss;
  bool narrow = layer->activation.bits <= 61; /* |2 * (a - y)| < 2**62 */
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(z, elem, at, count, zs);
    load_block(a, elem, at, count, as);
    load_block(y, elem, at, count, ys);
    if (narrow) {
      for (int64_t i = 0; i < count; i++) as[i] = (as[i] - ys[i]) * (1 + doubled);
      gate_block(layer, zs, as, count, k);
    } else {
      for (int64_t i = 0; i < count; i++)
        as[i] = wide_loss_gradient(layer, zs[i], as[i], ys[i], k, doubled);
    }
    store_block(as, count, d, im_elem_of(layer->delta), at);
  }
}

/* sum (a - y)**2 * 2**-frac. In a block whose magnitudes are at most 2**25 a difference is at
 * most 2**26, and the sum of 512 squares at most 2**61. In general |a - y| < 2**64 as unsigned,
 * its square < 2**128, and fewer than 2**63 of them are summed. */
static double loss(const void* a, const void* y, im_elem elem, int64_t n, int frac) {
  int64_t as[BLOCK], ys[BLOCK];
  im_wide sum = im_wide_of(0);
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(a, elem, at, count, as);
    load_block(y, elem, at, count, ys);
    if ((magnitudes(as, count) | magnitudes(ys, count)) < 1 << 25) {
      int64_t squares = 0;
      for (int64_t i = 0; i < count; i++) {
        int32_t difference = (int32_t)(as[i] - ys[i]);
        squares += (int64_t)difference * difference;
      }
      sum = im_wide_add(sum, im_wide_of(squares));
      continue;
    }
    for (int64_t i = 0; i < count; i++) {
      uint64_t difference =
          as[i] > ys[i] ? (uint64_t)as[i] - (uint64_t)ys[i] : (uint64_t)ys[i] - (uint64_t)as[i];
      sum = im_wide_add(sum, im_wide_mul_u64(difference, difference));
    }
  }
  return im_wide_to_double(sum, frac);
}

#define ARG_MAX(TYPE)                     \
  do {                                    \
    const TYPE* v = row;                  \
    TYPE most = v[0];                     \
    for (int64_t j = 1; j < width; j++) { \
      best = v[j] > most ? j : best;      \
      most = v[j] > most ? v[j] : most;   \
    }                                     \
  } while (0)

/* The first index of the largest entry; kind F64, I32 or I64. */
static int64_t arg_max(const void* row, im_source_kind kind, int64_t width) {
  int64_t best = 0;
  if (kind == IM_SOURCE_F64)
    ARG_MAX(double);
  else if (kind == IM_SOURCE_I32)
    ARG_MAX(int32_t);
  else
    ARG_MAX(int64_t);
  return best;
}
#undef ARG_MAX

static int32_t count_right(const void* a, const void* y, im_source_kind kind, int64_t n,
                           int64_t width) {
  int64_t size = width * (kind == IM_SOURCE_I32 ? 4 : 8);
  const char *output = a, *target = y;
  int32_t right = 0;
  for (int64_t i = 0; i < n; i++, output += size, target += size)
    right += arg_max(output, kind, width) == arg_max(target, kind, width);
  return right;
}

/* Float64 ---------------------------------------------------------------------------------- */

static void activate_float(const im_layer* layer, const double* z, int64_t n, double* out) {
  double slope = im_power_of_two(-layer->slope_shift);
  switch (layer->function) {
    case IM_LINEAR: memcpy(out, z, (size_t)n * sizeof *z); break;
    case IM_RELU:
      for (int64_t i = 0; i < n; i++) out[i] = z[i] > 0 ? z[i] : 0.0;
      break;
    case IM_LEAKY_RELU:
      for (int64_t i = 0; i < n; i++) out[i] = z[i] >= 0 ? z[i] : z[i] * slope;
      break;
  }
}

static void gate_float(const im_layer* layer, const double* z, const double* e, int64_t n,
                       double* d) {
  im_derivative f = derivative(layer);
  double scale = im_power_of_two(-f.shift);
  for (int64_t i = 0; i < n; i++) {
    int64_t sign = (z[i] > 0) - (z[i] < 0);
    double below = sign >= f.part ? e[i] * scale : 0.0;
    d[i] = sign >= f.whole ? e[i] : below;
  }
}

/* The float sum of products, in the one order that every backend keeps (docs/numerics.md,
 * section 7): eight partial sums, s_j over the terms with k % 8 == j, added pairwise at the end.
 * No fused multiply-add: the build turns contraction off. */
IM_INLINE double add_partial(double s0, double s1, double s2, double s3, double s4, double s5,
                             double s6, double s7) {
  return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
}

/* One sum over contiguous operands: the partial sums are one vector of eight. */
static double dot(const double* a, const double* b, int64_t k) {
  double s[8] = {0};
  int64_t i = 0;
  for (; i + 8 <= k; i += 8)
    for (int j = 0; j < 8; j++) s[j] += a[i + j] * b[i + j];
  for (; i < k; i++) s[i % 8] += a[i] * b[i];
  return add_partial(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
}

enum { COLUMNS = 32 };

/* Sums over contiguous rows of b: at most COLUMNS side by side. */
static void sum_columns(const double* a, ptrdiff_t a_stride, const double* b, ptrdiff_t b_stride,
                        int64_t k, int64_t count, double* out) {
  if (k == 1) { /* the other seven sums are +0.0, which changes nothing once s_0 began there */
    for (int64_t j = 0; j < count; j++) out[j] = 0.0 + a[0] * b[j];
    return;
  }
  double s[8][COLUMNS] = {{0}};
  for (int64_t i = 0; i < k; i++, a += a_stride, b += b_stride) {
    double *partial = s[i % 8], factor = *a;
    for (int64_t j = 0; j < count; j++) partial[j] += factor * b[j];
  }
  for (int64_t j = 0; j < count; j++)
    out[j] = add_partial(s[0][j], s[1][j], s[2][j], s[3][j], s[4][j], s[5][j], s[6][j], s[7][j]);
}

static void float_product(im_real_matrix a, im_real_matrix b, int64_t m, int64_t n, int64_t k,
                          const double* bias, double* out) {
  for (int64_t i = 0; i < m; i++, out += n) {
    const double* row = a.data + i * a.row_stride;
    int64_t j = 0;
    if (a.col_stride == 1 && b.row_stride == 1) {
      for (; j < n; j++) out[j] = dot(row, b.data + j * b.col_stride, k);
    } else {
      for (; j < n; j += COLUMNS)
        sum_columns(row, a.col_stride, b.data + j, b.row_stride, k, smaller(n - j, COLUMNS),
                    out + j);
    }
    if (bias)
      for (j = 0; j < n; j++) out[j] += bias[j];
  }
}
