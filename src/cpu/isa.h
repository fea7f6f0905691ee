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

struct im_wide;

/* Functions of one target: contiguous arrays, n elements; fmt's rules decide. */
typedef struct {
  /* out[i] = quantize(v[i]); v finite */
  void (*quantize)(const double* v, int64_t n, im_format fmt, void* out);
  /* out[i] = raw[i] * 2**-frac, ties to even */
  void (*dequantize)(const void* raw, im_elem elem, int64_t n, int frac, double* out);
  /* out[i] = requantize(s[i], frac_in, fmt) */
  void (*requantize)(const void* s, im_elem elem, int64_t n, int frac_in, im_format fmt, void* out);

  /* Products: gemm/pack_tpl.h, gemm/sink_tpl.h */

  /* panels of up to `width` lanes, the last in whole units, for k steps; the values' range */
  im_range (*pack)(im_scheme scheme, bool of_a, im_strided from, int64_t lanes, int64_t k,
                   int width, int unit, void* panels);
  /* exact sums of a rectangle of a result, in rows of `stride`, go where the sink says */
  void (*sink_i64)(const im_sink* sink, im_place place, int64_t* sums, int stride);
  void (*sink_i128)(const im_sink* sink, im_place place, uint64_t* low, int64_t* high, int stride);
  void (*sink_wide)(const im_sink* sink, im_place place, const struct im_wide* sums, int stride);
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
