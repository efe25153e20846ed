#include "link.h"

#include <string.h>

/* Expiries in a row of one frame that are borne; the next is the end of the line (PROTOCOL.md, "Link"). */
#define TIMEOUTS_BORNE 8u
/* Later frames that must have arrived before a missing one is sent again at once. */
#define FAST_RETRANSMIT_AFTER 2u
/* An acknowledgement waits for a frame to ride on, unless so much of the window stands still for it (PROTOCOL.md, "Link"). */
#define PROMPT_SHARE 2u
#define NO_MESSAGE UINT16_MAX
#define SLOT(sequence) ((uint16_t)(sequence) % MAXIMUM_WINDOW_FRAMES)

/* How far `later` is ahead of `earlier` on the circle of sequence numbers. */
static uint16_t ahead(uint16_t later, uint16_t earlier) { return (uint16_t)(later - earlier); }

static void push(struct link *link, struct link_queue *queue, uint16_t message) {
  link->messages[message].next = NO_MESSAGE;
  if (queue->count == 0) queue->first = message;
  else link->messages[queue->last].next = message;
  queue->last = message;
  queue->count = (uint16_t)(queue->count + 1);
}

static uint16_t pop(struct link *link, struct link_queue *queue) {
  const uint16_t message = queue->first;
  queue->first = link->messages[message].next;
  queue->count = (uint16_t)(queue->count - 1);
  return message;
}

void link_open(struct link *link, const struct link_options *options) {
  memset(link, 0, sizeof *link);
  link->session = options->session;
  link->window_frames = (uint16_t)options->window_frames;
  link->peer_credit_bytes = options->peer_credit_bytes;
  link->acknowledge_at = LINK_NEVER;
  round_trip_begin(&link->round_trip, options->frame_microseconds);
  for (uint16_t message = 0; message < LINK_MESSAGES; message = (uint16_t)(message + 1)) push(link, &link->free, message);
}

size_t link_room(const struct link *link) { return link->free.count; }

size_t link_queued(const struct link *link, enum priority priority) { return link->queues[priority].count; }

bool link_send(struct link *link, enum priority priority, const uint8_t *bytes, size_t length) {
  if (link->free.count == 0 || length > MAXIMUM_PAYLOAD_BYTES) return false;
  const uint16_t message = pop(link, &link->free);
  memcpy(link->messages[message].bytes, bytes, length);
  link->messages[message].length = (uint16_t)length;
  link->queued_bytes += (uint32_t)length;
  push(link, &link->queues[priority], message);
  return true;
}

static uint16_t in_flight_frames(const struct link *link) { return ahead(link->next_sequence, link->first_sequence); }

static struct link_in_flight *oldest_unacknowledged(struct link *link) {
  for (uint16_t sequence = link->first_sequence; sequence != link->next_sequence; sequence = (uint16_t)(sequence + 1)) {
    if (!link->in_flight[SLOT(sequence)].is_acknowledged) return &link->in_flight[SLOT(sequence)];
  }
  return NULL;
}

uint64_t link_retransmit_at(const struct link *link) {
  const struct link_in_flight *oldest = oldest_unacknowledged((struct link *)link);
  if (oldest == NULL || link->is_down) return LINK_NEVER;
  return oldest->sent_at + round_trip_timeout(&link->round_trip);
}

uint64_t link_timeout_at(const struct link *link) {
  const uint64_t retransmission = link_retransmit_at(link);
  return retransmission < link->acknowledge_at ? retransmission : link->acknowledge_at;
}

/* A frame that later ones have overtaken is lost: send it again now, but not more than once a round trip. */
static void repair_gaps(struct link *link, uint64_t now) {
  const uint32_t round_trip = round_trip_smoothed(&link->round_trip);
  uint32_t later = 0;
  bool is_any_due = false;
  for (uint16_t sequence = link->next_sequence; sequence != link->first_sequence; sequence = (uint16_t)(sequence - 1)) {
    struct link_in_flight *entry = &link->in_flight[SLOT(sequence - 1)];
    if (entry->is_acknowledged) {
      later += 1;
      continue;
    }
    const bool was_just_sent = entry->transmissions > 1 && now - entry->sent_at < round_trip;
    if (later >= FAST_RETRANSMIT_AFTER && !entry->is_due && !was_just_sent && now >= link->fast_retransmit_allowed_at) {
      entry->is_due = true;
      link->statistics.fast_retransmissions += 1;
    }
    is_any_due = is_any_due || entry->is_due;
  }
  if (is_any_due) link->fast_retransmit_allowed_at = now + round_trip;
}

