/* ReadCells and ResetCells: the array cell by cell. */
#include <inttypes.h>
#include <string.h>

#include "array.h"
#include "board.h"
#include "bulk.h"
#include "method.h"

/* Bit lines between two reports of a read; they share one count of the chip's operation counter. */
#define READ_GROUP_LINES 32u
/* Pulses of one step: few, so that ESTOP comes between. */
#define PULSES_PER_STEP 32u
#define PULSES_PER_REPORT 8192u

static struct {
  struct bulk_object *map;
  uint32_t lines_done;
  uint32_t saturated_cells;
  struct board_cost cost;
} reading;

bool read_cells_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_ReadCells *read = &request->method.read_cells;
  const macro_v1_Region *region = &read->region;
  if (!read->has_region) return method_refuse(final, "REQUEST_INVALID", "region is missing");
  const uint32_t bit_lines = region->first_bit_line < BIT_LINES ? BIT_LINES - region->first_bit_line : 0;
  const uint32_t source_lines = region->first_source_line < SOURCE_LINES ? SOURCE_LINES - region->first_source_line : 0;
  if (!method_within(final, "region.bitLines", region->bit_lines, 1, bit_lines)) return false;
  if (!method_within(final, "region.sourceLines", region->source_lines, 1, source_lines)) return false;
  if (!method_within(final, "averages", read->averages, 1, MAXIMUM_AVERAGES)) return false;
  memset(&reading, 0, sizeof reading);
  reading.map = bulk_make(2 * region->bit_lines * region->source_lines);
  if (reading.map == NULL) return method_refuse(final, "DEVICE_BUSY", "the objects in use leave no room for the map");
  bulk_pin(reading.map);
  return true;
}

static void read_bit_line(const macro_v1_ReadCells *read) {
  uint8_t bytes[2 * SOURCE_LINES];
  const macro_v1_Region *region = &read->region;
  const uint32_t first = (region->first_bit_line + reading.lines_done) * SOURCE_LINES + region->first_source_line;
  struct board_cost cost = {0, 0};
  for (uint32_t line = 0; line < region->source_lines; line += 1) {
    const uint16_t code = board_read_cell(first + line, read->averages, &cost);
    if (code == TOP_CODE) reading.saturated_cells += 1;
    bytes[2 * line] = (uint8_t)(code & 0xffu);
    bytes[2 * line + 1] = (uint8_t)(code >> 8);
  }
  bulk_append(reading.map, bytes, 2 * region->source_lines);
  array_account(cost.nanoseconds);
  reading.cost.nanoseconds += cost.nanoseconds;
  reading.lines_done += 1;
}

static enum step finish_read(macro_v1_Final *final) {
  macro_v1_ReadCellsResult *result = &final->result.read_cells;
  final->which_result = macro_v1_Final_read_cells_tag;
  bulk_unpin(reading.map);
  const struct bulk_object *map = bulk_finish(reading.map);
  memcpy(result->sha256, map->digest, SHA256_BYTES);
  result->size_bytes = map->size_bytes;
  result->saturated_cells = reading.saturated_cells;
  result->operation_nanoseconds = (double)reading.cost.nanoseconds;
  return STEP_FINAL;
}

enum step read_cells_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  const macro_v1_ReadCells *read = &request->method.read_cells;
  if (reading.lines_done == read->region.bit_lines) return finish_read(final);
  if (reading.lines_done % READ_GROUP_LINES == 0) board_begin_read();
  read_bit_line(read);
  if (reading.lines_done % READ_GROUP_LINES != 0 && reading.lines_done < read->region.bit_lines) return STEP_WORKING;
  progress->which_body = macro_v1_Progress_cells_tag;
  progress->body.cells.done = reading.lines_done * read->region.source_lines;
  progress->body.cells.total = read->region.bit_lines * read->region.source_lines;
  return STEP_PROGRESS;
}

macro_v1_Outcome read_cells_abandon(void) {
  bulk_unpin(reading.map);
  bulk_drop(reading.map);
  return macro_v1_Outcome_NOT_APPLIED;
}

static struct {
  uint8_t bitmap[CELLS / 8];
  uint32_t next_cell;
  uint32_t pulses;
  uint32_t total;
  uint64_t nanoseconds;
} resetting;

