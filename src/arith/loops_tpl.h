/* Loops over arrays of any length, for one target: bodies for isa_tpl.h.
 *
 * The element types and rules that matter have a loop of their own. What needs more steps works
 * in blocks of int64 or float64 that stay in the first-level cache. The predicate of a fast path
 * is tested once for a block; where it fails, each element takes the general path of round.h.
 */
#include "round.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Blocks in and out -------------------------------------------------------------------------- */

static void load_block(const void* from, im_elem elem, int64_t at, int64_t n, int64_t* v) {
  if (elem == IM_I32)
    for (int64_t i = 0; i < n; i++) v[i] = ((const int32_t*)from)[at + i];
  else
    memcpy(v, (const int64_t*)from + at, (size_t)n * sizeof *v);
}

static void store_block(const int64_t* v, int64_t n, void* to, im_elem elem, int64_t at) {
  if (elem == IM_I32)
    for (int64_t i = 0; i < n; i++) ((int32_t*)to)[at + i] = (int32_t)v[i];
  else
    memcpy((int64_t*)to + at, v, (size_t)n * sizeof *v);
}

/* The OR of all magnitudes (of v, or of -1 - v below zero): 2**b exceeds them all where it
 * exceeds this. */
static uint64_t magnitudes(const int64_t* v, int64_t n) {
  uint64_t all = 0;
  for (int64_t i = 0; i < n; i++) all |= (uint64_t)(v[i] ^ (v[i] >> 63));
  return all;
}

/* Elements `stride` bytes apart as float64, exact but for large int64. */
static void load_reals(const void* from, im_source_kind kind, ptrdiff_t stride, int64_t n,
                       double* x) {
  const char* p = from;
#define LOAD(TYPE)                                                         \
  if (stride == sizeof(TYPE))                                              \
    for (int64_t i = 0; i < n; i++) x[i] = (double)((const TYPE*)from)[i]; \
  else                                                                     \
    for (int64_t i = 0; i < n; i++) x[i] = (double)*(const TYPE*)(p + i * stride)
  switch (kind) {
    case IM_SOURCE_F32: LOAD(float); break;
    case IM_SOURCE_F64: LOAD(double); break;
    case IM_SOURCE_I32: LOAD(int32_t); break;
    case IM_SOURCE_I64: LOAD(int64_t); break;
  }
#undef LOAD
}

/* requantize ----------------------------------------------------------------------------------- */

IM_INLINE void shift_all(const int64_t* s, int64_t n, int k, im_format rules, const uint32_t* words,
                         void* out, im_elem elem) {
  for (int64_t i = 0; i < n; i++) {
    int64_t rounded = im_round_shift(s[i], k, rules.rounding, im_word(rules.rounding, words, i));
    im_store(out, elem, i, im_enter(rounded, rules.bits, rules.overflow));
  }
}

/* The same in lanes of 32 bits, k 1..31, of wordless rules. */
IM_INLINE void shift_all_32(const int32_t* s, int64_t n, int k, im_format rules, int32_t* out) {
  for (int64_t i = 0; i < n; i++)
    out[i] = im_enter_32(im_round_shift_32(s[i], k, rules.rounding, 0), rules.bits, rules.overflow);
}

IM_INLINE void scale_block(int64_t* v, int64_t n, int up, int bits, im_overflow overflow) {
  for (int64_t i = 0; i < n; i++) v[i] = im_enter(v[i] * (INT64_C(1) << up), bits, overflow);
}

/* v = requantize(v * 2**-k), in place. Rounding never overflows; scaling up does not where
 * every |v| or, below zero, -1 - v is at most 2**(63 + k) - 1. */
static void requantize_block(int64_t* v, int64_t n, int k, im_format fmt, const uint32_t* words) {
  if (k >= 1 && k <= 63) {
#define SHIFT_BLOCK(RULES) shift_all(v, n, k, RULES, words, v, IM_I64)
    IM_FOR_EACH_RULE(fmt, SHIFT_BLOCK)
#undef SHIFT_BLOCK
  } else if (k <= 0 && k > -63 && magnitudes(v, n) <= (uint64_t)(INT64_MAX >> -k)) {
    if (fmt.overflow == IM_SATURATE)
      scale_block(v, n, -k, fmt.bits, IM_SATURATE);
    else
      scale_block(v, n, -k, fmt.bits, IM_WRAP);
  } else {
    for (int64_t i = 0; i < n; i++)
      v[i] = im_requantize_wide(im_wide_of(v[i]), k, fmt, im_word(fmt.rounding, words, i));
  }
}

