/* libFuzzer on the C API: the bytes of an input choose a call and all its arguments, which keep the
 * promises of intmlp.h by construction. Every instruction set, every kernel and every number of
 * threads must give what the reference in this file gives, integers of 320 bits that share no code
 * with the core; for networks, what one thread of portable C gives. Memory is of exact size, for
 * the sanitizers.
 *
 * CALL is what is fuzzed: arrays, product or network. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intmlp.h"

/* Memory that is kept until the input is done. */
static void* kept[4096];
static int kept_count;

static void* keep(int64_t n, size_t size) {
  if (kept_count == sizeof kept / sizeof kept[0]) abort();
  void* memory = malloc((size_t)n * size);
  if (!memory) abort();
  memset(memory, 0x55, (size_t)n * size);
  return kept[kept_count++] = memory;
}

static void check(bool holds, const char* isa, const char* what) {
  if (holds) return;
  fprintf(stderr, "FOUND: %s, %s\n", isa, what);
  abort();
}

/* Choices ------------------------------------------------------------------------------------ */

static const uint8_t* input;
static size_t left;

static uint64_t take(int bytes) {
  uint64_t v = 0;
  for (int i = 0; i < bytes; i++) v = v << 8 | (left ? left--, *input++ : 0);
  return v;
}

static int64_t in(int64_t low, int64_t high) {
  uint64_t range = (uint64_t)high - (uint64_t)low;
  uint64_t v = take(range < 256 ? 1 : range < 65536 ? 2 : 8);
  return (int64_t)((uint64_t)low + (range == UINT64_MAX ? v : v % (range + 1)));
}

static bool flip(void) { return take(1) & 1; }

/* Values beyond those that the input spells out. */
static uint64_t state;