static void free_acknowledged(struct link *link) {
  while (in_flight_frames(link) > 0 && link->in_flight[SLOT(link->first_sequence)].is_acknowledged) {
    push(link, &link->free, link->in_flight[SLOT(link->first_sequence)].message);
    link->first_sequence = (uint16_t)(link->first_sequence + 1);
  }
}

static void take_acknowledgement(struct link *link, const struct frame *frame, uint64_t now) {
  link->peer_credit_bytes = frame->credit;
  const uint16_t cumulative = ahead(frame->acknowledge, link->first_sequence);
  /* What acknowledges frames that were never sent is an old frame of a count that has wrapped. */
  if (in_flight_frames(link) == 0 || cumulative > in_flight_frames(link)) return;
  const struct link_in_flight *sample = NULL;
  for (uint16_t index = 0; index < in_flight_frames(link); index = (uint16_t)(index + 1)) {
    struct link_in_flight *entry = &link->in_flight[SLOT(link->first_sequence + index)];
    const uint16_t distance = (uint16_t)(index - cumulative - 1);
    const bool is_selected = index > cumulative && distance < 32 && ((frame->selective >> distance) & 1u) == 1;
    if ((index >= cumulative && !is_selected) || entry->is_acknowledged) continue;
    entry->is_acknowledged = true;
    entry->is_due = false;
    link->in_flight_bytes -= link->messages[entry->message].length;
    link->timeouts_in_a_row = 0;
    if (entry->transmissions == 1) sample = entry;
  }
  if (sample != NULL) round_trip_sample(&link->round_trip, now - sample->sent_at);
  free_acknowledged(link);
  repair_gaps(link, now);
}

static bool is_gap_open(const struct link *link) { return link->held_frames > ahead(link->expected, link->delivered); }

static void schedule_acknowledgement(struct link *link, const struct frame *frame, uint64_t now) {
  link->unacknowledged_frames += 1;
  link->unacknowledged_bytes += (uint32_t)frame->length;
  const bool is_much = link->unacknowledged_frames * PROMPT_SHARE >= link->window_frames || link->unacknowledged_bytes * PROMPT_SHARE >= LINK_CREDIT_BYTES;
  const bool is_in_order = frame->sequence == link->expected && !is_gap_open(link);
  const uint64_t at = is_in_order && !is_much ? now + ACKNOWLEDGEMENT_DELAY_MICROSECONDS : now;
  if (at < link->acknowledge_at) link->acknowledge_at = at;
}

static void take_data(struct link *link, const struct frame *frame) {
  struct link_received *slot = &link->received[SLOT(frame->sequence)];
  if (ahead(frame->sequence, link->delivered) >= MAXIMUM_WINDOW_FRAMES) {
    if (ahead(link->expected, frame->sequence) <= MAXIMUM_WINDOW_FRAMES) link->statistics.duplicates += 1;
    else link->statistics.out_of_window += 1;
    return;
  }
  if (slot->is_held) {
    link->statistics.duplicates += 1;
    return;
  }
  slot->is_held = true;
  slot->length = (uint16_t)frame->length;
  memcpy(slot->bytes, frame->payload, frame->length);
  link->held_frames = (uint16_t)(link->held_frames + 1);
  while (ahead(link->expected, link->delivered) < MAXIMUM_WINDOW_FRAMES && link->received[SLOT(link->expected)].is_held) {
    link->expected = (uint16_t)(link->expected + 1);
  }
}

void link_receive(struct link *link, const struct frame *frame, uint64_t now) {
  link->statistics.frames_received += 1;
  take_acknowledgement(link, frame, now);
  if (frame->type != FRAME_DATA) return;
  schedule_acknowledgement(link, frame, now);
  take_data(link, frame);
}

const uint8_t *link_peek(const struct link *link, size_t *length) {
  if (link->delivered == link->expected) return NULL;
  const struct link_received *slot = &link->received[SLOT(link->delivered)];
  *length = slot->length;
  return slot->bytes;
}

