/* Vectors of IM_LANES int64: what the target has, or one lane, which is any processor.
 *
 * A multiplication reads the low halves of its lanes; lanes_factor has one there. Of 2 * IM_LANES
 * int32 in memory, a pair, lanes_even and lanes_odd have every other one there, and anything in
 * the high halves. */
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
IM_INLINE im_vec lanes_get(const int64_t* p) { return _mm512_loadu_si512(p); }
IM_INLINE void lanes_put(int64_t* p, im_vec v) { _mm512_storeu_si512(p, v); }
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  __m512i high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi64(even, low, odd));
  _mm512_storeu_si512(p + 8, _mm512_permutex2var_epi64(even, high, odd));
}
IM_INLINE void lanes_store_words(uint32_t* p, im_vec even, im_vec odd) {
  lanes_store_pair((int64_t*)p, even, odd);
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
IM_INLINE im_vec lanes_count(void) { return _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7); }
IM_INLINE im_vec lanes_xor(im_vec a, im_vec b, im_vec c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
IM_INLINE im_vec lanes_or(im_vec a, im_vec b) { return _mm512_or_si512(a, b); }
IM_INLINE im_vec lanes_mul_unsigned(im_vec a, im_vec b) { return _mm512_mul_epu32(a, b); }
IM_INLINE im_vec lanes_shr_unsigned(im_vec v, int k) {
  return _mm512_srl_epi64(v, _mm_cvtsi32_si128(k));
}
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
IM_INLINE im_vec lanes_get(const int64_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
IM_INLINE void lanes_put(int64_t* p, im_vec v) { _mm256_storeu_si256((__m256i*)p, v); }
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  im_vec low = _mm256_unpacklo_epi64(even, odd), high = _mm256_unpackhi_epi64(even, odd);
  _mm256_storeu_si256((__m256i*)p, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256((__m256i*)p + 1, _mm256_permute2x128_si256(low, high, 0x31));
}
IM_INLINE void lanes_store_words(uint32_t* p, im_vec even, im_vec odd) {
  lanes_store_pair((int64_t*)p, even, odd);
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
IM_INLINE im_vec lanes_count(void) { return _mm256_setr_epi64x(0, 1, 2, 3); }
IM_INLINE im_vec lanes_xor(im_vec a, im_vec b, im_vec c) {
  return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
IM_INLINE im_vec lanes_or(im_vec a, im_vec b) { return _mm256_or_si256(a, b); }
IM_INLINE im_vec lanes_mul_unsigned(im_vec a, im_vec b) { return _mm256_mul_epu32(a, b); }
IM_INLINE im_vec lanes_shr_unsigned(im_vec v, int k) {
  return _mm256_srl_epi64(v, _mm_cvtsi32_si128(k));
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
IM_INLINE im_vec lanes_get(const int64_t* p) { return *p; }
IM_INLINE void lanes_put(int64_t* p, im_vec v) { *p = v; }
IM_INLINE void lanes_store_pair(int64_t* p, im_vec even, im_vec odd) {
  p[0] = even;
  p[1] = odd;
}
IM_INLINE void lanes_store_words(uint32_t* p, im_vec even, im_vec odd) {
  p[0] = (uint32_t)even;
  p[1] = (uint32_t)((uint64_t)even >> 32);
  p[2] = (uint32_t)odd;
  p[3] = (uint32_t)((uint64_t)odd >> 32);
}
IM_INLINE im_vec lanes_even(const int32_t* p) { return p[0]; }
IM_INLINE im_vec lanes_odd(const int32_t* p) { return p[1]; }
IM_INLINE void lanes_add_shifted(int32_t* p, im_vec even, im_vec odd, int k) {
  p[0] += (int32_t)(even >> k);
  p[1] += (int32_t)(odd >> k);
}
/* Modulo 2**64, as vectors do. */
IM_INLINE im_vec lanes_add(im_vec a, im_vec b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
IM_INLINE im_vec lanes_sub(im_vec a, im_vec b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
IM_INLINE im_vec lanes_and(im_vec a, im_vec b) { return a & b; }
IM_INLINE im_vec lanes_mul(im_vec a, im_vec b) { return a * b; }
IM_INLINE im_vec lanes_shl(im_vec v, int k) { return (int64_t)((uint64_t)v << k); }
IM_INLINE im_vec lanes_shr(im_vec v, int k) { return v >> k; }
IM_INLINE im_vec lanes_count(void) { return 0; }
IM_INLINE im_vec lanes_xor(im_vec a, im_vec b, im_vec c) { return a ^ b ^ c; }
IM_INLINE im_vec lanes_or(im_vec a, im_vec b) { return a | b; }
IM_INLINE im_vec lanes_mul_unsigned(im_vec a, im_vec b) {
  return (int64_t)((uint64_t)(uint32_t)a * (uint32_t)b);
}
IM_INLINE im_vec lanes_shr_unsigned(im_vec v, int k) { return (int64_t)((uint64_t)v >> k); }
IM_INLINE im_vec lanes_min(im_vec a, im_vec b) { return a < b ? a : b; }
IM_INLINE im_vec lanes_max(im_vec a, im_vec b) { return a > b ? a : b; }
IM_INLINE int64_t lanes_total(im_vec v) { return v; }

#endif