static bool is_selected(uint32_t cell) { return (((uint32_t)resetting.bitmap[cell >> 3] >> (cell & 7u)) & 1u) == 1; }

static bool check_budget(macro_v1_Final *final) {
  const uint32_t limit = board_description()->reset_pulses_per_cell_maximum;
  for (uint32_t cell = 0; cell < CELLS; cell += 1) {
    if (!is_selected(cell)) continue;
    const uint32_t pulses = array_record()->pulse_counts[cell];
    if (pulses >= limit) {
      return method_refuse(final, "PULSE_REFUSED", "cell %" PRIu32 " has had %" PRIu32 " pulses; the limit is %" PRIu32, cell, pulses, limit);
    }
    resetting.total += 1;
  }
  return true;
}

bool reset_cells_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_ResetCells *reset = &request->method.reset_cells;
  const struct bulk_object *object = method_object(final, "cellsSha256", reset->cells_sha256.bytes, reset->cells_sha256.size);
  if (object == NULL) return false;
  char problem[96];
  array_check_pulse(problem, sizeof problem, reset->amplitude_millivolts, reset->width_nanoseconds);
  if (problem[0] != '\0') return method_refuse(final, "PULSE_REFUSED", "%s", problem);
  memset(&resetting, 0, sizeof resetting);
  if (object->size_bytes != sizeof resetting.bitmap) {
    return method_refuse(final, "REQUEST_INVALID", "the bitmap has %" PRIu32 " bytes; it has %u", object->size_bytes, CELLS / 8);
  }
  struct bulk_cursor cursor;
  bulk_seek(&cursor, object, 0);
  (void)bulk_read(&cursor, resetting.bitmap, sizeof resetting.bitmap);
  if (!check_budget(final)) return false;
  array_begin_change();
  /* The epoch is kept before the first pulse: after a cut of power nobody may take the array for what it was. */
  if (board_persist(array_record())) return true;
  method_fail(final, "INTERNAL_ERROR", macro_v1_Outcome_NOT_APPLIED, "the record of the array could not be kept");
  return false;
}

static enum step finish_reset(macro_v1_Final *final) {
  macro_v1_ResetCellsResult *result = &final->result.reset_cells;
  board_bias_off();
  if (!board_persist(array_record())) {
    method_fail(final, "INTERNAL_ERROR", macro_v1_Outcome_UNKNOWN, "the record of the array could not be kept");
    return STEP_FINAL;
  }
  final->which_result = macro_v1_Final_reset_cells_tag;
  result->pulses = resetting.pulses;
  result->cells = resetting.pulses;
  memcpy(result->array_state, array_state(), SHA256_BYTES);
  result->operation_nanoseconds = (double)resetting.nanoseconds;
  return STEP_FINAL;
}

enum step reset_cells_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  const macro_v1_ResetCells *reset = &request->method.reset_cells;
  const uint64_t nanoseconds = (uint64_t)reset->width_nanoseconds + board_description()->settling_nanoseconds;
  for (uint32_t pulses = 0; pulses < PULSES_PER_STEP && resetting.pulses < resetting.total; resetting.next_cell += 1) {
    if (!is_selected(resetting.next_cell)) continue;
    array_reset_cell(resetting.next_cell, reset->amplitude_millivolts, reset->width_nanoseconds);
    array_account(nanoseconds);
    resetting.nanoseconds += nanoseconds;
    resetting.pulses += 1;
    pulses += 1;
  }
  if (resetting.pulses == resetting.total) return finish_reset(final);
  if (resetting.pulses % PULSES_PER_REPORT != 0) return STEP_WORKING;
  progress->which_body = macro_v1_Progress_cells_tag;
  progress->body.cells.done = resetting.pulses;
  progress->body.cells.total = resetting.total;
  return STEP_PROGRESS;
}

macro_v1_Outcome reset_cells_abandon(void) {
  board_bias_off();
  if (!board_persist(array_record())) return macro_v1_Outcome_UNKNOWN;
  return resetting.pulses > 0 ? macro_v1_Outcome_APPLIED : macro_v1_Outcome_NOT_APPLIED;
}
