/* What a step rounds away and what overflows in it, counted; it changes nothing of the step.
 *
 * Between the backward pass and the update everything that a step reads is there. The sums
 * that have been rounded are not: they are computed again, and counted as they leave the
 * accumulator. Not all need to be. A saturated tensor in which no value is an end of its
 * format has not overflowed, and a delta below the last layer, E times at most one, cannot. (But
 * a sigmoid may wrap to -1, where f' is -2: such a layer has its E computed again.)
 *
 * Where a step diverges after all, the counts from before it are put back. Where an overflow is to
 * stop the training, they stay: they say which value it was.
 */
#include <math.h>

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
    if (!net->backward_float)
      work->isa->loops->count_reals(here->Zf, entries, fmt, im_stream_of(work, l, IM_ROLE_Z),
                                    count);
    return IM_OK;
  }
  if (fmt.overflow == IM_WRAP || !work->isa->loops->count_saturated(here->Z, entries, fmt, count)) {
    im_sink sink = {
        .kind = IM_COUNT_VALUES,
        .fmt = fmt,
        .stream = im_stream_of(work, l, IM_ROLE_Z),
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
    im_stream stream = im_stream_of(work, l, IM_ROLE_D);
    if (net->loss == IM_CROSS_ENTROPY)
      work->isa->loops->cross_entropy_gradient(net, stream, here->A, work->Y, n, NULL, count);
    else
      work->isa->loops->count_loss_gradient(layer, stream, here->Z, here->A, work->Y, entries,
                                            net->loss == IM_HALF_SSE, count);
    return IM_OK;
  }
  if (here->E) {
    im_status status = im_layer_error(work, l, n);
    if (status != IM_OK) return status;
    work->isa->loops->count_gated(layer, im_stream_of(work, l, IM_ROLE_D), here->A, here->E,
                                  entries, count);
  } else {
    work->isa->loops->count_stored(here->D, im_elem_of(layer->delta), entries, count);
  }
  im_sink sink = {
      .kind = IM_COUNT_VALUES,
      .fmt = layer->delta,
      .stream = im_stream_of(work, l, IM_ROLE_E),
      .frac_in = above->delta.frac + above->weight.frac,
      .count = im_count_of(work, l, IM_E),
      .accumulator = net->accumulator,
  };
  sink.count->entries += (uint64_t)entries;
  return im_gemm(work->isa, im_operand(work->layers[l + 1].D, above->delta, above->n_out),
                 im_operand(above->W, above->weight, above->n_in), n, layer->n_out, above->n_out,
                 &sink, im_gemm_default, &work->scratch);
}

static double largest_in(const im_work* work, const void* raw, im_format fmt, int64_t n) {
  return 1 + (double)work->isa->loops->largest_magnitude(raw, im_elem_of(fmt), n);
}

/* Whether it is proved that neither the velocity nor the parameter overflows in a step of n rows:
 * by the largest values of all that meets in it, as if they had one sign, each rounding adding at
 * most one last place. Each float operation errs by less than 2**-50 of it, for which the limit is
 * lower; more than float64 holds is no proof. */
static bool stays_inside(const im_work* work, int l, int64_t n, const im_parameter* of,
                         int lr_shift, int average_shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  im_format weight = layer->weight, velocity = layer->velocity;
  im_format below = im_activation_format(net, l - 1);
  const double margin = 1 - 0x1p-40;
  double w = largest_in(work, of->raw, weight, of->count);
  double g = (double)n * largest_in(work, work->layers[l].D, layer->delta, n * layer->n_out);
  if (!of->is_bias) g *= largest_in(work, work->layers[l - 1].A, below, n * layer->n_in);
  g = ldexp(g, -of->frac - average_shift);
  if (net->two_step) g += ldexp(1, -layer->gradient.frac);
  if (of->velocity) {
    g += ldexp(largest_in(work, of->velocity, velocity, of->count) + 1, -velocity.frac);
    if (!(ldexp(g, velocity.frac) < ldexp(margin, velocity.bits - 1) - 1)) return false;
  }
  if (net->decay_shift >= 0 && !of->is_bias) g += ldexp(w, -weight.frac - net->decay_shift);
  return w + ldexp(g, weight.frac - lr_shift) + 1 < ldexp(margin, weight.bits - 1) - 1;
}

