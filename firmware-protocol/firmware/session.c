/* The session of one host: how it opens, what ends it, and that bias does not outlive a silent host. */
#include "session.h"

#include <inttypes.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "array.h"
#include "board.h"
#include "controller.h"
#include "dispatch.h"
#include "limits.h"
#include "log.h"
#include "macro/v1/link.pb.h"
#include "method.h"
#include "telemetry.h"
#include "wire.h"

#define PROTOCOL_MINIMUM 1u
#define PROTOCOL_MAXIMUM 2u
#define FIRMWARE_VERSION "c 0.1.0"
#define RESET_INTERVAL_MICROSECONDS 100000u

static struct {
  uint32_t number;
  /* 0: no session is open. */
  uint32_t protocol;
  uint32_t dead_man_milliseconds;
  uint64_t heard_at;
} session;

/* DATA of a session that is not known is answered again from then on. */
static uint64_t reset_allowed_at;

void session_initialise(void) {
  memset(&session, 0, sizeof session);
  reset_allowed_at = 0;
}

uint32_t session_protocol(void) { return session.protocol; }

static bool is_ours(const struct frame *frame) { return session.protocol > 0 && frame->session == session.number; }

void session_end(void) {
  session.protocol = 0;
  wire_close();
  dispatch_end_session();
  telemetry_initialise();
}

static void refuse_session(uint32_t number, const char *text) {
  (void)wire_send_frame(FRAME_RESET, number, (const uint8_t *)text, strlen(text));
}

static uint32_t clamp(uint32_t value, uint32_t minimum, uint32_t maximum) {
  if (value < minimum) return minimum;
  return value > maximum ? maximum : value;
}

static void fill_converter(macro_v1_Converter *converter) {
  const struct board_description *board = board_description();
  converter->bits = board->converter_bits;
  converter->ranges_count = 2;
  for (uint32_t index = 0; index < 2; index += 1) {
    const struct board_range *range = &board->ranges[index];
    (void)snprintf(converter->ranges[index].name, sizeof converter->ranges[index].name, "%s", range->name);
    converter->ranges[index].step_numerator_nanosiemens = range->step_numerator_nanosiemens;
    converter->ranges[index].step_denominator = range->step_denominator;
  }
}

static void fill_abilities(macro_v1_HelloAck *ack) {
  const struct board_description *board = board_description();
  for (uint32_t index = 0; index < method_count(); index += 1) {
    (void)snprintf(ack->capabilities[index], sizeof ack->capabilities[index], "%s", method_at(index)->name);
  }
  (void)snprintf(ack->capabilities[method_count()], sizeof ack->capabilities[0], "StopRules");
  ack->capabilities_count = (pb_size_t)(method_count() + 1);
  ack->has_geometry = true;
  ack->geometry = (macro_v1_Geometry){BIT_LINES, SOURCE_LINES, board->cell_unit_nanosiemens};
  ack->has_limits = true;
  ack->limits = (macro_v1_Limits){MAXIMUM_PAYLOAD_BYTES, BULK_BYTES, PROGRAMS, JOURNAL_ENTRIES, REQUESTS_IN_FLIGHT};
  ack->has_converter = true;
  fill_converter(&ack->converter);
}

static void fill_boot(macro_v1_HelloAck *ack) {
  memcpy(ack->boot_id, controller.boot_id, sizeof ack->boot_id);
  ack->boot_count = controller.boot_count;
  ack->reset_reason = (macro_v1_HelloAck_ResetReason)controller.reset_reason;
  memcpy(ack->array_state, array_state(), sizeof ack->array_state);
  ack->lease_epoch = controller.lease_epoch;
  ack->link_time_microseconds = (double)controller_link_time();
  int32_t millicelsius = 0;
  ack->has_temperature_celsius = board_temperature(&millicelsius);
  ack->temperature_celsius = millicelsius / 1000.0;
}

static void send_hello_ack(void) {
  static macro_v1_HelloAck ack;
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  memset(&ack, 0, sizeof ack);
  ack.protocol = session.protocol;
  ack.protocol_minimum = PROTOCOL_MINIMUM;
  ack.protocol_maximum = PROTOCOL_MAXIMUM;
  ack.dead_man_milliseconds = session.dead_man_milliseconds;
  (void)snprintf(ack.chip_id, sizeof ack.chip_id, "%s", board_description()->chip_id);
  (void)snprintf(ack.profile, sizeof ack.profile, "%s", board_description()->profile);
  (void)snprintf(ack.firmware_version, sizeof ack.firmware_version, "%s", FIRMWARE_VERSION);
  ack.window_frames = MAXIMUM_WINDOW_FRAMES;
  ack.credit_bytes = LINK_CREDIT_BYTES;
  fill_boot(&ack);
  fill_abilities(&ack);
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  if (!pb_encode(&stream, macro_v1_HelloAck_fields, &ack)) return;
  (void)wire_send_frame(FRAME_HELLO_ACK, session.number, bytes, stream.bytes_written);
}

