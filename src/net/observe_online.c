/* What a step of online training rounds away, counted (observe.c): a layer before its update, when
 * its D and the sums of its forward pass are there, and the weights after it.
 *
 * Only weights whose inputs are not zero change. The widest weight of a step is therefore the
 * widest of those, or of an earlier step, and in the first step of a call, or after one that was
 * not counted, all of them are looked at. The bound of the weights tells where none of them can be
 * wider, or overflow. A master that is outside its format stays a count of each step until it is
 * inside again.
 */
#include "../arith/round.h"
#include "online.h"

static int64_t* active_of(const im_work* work, int l) {
  int64_t* active = work->active;
  for (int i = 1; i < l; i++) active += work->net->layers[i - 1].n_out;
  return active;
}

/* Whether A tells all that is asked of Z: its sign. A fixed forward pass may not have kept Z. */
static bool reads_A(const im_net* net, const im_layer* layer) {
  return !net->forward_float && !layer->half_at_zero && layer->function != IM_LEAKY_RELU;
}

static im_status observe_forward(im_work* work, int l) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  const im_tensors* tensors = &work->layers[l];
  im_format below = im_activation_format(net, l - 1);
  int frac = below.frac + layer->weight.frac;
  im_count* count = im_count_of(work, l, IM_Z);
  count->entries += (uint64_t)layer->n_out;
  if (layer->function == IM_RELU) {
    int64_t* active = active_of(work, l);
    if (reads_A(net, layer))
      loops->count_units(layer, tensors->A, IM_SOURCE_I32, 1, active, count);
    else if (net->backward_float)
      loops->count_units(layer, tensors->Zf, IM_SOURCE_F64, 1, active, count);
    else
      loops->count_units(layer, tensors->Z, IM_SOURCE_I32, 1, active, count);
  }
  if (net->forward_float) {
    if (!net->backward_float)
      loops->count_reals(tensors->Zf, layer->n_out, layer->activation, im_wordless, count);
    return IM_OK;
  }
  if (im_online_fits(here->inputs.count, here->inputs.largest, here)) {
    loops->count_values(here->sums, here->width, frac - layer->activation.frac, layer->activation,
                        im_stream_of(work, l, IM_ROLE_Z), count);
    return IM_OK;
  }
  im_sink sink = im_online_forward_sink(work, l);
  sink.kind = IM_COUNT_VALUES;
  sink.count = count;
  return im_online_product(work, l, &sink);
}

/* E of the layer below, and D of this one, whose magnitudes are at most `largest`. */
static im_status observe_backward(im_work* work, int l, uint64_t largest) {
  const im_net* net = work->net;
  const im_layer *layer = &net->layers[l - 1], *below = layer - 1;
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  const im_tensors* tensors = &work->layers[l];
  im_count* count = im_count_of(work, l, IM_D);
  count->entries += (uint64_t)layer->n_out;
  if (l == net->depth)
    loops->count_loss_gradient(layer, im_stream_of(work, l, IM_ROLE_D),
                               reads_A(net, layer) ? tensors->A : tensors->Z, tensors->A, work->Y,
                               layer->n_out, net->loss == IM_HALF_SSE, count);
  else
    loops->count_stored(tensors->D, IM_I32, layer->n_out, count);
  if (l == 1) return IM_OK;
  count = im_count_of(work, l - 1, IM_E);
  count->entries += (uint64_t)layer->n_in;
  if (im_online_fits(layer->n_out, largest, here)) {
    loops->dot_rows(tensors->D, here->W, layer->n_in, here->width, here->sums);
    loops->count_values(here->sums, layer->n_in,
                        layer->delta.frac + layer->weight.frac - below->delta.frac, below->delta,
                        im_stream_of(work, l - 1, IM_ROLE_E), count);
    return IM_OK;
  }
  im_sink sink = im_online_send_sink(work, l);
  sink.kind = IM_COUNT_VALUES;
  sink.count = count;
  return im_online_send_to(work, l, &sink);
}

