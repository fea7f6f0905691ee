/* What rounding and overflow do, counted (docs/numerics.md, section 9): bodies for isa_tpl.h.
 *
 * Every function adds to a row of counts, and leaves `entries` to its caller. The widest value is
 * found by its magnitude, v or, below zero, -1 - v: a value of w bits has one below 2**(w - 1).
 * So a format holds a value exactly where the width of that is at most `bits`. */
#include "../arith/round.h"

/* Of a rounding error below the last place, and of the magnitude of a float step. */
enum { ERROR_BITS = 62, STEP_BITS = 40 };

static uint64_t magnitude_of(int64_t v) { return (uint64_t)(v ^ (v >> 63)); }

static int width_of(uint64_t magnitude) { return 1 + im_bit_length(magnitude); }

static void add_to(uint64_t sum[3], im_wide v) {
  im_wide total = im_wide_add((im_wide){{sum[0], sum[1], sum[2]}}, v);
  memcpy(sum, total.limb, sizeof total.limb);
}

/* Of 64-bit integers that are summed by their halves, so that 2**32 of them fit, times 2**up. */
static im_wide joined(uint64_t high, uint64_t low, int up) {
  im_wide sum = im_wide_add(im_wide_shl((im_wide){{high, 0, 0}}, 32), (im_wide){{low, 0, 0}});
  return im_wide_shl(sum, up);
}

static void count_width(im_count* count, int width, int bits) {
  count->overflows += width > bits;
  if ((uint64_t)width > count->widest_bits) count->widest_bits = (uint64_t)width;
}

/* Values whose magnitudes join to `all`, bit by bit; `outside` of them are outside their format. */
static void count_all(im_count* count, uint64_t all, uint64_t outside) {
  count_width(count, width_of(all), 64);
  count->overflows += outside;
}

/* Values that enter a format ------------------------------------------------------------------- */

/* s * 2**-k, rounded. Scaled up, a value is as many bits wider, but 0 is not. */
static void count_value(im_long s, int k, im_format fmt, uint32_t word, im_count* count) {
  int width = im_long_is(s, 0) ? 1
              : k <= 0 ? im_long_width(s) - k
                       : im_long_width(im_round_long(s, k, fmt.rounding, fmt.overflow, word));
  count_width(count, width, fmt.bits);
}

/* The same of int64, k 1..63. */
IM_INLINE void count_rounded(const int64_t* s, int64_t n, int k, int bits, im_rounding rounding,
                             const uint32_t* words, im_count* count) {
  uint64_t all = 0, outside = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t word = im_word(rounding, words, i);
    uint64_t magnitude = magnitude_of(im_round_shift(s[i], k, rounding, word));
    all |= magnitude;
    outside += magnitude >> (bits - 1) != 0;
  }
  count_all(count, all, outside);
}

static void count_sums(const int64_t* s, int64_t n, int k, im_format fmt, const uint32_t* words,
                       im_count* count) {
  if (k >= 1 && k <= 63) {
#define COUNT(ROUNDING) count_rounded(s, n, k, fmt.bits, ROUNDING, words, count)
    IM_FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
    return;
  }
  for (int64_t i = 0; i < n; i++)
    count_value(im_long_of_i64(s[i]), k, fmt, im_word(fmt.rounding, words, i), count);
}

static void count_values(const int64_t* s, int64_t n, int k, im_format fmt, im_stream stream,
                         im_count* count) {
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    count_sums(s + at, here, k, fmt, random_words(stream, at, here, fmt, room), count);
  }
}

/* The same of what requantize_joined does. */
static void count_joined(const void* s, im_elem elem, int64_t n, int k, im_format fmt,
                         const im_addend* with, im_stream stream, im_count* count) {
  int64_t v[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    load_block(s, elem, at, here, v);
    const uint32_t* words = random_words(stream, at, here, fmt, room);
    if (join(with, at, v, here))
      count_sums(v, here, k, fmt, words, count);
    else
      for (int64_t i = 0; i < here; i++)
        count_value(join_one(with, at + i, im_wide_of(v[i])), k, fmt,
                    im_word(fmt.rounding, words, i), count);
  }
}

