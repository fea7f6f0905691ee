/* Reads calls with the results that the oracle of the test suite gives them, makes each call on
 * every instruction set and every kernel of this build, and compares bit for bit. Prints a line
 * "ISA KERNEL COUNT" for each kernel: how often it served, that is, was proved exact.
 *
 * tests/vectors.py writes the calls: a name, then integers in decimal, in the order in which they
 * are read here. A float is written as the integer of its bits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intmlp.h"

enum { ISAS = 8, KERNELS = 32, LAYOUTS = 4 };

static int64_t served[ISAS][KERNELS];
static int64_t calls, numbers; /* compared */

static void fail(const char* why) {
  printf("call %" PRId64 ": %s\n", calls, why);
  exit(1);
}

/* Memory is kept until the call is over. */
static void* kept[1024];
static int kept_count;

static void* keep(int64_t n, size_t size) {
  void* memory = malloc((size_t)n * size + 1);
  if (!memory || kept_count == sizeof kept / sizeof kept[0]) fail("no memory");
  return kept[kept_count++] = memory;
}

/* Reading ------------------------------------------------------------------------------------ */

static int64_t integer(void) {
  int64_t v;
  if (scanf("%" SCNd64, &v) != 1) fail("the input ends early");
  return v;
}

static void* array(int64_t n, size_t size) {
  void* values = keep(n, size);
  for (int64_t i = 0; i < n; i++) {
    int64_t v = integer();
    if (size == 2)
      ((int16_t*)values)[i] = (int16_t)v;
    else if (size == 4)
      ((int32_t*)values)[i] = (int32_t)v;
    else
      ((int64_t*)values)[i] = v;
  }
  return values;
}

static im_format format(void) {
  im_format fmt;
  fmt.bits = (int)integer();
  fmt.frac = (int)integer();
  fmt.rounding = (im_rounding)integer();
  fmt.overflow = (im_overflow)integer();
  fmt.random_bits = (int)integer();
  return fmt;
}

/* Floats or raw integers, before which their kind is written. */
typedef struct {
  im_source_kind kind;
  size_t size;
  void* data;
} entries;

static entries source(int64_t n) {
  im_source_kind kind = (im_source_kind)integer();
  size_t size = kind == IM_SOURCE_F32 || kind == IM_SOURCE_I32 ? 4 : 8;
  return (entries){kind, size, array(n, size)};
}

static im_accumulator accumulator(void) {
  int bits = (int)integer();
  return (im_accumulator){bits, (im_overflow)integer()};
}

/* Of all calls; a network numbers its tensors itself. */
static const im_stream stream = {0x123456789abcdef, 7, 9, 0};

static size_t size_in(im_format fmt) { return im_elem_size(im_elem_of(fmt)); }

static void compare(const char* isa, const char* what, const void* got, const void* want, int64_t n,
                    size_t size) {
  numbers += n;
  for (int64_t i = 0; i < n; i++) {
    if (memcmp((const char*)got + (size_t)i * size, (const char*)want + (size_t)i * size, size)) {
      printf("call %" PRId64 ", %s %s: entry %" PRId64 " of %" PRId64 " differs\n", calls, isa,
             what, i, n);
      exit(1);
    }
  }
}

/* Arrays ------------------------------------------------------------------------------------- */

static void quantize(void) {
  im_format fmt = format();
  int64_t n = integer();
  entries v = source(n);
  const void* want = array(n, size_in(fmt));
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    void* out = keep(n, size_in(fmt));
    im_quantize(*isa, v.data, v.kind, n, fmt, stream, out);
    compare(im_isa_name(*isa), "quantize", out, want, n, size_in(fmt));
  }
}

static void dequantize(void) {
  im_format fmt = format();
  int64_t n = integer();
  const void* raw = array(n, size_in(fmt));
  const double* want = array(n, sizeof *want);
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    double* out = keep(n, sizeof *out);
    im_dequantize(*isa, raw, im_elem_of(fmt), n, fmt.frac, out);
    compare(im_isa_name(*isa), "dequantize", out, want, n, sizeof *out);
  }
}

