/* What dispatch knows of a method. */
#ifndef PRIME_METHOD_H
#define PRIME_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "macro/v1/macro.pb.h"

/* Whether running a method twice differs from running it once. */
enum effect { EFFECT_PURE, EFFECT_IDEMPOTENT, EFFECT_EFFECTFUL };

enum step {
  /* There is more to do and nothing to tell. */
  STEP_WORKING,
  /* `progress` holds what there is to tell. */
  STEP_PROGRESS,
  /* `final` holds the answer. */
  STEP_FINAL
};

struct method {
  pb_size_t tag;
  const char *name;
  enum effect effect;
  /* It puts bias on the array: refused under ESTOP, ended when the host is silent. */
  bool energises;
  uint8_t since_protocol;
  /* Methods that do not wait for the array answer at once. */
  void (*answer)(const macro_v1_Request *request, macro_v1_Final *final);
  /* The others begin when their turn has come (false: refused, `final` says why), and then work in steps, so that ESTOP gets in. */
  bool (*begin)(const macro_v1_Request *request, macro_v1_Final *final);
  enum step (*step)(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);
  /* Ends a method that has begun, before its answer. Returns what is known of its effect. */
  macro_v1_Outcome (*abandon)(void);
};

/* The method of a request, or NULL where this board knows none of that number. */
const struct method *method_of(pb_size_t tag);
/* All methods, for HELLO_ACK. */
const struct method *method_at(uint32_t index);
uint32_t method_count(void);

/* Makes `final` a failure. The text is cut at 300 characters. */
void method_fail(macro_v1_Final *final, const char *code, macro_v1_Outcome outcome, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A refusal: nothing was applied. Returns false. */
bool method_refuse(macro_v1_Final *final, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Whether a field lies in its range; otherwise `final` refuses it by name. */
bool method_within(macro_v1_Final *final, const char *field, uint64_t value, uint64_t minimum, uint64_t maximum);

/* What GetStatus and the status stream tell. */
void method_status(macro_v1_Status *status);

struct bulk_object;
/* A committed object that a request names; otherwise `final` says that it is not here. */
struct bulk_object *method_object(macro_v1_Final *final, const char *field, const uint8_t *digest, size_t digest_bytes);

bool multiply_begin(const macro_v1_Request *request, macro_v1_Final *final);
enum step multiply_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);

bool read_cells_begin(const macro_v1_Request *request, macro_v1_Final *final);
enum step read_cells_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);
macro_v1_Outcome read_cells_abandon(void);

bool reset_cells_begin(const macro_v1_Request *request, macro_v1_Final *final);
enum step reset_cells_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);
macro_v1_Outcome reset_cells_abandon(void);

bool run_network_begin(const macro_v1_Request *request, macro_v1_Final *final);
enum step run_network_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);
macro_v1_Outcome run_network_abandon(void);

bool load_snapshot_begin(const macro_v1_Request *request, macro_v1_Final *final);
enum step load_snapshot_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final);

void arithmetic_answer(const macro_v1_Request *request, macro_v1_Final *final);
void subscribe_answer(const macro_v1_Request *request, macro_v1_Final *final);

#endif
