/* The C API of intmlp: exact fixed-point arithmetic and the networks on it.
 *
 * Every function computes what docs/numerics.md states. Callers have checked shapes, formats
 * and ranges; the functions here do not check them again. None needs the Python interpreter.
 */
#ifndef INTMLP_H
#define INTMLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Formats ------------------------------------------------------------------------------ */

/* The order of these names is that of ROUNDINGS and OVERFLOWS in intmlp/qformat.py. */
typedef enum {
  IM_FLOOR,
  IM_TOWARD_ZERO,
  IM_HALF_UP,
  IM_HALF_AWAY,
  IM_HALF_EVEN,
  IM_STOCHASTIC
} im_rounding;
typedef enum { IM_SATURATE, IM_WRAP } im_overflow;

/* raw * 2**-frac with raw in -2**(bits-1) .. 2**(bits-1) - 1; bits 2..64, frac 0..63. */
typedef struct {
  int bits;
  int frac;
  im_rounding rounding;
  im_overflow overflow;
  int random_bits; /* of a stochastic format: 1..32 */
} im_format;

/* What sums of products are added up in: a register of `bits` 2..64 at the products' fraction
 * width, in which every addition wraps or saturates, in the order of the products; bits 0: exact
 * sums. */
typedef struct {
  int bits;
  im_overflow overflow;
} im_accumulator;

/* Where the random words of stochastic rounding come from (docs/numerics.md, section 6): those of
 * the elements of a tensor from `first` on. Other formats read none. */
typedef struct {
  uint64_t seed;
  uint32_t step, tensor;
  int64_t first;
} im_stream;

/* Raw arrays are int32 where bits <= 32, else int64. */
typedef enum { IM_I32, IM_I64 } im_elem;

static inline im_elem im_elem_of(im_format fmt) { return fmt.bits <= 32 ? IM_I32 : IM_I64; }
static inline size_t im_elem_size(im_elem elem) { return elem == IM_I32 ? 4 : 8; }

/* Elements of an array: real values, or raw integers. */
typedef enum { IM_SOURCE_F32, IM_SOURCE_F64, IM_SOURCE_I32, IM_SOURCE_I64 } im_source_kind;

/* Outcome of a call that can fail. */
typedef enum {
  IM_OK = 0,
  IM_NO_MEMORY = -1,
  IM_NOT_EXACT = -2,  /* the forced kernel cannot be proved exact for these operands */
  IM_NOT_FINITE = -3, /* a float that must be stored or quantized is NaN or infinite */
  IM_OVERFLOWED = -4  /* within im_train: the next step overflows, and is not to be done */
} im_status;

/* Instruction sets --------------------------------------------------------------------------- */

typedef struct im_isa im_isa;

/* Those that this build and this processor have, best first; NULL ends the list. The first call
 * must be over before threads make others. */
const im_isa* const* im_isas(void);
const char* im_isa_name(const im_isa* isa);
/* The kernels' names, NULL past the last, and whether this processor has what each needs. */
const char* im_isa_kernel(const im_isa* isa, int index);
bool im_isa_kernel_usable(const im_isa* isa, int index);

/* Threads ------------------------------------------------------------------------------------- */

/* How many threads a call may use: a number of the process, 1..1024, and for calls from the
 * calling thread a limit below it, 0 for none. Results do not depend on it. */
void im_set_threads(int n);
void im_limit_threads(int n);
int im_threads(void);

/* Arrays of any length, contiguous --------------------------------------------------------- */

/* out[i] = quantize(v[i]); v finite, float32 or float64; out of fmt's element type. */
void im_quantize(const im_isa* isa, const void* v, im_source_kind kind, int64_t n, im_format fmt,
                 im_stream stream, void* out);

/* out[i] = raw[i] * 2**-frac, ties to even where float64 does not hold it. */
void im_dequantize(const im_isa* isa, const void* raw, im_elem elem, int64_t n, int frac,
                   double* out);

/* out[i] = requantize(s[i], frac_in, fmt); frac_in -4096..4096. */
void im_requantize(const im_isa* isa, const void* s, im_elem elem, int64_t n, int frac_in,
                   im_format fmt, im_stream stream, void* out);

/* Matrix product --------------------------------------------------------------------------- */

/* A view of raw integers with any strides, in bytes; each lies where its type may. */
typedef struct {
  const void* data;
  ptrdiff_t row_stride, col_stride;
  im_elem elem;
  int bits; /* every element lies in -2**(bits-1) .. 2**(bits-1) - 1 */
} im_matrix;

/* Memory that successive products reuse, and the threads that they may use; starts as
 * {.threads = ...}, ends with im_scratch_free. Or it is taken from, and given back to, what an
 * earlier product left: pages that the system has handed out need no clearing again. Products
 * that run side by side have their own. */
typedef struct {
  void* data;
  size_t size;
  int threads; /* at least 1 */
} im_scratch;

void im_scratch_free(im_scratch* scratch);
im_scratch im_scratch_take(void);
void im_scratch_give_back(im_scratch scratch);

/* A right operand, packed, kept while it does not change; starts as {0}, ends with
 * im_packed_free. Whoever changes the operand sets `valid` to false. */
typedef struct {
  bool valid;
  const im_isa* isa;
  const struct im_kernel* kernel; /* of it, that the panels are for */
  int64_t low, high;              /* its range */
  void* panels;
  size_t size;
} im_packed;

void im_packed_free(im_packed* packed);

/* out (m, n), C order = requantize(a (m, k) @ b (k, n) + bias * 2**bias_shift, frac_in, fmt).
 * bias: n elements of bias_elem, or NULL; bias_shift 0..126; frac_in -4096..4096. The sums begin
 * with the bias. kernel: an index into the instruction set's kernels, or -1 for the cheapest exact
 * one. */
