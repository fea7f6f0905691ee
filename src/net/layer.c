/* One layer, forward beside backward, first in fixed point and then in float64. */
#include "net.h"

/* Fixed point ------------------------------------------------------------------------------ */

/* Part of a layer's result, straight from the product: still in the cache. */
typedef struct {
  const im_loops* loops;
  const im_layer* layer;
  const im_tensors* here;
  im_stream stream;
} im_fresh;

static im_stream stream_at(const im_fresh* fresh, int64_t at) {
  im_stream stream = fresh->stream;
  stream.first += at;
  return stream;
}

static void* element(void* raw, im_format fmt, int64_t at) {
  return (char*)raw + at * (int64_t)im_elem_size(im_elem_of(fmt));
}

static void activate_fresh(const void* context, int64_t at, int64_t count) {
  const im_fresh* f = context;
  im_format fmt = f->layer->activation;
  f->loops->activate(f->layer, stream_at(f, at), element(f->here->Z, fmt, at), count,
                     element(f->here->A, fmt, at));
}

static void gate_fresh(const void* context, int64_t at, int64_t count) {
  const im_fresh* f = context;
  void* d = element(f->here->D, f->layer->delta, at);
  void* x = im_derives_from_a(f->layer) ? f->here->A : f->here->Z;
  f->loops->gate(f->layer, stream_at(f, at), element(x, f->layer->activation, at), d, count, d);
}

/* Z = requantize(A_below @ W.T + b), A = f(Z). */
im_status im_layer_forward(im_work* work, int l, int64_t n) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  im_format below = im_activation_format(work->net, l - 1);
  im_fresh fresh = {work->isa->loops, layer, here, im_stream_of(work, l, IM_ROLE_A)};
  im_sink sink = {
      .kind = IM_REQUANTIZE,
      .fmt = layer->activation,
      .stream = im_stream_of(work, l, IM_ROLE_Z),
      .frac_in = below.frac + layer->weight.frac,
      .bias = layer->b,
      .bias_elem = im_elem_of(layer->weight),
      .bias_shift = below.frac,
      .out = here->Z,
      .finish = activate_fresh,
      .context = &fresh,
      .accumulator = work->net->accumulator,
  };
  im_gemm_options options = {.kernel = -1, .kept = work->training ? NULL : layer->packed_W};
  return im_gemm(work->isa, im_operand(work->layers[l - 1].A, below, layer->n_in),
                 im_transposed(im_operand(layer->W, layer->weight, layer->n_in)), n, layer->n_out,
                 layer->n_in, &sink, options, &work->scratch);
}

/* E = requantize(D_above @ W_above), which is gated as it comes unless fresh is NULL. */
static im_status send_error(im_work* work, int l, int64_t n, void* E, const im_fresh* fresh) {
  const im_layer *layer = &work->net->layers[l - 1], *above = layer + 1;
  im_sink sink = {
      .kind = IM_REQUANTIZE,
      .fmt = layer->delta,
      .stream = im_stream_of(work, l, IM_ROLE_E),
      .frac_in = above->delta.frac + above->weight.frac,
      .out = E,
      .finish = fresh ? gate_fresh : NULL,
      .context = fresh,
      .accumulator = work->net->accumulator,
  };
  return im_gemm(work->isa, im_operand(work->layers[l + 1].D, above->delta, above->n_out),
                 im_operand(above->W, above->weight, above->n_in), n, layer->n_out, above->n_out,
                 &sink, im_gemm_default, &work->scratch);
}

/* D = requantize(f'(Z) * E), in the place of E. */
im_status im_layer_backward(im_work* work, int l, int64_t n) {
  const im_fresh fresh = {work->isa->loops, &work->net->layers[l - 1], &work->layers[l],
                          im_stream_of(work, l, IM_ROLE_D)};
  return send_error(work, l, n, work->layers[l].D, &fresh);
}

im_status im_layer_error(im_work* work, int l, int64_t n) {
  return send_error(work, l, n, work->layers[l].E, NULL);
}

/* Float64 ---------------------------------------------------------------------------------- */

im_status im_layer_forward_float(im_work* work, int l, int64_t n) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  im_real_matrix a = {work->layers[l - 1].Af, layer->n_in, 1};
  im_real_matrix w = {here->Wf, 1, layer->n_in};
  int64_t count = n * layer->n_out;
  work->isa->loops->float_product(a, w, n, layer->n_out, layer->n_in, here->bf, here->Zf);
  work->isa->loops->activate_float(layer, here->Zf, count, here->Af);
  return work->isa->loops->all_finite(here->Zf, count) ? IM_OK : IM_NOT_FINITE;
}

im_status im_layer_backward_float(im_work* work, int l, int64_t n) {
  const im_layer *layer = &work->net->layers[l - 1], *above = layer + 1;
  im_tensors* here = &work->layers[l];
  im_real_matrix d = {work->layers[l + 1].Df, above->n_out, 1};
  im_real_matrix w = {work->layers[l + 1].Wf, above->n_in, 1};
  int64_t count = n * layer->n_out;
  work->isa->loops->float_product(d, w, n, layer->n_out, above->n_out, NULL, here->Ef);
  const double* x = im_derives_from_a(layer) ? here->Af : here->Zf;
  work->isa->loops->gate_float(layer, x, here->Ef, count, here->Df);
  return work->isa->loops->all_finite(here->Ef, count) ? IM_OK : IM_NOT_FINITE;
}
