/* x86-64 with vectors of 256 bits. */
#include "isa.h"

#ifdef IM_X86

IM_TARGET_BEGIN("avx2,fma,bmi2")
#define IM_HAS_AVX2 1
#define IM_LOOPS_NAME im_loops_avx2
#define IM_LANES 4
#include "isa_tpl.h"
IM_TARGET_END

#include "../gemm/gemm.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2");
}

const im_isa im_isa_avx2 = {"avx2", supported, im_kernels_avx2, &im_loops_avx2};

#endif
