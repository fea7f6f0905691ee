/* The baseline of the platform: any processor, any compiler. */
#define IM_LOOPS_NAME im_loops_scalar
#define IM_LANES 1
#include "isa_tpl.h"

#include "../gemm/gemm.h"

static bool supported(void) { return true; }

const im_isa im_isa_scalar = {"scalar", supported, im_kernels_scalar, &im_loops_scalar};
