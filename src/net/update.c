/* Gradients, stored or passed on, and the update of weights and biases.
 *
 * The sum over a batch of D is the product D.T @ 1, so that biases go the way of the weights.
 */
#include "net.h"

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

im_status im_weight_gradient(im_work* work, int l, int64_t n, im_sink sink, int shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  sink.frac_in = layer->delta.frac + im_activation_format(work->net, l - 1).frac + shift;
  sink.accumulator = work->net->accumulator;
  return im_gemm(work->isa, deltas(work, l), inputs(work, l), layer->n_out, layer->n_in, n, &sink,
                 im_gemm_default, &work->scratch);
}

im_status im_bias_gradient(im_work* work, int l, int64_t n, im_sink sink, int shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  sink.frac_in = layer->delta.frac + shift;
  sink.accumulator = work->net->accumulator;
  return im_gemm(work->isa, deltas(work, l), ones, layer->n_out, 1, n, &sink, im_gemm_default,
                 &work->scratch);
}

/* Both; to_b is NULL where there are no biases. */
static im_status exact_gradient(im_work* work, int l, int64_t n, im_sink sink, int shift,
                                void* to_W, void* to_b) {
  sink.out = to_W;
  im_status status = im_weight_gradient(work, l, n, sink, shift);
  if (status != IM_OK || !to_b) return status;
  sink.out = to_b;
  return im_bias_gradient(work, l, n, sink, shift);
}

im_status im_store_gradient(im_work* work, int l, int64_t n, int average_shift, void* gW,
                            void* gb) {
  im_sink sink = {.kind = IM_REQUANTIZE, .fmt = work->net->layers[l - 1].gradient};
  return exact_gradient(work, l, n, sink, average_shift, gW, gb);
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
    return exact_gradient(work, l, n, sink, average_shift, here->gW, here->gb);
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

/* Fixed backward pass, fixed update ------------------------------------------------------- */

/* w = enter(w + R(-g)) of a stored gradient. */
static void update_by_stored(const im_isa* isa, void* w, const void* g, int64_t count,
                             im_layer const* layer, int lr_shift) {
  int k = layer->gradient.frac + lr_shift - layer->weight.frac;
  isa->loops->update(w, g, im_elem_of(layer->gradient), count, k, layer->weight);
}

static im_status update_fixed(im_work* work, int l, int64_t n, int lr_shift, int average_shift) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  if (!work->net->two_step) {
    im_sink sink = {.kind = IM_UPDATE, .fmt = layer->weight};
    return exact_gradient(work, l, n, sink, lr_shift + average_shift, layer->W, layer->b);
  }
  im_status status = im_store_gradient(work, l, n, average_shift, here->gW_raw, here->gb_raw);
  if (status != IM_OK) return status;
  update_by_stored(work->isa, layer->W, here->gW_raw, layer->n_out * layer->n_in, layer, lr_shift);
  if (layer->b) update_by_stored(work->isa, layer->b, here->gb_raw, layer->n_out, layer, lr_shift);
  return IM_OK;
}

/* A float step ---------------------------------------------------------------------------- */

/* The gradient g becomes the step -g * 2**-lr_shift, and with a master, which is finite, the new
 * master. False where either is not finite. */
static bool prepare(const im_isa* isa, double* g, const double* master, int64_t count,
                    int lr_shift) {
  isa->loops->scale(g, count, -lr_shift);
  for (int64_t i = 0; i < count; i++) g[i] = master ? master[i] - g[i] : -g[i];
  return isa->loops->all_finite(g, count);
}

/* What was prepared becomes the parameter: the master and its raw twin, or the raw one. */
static void commit(const im_isa* isa, const double* prepared, double* master, void* raw,
                   int64_t count, im_format fmt) {
  if (master) {
    memcpy(master, prepared, (size_t)count * sizeof(double));
    if (raw) im_quantize(isa, master, IM_SOURCE_F64, count, fmt, raw);
    return;
  }
  isa->loops->update_by_real(raw, prepared, count, fmt);
}

/* All layers are prepared before the first is committed: a step that diverges changes nothing. */
static im_status update_by_float_step(im_work* work, int64_t n, int lr_shift, int average_shift) {
  const im_net* net = work->net;
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_tensors* here = &work->layers[l];
    im_status status = im_float_gradient(work, l, n, average_shift);
    if (status != IM_OK) return status;
    if (!prepare(work->isa, here->gW, layer->master_W, layer->n_out * layer->n_in, lr_shift) ||
        (here->gb && !prepare(work->isa, here->gb, layer->master_b, layer->n_out, lr_shift)))
      return IM_NOT_FINITE;
  }
  for (int l = 1; l <= net->depth; l++) {
    const im_layer* layer = &net->layers[l - 1];
    im_tensors* here = &work->layers[l];
    commit(work->isa, here->gW, layer->master_W, layer->W, layer->n_out * layer->n_in,
           layer->weight);
    if (here->gb)
      commit(work->isa, here->gb, layer->master_b, layer->b, layer->n_out, layer->weight);
  }
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
