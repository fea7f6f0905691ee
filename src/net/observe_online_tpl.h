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
IM_INLINE void lanes_dump(void* p, im_vec v) { _mm512_storeu_si512(p, v); }
IM_INLINE im_vec lanes_count_equal(im_vec count, im_vec a, im_vec b) {
  return _mm512_mask_add_epi64(count, _mm512_cmpeq_epi64_mask(a, b), count, _mm512_set1_epi64(1));
}
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
IM_INLINE void lanes_dump(void* p, im_vec v) { _mm256_storeu_si256((__m256i*)p, v); }
IM_INLINE im_vec lanes_count_equal(im_vec count, im_vec a, im_vec b) {
  return _mm256_sub_epi64(count, _mm256_cmpeq_epi64(a, b));
}
#else
typedef double im_real_vec;
IM_INLINE im_real_vec reals_load(const double* p) { return *p; }
IM_INLINE void reals_store(double* p, im_real_vec v) { *p = v; }
IM_INLINE im_real_vec reals_min(im_real_vec a, im_real_vec b) { return a < b ? a : b; }
IM_INLINE im_real_vec reals_max(im_real_vec a, im_real_vec b) { return a > b ? a : b; }
IM_INLINE im_vec lanes_join(im_vec all, const int32_t* p) {
  return all | (p[0] ^ (p[0] >> 31)) | (p[1] ^ (p[1] >> 31));
}
IM_INLINE void lanes_dump(void* p, im_vec v) { memcpy(p, &v, sizeof v); }
IM_INLINE im_vec lanes_count_equal(im_vec count, im_vec a, im_vec b) { return count + (a == b); }
#endif

/* Unsigned lanes, times 2**up. */
IM_INLINE void add_lanes(uint64_t sum[3], im_vec v, int up) {
  uint64_t lanes[IM_LANES];
  lanes_dump(lanes, v);
  im_wide total = im_wide_of(0);
  for (int i = 0; i < IM_LANES; i++) total = im_wide_add(total, (im_wide){{lanes[i], 0, 0}});
  add_to(sum, im_wide_shl(total, up));
}

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

/* The largest width in the rows `at`, or in the first n. */
IM_INLINE uint64_t join_rows(const int32_t* w, int64_t width, const int32_t* at, int64_t n) {
  uint32_t lanes[2 * IM_LANES], magnitude = 0;
  im_vec all = lanes_of(0);
  for (int64_t i = 0; i < n; i++) {
    const int32_t* row = w + (at ? at[i] : i) * width;
    for (int64_t j = 0; j < width; j += 2 * IM_LANES) all = lanes_join(all, row + j);
  }
  lanes_dump(lanes, all);
  for (int j = 0; j < 2 * IM_LANES; j++) magnitude |= lanes[j];
  return magnitude;
}

