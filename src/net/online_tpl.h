/* The loops of online training (online.c): bodies for isa_tpl.h.
 *
 * Weights are transposed: row k holds the weights of input k, one int32 lane an output, filled
 * up with zeros to `width`, a multiple of 16. So an input that is zero costs nothing, and sums
 * over inputs go straight down the lanes.
 *
 * Ranges. A product of two int32 is at most 2**62 in magnitude, and int64 holds it. Of sums, the
 * caller has proved that int64 holds them (online.c). Lanes are those of cpu/lanes_tpl.h. */
#include "../arith/round.h"

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
    case IM_STOCHASTIC: break; /* make_pairs */
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
#if IM_LANES < 8
  for (; i < n; i++) {
    if (i % 16 == 0) IM_PREFETCH(next + i);
    uint32_t size = v[i] < 0 ? 0 - (uint32_t)v[i] : (uint32_t)v[i];
    at[count] = (int32_t)i;
    count += v[i] != 0;
    largest = size > largest ? size : largest;
  }
#endif
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
    IM_FOR_EACH_WORDLESS_RULE(fmt, ANYWHERE)
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
  IM_FOR_EACH_WORDLESS_ROUNDING(fmt.rounding, INSIDE)
#undef ANYWHERE
#undef INSIDE
}

/* Where n_in is a multiple of 4, the weights of an output to four neighbouring inputs share a
 * block. So blocks are made for pairs of such a four, of which an input is listed, and an output:
 * outputs come one after the other, in a strip of them, and fours behind each other. Then each
 * listed input adds its words, which serve a pair of vectors: in the order of a strip every other
 * output comes first, where the update is inside the format. */
enum { STRIP = 384, PAIRS = 400 };

typedef struct {
  int64_t more[4][PAIRS + 5 * IM_LANES]; /* of word q of each pair: what it adds to a product */
  int64_t block[PAIRS + 5 * IM_LANES];
  int64_t of_output[STRIP + IM_LANES];      /* the block of an output and of the first four */
  int32_t fours[PAIRS], four_of[4 * PAIRS]; /* and which of them an input is in */
} im_pairs;

/* Where output j of a strip of n stands in its order. */
IM_INLINE int64_t place_of(int64_t j, int64_t n, bool inside) {
  int64_t start = j / (2 * IM_LANES) * (2 * IM_LANES), rest = smaller(n - start, 2 * IM_LANES);
  return inside ? start + (j - start) / 2 + (j % 2) * ((rest + 1) / 2) : j;
}

/* Find the fours of inputs, at most so many; returns of how many inputs. */
static int64_t list_fours(const int32_t* at, int64_t count, int64_t most, im_pairs* pairs) {
  int64_t fours = -1, i = 0;
  uint32_t last = UINT32_MAX;
  for (; i < count; i++) {
    uint32_t four = (uint32_t)at[i] / 4;
    fours += four != last;
    if (fours == most) break;
    pairs->fours[fours] = (int32_t)four;
    pairs->four_of[i] = (int32_t)fours;
    last = four;
  }
  return i;
}

/* What a word, in the low half of a lane, adds to k bits: im_round_more. `far` is k > 32. */
IM_INLINE im_vec word_more(im_vec word, im_vec kept, int k, bool far) {
  word = lanes_and(word, kept);
  return far ? lanes_shl(word, k - 32) : lanes_shr_unsigned(word, 32 - k);
}

