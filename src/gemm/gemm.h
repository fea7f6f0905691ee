/* The exact matrix product: what its pieces hand each other.
 *
 *   select.c     which kernel is exact here and cheapest, with its proof
 *   pack_tpl.h   strided raw integers -> panels of a scheme's words, their range seen on the way
 *   tile_tpl.h   the body of every kernel; kernels_<isa>.c instantiate it by tiles_tpl.h
 *   sink_tpl.h   what becomes of the exact sums: requantized, a weight update, a float64
 *   order.c      sums that saturate at every step, in the order of k
 *   vector.c     products of one row, and outer products, without packing
 *   gemm.c       the loop over blocks that joins them, and the threads over it
 */
#ifndef IM_GEMM_H
#define IM_GEMM_H

#include "../arith/round.h"
#include "../cpu/isa.h"
#include "types.h"

/* Schemes -------------------------------------------------------------------------------- */

/* What a tile writes: int64; 128 bits in two words; three limbs. */
typedef enum { IM_SUM_I64, IM_SUM_I128, IM_SUM_WIDE } im_sum;

/* A panel holds some lanes: for each group of steps its words, each word for all lanes. */
typedef struct {
  int steps;      /* in a group */
  int a_words;    /* of one lane in a group, in panels of a */
  int b_words;    /* and of b */
  int word_size;  /* in bytes */
  int head_steps; /* panels of b repeat a head of 4 bytes per lane after so many; 0 for none */
  im_sum sum;
} im_layout;

static const im_layout im_layouts[] = {
    [IM_SCHEME_I8] = {4, 1, 1, 4, 8192, IM_SUM_I64},
    [IM_SCHEME_I16] = {2, 1, 1, 4, 0, IM_SUM_I64},
    [IM_SCHEME_I16SPLIT] = {2, 1, 1, 4, 0, IM_SUM_I64},
    [IM_SCHEME_I16ANY] = {4, 3, 3, 4, 128, IM_SUM_I64},
    [IM_SCHEME_I24] = {2, 3, 3, 4, 0, IM_SUM_I64},
    [IM_SCHEME_I24X16] = {2, 2, 1, 4, 0, IM_SUM_I64},
    [IM_SCHEME_I16X24] = {2, 1, 2, 4, 0, IM_SUM_I64},
    [IM_SCHEME_F64] = {1, 1, 1, 8, 0, IM_SUM_I64},
    [IM_SCHEME_I32] = {1, 1, 1, 8, 0, IM_SUM_I64},
    [IM_SCHEME_I32ANY] = {2, 2, 2, 8, 0, IM_SUM_I128},
    [IM_SCHEME_I64] = {1, 1, 1, 8, 0, IM_SUM_I64},
    [IM_SCHEME_I128] = {1, 1, 1, 8, 0, IM_SUM_I128},
    [IM_SCHEME_WIDE] = {1, 1, 1, 8, 0, IM_SUM_WIDE},
    [IM_SCHEME_IN_ORDER] = {1, 1, 1, 8, 0, IM_SUM_I64},
    [IM_SCHEME_IN_ORDER_WIDE] = {1, 1, 1, 8, 0, IM_SUM_WIDE},
};

static inline int64_t im_groups(im_scheme scheme, int64_t k) {
  int steps = im_layouts[scheme].steps;
  return (k + steps - 1) / steps;
}

/* Words of a lane in a group. */
static inline int im_words(im_scheme scheme, bool of_a) {
  return of_a ? im_layouts[scheme].a_words : im_layouts[scheme].b_words;
}

/* Bytes of a lane in panels of k steps. */
static inline size_t im_lane_size(im_scheme scheme, bool of_a, int64_t k) {
  im_layout layout = im_layouts[scheme];
  int64_t size = im_groups(scheme, k) * im_words(scheme, of_a) * layout.word_size;
  if (layout.head_steps && !of_a) size += 4 * ((k + layout.head_steps - 1) / layout.head_steps);
  return (size_t)size;
}

/* a * b, of sizes in memory; where no machine has as much, less, so that sums of some thousands do
 * not overflow. */
static inline uint64_t im_room(uint64_t a, uint64_t b) {
  const uint64_t most = UINT64_C(1) << 52;
  return b == 0 || a <= most / b ? a * b : most;
}

/* Kernels -------------------------------------------------------------------------------- */

/* A tile of `rows` lanes of a by one to three vectors of lanes of b, over packed panels. Writes
 * its sums in C order. Every `block` groups the accumulators are moved into the exact sums. */
typedef void im_tile(int64_t groups, int64_t block, const void* a, const void* b, void* sums);

enum { IM_MAX_ROWS = 8, IM_MAX_VECTORS = 3, IM_MAX_LANES = 48, IM_MAX_TILE = 8 * 48 };

