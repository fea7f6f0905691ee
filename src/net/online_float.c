/* Online training with a float part: steps of one sample on transposed weights (online.c).
 *
 * The numbers are bit for bit those of the general path:
 *
 *   Sums.      Inputs that are zero change no sum (online_float_tpl.h), their weights being finite.
 *   Weights.   A raw weight of at most 32 bits, read as raw * 2**-frac, is exact.
 *   Gradient.  Of one sample it is one product: of floats, rounded once. From a fixed backward
 *              pass it is the exact D * A * 2**-(fD + fA), correctly rounded: D * 2**-fD and
 *              A * 2**-fA are exact in float64, and their product, 0 or at least 2**-126 in
 *              magnitude, is rounded likewise. That of an input that is zero is +0.0, and neither
 *              a master nor a raw weight changes by it.
 *   Inputs.    From a float forward to a fixed backward pass they enter their format; zero enters
 *              as zero, whatever the rule.
 *
 * No format of a network with a float part is stochastic here: no float is rounded at random.
 *
 * A step that diverges changes nothing: all deltas come before the first update, and all updates
 * are proved before the first is done. Rounding is monotonic, so that the largest delta, times the
 * largest input, times the rate, each product rounded, is no less than any step; and the bound of
 * the master's magnitudes, plus that, rounded, no less than any new master. Where these are finite,
 * all are. Where they are not, or a value before them is not finite, the general path takes the
 * step, and finds whether it diverges.
 */
#include "../arith/round.h"
#include "online.h"

/* Weights as float parts read them: forward and backward alike. */
static im_real_weights real_weights(const im_work* work, int l) {
  const im_net* net = work->net;
  const im_online* here = &work->online[l];
  double unit = im_power_of_two(-net->layers[l - 1].weight.frac);
  bool of_master = net->forward_float && net->update_float;
  return (im_real_weights){of_master ? here->M : NULL, here->W, unit, here->width};
}

/* Forward ------------------------------------------------------------------------------------ */

/* No magnitude that enters fmt is larger, of values up to v: rounding adds less than one, the
 * overflow rule nothing. */
static uint64_t bound_in(im_format fmt, double v) {
  uint64_t past = UINT64_C(1) << (fmt.bits - 1);
  v *= im_power_of_two(fmt.frac);
  return v < (double)past ? (uint64_t)v + 1 : past;
}

/* The listed float inputs of layer l enter their format, and the one of a bias joins them: the list
 * that raw inputs would have left, and perhaps some zeros. */
static void enter_inputs(im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  im_format fmt = im_activation_format(work->net, l - 1);
  int32_t *A = work->layers[l - 1].A, *entered = here->errors, *at = here->inputs.at;
  int64_t count = here->reals.count;
  im_quantize(work->isa, here->reals.value, IM_SOURCE_F64, count, fmt, im_wordless, entered);
  memset(A, 0, (size_t)layer->n_in * sizeof *A);
  for (int64_t i = 0; i < count; i++) A[at[i]] = entered[i];
  uint64_t largest = bound_in(fmt, here->reals.largest);
  if (im_has_bias(layer)) {
    uint64_t one = UINT64_C(1) << fmt.frac;
    at[count++] = (int32_t)layer->n_in;
    largest = largest > one ? largest : one;
  }
  here->inputs = (im_inputs){at, A, count, largest};
}

/* The inputs of layer l, from a row of them. */
static void list_inputs(im_work* work, int l, im_row row, im_row next) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  if (row.real)
    work->isa->loops->list_reals(row.real, layer->n_in, next.real, &here->reals);
  else
    work->isa->loops->list_entries(row.raw, layer->n_in + (layer->b != NULL), next.raw,
                                   &here->inputs);
  if (row.real && !work->net->forward_float) enter_inputs(work, l);
}

