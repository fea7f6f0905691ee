/* Gradients, stored or passed on, and the update of weights and biases.
 *
 * The sum over a batch of D is the product D.T @ 1, so that biases go the way of the weights.
 */
#include "../arith/round.h"
#include "net.h"

enum { BLOCK = 512 };

static const int32_t one = 1;
static const im_matrix ones = {&one, 0, 0, IM_I32, 2};

/* D_l.T, (n_out, n), and its partner A_{l-1}, (n, n_in). */
static im_matrix deltas(const im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  return im_transposed(im_operand(work->layers[l].D, layer->delta, layer->n_out));
}
static im_matrix inputs(const im_work* work, int l) {
  return im_operand(work->layers[l - 1].A, im_activation_format(work->net, l - 1),
                    work->net->layers[l - 1].n_in);
}

im_parameter im_parameter_of(const im_work* work, int l, bool is_bias) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_tensors* here = &work->layers[l];
  int delta = layer->delta.frac, input = im_activation_format(work->net, l - 1).frac;
  if (is_bias)
    return (im_parameter){true,     layer->n_out, layer->b,     layer->velocity_b, layer->master_b,
                          here->gb, here->vb,     here->gb_raw, here->vb_raw,      delta};
  return (im_parameter){false,           layer->n_out * layer->n_in,
                        layer->W,        layer->velocity_W,
                        layer->master_W, here->gW,
                        here->vW,        here->gW_raw,
                        here->vW_raw,    delta + input};
}

im_status im_gradient_sums(im_work* work, int l, int64_t n, const im_parameter* of, im_sink sink,
                           int shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  sink.frac_in = of->frac + shift;
  sink.accumulator = work->net->accumulator;
  return im_gemm(work->isa, deltas(work, l), of->is_bias ? ones : inputs(work, l), layer->n_out,
                 of->is_bias ? 1 : layer->n_in, n, &sink, im_gemm_default, &work->scratch);
}

/* Both; to_b is NULL where there are no biases. What weights round is `of_W`, biases come next. */
static im_status exact_gradient(im_work* work, int l, int64_t n, im_sink sink, int shift,
                                im_role of_W, void* to_W, void* to_b) {
  im_status status = IM_OK;
  for (int is_bias = 0; is_bias <= (to_b != NULL) && status == IM_OK; is_bias++) {
    im_parameter of = im_parameter_of(work, l, is_bias);
    sink.out = is_bias ? to_b : to_W;
    sink.stream = im_stream_of(work, l, of_W + (im_role)is_bias);
    status = im_gradient_sums(work, l, n, &of, sink, shift);
  }
  return status;
}

im_status im_store_gradient(im_work* work, int l, int64_t n, int average_shift, void* gW,
                            void* gb) {
  im_sink sink = {.kind = IM_REQUANTIZE, .fmt = work->net->layers[l - 1].gradient};
  return exact_gradient(work, l, n, sink, average_shift, IM_ROLE_GW, gW, gb);
}

/* The float64 gradient of layer l into gW and gb, from a float or a fixed backward pass. */
im_status im_float_gradient(im_work* work, int l, int64_t n, int average_shift) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  int64_t count = layer->n_out * layer->n_in;
  if (!net->backward_float && net->two_step) {
    im_status status = im_store_gradient(work, l, n, average_shift, here->gW_raw, here->gb_raw);
    if (status != IM_OK) return status;
    im_elem elem = im_elem_of(layer->gradient);
    im_dequantize(work->isa, here->gW_raw, elem, count, layer->gradient.frac, here->gW);
    if (here->gb)
      im_dequantize(work->isa, here->gb_raw, elem, layer->n_out, layer->gradient.frac, here->gb);
    return IM_OK;
  }
  if (!net->backward_float) {
    im_sink sink = {.kind = IM_TO_FLOAT, .fmt = layer->gradient};
    return exact_gradient(work, l, n, sink, average_shift, IM_ROLE_GW, here->gW, here->gb);
  }
  static const double real_one = 1.0;
  im_real_matrix d = {here->Df, 1, layer->n_out};
  im_real_matrix a = {work->layers[l - 1].Af, layer->n_in, 1};
  im_real_matrix ones_f = {&real_one, 0, 0};
  work->isa->loops->float_product(d, a, layer->n_out, layer->n_in, n, NULL, here->gW);
  work->isa->loops->scale(here->gW, count, -average_shift);
  if (here->gb) {
    work->isa->loops->float_product(d, ones_f, layer->n_out, 1, n, NULL, here->gb);
    work->isa->loops->scale(here->gb, layer->n_out, -average_shift);
  }
  bool finite = work->isa->loops->all_finite(here->gW, count) &&
                (!here->gb || work->isa->loops->all_finite(here->gb, layer->n_out));
  return finite ? IM_OK : IM_NOT_FINITE;
}

