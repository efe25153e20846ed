/* The integers of NUMERICS.md that host, simulator and firmware share. */
#ifndef PRIME_NUMERICS_H
#define PRIME_NUMERICS_H

#include <stdint.h>

#include "limits.h"

/* x to x * multiplier / 2^shift, rounded half away from zero. Whoever chooses both keeps the product below 2^63. */
struct scale {
  uint32_t multiplier;
  uint32_t shift;
};

/* An integer divided by 2^shift, rounded to the nearest integer, halves away from zero; shift of 0 to 63. */
int64_t shift_rounded(int64_t value, uint32_t shift);
int64_t scale_value(int64_t value, struct scale by);
/* Clamps to int32, as a membrane register does. */
int32_t saturate_int32(int64_t value);

/* Philox4x32 (Salmon et al., 2011): writes four words for the counter in `block` over it. */
#define NOISE_ROUNDS 7u
void philox(uint32_t block[4], uint32_t key0, uint32_t key1, uint32_t rounds);

/* A standard normal deviate in 1/32768 of a standard deviation from 32 uniform bits. */
int32_t gaussian_of_word(uint32_t word);
/* Four deviates for a counter of four words. */
void gaussian_four(uint32_t seed, uint32_t stream, const uint32_t counter[4], int32_t deviates[4]);

/* Factor K of the variance of read noise, for a relative noise in parts of a million. */
uint64_t variance_factor(uint32_t noise_parts_per_million);
/* round(g^2 / 2^12) of a cell code. */
uint32_t cell_variance(uint32_t code);
/* Noise of a read of one cell in 1/256 unit. */
int64_t cell_noise(uint32_t variance, uint64_t factor, int32_t deviate);
/* Scale of the noise of sums, for a relative noise of a cell in parts of a million. */
float noise_scale(uint32_t noise_parts_per_million);
/* Noise of a sum in its 1/256 unit; in floats of 32 bits, each operation rounded. */
int64_t sum_noise(uint32_t variance, float scale, int32_t deviate);

/* The code of a conversion before it is clamped: sum in units of a cell code, noise in 1/256 of them, gain with 20 fractional bits. */
int64_t convert_sum(int64_t sum, int64_t noise_256, uint32_t gain_q20, int32_t offset);
/* The gain of a range: cell unit over the conductance of one code. */
uint32_t gain_of(uint32_t cell_unit_nanosiemens, uint32_t step_numerator_nanosiemens, uint32_t step_denominator);

/* A confidence or a stop threshold of 1. */
#define CONFIDENCE_ONE (1u << 24)
/* Bounds of a confidence scale within which every product fits 64 bits. */
#define CONFIDENCE_MULTIPLIER_MAXIMUM (1u << 18)
#define CONFIDENCE_SHIFT_MAXIMUM 52u
#define GATE_OUTPUTS 256u

/* log2 of an integer of 1 to below 2^52, in 1/2^16. */
uint32_t binary_logarithm(uint64_t value);

/* 2^(-exponent / 2^16) in 1/2^24. */
uint32_t negative_power(uint32_t exponent_q16);

/* The early-stop gate: sums of the output membranes, and how confident their mean is. */
struct gate {
  int64_t sums[GATE_OUTPUTS];
  uint32_t outputs;
  uint32_t timesteps;
};

/* What an early stop is decided by, in the order of macro.proto. */
enum stop_rule { STOP_SOFTMAX, STOP_ENTROPY, STOP_MARGIN, STOP_RELATIVE_MARGIN, STOP_RULES };

void gate_begin(struct gate *gate, uint32_t outputs);
/* Adds the membranes of a timestep. */
void gate_add(struct gate *gate, const int32_t *membranes);
/* How confident the mean so far is by a rule, in 1/2^24. */
uint32_t gate_confidence(const struct gate *gate, enum stop_rule rule, struct scale by);
/* Index of the largest sum, the lowest where several are equal. */
uint32_t gate_prediction(const struct gate *gate);

#endif