static im_status forward_float(im_work* work, int l) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_loops* loops = work->isa->loops;
  im_tensors* here = &work->layers[l];
  int64_t bias = im_has_bias(layer) ? layer->n_in : -1;
  loops->sum_reals(&work->online[l].reals, real_weights(work, l), bias, here->Zf);
  loops->activate_float(layer, here->Zf, layer->n_out, here->Af);
  return loops->all_finite(here->Zf, layer->n_out) ? IM_OK : IM_NOT_FINITE;
}

static im_status forward_pass(im_work* work, im_row row, im_row next) {
  bool real = work->net->forward_float;
  im_status status = IM_OK;
  for (int l = 1; l <= work->net->depth && status == IM_OK; l++) {
    list_inputs(work, l, row, next);
    status = real ? forward_float(work, l) : im_online_forward(work, l);
    row = (im_row){real ? NULL : work->layers[l].A, real ? work->layers[l].Af : NULL};
    next = row;
  }
  return status;
}

/* Backward ----------------------------------------------------------------------------------- */

static im_status backward_fixed(im_work* work) {
  im_status status = IM_OK;
  im_loss_backward(work, 1);
  for (int l = work->net->depth; l > 1 && status == IM_OK; l--) {
    const im_layer* below = &work->net->layers[l - 2];
    im_tensors* sent = &work->layers[l - 1];
    status = im_online_send(work, l);
    work->isa->loops->gate(below, im_stream_of(work, l - 1, IM_ROLE_D), sent->Z, sent->D,
                           below->n_out, sent->D);
  }
  return status;
}

static im_status backward_float(im_work* work) {
  im_status status = im_loss_backward_float(work, 1);
  for (int l = work->net->depth; l > 1 && status == IM_OK; l--) {
    const im_layer* below = &work->net->layers[l - 2];
    im_tensors* sent = &work->layers[l - 1];
    work->isa->loops->send_reals(work->layers[l].Df, real_weights(work, l), below->n_out, sent->Ef);
    work->isa->loops->gate_float(below, sent->Zf, sent->Ef, below->n_out, sent->Df);
    if (!work->isa->loops->all_finite(sent->Ef, below->n_out)) status = IM_NOT_FINITE;
  }
  return status;
}

/* Update ------------------------------------------------------------------------------------- */

/* The listed inputs of layer l, as its update reads them, from those that the forward pass read. */
static void hand_inputs_over(im_work* work, int l) {
  const im_net* net = work->net;
  im_online* here = &work->online[l];
  im_reals* reals = &here->reals;
  const im_inputs* inputs = &here->inputs;
  if (net->forward_float && net->backward_float) {
    if (!im_has_bias(&net->layers[l - 1])) return;
    reals->at[reals->count] = (int32_t)net->layers[l - 1].n_in;
    reals->value[reals->count++] = 1.0;
    reals->largest = fmax(reals->largest, 1.0);
    return;
  }
  if (net->forward_float) enter_inputs(work, l);
  if (im_steps_are_fixed(net)) return;
  double unit = im_power_of_two(-im_activation_format(net, l - 1).frac);
  reals->count = inputs->count;
  reals->largest = (double)inputs->largest * unit;
  for (int64_t i = 0; i < inputs->count; i++) reals->value[i] = inputs->value[inputs->at[i]] * unit;
}

/* Prepare the float step of layer l; whether it is proved that all of it is finite. */
static bool prepare(im_work* work, int l, double rate) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  im_tensors* tensors = &work->layers[l];
  if (work->net->backward_float)
    memcpy(here->D, tensors->Df, (size_t)layer->n_out * sizeof(double));
  else
    im_dequantize(work->isa, tensors->D, IM_I32, layer->n_out, layer->delta.frac, here->D);
  here->largest = 0;
  for (int64_t j = 0; j < layer->n_out; j++) here->largest = fmax(here->largest, fabs(here->D[j]));
  here->step = here->largest * here->reals.largest * rate;
  return here->bound_M + here->step <= DBL_MAX;
}