/* The integer steps of a parameter: its exact sums, or what is stored of them. */
static im_status observe_fixed_steps(im_work* work, int l, int64_t n, const im_parameter* of,
                                     int lr_shift, int average_shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_count* count = im_count_of(work, l, of->is_bias ? IM_B : IM_W);
  im_count* of_velocity = im_count_of(work, l, of->is_bias ? IM_VB : IM_VW);
  im_format fmt = layer->gradient;
  const void* g = of->g_raw;
  if (of->velocity) of_velocity->entries += (uint64_t)of->count;
  if (work->observed->only_overflows && stays_inside(work, l, n, of, lr_shift, average_shift))
    return IM_OK;
  int frac = net->two_step ? fmt.frac : of->frac + average_shift;
  im_status status = IM_OK;
  if (net->two_step) {
    im_sink sink = {.kind = IM_REQUANTIZE,
                    .fmt = fmt,
                    .stream = im_stream_of(work, l, IM_ROLE_GW + of->is_bias),
                    .out = of->g_raw};
    status = im_gradient_sums(work, l, n, of, sink, average_shift);
  }
  if (of->velocity && status == IM_OK) {
    im_addend with = im_momentum(work, l, of, frac);
    im_elem elem = im_elem_of(fmt);
    fmt = layer->velocity;
    int k = frac + with.lift - fmt.frac;
    im_stream stream = im_stream_of(work, l, IM_ROLE_VELOCITY_W + of->is_bias);
    im_sink sink = {.kind = IM_COUNT_VALUES,
                    .fmt = fmt,
                    .stream = stream,
                    .out = of->v_raw,
                    .count = of_velocity,
                    .addend = with};
    if (net->two_step) {
      loops->count_joined(g, elem, of->count, k, fmt, &with, stream, sink.count);
      loops->requantize_joined(g, elem, of->count, k, fmt, &with, stream, of->v_raw);
    } else {
      status = im_gradient_sums(work, l, n, of, sink, average_shift + with.lift);
      sink.kind = IM_REQUANTIZE;
      if (status == IM_OK)
        status = im_gradient_sums(work, l, n, of, sink, average_shift + with.lift);
    }
    g = of->v_raw;
    frac = fmt.frac;
  }
  if (status != IM_OK) return status;
  im_addend with = im_decay(work, l, of, frac);
  im_stream stream = im_stream_of(work, l, IM_ROLE_STEP_W + of->is_bias);
  im_sizes sizes = {im_has_optimiser(net), frac + with.lift};
  if (!g) {
    im_sink sink = {.kind = IM_COUNT_STEPS,
                    .fmt = layer->weight,
                    .stream = stream,
                    .out = of->raw,
                    .count = count,
                    .addend = with,
                    .sizes = sizes};
    return im_gradient_sums(work, l, n, of, sink, average_shift + with.lift + lr_shift);
  }
  loops->count_stored_steps(of->raw, g, im_elem_of(fmt), of->count,
                            frac + with.lift + lr_shift - layer->weight.frac, layer->weight, &with,
                            stream, sizes, count);
  return IM_OK;
}

/* The float gradient becomes the step, which is counted, and with a master the new master, whose
 * raw twin is counted. The update computes all of it again. */
static im_status observe_float_step(im_work* work, int l, const im_parameter* of, int lr_shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_count* count = im_count_of(work, l, of->is_bias ? IM_B : IM_W);
  double* g = of->g;
  if (!im_optimise(work, l, of)) return IM_NOT_FINITE;
  if (of->velocity && !net->update_float) {
    im_count* of_velocity = im_count_of(work, l, of->is_bias ? IM_VB : IM_VW);
    of_velocity->entries += (uint64_t)of->count;
    loops->count_reals(of->v, of->count, layer->velocity,
                       im_stream_of(work, l, IM_ROLE_VELOCITY_W + of->is_bias), of_velocity);
  }
  loops->scale(g, of->count, -lr_shift);
  for (int64_t i = 0; i < of->count; i++) g[i] = -g[i];
  if (!loops->all_finite(g, of->count)) return IM_NOT_FINITE;
  loops->count_real_sizes(g, of->count, lr_shift, count);
  if (!of->master) {
    loops->count_real_steps(of->raw, g, of->count, layer->weight,
                            im_stream_of(work, l, IM_ROLE_STEP_W + of->is_bias), count);
    return IM_OK;
  }
  for (int64_t i = 0; i < of->count; i++) g[i] += of->master[i];
  if (!loops->all_finite(g, of->count)) return IM_NOT_FINITE;
  im_stream entering = im_stream_of_real(work, l, IM_ROLE_REAL_W + of->is_bias);
  if (of->raw) loops->count_reals(g, of->count, layer->weight, entering, count);
  return IM_OK;
}

static im_status observe_steps(im_work* work, int l, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  bool fixed = im_steps_are_fixed(net);
  im_status status = fixed ? IM_OK : im_float_gradient(work, l, n, average_shift);
  for (int is_bias = 0; is_bias <= im_has_bias(&net->layers[l - 1]) && status == IM_OK; is_bias++) {
    im_parameter of = im_parameter_of(work, l, is_bias);
    im_count_of(work, l, is_bias ? IM_B : IM_W)->entries += (uint64_t)of.count;
    status = fixed ? observe_fixed_steps(work, l, n, &of, lr_shift, average_shift)
                   : observe_float_step(work, l, &of, lr_shift);
  }
  return status;
}

static size_t size_of_counts(const im_net* net) {
  return (size_t)net->depth * IM_TENSORS * sizeof(im_count);
}

/* All else is done. */
static bool may_be_undone(const im_work* work) {
  return im_has_float_part(work->net) || work->observed->stop_on_overflow;
}

void im_observe_begin(im_work* work) {
  if (may_be_undone(work))
    memcpy(work->counts_before, work->observed->counts, size_of_counts(work->net));
}

void im_observe_undo(const im_work* work) {
  if (may_be_undone(work))
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
  return status == IM_OK ? im_observe_overflows(work) : status;
}

im_status im_observe_overflows(const im_work* work) {
  bool any = false;
  for (int i = 0; i < work->net->depth * IM_TENSORS; i++)
    any = any || work->observed->counts[i].overflows > 0;
  return any && work->observed->stop_on_overflow ? IM_OVERFLOWED : IM_OK;
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
