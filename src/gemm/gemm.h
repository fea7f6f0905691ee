/* The exact matrix product: what its pieces hand each other.
 *
 *   select.c    which kernel is exact here, with its proof
 *   pack.c      strided raw integers -> panels of a kernel's element type
 *   tile_tpl.h  the body of every kernel; kernels_<isa>.c instantiate it
 *   sink.c      what becomes of the exact sums: requantized, a weight update, a float64
 *   vector.c    products of one row, and outer products, without packing
 *   gemm.c      the loop over blocks that joins them
 */
#ifndef IM_GEMM_H
#define IM_GEMM_H

#include "../arith/round.h"
#include "../cpu/isa.h"
#include "../intmlp.h"

/* Kernels -------------------------------------------------------------------------------- */

typedef enum { IM_SUM_F64, IM_SUM_I64, IM_SUM_WIDE } im_accumulator;

/* An mr x nr tile over packed panels: a holds k columns of mr elements, b holds k rows of nr.
 * Writes mr * nr exact sums in C order, int64 or (IM_SUM_WIDE) im_wide. Every `block` steps the
 * accumulators are moved into the exact sums. */
typedef void im_tile(int64_t k, int64_t block, const void* a, const void* b, void* sums);

typedef struct im_kernel {
  const char* name;
  im_accumulator accumulator;
  int mr, nr;
  im_tile* tile;
} im_kernel;

enum { IM_MAX_WIDTH = 8, IM_MAX_TILE = 64 }; /* most lanes, and most elements, of a tile */

/* The packed element is double for IM_SUM_F64, else int64: 8 bytes either way. */
enum { IM_PACKED_SIZE = 8 };

/* The kernels of each instruction set, the cheapest first. */
enum { IM_SCALAR_KERNELS = 3 };
extern const im_kernel im_kernels_scalar[IM_SCALAR_KERNELS];

/* Ranges and the choice of a kernel -------------------------------------------------------- */

/* Proved bounds; each saturates at UINT64_MAX, which proves nothing. */
typedef struct {
  uint64_t a, b;      /* largest magnitude of an element */
  uint64_t a_row_sum; /* largest sum of magnitudes over a row of a */
  uint64_t bias;      /* largest magnitude of a shifted bias */
} im_bounds;

/* The bounds that formats give, and those of the values themselves. */
im_bounds im_bounds_of_formats(im_matrix a, im_matrix b, int64_t k);
void im_scan_a(im_matrix a, int64_t m, int64_t k, im_bounds* bounds);
void im_scan_b(im_matrix b, int64_t k, int64_t n, im_bounds* bounds);
uint64_t im_bias_bound(const void* bias, im_elem elem, int64_t n, int shift);

/* How many steps the accumulator sums exactly before it is moved: 0 where it is never exact. */
int64_t im_exact_block(im_accumulator accumulator, im_bounds bounds, int64_t k);

/* The index of the cheapest kernel that is exact under these bounds. */
int im_select(const im_isa* isa, im_bounds bounds, int64_t k);

/* Whether int64 holds every sum and partial sum, bias included. */
bool im_fits_i64(im_bounds bounds);

/* Sinks ------------------------------------------------------------------------------------ */

typedef enum { IM_REQUANTIZE, IM_UPDATE, IM_TO_FLOAT } im_sink_kind;

/* What becomes of the exact sum s in row i, column j of an (m, n) result:
 *   IM_REQUANTIZE  out = requantize(s + bias[j] * 2**bias_shift, frac_in, fmt)
 *   IM_UPDATE      out = enter(out + R(-s)), from frac_in, by fmt's rules
 *   IM_TO_FLOAT    out = s * 2**-frac_in, correctly rounded (out holds float64)
 * out is in C order. */
typedef struct {
  im_sink_kind kind;
  im_format fmt;
  int frac_in;
  const void* bias; /* NULL for none */
  im_elem bias_elem;
  int bias_shift;
  void* out;
} im_sink;

/* Take the sums of `count` columns from (row, column) on, in a result of n columns. */
void im_sink_i64(const im_sink* sink, int64_t n, int64_t row, int64_t column, int64_t count,
                 const int64_t* sums);
void im_sink_wide(const im_sink* sink, int64_t n, int64_t row, int64_t column, int64_t count,
                  const im_wide* sums);

/* Packing ------------------------------------------------------------------------------------ */

/* Panels of `width` lanes, the last filled up with zeros: element (lane, step) of the strided
 * array goes to panel[lane / width][step * width + lane % width]. */
void im_pack(im_accumulator accumulator, const void* data, im_elem elem, ptrdiff_t lane_stride,
             ptrdiff_t step_stride, int64_t lanes, int64_t steps, int width, void* panels);

/* Memory of at least `size` bytes, kept for the next product; NULL where there is none. */
void* im_scratch_reserve(im_scratch* scratch, size_t size);

/* The product ---------------------------------------------------------------------------------- */

/* Serve products of one row and outer products of int32 that int64 proves to hold; false, with
 * nothing done, for all others. */
bool im_vector_product(im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                       const im_sink* sink);

/* The scratch that suffices for every product whose sums have at most k terms. */
size_t im_gemm_scratch(int64_t k);

/* a (m, k) @ b (k, n) into the sink. kernel: an index, or -1 for the cheapest exact way. */
im_status im_gemm(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                  const im_sink* sink, int kernel, im_scratch* scratch);

#endif