static void requantize(const void* s, im_elem elem, int64_t n, int frac_in, im_format fmt,
                       im_stream stream, void* out) {
  int k = frac_in - fmt.frac;
  im_elem out_elem = im_elem_of(fmt);
  bool wordless = fmt.rounding != IM_STOCHASTIC;
  if (wordless && k >= 1 && k <= 31 && elem == IM_I32 && out_elem == IM_I32) {
#define SHIFT_ALL(RULES) shift_all_32(s, n, k, RULES, out)
    IM_FOR_EACH_WORDLESS_RULE(fmt, SHIFT_ALL)
#undef SHIFT_ALL
    return;
  }
  if (wordless && k >= 1 && k <= 63 && elem == IM_I64 && out_elem == IM_I32) {
#define SHIFT_ALL(RULES) shift_all(s, n, k, RULES, NULL, out, IM_I32)
    IM_FOR_EACH_WORDLESS_RULE(fmt, SHIFT_ALL)
#undef SHIFT_ALL
    return;
  }
  int64_t v[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(s, elem, at, count, v);
    requantize_block(v, count, k, fmt, random_words(stream, at, count, fmt, room));
    store_block(v, count, out, out_elem, at);
  }
}

/* quantize and dequantize ------------------------------------------------------------------------
 */

/* Whether im_round_small serves all of v. */
static bool all_small(const double* v, int64_t n, double scale) {
  uint64_t large = 0;
  for (int64_t i = 0; i < n; i++) large |= !im_is_small(v[i], scale);
  return !large;
}

IM_INLINE void quantize_small(const double* v, int64_t n, double scale, im_format rules,
                              const uint32_t* words, void* out, im_elem elem) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t word = im_word(rules.rounding, words, i);
    int64_t rounded = im_round_small(v[i], scale, rules.rounding, word);
    im_store(out, elem, i, im_enter(rounded, rules.bits, rules.overflow));
  }
}

static void quantize_block(const double* v, int64_t n, im_format fmt, const uint32_t* words,
                           void* out) {
  double scale = im_small_scale(fmt);
  im_elem elem = im_elem_of(fmt);
  if (all_small(v, n, scale)) {
#define QUANTIZE_SMALL(RULES)                               \
  if (elem == IM_I32)                                       \
    quantize_small(v, n, scale, RULES, words, out, IM_I32); \
  else                                                      \
    quantize_small(v, n, scale, RULES, words, out, IM_I64)
    IM_FOR_EACH_RULE(fmt, QUANTIZE_SMALL)
#undef QUANTIZE_SMALL
  } else {
    for (int64_t i = 0; i < n; i++) {
      uint32_t word = im_word(fmt.rounding, words, i);
      im_store(out, elem, i, im_quantize_double(v[i], fmt, word));
    }
  }
}

/* The same for float32 into int32, in lanes of 32 bits, of wordless rules. */
static bool all_small_32(const float* v, int64_t n, float scale) {
  uint32_t large = 0;
  for (int64_t i = 0; i < n; i++) large |= !im_is_small_32(v[i], scale);
  return !large;
}

IM_INLINE void quantize_small_32(const float* v, int64_t n, float scale, im_format rules,
                                 int32_t* out) {
  for (int64_t i = 0; i < n; i++)
    out[i] =
        im_enter_32(im_round_small_32(v[i], scale, rules.rounding, 0), rules.bits, rules.overflow);
}

/* False, with nothing done, where im_round_small_32 does not serve all of v. */
static bool quantize_block_32(const float* v, int64_t n, im_format fmt, int32_t* out) {
  float scale = (float)im_small_scale(fmt);
  if (!all_small_32(v, n, scale)) return false;
#define QUANTIZE_SMALL(RULES) quantize_small_32(v, n, scale, RULES, out)
  IM_FOR_EACH_WORDLESS_RULE(fmt, QUANTIZE_SMALL)
#undef QUANTIZE_SMALL
  return true;
}

