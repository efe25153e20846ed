#ifndef PRIME_SESSION_H
#define PRIME_SESSION_H

#include <stdint.h>

#include "framing.h"

void session_initialise(void);

/* Takes a frame from the line: HELLO, ESTOP, and what belongs to the session. */
void session_take_frame(const struct frame *frame, uint64_t now);

/* Looks after the session: dead-man, a line that is dead. */
void session_watch(uint64_t now);
/* When session_watch has something to look after; UINT64_MAX where it has not. */
uint64_t session_watch_at(void);

/* Ends the session, where there is one. */
void session_end(void);

/* Sends what goes past the window: log records and telemetry. */
void session_send_extras(void);

/* 0 where no session is open. */
uint32_t session_protocol(void);

#endif
