/* Loops of a layer and of the loss, for one target: bodies for isa_tpl.h, after
 * arith/loops_tpl.h, whose blocks they use. */
#include "../arith/exp_log.h"
#include "net.h"

/* A derivative that is 0 or a power of two, by the raw z: 2**-shift from `whole` to `last`, below
 * `whole` 2**-part_shift from `part` on, elsewhere 0. */
typedef struct {
  int64_t whole, part, last;
  int shift, part_shift;
} im_derivative;

/* For z strictly between -2**frac and 2**frac; frac 0..64. */
static im_derivative inside(int frac, int shift) {
  int64_t last = frac < 63 ? (INT64_C(1) << frac) - 1 : INT64_MAX;
  int64_t first = frac < 64 ? -last : INT64_MIN;
  return (im_derivative){first, first, last, shift, 0};
}

static im_derivative derivative(const im_layer* layer) {
  switch (layer->function) {
    case IM_RELU: return (im_derivative){1, layer->half_at_zero ? 0 : 1, INT64_MAX, 0, 1};
    case IM_LEAKY_RELU: return (im_derivative){0, INT64_MIN, INT64_MAX, 0, layer->slope_shift};
    case IM_HARD_TANH: return inside(layer->activation.frac, 0);
    case IM_HARD_SIGMOID: return inside(layer->activation.frac + 1, 2);
    case IM_LINEAR:
    case IM_SIGMOID:
    case IM_TANH: break; /* the last two are computed from A: see smooth_slope */
  }
  return (im_derivative){INT64_MIN, INT64_MIN, INT64_MAX, 0, 0};
}

/* f' of sigmoid and tanh from the raw a, at frac 2 * fA: a * (1 - a) and 1 - a * a. At most
 * 2**126 + 2**78 in magnitude, as a has at most 16 bits. */
static im_wide smooth_slope(const im_layer* layer, int64_t a) {
  int one = layer->activation.frac;
  im_wide first = layer->function == IM_TANH ? im_wide_shl(im_wide_of(1), 2 * one)
                                             : im_wide_shl(im_wide_of(a), one);
  return im_wide_add(first, im_wide_negate(im_wide_mul(a, a)));
}

/* Fixed point ------------------------------------------------------------------------------ */

#define RELU(TYPE)                   \
  for (int64_t i = 0; i < n; i++) {  \
    TYPE v = ((const TYPE*)z)[i];    \
    ((TYPE*)out)[i] = v > 0 ? v : 0; \
  }

#define HOLD(TYPE)                                   \
  do {                                               \
    const TYPE least = (TYPE)low, most = (TYPE)high; \
    for (int64_t i = 0; i < n; i++) {                \
      TYPE v = ((const TYPE*)z)[i];                  \
      v = v > least ? v : least;                     \
      ((TYPE*)out)[i] = v < most ? v : most;         \
    }                                                \
  } while (0)

/* z held to low..high, or to the ends of the format, where those are nearer. */
static void hold(const im_layer* layer, const void* z, int64_t n, int64_t low, int64_t high,
                 void* out) {
  im_format fmt = layer->activation;
  low = im_enter(low, fmt.bits, IM_SATURATE);
  high = im_enter(high, fmt.bits, IM_SATURATE);
  if (im_elem_of(fmt) == IM_I32)
    HOLD(int32_t);
  else
    HOLD(int64_t);
}
#undef HOLD

/* requantize(z + 2**(frac + 1)), from frac + 2. */
static void hard_sigmoid_line(const im_layer* layer, im_stream stream, const void* z, int64_t n,
                              void* out) {
  im_format fmt = layer->activation;
  im_elem elem = im_elem_of(fmt);
  bool narrow = fmt.bits <= 62 && fmt.frac <= 60; /* |z| + 2**(frac + 1) <= 2**62 */
  int64_t v[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(z, elem, at, count, v);
    const uint32_t* words = random_words(stream, at, count, fmt, room);
    if (narrow) {
      for (int64_t i = 0; i < count; i++) v[i] += INT64_C(2) << fmt.frac;
      requantize_block(v, count, 2, fmt, words);
    } else {
      im_wide two = im_wide_shl(im_wide_of(2), fmt.frac);
      for (int64_t i = 0; i < count; i++)
        v[i] = im_requantize_wide(im_wide_add(im_wide_of(v[i]), two), 2, fmt,
                                  im_word(fmt.rounding, words, i));
    }
    store_block(v, count, out, elem, at);
  }
}