static uint64_t next(void) {
  uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

typedef enum { GIVEN, UNIFORM, LOWEST, HIGHEST, ALTERNATING, ENDS, SMALL, FLAVOURS } flavour;

static flavour any_flavour(void) { return (flavour)in(0, FLAVOURS - 1); }

static int64_t value(flavour how, int64_t i, int64_t low, int64_t high) {
  const int64_t ends[] = {low, low + 1, -1, 0, 1, high - 1, high};
  switch (how) {
    case GIVEN: return in(low, high);
    case LOWEST: return low;
    case HIGHEST: return high;
    case ALTERNATING: return i % 2 ? low : high;
    case ENDS: return ends[next() % 7];
    case SMALL: return (int64_t)(next() % 4) - 2;
    default: return (int64_t)((uint64_t)low + (next() & ((uint64_t)high - (uint64_t)low)));
  }
}

/* A width: any, or around those of machine words. */
static int width_up_to(int most) {
  static const int usual[] = {8, 9, 16, 17, 31, 32, 33, 64};
  int bits = flip() ? usual[in(0, 7)] : (int)in(2, most);
  return bits < most ? bits : most;
}

static im_format format(int most_bits, bool any_rounding) {
  im_format fmt = {.random_bits = 32};
  fmt.bits = width_up_to(most_bits);
  fmt.frac = (int)in(0, flip() ? fmt.bits - 1 : 63);
  fmt.rounding = (im_rounding)in(0, any_rounding ? IM_STOCHASTIC : IM_HALF_EVEN);
  fmt.overflow = flip() ? IM_WRAP : IM_SATURATE;
  if (fmt.rounding == IM_STOCHASTIC) fmt.random_bits = (int)in(1, 32);
  return fmt;
}

static int64_t low_of(int bits) { return INT64_MIN >> (64 - bits); }
static int64_t high_of(int bits) { return INT64_MAX >> (64 - bits); }

static size_t size_in(im_format fmt) { return im_elem_size(im_elem_of(fmt)); }

static int64_t load(const void* at, size_t size) {
  int32_t narrow;
  int64_t wide;
  if (size == 8) return memcpy(&wide, at, 8), wide;
  return memcpy(&narrow, at, 4), narrow;
}

static void store(void* at, size_t size, int64_t v) {
  int32_t narrow = (int32_t)v;
  memcpy(at, size == 8 ? (void*)&v : &narrow, size);
}

/* Raw values of `bits` bits. */
static void* raw_array(int64_t n, im_elem elem, int bits) {
  size_t size = im_elem_size(elem);
  char* array = keep(n, size);
  flavour how = any_flavour();
  for (int64_t i = 0; i < n; i++)
    store(array + (size_t)i * size, size, value(how, i, low_of(bits), high_of(bits)));
  return array;
}

/* A finite float: of any bits, or not far from 1. */
static double real(flavour how, int64_t i, bool is_single) {
  double d = ldexp((double)value(how, i, -65536, 65535), -12);
  if (how == GIVEN && flip()) {
    uint64_t bits = take(is_single ? 4 : 8);
    uint32_t low_bits = (uint32_t)bits;
    float f;
    if (is_single)
      memcpy(&f, &low_bits, 4), d = f;
    else
      memcpy(&d, &bits, 8);
  }
  return isfinite(d) ? is_single ? (float)d : d : 0;
}

static void* real_array(int64_t n, bool is_single) {
  size_t size = is_single ? 4 : 8;
  char* array = keep(n, size);
  flavour how = any_flavour();
  for (int64_t i = 0; i < n; i++) {
    double d = real(how, i, is_single);
    float f = (float)d;
    memcpy(array + (size_t)i * size, is_single ? (void*)&f : &d, size);
  }
  return array;
}

static im_stream any_stream(void) {
  return (im_stream){take(8), (uint32_t)take(4), (uint32_t)take(2), in(0, INT64_C(1) << 40)};
}

/* Integers of 320 bits ----------------------------------------------------------------------- */

enum { LIMBS = 5 };
typedef struct {
  uint64_t limb[LIMBS]; /* two's complement, the lowest first */
} big;

static big big_of(__int128 v) {
  uint64_t sign = v < 0 ? UINT64_MAX : 0;
  return (big){{(uint64_t)v, (uint64_t)(v >> 64), sign, sign, sign}};
}

static bool is_negative(big b) { return b.limb[LIMBS - 1] >> 63; }

static big plus(big a, big b) {
  unsigned __int128 carry = 0;
  for (int i = 0; i < LIMBS; i++) {
    carry += (unsigned __int128)a.limb[i] + b.limb[i];
    a.limb[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return a;
}

/* Bits from `at` on, as many as a limb has; below and above those that there are, 0 and the sign.
 */
static uint64_t bits_from(big b, int at) {
  uint64_t sign = is_negative(b) ? UINT64_MAX : 0, around[2];
  int limb = (at + 64 * LIMBS) / 64 - LIMBS, rest = at - 64 * limb; /* rounded down */
  for (int i = 0; i < 2; i++)
    around[i] = limb + i < 0 ? 0 : limb + i < LIMBS ? b.limb[limb + i] : sign;
  return rest ? around[0] >> rest | around[1] << (64 - rest) : around[0];
}

/* Times 2**k, for k of either sign. */
static big shifted(big b, int k) {
  big result;
  for (int i = 0; i < LIMBS; i++) result.limb[i] = bits_from(b, 64 * i - k);
  return result;
}

/* The overflow rule, of any width. */
static int64_t entered(big b, int bits, im_overflow overflow) {
  int64_t wrapped = (int64_t)(b.limb[0] << (64 - bits)) >> (64 - bits);
  big back = big_of(wrapped);
  if (overflow == IM_WRAP || memcmp(&back, &b, sizeof b) == 0) return wrapped;
  return is_negative(b) ? low_of(bits) : high_of(bits);
}

/* Philox4x32-10. */
static uint32_t random_word(im_stream stream, int64_t i, int random_bits) {
  uint64_t place = (uint64_t)(stream.first + i);
  uint32_t x[4] = {(uint32_t)(place / 4), (uint32_t)(place / 4 >> 32), stream.step, stream.tensor};
  uint32_t key[2] = {(uint32_t)stream.seed, (uint32_t)(stream.seed >> 32)};
  for (int round = 0; round < 10; round++) {
    uint64_t first = (uint64_t)x[0] * 0xD2511F53u, second = (uint64_t)x[2] * 0xCD9E8D57u;
    uint32_t a = (uint32_t)(second >> 32) ^ x[1] ^ key[0];
    uint32_t c = (uint32_t)(first >> 32) ^ x[3] ^ key[1];
    x[0] = a, x[1] = (uint32_t)second, x[2] = c, x[3] = (uint32_t)first;
    key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
  }
  return x[place % 4] & ~(uint32_t)((UINT64_C(1) << (32 - random_bits)) - 1);
}

/* docs/numerics.md, section 1. Shifts beyond all digits are shortened: what is above 2**64 in
 * magnitude stays there, and what is below one half stays there. */
static int64_t requantized(big s, int frac_in, im_format fmt, im_stream stream, int64_t i) {
  int k = frac_in - fmt.frac;
  if (k <= 0) return entered(shifted(s, -k < 64 ? -k : 64), fmt.bits, fmt.overflow);
  if (k > 250) k = 250;
  big q = shifted(s, -k), cut = shifted(s, 64 * LIMBS - k), zero = {{0}}, below = shifted(cut, 1);
  bool half = is_negative(cut), sticky = memcmp(&below, &zero, sizeof zero) != 0;
  bool odd = q.limb[0] & 1, up = false;
  switch (fmt.rounding) {
    case IM_FLOOR: break;
    case IM_TOWARD_ZERO: up = is_negative(s) && (half || sticky); break;
    case IM_HALF_UP: up = half; break;
    case IM_HALF_AWAY: up = half && (sticky || !is_negative(s)); break;
    case IM_HALF_EVEN: up = half && (sticky || odd); break;
    case IM_STOCHASTIC:
      up = ((cut.limb[LIMBS - 1] >> 32) + random_word(stream, i, fmt.random_bits)) >> 32;
      break;
  }
  return entered(plus(q, big_of(up)), fmt.bits, fmt.overflow);
}

static void compare(const im_isa* isa, const char* what, const void* got, const void* want,
                    int64_t n, size_t size) {
  check(memcmp(got, want, (size_t)n * size) == 0, im_isa_name(isa), what);
}

/* Arrays ------------------------------------------------------------------------------------- */

/* A fraction width near that of a format, or any. */
static int frac_near(int frac) {
  int kind = (int)in(0, 3);
  return kind == 3 ? (int)in(-4096, 4096) : frac + (int)(kind ? in(-2, 2) : in(-80, 80));
}

static void quantize(int64_t n) {
  bool is_single = flip();
  im_format fmt = format(64, true);
  im_stream stream = any_stream();
  const char* v = real_array(n, is_single);
  char *want = keep(n, size_in(fmt)), *out = keep(n, size_in(fmt));
  for (int64_t i = 0; i < n; i++) {
    float f;
    double d;
    memcpy(is_single ? (void*)&f : &d, v + i * (is_single ? 4 : 8), is_single ? 4 : 8);
    int e;
    int64_t m = (int64_t)ldexp(frexp(is_single ? f : d, &e), 53);
    store(want + (size_t)i * size_in(fmt), size_in(fmt),
          requantized(big_of(m), 53 - e, fmt, stream, i));
  }
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    im_quantize(*isa, v, is_single ? IM_SOURCE_F32 : IM_SOURCE_F64, n, fmt, stream, out);
    compare(*isa, "quantize", out, want, n, size_in(fmt));
  }
}

static void requantize(int64_t n) {
  im_format fmt = format(64, true);
  im_stream stream = any_stream();
  im_elem elem = flip() ? IM_I32 : IM_I64;
  int frac_in = frac_near(fmt.frac), bits = (int)in(2, elem == IM_I32 ? 32 : 64);
  const char* s = raw_array(n, elem, bits);
  char *want = keep(n, size_in(fmt)), *out = keep(n, size_in(fmt));
  for (int64_t i = 0; i < n; i++) {
    int64_t v = load(s + (size_t)i * im_elem_size(elem), im_elem_size(elem));
    store(want + (size_t)i * size_in(fmt), size_in(fmt),
          requantized(big_of(v), frac_in, fmt, stream, i));
  }
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    im_requantize(*isa, s, elem, n, frac_in, fmt, stream, out);
    compare(*isa, "requantize", out, want, n, size_in(fmt));
  }
}

static void dequantize(int64_t n) {
  im_elem elem = flip() ? IM_I32 : IM_I64;
  int frac = (int)in(0, 63);
  const char* raw = raw_array(n, elem, elem == IM_I32 ? 32 : 64);
  double *want = keep(n, sizeof *want), *out = keep(n, sizeof *out);
  for (int64_t i = 0; i < n; i++)
    want[i] = ldexp((double)load(raw + (size_t)i * im_elem_size(elem), im_elem_size(elem)), -frac);
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    im_dequantize(*isa, raw, elem, n, frac, out);
    compare(*isa, "dequantize", out, want, n, sizeof *out);
  }
}

