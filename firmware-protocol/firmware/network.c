/*
 * A network run in short pieces of work. Sums are of integers, so the order of tiles and positions is free: here tile by tile, which needs the
 * receptive field of one tile at a time.
 */
#include "network.h"

#include <string.h>

#include "array.h"
#include "board.h"

/* Cells whose currents are added between two looks at the line. */
#define CELLS_PER_STEP 100000u
#define MAXIMUM_DRIVE_BITS 4u

static int32_t membranes[PROGRAM_NEURONS];
static uint8_t spikes[PROGRAM_NEURONS];
/* Of the layer at work: recombined sums, then membrane units. */
static int32_t currents[MAXIMUM_LAYER_NEURONS];
static uint8_t pooled[MAXIMUM_LAYER_NEURONS];
static uint8_t frame_codes[MAXIMUM_LAYER_NEURONS];
static uint8_t padded[PADDED_INPUTS];
/* Where the inputs of a tile's bit lines lie in the input, from the corner of a position's receptive field. */
static uint32_t offsets[BIT_LINES];
static uint16_t driven[MAXIMUM_DRIVE_BITS][BIT_LINES];
static uint32_t driven_counts[MAXIMUM_DRIVE_BITS];
/* What the layer at work reads. */
static const uint8_t *signal;

static uint32_t positions_of(const struct layer *layer) { return layer->output_height * layer->output_width; }
static uint32_t neurons_of(const struct layer *layer) { return layer->output_channels * positions_of(layer); }
static uint32_t padded_width(const struct layer *layer) { return layer->input_width + 2 * layer->padding; }
static uint32_t padded_height(const struct layer *layer) { return layer->input_height + 2 * layer->padding; }

/* Unpacks the drive codes of a timestep: two a byte, the first in the low nibble. */
static void read_frame(const struct network_run *run) {
  const struct program *program = run->program;
  const uint32_t codes = program->input_channels * program->input_height * program->input_width;
  const uint32_t first = run->timesteps * codes;
  struct bulk_cursor cursor;
  bulk_seek(&cursor, run->frames, first / 2);
  uint8_t bytes[256];
  uint32_t nibble = first & 1u;
  for (uint32_t code = 0; code < codes;) {
    const size_t there = bulk_read(&cursor, bytes, sizeof bytes);
    for (; code < codes && nibble < 2 * there; code += 1, nibble += 1) {
      frame_codes[code] = (uint8_t)(((uint32_t)bytes[nibble >> 1] >> ((nibble & 1u) << 2)) & 15u);
    }
    nibble = 0;
    if (there == 0) return;
  }
}

static void pad(const struct layer *layer) {
  const uint32_t width = padded_width(layer);
  const uint32_t height = padded_height(layer);
  memset(padded, 0, layer->input_channels * height * width);
  for (uint32_t channel = 0; channel < layer->input_channels; channel += 1) {
    for (uint32_t row = 0; row < layer->input_height; row += 1) {
      memcpy(padded + (channel * height + row + layer->padding) * width + layer->padding,
             signal + (channel * layer->input_height + row) * layer->input_width, layer->input_width);
    }
  }
  signal = padded;
}

static void find_offsets(const struct layer *layer, const struct tile *tile) {
  const uint32_t width = padded_width(layer);
  const uint32_t height = padded_height(layer);
  for (uint32_t row = 0; row < tile->input_count; row += 1) {
    const uint32_t index = tile->first_input + row;
    const uint32_t kernel_row = index / layer->kernel;
    const uint32_t channel = kernel_row / layer->kernel;
    const uint32_t in_convolution = channel * height * width + (kernel_row % layer->kernel) * width + index % layer->kernel;
    offsets[row] = layer->kind == LAYER_LINEAR ? index : in_convolution;
  }
}

static void begin_layer(struct network_run *run) {
  const struct layer *layer = &run->program->layers[run->layer];
  memset(currents, 0, neurons_of(layer) * sizeof currents[0]);
  memset(&run->counts[run->layer], 0, sizeof run->counts[0]);
  if (layer->padding > 0) pad(layer);
  run->tile = 0;
  run->position = 0;
  find_offsets(layer, &run->program->tiles[layer->first_tile]);
}

static void begin_timestep(struct network_run *run) {
  read_frame(run);
  signal = frame_codes;
  run->layer = 0;
  run->is_between_timesteps = false;
  begin_layer(run);
}

void network_begin(struct network_run *run) {
  const struct layer *last = &run->program->layers[run->program->layer_count - 1];
  memset(membranes, 0, sizeof membranes);
  memset(spikes, 0, sizeof spikes);
  run->timesteps = 0;
  run->stopped_early = false;
  run->confidence_q24 = 0;
  run->nanoseconds = 0;
  run->femtojoules = 0;
  gate_begin(&run->gate, neurons_of(last));
  run->is_between_timesteps = true;
}

