/* cross_entropy, for one target: bodies for isa_tpl.h, after observe_tpl.h.
 *
 * Outputs are raw integers of at most 16 bits, or float64. With t_i the exponential of an output's
 * distance from the largest of its row, and S the sum of the row, the probabilities are t_i / S.
 * Raw ones are integers: 0 <= t_i <= S, S >= 2**30, and S < 2**61, as a row has fewer than 2**31.
 */
enum { ROWS = 64 }; /* a multiple of the float sum's eight terms */

/* Raw -------------------------------------------------------------------------------------- */

static int32_t exp_below(const im_net* net, int32_t most, int32_t a) {
  int32_t below = most - a;
  return below < net->exps_size ? net->exps[below] : 0;
}

/* The largest output, and S, of each row. */
static void softmax_rows(const im_net* net, const int32_t* a, int64_t rows, int64_t width,
                         int32_t* most, int64_t* sums) {
  for (int64_t r = 0; r < rows; r++, a += width) {
    int32_t top = a[0];
    for (int64_t j = 1; j < width; j++) top = a[j] > top ? a[j] : top;
    int64_t sum = 0;
    for (int64_t j = 0; j < width; j++) sum += exp_below(net, top, a[j]);
    most[r] = top;
    sums[r] = sum;
  }
}

/* floor(t * 2**up / sum), and in *rest whether that is less than the quotient; bit by bit. */
static im_wide long_quotient(int64_t t, int64_t sum, int up, bool* rest) {
  im_wide quotient = im_wide_of(t >= sum); /* only 1, where all of the row is t */
  for (t = t >= sum ? t - sum : t; up > 0; up--) {
    t *= 2; /* below 2**62 */
    bool bit = t >= sum;
    t -= bit ? sum : 0;
    quotient = im_wide_add(im_wide_shl(quotient, 1), im_wide_of(bit));
  }
  *rest = t != 0;
  return quotient;
}

/* What D of cross_entropy is rounded from: s * 2**-(frac + 1) rounds to the delta format as
 * t / S - y does. Below the place of a delta the quotient has 32 bits more, which stochastic
 * rounding reads; and one bit, the last, tells whether anything follows. */
typedef struct {
  int frac, up; /* of the quotient; and how far targets are shifted to it */
  bool narrow;  /* narrow_entries serves */
} im_quotients;

/* frac is at most 95, so that |s| < 2**(95 + 17). In narrow_entries it is below 2**63. */
static im_quotients quotients_of(const im_layer* layer) {
  int frac = layer->delta.frac + 32, least = layer->activation.frac;
  if (frac < least) frac = least;
  int up = frac - least;
  bool narrow = frac <= 51 && layer->n_out <= 1 << 22 && layer->activation.bits + up <= 62;
  return (im_quotients){frac, up, narrow};
}

static im_wide wide_entry(im_quotients of, int32_t t, int64_t sum, int32_t y) {
  bool rest;
  im_wide quotient = long_quotient(t, sum, of.frac, &rest);
  im_wide s = im_wide_add(quotient, im_wide_negate(im_wide_shl(im_wide_of(y), of.up)));
  return im_wide_add(im_wide_shl(s, 1), im_wide_of(rest));
}

/* s = 2 * (floor(t * 2**frac / S) - y * 2**up) + (whether anything is left). float64 holds
 * t * 2**frac and S <= 2**22 * 2**30, and their quotient, at most 2**51, is off by at most 1/4:
 * its nearest integer is the floor or one more. What is left of the division, -S .. S, is
 * exact modulo 2**64, and tells which. */
static void narrow_entries(im_quotients of, const int32_t* t, const int64_t* sums, const int32_t* y,
                           int64_t n, int64_t* s) {
  double scale = im_power_of_two(of.frac);
  for (int64_t i = 0; i < n; i++) {
    double quotient = t[i] * scale / (double)sums[i];
    int64_t q = im_integer(im_round_real(quotient, IM_HALF_EVEN, 0));
    int64_t left = (int64_t)(((uint64_t)t[i] << of.frac) - (uint64_t)q * (uint64_t)sums[i]);
    q -= left < 0;
    s[i] = 2 * (q - y[i] * (INT64_C(1) << of.up)) + (left != 0);
  }
}

