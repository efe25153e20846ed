/* The whole firmware under virtual time, spoken to in frames: sessions, journal, ESTOP, dead-man, cancel, restart, and any bytes at all. */
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#include "array.h"
#include "check.h"
#include "firmware.h"
#include "framing.h"
#include "link.h"
#include "macro/v1/link.pb.h"
#include "macro/v1/macro.pb.h"
#include "sha256.h"
#include "test_board.h"

#define STEP_MICROSECONDS 200u

static struct link host;
static struct frame_decoder decoder;
static uint32_t session;
static macro_v1_HelloAck identity;
static bool has_identity;
static char reset_text[200];
static uint32_t resets;
static uint32_t estops;
static uint32_t logs;
static uint32_t datagrams;
/* The last of each kind of message. */
static macro_v1_DeviceMessage message;
static macro_v1_Final last_final;
static uint32_t finals;
static uint32_t progresses;
static uint32_t accepteds;
static uint32_t telemetries;
static macro_v1_Telemetry last_telemetry;
static bool is_mute;

static void put_frame(enum frame_type type, uint32_t number, const uint8_t *payload, size_t length) {
  const struct frame frame = {.type = (uint8_t)type, .session = number, .payload = payload, .length = length};
  test_board.to_board_bytes += frame_encode(&frame, test_board.to_board + test_board.to_board_bytes);
}

static void take_message(const uint8_t *bytes, size_t length) {
  pb_istream_t stream = pb_istream_from_buffer(bytes, length);
  CHECK(pb_decode(&stream, macro_v1_DeviceMessage_fields, &message));
  if (message.which_body == macro_v1_DeviceMessage_final_tag) {
    last_final = message.body.final;
    finals += 1;
  }
  if (message.which_body == macro_v1_DeviceMessage_progress_tag) progresses += 1;
  if (message.which_body == macro_v1_DeviceMessage_accepted_tag) accepteds += 1;
  if (message.which_body == macro_v1_DeviceMessage_telemetry_tag) {
    telemetries += 1;
    last_telemetry = message.body.telemetry;
  }
}

static void take_frame(const struct frame *frame) {
  if (frame->type == FRAME_HELLO_ACK) {
    pb_istream_t stream = pb_istream_from_buffer(frame->payload, frame->length);
    has_identity = pb_decode(&stream, macro_v1_HelloAck_fields, &identity);
  } else if (frame->type == FRAME_RESET) {
    resets += 1;
    memcpy(reset_text, frame->payload, frame->length);
    reset_text[frame->length] = '\0';
  } else if (frame->type == FRAME_ESTOP) {
    estops += 1;
  } else if (frame->type == FRAME_LOG) {
    logs += 1;
  } else if (frame->type == FRAME_DATAGRAM) {
    datagrams += 1;
    take_message(frame->payload, frame->length);
  } else if (frame->session == session) {
    link_receive(&host, frame, test_board.now);
  }
}

static void host_turn(void) {
  size_t consumed = 0;
  for (size_t at = 0; at < test_board.to_host_bytes; at += consumed) {
    struct frame frame;
    if (frame_decode(&decoder, test_board.to_host + at, test_board.to_host_bytes - at, &consumed, &frame) != 0) take_frame(&frame);
  }
  test_board.to_host_bytes = 0;
  size_t length = 0;
  for (const uint8_t *bytes = link_peek(&host, &length); bytes != NULL; bytes = link_peek(&host, &length)) {
    take_message(bytes, length);
    link_take(&host);
  }
  struct frame frame;
  while (!is_mute && test_board.to_board_bytes < 32768 && link_transmit(&host, &frame, test_board.now)) {
    test_board.to_board_bytes += frame_encode(&frame, test_board.to_board + test_board.to_board_bytes);
  }
}

static void run(uint64_t microseconds) {
  for (const uint64_t until = test_board.now + microseconds; test_board.now < until; test_board.now += STEP_MICROSECONDS) {
    host_turn();
    firmware_poll();
  }
  host_turn();
}

