/* Online training: steps of one sample, formats of at most 32 bits where they have an effect.
 *
 * The weights live transposed for as long as a call lasts (online_tpl.h), so that inputs which
 * are zero, most pixels and about half of all relu outputs, cost nothing, forward or backward. A
 * bias is the row of one more input, which is always 2**frac, that is one: its product sum and
 * its update are then those of a weight, since R sees the same real value.
 *
 * Here are the steps all of whose parts are fixed; those with a float part are in online_float.c,
 * and use what is here for their fixed parts. A step is that of train.c: forward; report; then
 * from the last layer down each row gives its product with D, for the layer below, before it is
 * updated. Sums are int64 where
 *
 *     (number of A_k that are not zero) * (largest |A_k|) * (bound of |W|) < 2**63
 *
 * and downwards the same with D in place of A; elsewhere the product is im_gemm's. The bound is
 * scanned at first and then grows by what a step can add at most. It also tells that no weight
 * can leave its format in a step, so that nothing needs to be saturated or wrapped.
 */
#include "../arith/round.h"
#include "online.h"

uint64_t im_online_largest(const int32_t* v, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t size = v[i] < 0 ? 0 - (uint32_t)v[i] : (uint32_t)v[i];
    largest = size > largest ? size : largest;
  }
  return largest;
}

/* The rows of a layer's transposed weights. */
static int64_t rows_of(const im_layer* layer) { return layer->n_in + im_has_bias(layer); }

static bool is_stochastic(const im_layer* layer) {
  return layer->activation.rounding == IM_STOCHASTIC || layer->weight.rounding == IM_STOCHASTIC ||
         layer->delta.rounding == IM_STOCHASTIC;
}

bool im_trains_online(const im_net* net, int64_t batch, int64_t count, int shift) {
  /* Turning the weights round and back costs about as much as this many steps save. */
  enum { FEWEST_STEPS = 8 };
  bool fixed_steps = im_steps_are_fixed(net), raw = im_needs_raw(net);
  if (batch != 1 || count < FEWEST_STEPS) return false;
  if (net->loss == IM_CROSS_ENTROPY) return false;
  if (net->accumulator.bits && raw) return false; /* sums here are exact, in any order */
  if (im_has_optimiser(net)) return false;        /* weights change whose inputs are zero */
  if (net->two_step && !net->backward_float) return false; /* a stored gradient is rounded twice */
  if (im_has_float_part(net) && net->input.rounding == IM_STOCHASTIC) return false;
  if (!fixed_steps && (shift < -1023 || shift > 1022)) return false; /* 2**-shift is a float64 */
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_format below = im_activation_format(net, l - 1);
    int k = layer->delta.frac + below.frac + shift - layer->weight.frac;
    if (layer->function > IM_LEAKY_RELU) return false;
    if (im_has_float_part(net) && is_stochastic(layer)) return false;
    if (raw && (below.bits > 32 || layer->activation.bits > 32)) return false;
    if ((raw || !net->update_float) && layer->weight.bits > 32) return false;
    if (!net->backward_float && layer->delta.bits > 32) return false;
    if (fixed_steps && (k < 1 || k > 62)) return false;
    if (raw && layer->b && below.frac > 30) return false; /* one is 2**frac */
  }
  return true;
}

void im_online_lay_out(im_work* work) {
  const im_net* net = work->net;
  bool raw = im_needs_raw(net) || !net->update_float, real = im_has_float_part(net);
  work->online = im_own(work, (size_t)net->depth + 1, sizeof(im_online));
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_online unused, *here = work->memory ? &work->online[l] : &unused;
    uint64_t entries = (uint64_t)(layer->n_in + IM_LINE + 1);
    here->width = (int64_t)im_whole_lines((uint64_t)layer->n_out);
    uint64_t weights = (uint64_t)(rows_of(layer) * here->width);
    if (raw) here->W = im_own(work, weights, sizeof(int32_t));
    if (net->update_float) here->M = im_own(work, weights, sizeof(double));
    here->inputs.at = im_own(work, entries, sizeof(int32_t));
    here->errors = im_own(work, entries, sizeof(int32_t));
    here->sums = im_own(work, entries + (uint64_t)here->width, sizeof(int64_t));
    if (!real) continue;
    here->reals.at = here->inputs.at; /* they are the same */
    here->reals.value = im_own(work, entries, sizeof(double));
    here->D = im_own(work, (uint64_t)here->width, sizeof(double));
  }
}

