/* Requests: who may begin, in what order they have the array, what is answered from the journal, and how each one ends. */
#include "dispatch.h"

#include <inttypes.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "bulk.h"
#include "controller.h"
#include "fetch.h"
#include "journal.h"
#include "limits.h"
#include "log.h"
#include "method.h"
#include "wire.h"

/* A request that waits for the array, kept as its bytes: decoded it would be forty times as large. */
struct job {
  const struct method *method;
  uint64_t deadline;
  uint8_t request_id[REQUEST_ID_BYTES];
  uint16_t length;
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
};

/* In the order in which they came. The first one may have begun; its request is decoded. */
static struct job jobs[REQUESTS_IN_FLIGHT];
static uint32_t job_count;
static bool has_begun;
static macro_v1_HostMessage running;

/* Of the message at hand. */
static macro_v1_HostMessage received;
static macro_v1_Final answer;
static macro_v1_DeviceMessage outgoing;
static uint32_t protocol_in_force;

/* An answer that is always there, and what one message may be answered with beside it. */
#define SPARE_MESSAGES 4u
#define WAITING_MESSAGES 24u

void dispatch_initialise(void) {
  if (has_begun) (void)jobs[0].method->abandon();
  has_begun = false;
  job_count = 0;
  fetch_initialise();
}

static uint32_t under_way(void) { return job_count + fetch_count(); }

bool dispatch_has_room(void) {
  const struct link *link = wire_link();
  return link != NULL && link_room(link) > under_way() + SPARE_MESSAGES + WAITING_MESSAGES;
}

void dispatch_send(const macro_v1_DeviceMessage *message, enum priority priority) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  struct link *link = wire_link();
  if (link == NULL) return;
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  if (!pb_encode(&stream, macro_v1_DeviceMessage_fields, message) || !link_send(link, priority, bytes, stream.bytes_written)) {
    log_add(LOG_ERROR, "a message of the board could not be sent");
  }
}

#define FINAL_KEY ((macro_v1_DeviceMessage_final_tag << 3) | 2u)
/* `repeated_from_journal` as protobuf: of a field that comes again the last one counts. */
static const uint8_t repeated_mark[] = {(macro_v1_Final_repeated_from_journal_tag << 3), 1};

/* Sends an encoded Final as a DeviceMessage. */
static void send_encoded_final(const uint8_t *final, size_t length, bool is_repeated, enum priority priority) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  struct link *link = wire_link();
  if (link == NULL) return;
  const size_t whole = length + (is_repeated ? sizeof repeated_mark : 0);
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  const bool is_sent = pb_encode_varint(&stream, FINAL_KEY) && pb_encode_varint(&stream, whole) && pb_write(&stream, final, length) &&
                       (!is_repeated || pb_write(&stream, repeated_mark, sizeof repeated_mark)) &&
                       link_send(link, priority, bytes, stream.bytes_written);
  if (!is_sent) log_add(LOG_ERROR, "an answer could not be sent");
}

static size_t encode_final(const macro_v1_Final *final, uint8_t bytes[MAXIMUM_PAYLOAD_BYTES]) {
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, MAXIMUM_PAYLOAD_BYTES);
  return pb_encode(&stream, macro_v1_Final_fields, final) ? stream.bytes_written : 0;
}

void dispatch_send_final(const macro_v1_Final *final, enum priority priority) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  send_encoded_final(bytes, encode_final(final, bytes), false, priority);
}

/* Sends the answer of a request, and keeps that of an effectful one. */
static void finish(const struct method *method, const uint8_t *request_id, macro_v1_Final *final) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
  final->request_id.size = REQUEST_ID_BYTES;
  memcpy(final->request_id.bytes, request_id, REQUEST_ID_BYTES);
  const size_t length = encode_final(final, bytes);
  if (method->effect == EFFECT_EFFECTFUL) journal_record(request_id, bytes, length);
  send_encoded_final(bytes, length, false, PRIORITY_CONTROL);
}

/* Answers with what was not journaled: a request that never was one, or may be sent again and then be admitted. */
static void turn_away(const uint8_t *request_id, size_t id_bytes) {
  answer.request_id.size = (pb_size_t)(id_bytes < sizeof answer.request_id.bytes ? id_bytes : sizeof answer.request_id.bytes);
  memcpy(answer.request_id.bytes, request_id, answer.request_id.size);
  dispatch_send_final(&answer, PRIORITY_CONTROL);
}