static void hello(uint32_t number, uint32_t minimum, uint32_t maximum, uint32_t dead_man_milliseconds, uint32_t lease_epoch) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  macro_v1_Hello offer = {
    .protocol_minimum = minimum, .protocol_maximum = maximum, .window_frames = 32, .credit_bytes = 60000, .lease_epoch = lease_epoch,
    .dead_man_milliseconds = dead_man_milliseconds,
  };
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  CHECK(pb_encode(&stream, macro_v1_Hello_fields, &offer));
  session = number;
  has_identity = false;
  const struct link_options options = {.session = number, .window_frames = 32, .peer_credit_bytes = LINK_CREDIT_BYTES};
  link_open(&host, &options);
  put_frame(FRAME_HELLO, number, bytes, stream.bytes_written);
  run(1000);
}

static void power_up(void) {
  memset(&test_board, 0, sizeof test_board);
  test_board.now = 1000000;
  test_board.read_microseconds = 1;
  controller.boot_count = 0;
  is_mute = false;
  firmware_power_up(RESET_POWER_ON);
}

static macro_v1_HostMessage asked;
static uint8_t next_id;

static macro_v1_Request *request(pb_size_t method) {
  memset(&asked, 0, sizeof asked);
  asked.which_body = macro_v1_HostMessage_request_tag;
  asked.body.request.which_method = method;
  asked.body.request.request_id.size = REQUEST_ID_BYTES;
  next_id = (uint8_t)(next_id + 1);
  memset(asked.body.request.request_id.bytes, next_id, REQUEST_ID_BYTES);
  return &asked.body.request;
}

static void send_message(enum priority priority) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  CHECK(pb_encode(&stream, macro_v1_HostMessage_fields, &asked));
  CHECK(link_send(&host, priority, bytes, stream.bytes_written));
}

/* Sends the request at hand and lets it end. */
static const macro_v1_Final *answer(void) {
  const uint32_t before = finals;
  send_message(PRIORITY_CONTROL);
  for (unsigned turn = 0; turn < 5000 && finals == before; turn += 1) run(STEP_MICROSECONDS);
  CHECK(finals == before + 1);
  return &last_final;
}

static bool failed_with(const macro_v1_Final *final, const char *code, macro_v1_Outcome outcome) {
  return final->which_result == macro_v1_Final_failure_tag && strcmp(final->result.failure.code, code) == 0 && final->result.failure.outcome == outcome;
}

static void upload(const uint8_t *bytes, uint32_t length, uint8_t digest[SHA256_BYTES]) {
  struct sha256 hash;
  sha256_begin(&hash);
  sha256_add(&hash, bytes, length);
  sha256_end(&hash, digest);
  macro_v1_BulkOffer *offer = &request(macro_v1_Request_bulk_offer_tag)->method.bulk_offer;
  offer->sha256.size = SHA256_BYTES;
  memcpy(offer->sha256.bytes, digest, SHA256_BYTES);
  offer->size_bytes = length;
  CHECK(answer()->which_result == macro_v1_Final_bulk_offer_tag);
  for (uint32_t at = last_final.result.bulk_offer.offset_bytes; at < length; at += 500) {
    memset(&asked, 0, sizeof asked);
    asked.which_body = macro_v1_HostMessage_bulk_chunk_tag;
    macro_v1_BulkChunk *chunk = &asked.body.bulk_chunk;
    chunk->sha256.size = 8;
    memcpy(chunk->sha256.bytes, digest, 8);
    chunk->offset_bytes = at;
    chunk->data.size = (pb_size_t)(length - at < 500 ? length - at : 500);
    memcpy(chunk->data.bytes, bytes + at, chunk->data.size);
    send_message(PRIORITY_BULK);
    run(400);
  }
  macro_v1_BulkCommit *commit = &request(macro_v1_Request_bulk_commit_tag)->method.bulk_commit;
  commit->sha256.size = SHA256_BYTES;
  memcpy(commit->sha256.bytes, digest, SHA256_BYTES);
  CHECK(answer()->which_result == macro_v1_Final_bulk_commit_tag && last_final.result.bulk_commit.committed);
}

static void ask_reset(const uint8_t digest[SHA256_BYTES]) {
  macro_v1_ResetCells *reset = &request(macro_v1_Request_reset_cells_tag)->method.reset_cells;
  reset->cells_sha256.size = SHA256_BYTES;
  memcpy(reset->cells_sha256.bytes, digest, SHA256_BYTES);
  reset->amplitude_millivolts = 2000;
  reset->width_nanoseconds = 1000;
}