static void scan_weights(im_online* here, const im_layer* layer) {
  here->bound = im_online_largest(here->W, rows_of(layer) * here->width);
  here->waited = 0;
}

/* Weights go in and out by squares, which stay in the cache from one of their sides to the other;
 * the biases are the last row. */
enum { SQUARE = 16 };
#define TURN(TYPE, TURNED, W, B)                                                \
  do {                                                                          \
    TYPE *turned = TURNED, *w = W, *b = B, *bias = turned + n_in * here->width; \
    for (int64_t k0 = 0; k0 < n_in; k0 += SQUARE)                               \
      for (int64_t j = 0; j < n_out; j++)                                       \
        for (int64_t k = k0; k < n_in && k < k0 + SQUARE; k++) {                \
          if (in)                                                               \
            turned[k * here->width + j] = w[j * n_in + k];                      \
          else                                                                  \
            w[j * n_in + k] = turned[k * here->width + j];                      \
        }                                                                       \
    if (b) memcpy(in ? bias : b, in ? b : bias, (size_t)n_out * sizeof(TYPE));  \
  } while (0)

static void turn_layer(im_work* work, int l, bool in) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  int64_t n_in = layer->n_in, n_out = layer->n_out;
  if (here->M) TURN(double, here->M, layer->master_W, layer->master_b);
  if (here->W && (in || !here->M)) TURN(int32_t, here->W, layer->W, layer->b);
}
#undef TURN

static void turn_in(im_work* work) {
  for (int l = 1; l <= work->net->depth; l++) {
    const im_layer* layer = &work->net->layers[l - 1];
    im_online* here = &work->online[l];
    im_format below = im_activation_format(work->net, l - 1);
    turn_layer(work, l, true);
    if (here->W) scan_weights(here, layer);
    for (int64_t i = 0; here->M && i < rows_of(layer) * here->width; i++)
      here->bound_M = fmax(here->bound_M, fabs(here->M[i]));
    int32_t* A = work->layers[l - 1].A;
    if (layer->b && A && below.frac <= 30) A[layer->n_in] = INT32_C(1) << below.frac;
  }
}

/* A master's raw weights are made anew: the rows of some of them have not been kept. */
static void turn_out(im_work* work) {
  for (int l = 1; l <= work->net->depth; l++) {
    const im_layer* layer = &work->net->layers[l - 1];
    turn_layer(work, l, false);
    if (!work->online[l].M || !layer->W) continue;
    im_quantize(work->isa, layer->master_W, IM_SOURCE_F64, layer->n_out * layer->n_in,
                layer->weight, im_wordless, layer->W);
    if (layer->b)
      im_quantize(work->isa, layer->master_b, IM_SOURCE_F64, layer->n_out, layer->weight,
                  im_wordless, layer->b);
  }
}

/* The inputs of layer l that count. Those that are zero do not, unless an error is sent to them
 * through a derivative that is not zero there. */
static void list_inputs(im_work* work, int l, const int32_t* values, const int32_t* next) {
  const im_layer *layer = &work->net->layers[l - 1], *below = layer - 1;
  im_inputs* inputs = &work->online[l].inputs;
  int64_t n = layer->n_in + (layer->b != NULL); /* a bias is behind the others */
  if (l == 1 || (below->function == IM_RELU && !below->half_at_zero)) {
    work->isa->loops->list_entries(values, n, next, inputs);
    return;
  }
  for (int32_t k = 0; k < n; k++) inputs->at[k] = k;
  *inputs = (im_inputs){inputs->at, values, n, im_online_largest(values, n)};
}

/* Whether steps of at most `step` leave all weights inside their format. */
bool im_online_stays_inside(im_online* here, const im_layer* layer, uint64_t step) {
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

im_sink im_online_forward_sink(const im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_online* here = &work->online[l];
  im_format below = im_activation_format(work->net, l - 1);
  return (im_sink){
      .kind = IM_REQUANTIZE,
      .fmt = layer->activation,
      .stream = im_stream_of(work, l, IM_ROLE_Z),
      .frac_in = below.frac + layer->weight.frac,
      .bias = layer->b ? here->W + layer->n_in * here->width : NULL,
      .bias_elem = IM_I32,
      .bias_shift = below.frac,
      .out = work->layers[l].Z,
  };
}

im_status im_online_product(im_work* work, int l, const im_sink* sink) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_online* here = &work->online[l];
  im_format below = im_activation_format(work->net, l - 1);
  return im_gemm(work->isa, im_operand(here->inputs.value, below, layer->n_in), turned(here, layer),
                 1, layer->n_out, layer->n_in, sink, im_gemm_default, &work->scratch);
}

