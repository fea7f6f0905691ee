/* What becomes of exact sums: a body for isa_tpl.h. The rules are those of round.h throughout.
 *
 * Each function takes a rectangle of a result, and its sums in rows of `stride`. They first enter
 * the accumulator, if there is one. What wraps may do so here, all at once. What saturates has done
 * so in order (order.c), or is proved not to (select.c), or is a single product (vector.c).
 */
#include "gemm.h"

/* One value at a time: the general path ------------------------------------------------------- */

static im_wide wide_bias(const im_sink* sink, int64_t column) {
  return im_wide_shl(im_wide_of(im_load(sink->bias, sink->bias_elem, column)), sink->bias_shift);
}

/* Of what an exact sum became when it was joined with what is kept. */
static void sink_joined(const im_sink* sink, int64_t at, im_long sum, uint32_t word) {
  im_elem elem = im_elem_of(sink->fmt);
  int k = sink->frac_in - sink->fmt.frac;
  switch (sink->kind) {
    case IM_REQUANTIZE:
      im_store(sink->out, elem, at, im_requantize_long(sum, k, sink->fmt, word));
      return;
    case IM_UPDATE:
      im_store(sink->out, elem, at,
               im_update_long(im_load(sink->out, elem, at), sum, k, sink->fmt, word));
      return;
    case IM_COUNT_VALUES: count_value(sum, k, sink->fmt, word, sink->count); return;
    case IM_COUNT_STEPS:
      count_size(sum, sink->sizes, sink->count);
      count_step(im_load(sink->out, elem, at), im_long_negate(sum), k, sink->fmt, word,
                 sink->count);
      return;
    case IM_TO_FLOAT:
    case IM_DISCARD: return; /* they join nothing */
  }
}

/* Of a sum, bias included. */
static void sink_one(const im_sink* sink, int64_t at, im_wide sum, uint32_t word) {
  im_elem elem = im_elem_of(sink->fmt);
  int k = sink->frac_in - sink->fmt.frac;
  if (sink->addend.kept) {
    sink_joined(sink, at, join_one(&sink->addend, at, sum), word);
    return;
  }
  switch (sink->kind) {
    case IM_REQUANTIZE:
      im_store(sink->out, elem, at, im_requantize_wide(sum, k, sink->fmt, word));
      return;
    case IM_UPDATE:
      im_store(sink->out, elem, at,
               im_update_wide(im_load(sink->out, elem, at), sum, k, sink->fmt, word));
      return;
    case IM_TO_FLOAT: ((double*)sink->out)[at] = im_wide_to_double(sum, sink->frac_in); return;
    case IM_COUNT_VALUES:
    case IM_COUNT_STEPS: sink_joined(sink, at, im_long_of(sum), word); return;
    case IM_DISCARD: return;
  }
}

static void finish_row(const im_sink* sink, int64_t at, int count) {
  if (sink->finish) sink->finish(sink->context, at, count);
}

static void sink_wide(const im_sink* sink, im_place place, const im_wide* sums, int stride) {
  uint32_t room[WORDS];
  for (int i = 0; i < place.rows; i++) {
    int64_t at = (place.row + i) * place.n + place.column;
    const uint32_t* words = random_words(sink->stream, at, place.columns, sink->fmt, room);
    for (int j = 0; j < place.columns; j++) {
      im_wide sum = sums[i * stride + j];
      if (sink->bias) sum = im_wide_add(sum, wide_bias(sink, place.column + j));
      if (sink->accumulator.bits)
        sum = im_wide_of(im_enter_wide(sum, sink->accumulator.bits, sink->accumulator.overflow));
      sink_one(sink, at + j, sum, im_word(sink->fmt.rounding, words, j));
    }
    finish_row(sink, at, place.columns);
  }
}

/* Sums in int64 ---------------------------------------------------------------------------------
 */

/* The bound that proved int64 includes the shifted bias, which is below 2**63. */
#define DEFINE_ADD_BIAS(NAME, T)                                                              \
  static void NAME(const T* restrict bias, int shift, im_place place, int64_t* restrict sums, \
                   int stride) {                                                              \
    for (int i = 0; i < place.rows; i++, sums += stride)                                      \
      for (ptrdiff_t j = 0; j < place.columns; j++)                                           \
        sums[j] += (int64_t)((uint64_t)(int64_t)bias[j] << shift);                            \
  }