static void remove_job(uint32_t index) {
  job_count -= 1;
  memmove(&jobs[index], &jobs[index + 1], (job_count - index) * sizeof jobs[0]);
  if (index == 0) has_begun = false;
}

static uint32_t index_of(const uint8_t *request_id) {
  uint32_t index = 0;
  while (index < job_count && memcmp(jobs[index].request_id, request_id, REQUEST_ID_BYTES) != 0) index += 1;
  return index;
}

/* Ends a job before its answer. One that has begun knows what it did. */
static void end_job(uint32_t index, const char *code, const char *detail) {
  const struct method *method = jobs[index].method;
  uint8_t request_id[REQUEST_ID_BYTES];
  memcpy(request_id, jobs[index].request_id, sizeof request_id);
  const macro_v1_Outcome outcome = index == 0 && has_begun ? method->abandon() : macro_v1_Outcome_NOT_APPLIED;
  remove_job(index);
  memset(&answer, 0, sizeof answer);
  method_fail(&answer, code, outcome, "%s: %s", method->name, detail);
  finish(method, request_id, &answer);
}

static void send_accepted(const uint8_t *request_id) {
  memset(&outgoing, 0, sizeof outgoing);
  outgoing.which_body = macro_v1_DeviceMessage_accepted_tag;
  outgoing.body.accepted.request_id.size = REQUEST_ID_BYTES;
  memcpy(outgoing.body.accepted.request_id.bytes, request_id, REQUEST_ID_BYTES);
  dispatch_send(&outgoing, PRIORITY_CONTROL);
}

static uint64_t deadline_of(const macro_v1_Request *request) {
  const double deadline = request->deadline_microseconds;
  /* What is no time above 0 is no deadline, also what is no number. */
  if (!(deadline > 0)) return 0;
  return deadline < 9007199254740992.0 ? (uint64_t)deadline : UINT64_MAX;
}

static bool is_past(uint64_t deadline) { return deadline != 0 && controller_link_time() > deadline; }

static void enqueue(const struct method *method, const macro_v1_Request *request, const uint8_t *bytes, size_t length) {
  struct job *job = &jobs[job_count];
  job->method = method;
  job->deadline = deadline_of(request);
  memcpy(job->request_id, request->request_id.bytes, REQUEST_ID_BYTES);
  job->length = (uint16_t)length;
  memcpy(job->bytes, bytes, length);
  job_count += 1;
  send_accepted(job->request_id);
}

static void begin(const struct method *method, const macro_v1_Request *request, const uint8_t *bytes, size_t length) {
  if (method->answer != NULL) {
    method->answer(request, &answer);
    finish(method, request->request_id.bytes, &answer);
  } else if (method->tag == macro_v1_Request_bulk_fetch_tag) {
    if (!fetch_begin(request, &answer)) finish(method, request->request_id.bytes, &answer);
  } else {
    enqueue(method, request, bytes, length);
  }
}

static void admit(const struct method *method, const macro_v1_Request *request, const uint8_t *bytes, size_t length) {
  const uint8_t *request_id = request->request_id.bytes;
  if (method->since_protocol > protocol_in_force) {
    (void)method_refuse(&answer, "METHOD_UNSUPPORTED", "%s needs protocol %u", method->name, (unsigned)method->since_protocol);
    turn_away(request_id, REQUEST_ID_BYTES);
  } else if (request->lease_epoch < controller.lease_epoch) {
    (void)method_refuse(&answer, "LEASE_STALE", "lease epoch %" PRIu32 "; %" PRIu32 " is in force", request->lease_epoch, controller.lease_epoch);
    turn_away(request_id, REQUEST_ID_BYTES);
  } else if (is_past(deadline_of(request))) {
    (void)method_refuse(&answer, "DEADLINE_EXCEEDED", "%s: its deadline has passed", method->name);
    finish(method, request_id, &answer);
  } else if (controller.is_stopped && method->energises) {
    (void)method_refuse(&answer, "DEVICE_STOPPED", "ESTOP is in force");
    finish(method, request_id, &answer);
  } else if (under_way() >= REQUESTS_IN_FLIGHT || controller.is_restart_due) {
    const char *why = controller.is_restart_due ? "the controller is about to restart" : "32 requests are under way";
    (void)method_refuse(&answer, "DEVICE_BUSY", "%s", why);
    turn_away(request_id, REQUEST_ID_BYTES);
  } else {
    begin(method, request, bytes, length);
  }
}

