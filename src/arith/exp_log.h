/* exp and log in float64, by the operations of docs/numerics.md, section 7, in their order: not
 * those of a C library, which differ from machine to machine. Free of branches. */
#ifndef IM_EXP_LOG_H
#define IM_EXP_LOG_H

#include "round.h"

#define IM_LN2_HIGH 0.693147180369123816490
#define IM_LN2_LOW 1.90821492927058770002e-10

/* k is rounded by adding IM_MAGIC, as |k| < 2**11. */
static inline double im_exp(double x) {
  static const double terms[] = {1.0 / 6227020800.0,
                                 1.0 / 479001600.0,
                                 1.0 / 39916800.0,
                                 1.0 / 3628800.0,
                                 1.0 / 362880.0,
                                 1.0 / 40320.0,
                                 1.0 / 5040.0,
                                 1.0 / 720.0,
                                 1.0 / 120.0,
                                 1.0 / 24.0,
                                 1.0 / 6.0,
                                 1.0 / 2.0,
                                 1.0,
                                 1.0};
  bool inside = x >= -745 && x <= 709.75;
  double v = inside ? x : 0.0;
  double k = im_round_real(v * 1.4426950408889634, IM_HALF_EVEN, 0);
  double r = (v - k * IM_LN2_HIGH) - k * IM_LN2_LOW;
  double p = terms[0];
  for (int i = 1; i < 14; i++) p = p * r + terms[i];
  int64_t n = im_integer(k), first = n >> 1;
  p = p * im_power_of_two((int)first) * im_power_of_two((int)(n - first));
  double outside = x < -745 ? 0.0 : x > 709.75 ? (double)INFINITY : x;
  return inside ? p : outside;
}

/* For x that is normal and positive. */
static inline double im_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int64_t exponent = (int64_t)(bits >> 52) - 1022;
  bits = (bits & ((UINT64_C(1) << 52) - 1)) | (UINT64_C(1022) << 52);
  double m;
  memcpy(&m, &bits, sizeof m);
  bool small = m < 0.70710678118654752440;
  m = small ? 2 * m : m;
  double e = (double)(int32_t)(exponent - small);
  double f = (m - 1) / (m + 1), z = f * f, p = 1.0 / 23;
  for (int i = 21; i >= 1; i -= 2) p = p * z + 1.0 / i;
  return e * IM_LN2_HIGH + (e * IM_LN2_LOW + (2 * f) * p);
}

#endif
