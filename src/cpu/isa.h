/* An instruction set: the kernels of its products, and every other hot loop compiled for it.
 *
 * The loops have one source body each, in the files that isa_tpl.h includes. cpu/scalar.c,
 * avx2.c and avx512.c compile it, each for its own target, and the compiler vectorises it. All
 * of them give the same numbers: no loop knows which target it is compiled for.
 *
 * This header holds no inline function, since those must see the target (isa_tpl.h).
 */
#ifndef IM_ISA_H
#define IM_ISA_H

#include "../gemm/types.h"

/* IM_TARGET_BEGIN("feature,...") ... IM_TARGET_END: what stands between is compiled for these
 * features of x86-64, whatever the command line says. Where a compiler cannot, or the processor
 * is another, IM_X86 is not defined, and there is nothing but the scalar set. */
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define IM_X86 1
#define IM_PRAGMA_(text) _Pragma(#text)
#ifdef __clang__
#define IM_TARGET_BEGIN(features) \
  IM_PRAGMA_(clang attribute push(__attribute__((target(features))), apply_to = function))
#define IM_TARGET_END IM_PRAGMA_(clang attribute pop)
#else
/* gcc prefers vectors of 256 bits even where it may use 512. */
#define IM_TARGET_BEGIN(features) \
  IM_PRAGMA_(GCC push_options)    \
  IM_PRAGMA_(GCC target(features ",prefer-vector-width=512"))
#define IM_TARGET_END IM_PRAGMA_(GCC pop_options)
#endif
#endif

/* A hint to fetch what will be read or written soon; any address will do. */
#ifdef __GNUC__ /* and clang */
#define IM_PREFETCH(p) __builtin_prefetch(p)
#else
#define IM_PREFETCH(p) (void)(p)
#endif

/* One name of two, for templates. */
#define IM_CAT_(a, b) a##b
#define IM_CAT(a, b) IM_CAT_(a, b)

struct im_wide;

/* Some entries of an int32 vector of n: at[i] has room for n + 16. */
typedef struct {
  int32_t* at;
  const int32_t* value; /* the vector: entry i is value[at[i]] */
  int64_t count;
  uint64_t largest; /* no magnitude of them is larger */
} im_inputs;

/* Some entries of a float64 vector of n: value[i] is entry at[i]; both have room for n + 16. */
typedef struct {
  int32_t* at;
  double* value;
  int64_t count;
  double largest; /* no magnitude of them is larger */
} im_reals;

/* Transposed weights, as float parts read them: the master or, where that is NULL, raw * unit. */
typedef struct {
  const double* master;
  const int32_t* raw;
  double unit;
  int64_t width; /* of a row, a multiple of 16 */
} im_real_weights;

/* What one sample makes of a last layer. */
typedef struct {
  int32_t right;    /* 1 or 0 */
  uint64_t largest; /* magnitude of a delta */
  int64_t squares;  /* sum (a - y)**2, or -1 where int64 might not hold it */
} im_ending;

/* A float64 matrix; strides in elements. */
typedef struct {
  const double* data;
  ptrdiff_t row_stride, col_stride;
} im_real_matrix;

/* Elements that loops work on at a time. */
enum { IM_BLOCK = 512 };

/* Functions of one target. Arrays have n elements, contiguous where no stride (in bytes) is
 * given; an output may be an input, but not overlap it otherwise. */
