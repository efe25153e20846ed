/* The table of methods, and those that take a few lines. */
#include "method.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array.h"
#include "bulk.h"
#include "controller.h"
#include "dispatch.h"
#include "program.h"

static void fail(macro_v1_Final *final, const char *code, macro_v1_Outcome outcome, const char *format, va_list arguments) {
  macro_v1_Failure *failure = &final->result.failure;
  final->which_result = macro_v1_Final_failure_tag;
  (void)snprintf(failure->code, sizeof failure->code, "%s", code);
  (void)vsnprintf(failure->detail, sizeof failure->detail, format, arguments);
  failure->outcome = outcome;
}

void method_fail(macro_v1_Final *final, const char *code, macro_v1_Outcome outcome, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail(final, code, outcome, format, arguments);
  va_end(arguments);
}

bool method_refuse(macro_v1_Final *final, const char *code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail(final, code, macro_v1_Outcome_NOT_APPLIED, format, arguments);
  va_end(arguments);
  return false;
}

bool method_within(macro_v1_Final *final, const char *field, uint64_t value, uint64_t minimum, uint64_t maximum) {
  if (value >= minimum && value <= maximum) return true;
  return method_refuse(final, "REQUEST_INVALID", "%s is %" PRIu64 "; the range is %" PRIu64 " to %" PRIu64, field, value, minimum, maximum);
}

/* The first bytes of a digest, as people name it. */
static void digest_text(char text[17], const uint8_t *digest, size_t digest_bytes) {
  text[0] = '\0';
  for (size_t index = 0; index < digest_bytes && index < 8; index += 1) (void)snprintf(text + 2 * index, 3, "%02x", digest[index]);
}

struct bulk_object *method_object(macro_v1_Final *final, const char *field, const uint8_t *digest, size_t digest_bytes) {
  struct bulk_object *object = bulk_find(digest, digest_bytes);
  if (object != NULL) return object;
  char text[17];
  digest_text(text, digest, digest_bytes);
  (void)method_refuse(final, "BULK_UNKNOWN", "%s names the object %s, which is not here", field, text);
  return NULL;
}

static void answer_no_operation(const macro_v1_Request *request, macro_v1_Final *final) {
  (void)request;
  final->which_result = macro_v1_Final_no_operation_tag;
  final->result.no_operation.link_time_microseconds = (double)controller_link_time();
}

void method_status(macro_v1_Status *status) {
  const struct array_record *record = array_record();
  memcpy(status->boot_id, controller.boot_id, sizeof status->boot_id);
  memcpy(status->array_state, array_state(), sizeof status->array_state);
  status->array_epoch = record->epoch;
  status->operation_nanoseconds = (double)record->operation_nanoseconds;
  status->scratch_count = controller.scratch_count;
  status->pulses = (double)record->pulses;
  status->stopped = controller.is_stopped;
  status->lease_epoch = controller.lease_epoch;
  int32_t millicelsius = 0;
  status->has_temperature_celsius = board_temperature(&millicelsius);
  status->temperature_celsius = millicelsius / 1000.0;
}

static void answer_get_status(const macro_v1_Request *request, macro_v1_Final *final) {
  (void)request;
  final->which_result = macro_v1_Final_get_status_tag;
  method_status(&final->result.get_status);
}

static void answer_scratch(const macro_v1_Request *request, macro_v1_Final *final) {
  controller.scratch_count += request->method.scratch.add;
  final->which_result = macro_v1_Final_scratch_tag;
  final->result.scratch.count = controller.scratch_count;
}

static void state_of(macro_v1_BulkState *state, const struct bulk_object *object, const uint8_t *digest) {
  memcpy(state->sha256, digest, SHA256_BYTES);
  state->offset_bytes = object->offset_bytes;
  state->size_bytes = object->size_bytes;
  state->committed = object->is_committed;
}

static void answer_bulk_offer(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_BulkOffer *offer = &request->method.bulk_offer;
  if (offer->sha256.size != SHA256_BYTES) {
    (void)method_refuse(final, "REQUEST_INVALID", "sha256 has %u bytes; it has 32", (unsigned)offer->sha256.size);
    return;
  }
  struct bulk_object *object = NULL;
  const enum bulk_result result = bulk_offer(offer->sha256.bytes, offer->size_bytes, &object);
  if (result == BULK_TOO_LARGE) {
    (void)method_refuse(final, "BULK_TOO_LARGE", "an object of %" PRIu32 " bytes; the limit is %u", offer->size_bytes, BULK_BYTES);
  } else if (result != BULK_OK) {
    (void)method_refuse(final, "DEVICE_BUSY", "the objects in use leave no room for %" PRIu32 " bytes", offer->size_bytes);
  } else {
    final->which_result = macro_v1_Final_bulk_offer_tag;
    state_of(&final->result.bulk_offer, object, offer->sha256.bytes);
  }
}

