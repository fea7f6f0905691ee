/* Products shared out among threads, those of several callers, steps that are observed, and
 * networks trained side by side: each result is compared with that of one thread alone.
 * trust/sanitizers.py builds it for the thread sanitizer. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intmlp.h"

enum { THREADS = 4, M = 304, K = 800, N = 352, IN = 40, HIDDEN = 24, OUT = 10, ROWS = 48 };

static int64_t results;

static void check(bool holds, const char* isa, const char* what) {
  results++;
  if (holds) return;
  printf("%s: %s differs\n", isa, what);
  exit(1);
}

static void* zeros(size_t size) {
  void* memory = calloc(size, 1);
  if (!memory) exit(2);
  return memory;
}

static int32_t next(uint64_t* state, int bits) {
  *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int32_t)(*state >> 33 & ((UINT64_C(1) << bits) - 1)) - (INT32_C(1) << (bits - 1));
}

/* A product that is large enough to be shared out, by rows and by columns -------------------- */

static void products(const im_isa* isa, int bits, im_accumulator accumulator, int m, int n) {
  uint64_t state = (uint64_t)bits;
  size_t size = (size_t)m * (size_t)n * sizeof(int32_t);
  int32_t *a = zeros((size_t)m * K * sizeof *a), *b = zeros((size_t)n * K * sizeof *b);
  int32_t *one = zeros(size), *many = zeros(size);
  for (int i = 0; i < m * K; i++) a[i] = next(&state, bits);
  for (int i = 0; i < n * K; i++) b[i] = next(&state, bits);
  im_matrix left = {a, K * sizeof *a, sizeof *a, IM_I32, bits};
  im_matrix right = {b, sizeof *b, K * sizeof *b, IM_I32, bits};
  im_format fmt = {32, 0, bits % 2 ? IM_STOCHASTIC : IM_HALF_EVEN, IM_WRAP, 32};
  im_stream stream = {1, 2, 3, 0};
  for (int threads = 1; threads <= THREADS; threads += THREADS - 1) {
    im_scratch scratch = {.threads = threads};
    im_status status = im_matmul(isa, left, right, m, n, K, NULL, IM_I32, 0, accumulator, 5, fmt,
                                 stream, threads == 1 ? one : many, -1, &scratch);
    check(status == IM_OK, im_isa_name(isa), "the status");
    im_scratch_free(&scratch);
  }
  check(memcmp(one, many, size) == 0, im_isa_name(isa), "a product");
  free(a), free(b), free(one), free(many);
}

/* Products of several callers, each shared out among a number of threads that changes meanwhile:
 * they take the scratch of earlier ones, and give it back ------------------------------------- */

typedef struct {
  const im_isa* isa;
  im_matrix left, right;
  int64_t failed;
  int32_t out[M * N];
} caller;

static void* multiply(void* context) {
  caller* c = context;
  im_format fmt = {32, 0, IM_HALF_EVEN, IM_WRAP, 32};
  im_stream stream = {0};
  for (int64_t rows = 1; rows <= M; rows += M - 1) {
    im_scratch scratch = im_scratch_take();
    im_status status = im_matmul(c->isa, c->left, c->right, rows, N, K, NULL, IM_I32, 0,
                                 (im_accumulator){0}, 5, fmt, stream, c->out, -1, &scratch);
    im_scratch_give_back(scratch);
    c->failed += status != IM_OK;
  }
  return NULL;
}

static void callers(const im_isa* isa) {
  uint64_t state = 11;
  int32_t *a = zeros(M * K * sizeof *a), *b = zeros(N * K * sizeof *b);
  for (int i = 0; i < M * K; i++) a[i] = next(&state, 16);
  for (int i = 0; i < N * K; i++) b[i] = next(&state, 16);
  caller* all = zeros((THREADS + 1) * sizeof *all);
  pthread_t threads[THREADS];
  for (int i = 0; i <= THREADS; i++) {
    all[i].isa = isa;
    all[i].left = (im_matrix){a, K * sizeof *a, sizeof *a, IM_I32, 16};
    all[i].right = (im_matrix){b, sizeof *b, K * sizeof *b, IM_I32, 16};
  }
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, multiply, &all[i])) exit(2);
  for (int i = 0; i < 1000; i++) im_set_threads(1 + i % THREADS);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  im_set_threads(1);
  multiply(&all[THREADS]);
  check(all[THREADS].failed == 0, im_isa_name(isa), "the status of one caller");
  for (int i = 0; i < THREADS; i++) {
    check(all[i].failed == 0, im_isa_name(isa), "the status of a caller");
    bool same = memcmp(all[i].out, all[THREADS].out, sizeof all->out) == 0;
    check(same, im_isa_name(isa), "a caller's product");
  }
  im_set_threads(THREADS);
  free(a), free(b), free(all);
}

/* A step whose products are shared out, and whose counts are not ------------------------------ */

