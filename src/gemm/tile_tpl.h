/* The body of every tile kernel: TILE_ROWS lanes of a by TILE_VECTORS vectors of lanes of b.
 *
 * Before including it, define those two, TILE_KERNEL as the kernel's name K, TILE_WORDS as the
 * number of products of a group, TILE_A_WORDS and TILE_B_WORDS as those of words which a lane has
 * in it, and the types and inline functions of its arithmetic:
 *
 *   K_word, K_word_bytes, K_vector_bytes   a vector of words; bytes of a word and of a vector
 *   K_head_bytes                bytes of a head's vector, 0 for none
 *   K_acc                       the accumulators of one vector of sums
 *   K_start(head)               accumulators before a block
 *   K_spread(a)                 a word of a in all lanes
 *   K_load(b)                   a vector of words of b
 *   K_mac0(acc, a, b) ...       the accumulators after the first, second, third product of a group
 *   K_move(acc, sums, at, first)  into vector `at` of the exact sums, which the first block starts
 *
 * Every accumulator is a variable of its own: compilers keep those in registers, and spill arrays.
 * Panels of a come from the third-level cache, those of b stay in the second: a is asked for far
 * ahead, across the pages at which the processor's own foresight ends. A whole a of some megabytes
 * is read up to a quarter faster for it.
 * Exactness: im_exact_block proves that no accumulator loses anything within a block, nor the
 * exact sums over all blocks.
 */
#ifndef IM_TILE_TPL_H
#define IM_TILE_TPL_H

enum { TILE_AHEAD = 4096 };
#define TILE_OP(op) IM_CAT(TILE_KERNEL, op)

#define TILE_ROWS_1(DO) DO(0)
#define TILE_ROWS_2(DO) TILE_ROWS_1(DO) DO(1)
#define TILE_ROWS_4(DO) TILE_ROWS_2(DO) DO(2) DO(3)
#define TILE_ROWS_8(DO) TILE_ROWS_4(DO) DO(4) DO(5) DO(6) DO(7)
#define TILE_EACH_ROW(DO) IM_CAT(TILE_ROWS_, TILE_ROWS)(DO)

#define TILE_VECTORS_1(DO, r) DO(r, 0)
#define TILE_VECTORS_2(DO, r) TILE_VECTORS_1(DO, r) DO(r, 1)
#define TILE_VECTORS_3(DO, r) TILE_VECTORS_2(DO, r) DO(r, 2)
#define TILE_EACH_VECTOR(DO, r) IM_CAT(TILE_VECTORS_, TILE_VECTORS)(DO, r)

#define TILE_DECLARE(r, v) \
  TILE_OP(_acc) acc##r##v = TILE_OP(_start)(b + (v) * TILE_OP(_head_bytes));
#define TILE_MOVE(r, v) TILE_OP(_move)(acc##r##v, sums, (r) * TILE_VECTORS + (v), first);
#define TILE_DECLARE_ROW(r) TILE_EACH_VECTOR(TILE_DECLARE, r)
#define TILE_MOVE_ROW(r) TILE_EACH_VECTOR(TILE_MOVE, r)

/* One product of a group: TILE_WORD is which. An operand of fewer words repeats them. */
#define TILE_LOAD(r, v)                                                            \
  TILE_OP(_word)                                                                   \
  vector##v = TILE_OP(_load)(b + (TILE_WORD % TILE_B_WORDS * TILE_VECTORS + (v)) * \
                                     TILE_OP(_vector_bytes));
#define TILE_MAC(r, v) acc##r##v = IM_CAT(TILE_OP(_mac), TILE_WORD)(acc##r##v, row, vector##v);
#define TILE_MAC_ROW(r)                                                                            \
  {                                                                                                \
    TILE_OP(_word)                                                                                 \
    row =                                                                                          \
        TILE_OP(_spread)(a + (TILE_WORD % TILE_A_WORDS * TILE_ROWS + (r)) * TILE_OP(_word_bytes)); \
    TILE_EACH_VECTOR(TILE_MAC, r)                                                                  \
  }
#define TILE_PRODUCTS {TILE_EACH_VECTOR(TILE_LOAD, 0) TILE_EACH_ROW(TILE_MAC_ROW)}

#endif

static void IM_CAT(IM_CAT(TILE_OP(_tile), TILE_ROWS),
                   IM_CAT(x, TILE_VECTORS))(int64_t groups, int64_t block, const void* a_panel,
                                            const void* b_panel, void* sums) {
  const char *a = a_panel, *b = b_panel;
  bool first = true;
  do {
    int64_t here = groups < block ? groups : block;
    groups -= here;
    TILE_EACH_ROW(TILE_DECLARE_ROW)
    b += TILE_VECTORS * TILE_OP(_head_bytes);
    for (; here > 0; here--) {
      IM_PREFETCH(a + TILE_AHEAD); /* a group is at most a line of the cache */
#define TILE_WORD 0
      TILE_PRODUCTS
#undef TILE_WORD
#if TILE_WORDS > 1
#define TILE_WORD 1
      TILE_PRODUCTS
#undef TILE_WORD
#endif
#if TILE_WORDS > 2
#define TILE_WORD 2
      TILE_PRODUCTS
#undef TILE_WORD
#endif
      a += TILE_A_WORDS * TILE_ROWS * TILE_OP(_word_bytes);
      b += TILE_B_WORDS * TILE_VECTORS * TILE_OP(_vector_bytes);
    }
    TILE_EACH_ROW(TILE_MOVE_ROW)
    first = false;
  } while (groups > 0);
}

#undef TILE_VECTORS
