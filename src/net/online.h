/* Online training at work: what its two files hand each other. */
#ifndef IM_ONLINE_H
#define IM_ONLINE_H

#include "net.h"

/* A layer in the course of online training. Weights are transposed: a row of `width` lanes for
 * each input, and with biases for one more, which is always one. */
struct im_online {
  int32_t* W;          /* raw, or NULL */
  double* M;           /* the master, or NULL */
  int64_t width;       /* n_out, filled up with zeros */
  uint64_t bound;      /* no magnitude in W is larger */
  int waited;          /* steps that the bound has been of no use */
  double bound_M;      /* no magnitude in M is larger; 0 without a master */
  im_inputs inputs;    /* those that count: not zero, or with an error to be sent down */
  im_reals reals;      /* the same in float64 */
  int64_t* sums;       /* forward of `width` lanes, backward of `count` entries */
  int32_t* errors;     /* E of `count` entries */
  double* D;           /* the deltas of a float step, `width` lanes; and what bounds it: */
  double largest;      /* no magnitude of a delta is larger */
  double step;         /* no magnitude of a step is larger */
  bool outside;        /* observed: some of M may be outside the weight format, */
  int steps_unscanned; /* and steps in which the bound did not say that W is as wide as ever */
};

/* Of what no stochastic format rounds. */
static const im_stream im_wordless = {0, 0, 0, 0};

/* A row of inputs, float where that is not NULL. Behind a raw one stands that of a bias. */
typedef struct {
  const int32_t* raw;
  const double* real;
} im_row;

/* Whether a part reads the raw weights of layer l in each step; forward_float and update_float
 * read a master instead, and nothing is sent below the first layer. */
static inline bool im_reads_raw_weights(const im_net* net, int l) {
  return !net->forward_float || !net->update_float || (!net->backward_float && l > 1);
}

/* online.c, fixed point: layer l from its listed inputs; the last layer likewise, with what is
 * reported and D, of which `largest` is the largest magnitude; D of layer l - 1, from that of layer
 * l; the update of layer l, of which `dots` takes D's product with each input's row before; and its
 * bound, by steps of at most `step`: whether all weights stay inside their format. */
im_status im_online_forward(im_work* work, int l);
im_status im_online_forward_to_loss(im_work* work, int32_t* right, double* loss, uint64_t* largest);
im_status im_online_send(im_work* work, int l);
void im_online_update(im_work* work, int l, uint64_t largest, int shift, int64_t* dots);
bool im_online_stays_inside(im_online* here, const im_layer* layer, uint64_t step);
uint64_t im_online_largest(const int32_t* v, int64_t n);

/* Whether int64 holds a sum of weights times `count` factors of at most this magnitude. */
static inline bool im_online_fits(int64_t count, uint64_t largest, const im_online* here) {
  return here->bound == 0 || (uint64_t)count * largest <= INT64_MAX / here->bound;
}

/* The same products where int64 may not hold them: into Z, and into D of the layer below. */
im_sink im_online_forward_sink(const im_work* work, int l);
im_status im_online_product(im_work* work, int l, const im_sink* sink);
im_sink im_online_send_sink(const im_work* work, int l);
im_status im_online_send_to(im_work* work, int l, const im_sink* sink);

/* observe_online.c: layer l of a step before its update, whose deltas are at most `largest` where
 * they are fixed; and its weights after it, all of them or those that changed. */
im_status im_online_observe(im_work* work, int l, uint64_t largest, int shift);
void im_online_observe_weights(im_work* work, int l, bool all);

/* online_float.c: a step of any parts, all of it before its first update, from a row that is float
 * where the forward pass is. Nothing is changed where it is not IM_OK: IM_NOT_FINITE where it is
 * not proved that it does not diverge, IM_OVERFLOWED where an overflow is to stop it. */
im_status im_online_step(im_work* work, im_row inputs, im_row next, int lr_shift, int32_t* right,
                         double* loss);

#endif
