/* The scan of what callers hand in: no word of it may leave its range. */
#include <string.h>

#include "../intmlp.h"

/* What a word is tested by: none of the `marks` may be set in (word & mask) + add, mod 2**w. */
typedef struct {
  uint64_t mask, add, marks;
} im_test;

/* A float is finite iff its exponent is not all ones, that is, iff one added to the exponent,
 * with the sign masked out, does not carry into the sign's place. A raw v of w bits is in
 * -2**(bits-1) .. 2**(bits-1) - 1 iff v + 2**(bits-1) is in 0 .. 2**bits - 1, that is, iff no bit
 * from `bits` upwards is set; for bits >= w, every v is. */
static im_test test_of(im_source_kind kind, im_format fmt) {
  int width = kind == IM_SOURCE_F32 || kind == IM_SOURCE_I32 ? 32 : 64;
  if (kind == IM_SOURCE_F32) return (im_test){0x7f800000, 0x00800000, 0x80000000};
  if (kind == IM_SOURCE_F64) return (im_test){0x7ffULL << 52, 1ULL << 52, 1ULL << 63};
  if (fmt.bits >= width) return (im_test){0, 0, 0};
  return (im_test){UINT64_MAX, 1ULL << (fmt.bits - 1), UINT64_MAX << fmt.bits};
}

/* Whether a row passes. The loop joins the words and has no exit: contiguous, it is vectorised. */
#define ROW_PASSES(NAME, WORD)                                                                  \
  static inline WORD NAME##_join(const char* row, int64_t columns, ptrdiff_t stride, WORD mask, \
                                 WORD add) {                                                    \
    WORD joined = 0;                                                                            \
    for (int64_t j = 0; j < columns; j++) {                                                     \
      WORD word;                                                                                \
      memcpy(&word, row + j * stride, sizeof word);                                             \
      joined |= (word & mask) + add;                                                            \
    }                                                                                           \
    return joined;                                                                              \
  }                                                                                             \
  static bool NAME(const char* row, int64_t columns, ptrdiff_t stride, im_test test) {          \
    WORD mask = (WORD)test.mask, add = (WORD)test.add;                                          \
    WORD joined = stride == sizeof(WORD) ? NAME##_join(row, columns, sizeof(WORD), mask, add)   \
                                         : NAME##_join(row, columns, stride, mask, add);        \
    return (joined & (WORD)test.marks) == 0;                                                    \
  }
ROW_PASSES(row_passes_32, uint32_t)
ROW_PASSES(row_passes_64, uint64_t)
#undef ROW_PASSES

bool im_source_is_valid(im_source x, int64_t rows, int64_t columns, im_format fmt) {
  bool narrow = x.kind == IM_SOURCE_F32 || x.kind == IM_SOURCE_I32;
  im_test test = test_of(x.kind, fmt);
  if (test.marks == 0) return true;
  for (int64_t i = 0; i < rows; i++) {
    const char* row = (const char*)x.data + i * x.row_stride;
    if (!(narrow ? row_passes_32 : row_passes_64)(row, columns, x.col_stride, test)) return false;
  }
  return true;
}