/* The same step where the lanes of im_round_small do not serve: each element by itself. */
static void step_elements(im_work* work, int l, double rate, double* master, int32_t* raw) {
  const im_layer* layer = &work->net->layers[l - 1];
  const im_online* here = &work->online[l];
  double* step = (double*)here->sums;
  for (int64_t i = 0; i < here->reals.count; i++) {
    int64_t row = here->reals.at[i] * here->width;
    for (int64_t j = 0; j < layer->n_out; j++) {
      step[j] = im_step_of(here->D[j], here->reals.value[i], rate);
      if (master) master[row + j] += step[j];
    }
    if (master)
      im_quantize(work->isa, master + row, IM_SOURCE_F64, layer->n_out, layer->weight, im_wordless,
                  raw + row);
    else
      work->isa->loops->update_by_real(raw + row, step, layer->n_out, layer->weight, im_wordless);
  }
}

static void update(im_work* work, int l, double rate) {
  const im_layer* layer = &work->net->layers[l - 1];
  im_online* here = &work->online[l];
  im_format fmt = layer->weight;
  if (here->largest == 0) return; /* x - (+0.0) is x, and R(-0.0) is 0 */
  int32_t* raw = im_reads_raw_weights(work->net, l) ? here->W : NULL;
  if (here->M) here->bound_M += here->step;
  double rounded = here->M ? here->bound_M : here->step; /* the largest value that R sees */
  if (!raw || im_is_small(rounded, im_small_scale(fmt)))
    work->isa->loops->step_reals(&here->reals, here->D, rate, here->M, raw, here->width, fmt);
  else
    step_elements(work, l, rate, here->M, raw);
  if (!raw) return;
  uint64_t bound = bound_in(fmt, rounded);
  if (here->M)
    here->bound = bound;
  else
    im_online_stays_inside(here, layer, bound);
}

/* Whether it is proved that all of the updates are finite. */
static bool prepare_all(im_work* work, double rate) {
  for (int l = 1; l <= work->net->depth; l++)
    if (!prepare(work, l, rate)) return false;
  return true;
}

/* The largest magnitude of a delta of a fixed backward pass, 0 after a float one. */
static uint64_t largest_delta(const im_work* work, int l) {
  if (work->net->backward_float) return 0;
  return im_online_largest(work->layers[l].D, work->net->layers[l - 1].n_out);
}

/* By integers nothing can diverge. */
static void update_all_fixed(im_work* work, int lr_shift) {
  for (int l = 1; l <= work->net->depth; l++) {
    uint64_t largest = largest_delta(work, l);
    if (largest > 0) im_online_update(work, l, largest, lr_shift, NULL);
  }
}

/* A step ------------------------------------------------------------------------------------- */

im_status im_online_step(im_work* work, im_row inputs, im_row next, int lr_shift, int32_t* right,
                         double* loss) {
  const im_net* net = work->net;
  im_status status = forward_pass(work, inputs, next);
  if (status != IM_OK) return status;
  double loss_before = loss ? im_loss(work, 1) : 0;
  im_cross_over(work, 1, 1);
  status = net->backward_float ? backward_float(work) : backward_fixed(work);
  if (status != IM_OK) return status;
  for (int l = 1; l <= net->depth; l++) hand_inputs_over(work, l);
  double rate = im_steps_are_fixed(net) ? 0 : im_power_of_two(-lr_shift);
  if (!im_steps_are_fixed(net) && !prepare_all(work, rate)) return IM_NOT_FINITE;
  for (int l = 1; work->observed && l <= net->depth && status == IM_OK; l++)
    status = im_online_observe(work, l, largest_delta(work, l), lr_shift);
  if (work->observed && status == IM_OK) status = im_observe_overflows(work);
  if (status != IM_OK) return status;
  if (im_steps_are_fixed(net))
    update_all_fixed(work, lr_shift);
  else
    for (int l = 1; l <= net->depth; l++) update(work, l, rate);
  for (int l = 1; work->observed && l <= net->depth; l++)
    im_online_observe_weights(work, l, work->looks_at_all);
  if (right) *right = im_count_right(work, 1);
  if (loss) *loss = loss_before;
  return IM_OK;
}