/* Where weights round stochastically: output by output, as random words are counted. */
static void observe_at_random(im_work* work, int l, int k) {
  enum { CHUNK = 256 };
  const im_layer* layer = &work->net->layers[l - 1];
  const im_online* here = &work->online[l];
  const int32_t *D = work->layers[l].D, *A = here->inputs.value;
  im_stream stream = im_stream_of(work, l, IM_ROLE_STEP_W);
  for (int64_t j = 0; j < layer->n_out; j++) {
    for (int64_t at = 0; at < layer->n_in; at += CHUNK) {
      int32_t weights[CHUNK];
      int64_t sums[CHUNK], n = layer->n_in - at < CHUNK ? layer->n_in - at : CHUNK;
      for (int64_t i = 0; i < n; i++) {
        weights[i] = here->W[(at + i) * here->width + j];
        sums[i] = (int64_t)D[j] * A[at + i];
      }
      work->isa->loops->count_stored_steps(weights, sums, IM_I64, n, k, layer->weight,
                                           &(im_addend){.less = -1}, stream, (im_sizes){false, 0},
                                           im_count_of(work, l, IM_W));
      stream.first += n;
    }
  }
}

/* Integer steps; those of a bias are few, and counted with their weights. */
static void observe_fixed_steps(im_work* work, int l, uint64_t largest, int shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  const int32_t* D = work->layers[l].D;
  im_inputs inputs = here->inputs;
  im_count* count = im_count_of(work, l, IM_W);
  int k_bias = layer->delta.frac + shift - layer->weight.frac;
  int k = k_bias + im_activation_format(work->net, l - 1).frac;
  if (layer->b) {
    loops->count_stored_steps(here->W + layer->n_in * here->width, D, IM_I32, layer->n_out, k_bias,
                              layer->weight, &(im_addend){.less = -1},
                              im_stream_of(work, l, IM_ROLE_STEP_B), (im_sizes){false, 0},
                              im_count_of(work, l, IM_B));
    inputs.count--; /* it is the last one */
  }
  if (layer->weight.rounding == IM_STOCHASTIC) {
    observe_at_random(work, l, k);
    return;
  }
  if (!work->observed->only_overflows)
    loops->count_products(&inputs, layer->n_in, D, layer->n_out, k, layer->weight.rounding,
                          (int32_t*)here->sums, count);
  uint64_t limit = (UINT64_C(1) << (layer->weight.bits - 1)) - 1;
  if (here->bound + (largest * inputs.largest >> k) + 1 > limit)
    loops->count_moved(&inputs, D, here->W, here->width, k, layer->weight, count);
}

/* Float steps of the rows of `reals` where the lanes of count_real_products do not serve. */
static void observe_real_elements(im_work* work, int l, const im_reals* reals, double rate,
                                  int lr_shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  im_count* count = im_count_of(work, l, IM_W);
  double* step = (double*)here->sums;
  for (int64_t i = 0; i < reals->count; i++) {
    for (int64_t j = 0; j < layer->n_out; j++)
      step[j] = im_step_of(here->D[j], reals->value[i], rate);
    loops->count_real_sizes(step, layer->n_out, lr_shift, count);
    if (!here->M)
      loops->count_real_steps(here->W + reals->at[i] * here->width, step, layer->n_out,
                              layer->weight, im_wordless, count);
  }
  count->exact_zeros += (uint64_t)((layer->n_in - reals->count) * layer->n_out);
}

