/* A network at work: what its pieces hand each other.
 *
 *   loops_tpl.h  every loop over elements, and the float sum of products (isa->loops)
 *   softmax_tpl.h  those of cross_entropy
 *   source.c  rows of inputs and targets, as raw integers and as float64
 *   layer.c   each layer's forward pass beside its backward pass, fixed and float
 *   loss.c    the loss, its gradient, and whether a sample is right
 *   update.c  gradients stored, and weights updated
 *   observe.c what rounding and overflow do, counted; observe_online.c in online training
 *   online.c  steps of one sample, weights transposed; online_float.c where a part is float
 *   train.c   the order of a step; forward, gradient and train of the C API
 */
#ifndef IM_NET_H
#define IM_NET_H

#include "../gemm/gemm.h"

/* The tensors of layer l for one batch of n rows, l = 0 the inputs; NULL where no part needs
 * one. Raw ones are in their format's element type, the others are their float64 twins. */
typedef struct {
  void *Z, *A, *D; /* D takes the place of E */
  void* E;         /* where observing needs it after all, else NULL */
  double *Zf, *Af, *Ef, *Df;
  double *Wf, *bf;       /* the weights that the float parts read; may be the master itself */
  double *gW, *gb;       /* float gradients, then steps, then new masters */
  double *vW, *vb;       /* new velocities of a float step, not yet quantized */
  void *gW_raw, *gb_raw; /* stored gradients of a two-step update */
  void *vW_raw, *vb_raw; /* observed: the new velocities of a fixed step */
} im_tensors;

/* What is rounded of a layer, as random words count it: docs/numerics.md, section 6. */
typedef enum {
  IM_ROLE_Z,
  IM_ROLE_A,
  IM_ROLE_E,
  IM_ROLE_D,
  IM_ROLE_GW,
  IM_ROLE_GB,
  IM_ROLE_STEP_W,
  IM_ROLE_STEP_B,
  IM_ROLE_SOURCE, /* inputs of layer 0, targets of the last one */
  IM_ROLE_REAL_W, /* real values that become weights, or biases */
  IM_ROLE_REAL_B,
  IM_ROLE_VELOCITY_W,
  IM_ROLE_VELOCITY_B
} im_role;

typedef struct im_online im_online; /* online.c */

typedef struct {
  const im_isa* isa;
  const im_net* net;
  int64_t capacity;   /* most rows of a batch */
  bool training;      /* the weights change from step to step */
  im_tensors* layers; /* depth + 1 */
  im_online* online;  /* depth + 1, or NULL */
  bool looks_at_all;  /* online, observed: the weights have changed since they were last counted */
  uint32_t step;      /* updates of the network before this one */
  int64_t first_row;  /* of the batch, in an array that a forward pass takes block by block */
  void* Y;            /* targets, raw and float64 */
  double* Yf;
  int64_t* rows;               /* the rows of the sources that make up the batch */
  const im_observed* observed; /* where the step under way is counted, or NULL */
  im_count* counts_before;     /* the step under way */
  int64_t* active;             /* in it, 0 or 1: each unit of each layer */
  im_scratch scratch;
  void* block;  /* what is to be freed */
  char* memory; /* of all the above, from the block's first line on; and how much is handed out */
  size_t used;
} im_work;

/* The next part of the work's memory, zeroed, in whole pieces of 128 bytes: tensors of int32 and of
 * float64 have room for whole rows of 16 lanes. While the memory is measured, NULL. */
void* im_own(im_work* work, uint64_t count, size_t size);

/* Which tensors a network's parts need. */
static inline bool im_needs_raw(const im_net* net) {
  return !net->forward_float || !net->backward_float;
}
static inline bool im_needs_float(const im_net* net) {
  return net->forward_float || net->backward_float;
}
static inline bool im_has_float_part(const im_net* net) {
  return im_needs_float(net) || net->update_float;
}
/* Whether weights change by integers: from a fixed backward pass by a fixed update. */
static inline bool im_steps_are_fixed(const im_net* net) {
  return !net->backward_float && !net->update_float;
}
/* What the derivative of a layer is computed from, A or Z. */
static inline bool im_derives_from_a(const im_layer* layer) {
  return layer->function == IM_SIGMOID || layer->function == IM_TANH;
}
/* Whether f' can exceed 1 in magnitude: where a sigmoid wraps to -1, it is -2. */
static inline bool im_delta_may_overflow(const im_layer* layer) {
  return layer->function == IM_SIGMOID && layer->activation.overflow == IM_WRAP;
}
/* Whether steps are more than gradients times the learning rate. */
static inline bool im_has_optimiser(const im_net* net) {
  return net->momentum_shift > 0 || net->decay_shift >= 0;
}
static inline bool im_has_bias(const im_layer* layer) { return layer->b || layer->master_b; }
static inline im_format im_activation_format(const im_net* net, int l) {
  return l == 0 ? net->input : net->layers[l - 1].activation;
}