/* Element (i, j) of an array of any strides: gaps, turned, backwards, or the same row or column
 * again and again; a dimension of at most 1 has a stride that nothing must read. */
typedef struct {
  char* data;
  ptrdiff_t row_stride, col_stride;
} view;

static view strided(int64_t rows, int64_t columns, size_t size) {
  ptrdiff_t step = (ptrdiff_t)size, stride[2];
  int64_t count[2] = {rows, columns};
  bool turned = flip();
  int inner = turned ? 0 : 1;
  stride[inner] = step * (ptrdiff_t)in(0, 3);
  stride[!inner] = flip() ? stride[inner] * count[inner] + step * (ptrdiff_t)in(0, 3) : 0;
  ptrdiff_t first = 0, last = 0;
  for (int d = 0; d < 2; d++) {
    ptrdiff_t reach = count[d] > 1 ? (count[d] - 1) * stride[d] : 0;
    if (flip()) {
      stride[d] = -stride[d];
      first += reach;
    }
    last += reach;
    if (count[d] <= 1) stride[d] = (ptrdiff_t)in(-1000, 1000);
  }
  char* memory = keep(rows && columns ? last / step + 1 : 1, size);
  return (view){memory + first, stride[0], stride[1]};
}

static char* element(view of, int64_t i, int64_t j) {
  return of.data + i * of.row_stride + j * of.col_stride;
}