/* d = requantize(t / S - y) for a batch; or, where count is not NULL, that is counted. */
static void cross_entropy_gradient(const im_net* net, im_stream stream, const int32_t* a,
                                   const int32_t* y, int64_t n, void* d, im_count* count) {
  uint32_t room[WORDS];
  const im_layer* layer = &net->layers[net->depth - 1];
  int64_t width = layer->n_out, sums[ROWS], sum[BLOCK], s[BLOCK];
  int32_t most[ROWS], t[BLOCK];
  im_quotients of = quotients_of(layer);
  int k = of.frac + 1 - layer->delta.frac;
  for (int64_t first = 0; first < n; first += ROWS) {
    int64_t rows = smaller(n - first, ROWS), row = 0, column = 0;
    softmax_rows(net, a + first * width, rows, width, most, sums);
    for (int64_t at = first * width; at < (first + rows) * width; at += BLOCK) {
      int64_t here = smaller((first + rows) * width - at, BLOCK);
      const uint32_t* words = random_words(stream, at, here, layer->delta, room);
      for (int64_t i = 0; i < here; i++) {
        t[i] = exp_below(net, most[row], a[at + i]);
        sum[i] = sums[row];
        column = column + 1 < width ? column + 1 : 0;
        row += column == 0;
      }
      if (of.narrow) {
        narrow_entries(of, t, sum, y + at, here, s);
        if (count) {
          count_sums(s, here, k, layer->delta, words, count);
          continue;
        }
        requantize_block(s, here, k, layer->delta, words);
      }
      for (int64_t i = 0; i < here && !of.narrow; i++) {
        im_wide entry = wide_entry(of, t[i], sum[i], y[at + i]);
        uint32_t word = im_word(layer->delta.rounding, words, i);
        if (count)
          count_value(im_long_of(entry), k, layer->delta, word, count);
        else
          s[i] = im_requantize_wide(entry, k, layer->delta, word);
      }
      if (!count) store_block(s, here, d, im_elem_of(layer->delta), at);
    }
  }
}

/* The float sum of products goes on with n terms of which the first has a k with k % 8 == 0. */
static void add_products(const double* a, const double* b, int64_t n, double s[8]) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; j++) s[j] += a[i + j] * b[i + j];
  for (; i < n; i++) s[i % 8] += a[i] * b[i];
}

static double total_of(const double s[8]) {
  return add_partial(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
}

/* The float sum of y with log(S) + (a_max - a), each dequantized. */
static double cross_entropy(const im_net* net, const int32_t* a, const int32_t* y, int64_t n) {
  const im_layer* layer = &net->layers[net->depth - 1];
  int64_t width = layer->n_out, sums[ROWS];
  int32_t most[ROWS];
  double logs[ROWS], terms[BLOCK], targets[BLOCK], s[8] = {0};
  double unit = im_power_of_two(-layer->activation.frac);
  for (int64_t first = 0; first < n; first += ROWS) {
    int64_t rows = smaller(n - first, ROWS), row = 0, column = 0;
    softmax_rows(net, a + first * width, rows, width, most, sums);
    for (int64_t r = 0; r < rows; r++) logs[r] = im_log((double)sums[r] * 0x1p-30);
    for (int64_t at = first * width; at < (first + rows) * width; at += BLOCK) {
      int64_t here = smaller((first + rows) * width - at, BLOCK);
      for (int64_t i = 0; i < here; i++) {
        terms[i] = logs[row] + (most[row] - a[at + i]) * unit;
        targets[i] = y[at + i] * unit;
        column = column + 1 < width ? column + 1 : 0;
        row += column == 0;
      }
      add_products(targets, terms, here, s);
    }
  }
  return total_of(s);
}

/* Float64 ---------------------------------------------------------------------------------- */

/* d = exp(a - a_max) of a row, and their float sum. */
static double float_softmax_row(const double* a, int64_t width, double* most, double* d) {
  double s[8] = {0};
  *most = a[0];
  for (int64_t j = 1; j < width; j++) *most = a[j] > *most ? a[j] : *most;
  for (int64_t j = 0; j < width; j++) d[j] = im_exp(a[j] - *most);
  for (int64_t j = 0; j < width; j++) s[j % 8] += d[j]; /* times 1.0 */
  return total_of(s);
}

/* d = exp(a - a_max) / s - y. */
static void float_cross_entropy_gradient(const double* a, const double* y, int64_t n, int64_t width,
                                         double* d) {
  double most;
  for (int64_t i = 0; i < n; i++, a += width, y += width, d += width) {
    double sum = float_softmax_row(a, width, &most, d);
    for (int64_t j = 0; j < width; j++) d[j] = d[j] / sum - y[j];
  }
}

/* The float sum of y with log(s) + (a_max - a); room for n * width. */
static double float_cross_entropy(const double* a, const double* y, int64_t n, int64_t width,
                                  double* room) {
  double most, s[8] = {0}, *terms = room;
  const double* targets = y;
  for (int64_t i = 0; i < n; i++, a += width, y += width, terms += width) {
    double log = im_log(float_softmax_row(a, width, &most, terms));
    for (int64_t j = 0; j < width; j++) terms[j] = y[j] != 0 ? log + (most - a[j]) : 0.0;
  }
  add_products(targets, room, n * width, s);
  return total_of(s);
}
