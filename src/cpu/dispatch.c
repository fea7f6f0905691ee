/* The table of instruction sets. A new one is its file of kernels and one line here. */
#include "../gemm/gemm.h"

static const im_isa* const built[] = {
    &im_isa_scalar,
};

enum { BUILT = sizeof built / sizeof built[0] };

const im_isa* const* im_isas(void) {
  static const im_isa* usable[BUILT + 1];
  int count = 0;
  for (int i = 0; i < BUILT; i++)
    if (built[i]->supported()) usable[count++] = built[i];
  usable[count] = NULL;
  return usable;
}

const char* im_isa_name(const im_isa* isa) { return isa->name; }

const char* im_isa_kernel(const im_isa* isa, int index) {
  return index < isa->kernel_count ? isa->kernels[index].name : NULL;
}
