/*
 * LoadSnapshot, for simulated arrays: the pairs of a network, tile by tile. The object is read twice, so that nothing is changed where a later tile
 * is wrong, and no more than one tile is ever held.
 */
#include "limits.h"
#include "method.h"

#if HAS_LOAD_SNAPSHOT

#include <inttypes.h>
#include <pb_decode.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array.h"
#include "board.h"
#include "bulk_stream.h"

/* More pairs than a tile of the array has: two source lines each. */
#define TILE_PAIRS (BIT_LINES * SOURCE_LINES / 2u)

struct line_list {
  uint32_t count;
  uint32_t largest;
  uint16_t lines[SOURCE_LINES];
};

static struct {
  uint32_t first_bit_line;
  struct line_list plus;
  struct line_list minus;
  uint32_t difference_count;
  uint32_t kept_count;
  int32_t differences[TILE_PAIRS];
  uint8_t kept[TILE_PAIRS];
} tile;

static char problem[160];

static bool take_line(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  struct line_list *list = *argument;
  while (stream->bytes_left > 0) {
    uint32_t line;
    if (!pb_decode_varint32(stream, &line)) return false;
    if (list->count == SOURCE_LINES) PB_RETURN_ERROR(stream, "a tile with more lines than the array");
    if (line > list->largest) list->largest = line;
    list->lines[list->count] = line < SOURCE_LINES ? (uint16_t)line : 0;
    list->count += 1;
  }
  return true;
}

static bool take_difference(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  (void)argument;
  while (stream->bytes_left > 0) {
    int64_t difference;
    if (!pb_decode_svarint(stream, &difference)) return false;
    if (tile.difference_count == TILE_PAIRS) PB_RETURN_ERROR(stream, "a tile with more pairs than the array");
    tile.differences[tile.difference_count] = (int32_t)difference;
    tile.difference_count += 1;
  }
  return true;
}

static bool take_kept(pb_istream_t *stream, const pb_field_iter_t *field, void **argument) {
  (void)field;
  (void)argument;
  if (stream->bytes_left > TILE_PAIRS) PB_RETURN_ERROR(stream, "a tile with more pairs than the array");
  tile.kept_count = (uint32_t)stream->bytes_left;
  return pb_read(stream, tile.kept, stream->bytes_left);
}

static bool decode_tile(pb_istream_t *stream) {
  macro_v1_SnapshotTile message = macro_v1_SnapshotTile_init_zero;
  memset(&tile.plus, 0, sizeof tile.plus);
  memset(&tile.minus, 0, sizeof tile.minus);
  tile.difference_count = 0;
  tile.kept_count = 0;
  message.plus_lines = (pb_callback_t){.funcs.decode = take_line, .arg = &tile.plus};
  message.minus_lines = (pb_callback_t){.funcs.decode = take_line, .arg = &tile.minus};
  message.difference_nanosiemens = (pb_callback_t){.funcs.decode = take_difference};
  message.kept = (pb_callback_t){.funcs.decode = take_kept};
  if (!pb_decode(stream, macro_v1_SnapshotTile_fields, &message)) return false;
  tile.first_bit_line = message.first_bit_line;
  return true;
}

static bool refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool refuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(problem, sizeof problem, format, arguments);
  va_end(arguments);
  return false;
}

static bool check_tile(uint32_t index) {
  const uint32_t lines = tile.plus.count;
  if (lines == 0 || lines != tile.minus.count) {
    return refuse("tiles[%" PRIu32 "] has %" PRIu32 " plus and %" PRIu32 " minus lines", index, lines, tile.minus.count);
  }
  if (tile.kept_count % lines != 0 || tile.difference_count != tile.kept_count) return refuse("tiles[%" PRIu32 "] does not fill its rows", index);
  const uint64_t end = (uint64_t)tile.first_bit_line + tile.kept_count / lines;
  if (end > BIT_LINES) return refuse("tiles[%" PRIu32 "] ends at bit line %" PRIu64 "; the limit is %u", index, end, BIT_LINES);
  if (tile.plus.largest >= SOURCE_LINES || tile.minus.largest >= SOURCE_LINES) {
    return refuse("tiles[%" PRIu32 "] names a source line above %u", index, SOURCE_LINES - 1);
  }
  return true;
}

static uint32_t place_tile(void) {
  const uint32_t lines = tile.plus.count;
  uint8_t *states = array_record()->states;
  for (uint32_t index = 0; index < tile.kept_count; index += 1) {
    const uint32_t first = (tile.first_bit_line + index / lines) * SOURCE_LINES;
    const uint32_t plus = first + tile.plus.lines[index % lines];
    const uint32_t minus = first + tile.minus.lines[index % lines];
    const uint8_t state = tile.kept[index] == 0 ? CELL_RESET : CELL_FORMED;
    board_place_pair(plus, minus, tile.differences[index], tile.kept[index]);
    states[plus] = state;
    states[minus] = state;
  }
  return tile.kept_count;
}

/* Goes through the tiles of a Snapshot, checks each, and places its pairs where that is asked. */
static bool walk(const struct bulk_object *object, bool is_placing, uint32_t *pairs) {
  struct bulk_stream source;
  pb_istream_t stream = bulk_stream(&source, object);
  pb_wire_type_t type;
  uint32_t field;
  bool is_end = false;
  for (uint32_t index = 0; pb_decode_tag(&stream, &type, &field, &is_end); index += 1) {
    if (field != macro_v1_Snapshot_tiles_tag || type != PB_WT_STRING) {
      if (!pb_skip_field(&stream, type)) return refuse("no Snapshot: %s", PB_GET_ERROR(&stream));
      continue;
    }
    pb_istream_t inner;
    /* Without a substream `inner` holds nothing, not even an error. */
    if (!pb_make_string_substream(&stream, &inner)) return refuse("no Snapshot: %s", PB_GET_ERROR(&stream));
    if (!decode_tile(&inner)) return refuse("no Snapshot: %s", PB_GET_ERROR(&inner));
    if (!pb_close_string_substream(&stream, &inner)) return refuse("no Snapshot: %s", PB_GET_ERROR(&stream));
    if (!check_tile(index)) return false;
    if (is_placing) *pairs += place_tile();
  }
  return is_end || refuse("no Snapshot: %s", PB_GET_ERROR(&stream));
}

bool load_snapshot_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_LoadSnapshot *load = &request->method.load_snapshot;
  const struct bulk_object *object = method_object(final, "sha256", load->sha256.bytes, load->sha256.size);
  if (object == NULL) return false;
  if (walk(object, false, NULL)) return true;
  return method_refuse(final, "REQUEST_INVALID", "%s", problem);
}

enum step load_snapshot_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  (void)progress;
  const macro_v1_LoadSnapshot *load = &request->method.load_snapshot;
  const struct bulk_object *object = method_object(final, "sha256", load->sha256.bytes, load->sha256.size);
  if (object == NULL) return STEP_FINAL;
  macro_v1_LoadSnapshotResult *result = &final->result.load_snapshot;
  final->which_result = macro_v1_Final_load_snapshot_tag;
  array_begin_change();
  (void)walk(object, true, &result->pairs);
  if (!board_persist(array_record())) {
    method_fail(final, "INTERNAL_ERROR", macro_v1_Outcome_UNKNOWN, "the record of the array could not be kept");
    return STEP_FINAL;
  }
  memcpy(result->array_state, array_state(), SHA256_BYTES);
  return STEP_FINAL;
}

#endif