/* The largest magnitude in a raw array. */
static uint64_t largest_magnitude(const void* raw, im_elem elem, int64_t n) {
  uint32_t largest_32 = 0;
  uint64_t largest = 0;
  if (elem == IM_I64) {
    for (int64_t i = 0; i < n; i++) {
      uint64_t magnitude = magnitude_of(((const int64_t*)raw)[i]);
      largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
  }
  for (int64_t i = 0; i < n; i++) {
    int32_t v = ((const int32_t*)raw)[i];
    uint32_t magnitude = (uint32_t)(v ^ (v >> 31));
    largest_32 = magnitude > largest_32 ? magnitude : largest_32;
  }
  return largest_32;
}

/* Values that are in their format: none of them has overflowed. */
static void count_stored(const void* raw, im_elem elem, int64_t n, im_count* count) {
  count_width(count, width_of(largest_magnitude(raw, elem, n)), 64);
}

/* False, with nothing counted, where one of the values, which have been saturated, may have been
 * outside: then it is an end of the format. */
static bool count_saturated(const void* raw, int64_t n, im_format fmt, im_count* count) {
  uint64_t largest = largest_magnitude(raw, im_elem_of(fmt), n);
  if (largest == UINT64_MAX >> (65 - fmt.bits)) return false;
  count_width(count, width_of(largest), fmt.bits);
  return true;
}

/* A finite float64 is mantissa * 2**-bits. */
static im_long take_apart(double v, int* bits) {
  int exponent;
  int64_t mantissa = (int64_t)ldexp(frexp(v, &exponent), 53);
  *bits = 53 - exponent;
  return im_long_of_i64(mantissa);
}

IM_INLINE void count_small_reals(const double* v, int64_t n, double scale, int bits,
                                 im_rounding rounding, const uint32_t* words, im_count* count) {
  uint64_t all = 0, outside = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t word = im_word(rounding, words, i);
    uint64_t magnitude = magnitude_of(im_round_small(v[i], scale, rounding, word));
    all |= magnitude;
    outside += magnitude >> (bits - 1) != 0;
  }
  count_all(count, all, outside);
}

/* Finite floats that are quantized. */
static void count_reals(const double* v, int64_t n, im_format fmt, im_stream stream,
                        im_count* count) {
  double scale = im_small_scale(fmt);
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK, v += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    const uint32_t* words = random_words(stream, at, here, fmt, room);
    if (all_small(v, here, scale)) {
#define COUNT(ROUNDING) count_small_reals(v, here, scale, fmt.bits, ROUNDING, words, count)
      IM_FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
      continue;
    }
    for (int64_t i = 0; i < here; i++) {
      int bits;
      im_long mantissa = take_apart(v[i], &bits);
      count_value(mantissa, bits - fmt.frac, fmt, im_word(fmt.rounding, words, i), count);
    }
  }
}

/* f' * e * 2**-k with the f' of sigmoid or tanh. */
static void count_smooth(const im_layer* layer, int64_t a, int64_t e, int k, uint32_t word,
                         im_count* count) {
  im_wide d = im_wide_times(smooth_slope(layer, a), e);
  count_value(im_long_of(d), k + 2 * layer->activation.frac, layer->delta, word, count);
}

/* D of a layer of sigmoid or tanh, from A and E. */
static void count_gated(const im_layer* layer, im_stream stream, const void* a, const void* e,
                        int64_t n, im_count* count) {
  uint32_t room[WORDS];
  const uint32_t* words = NULL;
  for (int64_t i = 0; i < n; i++) {
    if (i % BLOCK == 0) words = random_words(stream, i, smaller(n - i, BLOCK), layer->delta, room);
    count_smooth(layer, im_load(a, im_elem_of(layer->activation), i),
                 im_load(e, im_elem_of(layer->delta), i), 0,
                 im_word(layer->delta.rounding, words, i % BLOCK), count);
  }
}