/* Layer l from its listed inputs. */
im_status im_online_forward(im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  im_tensors* tensors = &work->layers[l];
  im_format below = im_activation_format(work->net, l - 1);
  int frac = below.frac + layer->weight.frac;
  if (im_online_fits(here->inputs.count, here->inputs.largest, here)) {
    work->isa->loops->sum_entries(&here->inputs, here->W, here->width, here->sums);
    work->isa->loops->requantize(here->sums, IM_I64, here->width, frac, layer->activation,
                                 im_stream_of(work, l, IM_ROLE_Z), tensors->Z);
  } else {
    im_sink sink = im_online_forward_sink(work, l);
    im_status status = im_online_product(work, l, &sink);
    if (status != IM_OK) return status;
  }
  work->isa->loops->activate(layer, im_stream_of(work, l, IM_ROLE_A), tensors->Z, layer->n_out,
                             tensors->A);
  return IM_OK;
}

/* The last layer from its listed inputs: what is reported (unless NULL), and D, of which the
 * largest magnitude is returned in `largest`. Most networks end in a way that one loop serves. */
im_status im_online_forward_to_loss(im_work* work, int32_t* right, double* loss,
                                    uint64_t* largest) {
  const im_net* net = work->net;
  int l = net->depth,
      fraction = 2 * net->layers[l - 1].activation.frac + (net->loss == IM_HALF_SSE);
  const im_layer* layer = &net->layers[l - 1];
  im_online* here = &work->online[l];
  im_tensors* tensors = &work->layers[l];
  int k = im_activation_format(net, l - 1).frac + layer->weight.frac - layer->activation.frac;
  bool whole = layer->function == IM_LINEAR ||
               (layer->function == IM_RELU && !layer->half_at_zero); /* f' is 0 or 1 */
  bool has_room = layer->activation.rounding != IM_STOCHASTIC || here->width <= IM_BLOCK;
  if (whole && has_room && k >= 1 && k <= 63 && layer->activation.frac == layer->delta.frac &&
      im_online_fits(here->inputs.count, here->inputs.largest, here)) {
    im_ending ending;
    work->isa->loops->sum_entries(&here->inputs, here->W, here->width, here->sums);
    work->isa->loops->end_forward(layer, im_stream_of(work, l, IM_ROLE_Z), k,
                                  net->loss == IM_HALF_SSE, here->sums, here->width, work->Y,
                                  tensors->A, tensors->D, &ending);
    if (right) *right = ending.right;
    if (loss)
      *loss = ending.squares >= 0 ? im_scale((double)ending.squares, -fraction) : im_loss(work, 1);
    *largest = ending.largest;
    return IM_OK;
  }
  im_status status = im_online_forward(work, l);
  if (status != IM_OK) return status;
  if (right) *right = im_count_right(work, 1);
  if (loss) *loss = im_loss(work, 1);
  im_loss_backward(work, 1);
  *largest = im_online_largest(tensors->D, layer->n_out);
  return IM_OK;
}

im_sink im_online_send_sink(const im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  return (im_sink){.kind = IM_REQUANTIZE,
                   .fmt = work->net->layers[l - 2].delta,
                   .stream = im_stream_of(work, l - 1, IM_ROLE_E),
                   .frac_in = layer->delta.frac + layer->weight.frac,
                   .out = work->layers[l - 1].D};
}

im_status im_online_send_to(im_work* work, int l, const im_sink* sink) {
  const im_layer* layer = &work->net->layers[l - 1];
  return im_gemm(work->isa, im_operand(work->layers[l].D, layer->delta, layer->n_out),
                 im_transposed(turned(&work->online[l], layer)), 1, layer->n_in, layer->n_out, sink,
                 im_gemm_default, &work->scratch);
}

im_status im_online_send(im_work* work, int l) {
  im_sink sink = im_online_send_sink(work, l);
  return im_online_send_to(work, l, &sink);
}