static void ask_read(uint32_t averages) {
  macro_v1_ReadCells *read = &request(macro_v1_Request_read_cells_tag)->method.read_cells;
  read->has_region = true;
  read->region = (macro_v1_Region){0, BIT_LINES, 0, SOURCE_LINES};
  read->averages = averages;
}

static void versions_are_agreed(void) {
  power_up();
  hello(1, 1, 1, 0, 0);
  CHECK(has_identity && identity.protocol == 1 && identity.dead_man_milliseconds == 0 && identity.protocol_maximum == 2);
  hello(2, 1, 2, 0, 0);
  CHECK(has_identity && identity.protocol == 2 && identity.dead_man_milliseconds == 2000);
  hello(3, 2, 9, 1, 0);
  CHECK(has_identity && identity.protocol == 2 && identity.dead_man_milliseconds == 100);
  hello(4, 3, 4, 0, 0);
  CHECK(!has_identity && strcmp(reset_text, "PROTOCOL_UNSUPPORTED the board speaks protocol 1 to 2, the host 3 to 4") == 0);
  CHECK(identity.capabilities_count == 16 && identity.has_geometry && identity.geometry.bit_lines == 512);
}

static void an_unknown_session_is_reset(void) {
  power_up();
  hello(5, 1, 2, 0, 0);
  const uint32_t before = resets;
  for (unsigned round = 0; round < 10; round += 1) {
    put_frame(FRAME_DATA, 99, NULL, 0);
    run(1000);
  }
  CHECK(resets == before + 1);
  run(100000);
  put_frame(FRAME_DATA, 99, NULL, 0);
  run(1000);
  CHECK(resets == before + 2 && strstr(reset_text, "does not know this session") != NULL);
  (void)request(macro_v1_Request_no_operation_tag);
  CHECK(answer()->which_result == macro_v1_Final_no_operation_tag);
}

static void an_effect_happens_once(void) {
  power_up();
  hello(6, 1, 2, 0, 0);
  request(macro_v1_Request_scratch_tag)->method.scratch.add = 4;
  CHECK(answer()->result.scratch.count == 4 && !last_final.repeated_from_journal);
  CHECK(answer()->result.scratch.count == 4 && last_final.repeated_from_journal);
  const macro_v1_HostMessage same = asked;
  hello(7, 1, 2, 0, 0);
  asked = same;
  CHECK(answer()->result.scratch.count == 4 && last_final.repeated_from_journal);
  firmware_restart(RESET_REQUESTED);
  hello(8, 1, 2, 0, 0);
  CHECK(identity.boot_count == 2 && identity.reset_reason == macro_v1_HelloAck_ResetReason_REQUESTED);
  asked = same;
  CHECK(answer()->result.scratch.count == 4 && !last_final.repeated_from_journal);
}

static void what_is_wrong_is_refused(void) {
  power_up();
  hello(9, 1, 2, 0, 5);
  request(macro_v1_Request_scratch_tag)->lease_epoch = 4;
  CHECK(failed_with(answer(), "LEASE_STALE", macro_v1_Outcome_NOT_APPLIED));
  asked.body.request.lease_epoch = 5;
  CHECK(answer()->which_result == macro_v1_Final_scratch_tag && !last_final.repeated_from_journal);
  request(macro_v1_Request_no_operation_tag)->request_id.size = 3;
  asked.body.request.lease_epoch = 5;
  CHECK(failed_with(answer(), "REQUEST_INVALID", macro_v1_Outcome_NOT_APPLIED) && last_final.request_id.size == 3);
  ask_read(0);
  asked.body.request.lease_epoch = 5;
  CHECK(failed_with(answer(), "REQUEST_INVALID", macro_v1_Outcome_NOT_APPLIED));
  CHECK(strcmp(last_final.result.failure.detail, "averages is 0; the range is 1 to 1024") == 0);
  ask_read(1);
  asked.body.request.lease_epoch = 5;
  asked.body.request.deadline_microseconds = 1;
  CHECK(failed_with(answer(), "DEADLINE_EXCEEDED", macro_v1_Outcome_NOT_APPLIED));
  request(macro_v1_Request_scratch_tag)->lease_epoch = 5;
  asked.body.request.deadline_microseconds = 1;
  CHECK(failed_with(answer(), "DEADLINE_EXCEEDED", macro_v1_Outcome_NOT_APPLIED)); /* also where the answer takes no time */
  hello(10, 1, 1, 0, 5);
  request(macro_v1_Request_restart_tag)->lease_epoch = 5;
  CHECK(failed_with(answer(), "METHOD_UNSUPPORTED", macro_v1_Outcome_NOT_APPLIED));
}

