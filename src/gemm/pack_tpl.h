/* Strided raw integers into panels of a scheme's words: a body for isa_tpl.h.
 *
 * A chunk of some steps by all lanes of a panel is gathered first, steps outside, lanes inside, as
 * int32 or int64, unless it lies so in memory; its range is taken; it is cut into words. Lanes and
 * steps that are not there are zero, which adds nothing to an exact sum. A value that the scheme
 * cannot hold is cut off here, and the range says so: the caller then packs again for a wider
 * scheme.
 */
#include "gemm.h"

enum { CHUNK = 16 };

typedef union {
  int32_t i32[CHUNK * IM_MAX_LANES];
  int64_t i64[CHUNK * IM_MAX_LANES];
} im_chunk;

/* Gathering ---------------------------------------------------------------------------------- */

/* to[step][lane] = from[lane][step] for 8 steps of 8 lanes. */
static inline void transpose_8x8(const char* from, ptrdiff_t lane_stride, int32_t* to, int width) {
#ifdef IM_HAS_AVX2
  __m256i r[8], p[8], q[8];
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_si256((const void*)(from + i * lane_stride));
  for (int i = 0; i < 8; i += 2) {
    p[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    p[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    q[i] = _mm256_unpacklo_epi64(p[i], p[i + 2]);
    q[i + 1] = _mm256_unpackhi_epi64(p[i], p[i + 2]);
    q[i + 2] = _mm256_unpacklo_epi64(p[i + 1], p[i + 3]);
    q[i + 3] = _mm256_unpackhi_epi64(p[i + 1], p[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    __m256i low = _mm256_permute2x128_si256(q[i], q[i + 4], 0x20);
    __m256i high = _mm256_permute2x128_si256(q[i], q[i + 4], 0x31);
    _mm256_storeu_si256((void*)(to + i * width), low);
    _mm256_storeu_si256((void*)(to + (i + 4) * width), high);
  }
#else
  for (int step = 0; step < 8; step++)
    for (int lane = 0; lane < 8; lane++)
      to[step * width + lane] = ((const int32_t*)(from + lane * lane_stride))[step];
#endif
}

#define GATHER_EACH(T, FROM_STEP, FROM_LANE)         \
  for (int step = FROM_STEP; step < steps; step++)   \
    for (int lane = FROM_LANE; lane < lanes; lane++) \
      to[step * width + lane] =                      \
          *(const T*)(from.data + lane * from.lane_stride + step * from.step_stride);

IM_INLINE void gather_i32(im_strided from, int lanes, int steps, int width, int32_t* to) {
  if (lanes < width || steps < CHUNK) memset(to, 0, (size_t)(CHUNK * width) * sizeof *to);
  if (from.lane_stride == (ptrdiff_t)sizeof *to) {
    for (int step = 0; step < steps; step++)
      memcpy(to + step * width, from.data + step * from.step_stride, (size_t)lanes * sizeof *to);
    return;
  }
  if (from.step_stride == (ptrdiff_t)sizeof *to) {
    int lanes8 = lanes / 8 * 8, steps8 = steps / 8 * 8;
    for (int lane = 0; lane < lanes; lane++) /* of the chunk after the next */
      IM_PREFETCH(from.data + lane * from.lane_stride + 2 * CHUNK * (int)sizeof *to);
    for (int lane = 0; lane < lanes8; lane += 8)
      for (int step = 0; step < steps8; step += 8)
        transpose_8x8(from.data + lane * from.lane_stride + step * from.step_stride,
                      from.lane_stride, to + step * width + lane, width);
    if (steps8 < steps) GATHER_EACH(int32_t, steps8, 0)
    steps = steps8;
    if (lanes8 < lanes) GATHER_EACH(int32_t, 0, lanes8)
    return;
  }
  GATHER_EACH(int32_t, 0, 0)
}

IM_INLINE void gather_i64(im_strided from, int lanes, int steps, int width, int64_t* to) {
  if (lanes < width || steps < CHUNK) memset(to, 0, (size_t)(CHUNK * width) * sizeof *to);
  GATHER_EACH(int64_t, 0, 0)
}

#undef GATHER_EACH

/* Cutting into words ------------------------------------------------------------------------- */

#define ROW 1
#include "cut_tpl.h"
#ifdef __GNUC__ /* and clang */
#define ROW 4
#include "cut_tpl.h"
#endif
#ifdef IM_HAS_AVX2
#define ROW 8
#include "cut_tpl.h"
#endif
#if IM_LANES == 8
#define ROW 16
#include "cut_tpl.h"
#endif

/* A chunk of `width` lanes, a constant where inlined, into words of 32 bits where the scheme has
 * those; the range of its values. */
IM_INLINE im_range cut_narrow(im_scheme scheme, bool of_a, const int32_t* v, ptrdiff_t stride,
                              int width, void* to, int32_t* head) {
#if IM_LANES == 8
  if (width % 16 == 0) return cut_rows16(scheme, of_a, v, stride, width, to, head);
#endif
#ifdef IM_HAS_AVX2
  if (width % 8 == 0) return cut_rows8(scheme, of_a, v, stride, width, to, head);
#endif
#ifdef __GNUC__
  if (width % 4 == 0) return cut_rows4(scheme, of_a, v, stride, width, to, head);
#endif
  return cut_rows1(scheme, of_a, v, stride, width, to, head);
}

IM_INLINE void cut_i32any(const int32_t* restrict v, ptrdiff_t stride, int width,
                          uint64_t* restrict to) {
  for (int step = 0; step < CHUNK; step += 2, v += 2 * stride, to += 2 * width) {
    for (int i = 0; i < width; i++) {
      int32_t v0 = v[i], v1 = v[stride + i];
      uint32_t top0 = (uint32_t)((v0 >> 21) + (v0 >> 20 & 1));
      uint32_t top1 = (uint32_t)((v1 >> 21) + (v1 >> 20 & 1));
      to[i] = (uint32_t)v0 | (uint64_t)((top0 & 0xffff) | top1 << 16) << 32;
      to[width + i] = (uint32_t)v1;
    }
  }
}

#define DEFINE_WIDEN(NAME, FROM, TO)                                                          \
  IM_INLINE void NAME(const FROM* restrict v, ptrdiff_t stride, int width, TO* restrict to) { \
    for (int step = 0; step < CHUNK; step++, v += stride, to += width)                        \
      for (int i = 0; i < width; i++) to[i] = (TO)v[i];                                       \
  }
DEFINE_WIDEN(i32_to_f64, int32_t, double)
DEFINE_WIDEN(i32_to_i64, int32_t, int64_t)
DEFINE_WIDEN(i64_to_f64, int64_t, double)
DEFINE_WIDEN(i64_to_i64, int64_t, int64_t)
DEFINE_WIDEN(i64_to_i32, int64_t, int32_t)
#undef DEFINE_WIDEN

IM_INLINE im_range cut_i32(im_scheme scheme, bool of_a, const int32_t* v, ptrdiff_t stride,
                           int width, void* to, int32_t* head) {
  switch (scheme) {
    case IM_SCHEME_I8:
    case IM_SCHEME_I16:
    case IM_SCHEME_I16SPLIT:
    case IM_SCHEME_I16ANY:
    case IM_SCHEME_I24:
    case IM_SCHEME_I24X16:
    case IM_SCHEME_I16X24: break;
    case IM_SCHEME_I32ANY: cut_i32any(v, stride, width, to); break;
    case IM_SCHEME_F64: i32_to_f64(v, stride, width, to); break;
    case IM_SCHEME_I32:
    case IM_SCHEME_I64:
    case IM_SCHEME_I128:
    case IM_SCHEME_WIDE:
    case IM_SCHEME_IN_ORDER:
    case IM_SCHEME_IN_ORDER_WIDE: i32_to_i64(v, stride, width, to); break;
  }
  return cut_narrow(scheme, of_a, v, stride, width, to, head);
}

/* The same for a chunk of int64; schemes of less take its lower halves. */
IM_INLINE im_range cut_i64(im_scheme scheme, bool of_a, const int64_t* v, int width, void* to,
                           int32_t* head) {
  int32_t narrow[CHUNK * IM_MAX_LANES];
  im_range range = {0, 0};
  for (int i = 0; i < CHUNK * width; i++) range = im_union(range, (im_range){v[i], v[i]});
  switch (scheme) {
    case IM_SCHEME_F64: i64_to_f64(v, width, width, to); break;
    case IM_SCHEME_I64:
    case IM_SCHEME_I128:
    case IM_SCHEME_WIDE:
    case IM_SCHEME_IN_ORDER:
    case IM_SCHEME_IN_ORDER_WIDE: i64_to_i64(v, width, width, to); break;
    default:
      i64_to_i32(v, width, width, narrow);
      cut_i32(scheme, of_a, narrow, width, width, to, head);
  }
  return range;
}

/* Panels ----------------------------------------------------------------------------------- */

/* Steps step .. step + CHUNK of one panel, and the range of their values. `panel` begins it. */
IM_INLINE im_range pack_chunk(im_scheme scheme, bool of_a, im_strided from, int lanes, int64_t step,
                              int64_t k, int width, char* panel) {
  im_layout layout = im_layouts[scheme];
  int steps = k - step < CHUNK ? (int)(k - step) : CHUNK;
  char* to = panel + (size_t)width * im_lane_size(scheme, of_a, step);
  int32_t* head = NULL;
  if (layout.head_steps && !of_a) {
    int64_t block = step / layout.head_steps;
    head =
        (int32_t*)(panel + (size_t)width * im_lane_size(scheme, of_a, block * layout.head_steps));
    if (step % layout.head_steps == 0) {
      memset(head, 0, (size_t)width * sizeof *head);
      to += (size_t)width * sizeof *head;
    }
  }
  /* The last chunk may hold fewer groups than are cut. */
  im_chunk chunk, cut;
  void* here = steps < CHUNK ? (void*)&cut : to;
  im_range range;
  from.data += step * from.step_stride;
  if (from.elem == IM_I64) {
    gather_i64(from, lanes, steps, width, chunk.i64);
    range = cut_i64(scheme, of_a, chunk.i64, width, here, head);
  } else if (from.lane_stride == 4 && lanes == width && steps == CHUNK) {
    const int32_t* v = (const int32_t*)from.data;
    ptrdiff_t stride = from.step_stride / 4;
    for (int i = 0; i < CHUNK; i++) /* rows are far apart: ask for those of the next chunk */
      for (int j = 0; j < width; j += 16) IM_PREFETCH(v + (CHUNK + i) * stride + j);
    range = cut_i32(scheme, of_a, v, stride, width, here, head);
  } else {
    gather_i32(from, lanes, steps, width, chunk.i32);
    range = cut_i32(scheme, of_a, chunk.i32, width, width, here, head);
  }
  if (steps < CHUNK)
    memcpy(to, &cut,
           (size_t)(im_groups(scheme, steps) * im_words(scheme, of_a) * layout.word_size * width));
  return range;
}

/* The same for panels of any width. */
static im_range pack_at(im_scheme scheme, bool of_a, im_strided from, int64_t lanes, int64_t lane,
                        int64_t step, int64_t k, int width, int unit, char* panels) {
  int here = lanes - lane < width ? (int)(lanes - lane) : width;
  from.data += lane * from.lane_stride;
  char* panel = panels + (size_t)lane * im_lane_size(scheme, of_a, k);
#define PACK_CHUNK(WIDTH)                                                   \
  return of_a ? pack_chunk(scheme, true, from, here, step, k, WIDTH, panel) \
              : pack_chunk(scheme, false, from, here, step, k, WIDTH, panel)
  int padded = (here + unit - 1) / unit * unit;
  switch (padded) { /* for the compiler to know what is constant */
    case 4: PACK_CHUNK(4);
    case 8: PACK_CHUNK(8);
    case 16: PACK_CHUNK(16);
    case 24: PACK_CHUNK(24);
    case 32: PACK_CHUNK(32);
    case 48: PACK_CHUNK(48);
    default: PACK_CHUNK(padded);
  }
#undef PACK_CHUNK
}

/* Panels of `width` lanes for all `lanes`, the last one rounded up to a multiple of `unit`;
 * returns the range of all values. Memory is read along its rows. */
static im_range pack(im_scheme scheme, bool of_a, im_strided from, int64_t lanes, int64_t k,
                     int width, int unit, void* panels) {
  im_range seen = {0, 0};
  /* Where k is 0 there is a head all the same, at which the sums begin. */
#define PACK \
  seen = im_union(seen, pack_at(scheme, of_a, from, lanes, lane, step, k, width, unit, panels))
  if (from.lane_stride == (ptrdiff_t)im_elem_size(from.elem)) {
    for (int64_t step = 0; step < k || step == 0; step += CHUNK)
      for (int64_t lane = 0; lane < lanes; lane += width) PACK;
  } else {
    for (int64_t lane = 0; lane < lanes; lane += width)
      for (int64_t step = 0; step < k || step == 0; step += CHUNK) PACK;
  }
#undef PACK
  return seen;
}