/* Make the words of these fours and n outputs, as what they add to k bits. */
IM_INLINE void make_pairs(im_pairs* pairs, int64_t fours, int64_t n, int k, bool far,
                          int random_bits, im_stream stream) {
  const im_vec kept = lanes_of((int64_t)(UINT32_MAX >> (32 - random_bits) << (32 - random_bits)));
  for (int64_t i = 0; i < fours; i++)
    for (int64_t j = 0; j < n; j += IM_LANES)
      lanes_put(pairs->block + i * n + j,
                lanes_add(lanes_get(pairs->of_output + j), lanes_of(pairs->fours[i])));
  int64_t end = fours * n;
  for (int i = 0; i < 5; i++) /* a whole vector is read behind the last */
    lanes_put(pairs->block + end + i * IM_LANES, lanes_of(0));
  /* Four vectors at a time: the rounds of one alone wait for each other. */
  for (int64_t i = 0; i < end + IM_LANES; i += 4 * IM_LANES) {
    const int64_t* block = pairs->block + i;
    im_random a = random_counter(lanes_get(block), stream);
    im_random b = random_counter(lanes_get(block + IM_LANES), stream);
    im_random c = random_counter(lanes_get(block + 2 * IM_LANES), stream);
    im_random e = random_counter(lanes_get(block + 3 * IM_LANES), stream);
    RANDOM_ROUNDS(stream.seed, (a = random_round(a, key0, key1), b = random_round(b, key0, key1),
                                c = random_round(c, key0, key1), e = random_round(e, key0, key1)));
    for (int q = 0; q < 4; q++) {
      int64_t* more = pairs->more[q] + i;
      lanes_put(more, word_more(a.word[q], kept, k, far));
      lanes_put(more + IM_LANES, word_more(b.word[q], kept, k, far));
      lanes_put(more + 2 * IM_LANES, word_more(c.word[q], kept, k, far));
      lanes_put(more + 3 * IM_LANES, word_more(e.word[q], kept, k, far));
    }
  }
}

/* As update_inside, but at random. Lanes behind the last output are zero, whatever is added. */
IM_INLINE void update_pairs_inside(const im_inputs* inputs, const im_pairs* pairs, int64_t first,
                                   int64_t end, const int32_t* restrict d, int32_t* restrict w,
                                   int64_t n, int64_t width, int k, bool far) {
  if ((k > 32) != far) return; /* cannot be: tells the compiler */
  for (int64_t i = first; i < end; i++) {
    int64_t at = inputs->at[i];
    const int64_t* more = pairs->more[at % 4] + pairs->four_of[i - first] * n;
    im_vec x = lanes_factor(inputs->value + at);
    for (int64_t j = 0; j < n; j += 2 * IM_LANES) {
      int64_t half = (smaller(n - j, 2 * IM_LANES) + 1) / 2;
      im_vec even = lanes_mul(x, lanes_sub(lanes_of(0), lanes_even(d + j)));
      im_vec odd = lanes_mul(x, lanes_sub(lanes_of(0), lanes_odd(d + j)));
      lanes_add_shifted(w + at * width + j, lanes_add(even, lanes_get(more + j)),
                        lanes_add(odd, lanes_get(more + j + half)), k);
    }
  }
}

/* As update_anywhere, but at random. */
IM_INLINE void update_pairs_anywhere(const im_inputs* inputs, const im_pairs* pairs, int64_t first,
                                     int64_t end, const int32_t* restrict d, int32_t* restrict w,
                                     int64_t n, int64_t width, int k, im_format rules) {
  for (int64_t i = first; i < end; i++) {
    int64_t at = inputs->at[i];
    const int64_t* more = pairs->more[at % 4] + pairs->four_of[i - first] * n;
    im_vec x = lanes_factor(inputs->value + at);
    for (int64_t j = 0; j < n; j += IM_LANES) {
      int32_t* row = w + at * width + j;
      im_vec step = lanes_sub(lanes_get(more + j), lanes_mul(x, lanes_load(d + j)));
      step = lanes_add(lanes_load(row), lanes_shr(step, k));
      lanes_store(row, enter_lanes(step, rules.bits, rules.overflow));
    }
  }
}