static void activate(const im_layer* layer, im_stream stream, const void* z, int64_t n, void* out) {
  /* 1; where that is 2**63, no format reaches it */
  int64_t one = layer->activation.frac < 63 ? INT64_C(1) << layer->activation.frac : INT64_MAX;
  im_elem elem = im_elem_of(layer->activation);
  switch (layer->function) {
    case IM_LINEAR: memcpy(out, z, (size_t)n * im_elem_size(elem)); return;
    case IM_RELU:
      if (elem == IM_I32)
        RELU(int32_t)
      else
        RELU(int64_t)
      return;
    case IM_HARD_TANH: hold(layer, z, n, one < INT64_MAX ? -one : INT64_MIN, one, out); return;
    case IM_HARD_SIGMOID:
      hard_sigmoid_line(layer, stream, z, n, out);
      hold(layer, out, n, 0, one, out);
      return;
    case IM_SIGMOID:
    case IM_TANH: /* formats of at most 16 bits */
      for (int64_t i = 0; i < n; i++)
        ((int32_t*)out)[i] =
            layer->table[((const int32_t*)z)[i] + (1 << (layer->activation.bits - 1))];
      return;
    case IM_LEAKY_RELU: break;
  }
  int64_t v[BLOCK], part[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(z, elem, at, count, v);
    memcpy(part, v, (size_t)count * sizeof *v);
    requantize_block(part, count, layer->slope_shift, layer->activation,
                     random_words(stream, at, count, layer->activation, room));
    for (int64_t i = 0; i < count; i++) v[i] = v[i] >= 0 ? v[i] : part[i];
    store_block(v, count, out, elem, at);
  }
}
#undef RELU

/* g = requantize(f' * g * 2**-k) into the delta format, in place, with the f' of sigmoid or tanh
 * from a. For frac <= 15 it is at most 2**31 in magnitude, and with |g| <= 2**31 int64 is enough.
 */
static void gate_smooth(const im_layer* layer, const int64_t* a, int64_t* g, int64_t n, int k,
                        const uint32_t* words) {
  int one = layer->activation.frac;
  k += 2 * one;
  if (one > 15 || magnitudes(g, n) >= UINT64_C(1) << 31) {
    for (int64_t i = 0; i < n; i++)
      g[i] = im_requantize_wide(im_wide_times(smooth_slope(layer, a[i]), g[i]), k, layer->delta,
                                im_word(layer->delta.rounding, words, i));
    return;
  }
  const int64_t unit = INT64_C(1) << one;
  if (layer->function == IM_TANH)
    for (int64_t i = 0; i < n; i++) g[i] *= unit * unit - a[i] * a[i];
  else
    for (int64_t i = 0; i < n; i++) g[i] *= a[i] * (unit - a[i]);
  requantize_block(g, n, k, layer->delta, words);
}

/* g = requantize(f' * g * 2**-k) into the delta format, in place; x is what f' is computed from. */
static void gate_block(const im_layer* layer, const int64_t* x, int64_t* g, int64_t n, int k,
                       const uint32_t* words) {
  if (im_derives_from_a(layer)) {
    gate_smooth(layer, x, g, n, k, words);
    return;
  }
  im_derivative f = derivative(layer);
  int64_t part[BLOCK] = {0};
  if (f.part < f.whole) {
    memcpy(part, g, (size_t)n * sizeof *g);
    requantize_block(part, n, k + f.part_shift, layer->delta, words);
  }
  requantize_block(g, n, k + f.shift, layer->delta, words);
  for (int64_t i = 0; i < n; i++) {
    int64_t below = x[i] >= f.part ? part[i] : 0;
    int64_t d = x[i] >= f.whole ? g[i] : below;
    g[i] = x[i] <= f.last ? d : 0;
  }
}

