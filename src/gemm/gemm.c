/* The product: choose a kernel, pack blocks, run tiles, hand the sums on. */
#include "gemm.h"

/* Bytes of a packed block of b, for the second-level cache, and of a, for half of it. */
enum { B_BLOCK_BYTES = 256 * 1024, A_BLOCK_BYTES = 128 * 1024 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Lanes of a block: as many as the bytes hold, a multiple of the tile's width, at least one. */
static int64_t block_lanes(int64_t bytes, int64_t k, int64_t lanes, int width) {
  int64_t fit = bytes / (IM_PACKED_SIZE * (k > 0 ? k : 1)) / width * width;
  return smaller(fit > 0 ? fit : width, round_up(lanes, width));
}

size_t im_gemm_scratch(int64_t k) {
  return B_BLOCK_BYTES + A_BLOCK_BYTES + (size_t)(2 * IM_MAX_WIDTH * k + 1) * IM_PACKED_SIZE;
}

/* One packed block of a times one of b: tile by tile into the sink. */
static void multiply_block(const im_kernel* kernel, int64_t block, int64_t k, int64_t n,
                           const char* a_panels, int64_t row, int64_t rows, const char* b_panels,
                           int64_t column, int64_t columns, const im_sink* sink) {
  union {
    int64_t i64[IM_MAX_TILE];
    im_wide wide[IM_MAX_TILE];
  } sums;
  for (int64_t j = 0; j < columns; j += kernel->nr) {
    const void* b = b_panels + (size_t)(j * k) * IM_PACKED_SIZE;
    int64_t width = smaller(columns - j, kernel->nr);
    for (int64_t i = 0; i < rows; i += kernel->mr) {
      kernel->tile(k, block, a_panels + (size_t)(i * k) * IM_PACKED_SIZE, b, &sums);
      for (int64_t r = 0; r < smaller(rows - i, kernel->mr); r++) {
        if (kernel->accumulator == IM_SUM_WIDE)
          im_sink_wide(sink, n, row + i + r, column + j, width, sums.wide + r * kernel->nr);
        else
          im_sink_i64(sink, n, row + i + r, column + j, width, sums.i64 + r * kernel->nr);
      }
    }
  }
}

/* The cheapest exact kernel. The formats' bounds are free; values are scanned only where those
 * do not already prove the cheapest kernel for the whole length. */
static int cheapest(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                    im_bounds* bounds) {
  int64_t block = im_exact_block(isa->kernels[0].accumulator, *bounds, k);
  if (block > 0 && block >= k) return 0;
  im_scan_a(a, m, k, bounds);
  im_scan_b(b, k, n, bounds);
  return im_select(isa, *bounds, k);
}

im_status im_gemm(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                  const im_sink* given, int kernel_index, im_scratch* scratch) {
  im_sink sink = *given;
  im_bounds bounds = im_bounds_of_formats(a, b, k);
  if (sink.bias) {
    bounds.bias = im_bias_bound(sink.bias, sink.bias_elem, n, sink.bias_shift);
    if (bounds.bias == 0) sink.bias = NULL; /* zeros, which no shift needs to reach */
  }
  if (kernel_index < 0) {
    if (im_vector_product(a, b, m, n, k, &sink)) return IM_OK;
    kernel_index = cheapest(isa, a, b, m, n, k, &bounds);
  } else {
    im_scan_a(a, m, k, &bounds);
    im_scan_b(b, k, n, &bounds);
  }
  const im_kernel* kernel = &isa->kernels[kernel_index];
  int64_t block = im_exact_block(kernel->accumulator, bounds, k);
  if (block == 0) return IM_NOT_EXACT;

  int64_t columns = block_lanes(B_BLOCK_BYTES, k, n, kernel->nr);
  int64_t rows = block_lanes(A_BLOCK_BYTES, k, m, kernel->mr);
  size_t b_bytes = (size_t)(columns * k) * IM_PACKED_SIZE;
  size_t a_bytes = (size_t)(rows * k) * IM_PACKED_SIZE;
  char* b_panels = im_scratch_reserve(scratch, b_bytes + a_bytes + IM_PACKED_SIZE);
  if (!b_panels) return IM_NO_MEMORY;
  char* a_panels = b_panels + b_bytes;

  for (int64_t column = 0; column < n; column += columns) {
    int64_t columns_here = smaller(n - column, columns);
    im_pack(kernel->accumulator, (const char*)b.data + column * b.col_stride, b.elem, b.col_stride,
            b.row_stride, columns_here, k, kernel->nr, b_panels);
    for (int64_t row = 0; row < m; row += rows) {
      int64_t rows_here = smaller(m - row, rows);
      im_pack(kernel->accumulator, (const char*)a.data + row * a.row_stride, a.elem, a.row_stride,
              a.col_stride, rows_here, k, kernel->mr, a_panels);
      multiply_block(kernel, block, k, n, a_panels, row, rows_here, b_panels, column, columns_here,
                     &sink);
    }
  }
  return IM_OK;
}

im_status im_matmul(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                    const void* bias, im_elem bias_elem, int bias_shift, int frac_in, im_format fmt,
                    void* out, int kernel, im_scratch* scratch) {
  im_sink sink = {IM_REQUANTIZE, fmt, frac_in, bias, bias_elem, bias_shift, out};
  return im_gemm(isa, a, b, m, n, k, &sink, kernel, scratch);
}
