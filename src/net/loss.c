/* The loss of the last layer, forward beside backward. Reported is what the forward pass saw. */
#include "net.h"

static int64_t outputs(const im_net* net) { return net->layers[net->depth - 1].n_out; }

/* The batch's summed loss: exact and rounded once, or the float sum of products. */
double im_loss(const im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_tensors* last = &work->layers[net->depth];
  int64_t count = n * outputs(net);
  if (net->forward_float) {
    double* difference = last->Ef; /* free until the backward pass */
    for (int64_t i = 0; i < count; i++) difference[i] = last->Af[i] - work->Yf[i];
    im_real_matrix row = {difference, count, 1}, column = {difference, 1, count};
    double sum;
    im_float_product(row, column, 1, 1, count, NULL, &sum);
    return net->half_loss ? 0.5 * sum : sum;
  }
  im_format fmt = im_activation_format(net, net->depth);
  im_elem elem = im_elem_of(fmt);
  /* |a - y| < 2**64 as unsigned, its square < 2**128, and fewer than 2**63 of them are summed. */
  im_wide sum = im_wide_of(0);
  for (int64_t i = 0; i < count; i++) {
    int64_t a = im_load(last->A, elem, i), y = im_load(work->Y, elem, i);
    uint64_t difference = a > y ? (uint64_t)a - (uint64_t)y : (uint64_t)y - (uint64_t)a;
    sum = im_wide_add(sum, im_wide_mul_u64(difference, difference));
  }
  return im_wide_to_double(sum, 2 * fmt.frac + net->half_loss);
}

/* D = requantize(f'(Z) * grad), with the exact grad = a - y, doubled for sse. */
void im_loss_backward(im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[net->depth - 1];
  im_tensors* last = &work->layers[net->depth];
  im_elem elem = im_elem_of(layer->activation), d_elem = im_elem_of(layer->delta);
  for (int64_t i = 0; i < n * layer->n_out; i++) {
    int64_t z = im_load(last->Z, elem, i), d = 0;
    int shift = im_derivative_shift(layer, z < 0, z == 0);
    if (shift >= 0) {
      im_wide a = im_wide_of(im_load(last->A, elem, i));
      im_wide y = im_wide_of(im_load(work->Y, elem, i));
      im_wide gradient = im_wide_add(a, im_wide_negate(y));
      if (!net->half_loss) gradient = im_wide_shl(gradient, 1);
      int k = layer->activation.frac + shift - layer->delta.frac;
      d = im_requantize_wide(gradient, k, layer->delta);
    }
    im_store(last->D, d_elem, i, d);
  }
}

im_status im_loss_backward_float(im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[net->depth - 1];
  im_tensors* last = &work->layers[net->depth];
  int64_t count = n * layer->n_out;
  for (int64_t i = 0; i < count; i++) {
    int shift = im_derivative_shift(layer, last->Zf[i] < 0, last->Zf[i] == 0);
    double gradient = last->Af[i] - work->Yf[i];
    if (!net->half_loss) gradient *= 2;
    last->Df[i] = shift < 0 ? 0.0 : im_scale(gradient, -shift);
  }
  return im_all_finite(last->Df, count) ? IM_OK : IM_NOT_FINITE;
}

/* The number of samples whose first arg-max of the output is that of the target. */
int32_t im_count_right(const im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_tensors* last = &work->layers[net->depth];
  im_elem elem = im_elem_of(im_activation_format(net, net->depth));
  int64_t width = outputs(net);
  int32_t right = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t best = i * width, wanted = best;
    for (int64_t j = best + 1; j < (i + 1) * width; j++) {
      if (net->forward_float) {
        if (last->Af[j] > last->Af[best]) best = j;
        if (work->Yf[j] > work->Yf[wanted]) wanted = j;
      } else {
        if (im_load(last->A, elem, j) > im_load(last->A, elem, best)) best = j;
        if (im_load(work->Y, elem, j) > im_load(work->Y, elem, wanted)) wanted = j;
      }
    }
    right += best == wanted;
  }
  return right;
}
