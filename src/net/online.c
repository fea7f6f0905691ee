/* Online training: steps of one sample, all parts fixed, formats of at most 32 bits.
 *
 * The weights live transposed for as long as a call lasts (online_tpl.h), so that inputs which
 * are zero, most pixels and about half of all relu outputs, cost nothing, forward or backward. A
 * bias is the row of one more input, which is always 2**frac, that is one: its product sum and
 * its update are then those of a weight, since R sees the same real value.
 *
 * A step is that of train.c: forward; report; then from the last layer down each row gives its
 * product with D, for the layer below, before it is updated. Sums are int64 where
 *
 *     (sum of |A_k|) * (bound of |W|) < 2**63
 *
 * and downwards the same with D in place of A; elsewhere the product is im_gemm's. The bound is
 * scanned at first and then grows by what a step can add at most. It also tells that no weight
 * can leave its format in a step, so that nothing needs to be saturated or wrapped.
 */
#include "net.h"

enum { LINE = 16 }; /* int32 of a cache line: rows are a multiple of it */

/* A layer in the course of online training. */
struct im_online {
  int32_t* W;       /* (n_in, and one more with biases; width) */
  int64_t width;    /* n_out, filled up with zeros */
  uint64_t bound;   /* no magnitude of a weight is larger */
  int waited;       /* steps that the bound has been of no use */
  im_inputs inputs; /* those that count: not zero, or with an error to be sent down */
  int64_t* sums;    /* forward of `width` lanes, backward of `count` entries */
  int32_t* errors;  /* E of `count` entries */
};

static uint64_t magnitude(int32_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

bool im_trains_online(const im_net* net, int64_t batch, int64_t count, int shift) {
  /* Turning the weights round and back costs about as much as this many steps save. */
  enum { FEWEST_STEPS = 8 };
  if (batch != 1 || count < FEWEST_STEPS || net->two_step || net->forward_float ||
      net->backward_float || net->update_float)
    return false;
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_format below = im_activation_format(net, l - 1);
    int k = layer->delta.frac + below.frac + shift - layer->weight.frac;
    bool narrow = below.bits <= 32 && layer->weight.bits <= 32 && layer->delta.bits <= 32 &&
                  layer->activation.bits <= 32;
    if (!narrow || k < 1 || k > 62 || (layer->b && below.frac > 30)) return false;
  }
  return true;
}

void im_online_lay_out(im_work* work) {
  const im_net* net = work->net;
  work->online = im_own(work, (size_t)net->depth + 1, sizeof(im_online));
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_online unused, *here = work->memory ? &work->online[l] : &unused;
    int64_t rows = layer->n_in + (layer->b != NULL);
    size_t entries = (size_t)(layer->n_in + LINE + 1);
    here->width = (layer->n_out + LINE - 1) / LINE * LINE;
    here->W = im_own(work, (size_t)(rows * here->width), sizeof(int32_t));
    here->inputs.at = im_own(work, entries, sizeof(int32_t));
    here->inputs.value = im_own(work, entries, sizeof(int32_t));
    here->errors = im_own(work, entries, sizeof(int32_t));
    here->sums = im_own(work, entries + (size_t)here->width, sizeof(int64_t));
  }
}

static void scan_weights(im_online* here, const im_layer* layer) {
  uint32_t largest = 0;
  int64_t count = (layer->n_in + (layer->b != NULL)) * here->width;
  for (int64_t i = 0; i < count; i++) {
    uint32_t size = (uint32_t)magnitude(here->W[i]);
    largest = size > largest ? size : largest;
  }
  here->bound = largest;
  here->waited = 0;
}

/* Weights go in and out by squares, which stay in the cache from one of their sides to the other.
 */
static void turn_weights(im_work* work, bool in) {
  enum { SQUARE = 16 };
  for (int l = 1; l <= work->net->depth; l++) {
    const im_layer* layer = &work->net->layers[l - 1];
    im_online* here = &work->online[l];
    int64_t n_in = layer->n_in, n_out = layer->n_out, width = here->width;
    int32_t *W = layer->W, *b = layer->b, *bias = here->W + n_in * width;
    for (int64_t k0 = 0; k0 < n_in; k0 += SQUARE)
      for (int64_t j = 0; j < n_out; j++)
        for (int64_t k = k0; k < n_in && k < k0 + SQUARE; k++) {
          if (in)
            here->W[k * width + j] = W[j * n_in + k];
          else
            W[j * n_in + k] = here->W[k * width + j];
        }
    if (b) memcpy(in ? bias : b, in ? b : bias, (size_t)n_out * sizeof(int32_t));
    if (in) scan_weights(here, layer);
  }
}

