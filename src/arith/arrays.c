/* quantize, dequantize and requantize of the C API: the loops of the instruction set. */
#include "../cpu/isa.h"

void im_quantize(const im_isa* isa, const void* v, im_source_kind kind, int64_t n, im_format fmt,
                 im_stream stream, void* out) {
  isa->loops->quantize(v, kind, kind == IM_SOURCE_F32 ? 4 : 8, n, fmt, stream, out);
}

void im_dequantize(const im_isa* isa, const void* raw, im_elem elem, int64_t n, int frac,
                   double* out) {
  im_source_kind kind = elem == IM_I32 ? IM_SOURCE_I32 : IM_SOURCE_I64;
  isa->loops->read_real(raw, kind, (ptrdiff_t)im_elem_size(elem), n, frac, out);
}

void im_requantize(const im_isa* isa, const void* s, im_elem elem, int64_t n, int frac_in,
                   im_format fmt, im_stream stream, void* out) {
  isa->loops->requantize(s, elem, n, frac_in, fmt, stream, out);
}
