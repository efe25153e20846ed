/* Neurons in the order of NUMERICS.md, "Membranes". */
#include "neuron.h"

static int32_t rectify(int64_t membrane, struct scale negative_slope) {
  const int32_t held = saturate_int32(membrane);
  return held < 0 ? saturate_int32(scale_value(held, negative_slope)) : held;
}

uint32_t neuron_step_lif(int32_t *membranes, uint8_t *spikes, const int32_t *currents, uint32_t count, const struct neuron *neuron) {
  uint32_t fired = 0;
  for (uint32_t index = 0; index < count; index += 1) {
    const int64_t kept = spikes[index] == 1 ? 0 : scale_value(membranes[index], neuron->leak);
    membranes[index] = rectify(kept + currents[index], neuron->negative_slope);
    spikes[index] = membranes[index] > neuron->threshold ? 1 : 0;
    fired += spikes[index];
  }
  return fired;
}

void neuron_step_accumulate(int32_t *membranes, const int32_t *currents, uint32_t count, struct scale negative_slope) {
  for (uint32_t index = 0; index < count; index += 1) membranes[index] = rectify((int64_t)membranes[index] + currents[index], negative_slope);
}

static uint8_t count_square(const uint8_t *corner, uint32_t width, uint32_t size) {
  uint32_t count = 0;
  for (uint32_t row = 0; row < size; row += 1) {
    for (uint32_t column = 0; column < size; column += 1) count += corner[row * width + column];
  }
  return (uint8_t)count;
}

void neuron_count_pool(const uint8_t *spikes, uint32_t channels, uint32_t height, uint32_t width, uint32_t size, uint8_t *counts) {
  uint32_t at = 0;
  for (uint32_t channel = 0; channel < channels; channel += 1) {
    for (uint32_t row = 0; row + size <= height; row += size) {
      for (uint32_t column = 0; column + size <= width; column += size, at += 1) {
        counts[at] = count_square(spikes + (channel * height + row) * width + column, width, size);
      }
    }
  }
}