static void add_input(im_inputs* inputs, int32_t at, int32_t value) {
  uint64_t size = magnitude(value);
  inputs->at[inputs->count] = at;
  inputs->value[inputs->count++] = value;
  inputs->magnitudes += size;
  if (size > inputs->largest) inputs->largest = size;
}

/* The inputs of layer l that count. Those that are zero do not, unless an error is sent to them
 * through a derivative that is not zero there. */
static void list_inputs(im_work* work, int l, const int32_t* values) {
  const im_layer *layer = &work->net->layers[l - 1], *below = layer - 1;
  im_inputs* inputs = &work->online[l].inputs;
  if (l == 1 || (below->function == IM_RELU && !below->half_at_zero)) {
    work->isa->loops->list_entries(values, layer->n_in, inputs);
  } else {
    inputs->count = 0;
    inputs->magnitudes = inputs->largest = 0;
    for (int32_t k = 0; k < layer->n_in; k++) add_input(inputs, k, values[k]);
  }
  if (layer->b) {
    int32_t one = INT32_C(1) << im_activation_format(work->net, l - 1).frac;
    add_input(inputs, (int32_t)layer->n_in, one);
  }
}

/* Whether int64 holds a sum of weights times factors with these magnitudes. */
static bool fits_i64(uint64_t magnitudes, const im_online* here) {
  return here->bound == 0 || magnitudes <= INT64_MAX / here->bound;
}

/* Whether steps of at most `step` leave all weights inside their format. */
static bool stays_inside(im_online* here, const im_layer* layer, uint64_t step) {
  enum { PATIENCE = 32 }; /* a scan costs about as much as a step saves in so many steps */
  uint64_t limit = (UINT64_C(1) << (layer->weight.bits - 1)) - 1;
  if (here->bound + step > limit && ++here->waited == PATIENCE) scan_weights(here, layer);
  bool inside = here->bound + step <= limit;
  here->bound = inside ? here->bound + step : limit + 1;
  return inside;
}

/* The transposed weights as the operand (n_in, n_out) of a product. */
static im_matrix turned(const im_online* here, const im_layer* layer) {
  return im_operand(here->W, layer->weight, here->width);
}

static im_status forward(im_work* work, int l, const int32_t* inputs) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  im_tensors* tensors = &work->layers[l];
  im_format below = im_activation_format(work->net, l - 1);
  int frac = below.frac + layer->weight.frac;
  list_inputs(work, l, inputs);
  if (fits_i64(here->inputs.magnitudes, here)) {
    work->isa->loops->sum_entries(&here->inputs, here->W, here->width, here->sums);
    work->isa->loops->requantize(here->sums, IM_I64, here->width, frac, layer->activation,
                                 tensors->Z);
  } else {
    im_sink sink = {
        .kind = IM_REQUANTIZE,
        .fmt = layer->activation,
        .frac_in = frac,
        .bias = layer->b ? here->W + layer->n_in * here->width : NULL,
        .bias_elem = IM_I32,
        .bias_shift = below.frac,
        .out = tensors->Z,
    };
    im_status status =
        im_gemm(work->isa, im_operand(inputs, below, layer->n_in), turned(here, layer), 1,
                layer->n_out, layer->n_in, &sink, im_gemm_default, &work->scratch);
    if (status != IM_OK) return status;
  }
  work->isa->loops->activate(layer, tensors->Z, layer->n_out, tensors->A);
  return IM_OK;
}

