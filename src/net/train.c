/* The order of a step, and what the C API offers: forward, gradient, train. */
#include <stdlib.h>

#include "net.h"

/* Memory ------------------------------------------------------------------------------------ */

enum { PIECE = 128 };
/* The address sanitizer knows the bounds of what was allocated, which is one block of pieces: it is
 * told what no piece has. Each then ends in such a gap. */
#ifdef IM_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
enum { GAP = PIECE };
#define FORBID(from, to) ASAN_POISON_MEMORY_REGION(from, (size_t)((to) - (from)))
#else
enum { GAP = 0 };
#define FORBID(from, to) (void)0
#endif

/* What no memory can hold is measured as more than there is. */
void* im_own(im_work* work, uint64_t count, size_t size) {
  const size_t most = PTRDIFF_MAX / PIECE * PIECE;
  size_t start = work->used;
  bool fits = start <= most - GAP && count <= (most - GAP - start) / size;
  work->used = fits ? start + ((size_t)count * size + GAP + PIECE - 1) / PIECE * PIECE : most;
  if (!work->memory) return NULL;
  FORBID(work->memory + start + count * size, work->memory + work->used);
  return work->memory + start;
}

static void release(im_work* work) {
  free(work->block);
  im_scratch_free(&work->scratch);
}

typedef enum { FORWARD, TRAINING, ONLINE } im_purpose;

/* Hand out the memory of batches of up to `capacity` rows. */
static void lay_out(im_work* work, im_purpose purpose) {
  const im_net* net = work->net;
  uint64_t rows = (uint64_t)work->capacity;
  bool raw = im_needs_raw(net), real = im_needs_float(net);
  work->used = 0;
  work->layers = im_own(work, (size_t)net->depth + 1, sizeof(im_tensors));
  work->rows = im_own(work, rows, sizeof(int64_t));
  if (purpose == ONLINE) im_online_lay_out(work);
  if (work->observed) {
    size_t units = 0;
    for (int l = 0; l < net->depth; l++) units += (size_t)net->layers[l].n_out;
    work->counts_before = im_own(work, (size_t)net->depth * IM_TENSORS, sizeof(im_count));
    work->active = im_own(work, units, sizeof(int64_t));
  }
  for (int l = 0; l <= net->depth; l++) {
    const im_layer* layer = l ? &net->layers[l - 1] : NULL;
    im_tensors unused, *here = work->memory ? &work->layers[l] : &unused;
    uint64_t count = im_room(rows, (uint64_t)(l ? layer->n_out : net->layers[0].n_in));
    size_t a_size = im_elem_size(im_elem_of(im_activation_format(net, l)));
    if (purpose == ONLINE) count = im_whole_lines(count);
    if (raw) here->A = im_own(work, count + 1, a_size); /* one more for online.c's biases */
    if (real) here->Af = im_own(work, count, sizeof(double));
    if (!l) continue;

    uint64_t weights = (uint64_t)(layer->n_out * layer->n_in);
    uint64_t biases = (uint64_t)layer->n_out;
    bool has_bias = layer->b || layer->master_b;
    if (raw) here->Z = im_own(work, count, a_size);
    if (real) here->Zf = im_own(work, count, sizeof(double));
    if (net->forward_float && net->update_float) {
      here->Wf = layer->master_W;
      here->bf = layer->master_b;
    } else if (real) {
      here->Wf = im_own(work, weights, sizeof(double));
      if (has_bias) here->bf = im_own(work, biases, sizeof(double));
    }
    if (purpose == FORWARD) continue;

    size_t d_size = im_elem_size(im_elem_of(layer->delta));
    size_t g_size = im_elem_size(im_elem_of(layer->gradient));
    if (!net->backward_float) {
      here->D = im_own(work, count, d_size);
      if (work->observed && l < net->depth && im_delta_may_overflow(layer))
        here->E = im_own(work, count, d_size);
    }
    if (real) {
      here->Ef = im_own(work, count, sizeof(double));
      here->Df = im_own(work, count, sizeof(double));
    }
    if (net->backward_float || net->update_float) {
      here->gW = im_own(work, weights, sizeof(double));
      if (has_bias) here->gb = im_own(work, biases, sizeof(double));
      if (layer->velocity_W) here->vW = im_own(work, weights, sizeof(double));
      if (layer->velocity_b) here->vb = im_own(work, biases, sizeof(double));
    }
    if (!net->backward_float && net->two_step) {
      here->gW_raw = im_own(work, weights, g_size);
      if (has_bias) here->gb_raw = im_own(work, biases, g_size);
    }
    if (im_steps_are_fixed(net) && work->observed) {
      size_t v_size = im_elem_size(im_elem_of(layer->velocity));
      if (layer->velocity_W) here->vW_raw = im_own(work, weights, v_size);
      if (layer->velocity_b) here->vb_raw = im_own(work, biases, v_size);
    }
    if (l == net->depth) {
      if (raw) work->Y = im_own(work, count, a_size);
      if (real) work->Yf = im_own(work, count, sizeof(double));
    }
  }
}