static void count_rows(const int32_t* w, int64_t width, const int32_t* at, int64_t n,
                       im_count* count) {
  uint64_t magnitude = !at           ? join_rows(w, 16, NULL, n * width / 16)
                       : width == 16 ? join_rows(w, 16, at, n)
                                     : join_rows(w, width, at, n);
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

/* The steps s = -x * d * 2**-k, k 1..62, of n inputs, a multiple of 16, and their deltas: how many
 * are zero or round to it; how many are zero or a negative one of less than a half, which floor
 * makes -1; and the sum of their rounding errors. With t, s and what R adds to it, the rounded step
 * is t less its low k bits. A product is at most 2**62 in magnitude. An error is at most 2**k, and
 * two of them are added to a lane, as an unsigned integer, 2**(63 - k) times at most before it is
 * moved on.
 */
IM_INLINE void count_grid(const int32_t* x, int64_t n, const int32_t* d, int64_t deltas, int k,
                          im_rounding rounding, uint64_t* vanished, uint64_t* minus_ones,
                          im_count* count) {
  const im_vec zero = lanes_of(0), one = lanes_of(1), mask = lanes_of((INT64_C(1) << k) - 1);
  const int64_t most = INT64_C(1) << (63 - (k < 40 ? 40 : k));
  im_vec lost = zero, artefacts = zero, errors = zero;
  int64_t added = 0;
#define COUNT_STEPS(X)                                                      \
  do {                                                                      \
    im_vec s = lanes_sub(zero, lanes_mul(X, factor));                       \
    im_vec t = add_for_rounding(s, k, rounding);                            \
    im_vec below = lanes_and(t, mask);                                      \
    lost = lanes_count_equal(lost, lanes_shr(t, k), zero);                  \
    if (rounding == IM_FLOOR) {                                             \
      im_vec half = lanes_shr(lanes_sub(s, one), k - 1);                    \
      artefacts = lanes_count_equal(artefacts, half, lanes_of(-1));         \
      errors = lanes_add(errors, below);                                    \
    } else {                                                                \
      im_vec error = lanes_sub(lanes_sub(t, below), s);                     \
      errors = lanes_add(errors, lanes_max(error, lanes_sub(zero, error))); \
    }                                                                       \
  } while (0)
  for (int64_t i = 0; i < n; i += 2 * IM_LANES) {
    im_vec even = lanes_even(x + i), odd = lanes_odd(x + i);
    for (int64_t j = 0; j < deltas; j++) {
      im_vec factor = lanes_factor(d + j);
      COUNT_STEPS(even);
      COUNT_STEPS(odd);
      if (++added < most) continue;
      add_lanes(count->error_sum, errors, ERROR_BITS - k);
      errors = zero;
      added = 0;
    }
  }
#undef COUNT_STEPS
  add_lanes(count->error_sum, errors, ERROR_BITS - k);
  *vanished = (uint64_t)lanes_total(lost);
  *minus_ones = (uint64_t)lanes_total(artefacts);
}

/* What update_entries does to the rows of n_in inputs, but for the weights. `room` holds the
 * inputs, filled up with zeros, and then the deltas that are not zero. */
static void count_products(const im_inputs* inputs, int64_t n_in, const int32_t* d, int64_t n_out,
                           int k, im_rounding rounding, int32_t* room, im_count* count) {
  const int32_t* restrict at = inputs->at, * restrict value = inputs->value;
  int64_t n = (inputs->count + 15) / 16 * 16, deltas = 0, inputs_left = 0;
  uint64_t sum = 0, sum_d = 0, vanished = 0, minus_ones = 0; /* < 2**31 magnitudes, <= 2**31 */
  int32_t* steps = room + n;
  for (int64_t i = 0; i < inputs->count; i++) room[i] = value[at[i]];
  for (int64_t i = inputs->count; i < n; i++) room[i] = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t x = (uint32_t)room[i];
    sum += room[i] < 0 ? 0 - x : x;
    inputs_left += room[i] != 0;
  }
  for (int64_t j = 0; j < n_out; j++) {
    uint32_t delta = (uint32_t)d[j];
    steps[deltas] = d[j];
    deltas += d[j] != 0;
    sum_d += d[j] < 0 ? 0 - delta : delta;
  }
#define COUNT(ROUNDING) \
  count_grid(room, n, steps, deltas, k, ROUNDING, &vanished, &minus_ones, count)
  IM_FOR_EACH_WORDLESS_ROUNDING(rounding, COUNT)
#undef COUNT
  uint64_t zeros = (uint64_t)((n - inputs_left) * deltas);
  count->lost_steps += vanished - zeros;
  if (rounding == IM_FLOOR) count->artefact_steps += minus_ones - zeros;
  count->exact_zeros += (uint64_t)(n_in * n_out - inputs_left * deltas);
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
      uint64_t magnitude = magnitude_of(row[j] + im_round_shift(-x * d[j], k, rounding, 0));
      all |= magnitude;
      outside += magnitude >> (bits - 1) != 0;
    }
  }
  count_all(count, all, outside);
}

static void count_moved(const im_inputs* inputs, const int32_t* d, const int32_t* w, int64_t width,
                        int k, im_format fmt, im_count* count){
#define COUNT(ROUNDING) count_moved_rows(inputs, d, w, width, k, fmt.bits, ROUNDING, count)
    IM_FOR_EACH_WORDLESS_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
}

/* Float steps ------------------------------------------------------------------------------------
 */

/* The steps of n inputs, d not zero: zeros and magnitudes, scaled by `up`;
 * and, where they are rounded, how. */
IM_INLINE void count_real_column(const double* x, int64_t n, double d, double rate, double up,
                                 bool rounds, double scale, im_rounding rounding, im_count* count) {
  uint64_t zeros = 0, low = 0, high = 0;
  uint64_t lost = 0, artefacts = 0, errors_low = 0, errors_high = 0;
  for (int64_t i = 0; i < n; i++) {
    double step = im_step_of(d, x[i], rate), scaled = fabs(step * up);
    uint64_t sized = (uint64_t)(int64_t)(scaled < 0x1p62 ? scaled : 0x1p62);
    zeros += step == 0;
    low += sized & UINT32_MAX;
    high += sized >> 32;
    if (!rounds) continue;
    im_small_step here = round_small_step(step, scale, rounding, 0);
    lost += here.lost;
    artefacts += here.artefact;
    errors_low += (uint64_t)here.error & UINT32_MAX;
    errors_high += (uint64_t)here.error >> 32;
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
      IM_FOR_EACH_WORDLESS_ROUNDING(fmt.rounding, COUNT)
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
      double step = im_step_of(d[j], x, rate);
      uint64_t magnitude = magnitude_of(row[j] + im_round_small(step, scale, rounding, 0));
      all |= magnitude;
      outside += magnitude >> (fmt.bits - 1) != 0;
    }
  }
  count_all(count, all, outside);
}

static void count_real_moved(const im_reals* reals, const double* d, double rate, const int32_t* w,
                             int64_t width, im_format fmt, im_count* count) {
#define COUNT(ROUNDING) count_real_moved_rows(reals, d, rate, w, width, fmt, ROUNDING, count)
  IM_FOR_EACH_WORDLESS_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
}
