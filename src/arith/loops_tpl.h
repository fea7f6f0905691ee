/* quantize, dequantize and requantize over contiguous arrays: bodies for isa_tpl.h. */
#include "round.h"

static void quantize(const double* v, int64_t n, im_format fmt, void* out) {
  im_elem elem = im_elem_of(fmt);
  for (int64_t i = 0; i < n; i++) im_store(out, elem, i, im_quantize_double(v[i], fmt));
}

static void dequantize(const void* raw, im_elem elem, int64_t n, int frac, double* out) {
  /* The conversion rounds to nearest even, the scaling by a power of two is exact. */
  double scale = im_power_of_two(-frac);
  for (int64_t i = 0; i < n; i++) out[i] = (double)im_load(raw, elem, i) * scale;
}

/* The fast path, k 1..63: inlined once for each rule and pair of element types. */
static inline void shift_all(const void* s, im_elem elem, int64_t n, int k, im_format fmt,
                             void* out, im_elem out_elem) {
  for (int64_t i = 0; i < n; i++) {
    int64_t rounded = im_round_shift(im_load(s, elem, i), k, fmt.rounding);
    im_store(out, out_elem, i, im_enter(rounded, fmt.bits, fmt.overflow));
  }
}

static void requantize(const void* s, im_elem elem, int64_t n, int frac_in, im_format fmt,
                       void* out) {
  int k = frac_in - fmt.frac;
  im_elem out_elem = im_elem_of(fmt);
  if (k < 1 || k > 63) {
    for (int64_t i = 0; i < n; i++)
      im_store(out, out_elem, i, im_requantize_i64(im_load(s, elem, i), k, fmt));
    return;
  }
#define SHIFT_ALL(RULES)                            \
  if (elem == IM_I32 && out_elem == IM_I32)         \
    shift_all(s, IM_I32, n, k, RULES, out, IM_I32); \
  else if (elem == IM_I64 && out_elem == IM_I32)    \
    shift_all(s, IM_I64, n, k, RULES, out, IM_I32); \
  else                                              \
    shift_all(s, elem, n, k, RULES, out, out_elem)
  IM_FOR_EACH_RULE(fmt, SHIFT_ALL)
#undef SHIFT_ALL
}
