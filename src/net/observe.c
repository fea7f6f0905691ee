/* What a step rounds away and what overflows in it, counted; it changes nothing of the step.
 *
 * Between the backward pass and the update everything that a step reads is there. The sums
 * that have been rounded are not: they are computed again, and counted as they leave the
 * accumulator. Not all need to be. A saturated tensor in which no value is an end of its
 * format has not overflowed, and a delta below the last layer, E times at most one, cannot. (But
 * a sigmoid may wrap to -1, where f' is -2: such a layer has its E computed again.)
 *
 * Where a step diverges after all, the counts from before it are put back.
 */
#include "net.h"

/* What enters the format of Z, unless both passes are float; and the units of a relu. */
static im_status observe_forward(im_work* work, int l, int64_t n, int64_t* active) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const im_tensors* here = &work->layers[l];
  im_format fmt = layer->activation, below = im_activation_format(net, l - 1);
  int64_t entries = n * layer->n_out;
  im_count* count = im_count_of(work, l, IM_Z);
  im_status status = IM_OK;
  count->entries += (uint64_t)entries;
  if (layer->function == IM_RELU) {
    im_source_kind kind = im_elem_of(fmt) == IM_I32 ? IM_SOURCE_I32 : IM_SOURCE_I64;
    if (net->backward_float)
      work->isa->loops->count_units(layer, here->Zf, IM_SOURCE_F64, n, active, count);
    else
      work->isa->loops->count_units(layer, here->Z, kind, n, active, count);
  }
  if (net->forward_float) {
    if (!net->backward_float) work->isa->loops->count_reals(here->Zf, entries, fmt, count);
    return IM_OK;
  }
  if (fmt.overflow == IM_WRAP || !work->isa->loops->count_saturated(here->Z, entries, fmt, count)) {
    im_sink sink = {
        .kind = IM_COUNT_VALUES,
        .fmt = fmt,
        .frac_in = below.frac + layer->weight.frac,
        .bias = layer->b,
        .bias_elem = im_elem_of(layer->weight),
        .bias_shift = below.frac,
        .count = count,
        .accumulator = net->accumulator,
    };
    status = im_gemm(work->isa, im_operand(work->layers[l - 1].A, below, layer->n_in),
                     im_transposed(im_operand(layer->W, layer->weight, layer->n_in)), n,
                     layer->n_out, layer->n_in, &sink, im_gemm_default, &work->scratch);
  }
  return status;
}

/* What enters the format of E and D in a fixed backward pass. */
static im_status observe_backward(im_work* work, int l, int64_t n) {
  const im_net* net = work->net;
  const im_layer *layer = &net->layers[l - 1], *above = layer + 1;
  const im_tensors* here = &work->layers[l];
  int64_t entries = n * layer->n_out;
  im_count* count = im_count_of(work, l, IM_D);
  count->entries += (uint64_t)entries;
  if (l == net->depth) {
    if (net->loss == IM_CROSS_ENTROPY)
      work->isa->loops->cross_entropy_gradient(net, here->A, work->Y, n, NULL, count);
    else
      work->isa->loops->count_loss_gradient(layer, here->Z, here->A, work->Y, entries,
                                            net->loss == IM_HALF_SSE, count);
    return IM_OK;
  }
  if (here->E) {
    im_status status = im_layer_error(work, l, n);
    if (status != IM_OK) return status;
    work->isa->loops->count_gated(layer, here->A, here->E, entries, count);
  } else {
    work->isa->loops->count_stored(here->D, im_elem_of(layer->delta), entries, count);
  }
  im_sink sink = {
      .kind = IM_COUNT_VALUES,
      .fmt = layer->delta,
      .frac_in = above->delta.frac + above->weight.frac,
      .count = im_count_of(work, l, IM_E),
      .accumulator = net->accumulator,
  };
  sink.count->entries += (uint64_t)entries;
  return im_gemm(work->isa, im_operand(work->layers[l + 1].D, above->delta, above->n_out),
                 im_operand(above->W, above->weight, above->n_in), n, layer->n_out, above->n_out,
                 &sink, im_gemm_default, &work->scratch);
}

