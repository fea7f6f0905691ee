/* The loss of the last layer, forward beside backward. Reported is what the forward pass saw. */
#include "net.h"

static int64_t outputs(const im_net* net) { return net->layers[net->depth - 1].n_out; }

/* The batch's summed loss: exact and rounded once, or the float sum of products. */
double im_loss(const im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_tensors* last = &work->layers[net->depth];
  int64_t count = n * outputs(net);
  if (net->loss == IM_CROSS_ENTROPY)
    return net->forward_float ? work->isa->loops->float_cross_entropy(last->Af, work->Yf, n,
                                                                      outputs(net), last->Ef)
                              : work->isa->loops->cross_entropy(net, last->A, work->Y, n);
  if (net->forward_float) {
    double* difference = last->Ef; /* free until the backward pass */
    for (int64_t i = 0; i < count; i++) difference[i] = last->Af[i] - work->Yf[i];
    im_real_matrix row = {difference, count, 1}, column = {difference, 1, count};
    double sum;
    work->isa->loops->float_product(row, column, 1, 1, count, NULL, &sum);
    return net->loss == IM_HALF_SSE ? 0.5 * sum : sum;
  }
  im_format fmt = im_activation_format(net, net->depth);
  return work->isa->loops->loss(last->A, work->Y, im_elem_of(fmt), count,
                                2 * fmt.frac + (net->loss == IM_HALF_SSE));
}

/* D = requantize(f'(Z) * grad), with the exact grad = a - y, doubled for sse; of cross_entropy
 * grad is t / S - y, and f' is 1. */
void im_loss_backward(im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[net->depth - 1];
  im_tensors* last = &work->layers[net->depth];
  im_stream stream = im_stream_of(work, net->depth, IM_ROLE_D);
  if (net->loss == IM_CROSS_ENTROPY)
    work->isa->loops->cross_entropy_gradient(net, stream, last->A, work->Y, n, last->D, NULL);
  else
    work->isa->loops->loss_gradient(layer, stream, last->Z, last->A, work->Y, n * layer->n_out,
                                    net->loss == IM_HALF_SSE, last->D);
}

im_status im_loss_backward_float(im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_layer* layer = &net->layers[net->depth - 1];
  im_tensors* last = &work->layers[net->depth];
  int64_t count = n * layer->n_out;
  if (net->loss == IM_CROSS_ENTROPY)
    work->isa->loops->float_cross_entropy_gradient(last->Af, work->Yf, n, layer->n_out, last->Df);
  for (int64_t i = 0; i < count && net->loss != IM_CROSS_ENTROPY; i++) {
    double gradient = last->Af[i] - work->Yf[i];
    last->Df[i] = net->loss == IM_HALF_SSE ? gradient : gradient * 2;
  }
  work->isa->loops->gate_float(layer, im_derives_from_a(layer) ? last->Af : last->Zf, last->Df,
                               count, last->Df);
  return work->isa->loops->all_finite(last->Df, count) ? IM_OK : IM_NOT_FINITE;
}

/* The number of samples whose first arg-max of the output is that of the target. */
int32_t im_count_right(const im_work* work, int64_t n) {
  const im_net* net = work->net;
  const im_tensors* last = &work->layers[net->depth];
  int64_t width = outputs(net);
  if (net->forward_float)
    return work->isa->loops->count_right(last->Af, work->Yf, IM_SOURCE_F64, n, width);
  im_elem elem = im_elem_of(im_activation_format(net, net->depth));
  im_source_kind kind = elem == IM_I32 ? IM_SOURCE_I32 : IM_SOURCE_I64;
  return work->isa->loops->count_right(last->A, work->Y, kind, n, width);
}