static void open_session(uint32_t number, const macro_v1_Hello *hello) {
  session_end();
  session.number = number;
  session.protocol = hello->protocol_maximum < PROTOCOL_MAXIMUM ? hello->protocol_maximum : PROTOCOL_MAXIMUM;
  const uint32_t asked = hello->dead_man_milliseconds == 0 ? DEAD_MAN_DEFAULT_MILLISECONDS : hello->dead_man_milliseconds;
  /* A host of protocol 1 does not know that it must be heard, so it is not held to it. */
  session.dead_man_milliseconds = session.protocol < 2 ? 0 : clamp(asked, DEAD_MAN_MINIMUM_MILLISECONDS, DEAD_MAN_MAXIMUM_MILLISECONDS);
  if (hello->lease_epoch > controller.lease_epoch) controller.lease_epoch = hello->lease_epoch;
  const struct link_options options = {
    .session = number, .window_frames = clamp(hello->window_frames, MINIMUM_WINDOW_FRAMES, MAXIMUM_WINDOW_FRAMES),
    .peer_credit_bytes = hello->credit_bytes, .frame_microseconds = board_description()->frame_microseconds,
  };
  wire_open(&options);
}

static void take_hello(const struct frame *frame) {
  macro_v1_Hello hello = macro_v1_Hello_init_zero;
  pb_istream_t stream = pb_istream_from_buffer(frame->payload, frame->length);
  if (!pb_decode(&stream, macro_v1_Hello_fields, &hello)) return;
  if (hello.protocol_minimum > PROTOCOL_MAXIMUM || hello.protocol_maximum < PROTOCOL_MINIMUM || hello.protocol_minimum > hello.protocol_maximum) {
    char text[120];
    (void)snprintf(text, sizeof text, "PROTOCOL_UNSUPPORTED the board speaks protocol %u to %u, the host %" PRIu32 " to %" PRIu32, PROTOCOL_MINIMUM,
                   PROTOCOL_MAXIMUM, hello.protocol_minimum, hello.protocol_maximum);
    refuse_session(frame->session, text);
    return;
  }
  /* A HELLO that is repeated because its answer was late must not cut the session that it opened. */
  if (!is_ours(frame)) open_session(frame->session, &hello);
  send_hello_ack();
}

/* Bias off, and no method may energise the array until the controller restarts. Whoever asks is answered, with or without a session. */
static void take_emergency_stop(const struct frame *frame) {
  board_bias_off();
  if (!controller.is_stopped) log_add(LOG_WARNING, "ESTOP: bias is off until the controller restarts");
  controller.is_stopped = true;
  (void)wire_send_frame(FRAME_ESTOP, frame->session, NULL, 0);
  dispatch_stop();
}

void session_take_frame(const struct frame *frame, uint64_t now) {
  if (frame->type == FRAME_HELLO) take_hello(frame);
  else if (frame->type == FRAME_ESTOP) take_emergency_stop(frame);
  else if (is_ours(frame) && (frame->type == FRAME_DATA || frame->type == FRAME_ACK)) link_receive(wire_link(), frame, now);
  else if (frame->type == FRAME_DATA && now >= reset_allowed_at) {
    reset_allowed_at = now + RESET_INTERVAL_MICROSECONDS;
    refuse_session(frame->session, "DEVICE_LOST the board does not know this session");
  }
  if (is_ours(frame)) session.heard_at = now;
}

static bool is_dead_man_armed(void) { return session.protocol > 0 && session.dead_man_milliseconds > 0 && dispatch_has_energising(); }

static uint64_t dead_man_at(void) { return session.heard_at + 1000u * (uint64_t)session.dead_man_milliseconds; }

void session_watch(uint64_t now) {
  if (wire_link() != NULL && wire_link()->is_down) {
    log_add(LOG_WARNING, "the host does not answer retransmissions; the session is over");
    session_end();
  }
  if (is_dead_man_armed() && now >= dead_man_at()) {
    board_bias_off();
    log_add(LOG_WARNING, "no frame of the host for %" PRIu32 " ms: bias is off", session.dead_man_milliseconds);
    dispatch_host_silent(session.dead_man_milliseconds);
  }
}

uint64_t session_watch_at(void) {
  const uint64_t dead_man = is_dead_man_armed() ? dead_man_at() : UINT64_MAX;
  const struct link *link = wire_link();
  if (link == NULL) return dead_man;
  const uint64_t link_at = wire_has_slack() ? link_timeout_at(link) : link_retransmit_at(link);
  return dead_man < link_at ? dead_man : link_at;
}

void session_send_extras(void) {
  if (session.protocol == 0) return;
  telemetry_send(session.number);
  log_send(session.number, session.protocol);
}