static void requantize(void) {
  im_format fmt = format();
  int frac_in = (int)integer();
  im_elem elem = (im_elem)integer();
  int64_t n = integer();
  const void* s = array(n, im_elem_size(elem));
  const void* want = array(n, size_in(fmt));
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    void* out = keep(n, size_in(fmt));
    im_requantize(*isa, s, elem, n, frac_in, fmt, stream, out);
    compare(im_isa_name(*isa), "requantize", out, want, n, size_in(fmt));
  }
}

/* Products ----------------------------------------------------------------------------------- */

typedef enum { PLAIN, TURNED, SCATTERED } layout; /* in memory: by rows, by columns; or see below */

/* The same matrix; scattered, it stands backwards, column by column, with room between entries. */
static im_matrix matrix_of(const char* data, int64_t rows, int64_t columns, im_elem elem,
                           layout as) {
  ptrdiff_t size = (ptrdiff_t)im_elem_size(elem);
  int bits = elem == IM_I32 ? 32 : 64;
  if (as == PLAIN) return (im_matrix){data, (ptrdiff_t)columns * size, size, elem, bits};
  ptrdiff_t step = as == TURNED ? size : -3 * size, next = (ptrdiff_t)rows * step;
  char* copy = keep(rows * columns, (size_t)(3 * size));
  char* first = as == TURNED ? copy : copy - (ptrdiff_t)(rows * columns - 1) * step;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      memcpy(first + i * step + j * next, data + (i * columns + j) * size, (size_t)size);
  return (im_matrix){first, step, next, elem, bits};
}

/* A matrix of which rows and columns come again and again. */
static void* repeat(const char* data, int64_t rows, int64_t columns, size_t size, int64_t down,
                    int64_t across) {
  char* out = keep(rows * down * columns * across, size);
  for (int64_t i = 0; i < rows * down; i++)
    for (int64_t j = 0; j < columns * across; j++)
      memcpy(out + (size_t)(i * columns * across + j) * size,
             data + (size_t)(i % rows * columns + j % columns) * size, size);
  return out;
}

static int64_t entry(im_matrix x, int64_t i, int64_t j) {
  const char* at = (const char*)x.data + i * x.row_stride + j * x.col_stride;
  int64_t wide;
  int32_t narrow;
  if (x.elem == IM_I32) {
    memcpy(&narrow, at, sizeof narrow);
    return narrow;
  }
  memcpy(&wide, at, sizeof wide);
  return wide;
}

static bool is_range(im_matrix x, int64_t rows, int64_t columns, int64_t low, int64_t high) {
  int64_t least = 0, most = 0;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      int64_t v = entry(x, i, j);
      least = v < least ? v : least;
      most = v > most ? v : most;
    }
  return low == least && high == most;
}

