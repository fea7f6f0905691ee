/* All loops of one target. Before including it, begin the target and define
 *
 *   IM_LOOPS_NAME   the table of them
 *   IM_LANES        int64 lanes of a vector that intrinsics serve: 8, 4, or 1 without any
 *
 * The headers that the loops are inlined from are included here first, inside the target, so
 * that their functions are compiled for it too.
 */
#include "isa.h"
#ifdef IM_HAS_AVX2
#include <immintrin.h>
#endif

#include "lanes_tpl.h"

#include "../arith/philox_tpl.h"

#include "../arith/loops_tpl.h"
#include "../net/loops_tpl.h"
#include "../net/observe_tpl.h"
#include "../net/softmax_tpl.h"
#include "../gemm/pack_tpl.h"
#include "../gemm/sink_tpl.h"
#include "../gemm/order_tpl.h"
#include "../net/online_tpl.h"
#include "../net/online_float_tpl.h"
#include "../net/observe_online_tpl.h"

const im_loops IM_LOOPS_NAME = {
    .quantize = quantize,
    .read_real = read_real,
    .requantize = requantize,
    .pack = pack,
    .sink_i64 = sink_i64,
    .sink_i128 = sink_i128,
    .sink_wide = sink_wide,
    .sum_in_order = sum_in_order,
    .requantize_joined = requantize_joined,
    .update = update,
    .update_by_real = update_by_real,
    .scale = scale,
    .all_finite = all_finite,
    .activate = activate,
    .gate = gate,
    .loss_gradient = loss_gradient,
    .loss = loss,
    .count_right = count_right,
    .cross_entropy_gradient = cross_entropy_gradient,
    .cross_entropy = cross_entropy,
    .float_cross_entropy_gradient = float_cross_entropy_gradient,
    .float_cross_entropy = float_cross_entropy,
    .activate_float = activate_float,
    .gate_float = gate_float,
    .float_product = float_product,
    .count_reals = count_reals,
    .largest_magnitude = largest_magnitude,
    .count_stored = count_stored,
    .count_saturated = count_saturated,
    .count_loss_gradient = count_loss_gradient,
    .count_gated = count_gated,
    .count_joined = count_joined,
    .count_stored_steps = count_stored_steps,
    .count_real_sizes = count_real_sizes,
    .count_real_steps = count_real_steps,
    .count_units = count_units,
    .count_values = count_values,
    .dot_rows = dot_rows,
    .count_rows = count_rows,
    .range_of_rows = range_of_rows,
    .count_products = count_products,
    .count_moved = count_moved,
    .count_real_products = count_real_products,
    .count_real_moved = count_real_moved,
    .list_entries = list_entries,
    .sum_entries = sum_entries,
    .update_entries = update_entries,
    .update_at_random = update_at_random,
    .end_forward = end_forward,
    .list_reals = list_reals,
    .sum_reals = sum_reals,
    .send_reals = send_reals,
    .step_reals = step_reals,
};

#undef IM_LOOPS_NAME
#undef IM_LANES