/* Everything that batches of up to `capacity` rows need is reserved here, as one piece, so that a
 * step cannot run out of memory half-way. It starts as zeros. */
static im_status reserve(im_work* work, const im_isa* isa, const im_net* net, int64_t capacity,
                         im_purpose purpose, const im_observed* observed) {
  *work = (im_work){.isa = isa, .net = net, .capacity = capacity, .observed = observed};
  work->step = net->stream.step;
  work->scratch.threads = im_threads();
  lay_out(work, purpose);
  work->block = calloc(work->used + PIECE - 1, 1);
  if (!work->block) return IM_NO_MEMORY;
  work->memory = (char*)work->block + (0 - (uintptr_t)work->block) % PIECE;
  lay_out(work, purpose);

  uint64_t scratch = 0; /* for the largest of a step's products */
  for (int l = 0; l < net->depth; l++) {
    int64_t n_in = net->layers[l].n_in, n_out = net->layers[l].n_out;
    const int64_t products[][3] = {
        {capacity, n_out, n_in}, {capacity, n_in, n_out}, {n_out, n_in, capacity}};
    for (int i = 0; i < 3; i++) {
      uint64_t size =
          im_gemm_scratch(products[i][0], products[i][1], products[i][2], work->scratch.threads);
      if (size > scratch) scratch = size;
    }
  }
  return im_scratch_reserve(&work->scratch, scratch) ? IM_OK : IM_NO_MEMORY;
}

/* The parts of a step ------------------------------------------------------------------------ */

static void read_inputs(im_work* work, im_source x, int64_t n) {
  const im_net* net = work->net;
  im_tensors* inputs = &work->layers[0];
  im_read_source(work->isa, x, work->rows, n, net->layers[0].n_in, net->input,
                 im_stream_of(work, 0, IM_ROLE_SOURCE), inputs->A,
                 net->forward_float ? inputs->Af : NULL);
}

static void read_targets(im_work* work, im_source y, int64_t n) {
  const im_net* net = work->net;
  im_read_source(work->isa, y, work->rows, n, net->layers[net->depth - 1].n_out,
                 im_activation_format(net, net->depth),
                 im_stream_of(work, net->depth, IM_ROLE_SOURCE), work->Y, work->Yf);
}

/* A layer that is not finite does not stop this: the caller decides what it means. */
static im_status forward_pass(im_work* work, int64_t n) {
  im_status worst = IM_OK;
  for (int l = 1; l <= work->net->depth; l++) {
    im_status status = work->net->forward_float ? im_layer_forward_float(work, l, n)
                                                : im_layer_forward(work, l, n);
    if (status != IM_OK) worst = status;
  }
  return worst;
}

void im_cross_over(im_work* work, int64_t n, int first) {
  const im_net* net = work->net;
  if (net->forward_float == net->backward_float) return;
  for (int l = first; l <= net->depth; l++) {
    im_tensors* here = &work->layers[l];
    im_format fmt = im_activation_format(net, l);
    int64_t count = n * (l ? net->layers[l - 1].n_out : net->layers[0].n_in);
    if (net->backward_float) {
      im_dequantize(work->isa, here->A, im_elem_of(fmt), count, fmt.frac, here->Af);
      if (l) im_dequantize(work->isa, here->Z, im_elem_of(fmt), count, fmt.frac, here->Zf);
    } else if (l) { /* A_0 entered its format when it was read */
      im_quantize(work->isa, here->Af, IM_SOURCE_F64, count, fmt, im_stream_of(work, l, IM_ROLE_A),
                  here->A);
      im_quantize(work->isa, here->Zf, IM_SOURCE_F64, count, fmt, im_stream_of(work, l, IM_ROLE_Z),
                  here->Z);
    }
  }
}

/* All deltas, with the weights from before the step. */
static im_status backward_pass(im_work* work, int64_t n) {
  const im_net* net = work->net;
  im_cross_over(work, n, 0);
  im_status status = IM_OK;
  if (net->backward_float)
    status = im_loss_backward_float(work, n);
  else
    im_loss_backward(work, n);
  for (int l = net->depth - 1; l >= 1 && status == IM_OK; l--)
    status =
        net->backward_float ? im_layer_backward_float(work, l, n) : im_layer_backward(work, l, n);
  return status;
}

static void consecutive_rows(im_work* work, int64_t first, int64_t n) {
  for (int64_t i = 0; i < n; i++) work->rows[i] = first + i;
}

/* The C API ------------------------------------------------------------------------------------ */

