#ifndef PRIME_PROGRAM_H
#define PRIME_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "bulk.h"
#include "limits.h"
#include "neuron.h"
#include "numerics.h"

enum layer_kind { LAYER_CONVOLUTION, LAYER_LINEAR };
enum neuron_kind { NEURON_LIF, NEURON_ACCUMULATE };

struct tile {
  uint32_t first_input;
  uint32_t input_count;
  uint32_t first_bit_line;
  /* In the program's list of lines: the plus lines from first_line on, then the minus lines. */
  uint32_t first_line;
  uint32_t plus_count;
  uint32_t minus_count;
  uint32_t largest_line;
};

struct layer {
  uint32_t kind;
  uint32_t input_channels, input_height, input_width;
  uint32_t output_channels, output_height, output_width;
  uint32_t kernel, stride, padding;
  uint32_t drive_bits;
  uint32_t range;
  uint32_t pool_size;
  uint32_t neuron_kind;
  bool has_current, has_neuron, has_leak, has_negative_slope;
  struct scale current;
  struct neuron neuron;
  uint32_t first_tile;
  uint32_t tile_count;
  /* Where its neurons begin among those of the program. */
  uint32_t first_neuron;
};

struct program {
  uint8_t digest[SHA256_BYTES];
  bool is_loaded;
  uint32_t loaded_at;
  uint32_t timestep_count;
  uint32_t input_channels, input_height, input_width;
  uint32_t layer_count, tile_count, line_count;
  struct layer layers[MAXIMUM_LAYERS];
  struct tile tiles[PROGRAM_TILES];
  uint16_t lines[PROGRAM_LINES];
};

/* Forgets all programs. */
void program_initialise(void);

/* Reads a program out of its object and checks that it can run here. Otherwise `problem` says why not, naming the field and its range. */
bool program_load(const struct bulk_object *object, char *problem, uint32_t room);

/* A program that was loaded, or NULL. */
const struct program *program_find(const uint8_t *digest, size_t digest_bytes);

/* Source lines that a layer's multiplies convert. */
uint32_t program_lines_of(const struct layer *layer);

#endif
