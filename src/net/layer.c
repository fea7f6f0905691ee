/* One layer, forward beside backward, first in fixed point and then in float64. */
#include "net.h"

int im_derivative_shift(const im_layer* layer, bool negative, bool zero) {
  switch (layer->function) {
    case IM_LINEAR: break;
    case IM_RELU: return negative ? -1 : !zero ? 0 : layer->half_at_zero ? 1 : -1;
    case IM_LEAKY_RELU: return negative ? layer->slope_shift : 0;
  }
  return 0;
}

/* Fixed point ------------------------------------------------------------------------------ */

static int64_t activate(const im_layer* layer, int64_t z) {
  switch (layer->function) {
    case IM_LINEAR: break;
    case IM_RELU: return z > 0 ? z : 0;
    case IM_LEAKY_RELU:
      return z >= 0 ? z : im_requantize_i64(z, layer->slope_shift, layer->activation);
  }
  return z;
}

/* Z = requantize(A_below @ W.T + b), A = f(Z). */
im_status im_layer_forward(im_work* work, int l, int64_t n) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  im_format below = im_activation_format(work->net, l - 1);
  im_sink sink = {
      .kind = IM_REQUANTIZE,
      .fmt = layer->activation,
      .frac_in = below.frac + layer->weight.frac,
      .bias = layer->b,
      .bias_elem = im_elem_of(layer->weight),
      .bias_shift = below.frac,
      .out = here->Z,
  };
  im_status status = im_gemm(work->isa, im_operand(work->layers[l - 1].A, below, layer->n_in),
                             im_transposed(im_operand(layer->W, layer->weight, layer->n_in)), n,
                             layer->n_out, layer->n_in, &sink, -1, &work->scratch, NULL);
  if (status != IM_OK) return status;
  im_elem elem = im_elem_of(layer->activation);
  for (int64_t i = 0; i < n * layer->n_out; i++)
    im_store(here->A, elem, i, activate(layer, im_load(here->Z, elem, i)));
  return IM_OK;
}

/* E = requantize(D_above @ W_above), D = requantize(f'(Z) * E). */
im_status im_layer_backward(im_work* work, int l, int64_t n) {
  const im_layer *layer = &work->net->layers[l - 1], *above = layer + 1;
  im_tensors* here = &work->layers[l];
  im_sink sink = {
      .kind = IM_REQUANTIZE,
      .fmt = layer->delta,
      .frac_in = above->delta.frac + above->weight.frac,
      .out = here->E,
  };
  im_status status =
      im_gemm(work->isa, im_operand(work->layers[l + 1].D, above->delta, above->n_out),
              im_operand(above->W, above->weight, above->n_in), n, layer->n_out, above->n_out,
              &sink, -1, &work->scratch, NULL);
  if (status != IM_OK) return status;
  im_elem z_elem = im_elem_of(layer->activation), elem = im_elem_of(layer->delta);
  for (int64_t i = 0; i < n * layer->n_out; i++) {
    int64_t z = im_load(here->Z, z_elem, i), d = 0;
    int shift = im_derivative_shift(layer, z < 0, z == 0);
    if (shift >= 0) d = im_requantize_i64(im_load(here->E, elem, i), shift, layer->delta);
    im_store(here->D, elem, i, d);
  }
  return IM_OK;
}

/* Float64 ---------------------------------------------------------------------------------- */

static double activate_float(const im_layer* layer, double z) {
  switch (layer->function) {
    case IM_LINEAR: break;
    case IM_RELU: return z > 0 ? z : 0.0;
    case IM_LEAKY_RELU: return z >= 0 ? z : im_scale(z, -layer->slope_shift);
  }
  return z;
}

im_status im_layer_forward_float(im_work* work, int l, int64_t n) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_tensors* here = &work->layers[l];
  im_real_matrix a = {work->layers[l - 1].Af, layer->n_in, 1};
  im_real_matrix w = {here->Wf, 1, layer->n_in};
  int64_t count = n * layer->n_out;
  im_float_product(a, w, n, layer->n_out, layer->n_in, here->bf, here->Zf);
  for (int64_t i = 0; i < count; i++) here->Af[i] = activate_float(layer, here->Zf[i]);
  return im_all_finite(here->Zf, count) ? IM_OK : IM_NOT_FINITE;
}

im_status im_layer_backward_float(im_work* work, int l, int64_t n) {
  const im_layer *layer = &work->net->layers[l - 1], *above = layer + 1;
  im_tensors* here = &work->layers[l];
  im_real_matrix d = {work->layers[l + 1].Df, above->n_out, 1};
  im_real_matrix w = {work->layers[l + 1].Wf, above->n_in, 1};
  int64_t count = n * layer->n_out;
  im_float_product(d, w, n, layer->n_out, above->n_out, NULL, here->Ef);
  for (int64_t i = 0; i < count; i++) {
    int shift = im_derivative_shift(layer, here->Zf[i] < 0, here->Zf[i] == 0);
    here->Df[i] = shift < 0 ? 0.0 : im_scale(here->Ef[i], -shift);
  }
  return im_all_finite(here->Ef, count) ? IM_OK : IM_NOT_FINITE;
}