static void gate(const im_layer* layer, im_stream stream, const void* x, const void* e, int64_t n,
                 void* d) {
  im_elem elem = im_elem_of(layer->delta), x_elem = im_elem_of(layer->activation);
  bool keeps_or_drops = layer->function == IM_RELU && !layer->half_at_zero;
  if (keeps_or_drops && elem == IM_I32 && x_elem == IM_I32) {
    for (int64_t i = 0; i < n; i++)
      ((int32_t*)d)[i] = ((const int32_t*)x)[i] > 0 ? ((const int32_t*)e)[i] : 0;
    return;
  }
  int64_t xs[BLOCK], g[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(x, x_elem, at, count, xs);
    load_block(e, elem, at, count, g);
    gate_block(layer, xs, g, count, 0, random_words(stream, at, count, layer->delta, room));
    store_block(g, count, d, elem, at);
  }
}

/* One element of a last layer whose 2 * (a - y) int64 may not hold: not of sigmoid or tanh. */
static int64_t wide_loss_gradient(const im_layer* layer, int64_t z, int64_t a, int64_t y, int k,
                                  int doubled, uint32_t word) {
  im_derivative f = derivative(layer);
  if (z < f.part || z > f.last) return 0;
  im_wide gradient = im_wide_add(im_wide_of(a), im_wide_negate(im_wide_of(y)));
  gradient = im_wide_shl(gradient, doubled);
  return im_requantize_wide(gradient, k + (z >= f.whole ? f.shift : f.part_shift), layer->delta,
                            word);
}

static void loss_gradient(const im_layer* layer, im_stream stream, const void* z, const void* a,
                          const void* y, int64_t n, bool half_loss, void* d) {
  uint32_t room[WORDS];
  int64_t xs[BLOCK], as[BLOCK], ys[BLOCK];
  im_elem elem = im_elem_of(layer->activation);
  int k = layer->activation.frac - layer->delta.frac, doubled = !half_loss;
  bool narrow = layer->activation.bits <= 61; /* |2 * (a - y)| < 2**62 */
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(im_derives_from_a(layer) ? a : z, elem, at, count, xs);
    load_block(a, elem, at, count, as);
    load_block(y, elem, at, count, ys);
    const uint32_t* words = random_words(stream, at, count, layer->delta, room);
    if (narrow) {
      for (int64_t i = 0; i < count; i++) as[i] = (as[i] - ys[i]) * (1 + doubled);
      gate_block(layer, xs, as, count, k, words);
    } else {
      for (int64_t i = 0; i < count; i++)
        as[i] = wide_loss_gradient(layer, xs[i], as[i], ys[i], k, doubled,
                                   im_word(layer->delta.rounding, words, i));
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

/* v held to low..1; NaN stays. */
static double held_real(double v, double low) { return v < low ? low : v > 1 ? 1.0 : v; }

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
    case IM_HARD_TANH:
      for (int64_t i = 0; i < n; i++) out[i] = held_real(z[i], -1.0);
      break;
    case IM_HARD_SIGMOID:
      for (int64_t i = 0; i < n; i++) out[i] = held_real((z[i] + 2) * 0.25, 0.0);
      break;
    case IM_SIGMOID:
      for (int64_t i = 0; i < n; i++) out[i] = 1 / (1 + im_exp(-z[i]));
      break;
    case IM_TANH:
      for (int64_t i = 0; i < n; i++) out[i] = 1 - 2 / (im_exp(2 * z[i]) + 1);
      break;
  }
}

#define GATE(SLOPE)                         \
  for (int64_t i = 0; i < n; i++) {         \
    double slope = SLOPE;                   \
    d[i] = slope != 0 ? slope * e[i] : 0.0; \
  }                                         \
  break

/* d = f' * e, and +0.0 where f' is 0; x is what f' is computed from. */
static void gate_float(const im_layer* layer, const double* x, const double* e, int64_t n,
                       double* d) {
  double at_zero = layer->half_at_zero ? 0.5 : 0.0, below = im_power_of_two(-layer->slope_shift);
  switch (layer->function) {
    case IM_LINEAR: GATE(1.0);
    case IM_RELU: GATE(x[i] > 0 ? 1.0 : x[i] == 0 ? at_zero : 0.0);
    case IM_LEAKY_RELU: GATE(x[i] >= 0 ? 1.0 : below);
    case IM_HARD_TANH: GATE(fabs(x[i]) < 1 ? 1.0 : 0.0);
    case IM_HARD_SIGMOID: GATE(fabs(x[i]) < 2 ? 0.25 : 0.0);
    case IM_SIGMOID: GATE(x[i] * (1 - x[i]));
    case IM_TANH: GATE(1 - x[i] * x[i]);
  }
}
#undef GATE

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
