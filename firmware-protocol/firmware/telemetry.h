#ifndef PRIME_TELEMETRY_H
#define PRIME_TELEMETRY_H

#include <stdint.h>

#include "macro/v1/macro.pb.h"

/* Ends every subscription: so does the end of a session. */
void telemetry_initialise(void);

/* Makes the samples that are due. */
void telemetry_make(uint64_t now);
/* A timestep of a run is a sample of its stream. */
void telemetry_timestep(const macro_v1_TimestepResult *result);

/* Sends samples where the line has room for what may wait. */
void telemetry_send(uint32_t session);

/* When a sample is due next; UINT64_MAX where none is. */
uint64_t telemetry_due_at(void);

#endif
