#ifndef PRIME_WIRE_H
#define PRIME_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "framing.h"
#include "link.h"

/* The board's end of the line: bytes to frames to messages and back. */
void wire_initialise(void);

/* Forgets what was read and what waits to be written: the line is another one. */
void wire_reset_line(void);

/* Opens the reliable link of a session; an earlier one is forgotten with all that it held. */
void wire_open(const struct link_options *options);
void wire_close(void);

/* The link of the open session, or NULL. */
struct link *wire_link(void);

/* Reads once from the line and hands each frame on. Returns whether there were bytes. */
bool wire_receive(uint64_t now, void (*take)(const struct frame *frame, uint64_t now));

/* Puts a frame on the line past window and queue. Returns false where the bytes before it have not left; the peer will repeat itself. */
bool wire_send_frame(enum frame_type type, uint32_t session, const uint8_t *payload, size_t length);

/* Sends what the link has to send, as far as the line takes it. */
void wire_pump(uint64_t now);

/* Bytes that wait for the line, and whether they are few enough for a frame that may be left out. */
size_t wire_waiting_bytes(void);
bool wire_has_slack(void);

const uint32_t *wire_discarded(void);

#endif
