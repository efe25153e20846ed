/* What a program must be to run here: the rules of the simulator, and the sizes of this board's pools. */
#include "program_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "board.h"

#define MAXIMUM_PIXELS 256u
#define MAXIMUM_DRIVE_BITS 4u
#define MAXIMUM_SCALE_MULTIPLIER (1u << 26)
#define MAXIMUM_SCALE_SHIFT 52u

static char *problem_text;
static uint32_t problem_room;

static bool refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool refuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(problem_text, problem_room, format, arguments);
  va_end(arguments);
  return false;
}

static bool within(const char *field, const char *name, uint64_t value, uint64_t minimum, uint64_t maximum) {
  if (value >= minimum && value <= maximum) return true;
  return refuse("%s%s is %" PRIu64 "; the range is %" PRIu64 " to %" PRIu64, field, name, value, minimum, maximum);
}

static bool check_scale(const char *field, const char *name, bool is_there, struct scale scale) {
  char part[40];
  if (!is_there) return refuse("%s%s is missing", field, name);
  (void)snprintf(part, sizeof part, "%s.multiplier", name);
  if (!within(field, part, scale.multiplier, 0, MAXIMUM_SCALE_MULTIPLIER)) return false;
  (void)snprintf(part, sizeof part, "%s.shift", name);
  return within(field, part, scale.shift, 0, MAXIMUM_SCALE_SHIFT);
}

static bool check_lines(const char *field, const struct program *program, const struct tile *tile) {
  uint8_t seen[SOURCE_LINES / 8];
  memset(seen, 0, sizeof seen);
  if (!within(field, " line", tile->largest_line, 0, SOURCE_LINES - 1)) return false;
  const uint16_t *lines = program->lines + tile->first_line;
  for (uint32_t index = 0; index < tile->plus_count + tile->minus_count; index += 1) {
    const uint8_t bit = (uint8_t)(1u << (lines[index] & 7u));
    if ((seen[lines[index] >> 3] & bit) != 0) return refuse("%s names a source line twice", field);
    seen[lines[index] >> 3] = (uint8_t)(seen[lines[index] >> 3] | bit);
  }
  return true;
}

static bool check_tile(const char *field, const struct program *program, const struct tile *tile, uint32_t outputs) {
  return within(field, ".inputCount", tile->input_count, 1, BIT_LINES) &&
         within(field, ".firstBitLine", tile->first_bit_line, 0, BIT_LINES - tile->input_count) &&
         within(field, ".plusLines.length", tile->plus_count, outputs, outputs) &&
         within(field, ".minusLines.length", tile->minus_count, outputs, outputs) && check_lines(field, program, tile);
}

/* Every input of a layer is on exactly one bit line of its tiles. */
static bool check_tiles(const char *field, const struct program *program, const struct layer *layer, uint32_t inputs) {
  char part[56];
  uint32_t next = 0;
  for (uint32_t index = 0; index < layer->tile_count; index += 1) {
    (void)snprintf(part, sizeof part, "%s.tiles[%" PRIu32 "]", field, index);
    if (!check_tile(part, program, &program->tiles[layer->first_tile + index], layer->output_channels)) return false;
  }
  for (uint32_t index = 0; index < layer->tile_count; index += 1) {
    const struct tile *tile = &program->tiles[layer->first_tile + index];
    if (tile->first_input != next) return refuse("%s.tiles begin at input %" PRIu32 "; %" PRIu32 " is next", field, tile->first_input, next);
    next += tile->input_count;
  }
  return within(field, " inputs on its tiles", next, inputs, inputs);
}

static uint32_t pixels_out(uint32_t pixels, const struct layer *layer) {
  if (layer->kind != LAYER_CONVOLUTION) return 1;
  return (pixels + 2 * layer->padding - layer->kernel) / layer->stride + 1;
}

static bool check_input(const char *field, const struct layer *layer) {
  if (!(within(field, ".kind", layer->kind, 0, LAYER_LINEAR) && within(field, ".inputChannels", layer->input_channels, 1, MAXIMUM_LAYER_NEURONS) &&
        within(field, ".inputHeight", layer->input_height, 1, MAXIMUM_PIXELS) && within(field, ".inputWidth", layer->input_width, 1, MAXIMUM_PIXELS) &&
        within(field, ".kernel", layer->kernel, 1, 16) && within(field, ".stride", layer->stride, 1, 16) &&
        within(field, ".padding", layer->padding, 0, 8))) {
    return false;
  }
  const uint32_t height = layer->input_height + 2 * layer->padding;
  const uint32_t width = layer->input_width + 2 * layer->padding;
  const uint32_t shorter = height < width ? height : width;
  if (layer->kind == LAYER_CONVOLUTION && !within(field, ".kernel", layer->kernel, 1, shorter)) return false;
  return within(field, " inputs with padding", (uint64_t)layer->input_channels * height * width, 1, PADDED_INPUTS);
}

