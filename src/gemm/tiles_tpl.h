/* The tiles of TILE_KERNEL for panels of one to TILE_MOST_VECTORS vectors: see tile_tpl.h. Both are
 * undefined again. */
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
