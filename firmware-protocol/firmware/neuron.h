#ifndef PRIME_NEURON_H
#define PRIME_NEURON_H

#include <stdint.h>

#include "numerics.h"

struct neuron {
  int32_t threshold;
  struct scale leak;
  struct scale negative_slope;
};

/*
 * One timestep of leaky integrate-and-fire neurons: clear where the neuron spiked, leak, integrate, LeakyReLU, fire above the threshold.
 * `spikes` holds those of the timestep before, and then this one's. Returns their number.
 */
uint32_t neuron_step_lif(int32_t *membranes, uint8_t *spikes, const int32_t *currents, uint32_t count, const struct neuron *neuron);

/* One timestep of output neurons: integrate and LeakyReLU; no leak, no spike. */
void neuron_step_accumulate(int32_t *membranes, const int32_t *currents, uint32_t count, struct scale negative_slope);

/* Counts spikes over size by size squares; a row or column that does not fill a square is left out. */
void neuron_count_pool(const uint8_t *spikes, uint32_t channels, uint32_t height, uint32_t width, uint32_t size, uint8_t *counts);

#endif