DEFINE_ADD_BIAS(add_bias_i32, int32_t)
DEFINE_ADD_BIAS(add_bias_i64, int64_t)
#undef DEFINE_ADD_BIAS

/* The rule is a constant where inlined. */
IM_INLINE void accumulate_i64(im_overflow overflow, int bits, im_place place,
                              int64_t* restrict sums, int stride) {
  for (int i = 0; i < place.rows; i++, sums += stride)
    for (ptrdiff_t j = 0; j < place.columns; j++) sums[j] = im_enter(sums[j], bits, overflow);
}

/* k 1..63; the rules are constants where inlined. */
IM_INLINE void requantize_i64(void* out, im_elem elem, int64_t at, const int64_t* sums, int count,
                              int k, im_format rules, const uint32_t* words) {
  for (int j = 0; j < count; j++) {
    int64_t rounded = im_round_shift(sums[j], k, rules.rounding, im_word(rules.rounding, words, j));
    im_store(out, elem, at + j, im_enter(rounded, rules.bits, rules.overflow));
  }
}

/* Where im_update_is_narrow proves that int64 holds everything. */
IM_INLINE void update_i64(void* out, im_elem elem, int64_t at, const int64_t* sums, int count,
                          int k, im_format rules, const uint32_t* words) {
  for (int j = 0; j < count; j++) {
    uint32_t word = im_word(rules.rounding, words, j);
    im_store(out, elem, at + j, im_update_i64(im_load(out, elem, at + j), sums[j], k, rules, word));
  }
}

static void sink_i64(const im_sink* sink, im_place place, int64_t* sums, int stride) {
  im_format fmt = sink->fmt;
  im_elem elem = im_elem_of(fmt);
  int k = sink->frac_in - fmt.frac;
  uint32_t room[WORDS];
  if (sink->bias && sink->bias_elem == IM_I32)
    add_bias_i32((const int32_t*)sink->bias + place.column, sink->bias_shift, place, sums, stride);
  else if (sink->bias)
    add_bias_i64((const int64_t*)sink->bias + place.column, sink->bias_shift, place, sums, stride);
  if (sink->accumulator.bits && sink->accumulator.overflow == IM_WRAP)
    accumulate_i64(IM_WRAP, sink->accumulator.bits, place, sums, stride);
  else if (sink->accumulator.bits)
    accumulate_i64(IM_SATURATE, sink->accumulator.bits, place, sums, stride);
  for (int i = 0; i < place.rows; i++, sums += stride) {
    int64_t at = (place.row + i) * place.n + place.column;
    const uint32_t* words = random_words(sink->stream, at, place.columns, fmt, room);
#define REQUANTIZE(RULES)                                                        \
  if (elem == IM_I32)                                                            \
    requantize_i64(sink->out, IM_I32, at, sums, place.columns, k, RULES, words); \
  else                                                                           \
    requantize_i64(sink->out, IM_I64, at, sums, place.columns, k, RULES, words)
#define UPDATE(RULES)                                                        \
  if (elem == IM_I32)                                                        \
    update_i64(sink->out, IM_I32, at, sums, place.columns, k, RULES, words); \
  else                                                                       \
    update_i64(sink->out, IM_I64, at, sums, place.columns, k, RULES, words)
    if (!join(&sink->addend, at, sums, place.columns)) {
      for (int j = 0; j < place.columns; j++)
        sink_one(sink, at + j, im_wide_of(sums[j]), im_word(fmt.rounding, words, j));
    } else if (sink->kind == IM_REQUANTIZE && k >= 1 && k <= 63) {
      IM_FOR_EACH_RULE(fmt, REQUANTIZE)
    } else if (sink->kind == IM_UPDATE && im_update_is_narrow(k, fmt.bits)) {
      IM_FOR_EACH_RULE(fmt, UPDATE)
    } else if (sink->kind == IM_TO_FLOAT) {
      /* The conversion rounds to nearest even; the scaling by a power of two is exact. */
      double scale = im_power_of_two(-sink->frac_in);
      for (int j = 0; j < place.columns; j++)
        ((double*)sink->out)[at + j] = (double)sums[j] * scale;
    } else if (sink->kind == IM_COUNT_VALUES) {
      count_sums(sums, place.columns, k, fmt, words, sink->count);
    } else if (sink->kind == IM_COUNT_STEPS) {
      count_steps(sink->out, elem, at, sums, place.columns, k, fmt, words, sink->sizes,
                  sink->count);
    } else if (sink->addend.kept) {
      for (int j = 0; j < place.columns; j++)
        sink_joined(sink, at + j, im_long_of_i64(sums[j]), im_word(fmt.rounding, words, j));
    } else {
      for (int j = 0; j < place.columns; j++)
        sink_one(sink, at + j, im_wide_of(sums[j]), im_word(fmt.rounding, words, j));
    }
#undef REQUANTIZE
#undef UPDATE
    finish_row(sink, at, place.columns);
  }
}