/* D of the last layer, f'(z) * (a - y), doubled unless half_loss. */
static void count_loss_gradient(const im_layer* layer, im_stream stream, const void* z,
                                const void* a, const void* y, int64_t n, bool half_loss,
                                im_count* count) {
  uint32_t room[WORDS];
  const uint32_t* words = NULL;
  im_derivative f = derivative(layer);
  im_elem elem = im_elem_of(layer->activation);
  int k = layer->activation.frac - layer->delta.frac - !half_loss;
  bool smooth = im_derives_from_a(layer);
  if (!smooth && f.part == f.whole && f.shift == 0 && elem == IM_I32 && k <= 0 && k >= -30) {
    /* f' is 0 or 1: |a - y| < 2**32, times 2**30 */
    uint64_t all = 0, outside = 0;
    for (int64_t i = 0; i < n; i++) {
      int64_t difference = (int64_t)((const int32_t*)a)[i] - ((const int32_t*)y)[i];
      int32_t at = ((const int32_t*)z)[i];
      bool passes = at >= f.whole && at <= f.last;
      uint64_t magnitude = passes ? magnitude_of(difference * (INT64_C(1) << -k)) : 0;
      all |= magnitude;
      outside += magnitude >> (layer->delta.bits - 1) != 0;
    }
    count_all(count, all, outside);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    if (i % BLOCK == 0) words = random_words(stream, i, smaller(n - i, BLOCK), layer->delta, room);
    uint32_t word = im_word(layer->delta.rounding, words, i % BLOCK);
    int64_t at = im_load(z, elem, i);
    im_long difference = im_long_add(im_long_of_i64(im_load(a, elem, i)),
                                     im_long_negate(im_long_of_i64(im_load(y, elem, i))));
    if (smooth)
      count_smooth(layer, im_load(a, elem, i), im_load(a, elem, i) - im_load(y, elem, i), k, word,
                   count);
    else if (at < f.part || at > f.last)
      count_width(count, 1, layer->delta.bits); /* a zero */
    else
      count_value(difference, k + (at >= f.whole ? f.shift : f.part_shift), layer->delta, word,
                  count);
  }
}

/* Steps ---------------------------------------------------------------------------------------- */

/* The width of w + s * 2**n, n >= 0. Its bits from n up are those of s + floor(w * 2**-n), and
 * where they are not all equal they alone have a width. Where they are, and n < 64, all of it fits;
 * and for n >= 64 it lies in -2**n .. 2**n - 1 but, unless s is zero, not in half of that, as |w|
 * <= 2**63.
 */
static int sum_width(int64_t w, im_long s, int n) {
  if (im_long_is(s, 0)) return width_of(magnitude_of(w));
  int width = im_long_width(im_long_add(s, im_long_of_i64(w >> (n < 63 ? n : 63))));
  if (width > 1 || n >= 64) return width + n;
  return im_long_width(im_long_add(im_long_of_i64(w), im_long_shl(s, n)));
}

/* The step s * 2**-k of the weight w. */
static void count_step(int64_t w, im_long s, int k, im_format fmt, uint32_t word, im_count* count) {
  bool half, sticky, half_below, sticky_below;
  if (im_long_is(s, 0)) count->exact_zeros++;
  if (k <= 0) {
    count_width(count, sum_width(w, s, -k), fmt.bits);
    return;
  }
  im_long q = im_long_floor_shift(s, k, &half, &sticky);
  uint64_t up = im_long_up(s, k, q, half, sticky, fmt.rounding, word);
  im_long rounded = im_long_add(q, im_long_of_i64((int64_t)up));
  if (im_long_is(rounded, 0) && !im_long_is(s, 0)) count->lost_steps++;
  /* -1 of more than -1/2, or 1 of less than 1/2. */
  if (im_long_is(rounded, -1) && !up && half && sticky) count->artefact_steps++;
  if (im_long_is(q, 0) && up && !half) count->artefact_steps++;
  im_wide error; /* the bits below the last place, or what is missing there */
  const uint64_t mask = (UINT64_C(1) << ERROR_BITS) - 1;
  if (k <= ERROR_BITS) {
    uint64_t whole = UINT64_C(1) << k, below = s.limb[0] & (whole - 1);
    error = im_wide_shl((im_wide){{up ? whole - below : below, 0, 0}}, ERROR_BITS - k);
  } else {
    im_long cut = im_long_floor_shift(s, k - ERROR_BITS, &half_below, &sticky_below);
    uint64_t below = cut.limb[0] & mask;
    error = (im_wide){{up ? mask + 1 - below - (half_below || sticky_below) : below, 0, 0}};
  }
  add_to(count->error_sum, error);
  count_width(count, im_long_width(im_long_add(im_long_of_i64(w), rounded)), fmt.bits);
}

