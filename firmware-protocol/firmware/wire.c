#include "wire.h"

#include <string.h>

#include "board.h"

#define READ_BYTES 8192u
/* Bytes on their way to the line above which frames wait in the link, where a retransmission or an urgent message can still overtake. */
#define FAST_MARK_BYTES (40u * FRAME_WIRE_BYTES)
/* On a line whose speed counts. */
#define SLOW_MARK_BYTES (2u * FRAME_WIRE_BYTES)
/* Room above the mark for frames that wait for nothing. */
#define SPARE_BYTES (8u * FRAME_WIRE_BYTES)

static struct frame_decoder decoder;
static struct link link_state;
static bool is_open;
static uint8_t output[FAST_MARK_BYTES + SPARE_BYTES];
static size_t output_begin;
static size_t output_end;

void wire_reset_line(void) {
  frame_decoder_clear(&decoder);
  output_begin = 0;
  output_end = 0;
}

void wire_initialise(void) {
  wire_reset_line();
  is_open = false;
}

void wire_open(const struct link_options *options) {
  link_open(&link_state, options);
  memset(decoder.discarded, 0, sizeof decoder.discarded);
  is_open = true;
}

void wire_close(void) { is_open = false; }

struct link *wire_link(void) { return is_open ? &link_state : NULL; }

bool wire_receive(uint64_t now, void (*take)(const struct frame *frame, uint64_t now)) {
  static uint8_t bytes[READ_BYTES];
  const size_t length = board_uart_read(bytes, sizeof bytes);
  size_t consumed = 0;
  for (size_t at = 0; at < length; at += consumed) {
    struct frame frame;
    if (frame_decode(&decoder, bytes + at, length - at, &consumed, &frame) != 0) take(&frame, now);
  }
  return length > 0;
}

size_t wire_waiting_bytes(void) { return output_end - output_begin; }

static size_t mark(void) { return board_description()->frame_microseconds > 0 ? SLOW_MARK_BYTES : FAST_MARK_BYTES; }

bool wire_has_slack(void) { return wire_waiting_bytes() < mark(); }

static void flush(void) {
  output_begin += output_end > output_begin ? board_uart_write(output + output_begin, output_end - output_begin) : 0;
  if (output_begin == output_end) {
    output_begin = 0;
    output_end = 0;
  }
}

static bool append(const struct frame *frame) {
  if (sizeof output - output_end < FRAME_WIRE_BYTES && output_begin > 0) {
    memmove(output, output + output_begin, output_end - output_begin);
    output_end -= output_begin;
    output_begin = 0;
  }
  if (sizeof output - output_end < FRAME_WIRE_BYTES) return false;
  output_end += frame_encode(frame, output + output_end);
  return true;
}

bool wire_send_frame(enum frame_type type, uint32_t session, const uint8_t *payload, size_t length) {
  const struct frame frame = {.type = (uint8_t)type, .session = session, .payload = payload, .length = length};
  return append(&frame);
}

void wire_pump(uint64_t now) {
  bool is_done = !is_open;
  do {
    while (!is_done && wire_has_slack()) {
      struct frame frame;
      is_done = !link_transmit(&link_state, &frame, now);
      if (!is_done) (void)append(&frame);
    }
    const size_t before = wire_waiting_bytes();
    flush();
    if (wire_waiting_bytes() == before) return;
  } while (!is_done);
}

const uint32_t *wire_discarded(void) { return decoder.discarded; }
