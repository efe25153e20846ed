#include "numerics.h"

#include <math.h>
#include <string.h>

#include "tables.h"

int64_t shift_rounded(int64_t value, uint32_t shift) {
  if (shift == 0) return value;
  const uint64_t magnitude = value < 0 ? (uint64_t)-value : (uint64_t)value;
  const uint64_t rounded = (magnitude + ((uint64_t)1 << (shift - 1))) >> shift;
  return value < 0 ? -(int64_t)rounded : (int64_t)rounded;
}

int64_t scale_value(int64_t value, struct scale by) { return shift_rounded(value * (int64_t)by.multiplier, by.shift); }

int32_t saturate_int32(int64_t value) {
  if (value > INT32_MAX) return INT32_MAX;
  return value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

void philox(uint32_t block[4], uint32_t key0, uint32_t key1, uint32_t rounds) {
  for (uint32_t round = 0; round < rounds; round += 1) {
    const uint64_t product0 = (uint64_t)0xd2511f53u * block[0];
    const uint64_t product1 = (uint64_t)0xcd9e8d57u * block[2];
    block[0] = (uint32_t)(product1 >> 32) ^ block[1] ^ key0;
    block[1] = (uint32_t)product1;
    block[2] = (uint32_t)(product0 >> 32) ^ block[3] ^ key1;
    block[3] = (uint32_t)product0;
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
}

#define SEGMENT_BITS 5u
#define ROW_LENGTH 33u
#define FRACTION_BITS 12u

static uint32_t highest_bit(uint32_t word) {
  uint32_t bit = 0;
  for (; word > 1; word >>= 1) bit += 1;
  return bit;
}

int32_t gaussian_of_word(uint32_t word) {
  const uint32_t tail = word & 0x7fffffffu;
  const int32_t sign = (word >> 31) != 0 ? -1 : 1;
  if (tail == 0) return sign * gaussian_quantiles[0];
  const uint32_t octave = highest_bit(tail);
  const uint32_t rest = tail ^ (1u << octave);
  uint32_t segment = rest << (octave < SEGMENT_BITS ? SEGMENT_BITS - octave : 0u);
  uint32_t fraction = 0;
  if (octave > SEGMENT_BITS) {
    const uint32_t below = octave - SEGMENT_BITS;
    const uint32_t bits = rest & ((1u << below) - 1u);
    segment = rest >> below;
    fraction = below > FRACTION_BITS ? bits >> (below - FRACTION_BITS) : bits << (FRACTION_BITS - below);
  }
  const int32_t *quantile = &gaussian_quantiles[octave * ROW_LENGTH + segment];
  /* Quantiles fall within a row, so the difference is not negative and the shift rounds as it does everywhere. */
  return sign * (quantile[0] - (((quantile[0] - quantile[1]) * (int32_t)fraction) >> FRACTION_BITS));
}

void gaussian_four(uint32_t seed, uint32_t stream, const uint32_t counter[4], int32_t deviates[4]) {
  uint32_t block[4];
  memcpy(block, counter, sizeof block);
  philox(block, seed, stream, NOISE_ROUNDS);
  for (unsigned index = 0; index < 4; index += 1) deviates[index] = gaussian_of_word(block[index]);
}

uint64_t variance_factor(uint32_t noise_parts_per_million) {
  /* (16 r)^2 * 2^12 * 2^8 = r^2 * 2^28, and r is a number of millionths. */
  const uint64_t million = 1000000u;
  const uint64_t squared = (uint64_t)noise_parts_per_million * noise_parts_per_million;
  return ((squared << 22) / million * 64u + million / 2) / million;
}

uint32_t cell_variance(uint32_t code) { return (code * code >> 12) + ((code * code >> 11) & 1u); }

/* Integer part of the square root, bit by bit. */
static uint32_t square_root(uint64_t value) {
  uint64_t root = 0;
  for (uint64_t bit = (uint64_t)1 << 31; bit != 0; bit >>= 1) {
    const uint64_t trial = root | bit;
    if (trial * trial <= value) root = trial;
  }
  return (uint32_t)root;
}

int64_t cell_noise(uint32_t variance, uint64_t factor, int32_t deviate) {
  if (factor == 0) return 0;
  return shift_rounded((int64_t)square_root(variance * factor) * deviate, 15);
}

float noise_scale(uint32_t noise_parts_per_million) {
  const double fraction = noise_parts_per_million / 1e6;
  return (float)(fraction * fraction / 262144.0);
}

int64_t sum_noise(uint32_t variance, float scale, int32_t deviate) {
  /* On top of a number it leaves no digit finer than 1/256. */
  const float bias = 49152.0f;
  const float square = (float)variance * scale;
  const float noise = sqrtf(square) * (float)deviate;
  const float biased = noise + bias;
  return (int64_t)((biased - bias) * 256.0f);
}

int64_t convert_sum(int64_t sum, int64_t noise_256, uint32_t gain_q20, int32_t offset) {
  return shift_rounded((sum * 256 + noise_256) * (int64_t)gain_q20, 28) + offset;
}

uint32_t gain_of(uint32_t cell_unit_nanosiemens, uint32_t step_numerator_nanosiemens, uint32_t step_denominator) {
  const uint64_t scaled = ((uint64_t)cell_unit_nanosiemens * step_denominator) << 20;
  return (uint32_t)((scaled + step_numerator_nanosiemens / 2) / step_numerator_nanosiemens);
}

#define EXPONENT_BITS 16u
#define EXPONENT_LIMIT (40u << EXPONENT_BITS)
#define POWER_SEGMENT_BITS 6u
#define RATIO_BITS 24u

uint32_t negative_power(uint32_t exponent_q16) {
  const uint32_t whole = exponent_q16 >> EXPONENT_BITS;
  if (whole > 24) return 0;
  const uint32_t fraction = exponent_q16 & ((1u << EXPONENT_BITS) - 1u);
  const int32_t *power = &negative_powers[fraction >> POWER_SEGMENT_BITS];
  const int32_t value = power[0] - (((power[0] - power[1]) * (int32_t)(fraction & 63u)) >> POWER_SEGMENT_BITS);
  return (uint32_t)value >> whole;
}

void gate_begin(struct gate *gate, uint32_t outputs) {
  memset(gate, 0, sizeof *gate);
  gate->outputs = outputs;
}

void gate_add(struct gate *gate, const int32_t *membranes) {
  gate->timesteps += 1;
  for (uint32_t output = 0; output < gate->outputs; output += 1) gate->sums[output] += membranes[output];
}

uint32_t binary_logarithm(uint64_t value) {
  uint64_t mantissa = value;
  uint32_t whole = RATIO_BITS;
  for (; mantissa >= 2 * (uint64_t)CONFIDENCE_ONE; whole += 1) mantissa >>= 1;
  for (; mantissa < CONFIDENCE_ONE; whole -= 1) mantissa <<= 1;
  uint32_t fraction = 0;
  for (uint32_t bit = 0; bit < EXPONENT_BITS; bit += 1) {
    mantissa = (mantissa * mantissa) >> RATIO_BITS;
    fraction <<= 1;
    if (mantissa < 2 * (uint64_t)CONFIDENCE_ONE) continue;
    mantissa >>= 1;
    fraction += 1;
  }
  return (whole << EXPONENT_BITS) + fraction;
}

/* floor(2^24 * part / whole), bit by bit; part is at most whole, which is below 2^52. */
static uint32_t ratio(uint64_t part, uint64_t whole) {
  if (part == whole) return CONFIDENCE_ONE;
  uint32_t quotient = 0;
  for (uint32_t bit = 0; bit < RATIO_BITS; bit += 1) {
    part <<= 1;
    quotient <<= 1;
    if (part < whole) continue;
    part -= whole;
    quotient += 1;
  }
  return quotient;
}

/* What the powers of all outputs add up to, and those times their exponents. */
struct powers {
  uint64_t total;
  uint64_t weighted;
};

static struct powers gate_powers(const struct gate *gate, struct scale by) {
  const int64_t largest = gate->sums[gate_prediction(gate)];
  const uint64_t divisor = (uint64_t)gate->timesteps << by.shift;
  struct powers powers = {0};
  for (uint32_t output = 0; output < gate->outputs; output += 1) {
    const uint64_t exponent = (uint64_t)(largest - gate->sums[output]) * by.multiplier / divisor;
    const uint32_t limited = exponent > EXPONENT_LIMIT ? EXPONENT_LIMIT : (uint32_t)exponent;
    const uint32_t power = negative_power(limited);
    powers.total += power;
    powers.weighted += (uint64_t)limited * power;
  }
  return powers;
}

static uint32_t entropy_confidence(const struct gate *gate, struct scale by) {
  const struct powers powers = gate_powers(gate, by);
  const uint32_t most = binary_logarithm(gate->outputs);
  if (most == 0) return CONFIDENCE_ONE;
  const uint64_t entropy = binary_logarithm(powers.total) - (RATIO_BITS << EXPONENT_BITS) + powers.weighted / powers.total;
  return CONFIDENCE_ONE - ratio(entropy > most ? most : entropy, most);
}

/* What the best output is above the second best. */
static uint64_t gate_margin(const struct gate *gate) {
  const uint32_t best = gate_prediction(gate);
  uint64_t margin = gate->outputs == 1 ? 0 : UINT64_MAX;
  for (uint32_t output = 0; output < gate->outputs; output += 1) {
    const uint64_t behind = (uint64_t)(gate->sums[best] - gate->sums[output]);
    if (output != best && behind < margin) margin = behind;
  }
  return margin;
}

static uint32_t margin_confidence(const struct gate *gate, struct scale by) {
  const uint64_t confidence = gate_margin(gate) * by.multiplier / ((uint64_t)gate->timesteps << by.shift);
  return confidence > UINT32_MAX ? UINT32_MAX : (uint32_t)confidence;
}

static uint32_t relative_margin_confidence(const struct gate *gate) {
  const int64_t largest = gate->sums[gate_prediction(gate)];
  uint64_t spread = 0;
  for (uint32_t output = 0; output < gate->outputs; output += 1) spread += (uint64_t)(largest - gate->sums[output]);
  return spread == 0 ? 0 : ratio((gate->outputs - 1) * gate_margin(gate), spread);
}

uint32_t gate_confidence(const struct gate *gate, enum stop_rule rule, struct scale by) {
  switch (rule) {
    case STOP_ENTROPY: return entropy_confidence(gate, by);
    case STOP_MARGIN: return margin_confidence(gate, by);
    case STOP_RELATIVE_MARGIN: return relative_margin_confidence(gate);
    case STOP_SOFTMAX:
    case STOP_RULES: break;
  }
  return (uint32_t)(((uint64_t)CONFIDENCE_ONE * CONFIDENCE_ONE) / gate_powers(gate, by).total);
}

uint32_t gate_prediction(const struct gate *gate) {
  uint32_t best = 0;
  for (uint32_t output = 1; output < gate->outputs; output += 1) {
    if (gate->sums[output] > gate->sums[best]) best = output;
  }
  return best;
}
