/* The product: choose a kernel, pack blocks, run tiles, hand the sums on; and share the work out
 * among threads.
 *
 * The kernel is chosen by a guess, the range of some values. Packing a block takes the range of
 * all of its values; where that does not prove the kernel exact, one that is exact takes over
 * from this block on, and the block is packed again. So nothing is scanned twice, and no tile
 * runs without its proof.
 */
#include <stdlib.h>

#include "../cpu/threads.h"
#include "gemm.h"

/* Bytes of a packed block of b, for the second-level cache, and of a, for the third; and the
 * products that a thread is worth. Where inputs are found by fuzzing they are small, and so are
 * these. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { B_BLOCK_BYTES = 1024, A_BLOCK_BYTES = 4096, LEAST_PART = 64 };
#else
enum { B_BLOCK_BYTES = 384 * 1024, A_BLOCK_BYTES = 16 * 1024 * 1024, LEAST_PART = 24000000 };
#endif

/* Bytes of a step of a lane in the widest scheme. */
enum { WIDEST_STEP = 8 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Scratch ------------------------------------------------------------------------------------ */

void* im_scratch_reserve(im_scratch* scratch, uint64_t size) {
  if (scratch->size < size) {
    free(scratch->data);
    scratch->data = size <= PTRDIFF_MAX ? malloc((size_t)size) : NULL;
    scratch->size = scratch->data ? (size_t)size : 0;
  }
  return scratch->data;
}

void im_scratch_free(im_scratch* scratch) {
  free(scratch->data);
  *scratch = (im_scratch){.threads = scratch->threads};
}

static im_token spare_token = IM_TOKEN_FREE;
static im_scratch spare;

im_scratch im_scratch_take(void) {
  im_scratch scratch = {0};
  if (im_take(&spare_token)) {
    scratch = spare;
    spare = (im_scratch){0};
    im_return(&spare_token);
  }
  scratch.threads = im_threads();
  return scratch;
}

void im_scratch_give_back(im_scratch scratch) {
  const size_t most = (size_t)32 << 20;
  if (scratch.size <= most && im_take(&spare_token)) {
    im_scratch before = spare;
    spare = scratch;
    im_return(&spare_token);
    scratch = before;
  }
  im_scratch_free(&scratch);
}

/* Lanes of a block: as many as its bytes hold, in whole panels, at least one; no more than there
 * are. */
static int64_t block_lanes(int64_t bytes, uint64_t lane_size, int64_t lanes, int width) {
  int64_t fit = bytes / (int64_t)(lane_size ? lane_size : 1) / width * width;
  return smaller(fit > 0 ? fit : width, lanes);
}

/* An upper bound for every scheme. */
static uint64_t block_bytes(int64_t bytes, int64_t k, int64_t lanes) {
  uint64_t lane = im_room((uint64_t)k + 2, WIDEST_STEP);
  uint64_t all = im_room((uint64_t)round_up(lanes, IM_MAX_LANES), lane);
  uint64_t most = (uint64_t)bytes + im_room(IM_MAX_LANES, lane);
  return all < most ? all : most;
}

/* How a product is shared out: parts of its columns, or of its rows where those are as many, about
 * equal, in whole panels of every kernel; each part enough work for a thread to be worth its
 * start. */
typedef struct {
  int parts;
  bool by_rows;
  int64_t rows, columns; /* of a part, at most */
} im_share;

enum { ROW_UNIT = IM_MAX_ROWS, COLUMN_UNIT = 2 * IM_MAX_LANES };

static im_share share_out(int64_t m, int64_t n, int64_t k, int threads) {
  const double work = (double)m * (double)n * (double)k, least = LEAST_PART;
  int parts = work / least < threads ? (int)(work / least) : threads;
  bool by_rows = m >= n;
  int64_t most = by_rows ? m / ROW_UNIT : n / COLUMN_UNIT;
  if (parts > most) parts = (int)most;
  if (parts < 2) return (im_share){1, by_rows, m, n};
  return (im_share){parts, by_rows, by_rows ? smaller(m, m / parts + ROW_UNIT) : m,
                    by_rows ? n : smaller(n, n / parts + COLUMN_UNIT)};
}

/* Where a part of `length` rows or columns begins: the nearest whole panel. */
static int64_t part_start(int64_t length, int part, int parts, int64_t unit) {
  return part == parts ? length : (length * part / parts + unit / 2) / unit * unit;
}

static uint64_t part_scratch(im_share share, int64_t k) {
  uint64_t size = block_bytes(A_BLOCK_BYTES, k, share.rows) +
                  block_bytes(B_BLOCK_BYTES, k, share.columns) + 64 + 64;
  return size + (64 - size % 64);
}

uint64_t im_gemm_scratch(int64_t m, int64_t n, int64_t k, int threads) {
  im_share share = share_out(m, n, k, threads);
  return (uint64_t)share.parts * part_scratch(share, k);
}

/* A product of one thread -------------------------------------------------------------------- */

typedef struct {
  const im_isa* isa;
  im_matrix a, b;
  int64_t m, n, k;
  const im_sink* sink;
  uint64_t bias, limit;    /* of im_bounds */
  const im_kernel* forced; /* or NULL */
  const im_packed* kept;   /* all of b, or NULL */
} im_product;

/* Rows and columns of it. */
typedef struct {
  int64_t row, rows, column, columns;
} im_part;

static im_strided lanes_of_a(const im_product* p, int64_t row) {
  return (im_strided){(const char*)p->a.data + row * p->a.row_stride, p->a.row_stride,
                      p->a.col_stride, p->a.elem};
}
static im_strided lanes_of_b(const im_product* p, int64_t column) {
  return (im_strided){(const char*)p->b.data + column * p->b.col_stride, p->b.col_stride,
                      p->b.row_stride, p->b.elem};
}

/* The range of some values spread over an operand. */
static im_range sample(im_strided x, int64_t lanes, int64_t steps) {
  enum { LANES = 8, STEPS = 24 };
  im_range range = {0, 0};
  int64_t next_lane = lanes / LANES + 1, next_step = steps / STEPS + 1;
  for (int64_t lane = 0; lane < lanes; lane += next_lane) {
    for (int64_t step = lane % next_step; step < steps; step += next_step) {
      const char* at = x.data + lane * x.lane_stride + step * x.step_stride;
      int64_t v = im_load(at, x.elem, 0);
      range = im_union(range, (im_range){v < 0 ? v : 0, v > 0 ? v : 0});
    }
  }
  return range;
}

/* Fetch the part of the result that the next sink reads as well as writes. */
static void prefetch_result(const im_sink* sink, im_place place) {
  const char* read = sink->kind == IM_UPDATE ? sink->out : sink->addend.kept;
  if (!read) return;
  ptrdiff_t size = (ptrdiff_t)im_elem_size(im_elem_of(sink->fmt));
  for (int i = 0; i < place.rows; i++) {
    const char* at = read + ((place.row + i) * place.n + place.column) * size;
    for (ptrdiff_t byte = 0; byte < place.columns * size; byte += 64) IM_PREFETCH(at + byte);
  }
}

/* One packed block of a times one of b: tile by tile into the sink. */
static void multiply_block(const im_product* p, const im_kernel* kernel, int64_t block,
                           const char* a_panels, int64_t row, int64_t rows, const char* b_panels,
                           int64_t column, int64_t columns) {
  im_sums sums;
  int64_t groups = im_groups(kernel->scheme, p->k);
  size_t lane_size = im_lane_size(kernel->scheme, false, p->k);
  size_t a_size = im_lane_size(kernel->scheme, true, p->k) * (size_t)kernel->rows;
  int width = kernel->vectors * kernel->lanes;
  for (int64_t i = 0; i < rows; i += kernel->rows, a_panels += a_size) {
    const char* b = b_panels;
    for (int64_t j = 0; j < columns; j += width) {
      im_place place = {p->n, row + i, column + j, (int)smaller(rows - i, kernel->rows),
                        (int)smaller(columns - j, width)};
      int vectors = (place.columns + kernel->lanes - 1) / kernel->lanes;
      int stride = vectors * kernel->lanes;
      const char* panel = b;
      prefetch_result(p->sink, place);
      b += lane_size * (size_t)stride;
      if (im_is_in_order(kernel)) {
        im_tile_in_order(p->isa, kernel, p->sink, place, p->k, a_panels, panel, stride);
        continue;
      }
      kernel->tile[vectors - 1](groups, block, a_panels, panel, &sums);
      switch (im_layouts[kernel->scheme].sum) {
        case IM_SUM_I64: p->isa->loops->sink_i64(p->sink, place, sums.i64, stride); break;
        case IM_SUM_I128:
          p->isa->loops->sink_i128(p->sink, place, sums.i128.low, sums.i128.high, stride);
          break;
        case IM_SUM_WIDE: p->isa->loops->sink_wide(p->sink, place, sums.wide, stride); break;
      }
    }
  }
}

static im_bounds guess_bounds(const im_product* p, im_part part) {
  im_range a = sample(lanes_of_a(p, part.row), part.rows, p->k);
  return (im_bounds){a, sample(lanes_of_b(p, part.column), part.columns, p->k), p->bias, p->limit};
}

static im_status multiply(const im_product* p, im_part part, char* scratch, im_plan* plan) {
  const im_loops* loops = p->isa->loops;
  int64_t k = p->k;
  const im_kernel* kernel = p->forced ? p->forced
                            : p->kept ? p->kept->kernel
                                      : im_select(p->isa, guess_bounds(p, part), k);
  char* b_panels = scratch + (64 - (uintptr_t)scratch % 64);
  char* a_panels = b_panels + round_up((int64_t)block_bytes(B_BLOCK_BYTES, k, part.columns), 64);
  im_plan seen = {kernel, {{0, 0}, {0, 0}, p->bias, p->limit}, 0};

  int64_t row = part.row, row_end = part.row + part.rows, rows = 0;
  for (; row < row_end; row += rows) {
    /* Whatever kernel takes over half-way, the block fits. */
    rows = block_lanes(A_BLOCK_BYTES, (size_t)(k + 2) * WIDEST_STEP, row_end - row, IM_MAX_ROWS);
    bool a_packed = false;
    im_bounds bounds = {.bias = p->bias, .limit = p->limit};
    int64_t column = part.column, column_end = part.column + part.columns, columns = 0;
    for (; column < column_end; column += columns) {
      int width = kernel->vectors * kernel->lanes;
      size_t lane_size = im_lane_size(kernel->scheme, false, k);
      if (!a_packed) {
        bounds.a = loops->pack(kernel->scheme, true, lanes_of_a(p, row), rows, k, kernel->rows,
                               kernel->rows, a_panels);
        a_packed = true;
      }
      const char* b = b_panels;
      if (p->kept && p->kept->kernel == kernel) {
        b = (const char*)p->kept->panels + (size_t)column * lane_size;
        columns = column_end - column;
        bounds.b = (im_range){p->kept->low, p->kept->high};
      } else {
        columns = block_lanes(B_BLOCK_BYTES, lane_size, column_end - column, width);
        bounds.b = loops->pack(kernel->scheme, false, lanes_of_b(p, column), columns, k, width,
                               kernel->lanes, b_panels);
      }
      seen.block = im_exact_block(kernel->scheme, bounds, k);
      if (seen.block == 0) {
        if (p->forced) return IM_NOT_EXACT;
        kernel = im_select(p->isa, bounds, k);
        a_packed = false;
        columns = 0;
        continue;
      }
      seen.kernel = kernel;
      seen.bounds.a = im_union(seen.bounds.a, bounds.a);
      seen.bounds.b = im_union(seen.bounds.b, bounds.b);
      multiply_block(p, kernel, seen.block, a_panels, row, rows, b, column, columns);
    }
  }
  if (plan) *plan = seen;
  return IM_OK;
}

/* A right operand that is kept ---------------------------------------------------------------- */

void im_packed_free(im_packed* packed) {
  free(packed->panels);
  *packed = (im_packed){0};
}

/* Pack all of b for the kernel that serves it with these values of a, unless it is so already. A
 * part of the product whose values need another kernel packs for itself. */
static im_status keep(const im_product* p, im_packed* kept) {
  im_part all = {0, p->m, 0, p->n};
  if (kept->isa != p->isa) kept->valid = false;
  im_bounds bounds = guess_bounds(p, all);
  if (kept->valid) bounds.b = (im_range){kept->low, kept->high};
  const im_kernel* kernel = im_select(p->isa, bounds, p->k);
  while (!kept->valid || kept->kernel != kernel) {
    uint64_t lane_size = im_lane_size(kernel->scheme, false, p->k);
    uint64_t size = im_room((uint64_t)round_up(p->n, kernel->lanes), lane_size);
    if (kept->size < size) {
      im_packed_free(kept);
      kept->panels = size <= PTRDIFF_MAX ? malloc((size_t)size) : NULL;
      if (!kept->panels) return IM_NO_MEMORY;
      kept->size = (size_t)size;
    }
    bounds.b = p->isa->loops->pack(kernel->scheme, false, lanes_of_b(p, 0), p->n, p->k,
                                   kernel->vectors * kernel->lanes, kernel->lanes, kept->panels);
    *kept =
        (im_packed){true, p->isa, kernel, bounds.b.low, bounds.b.high, kept->panels, kept->size};
    /* Another one where the range refuses this one; then it is known, and the choice stands. */
    if (im_exact_block(kernel->scheme, bounds, p->k) == 0) kernel = im_select(p->isa, bounds, p->k);
  }
  return IM_OK;
}

/* The product shared out ---------------------------------------------------------------------- */

typedef struct {
  const im_product* product;
  im_share share;
  size_t size; /* scratch of a part */
  char* scratch;
  im_plan* plan;    /* of the first part */
  im_status status; /* of the first part */
} im_crew;

static void multiply_part(void* context, int part) {
  im_crew* crew = context;
  const im_product* p = crew->product;
  im_share share = crew->share;
  int64_t length = share.by_rows ? p->m : p->n, unit = share.by_rows ? ROW_UNIT : COLUMN_UNIT;
  int64_t start = part_start(length, part, share.parts, unit);
  int64_t count = part_start(length, part + 1, share.parts, unit) - start;
  im_part here =
      share.by_rows ? (im_part){start, count, 0, p->n} : (im_part){0, p->m, start, count};
  im_status status =
      multiply(p, here, crew->scratch + (size_t)part * crew->size, part == 0 ? crew->plan : NULL);
  if (part == 0) crew->status = status;
}

static im_range range_of(im_matrix x, int64_t rows, int64_t columns) {
  im_range range = {0, 0};
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      const char* at = (const char*)x.data + i * x.row_stride + j * x.col_stride;
      int64_t v = im_load(at, x.elem, 0);
      range = im_union(range, (im_range){v < 0 ? v : 0, v > 0 ? v : 0});
    }
  return range;
}

