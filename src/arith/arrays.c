/* quantize, dequantize and requantize over contiguous arrays. */
#include "round.h"

void im_quantize(const double *v, int64_t n, im_format fmt, void *out) {
  im_elem elem = im_elem_of(fmt);
  for (int64_t i = 0; i < n; i++) im_store(out, elem, i, im_quantize_double(v[i], fmt));
}

void im_dequantize(const void *raw, im_elem elem, int64_t n, int frac, double *out) {
  /* The conversion rounds to nearest even, the scaling by a power of two is exact. */
  double scale = ldexp(1.0, -frac);
  for (int64_t i = 0; i < n; i++) out[i] = (double)im_load(raw, elem, i) * scale;
}

void im_requantize(const void *s, im_elem elem, int64_t n, int frac_in, im_format fmt,
                   void *out) {
  im_elem out_elem = im_elem_of(fmt);
  int k = frac_in - fmt.frac;
  for (int64_t i = 0; i < n; i++)
    im_store(out, out_elem, i, im_requantize_i64(im_load(s, elem, i), k, fmt));
}
