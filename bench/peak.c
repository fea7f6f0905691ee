/* How many multiply-accumulates a second an instruction can do that waits for nothing: twelve
   accumulators in turn, operands in registers. A ceiling for every kernel that is built on it.
   Where an instruction does not add, the addition that a sum needs goes along with it. */

#include <string.h>
#include <time.h>

enum { ROUNDS = 100000, ACCUMULATORS = 12 };

/* Processor time: what other programs take does not lower a ceiling. */
static double now(void) {
  struct timespec t;

  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Return multiply-accumulates a second: `macs` of them in each call of `rounds`. */
static double rate(void (*rounds)(void), double macs, double seconds) {
  double start = now(), end;
  long calls = 0;

  do {
    rounds();
    calls++;
    end = now();
  } while (end - start < seconds);
  return macs * (double)calls / (end - start);
}

#if defined(__x86_64__)

#define VNNI_BYTES(r) "vpdpbusd %%zmm15, %%zmm14, %%zmm" #r "\n\t"
#define VNNI_WORDS(r) "vpdpwssd %%zmm15, %%zmm14, %%zmm" #r "\n\t"
#define IFMA(r) "vpmadd52luq %%zmm15, %%zmm14, %%zmm" #r "\n\t"
#define QUADS(r) "vpmuldq %%zmm15, %%zmm14, %%zmm13\n\tvpaddq %%zmm13, %%zmm" #r ", %%zmm" #r "\n\t"
#define AVX2_WORDS(r) \
  "vpmaddwd %%ymm15, %%ymm14, %%ymm13\n\tvpaddd %%ymm13, %%ymm" #r ", %%ymm" #r "\n\t"
#define AVX2_QUADS(r) \
  "vpmuldq %%ymm15, %%ymm14, %%ymm13\n\tvpaddq %%ymm13, %%ymm" #r ", %%ymm" #r "\n\t"

#define TWELVE(one) \
  one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7) one(8) one(9) one(10) one(11)

#define LOOP(name, one)                                                                      \
  static void name(void) {                                                                   \
    for (int i = 0; i < ROUNDS; i++)                                                         \
      __asm__ volatile(TWELVE(one)::                                                         \
                           : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
                             "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",    \
                             "xmm15");                                                       \
  }

LOOP(vnni_bytes, VNNI_BYTES)
LOOP(vnni_words, VNNI_WORDS)
LOOP(ifma, IFMA)
LOOP(quads, QUADS)
LOOP(avx2_words, AVX2_WORDS)
LOOP(avx2_quads, AVX2_QUADS)

/* Return multiply-accumulates a second of `name`, or 0 where this processor has no such. */
double peak(const char* name, double seconds) {
  int foundation = __builtin_cpu_supports("avx512f"), avx2 = __builtin_cpu_supports("avx2");
  int vnni = __builtin_cpu_supports("avx512vnni"), fma52 = __builtin_cpu_supports("avx512ifma");
  struct {
    const char* name;
    int supported;
    void (*rounds)(void);
    int lanes;
  } table[] = {
      {"vpdpbusd, 512 bits", vnni, vnni_bytes, 64},
      {"vpdpwssd, 512 bits", vnni, vnni_words, 32},
      {"vpmadd52luq, 512 bits", fma52, ifma, 8},
      {"vpmuldq + vpaddq, 512 bits", foundation, quads, 8},
      {"vpmaddwd + vpaddd, 256 bits", avx2, avx2_words, 16},
      {"vpmuldq + vpaddq, 256 bits", avx2, avx2_quads, 4},
  };

  for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(name, table[i].name) == 0 && table[i].supported)
      return rate(table[i].rounds, (double)ROUNDS * ACCUMULATORS * table[i].lanes, seconds);
  return 0;
}

#else

double peak(const char* name, double seconds) {
  (void)name, (void)seconds, (void)rate;
  return 0;
}

#endif
