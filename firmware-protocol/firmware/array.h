#ifndef PRIME_ARRAY_H
#define PRIME_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "limits.h"

enum cell_state { CELL_PRISTINE, CELL_FORMED, CELL_RESET };

/* What was done to the array. It belongs to the chip, and outlasts the controller's restarts. */
struct array_record {
  /* Rises before each operation that changes the array. */
  uint32_t epoch;
  /* Sum of all pulse counters. */
  uint64_t pulses;
  /* Operation time since the chip was made. */
  uint64_t operation_nanoseconds;
  uint8_t states[CELLS];
  uint16_t pulse_counts[CELLS];
};

struct array_record *array_record(void);

/* Brings the record back from the board. */
void array_initialise(void);

/* Raises the epoch, before the first change of an operation. */
void array_begin_change(void);

/* Counts a RESET pulse and gives it. No more flows than one pulse may draw in all: it reaches this one cell. */
void array_reset_cell(uint32_t cell, uint32_t amplitude_millivolts, uint32_t width_nanoseconds);

/* Adds an operation's time to the chip's. */
void array_account(uint64_t nanoseconds);

/* SHA-256 of chip id, epoch, cell states and pulse counters; never of a conductance, which is noisy. */
const uint8_t *array_state(void);

/* "name is value; the range is minimum to maximum" where a pulse, or the chip now, lies outside the envelope of this board; else an empty text. */
void array_check_pulse(char *text, uint32_t room, uint32_t amplitude_millivolts, uint32_t width_nanoseconds);

#endif