static void take_request(const macro_v1_Request *request, const uint8_t *bytes, size_t length) {
  const struct method *method = method_of(request->which_method);
  const uint8_t *request_id = request->request_id.bytes;
  memset(&answer, 0, sizeof answer);
  if (request->request_id.size != REQUEST_ID_BYTES) {
    (void)method_refuse(&answer, "REQUEST_INVALID", "requestId has %u bytes; it has 16", (unsigned)request->request_id.size);
    turn_away(request_id, request->request_id.size);
    return;
  }
  if (method == NULL) {
    (void)method_refuse(&answer, "METHOD_UNSUPPORTED", "the request names no method that this board knows");
    turn_away(request_id, REQUEST_ID_BYTES);
    return;
  }
  size_t kept_bytes = 0;
  const uint8_t *kept = journal_find(request_id, &kept_bytes);
  if (kept != NULL) send_encoded_final(kept, kept_bytes, true, PRIORITY_CONTROL);
  else if (index_of(request_id) == job_count && !fetch_has(request_id)) admit(method, request, bytes, length);
}

/* A request whose fields this board cannot hold is refused by its id, which is all that is read of it. */
static void refuse_unreadable(const uint8_t *bytes, size_t length) {
  pb_istream_t stream = pb_istream_from_buffer(bytes, length);
  pb_istream_t request;
  pb_istream_t id;
  pb_wire_type_t type;
  uint32_t field;
  bool is_end;
  uint8_t request_id[64];
  if (!pb_decode_tag(&stream, &type, &field, &is_end) || field != macro_v1_HostMessage_request_tag || type != PB_WT_STRING) return;
  if (!pb_make_string_substream(&stream, &request)) return;
  if (!pb_decode_tag(&request, &type, &field, &is_end) || field != macro_v1_Request_request_id_tag || type != PB_WT_STRING) return;
  if (!pb_make_string_substream(&request, &id)) return;
  const size_t id_bytes = id.bytes_left < sizeof request_id ? id.bytes_left : sizeof request_id;
  const unsigned announced = (unsigned)id.bytes_left;
  if (!pb_read(&id, request_id, id_bytes)) return;
  memset(&answer, 0, sizeof answer);
  if (announced != REQUEST_ID_BYTES) (void)method_refuse(&answer, "REQUEST_INVALID", "requestId has %u bytes; it has 16", announced);
  else (void)method_refuse(&answer, "REQUEST_INVALID", "the request does not decode within the limits of this board");
  turn_away(request_id, id_bytes);
}

static void cancel(const macro_v1_Cancel *asked) {
  if (asked->request_id.size != REQUEST_ID_BYTES) return;
  const uint32_t index = index_of(asked->request_id.bytes);
  if (index < job_count) {
    end_job(index, "CANCELLED", "the host has cancelled it");
  } else if (fetch_cancel(asked->request_id.bytes)) {
    memset(&answer, 0, sizeof answer);
    (void)method_refuse(&answer, "CANCELLED", "BulkFetch: the host has cancelled it");
    turn_away(asked->request_id.bytes, REQUEST_ID_BYTES);
  }
}

static bool decode(macro_v1_HostMessage *message, const uint8_t *bytes, size_t length) {
  pb_istream_t stream = pb_istream_from_buffer(bytes, length);
  return pb_decode(&stream, macro_v1_HostMessage_fields, message);
}

