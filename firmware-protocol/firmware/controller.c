#include "controller.h"

#include "board.h"

#define RESTART_DELAY_MICROSECONDS 10000u

struct controller controller;

void controller_start(enum reset_reason reason) {
  const uint32_t boots = controller.boot_count;
  controller = (struct controller){.boot_count = boots + 1, .reset_reason = reason, .started_at = board_microseconds()};
  board_random(controller.boot_id, sizeof controller.boot_id);
}

uint64_t controller_link_time(void) { return board_microseconds() - controller.started_at; }

void controller_ask_restart(void) {
  controller.is_restart_due = true;
  controller.restart_at = board_microseconds() + RESTART_DELAY_MICROSECONDS;
}
