/* Work shared out among threads. They live for one call: nothing is left behind for a fork, a
 * signal or the end of the process to meet, and starting one takes some ten microseconds. */
#ifndef IM_THREADS_H
#define IM_THREADS_H

#include <stdbool.h>

enum { IM_MAX_THREADS = 1024 };

/* work(context, part) for part 0 .. parts - 1 (at most IM_MAX_THREADS), on as many threads where
 * the platform has POSIX threads, else one after the other. */
typedef void im_work_part(void* context, int part);
void im_parallel(int parts, im_work_part* work, void* context);

/* What one thread at a time may have. Nobody waits for it: who does not get it does without. So
 * a fork while another thread has it costs the child no more than that. It starts as
 * IM_TOKEN_FREE. */
#ifdef _MSC_VER
#include <intrin.h>
typedef volatile long im_token;
#define IM_TOKEN_FREE 0
static inline bool im_take(im_token* token) { return _InterlockedExchange(token, 1) == 0; }
static inline void im_return(im_token* token) { _InterlockedExchange(token, 0); }
#else
#include <stdatomic.h>
typedef atomic_flag im_token;
#define IM_TOKEN_FREE ATOMIC_FLAG_INIT
static inline bool im_take(im_token* token) {
  return !atomic_flag_test_and_set_explicit(token, memory_order_acquire);
}
static inline void im_return(im_token* token) {
  atomic_flag_clear_explicit(token, memory_order_release);
}
#endif

#endif
