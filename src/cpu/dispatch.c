/* The table of instruction sets, best first. A new one is its file in cpu/, its kernels, and one
 * line here. */
#include "../gemm/gemm.h"

static const im_isa* const built[] = {
#ifdef IM_X86
    &im_isa_avx512,
    &im_isa_avx2,
#endif
#ifdef __aarch64__
    &im_isa_neon,
#endif
    &im_isa_scalar,
};

enum { BUILT = sizeof built / sizeof built[0] };

const im_isa* const* im_isas(void) {
  static bool known; /* once it is, threads only read */
  static const im_isa* usable[BUILT + 1];
  for (int i = 0, count = 0; i < BUILT && !known; i++)
    if (built[i]->supported()) usable[count++] = built[i];
  known = true;
  return usable;
}

const char* im_isa_name(const im_isa* isa) { return isa->name; }

const char* im_isa_kernel(const im_isa* isa, int index) {
  return isa->kernels[index] ? isa->kernels[index]->name : NULL;
}

bool im_isa_kernel_usable(const im_isa* isa, int index) {
  return im_kernel_usable(isa->kernels[index]);
}
