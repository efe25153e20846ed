/* Programs by their digest: a few, decoded once from their objects, field by field as the bytes pass. */
#include "program.h"

#include <inttypes.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "bulk_stream.h"
#include "macro/v1/macro.pb.h"
#include "program_check.h"

/* One more than are kept, so that a program that is refused costs none. */
static struct program programs[PROGRAMS + 1];
static uint32_t loads;

void program_initialise(void) {
  for (uint32_t index = 0; index <= PROGRAMS; index += 1) programs[index].is_loaded = false;
  loads = 0;
}

static struct scale scale_of(const macro_v1_Scale *scale) { return (struct scale){.multiplier = scale->multiplier, .shift = scale->shift}; }

struct tile_lines {
  struct program *program;
  struct tile *tile;
  /* Lines that must not have begun: plus lines stand before minus lines in the list. */
  const struct tile_lines *later;
  uint32_t count;
};

static bool take_line(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  struct tile_lines *lines = *argument;
  struct program *program = lines->program;
  if (lines->later != NULL && lines->later->count > 0) PB_RETURN_ERROR(stream, "plusLines stand behind minusLines");
  while (stream->bytes_left > 0) {
    uint32_t line;
    if (!pb_decode_varint32(stream, &line)) return false;
    if (program->line_count == PROGRAM_LINES) PB_RETURN_ERROR(stream, "more source lines than this board keeps");
    if (line > lines->tile->largest_line) lines->tile->largest_line = line;
    program->lines[program->line_count] = line < SOURCE_LINES ? (uint16_t)line : 0;
    program->line_count += 1;
    lines->count += 1;
  }
  return true;
}

static bool take_tile(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  struct program *program = *argument;
  if (program->tile_count == PROGRAM_TILES) PB_RETURN_ERROR(stream, "more tiles than this board keeps");
  struct tile *tile = &program->tiles[program->tile_count];
  memset(tile, 0, sizeof *tile);
  tile->first_line = program->line_count;
  struct tile_lines minus = {.program = program, .tile = tile};
  struct tile_lines plus = {.program = program, .tile = tile, .later = &minus};
  macro_v1_Tile message = macro_v1_Tile_init_zero;
  message.plus_lines = (pb_callback_t){.funcs.decode = take_line, .arg = &plus};
  message.minus_lines = (pb_callback_t){.funcs.decode = take_line, .arg = &minus};
  if (!pb_decode(stream, macro_v1_Tile_fields, &message)) return false;
  tile->first_input = message.first_input;
  tile->input_count = message.input_count;
  tile->first_bit_line = message.first_bit_line;
  tile->plus_count = plus.count;
  tile->minus_count = minus.count;
  program->tile_count += 1;
  return true;
}

static void copy_pixels(struct layer *layer, const macro_v1_Layer *message) {
  layer->kind = (uint32_t)message->kind;
  layer->input_channels = message->input_channels;
  layer->input_height = message->input_height;
  layer->input_width = message->input_width;
  layer->output_channels = message->output_channels;
  layer->output_height = message->output_height;
  layer->output_width = message->output_width;
  layer->kernel = message->kernel;
  layer->stride = message->stride;
  layer->padding = message->padding;
  layer->drive_bits = message->drive_bits;
  layer->range = message->range;
  layer->pool_size = message->pool_size;
}

static void copy_neuron(struct layer *layer, const macro_v1_Layer *message) {
  layer->has_current = message->has_current;
  layer->current = scale_of(&message->current);
  layer->has_neuron = message->has_neuron;
  layer->neuron_kind = (uint32_t)message->neuron.kind;
  layer->neuron.threshold = message->neuron.threshold;
  layer->has_leak = message->neuron.has_leak;
  layer->neuron.leak = scale_of(&message->neuron.leak);
  layer->has_negative_slope = message->neuron.has_negative_slope;
  layer->neuron.negative_slope = scale_of(&message->neuron.negative_slope);
}

static bool take_layer(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  struct program *program = *argument;
  if (program->layer_count == MAXIMUM_LAYERS) PB_RETURN_ERROR(stream, "layers.length is above 8");
  struct layer *layer = &program->layers[program->layer_count];
  memset(layer, 0, sizeof *layer);
  layer->first_tile = program->tile_count;
  macro_v1_Layer message = macro_v1_Layer_init_zero;
  message.tiles = (pb_callback_t){.funcs.decode = take_tile, .arg = program};
  if (!pb_decode(stream, macro_v1_Layer_fields, &message)) return false;
  copy_pixels(layer, &message);
  copy_neuron(layer, &message);
  layer->tile_count = program->tile_count - layer->first_tile;
  program->layer_count += 1;
  return true;
}

static bool decode(struct program *program, const struct bulk_object *object, char *problem, uint32_t room) {
  program->layer_count = 0;
  program->tile_count = 0;
  program->line_count = 0;
  struct bulk_stream source;
  pb_istream_t stream = bulk_stream(&source, object);
  macro_v1_Program message = macro_v1_Program_init_zero;
  message.layers = (pb_callback_t){.funcs.decode = take_layer, .arg = program};
  if (!pb_decode(&stream, macro_v1_Program_fields, &message)) {
    (void)snprintf(problem, room, "no Program: %s", PB_GET_ERROR(&stream));
    return false;
  }
  program->timestep_count = message.timestep_count;
  program->input_channels = message.input_channels;
  program->input_height = message.input_height;
  program->input_width = message.input_width;
  return true;
}

static struct program *loaded(const uint8_t *digest) {
  for (uint32_t index = 0; index <= PROGRAMS; index += 1) {
    if (programs[index].is_loaded && memcmp(programs[index].digest, digest, SHA256_BYTES) == 0) return &programs[index];
  }
  return NULL;
}

static struct program *unused(void) {
  for (uint32_t index = 0; index <= PROGRAMS; index += 1) {
    if (!programs[index].is_loaded) return &programs[index];
  }
  return &programs[0];
}

static void forget_oldest(void) {
  struct program *oldest = NULL;
  uint32_t count = 0;
  for (uint32_t index = 0; index <= PROGRAMS; index += 1) {
    if (!programs[index].is_loaded) continue;
    count += 1;
    if (oldest == NULL || programs[index].loaded_at < oldest->loaded_at) oldest = &programs[index];
  }
  if (count > PROGRAMS) oldest->is_loaded = false;
}

bool program_load(const struct bulk_object *object, char *problem, uint32_t room) {
  struct program *program = loaded(object->digest);
  if (program == NULL) {
    program = unused();
    char reason[200];
    if (!decode(program, object, problem, room)) return false;
    if (!program_check(program, reason, sizeof reason)) {
      (void)snprintf(problem, room, "the program's %s", reason);
      return false;
    }
    memcpy(program->digest, object->digest, SHA256_BYTES);
    program->is_loaded = true;
  }
  loads += 1;
  program->loaded_at = loads;
  forget_oldest();
  return true;
}

const struct program *program_find(const uint8_t *digest, size_t digest_bytes) {
  return digest_bytes == SHA256_BYTES ? loaded(digest) : NULL;
}

uint32_t program_lines_of(const struct layer *layer) { return 2 * layer->output_channels; }
