/* x86-64 with vectors of 512 bits: what every processor from Skylake-SP and Zen 4 on has. */
#include "isa.h"

#ifdef IM_X86

IM_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi2")
#define IM_HAS_AVX2 1
#define IM_LOOPS_NAME im_loops_avx512
#define IM_LANES 8
#include "isa_tpl.h"
IM_TARGET_END

#include "../gemm/gemm.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

const im_isa im_isa_avx512 = {"avx512", supported, im_kernels_avx512, &im_loops_avx512};

#endif