/* Momentum and decay -------------------------------------------------------------------------- */

/* V * (1 - 2**-s), and W * 2**-d, join g at the finer fraction width of the two. */
im_addend im_momentum(const im_work* work, int l, const im_parameter* of, int frac) {
  im_format fmt = work->net->layers[l - 1].velocity;
  int s = work->net->momentum_shift;
  int lift = fmt.frac + s > frac ? fmt.frac + s - frac : 0, up = frac + lift - fmt.frac;
  return (im_addend){of->velocity, im_elem_of(fmt), fmt.bits, lift, up, up - s};
}

im_addend im_decay(const im_work* work, int l, const im_parameter* of, int frac) {
  im_format fmt = work->net->layers[l - 1].weight;
  int d = work->net->decay_shift;
  if (d < 0 || of->is_bias) return (im_addend){.less = -1};
  int lift = fmt.frac + d > frac ? fmt.frac + d - frac : 0;
  return (im_addend){of->raw, im_elem_of(fmt), fmt.bits, lift, frac + lift - fmt.frac - d, -1};
}

/* A fixed update reads the velocity dequantized, and goes on with what becomes of the new one. */
bool im_optimise(im_work* work, int l, const im_parameter* of) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[l - 1];
  const double* w = of->master ? of->master : work->layers[l].Wf;
  im_elem elem = im_elem_of(layer->velocity);
  if (of->velocity) {
    double keep = 1 - im_power_of_two(-net->momentum_shift);
    if (net->update_float)
      memcpy(of->v, of->velocity, (size_t)of->count * sizeof *of->v);
    else
      im_dequantize(work->isa, of->velocity, elem, of->count, layer->velocity.frac, of->v);
    for (int64_t i = 0; i < of->count; i++) of->v[i] = of->v[i] * keep + of->g[i];
    if (!work->isa->loops->all_finite(of->v, of->count)) return false;
    memcpy(of->g, of->v, (size_t)of->count * sizeof *of->g);
    for (int64_t at = 0; !net->update_float && at < of->count; at += BLOCK) {
      int64_t raw[BLOCK], n = of->count - at < BLOCK ? of->count - at : BLOCK;
      im_stream stream = im_stream_of(work, l, IM_ROLE_VELOCITY_W + of->is_bias);
      stream.first = at;
      im_quantize(work->isa, of->v + at, IM_SOURCE_F64, n, layer->velocity, stream, raw);
      im_dequantize(work->isa, raw, elem, n, layer->velocity.frac, of->g + at);
    }
  }
  if (net->decay_shift >= 0 && !of->is_bias) {
    double part = im_power_of_two(-net->decay_shift);
    for (int64_t i = 0; i < of->count; i++) of->g[i] += w[i] * part;
  }
  return true;
}

/* Fixed backward pass, fixed update ------------------------------------------------------- */

/* The exact sums go into the weights at once, or by way of what is stored: the gradient, the
 * velocity. */
static im_status update_parameter(im_work* work, int l, int64_t n, bool is_bias, int lr_shift,
                                  int average_shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  const im_parameter of = im_parameter_of(work, l, is_bias);
  bool two_step = work->net->two_step;
  im_format fmt = layer->gradient;
  const void* g = of.g_raw;
  int frac = two_step ? fmt.frac : of.frac + average_shift;
  im_status status = IM_OK;
  if (two_step) {
    im_sink sink = {.kind = IM_REQUANTIZE,
                    .fmt = fmt,
                    .stream = im_stream_of(work, l, IM_ROLE_GW + is_bias),
                    .out = of.g_raw};
    status = im_gradient_sums(work, l, n, &of, sink, average_shift);
  }
  if (of.velocity && status == IM_OK) {
    im_addend with = im_momentum(work, l, &of, frac);
    fmt = layer->velocity;
    im_stream stream = im_stream_of(work, l, IM_ROLE_VELOCITY_W + is_bias);
    im_sink sink = {
        .kind = IM_REQUANTIZE, .fmt = fmt, .stream = stream, .out = of.velocity, .addend = with};
    if (two_step)
      loops->requantize_joined(g, im_elem_of(layer->gradient), of.count,
                               frac + with.lift - fmt.frac, fmt, &with, stream, of.velocity);
    else
      status = im_gradient_sums(work, l, n, &of, sink, average_shift + with.lift);
    g = of.velocity;
    frac = fmt.frac;
  }
  if (status != IM_OK) return status;
  im_addend with = im_decay(work, l, &of, frac);
  im_stream stream = im_stream_of(work, l, IM_ROLE_STEP_W + is_bias);
  if (!g) {
    im_sink sink = {
        .kind = IM_UPDATE, .fmt = layer->weight, .stream = stream, .out = of.raw, .addend = with};
    return im_gradient_sums(work, l, n, &of, sink, average_shift + with.lift + lr_shift);
  }
  loops->update(of.raw, g, fmt, of.count, frac + with.lift + lr_shift - layer->weight.frac,
                layer->weight, &with, stream);
  return IM_OK;
}