/* The magnitude of a step, of an exact sum s or of an optimiser: in units of 2**-STEP_BITS, and not
 * more than 2**62 of them. */
static void count_size(im_long s, im_sizes sizes, im_count* count) {
  bool half, sticky;
  if (im_long_negative(s)) s = im_long_negate(s);
  if (sizes.optimised) {
    const im_long most = im_long_of_i64(INT64_C(1) << 62);
    s = im_long_floor_shift(im_long_shl(s, STEP_BITS), sizes.frac, &half, &sticky);
    if (im_long_width(s) > 63) s = most;
  }
  add_to(count->step_sum, (im_wide){{s.limb[0], s.limb[1], s.limb[2]}});
}

/* The same of steps of an optimiser where |s| < 2**62. */
static void count_small_sizes(const int64_t* s, int64_t n, int frac, im_count* count) {
  const int up = frac < STEP_BITS ? STEP_BITS - frac : 0;
  const int down = frac < STEP_BITS ? 0 : (int)smaller(frac - STEP_BITS, 63);
  const uint64_t most = UINT64_C(1) << 62;
  uint64_t low = 0, high = 0;
  for (int64_t i = 0; i < n; i++) {
    uint64_t size = (uint64_t)(s[i] < 0 ? -s[i] : s[i]);
    size = size < most >> up ? size >> down << up : most;
    low += size & UINT32_MAX;
    high += size >> 32;
  }
  add_to(count->step_sum, joined(high, low, 0));
}

/* The same where im_update_is_narrow and |s| < 2**63, n at most BLOCK. Sums of magnitudes and of
 * errors, which are below 2**63, go by halves of 32 bits. */
IM_INLINE void count_narrow_steps(const int64_t* w, const int64_t* sums, int64_t n, int k, int bits,
                                  im_rounding rounding, const uint32_t* words, im_count* count) {
  const uint64_t whole = UINT64_C(1) << k, low_half = UINT32_MAX;
  uint64_t zeros = 0, lost = 0, artefacts = 0, outside = 0, all = 0;
  uint64_t sizes_low = 0, sizes_high = 0, errors_low = 0, errors_high = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t s = -sums[i], q = s >> k;
    uint64_t below = (uint64_t)s & (whole - 1);
    uint32_t word = im_word(rounding, words, i);
    int64_t up = (int64_t)im_round_up(rounding, below, k, q, (uint64_t)s >> 63, word);
    int64_t rounded = q + up;
    uint64_t size = (uint64_t)(s < 0 ? -s : s), error = up ? whole - below : below;
    uint64_t magnitude = magnitude_of(w[i] + rounded);
    zeros += s == 0;
    lost += (rounded == 0) & (s != 0);
    artefacts += (rounded == -1) & (up == 0) & (below > whole / 2);
    if (rounding == IM_STOCHASTIC) artefacts += (q == 0) & (up == 1) & (below < whole / 2);
    sizes_low += size & low_half;
    sizes_high += size >> 32;
    errors_low += error & low_half;
    errors_high += error >> 32;
    all |= magnitude;
    outside += magnitude >> (bits - 1) != 0;
  }
  count->exact_zeros += zeros;
  count->lost_steps += lost;
  count->artefact_steps += artefacts;
  count_all(count, all, outside);
  add_to(count->step_sum, joined(sizes_high, sizes_low, 0));
  im_wide errors = joined(errors_high, errors_low, 0);
  if (k <= ERROR_BITS) add_to(count->error_sum, im_wide_shl(errors, ERROR_BITS - k));
}