im_status im_gemm(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                  const im_sink* given, im_gemm_options options, im_scratch* scratch) {
  im_sink sink = *given;
  const im_kernel* forced = options.kernel < 0 ? NULL : isa->kernels[options.kernel];
  im_product product = {isa, a, b, m, n, k, &sink, 0, im_limit(sink.accumulator), forced, NULL};
  if (sink.bias) {
    product.bias = im_bias_bound(sink.bias, sink.bias_elem, n, sink.bias_shift);
    if (product.bias == 0) sink.bias = NULL; /* zeros, which no shift needs to reach */
  }
  if (!forced && im_vector_product(isa, a, b, m, n, k, &sink)) {
    im_bounds bounds = {.bias = product.bias, .limit = product.limit};
    if (options.plan) {
      bounds.a = range_of(a, m, k);
      bounds.b = range_of(b, k, n);
      *options.plan = (im_plan){NULL, bounds, k};
    }
    return IM_OK;
  }
  if (options.kept) {
    if (keep(&product, options.kept) != IM_OK) return IM_NO_MEMORY;
    product.kept = options.kept;
  }
  /* A forced kernel may be refused, and a plan is one: for one thread. */
  bool alone = forced || options.plan;
  im_share share = share_out(m, n, k, alone ? 1 : scratch->threads);
  uint64_t size = part_scratch(share, k);
  im_crew crew = {&product, share, (size_t)size, NULL, options.plan, IM_OK};
  crew.scratch = im_scratch_reserve(scratch, (uint64_t)share.parts * size);
  if (!crew.scratch) return IM_NO_MEMORY;
  if (share.parts == 1)
    multiply_part(&crew, 0);
  else
    im_parallel(share.parts, multiply_part, &crew);
  return crew.status;
}

