/* The record of what was done to the array, and the envelope that every pulse must lie in. */
#include "array.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sha256.h"

static struct array_record record;
static uint8_t state_digest[SHA256_BYTES];
static uint32_t digest_epoch;
static bool has_digest;

struct array_record *array_record(void) { return &record; }

void array_initialise(void) {
  memset(&record, 0, sizeof record);
  has_digest = false;
  board_restore(&record);
}

void array_begin_change(void) { record.epoch += 1; }

void array_reset_cell(uint32_t cell, uint32_t amplitude_millivolts, uint32_t width_nanoseconds) {
  record.pulse_counts[cell] = (uint16_t)(record.pulse_counts[cell] + 1);
  record.pulses += 1;
  if (record.states[cell] != CELL_PRISTINE) record.states[cell] = CELL_RESET;
  const struct board_pulse pulse = {amplitude_millivolts, width_nanoseconds, board_description()->total_current_maximum_microamperes};
  board_reset_cell(cell, &pulse);
  has_digest = false;
}

void array_account(uint64_t nanoseconds) { record.operation_nanoseconds += nanoseconds; }

static void add_pulse_counts(struct sha256 *hash) {
  uint8_t bytes[2 * SOURCE_LINES];
  for (uint32_t first = 0; first < CELLS; first += SOURCE_LINES) {
    for (uint32_t line = 0; line < SOURCE_LINES; line += 1) {
      bytes[2 * line] = (uint8_t)(record.pulse_counts[first + line] & 0xffu);
      bytes[2 * line + 1] = (uint8_t)(record.pulse_counts[first + line] >> 8);
    }
    sha256_add(hash, bytes, sizeof bytes);
  }
}

const uint8_t *array_state(void) {
  if (has_digest && digest_epoch == record.epoch) return state_digest;
  const char *chip_id = board_description()->chip_id;
  struct sha256 hash;
  sha256_begin(&hash);
  sha256_add(&hash, (const uint8_t *)chip_id, strlen(chip_id));
  uint8_t epoch[4];
  for (unsigned index = 0; index < 4; index += 1) epoch[index] = (uint8_t)((record.epoch >> (8 * index)) & 0xffu);
  sha256_add(&hash, epoch, sizeof epoch);
  sha256_add(&hash, record.states, sizeof record.states);
  add_pulse_counts(&hash);
  sha256_end(&hash, state_digest);
  digest_epoch = record.epoch;
  has_digest = true;
  return state_digest;
}

static bool is_outside(char *text, uint32_t room, const char *field, uint32_t value, uint32_t maximum) {
  if (value >= 1 && value <= maximum) return false;
  (void)snprintf(text, room, "%s is %" PRIu32 "; the range is 1 to %" PRIu32, field, value, maximum);
  return true;
}

static void check_temperature(char *text, uint32_t room) {
  const struct board_description *board = board_description();
  int32_t now = 0;
  if (!board_temperature(&now)) return;
  if (now >= 1000 * board->temperature_minimum_celsius && now <= 1000 * board->temperature_maximum_celsius) return;
  const uint32_t size = now < 0 ? 0u - (uint32_t)now : (uint32_t)now;
  (void)snprintf(text, room, "temperatureCelsius is %s%" PRIu32 ".%03" PRIu32 "; the range is %" PRId32 " to %" PRId32, now < 0 ? "-" : "", size / 1000u,
                 size % 1000u, board->temperature_minimum_celsius, board->temperature_maximum_celsius);
}

void array_check_pulse(char *text, uint32_t room, uint32_t amplitude_millivolts, uint32_t width_nanoseconds) {
  const struct board_description *board = board_description();
  text[0] = '\0';
  if (is_outside(text, room, "amplitudeMillivolts", amplitude_millivolts, board->reset_amplitude_maximum_millivolts)) return;
  if (is_outside(text, room, "widthNanoseconds", width_nanoseconds, board->reset_width_maximum_nanoseconds)) return;
  check_temperature(text, room);
}