static void product(void) {
  int64_t times = integer(), m = integer(), k = integer(), n = integer();
  im_elem a_elem = (im_elem)integer(), b_elem = (im_elem)integer();
  int64_t has_bias = integer();
  im_elem bias_elem = has_bias == 2 ? IM_I64 : IM_I32;
  int bias_shift = (int)integer();
  im_accumulator sums = accumulator();
  int frac_in = (int)integer();
  im_format fmt = format();
  size_t size = size_in(fmt);
  const char* a = array(m * k, im_elem_size(a_elem));
  const char* b = array(k * n, im_elem_size(b_elem));
  const void* bias = has_bias ? array(n, im_elem_size(bias_elem)) : NULL;
  const void* want = array(m * n, size);
  if (times > 1) {
    a = repeat(a, m, k, im_elem_size(a_elem), times, 1);
    b = repeat(b, k, n, im_elem_size(b_elem), 1, times);
    want = repeat(want, m, n, size, times, times);
    m *= times;
    n *= times;
  }
  void* out = keep(m * n, size);
  im_scratch scratch = {.threads = im_threads()};
  static const layout layouts[][2] = {
      {PLAIN, PLAIN}, {TURNED, PLAIN}, {PLAIN, TURNED}, {SCATTERED, SCATTERED}};
  for (size_t at = 0; at < (times > 1 ? 1 : sizeof layouts / sizeof *layouts); at++) {
    im_matrix left = matrix_of(a, m, k, a_elem, layouts[at][0]);
    im_matrix right = matrix_of(b, k, n, b_elem, layouts[at][1]);
    for (int i = 0; im_isas()[i]; i++) {
      const im_isa* isa = im_isas()[i];
      im_explanation plan;
      if (im_explain_matmul(isa, left, right, m, n, k, bias, bias_elem, bias_shift, sums, &plan) !=
              IM_OK ||
          !is_range(left, m, k, plan.a_low, plan.a_high) ||
          !is_range(right, k, n, plan.b_low, plan.b_high) || plan.block < 1 || plan.block > k)
        fail("a product is explained by another");
      for (int kernel = -1; kernel < 0 || im_isa_kernel(isa, kernel); kernel++) {
        if (kernel >= 0 && (times > 1 || !im_isa_kernel_usable(isa, kernel))) continue;
        const char* name = kernel < 0 ? "product" : im_isa_kernel(isa, kernel);
        memset(out, 0x55, (size_t)(m * n) * size);
        im_status status = im_matmul(isa, left, right, m, n, k, bias, bias_elem, bias_shift, sums,
                                     frac_in, fmt, stream, out, kernel, &scratch);
        if (kernel >= 0 && status == IM_NOT_EXACT && strcmp(name, plan.kernel)) continue;
        if (status != IM_OK) fail("a product is refused");
        compare(im_isa_name(isa), name, out, want, m * n, size);
        if (kernel >= 0) served[i][kernel]++;
      }
    }
  }
  im_scratch_free(&scratch);
}

/* Networks ------------------------------------------------------------------------------------ */

enum { DEPTH = 5, TENSORS = 6 };

/* Of a layer, W and b: raw, float64, and velocities; what the network has of them. */
typedef struct {
  int64_t n;
  size_t size;
  void *before, *now, *want;
} parameter;

static parameter tensor(bool exists, int64_t n, size_t size) {
  if (!exists) return (parameter){0};
  return (parameter){n, size, array(n, size), keep(n, size), NULL};
}

/* One call of im_train, and what is wanted of it. */
typedef struct {
  int64_t first, count, done;
  int lr_shift, average_shift;
  bool is_observed;
  im_observed observed; /* holds the wanted counts */
  const int32_t* right;
  const double* loss;
} training;

static training next_training(const im_net* net, int64_t units) {
  training t = {.first = integer(), .count = integer()};
  t.lr_shift = (int)integer();
  t.average_shift = (int)integer();
  t.is_observed = integer();
  if (t.is_observed) {
    t.observed.every = integer();
    t.observed.before = integer();
    t.observed.stop_on_overflow = integer();
    t.observed.only_overflows = integer();
    t.observed.counts =
        array(net->depth * IM_TENSORS * (int64_t)(sizeof(im_count) / sizeof(uint64_t)), 8);
    t.observed.idle = array(units, 8);
  }
  t.done = integer();
  t.right = array(t.done, sizeof *t.right);
  t.loss = array(t.done, sizeof *t.loss);
  return t;
}

/* On networks of which `order`, `batch` and the sources are given: what im_train does and counts.
 */
