/* The controller as a whole: what starts, and the order of work. */
#include "firmware.h"

#include "array.h"
#include "board.h"
#include "bulk.h"
#include "crc32c.h"
#include "dispatch.h"
#include "journal.h"
#include "log.h"
#include "program.h"
#include "session.h"
#include "telemetry.h"
#include "wire.h"

/* Reads of one poll: a host that sends without end must not keep the array from its work. */
#define READS_PER_POLL 16u

static void start(enum reset_reason reason) {
  board_bias_off();
  controller_start(reason);
  session_initialise();
  wire_close();
  log_initialise();
  telemetry_initialise();
  journal_initialise();
  dispatch_initialise();
  program_initialise();
  bulk_initialise();
  log_add(LOG_INFO, "the controller has started, boot %u", (unsigned)controller.boot_count);
}

void firmware_power_up(enum reset_reason reason) {
  crc32c_initialise();
  array_initialise();
  wire_initialise();
  start(reason);
}

void firmware_restart(enum reset_reason reason) { start(reason); }

void firmware_line_changed(void) {
  session_end();
  wire_reset_line();
}

static void receive(void) {
  for (uint32_t reads = 0; reads < READS_PER_POLL; reads += 1) {
    const uint64_t now = board_microseconds();
    if (!wire_receive(now, session_take_frame)) return;
    dispatch_receive(session_protocol());
    wire_pump(now);
  }
}

void firmware_poll(void) {
  receive();
  const uint64_t now = board_microseconds();
  if (controller.is_restart_due && now >= controller.restart_at) firmware_restart(RESET_REQUESTED);
  session_watch(now);
  dispatch_receive(session_protocol());
  dispatch_work();
  telemetry_make(now);
  wire_pump(board_microseconds());
  session_send_extras();
  wire_pump(board_microseconds());
}

uint64_t firmware_wake_at(void) {
  if (dispatch_has_work()) return 0;
  uint64_t wake_at = session_watch_at();
  if (telemetry_due_at() < wake_at) wake_at = telemetry_due_at();
  if (controller.is_restart_due && controller.restart_at < wake_at) wake_at = controller.restart_at;
  return wake_at;
}
