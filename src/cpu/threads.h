/* Work shared out among threads. They live for one call: nothing is left behind for a fork, a
 * signal or the end of the process to meet, and starting one takes some ten microseconds. */
#ifndef IM_THREADS_H
#define IM_THREADS_H

enum { IM_MAX_THREADS = 1024 };

/* work(context, part) for part 0 .. parts - 1 (at most IM_MAX_THREADS), on as many threads where
 * the platform has POSIX threads, else one after the other. */
typedef void im_work_part(void* context, int part);
void im_parallel(int parts, im_work_part* work, void* context);

#endif
