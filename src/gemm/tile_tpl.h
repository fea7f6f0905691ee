/* The body of a tile kernel. Before including it, define
 *
 *   TILE_NAME     the function
 *   TILE_MR, TILE_NR
 *   TILE_ELEM     the packed element: double or int64_t
 *   TILE_ACC      the accumulator: double, int64_t or im_wide
 *   TILE_SUM      the exact sum: int64_t or im_wide
 *   TILE_MAC(acc, a, b)   the accumulator after one product
 *   TILE_MOVE(sum, acc)   the exact sum after one block
 *
 * Exactness: im_exact_block proves that no accumulator loses anything within a block, nor the
 * sum over blocks.
 */
static void TILE_NAME(int64_t k, int64_t block, const void* a_panel, const void* b_panel,
                      void* tile) {
  const TILE_ELEM *a = a_panel, *b = b_panel;
  TILE_SUM sums[TILE_MR * TILE_NR] = {0};
  while (k > 0) {
    int64_t steps = k < block ? k : block;
    TILE_ACC acc[TILE_MR * TILE_NR] = {0};
    for (int64_t step = 0; step < steps; step++, a += TILE_MR, b += TILE_NR) {
      for (int i = 0; i < TILE_MR; i++)
        for (int j = 0; j < TILE_NR; j++)
          acc[i * TILE_NR + j] = TILE_MAC(acc[i * TILE_NR + j], a[i], b[j]);
    }
    for (int i = 0; i < TILE_MR * TILE_NR; i++) sums[i] = TILE_MOVE(sums[i], acc[i]);
    k -= steps;
  }
  memcpy(tile, sums, sizeof sums);
}

#undef TILE_NAME
#undef TILE_MR
#undef TILE_NR
#undef TILE_ELEM
#undef TILE_ACC
#undef TILE_SUM
#undef TILE_MAC
#undef TILE_MOVE
