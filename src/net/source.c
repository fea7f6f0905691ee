/* Rows of inputs and targets enter their formats. */
#include "net.h"

static double real_at(im_source_kind kind, const void* p, int frac) {
  switch (kind) {
    case IM_SOURCE_F32: return *(const float*)p;
    case IM_SOURCE_F64: return *(const double*)p;
    case IM_SOURCE_I32: return (double)*(const int32_t*)p * im_power_of_two(-frac);
    case IM_SOURCE_I64: break;
  }
  return (double)*(const int64_t*)p * im_power_of_two(-frac);
}

void im_read_source(im_source source, const int64_t* rows, int64_t n, int64_t columns,
                    im_format fmt, void* raw, double* real) {
  im_elem elem = im_elem_of(fmt);
  bool is_raw = source.kind == IM_SOURCE_I32 || source.kind == IM_SOURCE_I64;
  ptrdiff_t size = (ptrdiff_t)im_elem_size(elem);
  for (int64_t i = 0; i < n; i++) {
    const char* row = (const char*)source.data + rows[i] * source.row_stride;
    if (real)
      for (int64_t j = 0; j < columns; j++)
        real[i * columns + j] = real_at(source.kind, row + j * source.col_stride, fmt.frac);
    if (!raw) continue;
    if (is_raw && source.col_stride == size) { /* raw rows are of the format's own type */
      memcpy((char*)raw + i * columns * size, row, (size_t)(columns * size));
      continue;
    }
    for (int64_t j = 0; j < columns; j++) {
      const void* p = row + j * source.col_stride;
      int64_t v =
          is_raw ? im_load(p, elem, 0) : im_quantize_double(real_at(source.kind, p, 0), fmt);
      im_store(raw, elem, i * columns + j, v);
    }
  }
}