/* Sums in 128 bits ------------------------------------------------------------------------------
 */

/* requantize of high * 2**64 + low for k 1..63 and bits <= 62: the shifted sum, cut to +-2**62
 * where it is larger, stays beyond the format; else, and modulo 2**64 for wrap, its low word is
 * it. The rules are constants where inlined. */
IM_INLINE void requantize_i128(void* out, im_elem elem, int64_t at, const uint64_t* low,
                               const int64_t* high, int count, int k, im_format rules,
                               const uint32_t* words) {
  const int64_t far = INT64_C(1) << 62;
  for (int j = 0; j < count; j++) {
    int64_t q = (int64_t)(low[j] >> k | (uint64_t)high[j] << (64 - k));
    uint64_t lost = low[j] & ((UINT64_C(1) << k) - 1), negative = (uint64_t)high[j] >> 63;
    int64_t v = q;
    if (rules.overflow == IM_SATURATE) {
      bool fits = (high[j] >> k == q >> 63) & (q >= -far) & (q <= far);
      int64_t beyond = negative ? -far : far;
      v = fits ? q : beyond;
    }
    uint32_t word = im_word(rules.rounding, words, j);
    v = (int64_t)((uint64_t)v + im_round_up(rules.rounding, lost, k, q, negative, word));
    im_store(out, elem, at + j, im_enter(v, rules.bits, rules.overflow));
  }
}

static void sink_i128(const im_sink* sink, im_place place, uint64_t* low, int64_t* high,
                      int stride) {
  im_format fmt = sink->fmt;
  im_elem elem = im_elem_of(fmt);
  int k = sink->frac_in - fmt.frac;
  uint32_t room[WORDS];
  for (int i = 0; i < place.rows; i++, low += stride, high += stride) {
    int64_t at = (place.row + i) * place.n + place.column;
    const uint32_t* words = random_words(sink->stream, at, place.columns, fmt, room);
    for (int j = 0; sink->bias && j < place.columns; j++) {
      im_wide bias = wide_bias(sink, place.column + j); /* below 2**64: proved by the bound */
      low[j] += bias.limb[0];
      high[j] += (int64_t)bias.limb[1] + (low[j] < bias.limb[0]);
    }
    if (sink->accumulator.bits && sink->accumulator.overflow == IM_WRAP) {
      for (int j = 0; j < place.columns; j++) {
        int64_t sum = im_enter((int64_t)low[j], sink->accumulator.bits, IM_WRAP);
        low[j] = (uint64_t)sum;
        high[j] = sum >> 63;
      }
    }
#define REQUANTIZE(RULES)                                                              \
  if (elem == IM_I32)                                                                  \
    requantize_i128(sink->out, IM_I32, at, low, high, place.columns, k, RULES, words); \
  else                                                                                 \
    requantize_i128(sink->out, IM_I64, at, low, high, place.columns, k, RULES, words)
    if (sink->kind == IM_REQUANTIZE && !sink->addend.kept && k >= 1 && k <= 63 && fmt.bits <= 62) {
      IM_FOR_EACH_RULE(fmt, REQUANTIZE)
    } else {
      for (int j = 0; j < place.columns; j++) {
        im_wide sum = {{low[j], (uint64_t)high[j], high[j] < 0 ? UINT64_MAX : 0}};
        sink_one(sink, at + j, sum, im_word(fmt.rounding, words, j));
      }
    }
#undef REQUANTIZE
    finish_row(sink, at, place.columns);
  }
}