void link_take(struct link *link) {
  link->received[SLOT(link->delivered)].is_held = false;
  link->held_frames = (uint16_t)(link->held_frames - 1);
  link->delivered = (uint16_t)(link->delivered + 1);
}

static uint32_t selective(const struct link *link) {
  uint32_t bits = 0;
  const uint16_t span = (uint16_t)(MAXIMUM_WINDOW_FRAMES - ahead(link->expected, link->delivered));
  for (uint16_t distance = 1; distance < span; distance = (uint16_t)(distance + 1)) {
    if (link->received[SLOT(link->expected + distance)].is_held) bits |= 1u << (distance - 1);
  }
  return bits;
}

static void fill(struct link *link, struct frame *frame, enum frame_type type, uint16_t sequence) {
  link->acknowledge_at = LINK_NEVER;
  link->unacknowledged_frames = 0;
  link->unacknowledged_bytes = 0;
  link->statistics.frames_sent += 1;
  frame->type = (uint8_t)type;
  frame->flags = 0;
  frame->session = link->session;
  frame->sequence = sequence;
  frame->acknowledge = link->expected;
  frame->selective = selective(link);
  frame->credit = (uint16_t)((MAXIMUM_WINDOW_FRAMES - link->held_frames) * MAXIMUM_PAYLOAD_BYTES);
  frame->payload = NULL;
  frame->length = 0;
}

static void fill_data(struct link *link, struct frame *frame, uint16_t sequence, uint64_t now) {
  struct link_in_flight *entry = &link->in_flight[SLOT(sequence)];
  entry->is_due = false;
  entry->transmissions = (uint16_t)(entry->transmissions + 1);
  entry->sent_at = now;
  fill(link, frame, FRAME_DATA, sequence);
  frame->payload = link->messages[entry->message].bytes;
  frame->length = link->messages[entry->message].length;
}

static void expire(struct link *link, uint64_t now) {
  if (link->is_down || now < link_retransmit_at(link)) return;
  link->timeouts_in_a_row += 1;
  if (link->timeouts_in_a_row > TIMEOUTS_BORNE) {
    link->is_down = true;
    return;
  }
  const uint32_t timeout = round_trip_timeout(&link->round_trip);
  for (uint16_t sequence = link->first_sequence; sequence != link->next_sequence; sequence = (uint16_t)(sequence + 1)) {
    struct link_in_flight *entry = &link->in_flight[SLOT(sequence)];
    if (!entry->is_acknowledged && now - entry->sent_at >= timeout) entry->is_due = true;
  }
  round_trip_back_off(&link->round_trip);
}

static bool transmit_again(struct link *link, struct frame *frame, uint64_t now) {
  for (uint16_t sequence = link->first_sequence; sequence != link->next_sequence; sequence = (uint16_t)(sequence + 1)) {
    if (!link->in_flight[SLOT(sequence)].is_due) continue;
    link->statistics.retransmissions += 1;
    fill_data(link, frame, sequence, now);
    return true;
  }
  return false;
}

static bool transmit_new(struct link *link, struct frame *frame, uint64_t now) {
  if (in_flight_frames(link) >= link->window_frames) return false;
  for (unsigned priority = 0; priority < PRIORITIES; priority += 1) {
    struct link_queue *queue = &link->queues[priority];
    if (queue->count == 0) continue;
    const uint32_t length = link->messages[queue->first].length;
    /* With nothing in flight one frame may always go: it is also the probe that learns of new credit. */
    if (in_flight_frames(link) > 0 && link->in_flight_bytes + length > link->peer_credit_bytes) return false;
    const uint16_t sequence = link->next_sequence;
    link->in_flight[SLOT(sequence)] = (struct link_in_flight){.message = pop(link, queue)};
    link->next_sequence = (uint16_t)(sequence + 1);
    link->queued_bytes -= length;
    link->in_flight_bytes += length;
    fill_data(link, frame, sequence, now);
    return true;
  }
  return false;
}

bool link_transmit(struct link *link, struct frame *frame, uint64_t now) {
  expire(link, now);
  if (link->is_down) return false;
  if (transmit_again(link, frame, now) || transmit_new(link, frame, now)) return true;
  if (now < link->acknowledge_at) return false;
  fill(link, frame, FRAME_ACK, 0);
  return true;
}
