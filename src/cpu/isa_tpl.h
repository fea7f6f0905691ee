/* All loops of one target. Before including it, begin the target and define
 *
 *   IM_LOOPS_NAME   the table of them
 *
 * The headers that the loops are inlined from are included here first, inside the target, so
 * that their functions are compiled for it too.
 */
#include "isa.h"

#include "../arith/loops_tpl.h"

const im_loops IM_LOOPS_NAME = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
};

#undef IM_LOOPS_NAME
