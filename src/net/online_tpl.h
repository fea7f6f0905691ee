/* The three loops of online training (online.c): bodies for isa_tpl.h.
 *
 * Weights are transposed: row k holds the weights of input k, one int32 lane an output, filled
 * up with zeros to `width`, a multiple of IM_ROW. So an input that is zero costs nothing, and
 * sums over inputs go straight down the lanes.
 *
 * Ranges. A product of two int32 is at most 2**62 in magnitude, and int64 holds it. Of sums, the
 * caller has proved that int64 holds them (online.c).
 *
 * im_vec is IM_LANES int64 lanes: what the target has, or one lane, which is any processor. A
 * multiplication reads the low halves of its lanes as int32. Of 2 * IM_LANES int32 in memory,
 * lanes_even and lanes_odd have every other one there, and anything in the high halves. */
#include "../arith/round.h"

#if IM_LANES == 8

typedef __m512i im_vec;
IM_INLINE im_vec lanes_of(int64_t v) { return _mm512_set1_epi64(v); }
IM_INLINE im_vec lanes_load(const int32_t* p) {
  return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)p));
}
IM_INLINE void lanes_store(int32_t* p, im_vec v) { /* the low halves: v lies in int32 */
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi64_epi32(v));
}
IM_INLINE void lanes_store_wide(int64_t* p, im_vec v) { _mm512_storeu_si512(p, v); }
IM_INLINE im_vec lanes_even(const int32_t* p) { return _mm512_loadu_si512(p); }
IM_INLINE im_vec lanes_odd(const int32_t* p) {
  return _mm512_srli_epi64(_mm512_loadu_si512(p), 32);
}
IM_INLINE void lanes_add_pairs(int32_t* p, im_vec even, im_vec odd) {
  im_vec both = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
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
IM_INLINE im_vec lanes_load(const int32_t* p) {
  return _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i*)p));
}
IM_INLINE void lanes_store(int32_t* p, im_vec v) {
  __m256i low_halves = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(low_halves));
}
IM_INLINE void lanes_store_wide(int64_t* p, im_vec v) { _mm256_storeu_si256((__m256i*)p, v); }
IM_INLINE im_vec lanes_even(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
IM_INLINE im_vec lanes_odd(const int32_t* p) { return _mm256_srli_epi64(lanes_even(p), 32); }
IM_INLINE void lanes_add_pairs(int32_t* p, im_vec even, im_vec odd) {
  im_vec both = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
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
IM_INLINE im_vec lanes_load(const int32_t* p) { return *p; }
IM_INLINE void lanes_store(int32_t* p, im_vec v) { *p = (int32_t)v; }
IM_INLINE void lanes_store_wide(int64_t* p, im_vec v) { *p = v; }
IM_INLINE im_vec lanes_even(const int32_t* p) { return p[0]; }
IM_INLINE im_vec lanes_odd(const int32_t* p) { return p[1]; }
IM_INLINE void lanes_add_pairs(int32_t* p, im_vec even, im_vec odd) {
  p[0] += (int32_t)even;
  p[1] += (int32_t)odd;
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

/* R(-s) for |s| <= 2**62 and k 1..62: im_round_narrow of round.h in lanes, where s + 2**k is at
 * most 2**63. */
IM_INLINE im_vec round_step(im_vec s, int k, im_rounding rounding) {
  im_vec step = lanes_sub(lanes_of(0), s), h = lanes_of(INT64_C(1) << (k - 1));
  im_vec minus_one = lanes_of(-1), negative;
  switch (rounding) {
    case IM_FLOOR: break;
    case IM_TOWARD_ZERO:
      negative = lanes_shr(step, 63);
      step = lanes_add(step, lanes_and(negative, lanes_of((INT64_C(1) << k) - 1)));
      break;
    case IM_HALF_UP: step = lanes_add(step, h); break;
    case IM_HALF_AWAY: step = lanes_add(lanes_add(step, h), lanes_shr(step, 63)); break;
    case IM_HALF_EVEN: {
      im_vec odd = lanes_and(lanes_shr(step, k), lanes_of(1));
      step = lanes_add(lanes_add(step, lanes_add(h, minus_one)), odd);
      break;
    }
  }
  return lanes_shr(step, k);
}

/* im_enter for formats of at most 32 bits. */
IM_INLINE im_vec enter_lanes(im_vec v, int bits, im_overflow overflow) {
  if (overflow == IM_WRAP) return lanes_shr(lanes_shl(v, 64 - bits), 64 - bits);
  int64_t high = INT64_MAX >> (64 - bits);
  return lanes_max(lanes_min(v, lanes_of(high)), lanes_of(-high - 1));
}

#if IM_LANES == 8
static void list_entries(const int32_t* v, int64_t n, im_inputs* inputs) {
  __m512i where = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i sum = _mm512_setzero_si512(), largest = sum;
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 16) {
    __m512i here = n - i >= 16 ? _mm512_loadu_si512(v + i)
                               : _mm512_maskz_loadu_epi32((__mmask16)((1u << (n - i)) - 1), v + i);
    __mmask16 some = _mm512_test_epi32_mask(here, here);
    _mm512_storeu_si512(inputs->at + count, _mm512_maskz_compress_epi32(some, where));
    _mm512_storeu_si512(inputs->value + count, _mm512_maskz_compress_epi32(some, here));
    count += __builtin_popcount(some);
    where = _mm512_add_epi32(where, _mm512_set1_epi32(16));
    __m512i sizes = _mm512_abs_epi32(here); /* as unsigned: 2**31 is itself */
    largest = _mm512_max_epu32(largest, sizes);
    sum = _mm512_add_epi64(sum, _mm512_srli_epi64(sizes, 32));
    sum = _mm512_add_epi64(sum, _mm512_maskz_mov_epi32(0x5555, sizes));
  }
  inputs->count = count;
  inputs->magnitudes = (uint64_t)_mm512_reduce_add_epi64(sum);
  inputs->largest = _mm512_reduce_max_epu32(largest);
}
#else
static void list_entries(const int32_t* v, int64_t n, im_inputs* inputs) {
  int64_t count = 0;
#if IM_LANES == 4
  for (int64_t first = 0; first < n; first += 64) {
    uint64_t some = 0;
    int64_t end = n - first < 64 ? n : first + 64, i = first;
    for (; i + 8 <= end; i += 8) {
      __m256i zero = _mm256_cmpeq_epi32(lanes_even(v + i), _mm256_setzero_si256());
      some |= (uint64_t)(~_mm256_movemask_ps(_mm256_castsi256_ps(zero)) & 0xff) << (i - first);
    }
    for (; i < end; i++) some |= (uint64_t)(v[i] != 0) << (i - first);
    for (; some; some &= some - 1) inputs->at[count++] = (int32_t)(first + __builtin_ctzll(some));
  }
#else
  for (int32_t i = 0; i < n; i++) {
    inputs->at[count] = i;
    count += v[i] != 0;
  }
#endif
  uint64_t sum = 0;
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; i++) {
    int32_t here = v[inputs->at[i]];
    uint32_t size = here < 0 ? 0 - (uint32_t)here : (uint32_t)here;
    inputs->value[i] = here;
    sum += size;
    largest = size > largest ? size : largest;
  }
  inputs->count = count;
  inputs->magnitudes = sum;
  inputs->largest = largest;
}
#endif

/* Accumulators have names, since compilers do not keep arrays of them in registers. */
#define SUM_OF_ENTRY(a, first) a = lanes_add(a, lanes_mul(x, lanes_load(row + (first) * IM_LANES)))
static void sum_entries(const im_inputs* inputs, const int32_t* w, int64_t width, int64_t* sums) {
  const int32_t *at = inputs->at, *value = inputs->value;
  const int64_t count = inputs->count;
  const im_vec zero = lanes_of(0);
  int64_t j = 0;
  for (; j + 8 * IM_LANES <= width; j += 8 * IM_LANES) {
    im_vec a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;
    for (int64_t i = 0; i < count; i++) {
      const int32_t* row = w + at[i] * width + j;
      im_vec x = lanes_of(value[i]);
      SUM_OF_ENTRY(a, 0);
      SUM_OF_ENTRY(b, 1);
      SUM_OF_ENTRY(c, 2);
      SUM_OF_ENTRY(d, 3);
      SUM_OF_ENTRY(e, 4);
      SUM_OF_ENTRY(f, 5);
      SUM_OF_ENTRY(g, 6);
      SUM_OF_ENTRY(h, 7);
    }
    im_vec all[8] = {a, b, c, d, e, f, g, h};
    for (int q = 0; q < 8; q++) lanes_store_wide(sums + j + q * IM_LANES, all[q]);
  }
  for (; j < width; j += 2 * IM_LANES) { /* 16 is a multiple of two vectors */
    im_vec a = zero, b = zero, c = zero, d = zero;
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
      const int32_t* row = w + at[i] * width + j;
      im_vec x = lanes_of(value[i]);
      SUM_OF_ENTRY(a, 0);
      SUM_OF_ENTRY(b, 1);
      row = w + at[i + 1] * width + j;
      x = lanes_of(value[i + 1]);
      SUM_OF_ENTRY(c, 0);
      SUM_OF_ENTRY(d, 1);
    }
    if (i < count) {
      const int32_t* row = w + at[i] * width + j;
      im_vec x = lanes_of(value[i]);
      SUM_OF_ENTRY(a, 0);
      SUM_OF_ENTRY(b, 1);
    }
    lanes_store_wide(sums + j, lanes_add(a, c));
    lanes_store_wide(sums + j + IM_LANES, lanes_add(b, d));
  }
}
#undef SUM_OF_ENTRY