static void pulses_keep_to_the_envelope(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(11, 1, 2, 0, 0);
  memset(bitmap, 0, sizeof bitmap);
  bitmap[0] = 0x0f;
  upload(bitmap, sizeof bitmap, digest);
  ask_reset(digest);
  asked.body.request.method.reset_cells.amplitude_millivolts = 2501;
  CHECK(failed_with(answer(), "PULSE_REFUSED", macro_v1_Outcome_NOT_APPLIED));
  CHECK(strcmp(last_final.result.failure.detail, "amplitudeMillivolts is 2501; the range is 1 to 2500") == 0);
  for (uint32_t round = 1; round <= 2; round += 1) {
    ask_reset(digest);
    CHECK(answer()->result.reset_cells.pulses == 4 && test_board.pulses == 4 * round && array_record()->epoch == round);
    CHECK(answer()->repeated_from_journal && test_board.pulses == 4 * round);
    CHECK(test_board.last_pulse.amplitude_millivolts == 2000 && test_board.last_pulse.current_maximum_microamperes == 900);
  }
  ask_reset(digest);
  CHECK(failed_with(answer(), "PULSE_REFUSED", macro_v1_Outcome_NOT_APPLIED) && test_board.pulses == 8);
  CHECK(answer()->repeated_from_journal);
}

static void no_pulse_where_the_chip_is_too_cold_or_too_warm(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(11, 1, 2, 0, 0);
  memset(bitmap, 0, sizeof bitmap);
  bitmap[0] = 1;
  upload(bitmap, sizeof bitmap, digest);
  request(macro_v1_Request_get_status_tag);
  CHECK(!answer()->result.get_status.has_temperature_celsius);
  test_board.has_temperature = true;
  test_board.millicelsius = 40001;
  request(macro_v1_Request_get_status_tag);
  CHECK(answer()->result.get_status.has_temperature_celsius && last_final.result.get_status.temperature_celsius > 40.0005);
  ask_reset(digest);
  CHECK(failed_with(answer(), "PULSE_REFUSED", macro_v1_Outcome_NOT_APPLIED) && test_board.pulses == 0);
  CHECK(strcmp(last_final.result.failure.detail, "temperatureCelsius is 40.001; the range is 10 to 40") == 0);
  test_board.millicelsius = -500;
  ask_reset(digest);
  CHECK(failed_with(answer(), "PULSE_REFUSED", macro_v1_Outcome_NOT_APPLIED));
  CHECK(strcmp(last_final.result.failure.detail, "temperatureCelsius is -0.500; the range is 10 to 40") == 0);
  ask_read(1);
  CHECK(answer()->which_result == macro_v1_Final_read_cells_tag);
  test_board.millicelsius = 40000;
  ask_reset(digest);
  CHECK(answer()->result.reset_cells.pulses == 1 && test_board.pulses == 1);
}

static void a_record_that_cannot_be_kept_is_not_acknowledged(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(12, 1, 2, 0, 0);
  memset(bitmap, 0, sizeof bitmap);
  bitmap[5] = 1;
  upload(bitmap, sizeof bitmap, digest);
  test_board.fails_to_persist = true;
  ask_reset(digest);
  CHECK(failed_with(answer(), "INTERNAL_ERROR", macro_v1_Outcome_NOT_APPLIED) && test_board.pulses == 0);
}