/* The same where weights round stochastically. Random words are counted through W, and through b: a
 * bias is no input here. `dots` takes the products of all rows. */
static void update_at_random(im_work* work, int l, int k, bool inside, int64_t* dots) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  const int32_t* D = work->layers[l].D;
  im_inputs inputs = here->inputs;
  if (dots) loops->dot_rows(D, here->W, layer->n_in, here->width, dots);
  if (layer->b) {
    inputs.count--; /* it is the last one */
    loops->update(here->W + layer->n_in * here->width, D, layer->delta, layer->n_out,
                  k - im_activation_format(work->net, l - 1).frac, layer->weight,
                  &(im_addend){.less = -1}, im_stream_of(work, l, IM_ROLE_STEP_B));
  }
  loops->update_at_random(&inputs, D, here->W, layer->n_in, layer->n_out, here->width, k,
                          layer->weight, im_stream_of(work, l, IM_ROLE_STEP_W), inside);
}

void im_online_update(im_work* work, int l, uint64_t largest, int shift, int64_t* dots) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  int k =
      layer->delta.frac + im_activation_format(work->net, l - 1).frac + shift - layer->weight.frac;
  uint64_t step = (largest * here->inputs.largest >> k) + 1; /* rounded up; a product <= 2**62 */
  bool inside = im_online_stays_inside(here, layer, step) && largest <= INT32_MAX;
  if (layer->weight.rounding == IM_STOCHASTIC) {
    update_at_random(work, l, k, inside, dots);
    return;
  }
  work->isa->loops->update_entries(&here->inputs, work->layers[l].D, here->W, here->width, k,
                                   layer->weight, inside, dots);
}

/* Entries of v, those of a list, go to their places among n; the others are zero. */
static void spread(int64_t* v, const int32_t* at, int64_t count, int64_t n) {
  for (int64_t k = n - 1; k >= 0; k--) v[k] = count > 0 && at[count - 1] == k ? v[--count] : 0;
}

/* The update of layer l from its D, of which `largest` is the largest magnitude, and D of the
 * layer below. */
static im_status backward(im_work* work, int l, uint64_t largest, int shift) {
  const im_layer *layer = &work->net->layers[l - 1], *below = layer - 1;
  im_online* here = &work->online[l];
  im_tensors* sent = &work->layers[l - 1];
  bool sends = l > 1, narrow = im_online_fits(layer->n_out, largest, here);
  if (sends && !narrow) {
    im_status status = im_online_send(work, l);
    if (status != IM_OK) return status;
  }
  im_online_update(work, l, largest, shift, sends && narrow ? here->sums : NULL);
  if (!sends) return IM_OK;
  if (narrow) {
    int64_t count = here->inputs.count - (layer->b != NULL); /* nothing is sent to a bias */
    bool all = layer->weight.rounding == IM_STOCHASTIC;
    if (below->delta.rounding == IM_STOCHASTIC && !all) {
      spread(here->sums, here->inputs.at, count, layer->n_in);
      all = true;
    }
    work->isa->loops->requantize(
        here->sums, IM_I64, all ? layer->n_in : count, layer->delta.frac + layer->weight.frac,
        below->delta, im_stream_of(work, l - 1, IM_ROLE_E), all ? sent->D : here->errors);
    for (int64_t i = 0; !all && i < count; i++)
      ((int32_t*)sent->D)[here->inputs.at[i]] = here->errors[i];
  }
  work->isa->loops->gate(below, im_stream_of(work, l - 1, IM_ROLE_D), sent->Z, sent->D, layer->n_in,
                         sent->D);
  return IM_OK;
}

/* The same, observed: a layer without deltas, too, is counted, and sends zeros down. */
static im_status observed_backward(im_work* work, int l, uint64_t largest, int shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_status status = im_online_observe(work, l, largest, shift);
  if (status == IM_OK && largest > 0) status = backward(work, l, largest, shift);
  if (largest == 0 && l > 1)
    memset(work->layers[l - 1].D, 0, (size_t)layer->n_in * sizeof(int32_t));
  im_online_observe_weights(work, l, work->looks_at_all);
  return status;
}

