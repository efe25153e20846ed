#ifndef PRIME_FRAMING_H
#define PRIME_FRAMING_H

#include <stddef.h>
#include <stdint.h>

#include "cobs.h"
#include "limits.h"

/* Of byte 0 of the header; the version of the protocol is agreed in HELLO. */
#define FRAMING_VERSION 1u

enum frame_type { FRAME_HELLO, FRAME_HELLO_ACK, FRAME_RESET, FRAME_DATA, FRAME_ACK, FRAME_DATAGRAM, FRAME_LOG, FRAME_ESTOP, FRAME_TYPES };

struct frame {
  uint8_t type;
  uint8_t flags;
  uint16_t sequence;
  uint16_t acknowledge;
  uint16_t credit;
  uint32_t session;
  uint32_t selective;
  const uint8_t *payload;
  size_t length;
};

#define CHECKSUM_BYTES 4u
#define FRAME_RAW_BYTES (MAXIMUM_FRAME_BYTES + CHECKSUM_BYTES)
#define FRAME_ENCODED_BYTES COBS_ENCODED_BYTES(FRAME_RAW_BYTES)
/* Longest frame on the line, with both delimiters. */
#define FRAME_WIRE_BYTES (FRAME_ENCODED_BYTES + 2u)

/* Writes a frame of at most MAXIMUM_PAYLOAD_BYTES of payload as it goes over the line. Returns its length. */
size_t frame_encode(const struct frame *frame, uint8_t wire[FRAME_WIRE_BYTES]);

enum discard { DISCARD_CHECKSUM, DISCARD_COBS, DISCARD_TOO_LONG, DISCARD_TOO_SHORT, DISCARD_VERSION, DISCARD_TYPE, DISCARDS };

/* Cuts a stream of bytes into frames, whatever its chunks. Holds at most one frame; after noise it is right again at the next 00. */
struct frame_decoder {
  uint8_t held[FRAME_ENCODED_BYTES];
  uint8_t raw[FRAME_ENCODED_BYTES];
  size_t seen;
  uint32_t discarded[DISCARDS];
};

void frame_decoder_clear(struct frame_decoder *decoder);

/*
 * Takes bytes up to the end of one frame and says in `consumed` how many. Returns whether `frame` was filled; its payload lies in the decoder
 * until the next call. What is no frame is counted.
 */
int frame_decode(struct frame_decoder *decoder, const uint8_t *bytes, size_t length, size_t *consumed, struct frame *frame);

#endif