typedef struct {
  /* Arrays: arith/loops_tpl.h */

  /* out[i] = quantize(v[i]); v finite, of kind F32 or F64 */
  void (*quantize)(const void* v, im_source_kind kind, ptrdiff_t stride, int64_t n, im_format fmt,
                   im_stream stream, void* out);
  /* out[i] = v[i] where it is a float, else v[i] * 2**-frac, ties to even */
  void (*read_real)(const void* v, im_source_kind kind, ptrdiff_t stride, int64_t n, int frac,
                    double* out);
  /* out[i] = requantize(s[i], frac_in, fmt) */
  void (*requantize)(const void* s, im_elem elem, int64_t n, int frac_in, im_format fmt,
                     im_stream stream, void* out);
  /* out[i] = requantize(s[i] * 2**-k), and w[i] = enter(w[i] + R(-g[i] * 2**-k)), w in fmt and g
   * in of_g, where s[i] and g[i] are joined with the addend's */
  void (*requantize_joined)(const void* s, im_elem elem, int64_t n, int k, im_format fmt,
                            const im_addend* with, im_stream stream, void* out);
  void (*update)(void* w, const void* g, im_format of_g, int64_t n, int k, im_format fmt,
                 const im_addend* with, im_stream stream);
  /* w[i] = enter(w[i] + R(step[i])), step finite */
  void (*update_by_real)(void* w, const double* step, int64_t n, im_format fmt, im_stream stream);
  /* v[i] = v[i] * 2**e, rounded once */
  void (*scale)(double* v, int64_t n, int e);
  /* whether no element is NaN or infinite */
  bool (*all_finite)(const double* v, int64_t n);

  /* Networks: net/loops_tpl.h; z, a, y in the layer's activation format, e and d in its deltas' */

  /* out = f(z) */
  void (*activate)(const im_layer* layer, im_stream stream, const void* z, int64_t n, void* out);
  /* d = requantize(f' * e); x is a for sigmoid and tanh, else z */
  void (*gate)(const im_layer* layer, im_stream stream, const void* x, const void* e, int64_t n,
               void* d);
  /* d = requantize(f'(z) * (a - y)), doubled unless half_loss */
  void (*loss_gradient)(const im_layer* layer, im_stream stream, const void* z, const void* a,
                        const void* y, int64_t n, bool half_loss, void* d);
  /* sum (a - y)**2 * 2**-frac, correctly rounded */
  double (*loss)(const void* a, const void* y, im_elem elem, int64_t n, int frac);
  /* the number of the n rows whose first arg-max is the same in a and y; kind F64, I32, I64 */
  int32_t (*count_right)(const void* a, const void* y, im_source_kind kind, int64_t n,
                         int64_t width);
  /* d = requantize(t / S - y) of cross_entropy; or, where count is not NULL, that is counted; and
   * the loss: net/softmax_tpl.h */
  void (*cross_entropy_gradient)(const im_net* net, im_stream stream, const int32_t* a,
                                 const int32_t* y, int64_t n, void* d, im_count* count);
  double (*cross_entropy)(const im_net* net, const int32_t* a, const int32_t* y, int64_t n);
  /* the same in float64; room for n * width */
  void (*float_cross_entropy_gradient)(const double* a, const double* y, int64_t n, int64_t width,
                                       double* d);
  double (*float_cross_entropy)(const double* a, const double* y, int64_t n, int64_t width,
                                double* room);
  /* out = f(z), and d = f' * e, in float64; x is a for sigmoid and tanh, else z */
  void (*activate_float)(const im_layer* layer, const double* z, int64_t n, double* out);
  void (*gate_float)(const im_layer* layer, const double* x, const double* e, int64_t n, double* d);
  /* out (m, n), C order = a (m, k) @ b (k, n) + bias: float sums of products */
  void (*float_product)(im_real_matrix a, im_real_matrix b, int64_t m, int64_t n, int64_t k,
                        const double* bias, double* out);

  /* Counts of observed training: net/observe_tpl.h; `entries` is left to the caller */

  /* finite floats that are quantized into fmt */
  void (*count_reals)(const double* v, int64_t n, im_format fmt, im_stream stream, im_count* count);
  /* the largest of v or, below zero, -1 - v */
  uint64_t (*largest_magnitude)(const void* raw, im_elem elem, int64_t n);
  /* raw values that have not overflowed */
  void (*count_stored)(const void* raw, im_elem elem, int64_t n, im_count* count);
  /* raw values of fmt, which saturates; false, with nothing counted, where one is an end of it */
  bool (*count_saturated)(const void* raw, int64_t n, im_format fmt, im_count* count);
  /* what loss_gradient does */
  void (*count_loss_gradient)(const im_layer* layer, im_stream stream, const void* z, const void* a,
                              const void* y, int64_t n, bool half_loss, im_count* count);
  /* what `gate` does in a layer of sigmoid or tanh */
  void (*count_gated)(const im_layer* layer, im_stream stream, const void* a, const void* e,
                      int64_t n, im_count* count);
  /* what `requantize_joined` does, and `update`; g of type elem */
  void (*count_joined)(const void* s, im_elem elem, int64_t n, int k, im_format fmt,
                       const im_addend* with, im_stream stream, im_count* count);
  void (*count_stored_steps)(const void* w, const void* g, im_elem elem, int64_t n, int k,
                             im_format fmt, const im_addend* with, im_stream stream, im_sizes sizes,
                             im_count* count);
  /* zeros and magnitudes of float steps; and what update_by_real does with them */
  void (*count_real_sizes)(const double* step, int64_t n, int lr_shift, im_count* count);
  void (*count_real_steps)(const void* w, const double* step, int64_t n, im_format fmt,
                           im_stream stream, im_count* count);
  /* entries of z (n, n_out) of a relu layer, of kind F64, I32 or I64, whose derivative is 0; and
   * which units have another in some row */
  void (*count_units)(const im_layer* layer, const void* z, im_source_kind kind, int64_t n,
                      int64_t* active, im_count* count);

  /* the sums s of a product that are requantized, from k more fraction bits */
  void (*count_values)(const int64_t* s, int64_t n, int k, im_format fmt, im_stream stream,
                       im_count* count);

  /* The same online: net/observe_online_tpl.h; rows of w and m have `width` lanes */

  /* sums[i] = sum over j of d[j] * w[i][j], for n rows */
  void (*dot_rows)(const int32_t* d, const int32_t* w, int64_t n, int64_t width, int64_t* sums);
  /* the widest value, and the smallest and largest with 0, in the rows `at`, or, where that is
   * NULL, in the first n */
  void (*count_rows)(const int32_t* w, int64_t width, const int32_t* at, int64_t n,
                     im_count* count);
  void (*range_of_rows)(const double* m, int64_t width, const int32_t* at, int64_t n,
                        double range[2]);
  /* what update_entries does to the rows of n_in inputs, `room` for them, n_out and 16 more: how
   * steps round, by a wordless rule; and how weights overflow */
  void (*count_products)(const im_inputs* inputs, int64_t n_in, const int32_t* d, int64_t n_out,
                         int k, im_rounding rounding, int32_t* room, im_count* count);
  void (*count_moved)(const im_inputs* inputs, const int32_t* d, const int32_t* w, int64_t width,
                      int k, im_format fmt, im_count* count);
  /* what step_reals does: the steps, and, where `rounds`, how they round; and how raw weights
   * overflow; then all steps are small */
  void (*count_real_products)(const im_reals* reals, int64_t n_in, const double* d, int64_t n_out,
                              double rate, int lr_shift, bool rounds, im_format fmt,
                              im_count* count);
  void (*count_real_moved)(const im_reals* reals, const double* d, double rate, const int32_t* w,
                           int64_t width, im_format fmt, im_count* count);

  /* Products: gemm/pack_tpl.h, gemm/sink_tpl.h */

  /* panels of up to `width` lanes, the last in whole units, for k steps; the values' range */
  im_range (*pack)(im_scheme scheme, bool of_a, im_strided from, int64_t lanes, int64_t k,
                   int width, int unit, void* panels);
  /* exact sums of a rectangle of a result, in rows of `stride`, go where the sink says */
  void (*sink_i64)(const im_sink* sink, im_place place, int64_t* sums, int stride);
  void (*sink_i128)(const im_sink* sink, im_place place, uint64_t* low, int64_t* high, int stride);
  void (*sink_wide)(const im_sink* sink, im_place place, const struct im_wide* sums, int stride);
  /* sums += a[k] * b[k], saturating at `bits`, for each step in turn: gemm/order_tpl.h */
  void (*sum_in_order)(const int64_t* a, int a_lanes, const int64_t* b, int64_t k, int rows,
                       int stride, int bits, int64_t* sums);

  /* Online training: net/online_tpl.h; rows of w have `width` lanes, a multiple of 16 */

  /* the entries of v that are not zero; meanwhile `next`, as long, is fetched into the cache */
  void (*list_entries)(const int32_t* v, int64_t n, const int32_t* next, im_inputs* inputs);
  /* sums[j] = sum over the inputs of value * w[at][j] */
  void (*sum_entries)(const im_inputs* inputs, const int32_t* w, int64_t width, int64_t* sums);
  /* w[at][j] = enter(w[at][j] + R(-d[j] * value)), from k more fraction bits, k 1..62, for each
   * input; `inside` promises that no sum leaves fmt, and no d is -2**31. Where dots is not NULL,
   * first dots[i] = sum over j of d[j] * w[at][j] for input i. A wordless rule. */
  void (*update_entries)(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t width,
                         int k, im_format fmt, bool inside, int64_t* dots);
  /* The same for a stochastic rule, without dots: the weights of n_in inputs and n_out outputs,
   * whose element j * n_in + at is w[at][j]. */
  void (*update_at_random)(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t n_in,
                           int64_t n_out, int64_t width, int k, im_format fmt, im_stream stream,
                           bool inside);
  /* a = f(requantize(sums)), from k more fraction bits, k 1..63, and d = requantize(f' * (a - y)),
   * doubled unless half_loss, for one sample of a linear or relu layer whose deltas have the
   * fraction width of its outputs; formats of at most 32 bits, and where they are stochastic at
   * most IM_BLOCK lanes */
  void (*end_forward)(const im_layer* layer, im_stream stream, int k, bool half_loss,
                      const int64_t* sums, int64_t width, const int32_t* y, int32_t* a, int32_t* d,
                      im_ending* ending);

  /* Its float parts: net/online_float_tpl.h */

  /* the entries of v that are not zero; meanwhile `next`, as long, is fetched into the cache */
  void (*list_reals)(const double* v, int64_t n, const double* next, im_reals* reals);
  /* z[j] = float sum of products over the inputs of value * w[at][j]; then + w[bias][j], unless
   * bias < 0 */
  void (*sum_reals)(const im_reals* reals, im_real_weights w, int64_t bias, double* z);
  /* e[i] = float sum of products over j of d[j] * w[i][j], for n rows of w */
  void (*send_reals)(const double* d, im_real_weights w, int64_t n, double* e);
  /* For each input, with the step s[j] = -(d[j] * value) * rate: master[at][j] += s[j], and
   * raw[at][j] = quantize(master[at][j]) unless raw is NULL; or, where master is NULL,
   * raw[at][j] = enter(raw[at][j] + R(s[j])). im_round_small serves all that is rounded. */
  void (*step_reals)(const im_reals* reals, const double* d, double rate, double* master,
                     int32_t* raw, int64_t width, im_format fmt);
} im_loops;

extern const im_loops im_loops_scalar, im_loops_avx2, im_loops_avx512;

struct im_kernel;

struct im_isa {
  const char* name;
  bool (*supported)(void);                /* by processor and operating system */
  const struct im_kernel* const* kernels; /* NULL ends them; the last serves every operand */
  const im_loops* loops;
};

extern const im_isa im_isa_scalar, im_isa_avx2, im_isa_avx512, im_isa_neon;

#endif
