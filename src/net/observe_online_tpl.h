/* What online training rounds away, counted: bodies for isa_tpl.h, after net/observe_tpl.h and
 * net/online_tpl.h, whose layout of weights they share.
 *
 * A step of one sample is the product of an input and a delta. Where either is zero there is
 * nothing to round, so that only the others are looked at, column by column: the inputs that are
 * not zero side by side, times one delta. How a step rounds does not depend on its weight. Its
 * weight matters to overflow alone, which a bound mostly excludes, and to the widest value. */

#if IM_LANES == 8
typedef __m512d im_real_vec;
IM_INLINE im_real_vec reals_load(const double* p) { return _mm512_loadu_pd(p); }
IM_INLINE void reals_store(double* p, im_real_vec v) { _mm512_storeu_pd(p, v); }
IM_INLINE im_real_vec reals_min(im_real_vec a, im_real_vec b) { return _mm512_min_pd(a, b); }
IM_INLINE im_real_vec reals_max(im_real_vec a, im_real_vec b) { return _mm512_max_pd(a, b); }
IM_INLINE im_vec lanes_join(im_vec all, const int32_t* p) {
  im_vec v = _mm512_loadu_si512(p);
  return _mm512_or_si512(all, _mm512_xor_si512(v, _mm512_srai_epi32(v, 31)));
}
IM_INLINE void lanes_dump(uint32_t* p, im_vec v) { _mm512_storeu_si512(p, v); }
#elif IM_LANES == 4
typedef __m256d im_real_vec;
IM_INLINE im_real_vec reals_load(const double* p) { return _mm256_loadu_pd(p); }
IM_INLINE void reals_store(double* p, im_real_vec v) { _mm256_storeu_pd(p, v); }
IM_INLINE im_real_vec reals_min(im_real_vec a, im_real_vec b) { return _mm256_min_pd(a, b); }
IM_INLINE im_real_vec reals_max(im_real_vec a, im_real_vec b) { return _mm256_max_pd(a, b); }
IM_INLINE im_vec lanes_join(im_vec all, const int32_t* p) {
  im_vec v = lanes_even(p);
  return _mm256_or_si256(all, _mm256_xor_si256(v, _mm256_srai_epi32(v, 31)));
}
IM_INLINE void lanes_dump(uint32_t* p, im_vec v) { _mm256_storeu_si256((__m256i*)p, v); }
#else
typedef double im_real_vec;
IM_INLINE im_real_vec reals_load(const double* p) { return *p; }
IM_INLINE void reals_store(double* p, im_real_vec v) { *p = v; }
IM_INLINE im_real_vec reals_min(im_real_vec a, im_real_vec b) { return a < b ? a : b; }
IM_INLINE im_real_vec reals_max(im_real_vec a, im_real_vec b) { return a > b ? a : b; }
IM_INLINE im_vec lanes_join(im_vec all, const int32_t* p) {
  return all | (p[0] ^ (p[0] >> 31)) | (p[1] ^ (p[1] >> 31));
}
IM_INLINE void lanes_dump(uint32_t* p, im_vec v) { p[0] = p[1] = (uint32_t)v; }
#endif

/* sums[i] = sum over j of d[j] * w[i][j], for n rows of w; int64 holds them. */
static void dot_rows(const int32_t* d, const int32_t* w, int64_t n, int64_t width, int64_t* sums) {
  for (int64_t i = 0; i < n; i++, w += width) {
    im_vec sum = lanes_of(0);
    for (int64_t j = 0; j < width; j += 2 * IM_LANES) {
      sum = lanes_add(sum, lanes_mul(lanes_even(d + j), lanes_even(w + j)));
      sum = lanes_add(sum, lanes_mul(lanes_odd(d + j), lanes_odd(w + j)));
    }
    sums[i] = lanes_total(sum);
  }
}

/* The largest width in the rows `at`, or in all `count` rows. */
static void count_rows(const int32_t* w, int64_t width, const int32_t* at, int64_t count_of,
                       im_count* count) {
  uint32_t lanes[2 * IM_LANES], magnitude = 0;
  im_vec all = lanes_of(0);
  for (int64_t i = 0; i < count_of; i++) {
    const int32_t* row = w + (at ? at[i] : i) * width;
    for (int64_t j = 0; j < width; j += 2 * IM_LANES) all = lanes_join(all, row + j);
  }
  lanes_dump(lanes, all);
  for (int j = 0; j < 2 * IM_LANES; j++) magnitude |= lanes[j];
  count_width(count, width_of(magnitude), 64);
}

