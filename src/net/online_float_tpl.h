/* The loops of online training's float parts (online_float.c): bodies for isa_tpl.h, after
 * net/loops_tpl.h and net/online_tpl.h, whose layout of weights they share.
 *
 * Zero inputs cost nothing here either. The float sum of products over k keeps partial sums that
 * start at +0.0 and are therefore never -0.0: a sum is -0.0 only where both its terms are. Adding
 * a product with a zero factor, +0.0 or -0.0, then changes no bit of them, whatever it is, and the
 * terms that are left are added in the order that they had. Lanes behind the last output have
 * weights of zero and deltas of +0.0, and stay zero.
 */

static void list_reals(const double* v, int64_t n, const double* next, im_reals* reals) {
  int32_t* at = reals->at;
  double* value = reals->value;
  int64_t count = 0, i = 0;
#if IM_LANES == 8
  __m512d zero = _mm512_setzero_pd();
  __m256i where = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (; i < n; i += 8) {
    IM_PREFETCH(next + i);
    __mmask8 inner = (__mmask8)(n - i < 8 ? (1u << (n - i)) - 1 : 0xff);
    __m512d here = _mm512_maskz_loadu_pd(inner, v + i);
    __mmask8 some = _mm512_cmp_pd_mask(here, zero, _CMP_NEQ_UQ);
    _mm256_storeu_si256((__m256i*)(at + count), _mm256_maskz_compress_epi32(some, where));
    _mm512_storeu_pd(value + count, _mm512_maskz_compress_pd(some, here));
    count += __builtin_popcount(some);
    where = _mm256_add_epi32(where, _mm256_set1_epi32(8));
  }
#else
#if IM_LANES == 4
  __m256d zero = _mm256_setzero_pd();
  for (; i + 8 <= n; i += 8) {
    IM_PREFETCH(next + i);
    __m256d low = _mm256_cmp_pd(_mm256_loadu_pd(v + i), zero, _CMP_NEQ_UQ);
    __m256d high = _mm256_cmp_pd(_mm256_loadu_pd(v + i + 4), zero, _CMP_NEQ_UQ);
    uint32_t some = (uint32_t)_mm256_movemask_pd(high) << 4 | (uint32_t)_mm256_movemask_pd(low);
    count += list_some(some, i, at + count);
  }
#endif
  for (; i < n; i++) {
    if (i % 8 == 0) IM_PREFETCH(next + i);
    at[count] = (int32_t)i;
    count += v[i] != 0;
  }
  for (i = 0; i < count; i++) value[i] = v[at[i]];
#endif
  /* Without their signs, finite doubles are ordered as their bits are. */
  int64_t largest = 0;
  for (i = 0; i < count; i++) {
    int64_t bits;
    memcpy(&bits, &value[i], sizeof bits);
    bits &= INT64_MAX;
    largest = bits > largest ? bits : largest;
  }
  memcpy(&reals->largest, &largest, sizeof largest);
  reals->count = count;
}

/* Weights of one kind, j lanes on. A raw one has at most 32 bits: as a float64 it is exact. */
IM_INLINE double real_weight(im_real_weights w, bool is_raw, ptrdiff_t at) {
  return is_raw ? w.raw[at] * w.unit : w.master[at];
}

enum { SIXTEEN = 16 };

/* Sixteen lanes from `first` on. The partial sums stay in the first-level cache; consecutive
 * inputs use different ones of them. */
IM_INLINE void sum_sixteen(const im_reals* reals, im_real_weights w, bool is_raw, ptrdiff_t width,
                           ptrdiff_t first, int64_t bias, double* z) {
  double s[8][SIXTEEN] = {{0}};
  for (int64_t i = 0; i < reals->count; i++) {
    double *partial = s[(uint32_t)reals->at[i] % 8], x = reals->value[i];
    ptrdiff_t row = reals->at[i] * width + first;
    for (int j = 0; j < SIXTEEN; j++) partial[j] += x * real_weight(w, is_raw, row + j);
  }
  for (int j = 0; j < SIXTEEN; j++)
    z[j] = add_partial(s[0][j], s[1][j], s[2][j], s[3][j], s[4][j], s[5][j], s[6][j], s[7][j]);
  if (bias < 0) return;
  for (int j = 0; j < SIXTEEN; j++) z[j] += real_weight(w, is_raw, bias * width + first + j);
}

static void sum_reals(const im_reals* reals, im_real_weights w, int64_t bias, double* z) {
  for (ptrdiff_t first = 0; first < w.width; first += SIXTEEN) {
    if (w.master)
      sum_sixteen(reals, w, false, w.width, first, bias, z + first);
    else
      sum_sixteen(reals, w, true, w.width, first, bias, z + first);
  }
}

