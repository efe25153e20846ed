#ifndef PRIME_NETWORK_H
#define PRIME_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "bulk.h"
#include "numerics.h"
#include "program.h"

struct early_stop {
  enum stop_rule rule;
  /* One a timestep. */
  uint32_t thresholds_q24[MAXIMUM_TIMESTEPS];
  struct scale confidence;
};

struct layer_counts {
  uint32_t conversions;
  uint32_t saturations;
  uint32_t spikes;
};

/* One inference on the board: a program, the frames of a recording, timestep after timestep until it is confident or out of frames. */
struct network_run {
  const struct program *program;
  const struct bulk_object *frames;
  uint32_t inference_number;
  bool has_early_stop;
  struct early_stop early_stop;

  /* Timesteps that are done. */
  uint32_t timesteps;
  bool stopped_early;
  uint32_t confidence_q24;
  uint64_t nanoseconds;
  uint64_t femtojoules;
  struct gate gate;
  struct layer_counts counts[MAXIMUM_LAYERS];

  /* Where the work on the timestep under way stands. */
  bool is_between_timesteps;
  uint32_t layer;
  uint32_t tile;
  uint32_t position;
};

/* Begins a run; the caller fills in program, frames, inference number and early stop. There is one at a time: its buffers are static. */
void network_begin(struct network_run *run);

/* Works for a short while. Returns whether a timestep was completed. */
bool network_work(struct network_run *run);

bool network_is_over(const struct network_run *run);

/* Membranes of the last layer. */
const int32_t *network_outputs(const struct network_run *run, uint32_t *count);

#endif