/* Inlined once for each rule. Where all sums stay inside the format, a step is an int32 and added
 * as such, two rows of lanes at a time; elsewhere the sum is an int64 that enters the format. */
IM_INLINE void update_rows(const im_inputs* inputs, const int32_t* restrict d, int32_t* restrict w,
                           int64_t width, int k, im_format rules, bool inside,
                           int64_t* restrict dots) {
  for (int64_t i = 0; i < inputs->count; i++) {
    int32_t* row = w + inputs->at[i] * width;
    im_vec x = lanes_of(inputs->value[i]), dot = lanes_of(0);
    for (int64_t j = 0; inside && j < width; j += 2 * IM_LANES) {
      im_vec even = lanes_even(d + j), odd = lanes_odd(d + j);
      if (dots) {
        dot = lanes_add(dot, lanes_mul(even, lanes_even(row + j)));
        dot = lanes_add(dot, lanes_mul(odd, lanes_odd(row + j)));
      }
      lanes_add_pairs(row + j, round_step(lanes_mul(x, even), k, rules.rounding),
                      round_step(lanes_mul(x, odd), k, rules.rounding));
    }
    for (int64_t j = 0; !inside && j < width; j += IM_LANES) {
      im_vec delta = lanes_load(d + j), weight = lanes_load(row + j);
      if (dots) dot = lanes_add(dot, lanes_mul(delta, weight));
      im_vec step = round_step(lanes_mul(x, delta), k, rules.rounding);
      lanes_store(row + j, enter_lanes(lanes_add(weight, step), rules.bits, rules.overflow));
    }
    if (dots) dots[i] = lanes_total(dot);
  }
}

static void update_entries(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t width,
                           int k, im_format fmt, bool inside, int64_t* dots) {
#define UPDATE_ROWS(RULES)                                   \
  if (!inside)                                               \
    update_rows(inputs, d, w, width, k, RULES, false, dots); \
  else if (dots)                                             \
    update_rows(inputs, d, w, width, k, RULES, true, dots);  \
  else if (width == 16)                                      \
    update_rows(inputs, d, w, 16, k, RULES, true, NULL);     \
  else                                                       \
    update_rows(inputs, d, w, width, k, RULES, true, NULL)
  IM_FOR_EACH_RULE(fmt, UPDATE_ROWS)
#undef UPDATE_ROWS
}