/* The sums of a tile. */
typedef union {
  int64_t i64[IM_MAX_TILE];
  struct {
    uint64_t low[IM_MAX_TILE];
    int64_t high[IM_MAX_TILE];
  } i128;
  im_wide wide[IM_MAX_TILE];
} im_sums;

typedef struct im_kernel {
  const char* name;
  im_scheme scheme;
  int rows;                      /* of a tile */
  int lanes;                     /* of a vector */
  int vectors;                   /* of a whole tile */
  im_tile* tile[IM_MAX_VECTORS]; /* for panels of b of 1, 2, 3 vectors */
  double step, move;             /* picoseconds that an output spends on a step, and on a move */
  bool (*supported)(void);       /* NULL where its instruction set suffices */
} im_kernel;

static inline bool im_kernel_usable(const im_kernel* kernel) {
  return !kernel->supported || kernel->supported();
}

/* The kernels of each instruction set; NULL ends the list. */
extern const im_kernel *const im_kernels_scalar[],
    *const im_kernels_avx2[], *const im_kernels_avx512[], *const im_kernels_neon[];

/* Every list ends in these, for any operand. */
#ifdef IM_INT128
extern const im_kernel im_kernel_i128;
#define IM_ANY_OPERAND_KERNELS &im_kernel_i128, &im_kernel_wide
#else
#define IM_ANY_OPERAND_KERNELS &im_kernel_wide
#endif
extern const im_kernel im_kernel_wide;

/* Ranges and the choice of a kernel -------------------------------------------------------- */

static inline im_range im_union(im_range x, im_range y) {
  return (im_range){x.low < y.low ? x.low : y.low, x.high > y.high ? x.high : y.high};
}

typedef struct {
  im_range a, b;
  uint64_t bias;  /* largest magnitude of a shifted bias; UINT64_MAX proves nothing */
  uint64_t limit; /* that a partial sum may not exceed: im_limit */
} im_bounds;

/* The largest sum of an accumulator that saturates; of all others no partial sum matters. */
static inline uint64_t im_limit(im_accumulator accumulator) {
  bool saturates = accumulator.bits && accumulator.overflow == IM_SATURATE;
  return saturates ? (uint64_t)INT64_MAX >> (64 - accumulator.bits) : UINT64_MAX;
}

uint64_t im_bias_bound(const void* bias, im_elem elem, int64_t n, int shift);

/* How many groups the accumulators sum exactly before they are moved: 0 where the kernel cannot
 * be proved exact. */
int64_t im_exact_block(im_scheme scheme, im_bounds bounds, int64_t k);

/* The cheapest kernel that is exact under these bounds; where the limit is not proved, one of those
 * in order. */
const im_kernel* im_select(const im_isa* isa, im_bounds bounds, int64_t k);

/* Sums in order ------------------------------------------------------------------------------ */

/* They have no tiles, and no place in the lists: exact sums have no use for them. */
extern const im_kernel im_kernel_in_order, im_kernel_in_order_wide;

static inline bool im_is_in_order(const im_kernel* kernel) {
  return kernel == &im_kernel_in_order || kernel == &im_kernel_in_order_wide;
}

/* A tile, whose sums start with the bias and saturate at each of k steps, into the sink; panels of
 * b have `stride` lanes. */
void im_tile_in_order(const im_isa* isa, const im_kernel* kernel, const im_sink* sink,
                      im_place place, int64_t k, const void* a, const void* b, int stride);

/* The product ---------------------------------------------------------------------------------- */

/* What served a product: the kernel, the ranges it saw, its proof. */
typedef struct {
  const im_kernel* kernel; /* NULL where no packing was needed */
  im_bounds bounds;
  int64_t block; /* groups */
} im_plan;

/* Serve products of one row and outer products of int32 that int64, and a saturating accumulator,
 * are proved to hold; false, with nothing done, for all others. */
bool im_vector_product(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                       const im_sink* sink);

/* The scratch that suffices for a product of these sizes, whatever serves it. */
uint64_t im_gemm_scratch(int64_t m, int64_t n, int64_t k, int threads);

/* Memory of at least `size` bytes, kept for the next product; NULL where there is none. */
void* im_scratch_reserve(im_scratch* scratch, uint64_t size);

/* What a call may add to a product; NULL and -1 for nothing. */
typedef struct {
  int kernel;      /* forced, an index; else the cheapest exact way serves */
  im_packed* kept; /* b, where it does not change from call to call */
  im_plan* plan;   /* receives what served */
} im_gemm_options;

static const im_gemm_options im_gemm_default = {-1, NULL, NULL};

/* a (m, k) @ b (k, n) into the sink. */
im_status im_gemm(const im_isa* isa, im_matrix a, im_matrix b, int64_t m, int64_t n, int64_t k,
                  const im_sink* sink, im_gemm_options options, im_scratch* scratch);

#endif