static void observe_real_steps(im_work* work, int l, double rate, int lr_shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  im_format fmt = layer->weight;
  im_reals reals = here->reals;
  im_count* count = im_count_of(work, l, IM_W);
  if (im_has_bias(layer)) {
    double* step = (double*)here->sums;
    for (int64_t j = 0; j < layer->n_out; j++) step[j] = im_step_of(here->D[j], 1.0, rate);
    loops->count_real_sizes(step, layer->n_out, lr_shift, im_count_of(work, l, IM_B));
    if (!here->M)
      loops->count_real_steps(here->W + layer->n_in * here->width, step, layer->n_out, fmt,
                              im_wordless, im_count_of(work, l, IM_B));
    reals.count--;
  }
  enum { MOST_SHIFT = 900 }; /* 2**(lr_shift + 40) is a float64 */
  bool small = here->M || im_is_small(here->step, im_small_scale(fmt));
  if (!small || lr_shift > MOST_SHIFT || lr_shift < -MOST_SHIFT) {
    observe_real_elements(work, l, &reals, rate, lr_shift);
    return;
  }
  if (!work->observed->only_overflows)
    loops->count_real_products(&reals, layer->n_in, here->D, layer->n_out, rate, lr_shift, !here->M,
                               fmt, count);
  uint64_t limit = (UINT64_C(1) << (fmt.bits - 1)) - 1;
  if (!here->M && here->bound + (uint64_t)(here->step * im_power_of_two(fmt.frac)) + 1 > limit)
    loops->count_real_moved(&reals, here->D, rate, here->W, here->width, fmt, count);
}

im_status im_online_observe(im_work* work, int l, uint64_t largest, int shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  im_status status = observe_forward(work, l);
  if (status == IM_OK && !net->backward_float) status = observe_backward(work, l, largest);
  if (status != IM_OK) return status;
  im_count_of(work, l, IM_W)->entries += (uint64_t)(layer->n_in * layer->n_out);
  if (im_has_bias(layer)) im_count_of(work, l, IM_B)->entries += (uint64_t)layer->n_out;
  if (im_steps_are_fixed(net))
    observe_fixed_steps(work, l, largest, shift);
  else
    observe_real_steps(work, l, im_power_of_two(-shift), shift);
  return IM_OK;
}

void im_online_observe_weights(im_work* work, int l, bool all) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_online* here = &work->online[l];
  im_count* count = im_count_of(work, l, IM_W);
  enum { PATIENCE = 32 }; /* a scan, which tightens the bound, costs as much as some steps save */
  bool has_bias = im_has_bias(layer);
  int64_t listed = im_steps_are_fixed(net) ? here->inputs.count : here->reals.count;
  const int32_t* at = all ? NULL : here->inputs.at;
  int64_t rows = all ? layer->n_in : listed - has_bias;
  if (!here->M) {
    if (work->observed->only_overflows) return;
    /* None can be wider; a float step, which is counted before it saturates, may be so by far. */
    if (!all && (count->widest_bits > 64 || here->bound >> (count->widest_bits - 1) == 0)) return;
    if (++here->steps_unscanned == PATIENCE) {
      int64_t weights = (layer->n_in + has_bias) * here->width;
      here->bound = 1 + loops->largest_magnitude(here->W, IM_I32, weights);
      here->steps_unscanned = 0;
    }
    loops->count_rows(here->W, here->width, at, rows, count);
    return;
  }
  if (!layer->W) return; /* no part is fixed */
  if (has_bias)
    loops->count_reals(here->M + layer->n_in * here->width, layer->n_out, layer->weight,
                       im_wordless, im_count_of(work, l, IM_B));
  /* R is monotonic: the widest value, and one outside, is what an end of the range becomes. */
  double range[2];
  im_count ends = {0};
  loops->range_of_rows(here->M, here->width, at, rows, range);
  loops->count_reals(range, 2, layer->weight, im_wordless, &ends);
  if (ends.widest_bits > count->widest_bits) count->widest_bits = ends.widest_bits;
  here->outside = here->outside || ends.overflows > 0;
  if (!here->outside) return;
  uint64_t before = count->overflows;
  loops->count_reals(here->M, layer->n_in * here->width, layer->weight, im_wordless, count);
  here->outside = count->overflows > before;
}
