/* All loops of one target. Before including it, begin the target and define
 *
 *   IM_LOOPS_NAME   the table of them
 *
 * The headers that the loops are inlined from are included here first, inside the target, so
 * that their functions are compiled for it too.
 */
#include "isa.h"
#ifdef IM_HAS_AVX2
#include <immintrin.h>
#endif

#include "../arith/loops_tpl.h"
#include "../gemm/pack_tpl.h"
#include "../gemm/sink_tpl.h"

const im_loops IM_LOOPS_NAME = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
    .pack = pack,
    .sink_i64 = sink_i64,
    .sink_i128 = sink_i128,
    .sink_wide = sink_wide,
};

#undef IM_LOOPS_NAME