static void an_emergency_stop_ends_everything(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(13, 1, 2, 0, 0);
  memset(bitmap, 0xff, sizeof bitmap);
  upload(bitmap, sizeof bitmap, digest);
  ask_reset(digest);
  const uint32_t finals_before = finals;
  send_message(PRIORITY_CONTROL);
  ask_read(1);
  send_message(PRIORITY_CONTROL);
  run(5000);
  const uint32_t before = estops;
  const uint32_t bias_before = test_board.bias_offs;
  put_frame(FRAME_ESTOP, 4711, NULL, 0);
  run(2000);
  const uint32_t pulses = test_board.pulses;
  CHECK(estops == before + 1 && test_board.bias_offs > bias_before && pulses > 0 && pulses < CELLS);
  CHECK(finals == finals_before + 2 && failed_with(&last_final, "DEVICE_STOPPED", macro_v1_Outcome_NOT_APPLIED));
  run(10000);
  CHECK(test_board.pulses == pulses);
  ask_reset(digest);
  asked.body.request.request_id.bytes[0] = 200;
  CHECK(failed_with(answer(), "DEVICE_STOPPED", macro_v1_Outcome_NOT_APPLIED));
  (void)request(macro_v1_Request_get_status_tag);
  CHECK(answer()->result.get_status.stopped && last_final.result.get_status.pulses == pulses);
  (void)request(macro_v1_Request_restart_tag);
  CHECK(answer()->which_result == macro_v1_Final_restart_tag);
  run(12000);
  hello(14, 1, 2, 0, 0);
  CHECK(identity.boot_count == 2 && identity.reset_reason == macro_v1_HelloAck_ResetReason_REQUESTED);
  request(macro_v1_Request_scratch_tag)->method.scratch.add = 1;
  CHECK(answer()->result.scratch.count == 1);
}

/* A reset that is under way when the host falls silent: bias off after the pulse at hand, APPLIED, and the session stays. */
static void a_silent_host_loses_the_bias(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(15, 1, 2, 100, 0);
  memset(bitmap, 0xff, sizeof bitmap);
  upload(bitmap, sizeof bitmap, digest);
  ask_reset(digest);
  send_message(PRIORITY_CONTROL);
  run(1000);
  is_mute = true;
  for (unsigned turn = 0; turn < 200; turn += 1) {
    test_board.now += 1000;
    test_board.to_host_bytes = 0;
    firmware_poll();
  }
  const uint32_t pulses = test_board.pulses;
  CHECK(pulses > 0 && pulses < CELLS);
  is_mute = false;
  run(2000000);
  CHECK(test_board.pulses == pulses && failed_with(&last_final, "HOST_SILENT", macro_v1_Outcome_APPLIED));
  (void)request(macro_v1_Request_no_operation_tag);
  CHECK(answer()->which_result == macro_v1_Final_no_operation_tag);
}

static void send_cancel(uint8_t id) {
  memset(&asked, 0, sizeof asked);
  asked.which_body = macro_v1_HostMessage_cancel_tag;
  asked.body.cancel.request_id.size = REQUEST_ID_BYTES;
  memset(asked.body.cancel.request_id.bytes, id, REQUEST_ID_BYTES);
  send_message(PRIORITY_CONTROL);
}

static void a_cancel_says_what_was_applied(void) {
  static uint8_t bitmap[CELLS / 8];
  uint8_t digest[SHA256_BYTES];
  power_up();
  hello(16, 1, 2, 0, 0);
  memset(bitmap, 0xff, sizeof bitmap);
  upload(bitmap, sizeof bitmap, digest);
  ask_reset(digest);
  const uint8_t begun = next_id;
  send_message(PRIORITY_CONTROL);
  ask_reset(digest);
  const uint8_t waiting = next_id;
  send_message(PRIORITY_CONTROL);
  (void)request(macro_v1_Request_restart_tag);
  CHECK(failed_with(answer(), "DEVICE_BUSY", macro_v1_Outcome_NOT_APPLIED));
  send_cancel(waiting);
  run(1000);
  CHECK(failed_with(&last_final, "CANCELLED", macro_v1_Outcome_NOT_APPLIED));
  send_cancel(begun);
  run(1000);
  CHECK(failed_with(&last_final, "CANCELLED", macro_v1_Outcome_APPLIED));
  CHECK(test_board.pulses > 0 && test_board.pulses < CELLS && array_record()->pulses == test_board.pulses);
}

