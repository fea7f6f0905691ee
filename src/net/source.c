/* Rows of inputs and targets enter their formats. */
#include "net.h"

/* Raw rows are of the format's own type. */
static void copy_row(const char* row, ptrdiff_t stride, size_t size, int64_t columns, char* out) {
  if (stride == (ptrdiff_t)size) {
    memcpy(out, row, (size_t)columns * size);
    return;
  }
  for (int64_t j = 0; j < columns; j++) memcpy(out + (size_t)j * size, row + j * stride, size);
}

void im_read_source(const im_isa* isa, im_source source, const int64_t* rows, int64_t n,
                    int64_t columns, im_format fmt, im_stream stream, void* raw, double* real) {
  bool is_raw = source.kind == IM_SOURCE_I32 || source.kind == IM_SOURCE_I64;
  size_t size = im_elem_size(im_elem_of(fmt));
  for (int64_t i = 0; i < n; i++, stream.first += columns) {
    const char* row = (const char*)source.data + rows[i] * source.row_stride;
    char* to = raw ? (char*)raw + (size_t)(i * columns) * size : NULL;
    if (real)
      isa->loops->read_real(row, source.kind, source.col_stride, columns, fmt.frac,
                            real + i * columns);
    if (to && is_raw)
      copy_row(row, source.col_stride, size, columns, to);
    else if (to)
      isa->loops->quantize(row, source.kind, source.col_stride, columns, fmt, stream, to);
  }
}
