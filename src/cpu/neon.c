/* aarch64, whose baseline has vectors of 128 bits: the baseline's loops are vectorised already. */
#include "isa.h"

#ifdef __aarch64__

#include "../gemm/gemm.h"

static bool supported(void) { return true; }

const im_isa im_isa_neon = {"neon", supported, im_kernels_neon, &im_loops_scalar};

#endif