static view raw_view(int64_t rows, int64_t columns, im_elem elem, int bits, flavour how) {
  size_t size = im_elem_size(elem);
  view of = strided(rows, columns, size);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++)
      store(element(of, i, j), size, value(how, i * columns + j, low_of(bits), high_of(bits)));
  return of;
}

static view real_view(int64_t rows, int64_t columns, bool is_single) {
  view of = strided(rows, columns, is_single ? 4 : 8);
  flavour how = any_flavour();
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      double d = real(how, i * columns + j, is_single);
      float f = (float)d;
      memcpy(element(of, i, j), is_single ? (void*)&f : &d, is_single ? 4 : 8);
    }
  return of;
}

/* Whether all values of a source are those of a format, or finite: some are not. */
static void validate(int64_t n) {
  int64_t columns = in(1, 9), rows = n / columns;
  im_format fmt = format(64, false);
  bool is_raw = flip(), is_single = flip(), want = true;
  size_t size = is_raw ? size_in(fmt) : is_single ? 4 : 8;
  im_source_kind kind = is_raw      ? size == 4 ? IM_SOURCE_I32 : IM_SOURCE_I64
                        : is_single ? IM_SOURCE_F32
                                    : IM_SOURCE_F64;
  int bits = flip() ? fmt.bits : size == 4 ? 32 : 64;
  view of = is_raw ? raw_view(rows, columns, im_elem_of(fmt), bits, any_flavour())
                   : real_view(rows, columns, is_single);
  if (!is_raw && rows && flip()) {
    char* at = element(of, in(0, rows - 1), in(0, columns - 1));
    double odd = flip() ? NAN : flip() ? INFINITY : -INFINITY;
    float f = (float)odd;
    memcpy(at, is_single ? (void*)&f : &odd, size);
    want = false;
  }
  for (int64_t i = 0; is_raw && i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      int64_t v = load(element(of, i, j), size);
      want &= low_of(fmt.bits) <= v && v <= high_of(fmt.bits);
    }
  im_source source = {of.data, of.row_stride, of.col_stride, kind};
  check(im_source_is_valid(source, rows, columns, fmt) == want, "any", "im_source_is_valid");
}

static inline void arrays(void) {
  static void (*const calls[])(int64_t) = {quantize, requantize, dequantize, validate};
  calls[in(0, 3)](in(0, 200));
}

/* Products ----------------------------------------------------------------------------------- */

static im_accumulator any_accumulator(void) {
  im_accumulator none = {0};
  return flip() ? none : (im_accumulator){(int)in(2, 64), flip() ? IM_WRAP : IM_SATURATE};
}

