/* A chunk of int32 into words of 32 bits, and the range of its values: a body for pack_tpl.h.
 *
 * Before including it, define ROW: how many lanes of a step make a row. A row is a vector of the
 * compiler's, which stays in a register; of loops over single lanes it makes as many scalars, or
 * spills, as there are steps. A row of one lane is a plain integer, for any compiler.
 *
 * Words are made of unsigned rows, since values that the scheme cannot hold may overflow here,
 * before the range refuses them.
 *
 * An instruction set without kernels of words of 32 bits is after the range alone. Bytes and limbs
 * are those of AVX-512, whose panels have four lanes or a multiple.
 */
#define ROW_OF(name) IM_CAT(name, ROW)
#define SIGNED ROW_OF(im_row)
#define UNSIGNED ROW_OF(im_unsigned_row)

#if ROW > 1
typedef int32_t SIGNED __attribute__((vector_size(4 * ROW), aligned(4), may_alias));
typedef uint32_t UNSIGNED __attribute__((vector_size(4 * ROW), aligned(4), may_alias));
#else
typedef int32_t SIGNED;
typedef uint32_t UNSIGNED;
#endif

/* Lane by lane the smaller, and the larger one. */
IM_INLINE SIGNED ROW_OF(least)(SIGNED a, SIGNED b) {
#if ROW == 16
  return (SIGNED)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif ROW == 8
  return (SIGNED)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif ROW == 4
  SIGNED less = a < b;
  return (a & less) | (b & ~less);
#else
  return a < b ? a : b;
#endif
}
IM_INLINE SIGNED ROW_OF(most)(SIGNED a, SIGNED b) {
#if ROW == 16
  return (SIGNED)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif ROW == 8
  return (SIGNED)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
  return a ^ b ^ ROW_OF(least)(a, b);
#endif
}

IM_INLINE UNSIGNED ROW_OF(pair)(UNSIGNED first, UNSIGNED second) {
  return (first & 0xffff) | second << 16;
}
#if IM_LANES == 8 && ROW > 1
IM_INLINE UNSIGNED ROW_OF(quad)(UNSIGNED v0, UNSIGNED v1, UNSIGNED v2, UNSIGNED v3) {
  return (v0 & 0xff) | (v1 & 0xff) << 8 | (v2 & 0xff) << 16 | v3 << 24;
}
#endif

/* One row of four steps into its words, `width` apart. The head of b takes -128 times the sum of
 * what a's offset multiplies. */
IM_INLINE void ROW_OF(cut_steps)(im_scheme scheme, bool of_a, const SIGNED* v, int width, int lane,
                                 uint32_t* to, int32_t* head) {
#define WORD(I) *(UNSIGNED*)(to + (I) * width + lane)
#define HEAD *(UNSIGNED*)(head + lane)
#if IM_LANES == 8 && ROW > 1
  const uint32_t offset = of_a ? 0x80808080u : 0; /* signed bytes become unsigned, 128 added */
#else
  (void)of_a, (void)head;
#endif
  UNSIGNED v0 = (UNSIGNED)v[0], v1 = (UNSIGNED)v[1], v2 = (UNSIGNED)v[2], v3 = (UNSIGNED)v[3];
  switch (scheme) {
    case IM_SCHEME_I16:
    case IM_SCHEME_I16SPLIT:
      WORD(0) = ROW_OF(pair)(v0, v1);
      WORD(1) = ROW_OF(pair)(v2, v3);
      return;
#if IM_LANES == 8 && ROW > 1
    case IM_SCHEME_I8:
      WORD(0) = ROW_OF(quad)(v0, v1, v2, v3) ^ offset;
      if (!of_a) HEAD -= (v0 + v1 + v2 + v3) << 7;
      return;
    case IM_SCHEME_I16ANY: {
      UNSIGNED h0 = (UNSIGNED)(v[0] >> 8), h1 = (UNSIGNED)(v[1] >> 8);
      UNSIGNED h2 = (UNSIGNED)(v[2] >> 8), h3 = (UNSIGNED)(v[3] >> 8);
      WORD(0) = ROW_OF(pair)(v0, v1);
      WORD(1) = ROW_OF(pair)(v2, v3);
      WORD(2) = ROW_OF(quad)(h0, h1, h2, h3) ^ offset;
      if (!of_a) HEAD -= (h0 + h1 + h2 + h3) << 7;
      return;
    }
    case IM_SCHEME_I24:
    case IM_SCHEME_I24X16:
    case IM_SCHEME_I16X24: {
      const int words = im_words(scheme, of_a);
      for (int i = 0; i < 4; i += 2, to += words * width) {
        UNSIGNED w0 = (UNSIGNED)v[i], w1 = (UNSIGNED)v[i + 1];
        if (words == 1) {
          WORD(0) = ROW_OF(pair)(w0, w1);
          continue;
        }
        /* v = 2**12 h + l with l in -2**11 .. 2**11 - 1: h is v rounded half up */
        UNSIGNED h0 = (UNSIGNED)((SIGNED)(w0 + 2048) >> 12);
        UNSIGNED h1 = (UNSIGNED)((SIGNED)(w1 + 2048) >> 12);
        UNSIGNED l0 = w0 - (h0 << 12), l1 = w1 - (h1 << 12);
        WORD(0) = ROW_OF(pair)(l0, l1);
        WORD(1) = ROW_OF(pair)(h0, h1);
        if (words == 3) WORD(2) = ROW_OF(pair)(l0 + h0, l1 + h1);
      }
      return;
    }
#endif
    default: return; /* words of 64 bits are not made here */
  }
#undef WORD
#undef HEAD
}

IM_INLINE im_range ROW_OF(cut_rows)(im_scheme scheme, bool of_a, const int32_t* v, ptrdiff_t stride,
                                    int width, void* words, int32_t* head) {
  const int next = width * (4 / im_layouts[scheme].steps) * im_words(scheme, of_a);
  uint32_t* to = words;
  SIGNED v4[4], low = (SIGNED){0}, high = low;
  for (int step = 0; step < CHUNK; step += 4, v += 4 * stride, to += next)
    for (int lane = 0; lane < width; lane += ROW) {
      for (int i = 0; i < 4; i++) v4[i] = *(const SIGNED*)(v + i * stride + lane);
      low = ROW_OF(least)(low,
                          ROW_OF(least)(ROW_OF(least)(v4[0], v4[1]), ROW_OF(least)(v4[2], v4[3])));
      high =
          ROW_OF(most)(high, ROW_OF(most)(ROW_OF(most)(v4[0], v4[1]), ROW_OF(most)(v4[2], v4[3])));
      ROW_OF(cut_steps)(scheme, of_a, v4, width, lane, to, head);
    }
  int32_t lows[ROW], highs[ROW];
  memcpy(lows, &low, sizeof low);
  memcpy(highs, &high, sizeof high);
  im_range range = {0, 0};
  for (int i = 0; i < ROW; i++) range = im_union(range, (im_range){lows[i], highs[i]});
  return range;
}

#undef ROW_OF
#undef SIGNED
#undef UNSIGNED
#undef ROW