static void update_fours(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t n_in,
                         int64_t n_out, int64_t width, int k, im_format fmt, im_stream stream,
                         bool inside) {
  im_pairs pairs;
  for (int64_t start = 0; start < n_out; start += STRIP, d += STRIP, w += STRIP) {
    int64_t n = smaller(n_out - start, STRIP), end;
    for (int64_t j = 0; j < n; j++)
      pairs.of_output[place_of(j, n, inside)] = (start + j) * (n_in / 4);
    lanes_put(pairs.of_output + n, lanes_of(0));
    for (int64_t first = 0; first < inputs->count; first = end) {
      end = first + list_fours(inputs->at + first, inputs->count - first, PAIRS / n, &pairs);
      int64_t fours = pairs.four_of[end - 1 - first] + 1;
      if (k > 32)
        make_pairs(&pairs, fours, n, k, true, fmt.random_bits, stream);
      else
        make_pairs(&pairs, fours, n, k, false, fmt.random_bits, stream);
      if (!inside && fmt.overflow == IM_WRAP)
        update_pairs_anywhere(inputs, &pairs, first, end, d, w, n, width, k,
                              (im_format){.bits = fmt.bits, .overflow = IM_WRAP});
      else if (!inside)
        update_pairs_anywhere(inputs, &pairs, first, end, d, w, n, width, k,
                              (im_format){.bits = fmt.bits});
      else if (width == 16 && k > 32)
        update_pairs_inside(inputs, &pairs, first, end, d, w, n, 16, k, true);
      else if (width == 16)
        update_pairs_inside(inputs, &pairs, first, end, d, w, n, 16, k, false);
      else if (k > 32)
        update_pairs_inside(inputs, &pairs, first, end, d, w, n, width, k, true);
      else
        update_pairs_inside(inputs, &pairs, first, end, d, w, n, width, k, false);
    }
  }
}

/* Elsewhere, output by output. */
static void update_outputs(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t n_in,
                           int64_t n_out, int64_t width, int k, im_format fmt, im_stream stream) {
  uint32_t room[WORDS];
  for (int64_t j = 0; j < n_out; j++) {
    int64_t i = 0;
    for (int64_t first = 0; first < n_in && i < inputs->count; first += BLOCK) {
      const uint32_t* words =
          random_words(stream, j * n_in + first, smaller(n_in - first, BLOCK), fmt, room);
      for (; i < inputs->count && inputs->at[i] < first + BLOCK; i++) {
        int64_t at = inputs->at[i], s = (int64_t)d[j] * inputs->value[at];
        int32_t* weight = w + at * width + j;
        *weight = (int32_t)im_update_i64(*weight, s, k, fmt, words[at - first]);
      }
    }
  }
}

static void update_at_random(const im_inputs* inputs, const int32_t* d, int32_t* w, int64_t n_in,
                             int64_t n_out, int64_t width, int k, im_format fmt, im_stream stream,
                             bool inside) {
  if (n_in % 4 == 0)
    update_fours(inputs, d, w, n_in, n_out, width, k, fmt, stream, inside);
  else
    update_outputs(inputs, d, w, n_in, n_out, width, k, fmt, stream);
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
IM_INLINE void end_rows(const im_layer* layer, im_format rules, const uint32_t* words, bool is_relu,
                        int k, bool half_loss, const int64_t* restrict sums, int64_t width,
                        const int32_t* restrict y, int32_t* restrict a, int32_t* restrict d,
                        im_ending* ending) {
  uint64_t squares = 0;
  int64_t joined = 0, largest = 0;
  for (int64_t j = 0; j < width; j++) {
    int64_t rounded = im_round_shift(sums[j], k, rules.rounding, im_word(rules.rounding, words, j));
    int64_t z = im_enter(rounded, rules.bits, rules.overflow);
    int64_t out = is_relu && z < 0 ? 0 : z, gradient = out - y[j];
    int32_t low = (int32_t)gradient;
    squares += (uint64_t)((int64_t)low * low);
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
  ending->squares = joined >> 28 == 0 && width <= 64 ? (int64_t)squares : -1;
}

static void end_forward(const im_layer* layer, im_stream stream, int k, bool half_loss,
                        const int64_t* sums, int64_t width, const int32_t* y, int32_t* a,
                        int32_t* d, im_ending* ending) {
  uint32_t room[WORDS];
  const uint32_t* words = random_words(stream, 0, width, layer->activation, room);
  bool is_relu = layer->function == IM_RELU;
#define END_ROWS(RULES)                                                           \
  if (width == 16 && is_relu)                                                     \
    end_rows(layer, RULES, words, true, k, half_loss, sums, 16, y, a, d, ending); \
  else                                                                            \
    end_rows(layer, RULES, words, is_relu, k, half_loss, sums, width, y, a, d, ending)
  IM_FOR_EACH_RULE(layer->activation, END_ROWS)
#undef END_ROWS
}