static inline void product(void) {
  bool is_deep = in(0, 15) == 15;
  int64_t m = in(0, 70), n = in(0, 70), k = in(0, is_deep ? 20000 : 70);
  while (m * n * k > (is_deep ? 20000 : 3000)) m > n ? (m /= 2) : n > 1 ? (n /= 2) : (k /= 2);
  im_elem a_elem = flip() ? IM_I32 : IM_I64, b_elem = flip() ? IM_I32 : IM_I64;
  int a_most = a_elem == IM_I32 ? 32 : 64, b_most = b_elem == IM_I32 ? 32 : 64;
  int a_bits = width_up_to(a_most), b_bits = width_up_to(b_most);
  bool is_near = flip();
  if (is_near) { /* sums around what an accumulator holds */
    static const int ends[] = {31, 53, 63, 127};
    int steps = 0;
    while (k >> (steps + 1)) steps++;
    b_bits = ends[in(0, 3)] - a_bits - steps + (int)in(0, 3);
    b_bits = b_bits < 2 ? 2 : b_bits < b_most ? b_bits : b_most;
  }
  flavour a_how = is_near && flip() ? HIGHEST : any_flavour();
  flavour b_how = is_near && flip() ? HIGHEST : any_flavour();
  view a = raw_view(m, k, a_elem, a_bits, a_how), b = raw_view(k, n, b_elem, b_bits, b_how);
  im_elem bias_elem = flip() ? IM_I32 : IM_I64;
  char* bias = flip() ? raw_array(n, bias_elem, bias_elem == IM_I32 ? 32 : 64) : NULL;
  int bias_shift = (int)in(0, 126);
  im_accumulator accumulator = any_accumulator();
  im_format fmt = format(64, true);
  int frac_in = frac_near(fmt.frac);
  im_stream stream = any_stream();

  char *want = keep(m * n, size_in(fmt)), *out = keep(m * n, size_in(fmt));
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      size_t size = im_elem_size(bias_elem);
      big sum = big_of(bias ? load(bias + (size_t)j * size, size) : 0);
      sum = shifted(sum, bias_shift);
      for (int64_t l = -1; l < k; l++) {
        if (l >= 0)
          sum = plus(sum, big_of((__int128)load(element(a, i, l), im_elem_size(a_elem)) *
                                 load(element(b, l, j), im_elem_size(b_elem))));
        if (accumulator.bits) sum = big_of(entered(sum, accumulator.bits, accumulator.overflow));
      }
      store(want + (size_t)(i * n + j) * size_in(fmt), size_in(fmt),
            requantized(sum, frac_in, fmt, stream, i * n + j));
    }

  im_matrix left_one = {a.data, a.row_stride, a.col_stride, a_elem, a_bits};
  im_matrix right_one = {b.data, b.row_stride, b.col_stride, b_elem, b_bits};
  im_scratch scratch = {.threads = (int)in(1, 4)};
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    for (int kernel = -1; kernel < 0 || im_isa_kernel(*isa, kernel); kernel++) {
      if (kernel >= 0 && !im_isa_kernel_usable(*isa, kernel)) continue;
      memset(out, 0x55, (size_t)(m * n) * size_in(fmt));
      im_status status = im_matmul(*isa, left_one, right_one, m, n, k, bias, bias_elem, bias_shift,
                                   accumulator, frac_in, fmt, stream, out, kernel, &scratch);
      if (kernel >= 0 && status == IM_NOT_EXACT) continue;
      const char* name = kernel < 0 ? "a product" : im_isa_kernel(*isa, kernel);
      check(status == IM_OK, im_isa_name(*isa), name);
      compare(*isa, name, out, want, m * n, size_in(fmt));
    }
    im_explanation why;
    check(im_explain_matmul(*isa, left_one, right_one, m, n, k, bias, bias_elem, bias_shift,
                            accumulator, &why) == IM_OK &&
              why.kernel && why.accumulator && why.a_low <= 0 && 0 <= why.a_high,
          im_isa_name(*isa), "im_explain_matmul");
  }
  im_scratch_free(&scratch);
}

/* Networks ----------------------------------------------------------------------------------- */

enum { DEPTH = 4, PARTS = 6 };

/* What training changes: the six arrays of each layer, then what it reports. */
typedef struct {
  void* at;
  size_t size;
} piece;

static piece pieces[DEPTH * PARTS];

/* A copy of the arrays of `net`, of exact sizes. */
static im_net copy_of(const im_net* net, const im_layer* layers) {
  im_net copy = *net;
  copy.layers =
      memcpy(keep(net->depth, sizeof *layers), layers, (size_t)net->depth * sizeof *layers);
  for (int l = 0; l < net->depth; l++) {
    im_layer* to = &copy.layers[l];
    void** arrays[PARTS] = {
        &to->W,          &to->b,         (void**)&to->master_W, (void**)&to->master_b,
        &to->velocity_W, &to->velocity_b};
    for (int i = 0; i < PARTS; i++) {
      piece from = pieces[l * PARTS + i];
      if (from.at) *arrays[i] = memcpy(keep((int64_t)from.size, 1), from.at, from.size);
    }
  }
  return copy;
}

