/* What the pieces of a product hand each other; without functions, for cpu/isa.h. */
#ifndef IM_GEMM_TYPES_H
#define IM_GEMM_TYPES_H

#include "../intmlp.h"

/* How operands are cut into words, and which accumulators sum their products exactly: the proofs
 * stand in select.c. */
typedef enum {
  IM_SCHEME_I8,            /* four int8 in a word, a's offset to unsigned; int32 */
  IM_SCHEME_I16,           /* two int16 in a word; int32 for as long as the range allows */
  IM_SCHEME_I16SPLIT,      /* the same modulo 2**32, and a sum of high halves */
  IM_SCHEME_I16ANY,        /* the same modulo 2**32, repaired by a sum of high bytes */
  IM_SCHEME_I24,           /* two limbs of 12 bits, three products (Karatsuba); int32 */
  IM_SCHEME_I24X16,        /* two limbs of 12 bits by int16, two products; int32 */
  IM_SCHEME_I16X24,        /* int16 by two limbs of 12 bits */
  IM_SCHEME_F64,           /* float64 that hold integers */
  IM_SCHEME_I32,           /* an int32 in a word of 64 bits; int64 */
  IM_SCHEME_I32ANY,        /* the same modulo 2**64, repaired by a sum of top bits; 128 bits */
  IM_SCHEME_I64,           /* int64 products and sums */
  IM_SCHEME_I128,          /* int64 operands, 128-bit sums */
  IM_SCHEME_WIDE,          /* int64 operands, sums of three limbs */
  IM_SCHEME_IN_ORDER,      /* int64 sums that saturate at every step: order.c */
  IM_SCHEME_IN_ORDER_WIDE, /* the same with products of 128 bits */
} im_scheme;

/* Every value lies in low .. high, which hold 0. */
typedef struct {
  int64_t low, high;
} im_range;

/* Strided raw integers: element (lane, step) of an operand. */
typedef struct {
  const char* data;
  ptrdiff_t lane_stride, step_stride; /* bytes */
  im_elem elem;
} im_strided;

/* What an exact sum s is joined with, element by element, before it is rounded:
 *
 *   s * 2**lift + kept * (2**up - 2**less)
 *
 * A velocity V of fV joins the gradient as V * (1 - 2**-momentum_shift), read at the finer fraction
 * width of both, and a weight of fW as W * 2**-decay_shift. Each is below 2**63, and `up` at most
 * 126 (of a product) + 31 (of an average) - 0; `lift` is at most 63 + 63 - 0. */
typedef struct {
  const void* kept; /* as `out` of a sink; NULL for none: then lift is 0 */
  im_elem elem;
  int bits;           /* every element lies in -2**(bits-1) .. 2**(bits-1) - 1 */
  int lift, up, less; /* less is below up, and -1 where nothing is taken off */
} im_addend;

typedef enum {
  IM_REQUANTIZE,
  IM_UPDATE,
  IM_TO_FLOAT,
  IM_COUNT_VALUES,
  IM_COUNT_STEPS,
  IM_DISCARD
} im_sink_kind;

/* How the magnitude of a step is counted: of an exact sum s as |s|; of an optimiser's step, s at
 * the fraction width `frac`, in units of 2**-40. */
typedef struct {
  bool optimised;
  int frac;
} im_sizes;

/* What becomes of the sum s in row i, column j of an (m, n) result, once it is in the accumulator:
 *   IM_REQUANTIZE  out = requantize(s + bias[j] * 2**bias_shift, frac_in, fmt)
 *   IM_UPDATE      out = enter(out + R(-s)), from frac_in, by fmt's rules
 *   IM_TO_FLOAT    out = s * 2**-frac_in, correctly rounded (out holds float64)
 *   IM_COUNT_VALUES  what IM_REQUANTIZE does is counted, and out is left alone
 *   IM_COUNT_STEPS   what IM_UPDATE does is counted, and out is only read
 *   IM_DISCARD     nothing
 * Where an addend is kept, all but the last read s joined with it, from frac_in; its sums have no
 * bias. out is in C order. `finish` then sees elements at .. at + count of out, while they are hot.
 */
typedef struct {
  im_sink_kind kind;
  im_format fmt;
  im_stream stream; /* of out, in C order */
  int frac_in;
  const void* bias; /* NULL for none */
  im_elem bias_elem;
  int bias_shift;
  void* out;
  void (*finish)(const void* context, int64_t at, int64_t count); /* NULL for none */
  const void* context;
  im_count* count; /* by one thread at a time */
  im_accumulator accumulator;
  im_addend addend;
  im_sizes sizes; /* of IM_COUNT_STEPS */
} im_sink;

/* A rectangle of a result of n columns. */
typedef struct {
  int64_t n, row, column;
  int rows, columns;
} im_place;

#endif
