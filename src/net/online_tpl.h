/* The loops of online training (online.c): bodies for isa_tpl.h.
 *
 * Weights are transposed: row k holds the weights of input k, one int32 lane an output, filled
 * up with zeros to `width`, a multiple of 16. So an input that is zero costs nothing, and sums
 * over inputs go straight down the lanes.
 *
 * Ranges. A product of two int32 is at most 2**62 in magnitude, and int64 holds it. Of sums, the
 * caller has proved that int64 holds them (online.c).
 *
 * im_vec is IM_LANES int64 lanes: what the target has, or one lane, which is any processor. A
 * multiplication reads the low halves of its lanes as int32; lanes_factor has one there. Of 2 *
 * IM_LANES int32 in memory, a pair, lanes_even and lanes_odd have every other one there, and
 * anything in the high halves. */
#include "../arith/round.h"

#if IM_LANES == 8

typedef __m512i im_vec;
IM_INLINE im_vec lanes_of(int64_t v) { return _mm512_set1_epi64(v); }
IM_INLINE im_vec lanes_factor(const int32_t* p) { return _mm512_set1_epi32(*p); }
IM_INLINE im_vec lanes_load(const int32_t* p) {
  return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)p));
}
IM_INLINE void lanes_store(int32_t* p, im_vec v) { /* the low halves: v lies in int32 */
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi64_epi32(v));
}
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  __m512i high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi64(even, low, odd));
  _mm512_storeu_si512(p + 8, _mm512_permutex2var_epi64(even, high, odd));
}
IM_INLINE im_vec lanes_even(const int32_t* p) { return _mm512_loadu_si512(p); }
IM_INLINE im_vec lanes_odd(const int32_t* p) {
  return _mm512_srli_epi64(_mm512_loadu_si512(p), 32);
}
IM_INLINE void lanes_add_shifted(int32_t* p, im_vec even, im_vec odd, int k) {
  im_vec both;
  if (k > 32) {
    both = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    both = _mm512_sra_epi32(both, _mm_cvtsi32_si128(k - 32));
  } else {
    even = _mm512_srl_epi64(even, _mm_cvtsi32_si128(k));
    odd = _mm512_sll_epi64(odd, _mm_cvtsi32_si128(32 - k));
    both = _mm512_mask_blend_epi32(0xaaaa, even, odd);
  }
  _mm512_storeu_si512(p, _mm512_add_epi32(_mm512_loadu_si512(p), both));
}
IM_INLINE im_vec lanes_add(im_vec a, im_vec b) { return _mm512_add_epi64(a, b); }
IM_INLINE im_vec lanes_sub(im_vec a, im_vec b) { return _mm512_sub_epi64(a, b); }
IM_INLINE im_vec lanes_and(im_vec a, im_vec b) { return _mm512_and_si512(a, b); }
IM_INLINE im_vec lanes_mul(im_vec a, im_vec b) { return _mm512_mul_epi32(a, b); } /* int32 */
IM_INLINE im_vec lanes_shl(im_vec v, int k) { return _mm512_sll_epi64(v, _mm_cvtsi32_si128(k)); }
IM_INLINE im_vec lanes_shr(im_vec v, int k) { return _mm512_sra_epi64(v, _mm_cvtsi32_si128(k)); }
IM_INLINE im_vec lanes_min(im_vec a, im_vec b) { return _mm512_min_epi64(a, b); }
IM_INLINE im_vec lanes_max(im_vec a, im_vec b) { return _mm512_max_epi64(a, b); }
IM_INLINE int64_t lanes_total(im_vec v) { return _mm512_reduce_add_epi64(v); }

#elif IM_LANES == 4

