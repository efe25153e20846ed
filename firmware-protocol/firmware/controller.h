#ifndef PRIME_CONTROLLER_H
#define PRIME_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

/* In the numbers of HelloAck.ResetReason. */
enum reset_reason { RESET_POWER_ON, RESET_REQUESTED, RESET_WATCHDOG, RESET_BROWN_OUT };

/* What lives as long as a boot and belongs to no session. */
struct controller {
  uint8_t boot_id[BOOT_ID_BYTES];
  uint32_t boot_count;
  enum reset_reason reset_reason;
  uint64_t started_at;
  /* The newest lease epoch that was seen. */
  uint32_t lease_epoch;
  uint32_t scratch_count;
  /* ESTOP is in force. */
  bool is_stopped;
  /* Restart was asked for; it happens at restart_at, when its answer has had time to leave. */
  bool is_restart_due;
  uint64_t restart_at;
};

extern struct controller controller;

void controller_start(enum reset_reason reason);
/* Microseconds since this boot: the time of deadlines. */
uint64_t controller_link_time(void);
void controller_ask_restart(void);

#endif