static void train(const im_isa* isa, im_net* net, training t, im_source x, im_source y,
                  const int64_t* order, int64_t rows, int64_t batch, int64_t units) {
  int32_t* right = keep(t.first + t.count, sizeof *right);
  double* loss = keep(t.first + t.count, sizeof *loss);
  int64_t tensors = net->depth * IM_TENSORS;
  im_observed seen = t.observed;
  seen.counts = keep(tensors, sizeof *seen.counts);
  seen.idle = keep(units, sizeof *seen.idle);
  memset(seen.counts, 0, (size_t)tensors * sizeof *seen.counts);
  memset(seen.idle, 0, (size_t)units * sizeof *seen.idle);
  int64_t done = im_train(isa, net, x, y, order, rows, batch, t.first, t.count, t.lr_shift,
                          t.average_shift, right, loss, t.is_observed ? &seen : NULL);
  if (done != t.done) fail("a training ends at another step");
  net->stream.step += (uint32_t)done;
  const char* name = im_isa_name(isa);
  compare(name, "right", right + t.first, t.right, done, sizeof *right);
  compare(name, "loss", loss + t.first, t.loss, done, sizeof *loss);
  if (!t.is_observed) return;
  if (!seen.only_overflows) {
    compare(name, "counts", seen.counts, t.observed.counts, tensors * (int64_t)sizeof(im_count) / 8,
            8);
    compare(name, "idle", seen.idle, t.observed.idle, units, sizeof *seen.idle);
  }
  for (int64_t i = 0; i < tensors; i++) {
    compare(name, "entries", &seen.counts[i].entries, &t.observed.counts[i].entries, 1, 8);
    compare(name, "overflows", &seen.counts[i].overflows, &t.observed.counts[i].overflows, 1, 8);
  }
}

static void network(void) {
  im_layer layers[DEPTH] = {0};
  parameter tensors[DEPTH][TENSORS];
  im_net net = {.layers = layers, .stream = stream};
  net.input = format();
  net.depth = (int)integer();
  if (net.depth > DEPTH) fail("a network is too deep");
  net.loss = (im_loss_kind)integer();
  net.exps_size = integer();
  net.exps = array(net.exps_size, sizeof *net.exps);
  net.two_step = integer();
  net.forward_float = integer();
  net.backward_float = integer();
  net.update_float = integer();
  net.accumulator = accumulator();
  net.momentum_shift = (int)integer();
  net.decay_shift = (int)integer();
  bool has_bias = integer();
  bool has_raw = !(net.forward_float && net.backward_float && net.update_float);
  int64_t units = 0;
  for (int l = 0; l < net.depth; l++) {
    im_layer* layer = &layers[l];
    layer->n_in = integer();
    layer->n_out = integer();
    layer->activation = format();
    layer->weight = format();
    layer->delta = format();
    layer->gradient = format();
    layer->velocity = format();
    layer->function = (im_activation)integer();
    layer->half_at_zero = integer();
    layer->slope_shift = (int)integer();
    layer->table = array(integer(), sizeof *layer->table);
    int64_t n[] = {layer->n_out * layer->n_in, layer->n_out};
    bool exists[] = {has_raw, net.update_float, net.momentum_shift > 0};
    size_t sizes[] = {size_in(layer->weight), sizeof(double),
                      net.update_float ? sizeof(double) : size_in(layer->velocity)};
    for (int t = 0; t < TENSORS; t++)
      tensors[l][t] = tensor(exists[t / 2] && (t % 2 == 0 || has_bias), n[t % 2], sizes[t / 2]);
    layer->W = tensors[l][0].now;
    layer->b = tensors[l][1].now;
    layer->master_W = tensors[l][2].now;
    layer->master_b = tensors[l][3].now;
    layer->velocity_W = tensors[l][4].now;
    layer->velocity_b = tensors[l][5].now;
    units += layer->n_out;
  }
  int64_t rows = integer(), batch = integer();
  const im_layer* last = &layers[net.depth - 1];
  const int64_t* order = array(rows, sizeof *order);
  entries inputs = source(rows * layers[0].n_in), targets = source(rows * last->n_out);
  im_source x = {inputs.data, (ptrdiff_t)layers[0].n_in * (ptrdiff_t)inputs.size,
                 (ptrdiff_t)inputs.size, inputs.kind};
  im_source y = {targets.data, (ptrdiff_t)last->n_out * (ptrdiff_t)targets.size,
                 (ptrdiff_t)targets.size, targets.kind};
  size_t out_size = net.forward_float ? sizeof(double) : size_in(last->activation);
  const void* want_out = array(rows * last->n_out, out_size);
  int average_shift = (int)integer();
  bool is_finite = integer();
  void *gradient[2][DEPTH], *want_gradient[2][DEPTH];
  size_t gradient_size[DEPTH];
  for (int l = 0; l < net.depth; l++) {
    gradient_size[l] = net.backward_float ? sizeof(double) : size_in(layers[l].gradient);
    for (int t = 0; t <= has_bias; t++) {
      int64_t n = layers[l].n_out * (t ? 1 : layers[l].n_in);
      gradient[t][l] = keep(n, gradient_size[l]);
      want_gradient[t][l] = array(is_finite ? n : 0, gradient_size[l]);
    }
  }
  training trainings[4];
  int64_t count = integer();
  if (count > 4) fail("too many trainings");
  for (int64_t i = 0; i < count; i++) trainings[i] = next_training(&net, units);
  for (int l = 0; l < net.depth; l++)
    for (int t = 0; t < TENSORS; t++)
      if (tensors[l][t].n) tensors[l][t].want = array(tensors[l][t].n, tensors[l][t].size);

  void* out = keep(rows * last->n_out, out_size);
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    const char* name = im_isa_name(*isa);
    net.stream = stream;
    for (int l = 0; l < net.depth; l++)
      for (int t = 0; t < TENSORS; t++)
        if (tensors[l][t].n)
          memcpy(tensors[l][t].now, tensors[l][t].before,
                 (size_t)tensors[l][t].n * tensors[l][t].size);
    if (im_forward(*isa, &net, x, rows, out) != IM_OK) fail("a forward pass fails");
    compare(name, "forward", out, want_out, rows * last->n_out, out_size);
    im_status status = im_gradient(*isa, &net, x, y, rows, average_shift, gradient[0],
                                   has_bias ? gradient[1] : NULL);
    if (status != (is_finite ? IM_OK : IM_NOT_FINITE)) fail("a gradient has another outcome");
    for (int l = 0; is_finite && l < net.depth; l++)
      for (int t = 0; t <= has_bias; t++)
        compare(name, "gradient", gradient[t][l], want_gradient[t][l],
                layers[l].n_out * (t ? 1 : layers[l].n_in), gradient_size[l]);
    for (int64_t i = 0; i < count; i++)
      train(*isa, &net, trainings[i], x, y, order, rows, batch, units);
    for (int l = 0; l < net.depth; l++)
      for (int t = 0; t < TENSORS; t++)
        compare(name, "training", tensors[l][t].now, tensors[l][t].want, tensors[l][t].n,
                tensors[l][t].size);
  }
}