/* The steps of n weights from `at` on by the negatives of exact sums; n at most BLOCK. */
static void count_steps(const void* w, im_elem elem, int64_t at, const int64_t* sums, int64_t n,
                        int k, im_format fmt, const uint32_t* words, im_sizes sizes,
                        im_count* count) {
  int64_t weights[BLOCK];
  load_block(w, elem, at, n, weights);
  uint64_t largest = magnitudes(sums, n);
  if (im_update_is_narrow(k, fmt.bits) && k <= ERROR_BITS &&
      largest < (sizes.optimised ? INT64_MAX / 2 : INT64_MAX)) {
    uint64_t before[3]; /* of an optimiser's steps, what is added there is not their magnitude */
    memcpy(before, count->step_sum, sizeof before);
#define COUNT(ROUNDING) count_narrow_steps(weights, sums, n, k, fmt.bits, ROUNDING, words, count)
    IM_FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
    if (!sizes.optimised) return;
    memcpy(count->step_sum, before, sizeof before);
    count_small_sizes(sums, n, sizes.frac, count);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    im_long s = im_long_of_i64(sums[i]);
    count_size(s, sizes, count);
    count_step(weights[i], im_long_negate(s), k, fmt, im_word(fmt.rounding, words, i), count);
  }
}

/* The steps of n weights by stored gradients, or by what they are joined with. */
static void count_stored_steps(const void* w, const void* g, im_elem elem, int64_t n, int k,
                               im_format fmt, const im_addend* with, im_stream stream,
                               im_sizes sizes, im_count* count) {
  int64_t gradient[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    load_block(g, elem, at, here, gradient);
    const uint32_t* words = random_words(stream, at, here, fmt, room);
    if (join(with, at, gradient, here)) {
      count_steps(w, im_elem_of(fmt), at, gradient, here, k, fmt, words, sizes, count);
      continue;
    }
    for (int64_t i = 0; i < here; i++) {
      im_long s = join_one(with, at + i, im_wide_of(gradient[i]));
      count_size(s, sizes, count);
      count_step(im_load(w, im_elem_of(fmt), at + i), im_long_negate(s), k, fmt,
                 im_word(fmt.rounding, words, i), count);
    }
  }
}

/* Float steps: how many are zero, and the sum of their magnitudes before the shift by the learning
 * rate. Scaled, what is too small for float64 is less than 1, as what it becomes. */
static void count_real_sizes(const double* step, int64_t n, int lr_shift, im_count* count) {
  double sizes[BLOCK];
  for (int64_t at = 0; at < n; at += BLOCK, step += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    uint64_t zeros = 0, low = 0, high = 0;
    memcpy(sizes, step, (size_t)here * sizeof *step);
    scale(sizes, here, lr_shift + STEP_BITS);
    for (int64_t i = 0; i < here; i++) {
      double size = fabs(sizes[i]);
      int64_t whole = (int64_t)(size < 0x1p62 ? size : 0x1p62);
      zeros += step[i] == 0;
      low += (uint64_t)whole & UINT32_MAX;
      high += (uint64_t)whole >> 32;
    }
    count->exact_zeros += zeros;
    add_to(count->step_sum, joined(high, low, 0));
  }
}

/* How a float step rounds whose magnitude in last places is below 2**51: its whole part and its
 * fraction are exact, and so is the fraction in units of 2**-62, of which the rest is below one.
 * Away from zero, R leaves what is missing to the next integer. Free of branches. */
typedef struct {
  int64_t rounded, error;
  uint64_t lost, artefact;
} im_small_step;

IM_INLINE im_small_step round_small_step(double step, double scale, im_rounding rounding,
                                         uint32_t word) {
  const int64_t one = INT64_C(1) << ERROR_BITS;
  int64_t rounded = im_round_small(step, scale, rounding, word);
  double size = fabs(step * scale);
  int64_t whole = (int64_t)size;
  double fraction = (size - (double)whole) * 0x1p62;
  int64_t below = (int64_t)fraction;
  int64_t rest = (double)below != fraction;
  int64_t away = -(int64_t)((int64_t)magnitude_of(rounded) + (rounded < 0) > whole);
  uint64_t is_lost = (uint64_t)(rounded == 0) & (uint64_t)(step != 0);
  uint64_t is_one = (uint64_t)(rounded == 1) | (uint64_t)(rounded == -1);
  return (im_small_step){rounded, below + (away & (one - 2 * below - rest)), is_lost,
                         is_one & (uint64_t)(size < 0.5)};
}