/* The integer steps of layer l: the exact sums, or stored gradients. */
static im_status observe_fixed_steps(im_work* work, int l, int64_t n, int lr_shift,
                                     int average_shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  im_sink sink = {.kind = IM_COUNT_STEPS, .fmt = layer->weight};
  im_status status;
  if (!work->net->two_step) {
    sink.out = layer->W;
    sink.count = im_count_of(work, l, IM_W);
    status = im_weight_gradient(work, l, n, sink, lr_shift + average_shift);
    if (status != IM_OK || !layer->b) return status;
    sink.out = layer->b;
    sink.count = im_count_of(work, l, IM_B);
    return im_bias_gradient(work, l, n, sink, lr_shift + average_shift);
  }
  int k = layer->gradient.frac + lr_shift - layer->weight.frac;
  im_elem elem = im_elem_of(layer->gradient);
  status = im_store_gradient(work, l, n, average_shift, here->gW_raw, here->gb_raw);
  if (status != IM_OK) return status;
  work->isa->loops->count_stored_steps(layer->W, here->gW_raw, elem, layer->n_out * layer->n_in, k,
                                       layer->weight, im_count_of(work, l, IM_W));
  if (layer->b)
    work->isa->loops->count_stored_steps(layer->b, here->gb_raw, elem, layer->n_out, k,
                                         layer->weight, im_count_of(work, l, IM_B));
  return IM_OK;
}

/* The float gradient g becomes the step, which is counted, and with a master the new master, whose
 * raw twin is counted. The update computes all of it again. */
static im_status observe_float_step(const im_work* work, double* g, const double* master,
                                    const void* raw, int64_t n, int lr_shift, im_format fmt,
                                    im_count* count) {
  const im_loops* loops = work->isa->loops;
  loops->scale(g, n, -lr_shift);
  for (int64_t i = 0; i < n; i++) g[i] = -g[i];
  if (!loops->all_finite(g, n)) return IM_NOT_FINITE;
  loops->count_real_sizes(g, n, lr_shift, count);
  if (!master) {
    loops->count_real_steps(raw, g, n, fmt, count);
    return IM_OK;
  }
  for (int64_t i = 0; i < n; i++) g[i] += master[i];
  if (!loops->all_finite(g, n)) return IM_NOT_FINITE;
  if (raw) loops->count_reals(g, n, fmt, count);
  return IM_OK;
}

static im_status observe_steps(im_work* work, int l, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  int64_t weights = layer->n_out * layer->n_in;
  im_count_of(work, l, IM_W)->entries += (uint64_t)weights;
  if (im_has_bias(layer)) im_count_of(work, l, IM_B)->entries += (uint64_t)layer->n_out;
  if (im_steps_are_fixed(net)) return observe_fixed_steps(work, l, n, lr_shift, average_shift);
  im_status status = im_float_gradient(work, l, n, average_shift);
  if (status == IM_OK)
    status = observe_float_step(work, here->gW, layer->master_W, layer->W, weights, lr_shift,
                                layer->weight, im_count_of(work, l, IM_W));
  if (status == IM_OK && im_has_bias(layer))
    status = observe_float_step(work, here->gb, layer->master_b, layer->b, layer->n_out, lr_shift,
                                layer->weight, im_count_of(work, l, IM_B));
  return status;
}

static size_t size_of_counts(const im_net* net) {
  return (size_t)net->depth * IM_TENSORS * sizeof(im_count);
}

/* All else cannot diverge. */
void im_observe_begin(im_work* work) {
  if (im_has_float_part(work->net))
    memcpy(work->counts_before, work->observed->counts, size_of_counts(work->net));
}

void im_observe_undo(const im_work* work) {
  if (im_has_float_part(work->net))
    memcpy(work->observed->counts, work->counts_before, size_of_counts(work->net));
}

im_status im_observe(im_work* work, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  im_status status = IM_OK;
  int64_t* active = work->active;
  int threads = work->scratch.threads;
  work->scratch.threads = 1; /* threads would add to one row at once */
  for (int l = 1; l <= net->depth && status == IM_OK; l++) {
    status = observe_forward(work, l, n, active);
    active += net->layers[l - 1].n_out;
    if (status == IM_OK && !net->backward_float) status = observe_backward(work, l, n);
    if (status == IM_OK) status = observe_steps(work, l, n, lr_shift, average_shift);
  }
  work->scratch.threads = threads;
  return status;
}

void im_observe_done(const im_work* work) {
  const im_net* net = work->net;
  int64_t* idle = work->observed->idle;
  const int64_t* active = work->active;
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    for (int64_t j = 0; layer->function == IM_RELU && j < layer->n_out; j++)
      idle[j] = (idle[j] + 1) & (active[j] - 1); /* 0 where active */
    idle += layer->n_out;
    active += layer->n_out;
  }
}