static const void* part_of(const im_layer* layer, int i) {
  const void* arrays[PARTS] = {layer->W,        layer->b,          layer->master_W,
                               layer->master_b, layer->velocity_W, layer->velocity_b};
  return arrays[i];
}

/* Doubles that are equal to the last bit, or both no number. */
static void compare_reals(const im_isa* isa, const char* what, const double* got,
                          const double* want, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    check((isnan(got[i]) && isnan(want[i])) || memcmp(&got[i], &want[i], 8) == 0, im_isa_name(isa),
          what);
}

/* A of each Z, rounded well enough: any table of values in the format will do. */
static const int16_t* table_of(im_activation function, im_format fmt) {
  int64_t count = INT64_C(1) << fmt.bits;
  int16_t* table = keep(count, sizeof *table);
  for (int64_t i = 0; i < count; i++) {
    double z = ldexp((double)(i + low_of(fmt.bits)), -fmt.frac);
    double a = function == IM_TANH ? tanh(z) : 1 / (1 + exp(-z));
    im_format nearest = fmt;
    nearest.rounding = IM_HALF_EVEN;
    int e;
    int64_t mantissa = (int64_t)ldexp(frexp(a, &e), 53);
    table[i] = (int16_t)requantized(big_of(mantissa), 53 - e, nearest, (im_stream){0}, 0);
  }
  return table;
}

static const int32_t* exps_of(im_format fmt, int64_t* size) {
  int64_t most = INT64_C(1) << fmt.bits, end = INT64_C(22) << (fmt.frac < 16 ? fmt.frac : 16);
  if (end < most) most = end;
  int32_t* exps = keep(most, sizeof *exps);
  *size = 0;
  for (int64_t i = 0; i < most; i++) {
    exps[i] = (int32_t)rint(ldexp(exp(-ldexp((double)i, -fmt.frac)), 30));
    if (exps[i]) *size = i + 1;
  }
  return exps;
}

static im_source any_source(int64_t rows, int64_t columns, im_format fmt) {
  int kind = (int)in(0, 2);
  view of = kind < 2 ? real_view(rows, columns, kind)
                     : raw_view(rows, columns, im_elem_of(fmt), fmt.bits, any_flavour());
  im_source_kind kinds[] = {IM_SOURCE_F64, IM_SOURCE_F32,
                            size_in(fmt) == 4 ? IM_SOURCE_I32 : IM_SOURCE_I64};
  return (im_source){of.data, of.row_stride, of.col_stride, kinds[kind]};
}

