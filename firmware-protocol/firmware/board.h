/*
 * What a board lends to the firmware: a line, a clock, chance, the front end of the array, and memory that outlasts power. A port is one file
 * that implements these functions, and a loop that calls firmware_poll. None of them may wait.
 */
#ifndef PRIME_BOARD_H
#define PRIME_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

struct array_record;

struct board_range {
  const char *name;
  /* Conductance of one ADC code. */
  uint32_t step_numerator_nanosiemens;
  uint32_t step_denominator;
};

/* What HELLO_ACK says of the board, and the envelope that it enforces. */
struct board_description {
  const char *chip_id;
  /* Simulated arrays: name of the profile. Empty where there is silicon. */
  const char *profile;
  uint32_t cell_unit_nanosiemens;
  /* 32: codes are exact sums. */
  uint32_t converter_bits;
  /* "multiply" and "cell". */
  struct board_range ranges[2];
  uint32_t settling_nanoseconds;
  uint32_t reset_amplitude_maximum_millivolts;
  uint32_t reset_width_maximum_nanoseconds;
  uint32_t reset_pulses_per_cell_maximum;
  /* Of all cells that one pulse reaches, together. */
  uint32_t total_current_maximum_microamperes;
  /* Of the chip, between which pulses are given. */
  int32_t temperature_minimum_celsius;
  int32_t temperature_maximum_celsius;
  /* Time of the longest frame on the line; 0 where its speed is not known. */
  uint32_t frame_microseconds;
};

const struct board_description *board_description(void);

/* The line. Both move what they can, at once, and return how many bytes that was. */
size_t board_uart_read(uint8_t *bytes, size_t room);
size_t board_uart_write(const uint8_t *bytes, size_t length);

/* Monotonic; its zero is arbitrary. */
uint64_t board_microseconds(void);

/* Boot ids come from here: no two starts may draw the same. */
void board_random(uint8_t *bytes, size_t length);

/* Of the chip, in thousandths of a degree Celsius. false: the board measures none, and no pulse is refused for it. */
bool board_temperature(int32_t *millicelsius);

/* Time and energy of an operation of the array. The firmware adds them up. */
struct board_cost {
  uint64_t nanoseconds;
  uint64_t femtojoules;
};

/* One binary multiply: bit lines that are driven, the others grounded, and the source lines that are converted. */
struct board_drive {
  uint32_t first_bit_line;
  /* Ascending, counted from first_bit_line. */
  const uint16_t *driven;
  uint32_t driven_count;
  const uint16_t *source_lines;
  uint32_t line_count;
  uint32_t range;
  /* What the noise of a simulated array is keyed by (NUMERICS.md, "Read noise"); silicon makes its own. */
  uint32_t inference_number;
  uint32_t timestep;
  uint32_t tile;
  uint32_t position;
  uint32_t plane;
};

/* Writes one ADC code a source line. Returns how many conversions were saturated. */
uint32_t board_convert(const struct board_drive *drive, int32_t *codes, struct board_cost *cost);

/* Called before each group of cells of up to 32 bit lines that is read: the chip's operation counter rises. */
void board_begin_read(void);

/* Reads one cell so many times. Returns the mean as a cell code, TOP_CODE where the converter was at its top. */
uint16_t board_read_cell(uint32_t cell, uint32_t averages, struct board_cost *cost);

struct board_pulse {
  uint32_t amplitude_millivolts;
  uint32_t width_nanoseconds;
  /* A RESET has no compliance of its own: the driver of the line lets no more through than this. */
  uint32_t current_maximum_microamperes;
};

/* One RESET pulse on a cell. Its pulse counter and state in the record have been brought up to date. */
void board_reset_cell(uint32_t cell, const struct board_pulse *pulse);

/* Simulated arrays only: makes a pair of cells what a network asks for. kept: 1, or 0 where the pair is pruned. */
void board_place_pair(uint32_t plus, uint32_t minus, int32_t difference_nanosiemens, uint8_t kept);

/* All outputs off, now: word lines first, so that no line is switched while gates are open. Called at power-up, on ESTOP and when the host is silent. */
void board_bias_off(void);

/* Makes the record of the array outlast power before it returns. false: it could not. */
bool board_persist(const struct array_record *record);

/* Brings back what was kept, at power-up. */
void board_restore(struct array_record *record);

#endif
