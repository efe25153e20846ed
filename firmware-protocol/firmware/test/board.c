#include "board.h"

#include <string.h>

#include "array.h"
#include "check.h"
#include "test_board.h"

struct test_board test_board;

static const struct board_description description = {
  .chip_id = "test-1", .profile = "", .cell_unit_nanosiemens = 1, .converter_bits = 32, .ranges = {{"multiply", 1, 1}, {"cell", 1, 1}},
  .settling_nanoseconds = 2000, .reset_amplitude_maximum_millivolts = 2500, .reset_width_maximum_nanoseconds = 1000000,
  .reset_pulses_per_cell_maximum = 2, .total_current_maximum_microamperes = 900,
  .temperature_minimum_celsius = 10, .temperature_maximum_celsius = 40,
};

const struct board_description *board_description(void) { return &description; }

size_t board_uart_read(uint8_t *bytes, size_t room) {
  const size_t taken = test_board.to_board_bytes < room ? test_board.to_board_bytes : room;
  memcpy(bytes, test_board.to_board, taken);
  memmove(test_board.to_board, test_board.to_board + taken, test_board.to_board_bytes - taken);
  test_board.to_board_bytes -= taken;
  return taken;
}

size_t board_uart_write(const uint8_t *bytes, size_t length) {
  const size_t room = sizeof test_board.to_host - test_board.to_host_bytes;
  const size_t taken = length < room ? length : room;
  memcpy(test_board.to_host + test_board.to_host_bytes, bytes, taken);
  test_board.to_host_bytes += taken;
  return taken;
}

uint64_t board_microseconds(void) { return test_board.now; }

void board_random(uint8_t *bytes, size_t length) {
  for (size_t index = 0; index < length; index += 1) bytes[index] = (uint8_t)random_word();
}

uint32_t board_convert(const struct board_drive *drive, int32_t *codes, struct board_cost *cost) {
  for (uint32_t line = 0; line < drive->line_count; line += 1) codes[line] = (int32_t)(drive->driven_count * (drive->source_lines[line] + 1u));
  cost->nanoseconds += 10;
  cost->femtojoules += drive->line_count;
  return 0;
}

void board_begin_read(void) {}

uint16_t board_read_cell(uint32_t cell, uint32_t averages, struct board_cost *cost) {
  cost->nanoseconds += averages;
  test_board.now += test_board.read_microseconds;
  return (uint16_t)(cell % TOP_CODE);
}

void board_reset_cell(uint32_t cell, const struct board_pulse *pulse) {
  (void)cell;
  test_board.last_pulse = *pulse;
  test_board.pulses += 1;
}

void board_place_pair(uint32_t plus, uint32_t minus, int32_t difference_nanosiemens, uint8_t kept) {
  (void)plus;
  (void)minus;
  (void)difference_nanosiemens;
  (void)kept;
}

bool board_temperature(int32_t *millicelsius) {
  *millicelsius = test_board.millicelsius;
  return test_board.has_temperature;
}

void board_bias_off(void) { test_board.bias_offs += 1; }

bool board_persist(const struct array_record *record) {
  (void)record;
  test_board.persists += 1;
  return !test_board.fails_to_persist;
}

void board_restore(struct array_record *record) { memset(record->states, CELL_FORMED, sizeof record->states); }