static void quantize(const void* v, im_source_kind kind, ptrdiff_t stride, int64_t n, im_format fmt,
                     im_stream stream, void* out) {
  double block[BLOCK];
  uint32_t room[WORDS];
  bool narrow = kind == IM_SOURCE_F32 && stride == sizeof(float) && im_elem_of(fmt) == IM_I32 &&
                fmt.rounding != IM_STOCHASTIC;
  bool in_place = kind == IM_SOURCE_F64 && stride == sizeof(double);
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    const void* from = (const char*)v + at * stride;
    void* to = (char*)out + (size_t)at * im_elem_size(im_elem_of(fmt));
    if (narrow && quantize_block_32(from, count, fmt, to)) continue;
    if (!in_place) load_reals(from, kind, stride, count, block);
    quantize_block(in_place ? from : block, count, fmt, random_words(stream, at, count, fmt, room),
                   to);
  }
}

static void read_real(const void* from, im_source_kind kind, ptrdiff_t stride, int64_t n, int frac,
                      double* out) {
  load_reals(from, kind, stride, n, out);
  if (kind == IM_SOURCE_F32 || kind == IM_SOURCE_F64) return;
  /* The conversion rounded to nearest even, the scaling by a power of two is exact. */
  double scale = im_power_of_two(-frac);
  for (int64_t i = 0; i < n; i++) out[i] *= scale;
}

/* Updates ---------------------------------------------------------------------------------------
 */

/* s = s * 2**lift + kept * (2**up - 2**less), where all of it stays below 2**62. */
IM_INLINE void join_kept(int64_t* s, const void* kept, im_elem elem, int64_t at, int64_t n,
                         const im_addend* with) {
  const int lift = with->lift, up = with->up, less = with->less < 0 ? 0 : with->less;
  const uint64_t taken = with->less < 0 ? 0 : UINT64_MAX;
  for (int64_t i = 0; i < n; i++) {
    uint64_t v = (uint64_t)im_load(kept, elem, at + i);
    s[i] = (int64_t)(((uint64_t)s[i] << lift) + (v << up) - ((v & taken) << less));
  }
}

/* A block of sums, of elements from `at` on, joined in place. False, with nothing done, where it is
 * not proved that int64 holds it: a sum that is lifted is at most 2**61, and what joins it 2**60.
 */
static bool join(const im_addend* with, int64_t at, int64_t* s, int64_t n) {
  if (!with->kept) return true;
  if (with->bits - 1 + with->up > 60 || with->lift > 60) return false;
  if (magnitudes(s, n) >= UINT64_C(1) << (61 - with->lift)) return false;
  if (with->elem == IM_I32)
    join_kept(s, with->kept, IM_I32, at, n, with);
  else
    join_kept(s, with->kept, IM_I64, at, n, with);
  return true;
}

/* The same of any one sum. */
static im_long join_one(const im_addend* with, int64_t at, im_wide s) {
  if (!with->kept) return im_long_of(s);
  im_long kept = im_long_of_i64(im_load(with->kept, with->elem, at));
  im_long sum = im_long_add(im_long_shl(im_long_of(s), with->lift), im_long_shl(kept, with->up));
  if (with->less < 0) return sum;
  return im_long_add(sum, im_long_negate(im_long_shl(kept, with->less)));
}

static const im_addend nothing = {.less = -1};

static void requantize_joined(const void* s, im_elem elem, int64_t n, int k, im_format fmt,
                              const im_addend* with, im_stream stream, void* out) {
  int64_t v[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(s, elem, at, count, v);
    const uint32_t* words = random_words(stream, at, count, fmt, room);
    if (join(with, at, v, count))
      requantize_block(v, count, k, fmt, words);
    else
      for (int64_t i = 0; i < count; i++)
        v[i] = im_requantize_long(join_one(with, at + i, im_wide_of(v[i])), k, fmt,
                                  im_word(fmt.rounding, words, i));
    store_block(v, count, out, im_elem_of(fmt), at);
  }
}

IM_INLINE void update_block(int64_t* w, const int64_t* g, int64_t n, int k, im_format rules,
                            const uint32_t* words) {
  for (int64_t i = 0; i < n; i++)
    w[i] = im_update_i64(w[i], g[i], k, rules, im_word(rules.rounding, words, i));
}

/* The same in lanes of 32 bits, by a wordless rule: both formats have at most 31, and k is 1..31,
 * so that -g fits, and |w|, |R(-g)| <= 2**30 have a sum that does. */
