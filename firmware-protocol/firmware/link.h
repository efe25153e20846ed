#ifndef PRIME_LINK_H
#define PRIME_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "framing.h"
#include "limits.h"
#include "round_trip.h"

/* Lower goes first. ESTOP is not among them: it is a frame of its own and waits for nothing. */
enum priority { PRIORITY_CONTROL, PRIORITY_BULK, PRIORITY_TELEMETRY, PRIORITIES };

#define LINK_NEVER UINT64_MAX
/* What this end can hold: the frames of the largest window, each of any length. */
#define LINK_CREDIT_BYTES (MAXIMUM_WINDOW_FRAMES * MAXIMUM_PAYLOAD_BYTES)

struct link_statistics {
  uint32_t frames_sent;
  uint32_t frames_received;
  uint32_t retransmissions;
  uint32_t fast_retransmissions;
  uint32_t duplicates;
  uint32_t out_of_window;
};

struct link_message {
  uint16_t length;
  uint16_t next;
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
};

struct link_queue {
  uint16_t first;
  uint16_t last;
  uint16_t count;
};

struct link_in_flight {
  uint64_t sent_at;
  uint16_t message;
  uint16_t transmissions;
  bool is_acknowledged;
  bool is_due;
};

struct link_received {
  uint16_t length;
  bool is_held;
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
};

/*
 * Both directions of one session's reliable messages: selective repeat with cumulative and selective acknowledgement, a window, byte credits,
 * retransmission by timeout and, once a round trip, by evidence. It does no I/O: it is told the time, and asked for the next frame.
 */
struct link {
  uint32_t session;
  uint16_t window_frames;
  bool is_down;
  struct link_statistics statistics;
  struct round_trip round_trip;

  struct link_message messages[LINK_MESSAGES];
  struct link_queue free;
  struct link_queue queues[PRIORITIES];
  uint32_t queued_bytes;

  /* Frames from first_sequence to before next_sequence, each at its number modulo the largest window. */
  struct link_in_flight in_flight[MAXIMUM_WINDOW_FRAMES];
  uint16_t first_sequence;
  uint16_t next_sequence;
  uint32_t in_flight_bytes;
  uint32_t peer_credit_bytes;
  uint64_t fast_retransmit_allowed_at;
  uint32_t timeouts_in_a_row;

  /* Frames from `delivered` to before `expected` are acknowledged and wait to be taken; those behind have a gap before them. */
  struct link_received received[MAXIMUM_WINDOW_FRAMES];
  uint16_t delivered;
  uint16_t expected;
  uint16_t held_frames;
  /* Since the last frame that took an acknowledgement along; LINK_NEVER where there is nothing to acknowledge. */
  uint64_t acknowledge_at;
  uint32_t unacknowledged_frames;
  uint32_t unacknowledged_bytes;
};

struct link_options {
  uint32_t session;
  uint32_t window_frames;
  uint32_t peer_credit_bytes;
  uint32_t frame_microseconds;
};

void link_open(struct link *link, const struct link_options *options);

/* Messages that can still be queued. */
size_t link_room(const struct link *link);
size_t link_queued(const struct link *link, enum priority priority);

/* Queues one message of at most MAXIMUM_PAYLOAD_BYTES; messages of one priority keep their order. Returns false where there is no room. */
bool link_send(struct link *link, enum priority priority, const uint8_t *bytes, size_t length);

/* Takes in a DATA or ACK frame of this session. */
void link_receive(struct link *link, const struct frame *frame, uint64_t now);

/* The next message in order, or NULL; it stays until link_take. */
const uint8_t *link_peek(const struct link *link, size_t *length);
void link_take(struct link *link);

/* Fills in the next frame to put on the line now. Returns false where there is none. */
bool link_transmit(struct link *link, struct frame *frame, uint64_t now);

/* When link_transmit must be called again at the latest, even if nothing arrives. */
uint64_t link_timeout_at(const struct link *link);

/* The same where the line is full: what is to be acknowledged waits for room then, not for time. */
uint64_t link_retransmit_at(const struct link *link);

#endif