/* The random words of a tensor of layer l = 0 .. depth in the batch under way. */
static inline im_stream im_stream_of(const im_work* work, int l, im_role role) {
  const im_layer* layers = work->net->layers;
  int64_t columns = l == 0 ? layers[0].n_in : layers[l - 1].n_out;
  return (im_stream){work->net->stream.seed, work->step, 16 * (uint32_t)l + (uint32_t)role,
                     work->first_row * columns};
}
/* Those of real values that become its weights or biases, at the end of the step under way. */
static inline im_stream im_stream_of_real(const im_work* work, int l, im_role role) {
  im_stream stream = im_stream_of(work, l, role);
  stream.step++;
  return stream;
}

/* A contiguous raw tensor (rows, columns) of fmt as an operand, and its transpose. */
static inline im_matrix im_operand(const void* data, im_format fmt, int64_t columns) {
  ptrdiff_t size = (ptrdiff_t)im_elem_size(im_elem_of(fmt));
  return (im_matrix){data, columns * size, size, im_elem_of(fmt), fmt.bits};
}
static inline im_matrix im_transposed(im_matrix x) {
  return (im_matrix){x.data, x.col_stride, x.row_stride, x.elem, x.bits};
}

/* source.c: rows[0 .. n) of the source, into raw (unless NULL) and float64 (unless NULL). */
void im_read_source(const im_isa* isa, im_source source, const int64_t* rows, int64_t n,
                    int64_t columns, im_format fmt, im_stream stream, void* raw, double* real);

/* layer.c: one layer l = 1 .. depth for n rows. The backward pass leaves D of layer l, from its
 * E (layer l < depth; from D of layer l + 1) or from the loss (loss.c). */
im_status im_layer_forward(im_work* work, int l, int64_t n);
im_status im_layer_backward(im_work* work, int l, int64_t n);
/* E alone, where there is memory for it. */
im_status im_layer_error(im_work* work, int l, int64_t n);
im_status im_layer_forward_float(im_work* work, int l, int64_t n);
im_status im_layer_backward_float(im_work* work, int l, int64_t n);

/* train.c: Z and A of layers first .. depth for a backward pass of the other kind. */
void im_cross_over(im_work* work, int64_t n, int first);

/* loss.c: what is reported, from the forward pass; D of the last layer, for the backward one. */
double im_loss(const im_work* work, int64_t n);
int32_t im_count_right(const im_work* work, int64_t n);
void im_loss_backward(im_work* work, int64_t n);
im_status im_loss_backward_float(im_work* work, int64_t n);

/* The weights of a layer, or its biases, as an update sees them; what there is not is NULL. */
typedef struct {
  bool is_bias;
  int64_t count;
  void *raw, *velocity;
  double* master;
  double *g, *v;       /* of im_tensors */
  void *g_raw, *v_raw; /* likewise */
  int frac;            /* of the sums of its gradient, which are not averaged */
} im_parameter;

/* update.c: the exact sums D.T @ A, or sum D, of layer l go where `sink` says, with `shift` more
 * fraction bits. */
im_parameter im_parameter_of(const im_work* work, int l, bool is_bias);
im_status im_gradient_sums(im_work* work, int l, int64_t n, const im_parameter* of, im_sink sink,
                           int shift);
im_status im_store_gradient(im_work* work, int l, int64_t n, int average_shift, void* gW, void* gb);
im_status im_float_gradient(im_work* work, int l, int64_t n, int average_shift);
/* What joins a gradient at the fraction width `frac` to make a velocity, and what joins that, or
 * the gradient, to make a step before the learning rate. */
im_addend im_momentum(const im_work* work, int l, const im_parameter* of, int frac);
im_addend im_decay(const im_work* work, int l, const im_parameter* of, int frac);
/* The float gradient becomes what the learning rate scales, and the new velocity; whether that is
 * finite. */
bool im_optimise(im_work* work, int l, const im_parameter* of);
im_status im_update(im_work* work, int64_t n, int lr_shift, int average_shift);
/* The weights that float parts read, from the raw ones. */
void im_refresh_float_weights(im_work* work);

/* observe.c: a step is counted between its backward pass and its update, which IM_OVERFLOWED
 * forbids; begin is before both, and then undo, where the step is not done, or done. */
void im_observe_begin(im_work* work);
im_status im_observe(im_work* work, int64_t n, int lr_shift, int average_shift);
void im_observe_undo(const im_work* work);
void im_observe_done(const im_work* work);
im_status im_observe_overflows(const im_work* work);

/* Whether step number `step` of this order is counted. */
static inline bool im_is_observed(const im_observed* observed, int64_t step) {
  return observed && (observed->before + step) % observed->every == 0;
}

static inline im_count* im_count_of(const im_work* work, int l, im_tensor tensor) {
  return &work->observed->counts[(l - 1) * IM_TENSORS + (int)tensor];
}

/* int32 of a cache line. Online, rows of weights and tensors are a multiple of it: loops read and
 * write whole vectors. */
enum { IM_LINE = 16 };
static inline uint64_t im_whole_lines(uint64_t count) {
  return (count + IM_LINE - 1) / IM_LINE * IM_LINE;
}

/* online.c: memory, and steps on the rows of `order`, where im_trains_online. Returns how many are
 * done, fewer than `count` where the general path must do the next one, or a negative status. */
void im_online_lay_out(im_work* work);
int64_t im_train_online(im_work* work, im_source x, im_source y, const int64_t* order,
                        int64_t first, int64_t count, int shift, int32_t* right, double* loss);

#endif