static void streams_keep_to_their_policy(void) {
  power_up();
  hello(17, 1, 2, 0, 0);
  macro_v1_Subscribe *subscribe = &request(macro_v1_Request_subscribe_tag)->method.subscribe;
  *subscribe = (macro_v1_Subscribe){macro_v1_Stream_STATUS_STREAM, macro_v1_Policy_LOSSLESS, 0, 9};
  CHECK(failed_with(answer(), "REQUEST_INVALID", macro_v1_Outcome_NOT_APPLIED));
  CHECK(strcmp(last_final.result.failure.detail, "intervalMilliseconds is 9; the range is 10 to 60000") == 0);
  subscribe = &request(macro_v1_Request_subscribe_tag)->method.subscribe;
  *subscribe = (macro_v1_Subscribe){macro_v1_Stream_STATUS_STREAM, macro_v1_Policy_LOSSLESS, 0, 10};
  CHECK(answer()->which_result == macro_v1_Final_subscribe_tag);
  telemetries = 0;
  datagrams = 0;
  run(105000);
  CHECK(telemetries == 10 && datagrams == 0 && last_telemetry.sequence == 9 && last_telemetry.dropped == 0);
  CHECK(last_telemetry.which_body == macro_v1_Telemetry_status_tag && last_telemetry.body.status.array_epoch == array_record()->epoch);
  subscribe = &request(macro_v1_Request_subscribe_tag)->method.subscribe;
  *subscribe = (macro_v1_Subscribe){macro_v1_Stream_LINK_STREAM, macro_v1_Policy_DECIMATE, 3, 10};
  CHECK(answer()->which_result == macro_v1_Final_subscribe_tag);
  run(95000);
  CHECK(datagrams == 3);
  const uint32_t before = telemetries;
  hello(18, 1, 2, 0, 0);
  run(50000);
  CHECK(telemetries == before);
  CHECK(logs > 0);
}

/* Nobody takes frames: 64 samples wait, the others are counted. */
static void what_a_full_queue_cannot_hold_is_counted(void) {
  power_up();
  hello(19, 1, 2, 0, 0);
  request(macro_v1_Request_subscribe_tag)->method.subscribe =
    (macro_v1_Subscribe){macro_v1_Stream_STATUS_STREAM, macro_v1_Policy_LOSSLESS, 0, 10};
  CHECK(answer()->which_result == macro_v1_Final_subscribe_tag);
  telemetries = 0;
  for (unsigned turn = 0; turn < 1000; turn += 1) {
    test_board.now += 1000;
    if (turn % 50 == 0) put_frame(FRAME_ACK, session, NULL, 0);
    firmware_poll();
  }
  run(1000000);
  CHECK(last_telemetry.dropped > 10 && telemetries + last_telemetry.dropped >= last_telemetry.sequence);
}

static void any_bytes_are_borne(void) {
  static uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  power_up();
  hello(20, 1, 2, 0, 0);
  for (unsigned round = 0; round < 20000; round += 1) {
    ask_read(1 + random_word() % 3);
    asked.body.request.which_method = (pb_size_t)(macro_v1_Request_no_operation_tag + random_word() % 14);
    pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
    size_t length = pb_encode(&stream, macro_v1_HostMessage_fields, &asked) ? stream.bytes_written : 0;
    if (length == 0) length = random_word() % sizeof bytes;
    for (uint32_t flips = random_word() % 4; flips > 0 && length > 0; flips -= 1) bytes[random_word() % length] = (uint8_t)random_word();
    if (random_word() % 3 == 0) length = random_word() % (length + 1);
    if (link_room(&host) > 40) CHECK(link_send(&host, PRIORITY_BULK, bytes, length));
    put_frame((enum frame_type)(random_word() % FRAME_ESTOP), random_word() % 2 == 0 ? session : random_word(), bytes, length);
    run(400);
    if (round % 500 == 0) hello(21 + round, 1, 2, 0, 0);
  }
  hello(1000000, 1, 2, 0, 0);
  run(10000000);
  (void)request(macro_v1_Request_get_status_tag);
  memset(asked.body.request.request_id.bytes, 0x77, 15);
  asked.body.request.lease_epoch = UINT32_MAX;
  CHECK(answer()->which_result == macro_v1_Final_get_status_tag);
}

void controller_test(void) {
  versions_are_agreed();
  an_unknown_session_is_reset();
  an_effect_happens_once();
  what_is_wrong_is_refused();
  pulses_keep_to_the_envelope();
  no_pulse_where_the_chip_is_too_cold_or_too_warm();
  a_record_that_cannot_be_kept_is_not_acknowledged();
  an_emergency_stop_ends_everything();
  a_silent_host_loses_the_bias();
  a_cancel_says_what_was_applied();
  streams_keep_to_their_policy();
  what_a_full_queue_cannot_hold_is_counted();
  any_bytes_are_borne();
}
