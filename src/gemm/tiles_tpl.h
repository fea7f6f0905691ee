/* The tiles of TILE_KERNEL for panels of one to TILE_MOST_VECTORS vectors: see tile_tpl.h. A lane
 * has TILE_WORDS words in a group, or TILE_A_WORDS and TILE_B_WORDS where those are defined. All
 * but TILE_WORDS are undefined again. */
#ifndef TILE_A_WORDS
#define TILE_A_WORDS TILE_WORDS
#endif
#ifndef TILE_B_WORDS
#define TILE_B_WORDS TILE_WORDS
#endif

#define TILE_VECTORS 1
#include "tile_tpl.h"
#if TILE_MOST_VECTORS > 1
#define TILE_VECTORS 2
#include "tile_tpl.h"
#endif
#if TILE_MOST_VECTORS > 2
#define TILE_VECTORS 3
#include "tile_tpl.h"
#endif

#undef TILE_KERNEL
#undef TILE_MOST_VECTORS
#undef TILE_A_WORDS
#undef TILE_B_WORDS