typedef __m256i im_vec;
IM_INLINE im_vec lanes_of(int64_t v) { return _mm256_set1_epi64x(v); }
IM_INLINE im_vec lanes_factor(const int32_t* p) { return _mm256_set1_epi32(*p); }
IM_INLINE im_vec lanes_load(const int32_t* p) {
  return _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i*)p));
}
IM_INLINE void lanes_store(int32_t* p, im_vec v) {
  __m256i low_halves = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(low_halves));
}
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  im_vec low = _mm256_unpacklo_epi64(even, odd), high = _mm256_unpackhi_epi64(even, odd);
  _mm256_storeu_si256((__m256i*)p, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256((__m256i*)p + 1, _mm256_permute2x128_si256(low, high, 0x31));
}
IM_INLINE im_vec lanes_even(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
IM_INLINE im_vec lanes_odd(const int32_t* p) { return _mm256_srli_epi64(lanes_even(p), 32); }
IM_INLINE void lanes_add_shifted(int32_t* p, im_vec even, im_vec odd, int k) {
  im_vec both;
  if (k > 32) {
    both = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    both = _mm256_sra_epi32(both, _mm_cvtsi32_si128(k - 32));
  } else {
    even = _mm256_srl_epi64(even, _mm_cvtsi32_si128(k));
    odd = _mm256_sll_epi64(odd, _mm_cvtsi32_si128(32 - k));
    both = _mm256_blend_epi32(even, odd, 0xaa);
  }
  _mm256_storeu_si256((__m256i*)p, _mm256_add_epi32(lanes_even(p), both));
}
IM_INLINE im_vec lanes_add(im_vec a, im_vec b) { return _mm256_add_epi64(a, b); }
IM_INLINE im_vec lanes_sub(im_vec a, im_vec b) { return _mm256_sub_epi64(a, b); }
IM_INLINE im_vec lanes_and(im_vec a, im_vec b) { return _mm256_and_si256(a, b); }
IM_INLINE im_vec lanes_mul(im_vec a, im_vec b) { return _mm256_mul_epi32(a, b); }
IM_INLINE im_vec lanes_shl(im_vec v, int k) { return _mm256_sll_epi64(v, _mm_cvtsi32_si128(k)); }
IM_INLINE im_vec lanes_shr(im_vec v, int k) { /* shifts in zeros: as if v + 2**63 were */
  __m128i by = _mm_cvtsi32_si128(k);
  im_vec sign = _mm256_set1_epi64x(INT64_MIN);
  return _mm256_sub_epi64(_mm256_srl_epi64(_mm256_xor_si256(v, sign), by),
                          _mm256_srl_epi64(sign, by));
}
IM_INLINE im_vec lanes_min(im_vec a, im_vec b) {
  return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b));
}
IM_INLINE im_vec lanes_max(im_vec a, im_vec b) {
  return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b));
}
IM_INLINE int64_t lanes_total(im_vec v) {
  __m128i s = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_cvtsi128_si64(s) + _mm_extract_epi64(s, 1);
}

#else

typedef int64_t im_vec;
IM_INLINE im_vec lanes_of(int64_t v) { return v; }
IM_INLINE im_vec lanes_factor(const int32_t* p) { return *p; }
IM_INLINE im_vec lanes_load(const int32_t* p) { return *p; }
IM_INLINE void lanes_store(int32_t* p, im_vec v) { *p = (int32_t)v; }
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  p[0] = even;
  p[1] = odd;
}
IM_INLINE im_vec lanes_even(const int32_t* p) { return p[0]; }
IM_INLINE im_vec lanes_odd(const int32_t* p) { return p[1]; }
IM_INLINE void lanes_add_shifted(int32_t* p, im_vec even, im_vec odd, int k) {
  p[0] += (int32_t)(even >> k);
  p[1] += (int32_t)(odd >> k);
}
IM_INLINE im_vec lanes_add(im_vec a, im_vec b) { return a + b; }
IM_INLINE im_vec lanes_sub(im_vec a, im_vec b) { return a - b; }
IM_INLINE im_vec lanes_and(im_vec a, im_vec b) { return a & b; }
IM_INLINE im_vec lanes_mul(im_vec a, im_vec b) { return a * b; }
IM_INLINE im_vec lanes_shl(im_vec v, int k) { return (int64_t)((uint64_t)v << k); }
IM_INLINE im_vec lanes_shr(im_vec v, int k) { return v >> k; }
IM_INLINE im_vec lanes_min(im_vec a, im_vec b) { return a < b ? a : b; }
IM_INLINE im_vec lanes_max(im_vec a, im_vec b) { return a > b ? a : b; }
IM_INLINE int64_t lanes_total(im_vec v) { return v; }

#endif

/* What R adds to s before it shifts by k, for |s| <= 2**62 and k 1..62: im_round_more of round.h in
 * lanes. s + 2**k is at most 2**63. */
IM_INLINE im_vec add_for_rounding(im_vec s, int k, im_rounding rounding) {
  im_vec h = lanes_of(INT64_C(1) << (k - 1));
  switch (rounding) {
    case IM_FLOOR: break;
    case IM_TOWARD_ZERO:
      return lanes_add(s, lanes_and(lanes_shr(s, 63), lanes_of((INT64_C(1) << k) - 1)));
    case IM_HALF_UP: return lanes_add(s, h);
    case IM_HALF_AWAY: return lanes_add(lanes_add(s, h), lanes_shr(s, 63));
    case IM_HALF_EVEN: {
      im_vec odd = lanes_and(lanes_shr(s, k), lanes_of(1));
      return lanes_add(lanes_add(s, lanes_add(h, lanes_of(-1))), odd);
    }
  }
  return s;
}