static void answer_bulk_commit(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_BulkCommit *commit = &request->method.bulk_commit;
  struct bulk_object *object = NULL;
  const bool is_digest = commit->sha256.size == SHA256_BYTES;
  const enum bulk_result result = is_digest ? bulk_commit(commit->sha256.bytes, &object) : BULK_NOT_KNOWN;
  if (result == BULK_MISMATCH) {
    (void)method_refuse(final, "BULK_DIGEST_MISMATCH", "the bytes do not have the digest of the offer");
  } else if (result != BULK_OK) {
    (void)method_refuse(final, "BULK_UNKNOWN", "the object is %s", result == BULK_INCOMPLETE ? "incomplete" : "unknown");
  } else {
    final->which_result = macro_v1_Final_bulk_commit_tag;
    state_of(&final->result.bulk_commit, object, commit->sha256.bytes);
  }
}

static bool begin_load_program(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_LoadProgram *load = &request->method.load_program;
  return method_object(final, "sha256", load->sha256.bytes, load->sha256.size) != NULL;
}

static enum step step_load_program(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  (void)progress;
  const macro_v1_LoadProgram *load = &request->method.load_program;
  const struct bulk_object *object = method_object(final, "sha256", load->sha256.bytes, load->sha256.size);
  if (object == NULL) return STEP_FINAL;
  char problem[280];
  if (!program_load(object, problem, sizeof problem)) {
    (void)method_refuse(final, "REQUEST_INVALID", "%s", problem);
    return STEP_FINAL;
  }
  final->which_result = macro_v1_Final_load_program_tag;
  memcpy(final->result.load_program.sha256, load->sha256.bytes, SHA256_BYTES);
  return STEP_FINAL;
}

static void answer_restart(const macro_v1_Request *request, macro_v1_Final *final) {
  (void)request;
  if (dispatch_has_effectful()) {
    (void)method_refuse(final, "DEVICE_BUSY", "an effectful request is under way");
    return;
  }
  final->which_result = macro_v1_Final_restart_tag;
  controller_ask_restart();
}

/* What a method that changes nothing leaves behind when it is ended. */
static macro_v1_Outcome abandon_pure(void) { return macro_v1_Outcome_NOT_APPLIED; }

static const struct method methods[] = {
  {.tag = macro_v1_Request_no_operation_tag, .name = "NoOperation", .answer = answer_no_operation},
  {.tag = macro_v1_Request_get_status_tag, .name = "GetStatus", .answer = answer_get_status},
  {.tag = macro_v1_Request_scratch_tag, .name = "Scratch", .effect = EFFECT_EFFECTFUL, .energises = true, .answer = answer_scratch},
  {.tag = macro_v1_Request_bulk_offer_tag, .name = "BulkOffer", .effect = EFFECT_IDEMPOTENT, .answer = answer_bulk_offer},
  {.tag = macro_v1_Request_bulk_commit_tag, .name = "BulkCommit", .effect = EFFECT_IDEMPOTENT, .answer = answer_bulk_commit},
  {.tag = macro_v1_Request_bulk_fetch_tag, .name = "BulkFetch"},
  {.tag = macro_v1_Request_load_program_tag, .name = "LoadProgram", .effect = EFFECT_IDEMPOTENT, .begin = begin_load_program,
   .step = step_load_program, .abandon = abandon_pure},
#if HAS_LOAD_SNAPSHOT
  {.tag = macro_v1_Request_load_snapshot_tag, .name = "LoadSnapshot", .effect = EFFECT_EFFECTFUL, .energises = true,
   .begin = load_snapshot_begin, .step = load_snapshot_step, .abandon = abandon_pure},
#endif
  {.tag = macro_v1_Request_run_network_tag, .name = "RunNetwork", .energises = true, .begin = run_network_begin, .step = run_network_step,
   .abandon = run_network_abandon},
  {.tag = macro_v1_Request_multiply_tag, .name = "Multiply", .energises = true, .begin = multiply_begin, .step = multiply_step,
   .abandon = abandon_pure},
  {.tag = macro_v1_Request_read_cells_tag, .name = "ReadCells", .energises = true, .begin = read_cells_begin, .step = read_cells_step,
   .abandon = read_cells_abandon},
  {.tag = macro_v1_Request_reset_cells_tag, .name = "ResetCells", .effect = EFFECT_EFFECTFUL, .energises = true, .begin = reset_cells_begin,
   .step = reset_cells_step, .abandon = reset_cells_abandon},
  {.tag = macro_v1_Request_subscribe_tag, .name = "Subscribe", .effect = EFFECT_IDEMPOTENT, .since_protocol = 2, .answer = subscribe_answer},
  {.tag = macro_v1_Request_arithmetic_tag, .name = "Arithmetic", .since_protocol = 2, .answer = arithmetic_answer},
  {.tag = macro_v1_Request_restart_tag, .name = "Restart", .effect = EFFECT_IDEMPOTENT, .since_protocol = 2, .answer = answer_restart},
};

uint32_t method_count(void) { return (uint32_t)(sizeof methods / sizeof methods[0]); }

const struct method *method_at(uint32_t index) { return &methods[index]; }

const struct method *method_of(pb_size_t tag) {
  for (uint32_t index = 0; index < method_count(); index += 1) {
    if (methods[index].tag == tag) return &methods[index];
  }
  return NULL;
}
