/* quantize, dequantize and requantize of the C API: the loops of the instruction set. */
#include "../cpu/isa.h"

void im_quantize(const im_isa* isa, const double* v, int64_t n, im_format fmt, void* out) {
  isa->loops->quantize(v, n, fmt, out);
}

void im_dequantize(const im_isa* isa, const void* raw, im_elem elem, int64_t n, int frac,
                   double* out) {
  isa->loops->dequantize(raw, elem, n, frac, out);
}

void im_requantize(const im_isa* isa, const void* s, im_elem elem, int64_t n, int frac_in,
                   im_format fmt, void* out) {
  isa->loops->requantize(s, elem, n, frac_in, fmt, out);
}