/* The smallest and the largest value, with 0, in the rows `at`, or in all of them. */
static void range_of_rows(const double* m, int64_t width, const int32_t* at, int64_t count_of,
                          double range[2]) {
  double lanes[2][8] = {{0}, {0}};
  im_real_vec low = reals_load(lanes[0]), high = low;
  for (int64_t i = 0; i < count_of; i++) {
    const double* row = m + (at ? at[i] : i) * width;
    for (int64_t j = 0; j < width; j += IM_LANES) {
      im_real_vec v = reals_load(row + j);
      low = reals_min(low, v);
      high = reals_max(high, v);
    }
  }
  reals_store(lanes[0], low);
  reals_store(lanes[1], high);
  range[0] = range[1] = 0;
  for (int j = 0; j < IM_LANES; j++) {
    range[0] = lanes[0][j] < range[0] ? lanes[0][j] : range[0];
    range[1] = lanes[1][j] > range[1] ? lanes[1][j] : range[1];
  }
}

/* The steps x * d * 2**-k, k 1..62, of n inputs, none of which is zero, as is d. A product is at
 * most 2**62; an error is below 2**k, and as many of them are summed as 64 bits hold. */
IM_INLINE void count_column(const int32_t* x, int64_t n, int64_t d, int k, im_rounding rounding,
                            im_count* count) {
  const uint64_t whole = UINT64_C(1) << k;
  const int64_t most = k <= 32 ? INT64_C(1) << 31 : INT64_C(1) << (63 - k);
  uint64_t lost = 0, artefacts = 0;
  for (int64_t at = 0; at < n; at += most) {
    uint64_t errors = 0;
    int64_t end = n - at < most ? n : at + most;
    for (int64_t i = at; i < end; i++) {
      int64_t s = x[i] * d, q = s >> k;
      uint64_t below = (uint64_t)s & (whole - 1);
      int64_t up = (int64_t)im_round_up(rounding, below, k, q, (uint64_t)s >> 63);
      lost += q + up == 0;
      artefacts += (q == -1) & (up == 0) & (below > whole / 2);
      errors += up ? whole - below : below;
    }
    add_to(count->error_sum, im_wide_shl((im_wide){{errors, 0, 0}}, ERROR_BITS - k));
  }
  count->lost_steps += lost;
  count->artefact_steps += artefacts;
}

/* What update_entries does to the rows of n_in inputs, but for the weights; room holds as many. */
static void count_products(const im_inputs* inputs, int64_t n_in, const int32_t* d, int64_t n_out,
                           int k, im_rounding rounding, int32_t* room, im_count* count) {
  int64_t n = 0, deltas = 0;
  uint64_t sum = 0, sum_d = 0; /* fewer than 2**31 magnitudes of at most 2**31 */
  for (int64_t i = 0; i < inputs->count; i++) {
    int32_t x = inputs->value[inputs->at[i]];
    room[n] = x;
    n += x != 0;
    sum += x < 0 ? 0 - (uint32_t)x : (uint32_t)x;
  }
  for (int64_t j = 0; j < n_out; j++) {
    int64_t step = -(int64_t)d[j];
    if (step == 0) continue;
    deltas++;
    sum_d += (uint64_t)(step < 0 ? -step : step);
#define COUNT(ROUNDING) count_column(room, n, step, k, ROUNDING, count)
    FOR_EACH_ROUNDING(rounding, COUNT)
#undef COUNT
  }
  count->exact_zeros += (uint64_t)(n_in * n_out - n * deltas);
  add_to(count->step_sum, im_wide_mul_u64(sum, sum_d));
}

/* Overflows and the widest value of the same step, before the overflow rule. */
IM_INLINE void count_moved_rows(const im_inputs* inputs, const int32_t* d, const int32_t* w,
                                int64_t width, int k, int bits, im_rounding rounding,
                                im_count* count) {
  uint64_t all = 0, outside = 0;
  for (int64_t i = 0; i < inputs->count; i++) {
    int64_t x = inputs->value[inputs->at[i]];
    const int32_t* row = w + inputs->at[i] * width;
    for (int64_t j = 0; j < width; j++) {
      uint64_t magnitude = magnitude_of(row[j] + im_round_shift(-x * d[j], k, rounding));
      all |= magnitude;
      outside += magnitude >> (bits - 1) != 0;
    }
  }
  count_width(count, width_of(all), 64);
  count->overflows += outside;
}

