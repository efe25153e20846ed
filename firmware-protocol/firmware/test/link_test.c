/* Two ends of a line that loses, doubles and reorders frames, under virtual time: every message arrives once and in order, or the line is down. */
#include <string.h>

#include "check.h"
#include "link.h"

#define LINE_FRAMES 4096u
#define STEP_MICROSECONDS 100u

struct flying {
  struct frame frame;
  uint8_t payload[MAXIMUM_PAYLOAD_BYTES];
  uint64_t arrives_at;
  int is_there;
};

static struct link ends[2];
/* Frames towards each end. */
static struct flying line[2][LINE_FRAMES];
static uint64_t now;
/* Of a hundred. */
static uint32_t loss;

static void put(unsigned to, const struct frame *frame) {
  if (random_word() % 100 < loss) return;
  for (unsigned copy = random_word() % 100 < loss ? 2 : 1; copy > 0; copy -= 1) {
    struct flying *slot = line[to];
    while (slot->is_there) slot += 1;
    slot->frame = *frame;
    if (frame->length > 0) memcpy(slot->payload, frame->payload, frame->length);
    slot->frame.payload = slot->payload;
    slot->arrives_at = now + 1000 + (loss > 0 ? random_word() % 3000 : 0);
    slot->is_there = 1;
  }
}

static void deliver(unsigned to) {
  for (unsigned index = 0; index < LINE_FRAMES; index += 1) {
    struct flying *slot = &line[to][index];
    if (!slot->is_there || slot->arrives_at > now) continue;
    slot->is_there = 0;
    link_receive(&ends[to], &slot->frame, now);
  }
}

static void open_both(uint32_t loss_percent) {
  const struct link_options options = {.session = 7, .window_frames = 32, .peer_credit_bytes = LINK_CREDIT_BYTES};
  memset(line, 0, sizeof line);
  now = 1;
  loss = loss_percent;
  for (unsigned end = 0; end < 2; end += 1) link_open(&ends[end], &options);
}

struct count {
  uint32_t sent;
  uint32_t received;
};

static void send_some(struct link *end, struct count *count, uint32_t total) {
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES] = {0};
  while (count->sent < total && link_room(end) > 40) {
    memcpy(bytes, &count->sent, sizeof count->sent);
    CHECK(link_send(end, PRIORITY_BULK, bytes, sizeof count->sent + random_word() % 600));
    count->sent += 1;
  }
}

static void take_some(struct link *end, struct count *count) {
  size_t length = 0;
  /* Now and then the taker is slow, and what is acknowledged waits. */
  const uint8_t *bytes = random_word() % 4 == 0 ? NULL : link_peek(end, &length);
  for (; bytes != NULL; bytes = link_peek(end, &length)) {
    uint32_t number = 0;
    memcpy(&number, bytes, sizeof number);
    CHECK(number == count->received);
    count->received += 1;
    link_take(end);
  }
}

static void run_both(uint32_t total, uint32_t loss_percent) {
  struct count ways[2] = {{0, 0}, {0, 0}};
  open_both(loss_percent);
  for (uint64_t step = 0; step < 2000000 && (ways[0].received < total || ways[1].received < total); step += 1) {
    now += STEP_MICROSECONDS;
    for (unsigned end = 0; end < 2; end += 1) {
      struct frame frame;
      deliver(end);
      take_some(&ends[end], &ways[1 - end]);
      send_some(&ends[end], &ways[end], total);
      while (link_transmit(&ends[end], &frame, now)) put(1 - end, &frame);
      CHECK(!ends[end].is_down);
      if (ends[end].is_down) return;
    }
  }
  CHECK(ways[0].received == total && ways[1].received == total);
  if (loss_percent == 0) CHECK(ends[0].statistics.retransmissions == 0 && ends[1].statistics.retransmissions == 0);
}

static void silence_ends_the_line(void) {
  struct frame frame;
  unsigned transmissions = 0;
  open_both(0);
  CHECK(link_send(&ends[0], PRIORITY_CONTROL, (const uint8_t *)"x", 1));
  for (uint64_t step = 0; step < 200000 && !ends[0].is_down; step += 1) {
    now += STEP_MICROSECONDS;
    while (link_transmit(&ends[0], &frame, now)) transmissions += 1;
  }
  CHECK(ends[0].is_down && transmissions == 9);
  CHECK(link_timeout_at(&ends[0]) == LINK_NEVER);
}

static void control_overtakes_bulk(void) {
  struct frame frame;
  open_both(0);
  CHECK(link_send(&ends[0], PRIORITY_TELEMETRY, (const uint8_t *)"t", 1));
  CHECK(link_send(&ends[0], PRIORITY_BULK, (const uint8_t *)"b", 1));
  CHECK(link_send(&ends[0], PRIORITY_CONTROL, (const uint8_t *)"c", 1));
  for (const char *expected = "cbt"; *expected != '\0'; expected += 1) {
    CHECK(link_transmit(&ends[0], &frame, now) && frame.payload[0] == (uint8_t)*expected);
  }
}

static void credit_holds_back(void) {
  struct frame frame;
  uint8_t bytes[500] = {0};
  open_both(0);
  const struct frame poor = {.type = FRAME_ACK, .session = 7, .credit = 600};
  link_receive(&ends[0], &poor, now);
  for (unsigned message = 0; message < 3; message += 1) CHECK(link_send(&ends[0], PRIORITY_BULK, bytes, sizeof bytes));
  CHECK(link_transmit(&ends[0], &frame, now));
  CHECK(!link_transmit(&ends[0], &frame, now));
  const struct frame acknowledged = {.type = FRAME_ACK, .session = 7, .acknowledge = 1, .credit = 0};
  link_receive(&ends[0], &acknowledged, now);
  CHECK(link_transmit(&ends[0], &frame, now));
  CHECK(!link_transmit(&ends[0], &frame, now));
}

/* Whatever acknowledgements and sequences come, nothing is delivered twice and no index leaves its array. */
static void any_frame_is_borne(void) {
  struct count way = {0, 0};
  open_both(0);
  uint8_t bytes[4] = {0};
  for (unsigned round = 0; round < 200000; round += 1) {
    struct frame frame = {
      .type = random_word() % 2 == 0 ? FRAME_DATA : FRAME_ACK, .session = 7, .sequence = (uint16_t)(ends[0].expected + random_word() % 80 - 40),
      .acknowledge = (uint16_t)(ends[0].first_sequence + random_word() % 80 - 40), .selective = random_word(), .credit = (uint16_t)random_word(),
      .payload = bytes, .length = sizeof bytes,
    };
    now += random_word() % 1000;
    send_some(&ends[0], &way, UINT32_MAX);
    link_receive(&ends[0], &frame, now);
    size_t length = 0;
    while (link_peek(&ends[0], &length) != NULL) link_take(&ends[0]);
    if (link_transmit(&ends[0], &frame, now)) CHECK(frame.length <= MAXIMUM_PAYLOAD_BYTES);
  }
}

void link_test(void) {
  run_both(5000, 0);
  run_both(3000, 5);
  run_both(1000, 15);
  silence_ends_the_line();
  control_overtakes_bulk();
  credit_holds_back();
  any_frame_is_borne();
}
