/* Strided raw integers into panels of a kernel's element type; and the memory for them. */
#include <stdlib.h>

#include "gemm.h"

/* One panel: `lanes` of `width` lanes are there, the rest become zero, which adds nothing to an
 * exact sum. FROM and TO are the element types; the conversion is exact by the kernel's proof. */
#define PACK_PANEL(FROM, TO)                                        \
  do {                                                              \
    TO* to = panel;                                                 \
    for (int64_t step = 0; step < steps; step++, to += width) {     \
      const char* from = (const char*)data + step * step_stride;    \
      for (int lane = 0; lane < lanes; lane++)                      \
        to[lane] = (TO) * (const FROM*)(from + lane * lane_stride); \
      for (int lane = lanes; lane < width; lane++) to[lane] = 0;    \
    }                                                               \
  } while (0)

static void pack_panel(im_accumulator accumulator, const void* data, im_elem elem,
                       ptrdiff_t lane_stride, ptrdiff_t step_stride, int lanes, int64_t steps,
                       int width, void* panel) {
  if (accumulator == IM_SUM_F64) {
    if (elem == IM_I32)
      PACK_PANEL(int32_t, double);
    else
      PACK_PANEL(int64_t, double);
  } else {
    if (elem == IM_I32)
      PACK_PANEL(int32_t, int64_t);
    else
      PACK_PANEL(int64_t, int64_t);
  }
}

void im_pack(im_accumulator accumulator, const void* data, im_elem elem, ptrdiff_t lane_stride,
             ptrdiff_t step_stride, int64_t lanes, int64_t steps, int width, void* panels) {
  for (int64_t lane = 0; lane < lanes; lane += width) {
    int here = lanes - lane < width ? (int)(lanes - lane) : width;
    pack_panel(accumulator, (const char*)data + lane * lane_stride, elem, lane_stride, step_stride,
               here, steps, width, (char*)panels + (size_t)(lane * steps) * IM_PACKED_SIZE);
  }
}

void* im_scratch_reserve(im_scratch* scratch, size_t size) {
  if (scratch->size < size) {
    free(scratch->data);
    scratch->data = malloc(size);
    scratch->size = scratch->data ? size : 0;
  }
  return scratch->data;
}

void im_scratch_free(im_scratch* scratch) {
  free(scratch->data);
  *scratch = (im_scratch){0};
}