im_status im_matmul(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                    const void* bias, im_elem bias_elem, int bias_shift, im_accumulator accumulator,
                    int frac_in, im_format fmt, im_stream stream, void* out, int kernel,
                    im_scratch* scratch);

/* How such a product is served, and the proof that it is exact. */
typedef struct {
  const char *kernel, *accumulator;
  int64_t a_low, a_high, b_low, b_high; /* the values of a and b lie in these, with 0 */
  int64_t block; /* steps of a sum after which the accumulators are moved on */
} im_explanation;

im_status im_explain_matmul(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n,
                            int64_t k, const void* bias, im_elem bias_elem, int bias_shift,
                            im_accumulator accumulator, im_explanation* explanation);

/* Networks ----------------------------------------------------------------------------------- */

typedef enum {
  IM_LINEAR,
  IM_RELU,
  IM_LEAKY_RELU,
  IM_HARD_TANH,
  IM_HARD_SIGMOID,
  IM_SIGMOID,
  IM_TANH
} im_activation;
typedef enum { IM_SSE, IM_HALF_SSE, IM_CROSS_ENTROPY } im_loss_kind;

/* The fields are those of Layer in intmlp/nn/network.py; arrays are contiguous, C order. */
typedef struct {
  int64_t n_in, n_out;
  im_format activation, weight, delta, gradient, velocity;
  im_activation function;
  bool half_at_zero;             /* relu: derivative 1/2 at zero, else 0 */
  int slope_shift;               /* leaky_relu: 1..63 */
  const int16_t* table;          /* sigmoid, tanh, fixed: A of each Z, the lowest first */
  void *W, *b;                   /* raw (n_out, n_in), (n_out); NULL where absent */
  double *master_W, *master_b;   /* the same in float64; NULL where absent */
  void *velocity_W, *velocity_b; /* raw, or float64 where the update is float; NULL where absent */
  im_packed* packed_W;           /* of forward passes and gradients: training does not keep any */
} im_layer;

/* The fields are those of Network in intmlp/nn/network.py. */
typedef struct {
  im_format input;
  im_layer* layers;
  int depth;
  im_loss_kind loss;
  const int32_t* exps; /* cross_entropy: t of a distance from the largest output; 0 from */
  int64_t exps_size;   /* exps_size on; NULL where no pass is fixed */
  bool two_step;
  bool forward_float, backward_float, update_float;
  im_accumulator accumulator; /* of all sums of fixed parts */
  int momentum_shift;         /* 1..31, 0 for none */
  int decay_shift;            /* 0..63, -1 for none */
  im_stream stream;           /* seed and step of a call; training counts its steps from there */
} im_net;

/* Rows of inputs or targets. */
typedef struct {
  const void* data;
  ptrdiff_t row_stride, col_stride; /* bytes */
  im_source_kind kind;              /* raw integers are of the format that they enter */
} im_source;

/* Whether every entry of rows x columns is a finite float, or a raw integer that lies in fmt. */
bool im_source_is_valid(im_source x, int64_t rows, int64_t columns, im_format fmt);

/* out (n, n_out): raw where the forward pass is fixed, else float64. */
im_status im_forward(const im_isa* isa, const im_net* net, im_source x, int64_t n, void* out);

/* gW[l] (n_out, n_in) and gb[l] (n_out): raw in the gradient format where the backward pass is
 * fixed, else float64. average_shift is m of the nominal batch size 2**m, or 0. */
im_status im_gradient(const im_isa* isa, const im_net* net, im_source x, im_source y, int64_t n,
                      int average_shift, void* const* gW, void* const* gb);

/* Whether im_train does such a call the online way (net/online.c); shift is the sum of lr_shift
 * and average_shift. The numbers are the same either way. */
bool im_trains_online(const im_net* net, int64_t batch, int64_t count, int shift);

/* What training counts, docs/numerics.md, section 9: the words of a row of intmlp/_counts.py; sums
 * of three words, the lowest first. */
typedef struct {
  uint64_t entries, exact_zeros, lost_steps, artefact_steps, overflows, widest_bits, inactive;
  uint64_t step_sum[3], error_sum[3];
} im_count;

typedef enum { IM_Z, IM_E, IM_D, IM_VW, IM_VB, IM_W, IM_B, IM_TENSORS } im_tensor;

/* Where steps that are done are added: those whose number in the training, which had done `before`
 * steps at step 0 of this order, is a multiple of `every`. */
typedef struct {
  im_count* counts; /* one for each tensor of each layer */
  int64_t* idle;    /* for each unit of each layer: of relu ones, the last steps without activity */
  int64_t every, before;
  bool stop_on_overflow; /* a step in which a value overflows is counted, but not done */
  bool only_overflows;   /* of the counts, no more than entries and overflows is asked for */
} im_observed;

/* Steps first .. first + count - 1, step s on rows order[s * batch ..] of at most batch rows;
 * order has n_order entries. right[s], loss[s] are written for each step done, where not NULL.
 * Returns the number of steps done, fewer than count where the next one diverges, or overflows
 * where that is to stop it (which then has changed nothing), or a negative im_status. lr_shift
 * -4096..4096. observed: NULL for none. */
int64_t im_train(const im_isa* isa, const im_net* net, im_source x, im_source y,
                 const int64_t* order, int64_t n_order, int64_t batch, int64_t first, int64_t count,
                 int lr_shift, int average_shift, int32_t* right, double* loss,
                 const im_observed* observed);

#endif
