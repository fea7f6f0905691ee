/* How many threads a call may use, and work shared out among them; no result depends on it. */
#include "threads.h"

#include "../intmlp.h"
#if defined(__unix__) || defined(__APPLE__)
#define IM_PTHREADS 1
#include <pthread.h>
#endif

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

#ifdef IM_PTHREADS

typedef struct {
  im_work_part* work;
  void* context;
  int part;
} im_task;

static void* run_task(void* task) {
  const im_task* t = task;
  t->work(t->context, t->part);
  return NULL;
}

void im_parallel(int parts, im_work_part* work, void* context) {
  pthread_t threads[IM_MAX_THREADS];
  im_task tasks[IM_MAX_THREADS];
  bool started[IM_MAX_THREADS] = {false};
  for (int i = 1; i < parts; i++) {
    tasks[i] = (im_task){work, context, i};
    started[i] = pthread_create(&threads[i], NULL, run_task, &tasks[i]) == 0;
  }
  work(context, 0);
  for (int i = 1; i < parts; i++) {
    if (started[i])
      pthread_join(threads[i], NULL);
    else
      work(context, i); /* the system has no thread to spare: the same work, later */
  }
}

#else

void im_parallel(int parts, im_work_part* work, void* context) {
  for (int i = 0; i < parts; i++) work(context, i);
}

#endif