/* im_enter for formats of at most 32 bits. */
IM_INLINE im_vec enter_lanes(im_vec v, int bits, im_overflow overflow) {
  if (overflow == IM_WRAP) return lanes_shr(lanes_shl(v, 64 - bits), 64 - bits);
  int64_t high = INT64_MAX >> (64 - bits);
  return lanes_max(lanes_min(v, lanes_of(high)), lanes_of(-high - 1));
}

#if IM_LANES == 4
/* Numbers i + j for bits j of `some`, 0..7; room for eight. Returns how many. */
IM_INLINE int64_t list_some(uint32_t some, int64_t i, int32_t* at) {
  /* bit j of `some` fills byte j; of the numbers 0..7 those bytes are kept */
  uint64_t bytes = _pdep_u64(some, UINT64_C(0x0101010101010101)) * 0xff;
  __m128i kept = _mm_cvtsi64_si128((int64_t)_pext_u64(UINT64_C(0x0706050403020100), bytes));
  __m256i where = _mm256_add_epi32(_mm256_cvtepu8_epi32(kept), _mm256_set1_epi32((int32_t)i));
  _mm256_storeu_si256((__m256i*)at, where);
  return __builtin_popcount(some);
}
#endif

/* Free of branches: which pixels are zero cannot be foreseen. */
static void list_entries(const int32_t* v, int64_t n, const int32_t* next, im_inputs* inputs) {
  int32_t* at = inputs->at;
  int64_t count = 0, i = 0;
  uint32_t largest = 0;
#if IM_LANES == 8
  /* Whole lines; the first and the last may lie partly outside v, in lanes that are masked off. */
  __m512i sizes = _mm512_setzero_si512();
  __m512i where = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  i = -(int64_t)((uintptr_t)v / sizeof *v % 16);
  where = _mm512_add_epi32(where, _mm512_set1_epi32((int32_t)i));
#define LIST_LINE(HERE)                                                            \
  do {                                                                             \
    IM_PREFETCH(next + i);                                                         \
    __m512i here = HERE;                                                           \
    __mmask16 some = _mm512_test_epi32_mask(here, here);                           \
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(some, where));     \
    count += __builtin_popcount(some);                                             \
    where = _mm512_add_epi32(where, _mm512_set1_epi32(16));                        \
    sizes = _mm512_max_epu32(sizes, _mm512_abs_epi32(here)); /* 2**31 is itself */ \
    i += 16;                                                                       \
  } while (0)
  uint32_t inner = 0xffffu << -i;
  if (i + 16 <= n) {
    LIST_LINE(_mm512_maskz_loadu_epi32((__mmask16)inner, v + i));
    inner = 0xffff;
    while (i + 16 <= n) LIST_LINE(_mm512_loadu_si512(v + i));
  }
  if (i < n) LIST_LINE(_mm512_maskz_loadu_epi32((__mmask16)(inner & ((1u << (n - i)) - 1)), v + i));
#undef LIST_LINE
  largest = _mm512_reduce_max_epu32(sizes);
#elif IM_LANES == 4
  uint32_t each[8];
  __m256i sizes = _mm256_setzero_si256();
  for (; i + 8 <= n; i += 8) {
    if (i % 16 == 0) IM_PREFETCH(next + i);
    __m256i here = lanes_even(v + i), zero = _mm256_cmpeq_epi32(here, _mm256_setzero_si256());
    uint32_t some = ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(zero)) & 0xff;
    count += list_some(some, i, at + count);
    sizes = _mm256_max_epu32(sizes, _mm256_abs_epi32(here));
  }
  _mm256_storeu_si256((__m256i*)each, sizes);
  for (int j = 0; j < 8; j++) largest = each[j] > largest ? each[j] : largest;
#endif
  for (; i < n; i++) {
    if (i % 16 == 0) IM_PREFETCH(next + i);
    uint32_t size = v[i] < 0 ? 0 - (uint32_t)v[i] : (uint32_t)v[i];
    at[count] = (int32_t)i;
    count += v[i] != 0;
    largest = size > largest ? size : largest;
  }
  inputs->value = v;
  inputs->count = count;
  inputs->largest = largest;
}