static void observed_step(const im_isa* isa) {
  int32_t* W[2];
  im_count counts[2][IM_TENSORS] = {{{0}}};
  double *x = zeros(M * K * sizeof *x), *y = zeros(M * N * sizeof *y);
  int64_t order[M], *idle = zeros(N * sizeof *idle);
  uint64_t state = 5;
  for (int i = 0; i < M * K; i++) x[i] = next(&state, 12) / 1024.0;
  for (int i = 0; i < M * N; i++) y[i] = next(&state, 12) / 2048.0;
  for (int i = 0; i < M; i++) order[i] = i;
  im_format fmt = {16, 10, IM_FLOOR, IM_SATURATE, 32};
  for (int run = 0; run < 2; run++) {
    W[run] = zeros(N * K * sizeof *W[run]);
    im_layer layer = {.n_in = K, .n_out = N, .W = W[run], .function = IM_RELU};
    layer.activation = layer.weight = layer.delta = layer.gradient = fmt;
    im_net net = {.input = fmt, .layers = &layer, .depth = 1, .decay_shift = -1};
    im_source inputs = {x, K * sizeof *x, sizeof *x, IM_SOURCE_F64};
    im_source targets = {y, N * sizeof *y, sizeof *y, IM_SOURCE_F64};
    im_observed observed = {.counts = counts[run], .idle = idle, .every = 1};
    uint64_t of_weights = 9;
    for (int i = 0; i < N * K; i++) W[run][i] = next(&of_weights, 8);
    im_set_threads(run ? THREADS : 1);
    int64_t done =
        im_train(isa, &net, inputs, targets, order, M, M, 0, 1, 3, 0, NULL, NULL, &observed);
    check(done == 1, im_isa_name(isa), "the number of observed steps");
  }
  check(memcmp(counts[0], counts[1], sizeof counts[0]) == 0, im_isa_name(isa), "a count");
  check(memcmp(W[0], W[1], N * K * sizeof *W[0]) == 0, im_isa_name(isa), "an observed step");
  free(x), free(y), free(idle), free(W[0]), free(W[1]);
}

/* Networks that share what is read: samples, their order, tables ----------------------------- */

typedef struct {
  const im_isa* isa;
  const double *x, *y;
  const int64_t* order;
  int64_t batch;
  int32_t first[HIDDEN * IN], second[OUT * HIDDEN];
  double out[ROWS * OUT];
  int64_t done;
} training;

static void* train(void* context) {
  training* t = context;
  im_format fmt = {16, 10, IM_STOCHASTIC, IM_SATURATE, 32};
  im_layer layers[2] = {{.n_in = IN, .n_out = HIDDEN, .W = t->first},
                        {.n_in = HIDDEN, .n_out = OUT, .W = t->second}};
  im_packed packed[2] = {{0}};
  for (int l = 0; l < 2; l++) {
    layers[l].activation = layers[l].weight = layers[l].delta = layers[l].gradient = fmt;
    layers[l].function = IM_RELU;
    layers[l].packed_W = &packed[l];
  }
  im_net net = {.input = fmt, .layers = layers, .depth = 2, .decay_shift = -1};
  uint64_t state = 7;
  for (int i = 0; i < HIDDEN * IN; i++) t->first[i] = next(&state, 10);
  for (int i = 0; i < OUT * HIDDEN; i++) t->second[i] = next(&state, 10);
  ptrdiff_t size = sizeof(double);
  im_source x = {t->x, IN * size, size, IM_SOURCE_F64};
  im_source y = {t->y, OUT * size, size, IM_SOURCE_F64};
  t->done = im_train(t->isa, &net, x, y, t->order, ROWS, t->batch, 0, ROWS / t->batch, 4, 0, NULL,
                     NULL, NULL);
  if (im_forward(t->isa, &net, x, ROWS, t->out) != IM_OK) t->done = -1;
  for (int l = 0; l < 2; l++) im_packed_free(&packed[l]);
  return NULL;
}

static void trainings(const im_isa* isa, int64_t batch) {
  double *x = zeros(ROWS * IN * sizeof *x), *y = zeros(ROWS * OUT * sizeof *y);
  int64_t order[ROWS];
  uint64_t state = 3;
  for (int i = 0; i < ROWS * IN; i++) x[i] = next(&state, 12) / 2048.0;
  for (int i = 0; i < ROWS * OUT; i++) y[i] = next(&state, 12) / 2048.0;
  for (int i = 0; i < ROWS; i++) order[i] = (i * 7) % ROWS;
  training* all = zeros((THREADS + 1) * sizeof *all);
  pthread_t threads[THREADS];
  for (int i = 0; i <= THREADS; i++)
    all[i] = (training){.isa = isa, .x = x, .y = y, .order = order, .batch = batch};
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, train, &all[i])) exit(2);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  train(&all[THREADS]);
  check(all[THREADS].done == ROWS / batch, im_isa_name(isa), "the number of steps");
  for (int i = 0; i < THREADS; i++)
    check(memcmp(&all[i], &all[THREADS], sizeof *all) == 0, im_isa_name(isa), "a training");
  free(x), free(y), free(all);
}

int main(void) {
  im_set_threads(THREADS);
  for (const im_isa* const* isa = im_isas(); *isa; isa++) {
    for (int bits = 7; bits <= 31; bits += 4) {
      products(*isa, bits, (im_accumulator){0}, M, N);
      products(*isa, bits, (im_accumulator){24, IM_WRAP}, N, M);
    }
    products(*isa, 16, (im_accumulator){30, IM_SATURATE}, M, N);
    callers(*isa);
    observed_step(*isa);
    trainings(*isa, 1);
    trainings(*isa, 16);
  }
  printf("%" PRId64 " results agree\n", results);
  return 0;
}
