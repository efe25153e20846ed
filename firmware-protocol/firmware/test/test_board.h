/* The board of the unit tests: virtual time, and a line whose other end is the test. */
#ifndef PRIME_TEST_BOARD_H
#define PRIME_TEST_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"

struct test_board {
  uint64_t now;
  /* What the host has written and the board not read, and the other way round. */
  uint8_t to_board[65536];
  size_t to_board_bytes;
  uint8_t to_host[262144];
  size_t to_host_bytes;
  uint32_t bias_offs;
  uint32_t pulses;
  struct board_pulse last_pulse;
  uint32_t persists;
  bool fails_to_persist;
  bool has_temperature;
  int32_t millicelsius;
  /* Time that each cell takes to read. */
  uint64_t read_microseconds;
};

extern struct test_board test_board;

#endif