/* Collects, plane by plane, which bit lines of a tile are driven at a position. Returns how many there are on all planes. */
static uint32_t gather(const struct layer *layer, const struct tile *tile, uint32_t position) {
  const uint32_t row = position / layer->output_width;
  const uint32_t column = position % layer->output_width;
  const uint8_t *corner = signal + (row * padded_width(layer) + column) * layer->stride;
  uint32_t sum = 0;
  memset(driven_counts, 0, sizeof driven_counts);
  for (uint32_t input = 0; input < tile->input_count; input += 1) {
    uint32_t code = corner[offsets[input]];
    for (uint32_t plane = 0; code != 0; plane += 1, code >>= 1) {
      if ((code & 1u) == 0) continue;
      driven[plane][driven_counts[plane]] = (uint16_t)input;
      driven_counts[plane] += 1;
      sum += 1;
    }
  }
  return sum;
}

/* Adds to int32 as a register does. */
static int32_t add_wrapping(int32_t left, int32_t right) { return (int32_t)((uint32_t)left + (uint32_t)right); }

/* Subtracts the pairs of a conversion, weighs them by their plane and adds them to the position's sums. */
static void recombine(const struct layer *layer, const int32_t *codes, uint32_t position, uint32_t plane) {
  const uint32_t outputs = layer->output_channels;
  const uint32_t stride = positions_of(layer);
  for (uint32_t output = 0; output < outputs; output += 1) {
    int32_t *sum = &currents[output * stride + position];
    *sum = add_wrapping(*sum, (int32_t)((uint32_t)(codes[output] - codes[outputs + output]) << plane));
  }
}

/* Multiplies a tile at a position. Returns how many cells that took. */
static uint32_t work_position(struct network_run *run, const struct layer *layer, const struct tile *tile) {
  static int32_t codes[SOURCE_LINES];
  const uint32_t cells = gather(layer, tile, run->position) * program_lines_of(layer);
  struct board_cost cost = {0, 0};
  struct board_drive drive = {
    .first_bit_line = tile->first_bit_line, .source_lines = run->program->lines + tile->first_line, .line_count = program_lines_of(layer),
    .range = layer->range, .inference_number = run->inference_number, .timestep = run->timesteps, .tile = layer->first_tile + run->tile,
    .position = run->position,
  };
  for (uint32_t plane = 0; plane < layer->drive_bits; plane += 1) {
    if (driven_counts[plane] == 0) continue;
    drive.driven = driven[plane];
    drive.driven_count = driven_counts[plane];
    drive.plane = plane;
    run->counts[run->layer].saturations += board_convert(&drive, codes, &cost);
    run->counts[run->layer].conversions += drive.line_count;
    recombine(layer, codes, run->position, plane);
  }
  array_account(cost.nanoseconds);
  run->nanoseconds += cost.nanoseconds;
  run->femtojoules += cost.femtojoules;
  return cells + tile->input_count;
}

static void fire(struct network_run *run, const struct layer *layer) {
  const uint32_t count = neurons_of(layer);
  int32_t *held = membranes + layer->first_neuron;
  uint8_t *fired = spikes + layer->first_neuron;
  for (uint32_t index = 0; index < count; index += 1) currents[index] = (int32_t)(uint32_t)(uint64_t)scale_value(currents[index], layer->current);
  signal = fired;
  if (layer->neuron_kind != NEURON_LIF) {
    neuron_step_accumulate(held, currents, count, layer->neuron.negative_slope);
  } else {
    run->counts[run->layer].spikes = neuron_step_lif(held, fired, currents, count, &layer->neuron);
  }
  if (layer->pool_size == 1) return;
  neuron_count_pool(fired, layer->output_channels, layer->output_height, layer->output_width, layer->pool_size, pooled);
  signal = pooled;
}

static void finish_timestep(struct network_run *run) {
  uint32_t count;
  gate_add(&run->gate, network_outputs(run, &count));
  run->timesteps += 1;
  if (run->has_early_stop) {
    run->confidence_q24 = gate_confidence(&run->gate, run->early_stop.rule, run->early_stop.confidence);
    run->stopped_early = run->confidence_q24 > run->early_stop.thresholds_q24[run->timesteps - 1] && run->timesteps < run->program->timestep_count;
  }
  /* The next one begins with the next work: until then the counts of this one are there to be told. */
  run->is_between_timesteps = true;
}

/* Moves on behind a position. Returns whether that completed the timestep. */
static bool advance(struct network_run *run) {
  const struct program *program = run->program;
  const struct layer *layer = &program->layers[run->layer];
  run->position += 1;
  if (run->position < positions_of(layer)) return false;
  run->position = 0;
  run->tile += 1;
  if (run->tile < layer->tile_count) {
    find_offsets(layer, &program->tiles[layer->first_tile + run->tile]);
    return false;
  }
  fire(run, layer);
  run->layer += 1;
  if (run->layer < program->layer_count) {
    begin_layer(run);
    return false;
  }
  finish_timestep(run);
  return true;
}

bool network_work(struct network_run *run) {
  if (run->is_between_timesteps) begin_timestep(run);
  for (uint32_t cells = 0; cells < CELLS_PER_STEP;) {
    const struct layer *layer = &run->program->layers[run->layer];
    cells += work_position(run, layer, &run->program->tiles[layer->first_tile + run->tile]);
    if (advance(run)) return true;
  }
  return false;
}

bool network_is_over(const struct network_run *run) { return run->stopped_early || run->timesteps == run->program->timestep_count; }

const int32_t *network_outputs(const struct network_run *run, uint32_t *count) {
  const struct layer *last = &run->program->layers[run->program->layer_count - 1];
  *count = neurons_of(last);
  return membranes + last->first_neuron;
}