IM_INLINE void send_rows(const double* d, im_real_weights w, bool is_raw, int64_t n, double* e) {
  for (int64_t i = 0; i < n; i++) {
    double s[8] = {0};
    for (ptrdiff_t j = 0, row = i * w.width; j < w.width; j += 8)
      for (int q = 0; q < 8; q++) s[q] += d[j + q] * real_weight(w, is_raw, row + j + q);
    e[i] = add_partial(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
  }
}

static void send_reals(const double* d, im_real_weights w, int64_t n, double* e) {
  if (w.master)
    send_rows(d, w, false, n, e);
  else
    send_rows(d, w, true, n, e);
}

/* Eight lanes of raw weights as float64, exact, and back. */
enum { EIGHT = 8 };
IM_INLINE void load_eight(const int32_t* raw, double* v) {
#if IM_LANES == 8
  _mm512_storeu_pd(v, _mm512_cvtepi32_pd(_mm256_loadu_si256((const __m256i*)raw)));
#else
  for (int j = 0; j < EIGHT; j++) v[j] = raw[j];
#endif
}
IM_INLINE void store_eight(const double* v, int32_t* raw) {
#if IM_LANES == 8
  _mm256_storeu_si256((__m256i*)raw, _mm512_cvttpd_epi32(_mm512_loadu_pd(v)));
#else
  for (int j = 0; j < EIGHT; j++) raw[j] = (int32_t)v[j];
#endif
}

/* im_enter in float64, for an integer of at most 2**52 and formats of at most 32 bits: to wrap,
 * take off as many whole ranges as v is away from the lowest value. All of it is exact. */
IM_INLINE double enter_real(double v, im_format rules) {
  double low = -im_power_of_two(rules.bits - 1), high = -low - 1;
  if (rules.overflow == IM_WRAP) {
    double ranges = im_round_real((v - low) * im_power_of_two(-rules.bits), IM_FLOOR, 0);
    return v - ranges * im_power_of_two(rules.bits);
  }
  v = v > low ? v : low;
  return v < high ? v : high;
}

/* gcc unrolls so short a loop before it looks for vectors, and then misses most of them. */
#if defined(__GNUC__) && !defined(__clang__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif

/* Eight lanes of every input's row. A new raw weight is at most 2**51 + 2**31 before it enters.
 * Inlined once for each kind of weights and, where there are raw ones, for each rule. */
IM_INLINE void step_eight(const im_reals* reals, const double* restrict d, double rate,
                          double* masters, int32_t* raws, ptrdiff_t width, bool has_master,
                          bool has_raw, im_format rules) {
  const int32_t* at = reals->at;
  const double* value = reals->value;
  double scale = im_small_scale(rules);
  for (int64_t i = 0, count = reals->count; i < count; i++) {
    double x = value[i], w[EIGHT], r[EIGHT] = {0};
    ptrdiff_t row = at[i] * width;
    if (has_master)
      memcpy(w, masters + row, sizeof w);
    else
      load_eight(raws + row, r);
    ROLLED for (int j = 0; j < EIGHT; j++) {
      double step = im_step_of(d[j], x, rate);
      w[j] = has_master ? w[j] + step : step;
      double rounded = im_round_real(w[j] * scale, rules.rounding, 0);
      r[j] = enter_real(has_master ? rounded : r[j] + rounded, rules);
    }
    if (has_master) memcpy(masters + row, w, sizeof w);
    if (has_raw) store_eight(r, raws + row);
  }
}

static void step_reals(const im_reals* reals, const double* d, double rate, double* master,
                       int32_t* raw, int64_t width, im_format fmt) {
  for (ptrdiff_t j = 0; j < width; j += EIGHT) {
    bool live = false;
    for (int q = 0; q < EIGHT; q++) live |= d[j + q] != 0;
    if (!live) continue; /* most outputs of a relu layer have no delta */
#define STEP_MASTER(RULES) \
  step_eight(reals, d + j, rate, master + j, NULL, width, true, false, RULES)
#define STEP_BOTH(RULES) \
  step_eight(reals, d + j, rate, master + j, raw + j, width, true, true, RULES)
#define STEP_RAW(RULES) step_eight(reals, d + j, rate, NULL, raw + j, width, false, true, RULES)
    if (!raw) {
      STEP_MASTER(fmt);
    } else if (master) {
      IM_FOR_EACH_WORDLESS_RULE(fmt, STEP_BOTH)
    } else {
      IM_FOR_EACH_WORDLESS_RULE(fmt, STEP_RAW)
    }
#undef STEP_MASTER
#undef STEP_BOTH
#undef STEP_RAW
  }
}
#undef ROLLED