static inline void network(void) {
  im_layer layers[DEPTH] = {{0}};
  im_net net = {.layers = layers};
  net.depth = (int)in(1, DEPTH);
  net.forward_float = in(0, 3) == 3;
  net.backward_float = in(0, 3) == 3;
  net.update_float = in(0, 3) == 3;
  bool any_fixed = !net.forward_float || !net.backward_float || !net.update_float;
  bool any_pass_fixed = !net.forward_float || !net.backward_float;
  bool is_plain = flip(); /* what the online way may take */
  int most_bits = is_plain ? 32 : 64;
  net.loss = (im_loss_kind)in(0, is_plain ? IM_HALF_SSE : IM_CROSS_ENTROPY);
  net.two_step = !is_plain && flip();
  if (!is_plain) net.accumulator = any_accumulator();
  net.momentum_shift = !is_plain && flip() ? (int)in(1, 31) : 0;
  net.decay_shift = !is_plain && flip() ? (int)in(0, 63) : -1;
  net.stream = (im_stream){take(8), (uint32_t)take(3), 0, 0};
  net.input = format(most_bits, !is_plain);
  bool has_bias = flip();
  int64_t width = in(1, flip() ? 8 : 40);
  for (int l = 0; l < net.depth; l++) {
    im_layer* layer = &layers[l];
    bool last = l == net.depth - 1, ends_in_exp = last && net.loss == IM_CROSS_ENTROPY;
    layer->n_in = width;
    width = layer->n_out = in(1, flip() ? 8 : 40);
    layer->function =
        ends_in_exp ? IM_LINEAR : (im_activation)in(0, is_plain ? IM_LEAKY_RELU : IM_TANH);
    bool tabulated = layer->function == IM_SIGMOID || layer->function == IM_TANH;
    int most = any_pass_fixed && (tabulated || ends_in_exp) ? 10 : most_bits;
    layer->activation = format(most, !(tabulated && any_pass_fixed));
    layer->weight = format(most_bits, true);
    layer->delta = format(most_bits, true);
    layer->gradient = format(most_bits, true);
    layer->velocity = format(most_bits, true);
    if (layer->function == IM_RELU) layer->half_at_zero = flip();
    if (layer->function == IM_LEAKY_RELU) layer->slope_shift = (int)in(1, 63);
    if (tabulated && !net.forward_float)
      layer->table = table_of(layer->function, layer->activation);
    if (ends_in_exp && any_pass_fixed) net.exps = exps_of(layer->activation, &net.exps_size);
    for (int is_bias = 0; is_bias <= has_bias; is_bias++) {
      int64_t count = is_bias ? layer->n_out : layer->n_out * layer->n_in;
      piece* of = &pieces[l * PARTS + is_bias];
      im_format w = layer->weight, v = layer->velocity;
      for (int i = 0; i < PARTS; i += 2) of[i] = (piece){0};
      if (net.update_float) {
        of[2] = (piece){real_array(count, false), (size_t)count * sizeof(double)};
        if (any_fixed) { /* raw weights are the quantized master */
          of[0] = (piece){keep(count, size_in(w)), (size_t)count * size_in(w)};
          im_quantize(im_isas()[0], of[2].at, IM_SOURCE_F64, count, w, net.stream, of[0].at);
        }
      } else {
        of[0] = (piece){raw_array(count, im_elem_of(w), w.bits), (size_t)count * size_in(w)};
      }
      if (net.momentum_shift)
        of[4] = net.update_float
                    ? (piece){real_array(count, false), (size_t)count * sizeof(double)}
                    : (piece){raw_array(count, im_elem_of(v), v.bits), (size_t)count * size_in(v)};
    }
    if (!has_bias)
      for (int i = 1; i < PARTS; i += 2) pieces[l * PARTS + i] = (piece){0};
  }

  int64_t rows = in(1, 20), batch = is_plain ? 1 : in(1, 20), n_order = in(is_plain ? 8 : 1, 20);
  int threads = (int)in(1, 3);
  bool in_pieces = flip();
  im_source x = any_source(rows, layers[0].n_in, net.input);
  im_source y = any_source(rows, width, layers[net.depth - 1].activation);
  int64_t* order = keep(n_order, sizeof *order);
  for (int64_t i = 0; i < n_order; i++) order[i] = in(0, rows - 1);
  int64_t steps = (n_order + batch - 1) / batch;
  int lr_shift = flip() ? (int)in(-8, 30) : (int)in(-4096, 4096), average_shift = 0;
  if (flip() && (batch & (batch - 1)) == 0)
    while (batch >> (average_shift + 1)) average_shift++;
  bool reports = flip(), observes = flip();
  int64_t units = 0;
  for (int l = 0; l < net.depth; l++) units += layers[l].n_out;
  im_observed observed = {.before = in(0, 1000)};
  observed.stop_on_overflow = flip();
  observed.every = observed.stop_on_overflow || flip() ? 1 : 64;
  observed.only_overflows = flip();

  /* Forward passes and gradients, with packed weights that are kept from one to the next. */
  const im_isa* const* isas = im_isas();
  const im_isa* plain = isas[0];
  for (int i = 0; isas[i]; i++) plain = isas[i]; /* the last one */
  im_format last = layers[net.depth - 1].activation;
  size_t out_size = net.forward_float ? sizeof(double) : size_in(last);
  int64_t outputs = rows * width;
  void *want = keep(outputs, out_size), *out = keep(outputs, out_size);
  im_net first_one = copy_of(&net, layers);
  im_set_threads(1);
  im_status forward = im_forward(plain, &first_one, x, rows, want);
  void* gradients[2][2 * DEPTH] = {{0}};
  int64_t sizes[2 * DEPTH];
  for (int l = 0; l < net.depth; l++)
    for (int is_bias = 0; is_bias <= has_bias; is_bias++) {
      size_t size = net.backward_float ? sizeof(double) : size_in(layers[l].gradient);
      sizes[is_bias * DEPTH + l] = layers[l].n_out * (is_bias ? 1 : layers[l].n_in);
      for (int i = 0; i < 2; i++)
        gradients[i][is_bias * DEPTH + l] = keep(sizes[is_bias * DEPTH + l], size);
    }
  int gradient_shift = (rows & (rows - 1)) == 0 ? average_shift : 0;
  im_status gradient = im_gradient(plain, &first_one, x, y, rows, gradient_shift, gradients[0],
                                   has_bias ? gradients[0] + DEPTH : NULL);
  for (int i = 0; isas[i]; i++) {
    im_net here = copy_of(&net, layers);
    im_packed packed[DEPTH] = {{0}};
    for (int l = 0; l < net.depth; l++) here.layers[l].packed_W = &packed[l];
    im_set_threads(threads);
    for (int again = 0; again < 2; again++) {
      check(im_forward(isas[i], &here, x, rows, out) == forward, im_isa_name(isas[i]), "forward");
      if (net.forward_float)
        compare_reals(isas[i], "forward", out, want, outputs);
      else
        compare(isas[i], "forward", out, want, outputs, out_size);
      check(im_gradient(isas[i], &here, x, y, rows, gradient_shift, gradients[1],
                        has_bias ? gradients[1] + DEPTH : NULL) == gradient,
            im_isa_name(isas[i]), "gradient");
      for (int l = 0; l < 2 * DEPTH && gradient == IM_OK; l++) {
        if (!gradients[0][l]) continue;
        if (net.backward_float)
          compare_reals(isas[i], "gradient", gradients[1][l], gradients[0][l], sizes[l]);
        else
          compare(isas[i], "gradient", gradients[1][l], gradients[0][l], sizes[l],
                  size_in(layers[l % DEPTH].gradient));
      }
    }
    for (int l = 0; l < net.depth; l++) im_packed_free(&packed[l]);
  }

  /* Training: whole by portable C, then by each instruction set, whole and in pieces. */
  size_t counts = (size_t)(net.depth * IM_TENSORS);
  im_net trained = first_one;
  int32_t *want_right = keep(steps, sizeof *want_right), *right = keep(steps, sizeof *right);
  double *want_loss = keep(steps, sizeof *want_loss), *loss = keep(steps, sizeof *loss);
  im_count* want_counts =
      memset(keep((int64_t)counts, sizeof(im_count)), 0, counts * sizeof(im_count));
  int64_t* want_idle = memset(keep(units, sizeof(int64_t)), 0, (size_t)units * sizeof(int64_t));
  observed.counts = want_counts;
  observed.idle = want_idle;
  im_set_threads(1);
  int64_t want_done = im_train(plain, &trained, x, y, order, n_order, batch, 0, steps, lr_shift,
                               average_shift, reports ? want_right : NULL,
                               reports ? want_loss : NULL, observes ? &observed : NULL);
  for (int i = 0; isas[i]; i++) {
    const char* name = im_isa_name(isas[i]);
    for (int64_t most = steps; most; most = in_pieces && most > 1 ? 1 : 0) {
      im_net here = copy_of(&net, layers);
      im_count* got_counts =
          memset(keep((int64_t)counts, sizeof(im_count)), 0, counts * sizeof(im_count));
      observed.counts = got_counts;
      observed.idle = memset(keep(units, sizeof(int64_t)), 0, (size_t)units * sizeof(int64_t));
      im_set_threads(threads);
      int64_t done = 0, now = most;
      while (done < steps && now == most) {
        int64_t asked = most < steps - done ? most : steps - done;
        now = im_train(isas[i], &here, x, y, order, n_order, batch, done, asked, lr_shift,
                       average_shift, reports ? right : NULL, reports ? loss : NULL,
                       observes ? &observed : NULL);
        if (now < 0) break;
        done += now;
        here.stream.step += (uint32_t)now;
      }
      check(now >= 0 && done == want_done, name, "where a training ends");
      if (reports) {
        compare(isas[i], "right", right, want_right, done, sizeof *right);
        compare_reals(isas[i], "loss", loss, want_loss, done);
      }
      for (int l = 0; l < net.depth; l++)
        for (int part = 0; part < PARTS; part++)
          if (pieces[l * PARTS + part].at)
            compare(isas[i], "training", part_of(&here.layers[l], part),
                    part_of(&trained.layers[l], part), 1, pieces[l * PARTS + part].size);
      if (!observes) continue;
      for (size_t c = 0; c < counts; c++)
        check(got_counts[c].entries == want_counts[c].entries &&
                  got_counts[c].overflows == want_counts[c].overflows,
              name, "overflows");
      if (observed.only_overflows) continue;
      compare(isas[i], "counts", got_counts, want_counts, (int64_t)counts, sizeof(im_count));
      compare(isas[i], "idle", observed.idle, want_idle, units, sizeof(int64_t));
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  input = data;
  left = size;
  state = take(4);
  CALL();
  while (kept_count) free(kept[--kept_count]);
  return 0;
}
