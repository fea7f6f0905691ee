/* Reads calls with the results that the oracle of the test suite gives them, makes each call on
 * every instruction set and every kernel of this build, and compares bit for bit. Prints a line
 * "ISA KERNEL COUNT" for each kernel: how often it served, that is, was proved exact.
 *
 * test_other_machines.py writes the calls: a name, then integers in decimal, in the order in which
 * they are read here. A float64 is written as the int64 of its bits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intmlp.h"

enum { ISAS = 8, KERNELS = 32, LAYOUTS = 4 };

static int64_t served[ISAS][KERNELS];
static int64_t calls;

static void fail(const char* why) {
  printf("call %" PRId64 ": %s\n", calls, why);
  exit(1);
}

/* Memory is kept until the call is over. */
static void* kept[256];
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

/* Of all calls; a network numbers its tensors itself. */
static const im_stream stream = {0x123456789abcdef, 7, 9, 0};

static size_t size_in(im_format fmt) { return im_elem_size(im_elem_of(fmt)); }

static void compare(const char* isa, const char* what, const void* got, const void* want, int64_t n,
                    size_t size) {
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
  const double* v = array(n, sizeof *v);
  const void* want = array(n, size_in(fmt));
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    void* out = keep(n, size_in(fmt));
    im_quantize(*isa, v, IM_SOURCE_F64, n, fmt, stream, out);
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

/* The same matrix, kept column by column if `turned`. */
static im_matrix matrix_of(const char* data, int64_t rows, int64_t columns, im_elem elem,
                           bool turned) {
  size_t size = im_elem_size(elem);
  ptrdiff_t step = (ptrdiff_t)size;
  int bits = elem == IM_I32 ? 32 : 64;
  if (!turned) return (im_matrix){data, columns * step, step, elem, bits};
  char* copy = keep(rows * columns, size);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      memcpy(copy + (size_t)(j * rows + i) * size, data + (size_t)(i * columns + j) * size, size);
  return (im_matrix){copy, step, rows * step, elem, bits};
}

static void product(void) {
  int64_t m = integer(), k = integer(), n = integer();
  im_elem a_elem = (im_elem)integer(), b_elem = (im_elem)integer();
  bool has_bias = integer() != 0;
  int bias_shift = (int)integer(), frac_in = (int)integer();
  im_format fmt = format();
  const char* a = array(m * k, im_elem_size(a_elem));
  const char* b = array(k * n, im_elem_size(b_elem));
  const int64_t* bias = has_bias ? array(n, sizeof *bias) : NULL;
  const void* want = array(m * n, size_in(fmt));
  void* out = keep(m * n, size_in(fmt));
  im_scratch scratch = {.threads = 1};
  for (int layout = 0; layout < LAYOUTS; layout++) {
    im_matrix left = matrix_of(a, m, k, a_elem, layout & 1);
    im_matrix right = matrix_of(b, k, n, b_elem, layout & 2);
    for (int i = 0; im_isas()[i]; i++) {
      const im_isa* isa = im_isas()[i];
      for (int kernel = -1; kernel < 0 || im_isa_kernel(isa, kernel); kernel++) {
        if (kernel >= 0 && !im_isa_kernel_usable(isa, kernel)) continue;
        memset(out, 0x55, (size_t)(m * n) * size_in(fmt));
        im_status status =
            im_matmul(isa, left, right, m, n, k, bias, IM_I64, bias_shift, (im_accumulator){0},
                      frac_in, fmt, stream, out, kernel, &scratch);
        if (kernel >= 0 && status == IM_NOT_EXACT) continue;
        if (status != IM_OK) fail("a product is refused");
        compare(im_isa_name(isa), kernel < 0 ? "product" : im_isa_kernel(isa, kernel), out, want,
                m * n, size_in(fmt));
        if (kernel >= 0) served[i][kernel]++;
      }
    }
  }
  im_scratch_free(&scratch);
}

/* Training ------------------------------------------------------------------------------------- */

enum { DEPTH = 5, TENSORS = 4 };

/* W and b of one layer, raw and float64: what the network has of them. */
typedef struct {
  int64_t n;
  size_t size;
  void *before, *now, *want;
} parameter;

static parameter tensor(bool exists, int64_t n, size_t size) {
  if (!exists) return (parameter){0};
  return (parameter){n, size, array(n, size), keep(n, size), NULL};
}

static void training(void) {
  im_layer layers[DEPTH] = {0};
  parameter tensors[DEPTH][TENSORS];
  im_net net = {.layers = layers, .decay_shift = -1, .stream = stream};
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
  bool has_bias = integer();
  bool has_raw = !(net.forward_float && net.backward_float && net.update_float);
  for (int l = 0; l < net.depth; l++) {
    im_layer* layer = &layers[l];
    layer->n_in = integer();
    layer->n_out = integer();
    layer->activation = format();
    layer->weight = format();
    layer->delta = format();
    layer->gradient = format();
    layer->function = (im_activation)integer();
    layer->half_at_zero = integer();
    layer->slope_shift = (int)integer();
    layer->table = array(integer(), sizeof *layer->table);
    int64_t weights = layer->n_out * layer->n_in;
    size_t size = size_in(layer->weight);
    tensors[l][0] = tensor(has_raw, weights, size);
    tensors[l][1] = tensor(has_raw && has_bias, layer->n_out, size);
    tensors[l][2] = tensor(net.update_float, weights, sizeof(double));
    tensors[l][3] = tensor(net.update_float && has_bias, layer->n_out, sizeof(double));
    layer->W = tensors[l][0].now;
    layer->b = tensors[l][1].now;
    layer->master_W = tensors[l][2].now;
    layer->master_b = tensors[l][3].now;
  }
  int64_t rows = integer(), batch = integer();
  int lr_shift = (int)integer(), average_shift = (int)integer();
  int64_t n_in = layers[0].n_in, n_out = layers[net.depth - 1].n_out;
  const double* x = array(rows * n_in, sizeof *x);
  const double* y = array(rows * n_out, sizeof *y);
  const int64_t* order = array(rows, sizeof *order);
  int64_t steps = (rows + batch - 1) / batch, done = integer();
  const int32_t* want_right = array(done, sizeof *want_right);
  const double* want_loss = array(done, sizeof *want_loss);
  for (int l = 0; l < net.depth; l++)
    for (int t = 0; t < TENSORS; t++)
      if (tensors[l][t].n) tensors[l][t].want = array(tensors[l][t].n, tensors[l][t].size);

  int32_t* right = keep(steps, sizeof *right);
  double* loss = keep(steps, sizeof *loss);
  ptrdiff_t size = sizeof(double);
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    for (int l = 0; l < net.depth; l++)
      for (int t = 0; t < TENSORS; t++)
        if (tensors[l][t].n)
          memcpy(tensors[l][t].now, tensors[l][t].before,
                 (size_t)tensors[l][t].n * tensors[l][t].size);
    int64_t got = im_train(*isa, &net, (im_source){x, n_in * size, size, IM_SOURCE_F64},
                           (im_source){y, n_out * size, size, IM_SOURCE_F64}, order, rows, batch, 0,
                           steps, lr_shift, average_shift, right, loss, NULL);
    if (got != done) fail("a training ends at another step");
    compare(im_isa_name(*isa), "right", right, want_right, done, sizeof *right);
    compare(im_isa_name(*isa), "loss", loss, want_loss, done, sizeof *loss);
    for (int l = 0; l < net.depth; l++)
      for (int t = 0; t < TENSORS; t++)
        compare(im_isa_name(*isa), "training", tensors[l][t].now, tensors[l][t].want,
                tensors[l][t].n, tensors[l][t].size);
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
             {"training", training}};

int main(void) {
  char name[16];
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
  printf("%" PRId64 " calls agree\n", calls);
  return 0;
}
