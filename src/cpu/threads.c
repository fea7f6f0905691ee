/* How many threads a call may use; no result depends on it. */
#include "../intmlp.h"

#ifdef _MSC_VER /* its aligned volatile int is read and written as a whole */
static volatile int process_threads = 1;
static __declspec(thread) int thread_limit;
#else
static _Atomic int process_threads = 1;
static _Thread_local int thread_limit;
#endif

void im_set_threads(int n) { process_threads = n; }

void im_limit_threads(int n) { thread_limit = n; }

int im_threads(void) {
  int n = process_threads;
  return thread_limit && thread_limit < n ? thread_limit : n;
}