IM_INLINE void update_all_32(int32_t* w, const int32_t* g, int64_t n, int k, im_format rules) {
  for (int64_t i = 0; i < n; i++) {
    int32_t step = im_round_shift_32(-g[i], k, rules.rounding, 0);
    w[i] = im_enter_32(w[i] + step, rules.bits, rules.overflow);
  }
}

static void update(void* w, const void* g, im_format of_g, int64_t n, int k, im_format fmt,
                   const im_addend* with, im_stream stream) {
  bool wordless = fmt.rounding != IM_STOCHASTIC;
  if (wordless && !with->kept && k >= 1 && k <= 31 && of_g.bits <= 31 && fmt.bits <= 31) {
#define UPDATE_ALL(RULES) update_all_32(w, g, n, k, RULES)
    IM_FOR_EACH_WORDLESS_RULE(fmt, UPDATE_ALL)
#undef UPDATE_ALL
    return;
  }
  int64_t weights[BLOCK], gradient[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(w, im_elem_of(fmt), at, count, weights);
    load_block(g, im_elem_of(of_g), at, count, gradient);
    const uint32_t* words = random_words(stream, at, count, fmt, room);
    bool joined = join(with, at, gradient, count);
    if (joined && im_update_is_narrow(k, fmt.bits) && magnitudes(gradient, count) < INT64_MAX) {
#define UPDATE_BLOCK(RULES) update_block(weights, gradient, count, k, RULES, words)
      IM_FOR_EACH_RULE(fmt, UPDATE_BLOCK)
#undef UPDATE_BLOCK
    } else {
      for (int64_t i = 0; i < count; i++) {
        im_long s = join_one(joined ? &nothing : with, at + i, im_wide_of(gradient[i]));
        weights[i] = im_update_long(weights[i], s, k, fmt, im_word(fmt.rounding, words, i));
      }
    }
    store_block(weights, count, w, im_elem_of(fmt), at);
  }
}

IM_INLINE void real_update_block(int64_t* w, const double* step, int64_t n, double scale,
                                 im_format rules, const uint32_t* words) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t word = im_word(rules.rounding, words, i);
    int64_t rounded = im_round_small(step[i], scale, rules.rounding, word);
    w[i] = im_enter(w[i] + rounded, rules.bits, rules.overflow);
  }
}

/* Narrow where |w| <= 2**61 and |R(step)| <= 2**51. */
static void update_by_real(void* w, const double* step, int64_t n, im_format fmt,
                           im_stream stream) {
  int64_t weights[BLOCK];
  uint32_t room[WORDS];
  double scale = im_small_scale(fmt);
  for (int64_t at = 0; at < n; at += BLOCK, step += BLOCK) {
    int64_t count = smaller(n - at, BLOCK);
    load_block(w, im_elem_of(fmt), at, count, weights);
    const uint32_t* words = random_words(stream, at, count, fmt, room);
    if (fmt.bits <= 62 && all_small(step, count, scale)) {
#define UPDATE_BLOCK(RULES) real_update_block(weights, step, count, scale, RULES, words)
      IM_FOR_EACH_RULE(fmt, UPDATE_BLOCK)
#undef UPDATE_BLOCK
    } else {
      for (int64_t i = 0; i < count; i++) {
        im_wide rounded = im_round_double(step[i], fmt, im_word(fmt.rounding, words, i));
        im_wide sum = im_wide_add(im_wide_of(weights[i]), rounded);
        weights[i] = im_enter_wide(sum, fmt.bits, fmt.overflow);
      }
    }
    store_block(weights, count, w, im_elem_of(fmt), at);
  }
}

/* v[i] * 2**e, rounded once. */
static void scale(double* v, int64_t n, int e) {
  if (e < -1022 || e > 1023) {
    for (int64_t i = 0; i < n; i++) v[i] = im_scale(v[i], e);
    return;
  }
  double power = im_power_of_two(e);
  for (int64_t i = 0; i < n; i++) v[i] *= power;
}

/* Checks -----------------------------------------------------------------------------------------
 */

static bool all_finite(const double* v, int64_t n) {
  uint64_t bad = 0;
  for (int64_t i = 0; i < n; i++) bad |= (uint64_t)!(fabs(v[i]) <= DBL_MAX);
  return !bad;
}