im_status im_matmul(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                    const void* bias, im_elem bias_elem, int bias_shift, im_accumulator accumulator,
                    int frac_in, im_format fmt, im_stream stream, void* out, int kernel,
                    im_scratch* scratch) {
  im_sink sink = {
      .kind = IM_REQUANTIZE,
      .fmt = fmt,
      .stream = stream,
      .frac_in = frac_in,
      .bias = bias,
      .bias_elem = bias_elem,
      .bias_shift = bias_shift,
      .out = out,
      .accumulator = accumulator,
  };
  im_gemm_options options = {.kernel = kernel};
  return im_gemm(isa, a, b, m, n, k, &sink, options, scratch);
}

im_status im_explain_matmul(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n,
                            int64_t k, const void* bias, im_elem bias_elem, int bias_shift,
                            im_accumulator accumulator, im_explanation* explanation) {
  static const char* const accumulators[] = {
      [IM_SCHEME_I8] = "int32",
      [IM_SCHEME_I16] = "int32",
      [IM_SCHEME_I16SPLIT] = "int32 and a sum of high halves",
      [IM_SCHEME_I16ANY] = "int32 modulo 2**32 and a sum of high bytes",
      [IM_SCHEME_I24] = "int32, three for two limbs",
      [IM_SCHEME_I24X16] = "int32, two for two limbs",
      [IM_SCHEME_I16X24] = "int32, two for two limbs",
      [IM_SCHEME_F64] = "float64",
      [IM_SCHEME_I32] = "int64",
      [IM_SCHEME_I32ANY] = "int64 modulo 2**64 and a sum of top bits",
      [IM_SCHEME_I64] = "int64",
      [IM_SCHEME_I128] = "128 bits",
      [IM_SCHEME_WIDE] = "192 bits",
      [IM_SCHEME_IN_ORDER] = "int64",
      [IM_SCHEME_IN_ORDER_WIDE] = "192 bits",
  };
  im_sink sink = {
      .kind = IM_DISCARD,
      .fmt = {.bits = 32, .overflow = IM_WRAP},
      .bias = bias,
      .bias_elem = bias_elem,
      .bias_shift = bias_shift,
      .accumulator = accumulator,
  };
  im_scratch scratch = {.threads = 1};
  im_plan plan;
  im_gemm_options options = {.kernel = -1, .plan = &plan};
  im_status status = im_gemm(isa, a, b, m, n, k, &sink, options, &scratch);
  im_scratch_free(&scratch);
  if (status != IM_OK) return status;
  im_bounds bounds = plan.bounds;
  im_scheme scheme = plan.kernel ? plan.kernel->scheme : IM_SCHEME_I64;
  *explanation = (im_explanation){
      plan.kernel ? plan.kernel->name : "vector",
      accumulators[scheme],
      bounds.a.low,
      bounds.a.high,
      bounds.b.low,
      bounds.b.high,
      smaller(plan.block * im_layouts[scheme].steps, k),
  };
  return IM_OK;
}