/* The update of layer l from its D, whose magnitudes are summed, and D of the layer below. */
static im_status backward(im_work* work, int l, uint64_t magnitudes, uint64_t largest, int shift) {
  const im_layer *layer = &work->net->layers[l - 1], *below = layer - 1;
  im_online* here = &work->online[l];
  im_tensors* sent = &work->layers[l - 1];
  const int32_t* D = work->layers[l].D;
  bool sends = l > 1, narrow = fits_i64(magnitudes, here);
  int frac = layer->delta.frac + layer->weight.frac;
  int k =
      layer->delta.frac + im_activation_format(work->net, l - 1).frac + shift - layer->weight.frac;
  if (sends && !narrow) {
    im_sink sink = {.kind = IM_REQUANTIZE, .fmt = below->delta, .frac_in = frac, .out = sent->E};
    im_status status = im_gemm(work->isa, im_operand(D, layer->delta, layer->n_out),
                               im_transposed(turned(here, layer)), 1, layer->n_in, layer->n_out,
                               &sink, im_gemm_default, &work->scratch);
    if (status != IM_OK) return status;
  }
  uint64_t step = (largest * here->inputs.largest >> k) + 1; /* rounded up; a product <= 2**62 */
  work->isa->loops->update_entries(&here->inputs, D, here->W, here->width, k, layer->weight,
                                   stays_inside(here, layer, step),
                                   sends && narrow ? here->sums : NULL);
  if (!sends) return IM_OK;
  if (narrow) {
    int64_t count = here->inputs.count - (layer->b != NULL); /* nothing is sent to a bias */
    work->isa->loops->requantize(here->sums, IM_I64, count, frac, below->delta, here->errors);
    for (int64_t i = 0; i < count; i++) ((int32_t*)sent->E)[here->inputs.at[i]] = here->errors[i];
  }
  work->isa->loops->gate(below, sent->Z, sent->E, layer->n_in, sent->D);
  return IM_OK;
}

/* All layers, the last one first. Where no delta is left, none is left below either. */
static im_status backward_pass(im_work* work, int shift) {
  im_loss_backward(work, 1);
  for (int l = work->net->depth; l >= 1; l--) {
    uint64_t magnitudes = 0, largest = 0;
    for (int64_t j = 0; j < work->net->layers[l - 1].n_out; j++) {
      uint64_t size = magnitude(((const int32_t*)work->layers[l].D)[j]);
      magnitudes += size;
      largest = size > largest ? size : largest;
    }
    if (magnitudes == 0) break;
    im_status status = backward(work, l, magnitudes, largest, shift);
    if (status != IM_OK) return status;
  }
  return IM_OK;
}

/* The input row of a step: in the source where that is raw and contiguous, else a copy. */
static bool is_in_place(im_source source) {
  return source.kind == IM_SOURCE_I32 && source.col_stride == sizeof(int32_t);
}
static const char* source_row(im_source source, int64_t row) {
  return (const char*)source.data + row * source.row_stride;
}
static const int32_t* input_row(im_work* work, im_source x, int64_t row) {
  if (is_in_place(x)) return (const int32_t*)source_row(x, row);
  im_read_source(work->isa, x, &row, 1, work->net->layers[0].n_in, work->net->input,
                 work->layers[0].A, NULL);
  return work->layers[0].A;
}

/* A shuffled order is beyond what the processor foresees. */
static void prefetch_row(const im_work* work, im_source x, int64_t row) {
#if defined(__GNUC__) || defined(__clang__)
  if (!is_in_place(x)) return;
  const char* p = source_row(x, row);
  int64_t size = work->net->layers[0].n_in * (int64_t)sizeof(int32_t);
  for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(p + i);
#else
  (void)work, (void)x, (void)row;
#endif
}

im_status im_train_online(im_work* work, im_source x, im_source y, const int64_t* order,
                          int64_t count, int shift, int32_t* right, double* loss) {
  enum { AHEAD = 2 }; /* one step may be shorter than memory takes */
  const im_net* net = work->net;
  im_status status = IM_OK;
  turn_weights(work, true);
  for (int64_t i = 0; i < count && status == IM_OK; i++) {
    if (i + AHEAD < count) prefetch_row(work, x, order[i + AHEAD]);
    const int32_t* inputs = input_row(work, x, order[i]);
    im_read_source(work->isa, y, &order[i], 1, net->layers[net->depth - 1].n_out,
                   im_activation_format(net, net->depth), work->Y, NULL);
    for (int l = 1; l <= net->depth && status == IM_OK; l++)
      status = forward(work, l, l == 1 ? inputs : work->layers[l - 1].A);
    if (status != IM_OK) break;
    if (right) right[i] = im_count_right(work, 1);
    if (loss) loss[i] = im_loss(work, 1);
    status = backward_pass(work, shift);
  }
  turn_weights(work, false);
  return status;
}