static im_status update_fixed(im_work* work, int l, int64_t n, int lr_shift, int average_shift) {
  bool has_bias = im_has_bias(&work->net->layers[l - 1]);
  im_status status = IM_OK;
  for (int is_bias = 0; is_bias <= has_bias && status == IM_OK; is_bias++)
    status = update_parameter(work, l, n, is_bias, lr_shift, average_shift);
  return status;
}

/* A float step ---------------------------------------------------------------------------- */

/* The gradient becomes the step -g * 2**-lr_shift, by way of momentum and decay, and with a master,
 * which is finite, the new master. False where a value is not finite. */
static bool prepare(im_work* work, int l, bool is_bias, int lr_shift) {
  const im_loops* loops = work->isa->loops;
  const im_parameter of = im_parameter_of(work, l, is_bias);
  double* g = of.g;
  if (!im_optimise(work, l, &of)) return false;
  loops->scale(g, of.count, -lr_shift);
  for (int64_t i = 0; i < of.count; i++) g[i] = of.master ? of.master[i] - g[i] : -g[i];
  return loops->all_finite(g, of.count);
}

/* What was prepared becomes the parameter: the master and its raw twin, or the raw one; and the
 * velocity. */
static void commit(im_work* work, int l, bool is_bias) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_parameter of = im_parameter_of(work, l, is_bias);
  size_t size = (size_t)of.count * sizeof(double);
  if (of.velocity && work->net->update_float)
    memcpy(of.velocity, of.v, size);
  else if (of.velocity)
    im_quantize(work->isa, of.v, IM_SOURCE_F64, of.count, layer->velocity,
                im_stream_of(work, l, IM_ROLE_VELOCITY_W + is_bias), of.velocity);
  if (!of.master) {
    work->isa->loops->update_by_real(of.raw, of.g, of.count, layer->weight,
                                     im_stream_of(work, l, IM_ROLE_STEP_W + is_bias));
    return;
  }
  memcpy(of.master, of.g, size);
  if (of.raw)
    im_quantize(work->isa, of.g, IM_SOURCE_F64, of.count, layer->weight,
                im_stream_of_real(work, l, IM_ROLE_REAL_W + is_bias), of.raw);
}

/* All layers are prepared before the first is committed: a step that diverges changes nothing. */
static im_status update_by_float_step(im_work* work, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  for (int l = 1; l <= net->depth; l++) {
    im_status status = im_float_gradient(work, l, n, average_shift);
    if (status != IM_OK) return status;
    for (int is_bias = 0; is_bias <= im_has_bias(&net->layers[l - 1]); is_bias++)
      if (!prepare(work, l, is_bias, lr_shift)) return IM_NOT_FINITE;
  }
  for (int l = 1; l <= net->depth; l++)
    for (int is_bias = 0; is_bias <= im_has_bias(&net->layers[l - 1]); is_bias++)
      commit(work, l, is_bias);
  return IM_OK;
}

im_status im_update(im_work* work, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  if (net->backward_float || net->update_float)
    return update_by_float_step(work, n, lr_shift, average_shift);
  for (int l = 1; l <= net->depth; l++) {
    im_status status = update_fixed(work, l, n, lr_shift, average_shift);
    if (status != IM_OK) return status;
  }
  return IM_OK;
}

void im_refresh_float_weights(im_work* work) {
  const im_net* net = work->net;
  if (!im_needs_float(net) || (net->forward_float && net->update_float)) return;
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_tensors* here = &work->layers[l];
    im_elem elem = im_elem_of(layer->weight);
    im_dequantize(work->isa, layer->W, elem, layer->n_out * layer->n_in, layer->weight.frac,
                  here->Wf);
    if (layer->b)
      im_dequantize(work->isa, layer->b, elem, layer->n_out, layer->weight.frac, here->bf);
  }
}