static void take_message(const uint8_t *bytes, size_t length) {
  if (!decode(&received, bytes, length)) {
    refuse_unreadable(bytes, length);
  } else if (received.which_body == macro_v1_HostMessage_bulk_chunk_tag) {
    const macro_v1_BulkChunk *chunk = &received.body.bulk_chunk;
    if (chunk->sha256.size >= 8) bulk_take(chunk->sha256.bytes, chunk->offset_bytes, chunk->data.bytes, chunk->data.size);
  } else if (received.which_body == macro_v1_HostMessage_request_tag) {
    take_request(&received.body.request, bytes, length);
  } else if (received.which_body == macro_v1_HostMessage_cancel_tag) {
    cancel(&received.body.cancel);
  }
}

void dispatch_receive(uint32_t protocol) {
  protocol_in_force = protocol;
  for (;;) {
    struct link *link = wire_link();
    size_t length = 0;
    const uint8_t *bytes = link == NULL || link_room(link) < under_way() + SPARE_MESSAGES ? NULL : link_peek(link, &length);
    if (bytes == NULL) return;
    take_message(bytes, length);
    link_take(link);
  }
}

/* Begins the first job: decodes it, and has it checked. Returns whether it is under way now. */
static bool begin_job(struct job *job) {
  memset(&answer, 0, sizeof answer);
  (void)decode(&running, job->bytes, job->length);
  if (job->method->begin(&running.body.request, &answer)) {
    has_begun = true;
    return true;
  }
  finish(job->method, job->request_id, &answer);
  remove_job(0);
  return false;
}

static void send_progress(const struct job *job) {
  macro_v1_Progress *progress = &outgoing.body.progress;
  outgoing.which_body = macro_v1_DeviceMessage_progress_tag;
  progress->request_id.size = REQUEST_ID_BYTES;
  memcpy(progress->request_id.bytes, job->request_id, REQUEST_ID_BYTES);
  dispatch_send(&outgoing, PRIORITY_CONTROL);
}

static void step_job(struct job *job) {
  memset(&answer, 0, sizeof answer);
  memset(&outgoing, 0, sizeof outgoing);
  const enum step step = job->method->step(&running.body.request, &outgoing.body.progress, &answer);
  if (step == STEP_PROGRESS) send_progress(job);
  if (step != STEP_FINAL) return;
  finish(job->method, job->request_id, &answer);
  remove_job(0);
}

static bool is_late(const struct job *job) {
  return is_past(job->deadline) && !(has_begun && job->method->effect == EFFECT_EFFECTFUL);
}

/* Without a session nobody is told, and there is always room for that. */
static bool can_step(void) { return job_count > 0 && (wire_link() == NULL || dispatch_has_room()); }

bool dispatch_has_work(void) {
  return can_step() || (fetch_count() > 0 && dispatch_has_room() && link_queued(wire_link(), PRIORITY_BULK) < MAXIMUM_WINDOW_FRAMES);
}

void dispatch_work(void) {
  if (wire_link() != NULL) fetch_work();
  if (!can_step()) return;
  if (is_late(&jobs[0])) end_job(0, "DEADLINE_EXCEEDED", "its deadline has passed");
  else if (has_begun || begin_job(&jobs[0])) step_job(&jobs[0]);
}

void dispatch_end_session(void) {
  fetch_initialise();
  for (uint32_t index = job_count; index > 0; index -= 1) {
    if (jobs[index - 1].method->effect == EFFECT_EFFECTFUL) continue;
    if (index == 1 && has_begun) (void)jobs[0].method->abandon();
    remove_job(index - 1);
  }
}

void dispatch_stop(void) {
  while (job_count > 0) end_job(0, "DEVICE_STOPPED", "ESTOP came while it was waiting or running");
}

void dispatch_host_silent(uint32_t dead_man_milliseconds) {
  char detail[64];
  (void)snprintf(detail, sizeof detail, "no frame of the host for %" PRIu32 " ms", dead_man_milliseconds);
  for (uint32_t index = job_count; index > 0; index -= 1) {
    if (jobs[index - 1].method->energises) end_job(index - 1, "HOST_SILENT", detail);
  }
}

bool dispatch_has_energising(void) {
  for (uint32_t index = 0; index < job_count; index += 1) {
    if (jobs[index].method->energises) return true;
  }
  return false;
}

bool dispatch_has_effectful(void) {
  for (uint32_t index = 0; index < job_count; index += 1) {
    if (jobs[index].method->effect == EFFECT_EFFECTFUL) return true;
  }
  return false;
}
