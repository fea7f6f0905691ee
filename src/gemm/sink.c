/* What becomes of exact sums. Each sink has two forms, for int64 and for three limbs; the rules
 * are those of round.h in both. */
#include "gemm.h"

static im_wide with_bias(const im_sink* sink, int64_t column, im_wide sum) {
  if (!sink->bias) return sum;
  im_wide bias = im_wide_of(im_load(sink->bias, sink->bias_elem, column));
  return im_wide_add(sum, im_wide_shl(bias, sink->bias_shift));
}

void im_sink_wide(const im_sink* sink, int64_t n, int64_t row, int64_t column, int64_t count,
                  const im_wide* sums) {
  im_format fmt = sink->fmt;
  im_elem elem = im_elem_of(fmt);
  int k = sink->frac_in - fmt.frac;
  int64_t at = row * n + column;
  for (int64_t j = 0; j < count; j++, at++) {
    switch (sink->kind) {
      case IM_REQUANTIZE:
        im_store(sink->out, elem, at,
                 im_requantize_wide(with_bias(sink, column + j, sums[j]), k, fmt));
        break;
      case IM_UPDATE:
        im_store(sink->out, elem, at,
                 im_update_wide(im_load(sink->out, elem, at), sums[j], k, fmt));
        break;
      case IM_TO_FLOAT: ((double*)sink->out)[at] = im_wide_to_double(sums[j], sink->frac_in); break;
    }
  }
}

/* The fast path of an update, one loop for each rule so that the choice is outside it. Its
 * predicate, im_update_is_narrow, proves that int64 holds everything. */
static inline void update_i32(int32_t* w, const int64_t* sums, int64_t count, int k,
                              im_format rules) {
  for (int64_t j = 0; j < count; j++) w[j] = (int32_t)im_update_i64(w[j], sums[j], k, rules);
}

static void update_narrow(void* out, im_elem elem, int64_t at, const int64_t* sums, int64_t count,
                          int k, im_format fmt) {
  if (elem == IM_I64) {
    int64_t* w = (int64_t*)out + at;
    for (int64_t j = 0; j < count; j++) w[j] = im_update_i64(w[j], sums[j], k, fmt);
    return;
  }
#define UPDATE(RULES) update_i32((int32_t*)out + at, sums, count, k, RULES)
  IM_FOR_EACH_RULE(fmt, UPDATE)
#undef UPDATE
}

void im_sink_i64(const im_sink* sink, int64_t n, int64_t row, int64_t column, int64_t count,
                 const int64_t* sums) {
  im_format fmt = sink->fmt;
  im_elem elem = im_elem_of(fmt);
  int k = sink->frac_in - fmt.frac;
  int64_t at = row * n + column;
  switch (sink->kind) {
    case IM_REQUANTIZE:
      for (int64_t j = 0; j < count; j++) {
        int64_t s = sums[j];
        /* The bound that proved int64 includes the shifted bias, which is below 2**63. */
        if (sink->bias)
          s += im_load(sink->bias, sink->bias_elem, column + j) * (INT64_C(1) << sink->bias_shift);
        im_store(sink->out, elem, at + j, im_requantize_i64(s, k, fmt));
      }
      return;
    case IM_UPDATE:
      if (im_update_is_narrow(k, fmt.bits)) {
        update_narrow(sink->out, elem, at, sums, count, k, fmt);
        return;
      }
      for (int64_t j = 0; j < count; j++) {
        int64_t w = im_load(sink->out, elem, at + j);
        im_store(sink->out, elem, at + j, im_update_wide(w, im_wide_of(sums[j]), k, fmt));
      }
      return;
    case IM_TO_FLOAT: {
      /* The conversion rounds to nearest even; the scaling by a power of two is exact. */
      double scale = im_power_of_two(-sink->frac_in);
      for (int64_t j = 0; j < count; j++) ((double*)sink->out)[at + j] = (double)sums[j] * scale;
      return;
    }
  }
}