static bool check_output(const char *field, const struct layer *layer, uint32_t ranges) {
  const uint32_t height = pixels_out(layer->input_height, layer);
  const uint32_t width = pixels_out(layer->input_width, layer);
  const uint32_t shorter = height < width ? height : width;
  return within(field, ".outputChannels", layer->output_channels, 1, SOURCE_LINES / 2) &&
         within(field, ".outputHeight", layer->output_height, height, height) && within(field, ".outputWidth", layer->output_width, width, width) &&
         within(field, " neurons", (uint64_t)layer->output_channels * height * width, 1, MAXIMUM_LAYER_NEURONS) &&
         within(field, ".driveBits", layer->drive_bits, 1, MAXIMUM_DRIVE_BITS) && within(field, ".range", layer->range, 0, ranges - 1) &&
         within(field, ".poolSize", layer->pool_size, 1, shorter < 3 ? shorter : 3);
}

static bool check_layer(const char *field, const struct program *program, const struct layer *layer) {
  if (!check_input(field, layer) || !check_output(field, layer, 2)) return false;
  if (!check_scale(field, ".current", layer->has_current, layer->current)) return false;
  if (!layer->has_neuron) return refuse("%s.neuron is missing", field);
  if (!check_scale(field, ".leak", layer->has_leak, layer->neuron.leak)) return false;
  if (!check_scale(field, ".negativeSlope", layer->has_negative_slope, layer->neuron.negative_slope)) return false;
  if (!within(field, ".tiles.length", layer->tile_count, 1, MAXIMUM_TILES_PER_LAYER)) return false;
  const uint32_t kernels = layer->kind == LAYER_CONVOLUTION ? layer->kernel * layer->kernel : 1;
  return check_tiles(field, program, layer, layer->input_channels * kernels);
}

/* Bits of a number: what a drive code of at most this value needs. */
static uint32_t bits_of(uint32_t value) {
  uint32_t bits = 0;
  for (; value != 0; value >>= 1) bits += 1;
  return bits;
}

bool program_check(struct program *program, char *problem, uint32_t room) {
  problem_text = problem;
  problem_room = room;
  const uint64_t inputs = (uint64_t)program->input_channels * program->input_height * program->input_width;
  const bool is_small = program->input_channels <= MAXIMUM_LAYER_NEURONS && program->input_height <= MAXIMUM_LAYER_NEURONS;
  if (!within("", "timestepCount", program->timestep_count, 1, MAXIMUM_TIMESTEPS)) return false;
  if (!within("", "layers.length", program->layer_count, 1, MAXIMUM_LAYERS)) return false;
  if (!within("", "inputs", is_small ? inputs : UINT32_MAX, 1, MAXIMUM_LAYER_NEURONS)) return false;
  uint64_t values = inputs;
  uint32_t bits = MAXIMUM_DRIVE_BITS;
  uint32_t neurons = 0;
  for (uint32_t index = 0; index < program->layer_count; index += 1) {
    struct layer *layer = &program->layers[index];
    char field[24];
    (void)snprintf(field, sizeof field, "layers[%" PRIu32 "]", index);
    if (!check_layer(field, program, layer)) return false;
    const uint64_t taken = (uint64_t)layer->input_channels * layer->input_height * layer->input_width;
    if (!within(field, " inputs", taken, values, values)) return false;
    if (!within(field, ".driveBits", layer->drive_bits, bits, MAXIMUM_DRIVE_BITS)) return false;
    values = (uint64_t)layer->output_channels * (layer->output_height / layer->pool_size) * (layer->output_width / layer->pool_size);
    bits = bits_of(layer->pool_size * layer->pool_size);
    layer->first_neuron = neurons;
    neurons += layer->output_channels * layer->output_height * layer->output_width;
  }
  const struct layer *last = &program->layers[program->layer_count - 1];
  const uint32_t outputs = last->output_channels * last->output_height * last->output_width;
  return within("", "neurons of all layers", neurons, 1, PROGRAM_NEURONS) && within("", "outputs", outputs, 1, MAXIMUM_OUTPUTS);
}