/* Sums of 1, 2 or 4 pairs of lanes. Accumulators have names, since compilers do not keep arrays
 * of them in registers. */
#define ADD_PAIR(q)                                                                 \
  if (q < pairs) {                                                                  \
    even##q = lanes_add(even##q, lanes_mul(x, lanes_even(row + q * 2 * IM_LANES))); \
    odd##q = lanes_add(odd##q, lanes_mul(x, lanes_odd(row + q * 2 * IM_LANES)));    \
  }
#define STORE_PAIR(q) \
  if (q < pairs) lanes_store_pair(sums + q * 2 * IM_LANES, even##q, odd##q)
IM_INLINE void sum_pairs(const im_inputs* inputs, const int32_t* w, int64_t width, int pairs,
                         int64_t* sums) {
  const int32_t *at = inputs->at, *value = inputs->value;
  const im_vec zero = lanes_of(0);
  im_vec even0 = zero, even1 = zero, even2 = zero, even3 = zero;
  im_vec odd0 = zero, odd1 = zero, odd2 = zero, odd3 = zero;
  for (int64_t i = 0, count = inputs->count; i < count; i++) {
    const int32_t* row = w + at[i] * width;
    im_vec x = lanes_factor(value + at[i]);
    ADD_PAIR(0)
    ADD_PAIR(1)
    ADD_PAIR(2)
    ADD_PAIR(3)
  }
  STORE_PAIR(0);
  STORE_PAIR(1);
  STORE_PAIR(2);
  STORE_PAIR(3);
}
#undef ADD_PAIR
#undef STORE_PAIR

static void sum_entries(const im_inputs* inputs, const int32_t* w, int64_t width, int64_t* sums) {
  enum { PAIR = 2 * IM_LANES, LEAST = IM_LANES == 8 ? 1 : 2 }; /* 16 lanes, or a divisor of them */
  if (width == 16) {
    for (int64_t j = 0; j < 16; j += LEAST * PAIR) sum_pairs(inputs, w + j, 16, LEAST, sums + j);
    return;
  }
  int64_t j = 0;
  for (; j + 4 * PAIR <= width; j += 4 * PAIR) sum_pairs(inputs, w + j, width, 4, sums + j);
  for (; j < width; j += LEAST * PAIR) sum_pairs(inputs, w + j, width, LEAST, sums + j);
}

/* Where all sums stay inside the format, a step is an int32 and added as such, a pair of lanes at a
 * time: its low 32 bits are all that is needed. Inlined once for each rounding and each constant,
 * of which `far` is k > 32. */
IM_INLINE void update_inside(const im_inputs* inputs, const int32_t* restrict d,
                             int32_t* restrict w, int64_t width, int k, bool far,
                             im_rounding rounding, int64_t* restrict dots) {
  if ((k > 32) != far) return; /* cannot be: tells the compiler */
  const int32_t *at = inputs->at, *value = inputs->value;
  for (int64_t i = 0, count = inputs->count; i < count; i++) {
    int32_t* row = w + at[i] * width;
    im_vec x = lanes_factor(value + at[i]), dot = lanes_of(0);
    for (int64_t j = 0; j < width; j += 2 * IM_LANES) {
      im_vec even = lanes_even(d + j), odd = lanes_odd(d + j);
      if (dots) {
        dot = lanes_add(dot, lanes_mul(even, lanes_even(row + j)));
        dot = lanes_add(dot, lanes_mul(odd, lanes_odd(row + j)));
      }
      even = lanes_mul(x, lanes_sub(lanes_of(0), even));
      odd = lanes_mul(x, lanes_sub(lanes_of(0), odd));
      lanes_add_shifted(row + j, add_for_rounding(even, k, rounding),
                        add_for_rounding(odd, k, rounding), k);
    }
    if (dots) dots[i] = lanes_total(dot);
  }
}

/* Elsewhere the sum is an int64 that enters the format. Inlined once for each rule. */
IM_INLINE void update_anywhere(const im_inputs* inputs, const int32_t* restrict d,
                               int32_t* restrict w, int64_t width, int k, im_format rules,
                               int64_t* restrict dots) {
  for (int64_t i = 0; i < inputs->count; i++) {
    int32_t* row = w + inputs->at[i] * width;
    im_vec x = lanes_factor(inputs->value + inputs->at[i]), dot = lanes_of(0);
    for (int64_t j = 0; j < width; j += IM_LANES) {
      im_vec delta = lanes_load(d + j), weight = lanes_load(row + j);
      if (dots) dot = lanes_add(dot, lanes_mul(delta, weight));
      im_vec step = lanes_sub(lanes_of(0), lanes_mul(x, delta));
      step = lanes_shr(add_for_rounding(step, k, rules.rounding), k);
      lanes_store(row + j, enter_lanes(lanes_add(weight, step), rules.bits, rules.overflow));
    }
    if (dots) dots[i] = lanes_total(dot);
  }
}

static void update_entries(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t width,
                           int k, im_format fmt, bool inside, int64_t* dots) {
#define ANYWHERE(RULES) update_anywhere(inputs, d, w, width, k, RULES, dots)
  if (!inside) {
    IM_FOR_EACH_RULE(fmt, ANYWHERE)
    return;
  }
#define INSIDE(ROUNDING)                                          \
  if (dots && k > 32)                                             \
    update_inside(inputs, d, w, width, k, true, ROUNDING, dots);  \
  else if (dots)                                                  \
    update_inside(inputs, d, w, width, k, false, ROUNDING, dots); \
  else if (width == 16 && k > 32)                                 \
    update_inside(inputs, d, w, 16, k, true, ROUNDING, NULL);     \
  else if (width == 16)                                           \
    update_inside(inputs, d, w, 16, k, false, ROUNDING, NULL);    \
  else if (k > 32)                                                \
    update_inside(inputs, d, w, width, k, true, ROUNDING, NULL);  \
  else                                                            \
    update_inside(inputs, d, w, width, k, false, ROUNDING, NULL)
  IM_FOR_EACH_ROUNDING(fmt.rounding, INSIDE)
#undef ANYWHERE
#undef INSIDE
}

/* The first index of the largest of n entries of v, which has room for whole vectors of 16. */
IM_INLINE int32_t first_largest(const int32_t* v, int32_t n, int64_t width) {
  int32_t largest = INT32_MIN, first = n;
  for (int32_t j = 0; j < width; j++) {
    int32_t here = j < n ? v[j] : INT32_MIN;
    largest = here > largest ? here : largest;
  }
  for (int32_t j = 0; j < width; j++) {
    int32_t here = j < n && v[j] == largest ? j : n;
    first = here < first ? here : first;
  }
  return first;
}

/* |a - y| and |2 * (a - y)| are below 2**34. Squares are summed of the low halves of a - y, which
 * are all of it where no magnitude, joined bit by bit, reaches 2**28; then 64 of them are below
 * 2**62. */
IM_INLINE void end_rows(const im_layer* layer, im_format rules, bool is_relu, int k, bool half_loss,
                        const int64_t* restrict sums, int64_t width, const int32_t* restrict y,
                        int32_t* restrict a, int32_t* restrict d, im_ending* ending) {
  int64_t squares = 0, joined = 0, largest = 0;
  for (int64_t j = 0; j < width; j++) {
    int64_t z = im_enter(im_round_shift(sums[j], k, rules.rounding), rules.bits, rules.overflow);
    int64_t out = is_relu && z < 0 ? 0 : z, gradient = out - y[j];
    int32_t low = (int32_t)gradient;
    squares += (int64_t)low * low;
    joined |= gradient < 0 ? -gradient : gradient;
    int64_t delta =
        im_enter(half_loss ? gradient : 2 * gradient, layer->delta.bits, layer->delta.overflow);
    delta = is_relu && z <= 0 ? 0 : delta;
    int64_t size = delta < 0 ? -delta : delta;
    largest = size > largest ? size : largest;
    a[j] = (int32_t)out;
    d[j] = (int32_t)delta;
  }
  int32_t n = (int32_t)layer->n_out;
  ending->right = first_largest(a, n, width) == first_largest(y, n, width);
  ending->largest = (uint64_t)largest;
  ending->squares = joined >> 28 == 0 && width <= 64 ? squares : -1;
}

static void end_forward(const im_layer* layer, int k, bool half_loss, const int64_t* sums,
                        int64_t width, const int32_t* y, int32_t* a, int32_t* d,
                        im_ending* ending) {
  bool is_relu = layer->function == IM_RELU;
#define END_ROWS(RULES)                                                    \
  if (width == 16 && is_relu)                                              \
    end_rows(layer, RULES, true, k, half_loss, sums, 16, y, a, d, ending); \
  else                                                                     \
    end_rows(layer, RULES, is_relu, k, half_loss, sums, width, y, a, d, ending)
  IM_FOR_EACH_RULE(layer->activation, END_ROWS)
#undef END_ROWS
}
