/* Every vector of vectors/numerics.json, and what they do not reach. */
#include <string.h>

#include "check.h"
#include "neuron.h"
#include "numerics.h"
#include "vectors.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void rounding_and_scales(void) {
  for (size_t index = 0; index < COUNT(rounding_vectors); index += 1) {
    CHECK(shift_rounded(rounding_vectors[index].value, rounding_vectors[index].shift) == rounding_vectors[index].result);
  }
  for (size_t index = 0; index < COUNT(scale_vectors); index += 1) {
    const struct scale by = {.multiplier = scale_vectors[index].multiplier, .shift = scale_vectors[index].shift};
    CHECK(scale_value(scale_vectors[index].value, by) == scale_vectors[index].result);
  }
  for (unsigned round = 0; round < 10000; round += 1) {
    const int64_t value = ((int64_t)random_word() << 14) ^ random_word();
    const uint32_t shift = random_word() % 64;
    CHECK(shift_rounded(-value, shift) == -shift_rounded(value, shift));
  }
}

static void chance(void) {
  for (size_t index = 0; index < COUNT(philox_vectors); index += 1) {
    uint32_t block[4];
    memcpy(block, philox_vectors[index].counter, sizeof block);
    philox(block, philox_vectors[index].key[0], philox_vectors[index].key[1], philox_vectors[index].rounds);
    CHECK(memcmp(block, philox_vectors[index].result, sizeof block) == 0);
  }
  for (size_t index = 0; index < COUNT(gaussian_vectors); index += 1) {
    CHECK(gaussian_of_word(gaussian_vectors[index].word) == gaussian_vectors[index].deviate);
  }
  /* The mirror image of each deviate is there, and a larger tail is never farther out. */
  int32_t before = gaussian_of_word(0);
  for (uint32_t word = 0; word < 0x7fff0000u; word += 0x8001u) {
    const int32_t deviate = gaussian_of_word(word);
    CHECK(deviate == -gaussian_of_word(word | 0x80000000u) && deviate <= before);
    before = deviate;
  }
}

static void conversions(void) {
  for (size_t index = 0; index < COUNT(conversion_vectors); index += 1) {
    const int64_t code = convert_sum(conversion_vectors[index].sum, conversion_vectors[index].noise_256, conversion_vectors[index].gain_q20,
                                     conversion_vectors[index].offset);
    CHECK(code == conversion_vectors[index].result);
  }
  CHECK(gain_of(4, 2500000, 1u << 14) == 27488);
  CHECK(gain_of(1, 1, 1) == 1u << 20);
  /* 2 % of noise: K = round((16 * 0.02)^2 * 2^20). */
  CHECK(variance_factor(20000) == 107374);
  CHECK(variance_factor(0) == 0);
  /* One cell of code 3085 (12.34 uS): V = round(3085^2 / 2^12) = 2324, and one standard deviation is floor(sqrt(V * K)) = 15796. */
  CHECK(cell_variance(3085) == 2324);
  CHECK(cell_noise(2324, 107374, 32768) == 15796);
  CHECK(cell_noise(2324, 107374, -32768) == -15796);
  const float scale = noise_scale(20000);
  CHECK(sum_noise(2324, scale, 32768) == 15797);
  CHECK(sum_noise(2324, scale, -32768) == -15797);
  CHECK(sum_noise(1000000000u, scale, 100000) == 31622776);
}

static void membranes(void) {
  const struct neuron neuron = {
    .threshold = lif_parameters.threshold, .leak = {lif_parameters.leak, lif_parameters.shift},
    .negative_slope = {lif_parameters.slope, lif_parameters.shift},
  };
  int32_t membrane = 0;
  uint8_t spike = 0;
  for (size_t step = 0; step < COUNT(lif_currents); step += 1) {
    (void)neuron_step_lif(&membrane, &spike, &lif_currents[step], 1, &neuron);
    CHECK(membrane == lif_membranes[step] && spike == lif_spikes[step]);
  }
  const struct neuron open = {.threshold = INT32_MAX, .leak = {1u << 20, 20}, .negative_slope = {1u << 20, 20}};
  int32_t two[2] = {INT32_MAX - 5, INT32_MIN + 5};
  uint8_t none[2] = {0, 0};
  (void)neuron_step_lif(two, none, (const int32_t[]){100, -100}, 2, &open);
  CHECK(two[0] == INT32_MAX && two[1] == INT32_MIN);
  neuron_step_accumulate(two, (const int32_t[]){1, -1}, 2, (struct scale){1u << 19, 20});
  CHECK(two[0] == INT32_MAX && two[1] == -(1 << 30));
}

static void pool_leaves_a_remainder_out(void) {
  const uint8_t spikes[9] = {1, 1, 1, 1, 0, 1, 1, 1, 1};
  uint8_t count = 0;
  neuron_count_pool(spikes, 1, 3, 3, 2, &count);
  CHECK(count == 3);
}

static void confidence(void) {
  static struct gate gate;
  const struct scale by = {confidence_parameters.multiplier, confidence_parameters.shift};
  gate_begin(&gate, confidence_parameters.outputs);
  for (size_t step = 0; step < COUNT(confidence_results); step += 1) {
    gate_add(&gate, confidence_membranes + step * confidence_parameters.outputs);
    CHECK(gate_confidence(&gate, STOP_SOFTMAX, by) == confidence_results[step]);
    CHECK(gate_confidence(&gate, STOP_ENTROPY, by) == entropy_results[step]);
    CHECK(gate_confidence(&gate, STOP_MARGIN, by) == margin_results[step]);
    CHECK(gate_confidence(&gate, STOP_RELATIVE_MARGIN, by) == relative_margin_results[step]);
  }
  /* The quotient is exact where a double is not: (2^31 - 1 + 2^31) * (2^18 - 1) leaves 53 bits after some timesteps. */
  gate_begin(&gate, 2);
  for (unsigned step = 0; step < 64; step += 1) gate_add(&gate, (const int32_t[]){INT32_MAX, INT32_MIN});
  const uint64_t one = CONFIDENCE_ONE;
  CHECK(gate_confidence(&gate, STOP_SOFTMAX, (struct scale){(1u << 18) - 1, 31}) == one * one / (one + negative_power(524285)));
  CHECK(negative_power(0) == CONFIDENCE_ONE && negative_power(1u << 16) == CONFIDENCE_ONE / 2 && negative_power(25u << 16) == 0);
}

void numerics_test(void) {
  rounding_and_scales();
  chance();
  conversions();
  membranes();
  pool_leaves_a_remainder_out();
  confidence();
}