static im_status train_step(im_work* work, const int32_t* inputs, const int32_t* next, int shift,
                            int32_t* right, double* loss) {
  int depth = work->net->depth;
  im_status status = IM_OK;
  uint64_t largest = 0;
  list_inputs(work, 1, inputs, next);
  for (int l = 1; l < depth && status == IM_OK; l++) {
    const int32_t* A = work->layers[l].A;
    status = im_online_forward(work, l);
    list_inputs(work, l + 1, A, A);
  }
  if (status == IM_OK) status = im_online_forward_to_loss(work, right, loss, &largest);
  for (int l = depth; l >= 1 && status == IM_OK; l--) {
    if (l < depth) largest = im_online_largest(work->layers[l].D, work->net->layers[l - 1].n_out);
    if (work->observed) {
      status = observed_backward(work, l, largest, shift);
      continue;
    }
    if (largest == 0) break; /* where no delta is left, none is left below either */
    status = backward(work, l, largest, shift);
  }
  return status;
}

/* The input row of a step: in the source where that is contiguous and has what the step reads, else
 * a copy. With a float part, a fixed forward pass reads float rows, too: it need not quantize
 * zeros.
 */
static bool is_real_in_place(const im_work* work, im_source source) {
  return source.kind == IM_SOURCE_F64 && source.col_stride == sizeof(double) &&
         im_has_float_part(work->net);
}
static bool is_raw_in_place(const im_work* work, im_source source) {
  return source.kind == IM_SOURCE_I32 && source.col_stride == sizeof(int32_t) &&
         !work->net->forward_float && !work->net->layers[0].b;
}
static bool is_in_place(const im_work* work, im_source source) {
  return is_real_in_place(work, source) || is_raw_in_place(work, source);
}
static im_row source_row(const im_work* work, im_source source, int64_t row) {
  const void* data = (const char*)source.data + row * source.row_stride;
  bool real = is_real_in_place(work, source);
  return (im_row){real ? NULL : data, real ? data : NULL};
}
static im_row input_row(im_work* work, im_source x, int64_t row) {
  const im_net* net = work->net;
  if (is_in_place(work, x)) return source_row(work, x, row);
  int32_t* raw = net->forward_float ? NULL : work->layers[0].A;
  double* real = net->forward_float ? work->layers[0].Af : NULL;
  im_read_source(work->isa, x, &row, 1, net->layers[0].n_in, net->input,
                 im_stream_of(work, 0, IM_ROLE_SOURCE), raw, real);
  return (im_row){raw, real};
}

int64_t im_train_online(im_work* work, im_source x, im_source y, const int64_t* order,
                        int64_t first, int64_t count, int shift, int32_t* right, double* loss) {
  enum { AHEAD = 2 }; /* one step may be shorter than memory takes */
  const im_net* net = work->net;
  const im_observed* observed = work->observed;
  bool in_two = im_has_float_part(net) || (observed && observed->stop_on_overflow);
  im_status status = IM_OK;
  int64_t done = 0;
  turn_in(work);
  order += first;
  work->looks_at_all = true;
  while (done < count) {
    work->step = net->stream.step + (uint32_t)done;
    work->observed = im_is_observed(observed, first + done) ? observed : NULL;
    if (work->observed) im_observe_begin(work);
    im_row inputs = input_row(work, x, order[done]);
    /* A shuffled order is beyond what the processor foresees. */
    bool foreseen = is_in_place(work, x) && done + AHEAD < count;
    im_row next = foreseen ? source_row(work, x, order[done + AHEAD]) : inputs;
    im_read_source(work->isa, y, &order[done], 1, net->layers[net->depth - 1].n_out,
                   im_activation_format(net, net->depth),
                   im_stream_of(work, net->depth, IM_ROLE_SOURCE), work->Y, work->Yf);
    int32_t* to_right = right ? right + first + done : NULL;
    double* to_loss = loss ? loss + first + done : NULL;
    status = in_two ? im_online_step(work, inputs, next, shift, to_right, to_loss)
                    : train_step(work, inputs.raw, next.raw, shift, to_right, to_loss);
    if (work->observed && status != IM_OK) im_observe_undo(work);
    if (status != IM_OK) break;
    if (work->observed) im_observe_done(work);
    work->looks_at_all = !work->observed;
    done++;
  }
  turn_out(work);
  bool general_is_next = status == IM_NOT_FINITE || status == IM_OVERFLOWED;
  return status == IM_OK || general_is_next ? done : status;
}