im_status im_forward(const im_isa* isa, const im_net* net, im_source x, int64_t n, void* out) {
  enum { ROWS = 256 };
  im_work work;
  im_status status = reserve(&work, isa, net, n < ROWS ? n : ROWS, FORWARD, NULL);
  if (status == IM_OK) im_refresh_float_weights(&work);
  const im_tensors* last = status == IM_OK ? &work.layers[net->depth] : NULL;
  int64_t width = net->layers[net->depth - 1].n_out;
  size_t size = net->forward_float
                    ? sizeof(double)
                    : im_elem_size(im_elem_of(im_activation_format(net, net->depth)));
  for (int64_t first = 0; first < n && status == IM_OK; first += ROWS) {
    int64_t here = n - first < ROWS ? n - first : ROWS;
    consecutive_rows(&work, first, here);
    work.first_row = first;
    read_inputs(&work, x, here);
    status = forward_pass(&work, here);
    if (status == IM_NOT_FINITE) status = IM_OK; /* it is for the caller to see */
    if (status == IM_OK)
      memcpy((char*)out + (size_t)(first * width) * size,
             net->forward_float ? (void*)last->Af : last->A, (size_t)(here * width) * size);
  }
  release(&work);
  return status;
}

im_status im_gradient(const im_isa* isa, const im_net* net, im_source x, im_source y, int64_t n,
                      int average_shift, void* const* gW, void* const* gb) {
  im_work work;
  im_status status = reserve(&work, isa, net, n, TRAINING, NULL);
  if (status == IM_OK) {
    im_refresh_float_weights(&work);
    consecutive_rows(&work, 0, n);
    read_inputs(&work, x, n);
    read_targets(&work, y, n);
    status = forward_pass(&work, n);
  }
  if (status == IM_OK) status = backward_pass(&work, n);
  for (int l = 1; l <= net->depth && status == IM_OK; l++) {
    const im_layer* layer = &net->layers[l - 1];
    if (!net->backward_float) {
      status = im_store_gradient(&work, l, n, average_shift, gW[l - 1], gb ? gb[l - 1] : NULL);
      continue;
    }
    status = im_float_gradient(&work, l, n, average_shift);
    memcpy(gW[l - 1], work.layers[l].gW, (size_t)(layer->n_out * layer->n_in) * sizeof(double));
    if (gb) memcpy(gb[l - 1], work.layers[l].gb, (size_t)layer->n_out * sizeof(double));
  }
  release(&work);
  return status;
}

int64_t im_train(const im_isa* isa, const im_net* net, im_source x, im_source y,
                 const int64_t* order, int64_t n_order, int64_t batch, int64_t first, int64_t count,
                 int lr_shift, int average_shift, int32_t* right, double* loss,
                 const im_observed* observed) {
  im_work work;
  int shift = lr_shift + average_shift;
  bool online = im_trains_online(net, batch, count, shift) &&
                !(observed && observed->stop_on_overflow && net->update_float);
  im_status status = reserve(&work, isa, net, batch < n_order ? batch : n_order,
                             online ? ONLINE : TRAINING, observed);
  work.training = true;
  for (int l = 0; l < net->depth; l++)
    if (net->layers[l].packed_W) net->layers[l].packed_W->valid = false;
  int64_t done = 0;
  if (status == IM_OK && online) {
    done = im_train_online(&work, x, y, order, first, count, shift, right, loss);
    if (done < 0) status = (im_status)done;
  }
  if (status == IM_OK && done < count) im_refresh_float_weights(&work);
  for (; done < count && status == IM_OK; done++) {
    int64_t step = first + done, start = step * batch;
    int64_t n = n_order - start < batch ? n_order - start : batch;
    work.observed = im_is_observed(observed, step) ? observed : NULL;
    memcpy(work.rows, order + start, (size_t)n * sizeof(int64_t));
    work.step = net->stream.step + (uint32_t)done;
    read_inputs(&work, x, n);
    read_targets(&work, y, n);
    status = forward_pass(&work, n);
    if (status != IM_OK) break;
    if (work.observed) im_observe_begin(&work);
    double loss_before = loss ? im_loss(&work, n) : 0;
    status = backward_pass(&work, n);
    if (status == IM_OK && work.observed) status = im_observe(&work, n, lr_shift, average_shift);
    if (status == IM_OK) status = im_update(&work, n, lr_shift, average_shift);
    if (work.observed && status != IM_OK && status != IM_OVERFLOWED) im_observe_undo(&work);
    if (status != IM_OK) break;
    if (work.observed) im_observe_done(&work);
    im_refresh_float_weights(&work);
    if (right) right[step] = im_count_right(&work, n);
    if (loss) loss[step] = loss_before;
  }
  release(&work);
  bool done_or_stopped = status == IM_OK || status == IM_NOT_FINITE || status == IM_OVERFLOWED;
  return done_or_stopped ? done : status;
}