static void count_moved(const im_inputs* inputs, const int32_t* d, const int32_t* w, int64_t width,
                        int k, im_format fmt, im_count* count){
#define COUNT(ROUNDING) count_moved_rows(inputs, d, w, width, k, fmt.bits, ROUNDING, count)
    FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
}

/* Float steps ------------------------------------------------------------------------------------
 */

/* The steps -((0.0 + d * x) * rate) of n inputs, d not zero: zeros and magnitudes, scaled by `up`;
 * and, where they are rounded, how, as in count_small_steps. */
IM_INLINE void count_real_column(const double* x, int64_t n, double d, double rate, double up,
                                 bool rounds, double scale, im_rounding rounding, im_count* count) {
  const double unit = scale / 4;
  const int64_t one = INT64_C(1) << ERROR_BITS;
  uint64_t zeros = 0, low = 0, high = 0;
  uint64_t lost = 0, artefacts = 0, errors_low = 0, errors_high = 0;
  for (int64_t i = 0; i < n; i++) {
    double step = -((0.0 + d * x[i]) * rate), scaled = fabs(step * up);
    uint64_t sized = (uint64_t)(int64_t)(scaled < 0x1p62 ? scaled : 0x1p62);
    zeros += step == 0;
    low += sized & UINT32_MAX;
    high += sized >> 32;
    if (!rounds) continue;
    int64_t rounded = im_round_small(step, scale, rounding);
    double size = fabs(step * unit);
    int64_t whole = (int64_t)size;
    double fraction = (size - (double)whole) * 0x1p62;
    int64_t below = (int64_t)fraction;
    int64_t rest = (double)below != fraction;
    bool away = (rounded < 0 ? -rounded : rounded) > whole;
    uint64_t error = (uint64_t)(away ? one - below - rest : below);
    lost += (rounded == 0) & (step != 0);
    artefacts += ((rounded == 1) | (rounded == -1)) & (size < 0.5);
    errors_low += error & UINT32_MAX;
    errors_high += error >> 32;
  }
  count->exact_zeros += zeros;
  count->lost_steps += lost;
  count->artefact_steps += artefacts;
  add_to(count->step_sum, joined(high, low, 0));
  add_to(count->error_sum, joined(errors_high, errors_low, 0));
}

/* What step_reals does to the rows of n_in inputs, but for the weights; the steps are small where
 * they are rounded. */
static void count_real_products(const im_reals* reals, int64_t n_in, const double* d, int64_t n_out,
                                double rate, int lr_shift, bool rounds, im_format fmt,
                                im_count* count) {
  const double up = im_power_of_two(lr_shift + STEP_BITS), scale = im_small_scale(fmt);
  int64_t deltas = 0;
  for (int64_t j = 0; j < n_out; j++) {
    if (d[j] == 0) continue;
    deltas++;
#define COUNT(ROUNDING) \
  count_real_column(reals->value, reals->count, d[j], rate, up, true, scale, ROUNDING, count)
    if (rounds) {
      FOR_EACH_ROUNDING(fmt.rounding, COUNT)
    } else {
      count_real_column(reals->value, reals->count, d[j], rate, up, false, scale, IM_FLOOR, count);
    }
#undef COUNT
  }
  count->exact_zeros += (uint64_t)(n_in * n_out - reals->count * deltas);
}

/* Overflows and the widest value of small float steps of raw weights. */
IM_INLINE void count_real_moved_rows(const im_reals* reals, const double* d, double rate,
                                     const int32_t* w, int64_t width, im_format fmt,
                                     im_rounding rounding, im_count* count) {
  const double scale = im_small_scale(fmt);
  uint64_t all = 0, outside = 0;
  for (int64_t i = 0; i < reals->count; i++) {
    double x = reals->value[i];
    const int32_t* row = w + reals->at[i] * width;
    for (int64_t j = 0; j < width; j++) {
      double step = -((0.0 + d[j] * x) * rate);
      uint64_t magnitude = magnitude_of(row[j] + im_round_small(step, scale, rounding));
      all |= magnitude;
      outside += magnitude >> (fmt.bits - 1) != 0;
    }
  }
  count_width(count, width_of(all), 64);
  count->overflows += outside;
}

static void count_real_moved(const im_reals* reals, const double* d, double rate, const int32_t* w,
                             int64_t width, im_format fmt, im_count* count) {
#define COUNT(ROUNDING) count_real_moved_rows(reals, d, rate, w, width, fmt, ROUNDING, count)
  FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
}
