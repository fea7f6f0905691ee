/* The random words of stochastic rounding: Philox4x32-10 (docs/numerics.md, section 6), a body for
 * isa_tpl.h.
 *
 * A lane of 64 bits holds one of the four words of a block, in its low half. Multiplications read
 * that half alone, and what is shifted down is a whole product: so anything may stand above, as
 * does the high half of a product whose low half is the next word. */
#include "../cpu/isa.h"

/* WORDS is room for the words of BLOCK elements, by whole vectors of blocks. */
enum { BLOCK = IM_BLOCK, WORDS = BLOCK + 3 + 4 * IM_LANES };

/* Four words of a block in each lane: its counter, and after ten rounds its random words. */
typedef struct {
  im_vec word[4];
} im_random;

/* The counter of block number `block`, an unsigned 64-bit integer. */
IM_INLINE im_random random_counter(im_vec block, im_stream stream) {
  return (im_random){
      {block, lanes_shr_unsigned(block, 32), lanes_of(stream.step), lanes_of(stream.tensor)}};
}

IM_INLINE im_random random_round(im_random c, uint32_t key0, uint32_t key1) {
  im_vec p0 = lanes_mul_unsigned(c.word[0], lanes_of(0xD2511F53));
  im_vec p1 = lanes_mul_unsigned(c.word[2], lanes_of(0xCD9E8D57));
  return (im_random){{lanes_xor(lanes_shr_unsigned(p1, 32), c.word[1], lanes_of(key0)), p1,
                      lanes_xor(lanes_shr_unsigned(p0, 32), c.word[3], lanes_of(key1)), p0}};
}

/* Ten rounds, ROUND each, with the words of a key that start as those of the seed. */
#define RANDOM_ROUNDS(SEED, ROUND)                                     \
  do {                                                                 \
    uint32_t key0 = (uint32_t)(SEED), key1 = (uint32_t)((SEED) >> 32); \
    RANDOM_FIVE_ROUNDS_(ROUND) RANDOM_FIVE_ROUNDS_(ROUND)              \
  } while (0)
#define RANDOM_FIVE_ROUNDS_(ROUND) \
  RANDOM_ROUND_(ROUND)             \
  RANDOM_ROUND_(ROUND) RANDOM_ROUND_(ROUND) RANDOM_ROUND_(ROUND) RANDOM_ROUND_(ROUND)
#define RANDOM_ROUND_(ROUND) \
  ROUND;                     \
  key0 += 0x9E3779B9;        \
  key1 += 0xBB67AE85;

/* Words q and q + 1 of each lane, side by side. */
IM_INLINE im_vec two_words(im_vec low, im_vec high) {
  return lanes_or(lanes_and(low, lanes_of(UINT32_MAX)), lanes_shl(high, 32));
}

/* Of a stochastic format. */
static const uint32_t* make_words(im_stream stream, int64_t at, int64_t n, im_format fmt,
                                  uint32_t* room) {
  uint64_t first = (uint64_t)stream.first + (uint64_t)at,
           mask = UINT32_MAX << (32 - fmt.random_bits);
  int64_t skipped = first % 4;
  im_vec block = lanes_add(lanes_of((int64_t)(first / 4)), lanes_count());
  im_vec kept = lanes_of((int64_t)(mask << 32 | mask));
  for (int64_t i = 0; i < skipped + n; i += 4 * IM_LANES) {
    im_random here = random_counter(block, stream);
    RANDOM_ROUNDS(stream.seed, here = random_round(here, key0, key1));
    lanes_store_words(room + i, lanes_and(two_words(here.word[0], here.word[1]), kept),
                      lanes_and(two_words(here.word[2], here.word[3]), kept));
    block = lanes_add(block, lanes_of(IM_LANES));
  }
  return room + skipped;
}

/* The words of n elements from `at` on, n at most BLOCK, of which a stochastic format keeps
 * random_bits; `room` has WORDS. Other formats read none: NULL. */
IM_INLINE const uint32_t* random_words(im_stream stream, int64_t at, int64_t n, im_format fmt,
                                       uint32_t* room) {
  return fmt.rounding == IM_STOCHASTIC ? make_words(stream, at, n, fmt, room) : NULL;
}
