/* Kernels in portable C: any processor, any compiler. */
#include "gemm.h"

/* Integers in float64: exact up to 2**53, and the widest multiplier that plain C has on
 * processors without wide integer vectors. */
#define TILE_NAME tile_f64
#define TILE_MR 3
#define TILE_NR 4
#define TILE_ELEM double
#define TILE_ACC double
#define TILE_SUM int64_t
#define TILE_MAC(acc, a, b) ((acc) + (a) * (b))
#define TILE_MOVE(sum, acc) ((sum) + (int64_t)(acc))
#include "tile_tpl.h"

#define TILE_NAME tile_i64
#define TILE_MR 4
#define TILE_NR 2
#define TILE_ELEM int64_t
#define TILE_ACC int64_t
#define TILE_SUM int64_t
#define TILE_MAC(acc, a, b) ((acc) + (a) * (b))
#define TILE_MOVE(sum, acc) ((sum) + (acc))
#include "tile_tpl.h"

#define TILE_NAME tile_wide
#define TILE_MR 2
#define TILE_NR 2
#define TILE_ELEM int64_t
#define TILE_ACC im_wide
#define TILE_SUM im_wide
#define TILE_MAC(acc, a, b) im_wide_add(acc, im_wide_mul(a, b))
#define TILE_MOVE(sum, acc) im_wide_add(sum, acc)
#include "tile_tpl.h"

const im_kernel im_kernels_scalar[IM_SCALAR_KERNELS] = {
    {"f64", IM_SUM_F64, 3, 4, tile_f64},
    {"i64", IM_SUM_I64, 4, 2, tile_i64},
    {"wide", IM_SUM_WIDE, 2, 2, tile_wide},
};