IM_INLINE void count_small_steps(const int64_t* w, const double* step, int64_t n, im_format fmt,
                                 im_rounding rounding, const uint32_t* words, im_count* count) {
  const double scale = im_small_scale(fmt);
  uint64_t lost = 0, artefacts = 0, outside = 0, all = 0, errors_low = 0, errors_high = 0;
  for (int64_t i = 0; i < n; i++) {
    im_small_step here = round_small_step(step[i], scale, rounding, im_word(rounding, words, i));
    uint64_t magnitude = magnitude_of(w[i] + here.rounded);
    lost += here.lost;
    artefacts += here.artefact;
    errors_low += (uint64_t)here.error & UINT32_MAX;
    errors_high += (uint64_t)here.error >> 32;
    all |= magnitude;
    outside += magnitude >> (fmt.bits - 1) != 0;
  }
  count->lost_steps += lost;
  count->artefact_steps += artefacts;
  count_all(count, all, outside);
  add_to(count->error_sum, joined(errors_high, errors_low, 0));
}

/* Finite float steps of n weights, how they round. */
static void count_real_steps(const void* w, const double* step, int64_t n, im_format fmt,
                             im_stream stream, im_count* count) {
  int64_t weights[BLOCK];
  uint32_t room[WORDS];
  for (int64_t at = 0; at < n; at += BLOCK, step += BLOCK) {
    int64_t here = smaller(n - at, BLOCK);
    load_block(w, im_elem_of(fmt), at, here, weights);
    const uint32_t* words = random_words(stream, at, here, fmt, room);
    if (fmt.bits <= 62 && all_small(step, here, im_small_scale(fmt))) {
#define COUNT(ROUNDING) count_small_steps(weights, step, here, fmt, ROUNDING, words, count)
      IM_FOR_EACH_ROUNDING(fmt.rounding, COUNT)
#undef COUNT
      continue;
    }
    uint64_t zeros = count->exact_zeros; /* counted by count_real_sizes */
    for (int64_t i = 0; i < here; i++) {
      int bits;
      im_long mantissa = take_apart(step[i], &bits);
      count_step(weights[i], mantissa, bits - fmt.frac, fmt, im_word(fmt.rounding, words, i),
                 count);
    }
    count->exact_zeros = zeros;
  }
}

/* Units ------------------------------------------------------------------------------------------
 */

#define COUNT_UNITS(TYPE, IS_ACTIVE)              \
  do {                                            \
    const TYPE* row = z;                          \
    for (int64_t i = 0; i < n; i++, row += width) \
      for (int64_t j = 0; j < width; j++) {       \
        int64_t on = row[j] IS_ACTIVE 0;          \
        active[j] |= on;                          \
        all += on;                                \
      }                                           \
  } while (0)
#define COUNT_UNITS_OF(TYPE) \
  if (layer->half_at_zero)   \
    COUNT_UNITS(TYPE, >=);   \
  else                       \
    COUNT_UNITS(TYPE, >)

/* Of a relu layer: the entries whose derivative is 0, and the units that have another; kind F64,
 * I32 or I64. */
static void count_units(const im_layer* layer, const void* z, im_source_kind kind, int64_t n,
                        int64_t* active, im_count* count) {
  int64_t width = layer->n_out;
  int64_t all = 0;
  memset(active, 0, (size_t)width * sizeof *active);
  if (kind == IM_SOURCE_F64) {
    COUNT_UNITS_OF(double);
  } else if (kind == IM_SOURCE_I32) {
    COUNT_UNITS_OF(int32_t);
  } else {
    COUNT_UNITS_OF(int64_t);
  }
  count->inactive += (uint64_t)(n * width - all);
}
#undef COUNT_UNITS_OF
#undef COUNT_UNITS