/* -------------------------------------------------------------------------------------------- */

static const struct {
  const char* name;
  void (*call)(void);
} kinds[] = {{"quantize", quantize},
             {"dequantize", dequantize},
             {"requantize", requantize},
             {"product", product},
             {"network", network}};

int main(void) {
  char name[16];
  im_set_threads(3);
  im_limit_threads(2);
  if (im_threads() != 2) fail("a limit of threads does not hold");
  im_limit_threads(0);
  while (scanf("%15s", name) == 1) {
    size_t kind = 0, count = sizeof kinds / sizeof kinds[0];
    while (kind < count && strcmp(kinds[kind].name, name)) kind++;
    if (kind == count) fail("no such kind of call");
    kinds[kind].call();
    while (kept_count) free(kept[--kept_count]);
    calls++;
  }
  for (int i = 0; im_isas()[i]; i++)
    for (int kernel = 0; im_isa_kernel(im_isas()[i], kernel); kernel++)
      if (im_isa_kernel_usable(im_isas()[i], kernel))
        printf("%s %s %" PRId64 "\n", im_isa_name(im_isas()[i]),
               im_isa_kernel(im_isas()[i], kernel), served[i][kernel]);
  printf("%" PRId64 " calls and %" PRId64 " numbers agree\n", calls, numbers);
  return 0;
}
