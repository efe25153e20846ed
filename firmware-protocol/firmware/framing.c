/* A frame on the line: 00 | COBS(header, payload, CRC-32C) | 00. All fields are little-endian (PROTOCOL.md, "Framing"). */
#include "framing.h"

#include <string.h>

#include "crc32c.h"

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value & 0xffu);
  at[1] = (uint8_t)((value >> 8) & 0xffu);
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value);
  put16(at + 2, value >> 16);
}

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | (at[1] << 8)); }

static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) | ((uint32_t)get16(at + 2) << 16); }

size_t frame_encode(const struct frame *frame, uint8_t wire[FRAME_WIRE_BYTES]) {
  uint8_t raw[FRAME_RAW_BYTES];
  raw[0] = FRAMING_VERSION;
  raw[1] = frame->type;
  raw[2] = frame->flags;
  put32(raw + 3, frame->session);
  put16(raw + 7, frame->sequence);
  put16(raw + 9, frame->acknowledge);
  put32(raw + 11, frame->selective);
  put16(raw + 15, frame->credit);
  if (frame->length > 0) memcpy(raw + HEADER_BYTES, frame->payload, frame->length);
  const size_t checked = HEADER_BYTES + frame->length;
  put32(raw + checked, crc32c(raw, checked));
  wire[0] = 0;
  const size_t encoded = cobs_encode(raw, checked + CHECKSUM_BYTES, wire + 1);
  wire[encoded + 1] = 0;
  return encoded + 2;
}

void frame_decoder_clear(struct frame_decoder *decoder) { memset(decoder, 0, sizeof *decoder); }

static int discard(struct frame_decoder *decoder, enum discard reason) {
  decoder->discarded[reason] += 1;
  return 0;
}

static int decode(struct frame_decoder *decoder, const uint8_t *encoded, size_t length, struct frame *frame) {
  uint8_t *raw = decoder->raw;
  const int decoded = cobs_decode(encoded, length, raw);
  if (decoded < 0) return discard(decoder, DISCARD_COBS);
  if ((size_t)decoded < HEADER_BYTES + CHECKSUM_BYTES) return discard(decoder, DISCARD_TOO_SHORT);
  if ((size_t)decoded > FRAME_RAW_BYTES) return discard(decoder, DISCARD_TOO_LONG);
  const size_t checked = (size_t)decoded - CHECKSUM_BYTES;
  if (crc32c(raw, checked) != get32(raw + checked)) return discard(decoder, DISCARD_CHECKSUM);
  if (raw[0] != FRAMING_VERSION) return discard(decoder, DISCARD_VERSION);
  if (raw[1] >= FRAME_TYPES) return discard(decoder, DISCARD_TYPE);
  frame->type = raw[1];
  frame->flags = raw[2];
  frame->session = get32(raw + 3);
  frame->sequence = get16(raw + 7);
  frame->acknowledge = get16(raw + 9);
  frame->selective = get32(raw + 11);
  frame->credit = get16(raw + 15);
  frame->payload = raw + HEADER_BYTES;
  frame->length = checked - HEADER_BYTES;
  return 1;
}

/* Keeps the bytes of a frame that is not complete; of one that is too long only their number. */
static void hold(struct frame_decoder *decoder, const uint8_t *bytes, size_t length) {
  if (decoder->seen + length <= FRAME_ENCODED_BYTES) memcpy(decoder->held + decoder->seen, bytes, length);
  const size_t sum = decoder->seen + length;
  decoder->seen = sum > FRAME_ENCODED_BYTES ? FRAME_ENCODED_BYTES + 1 : sum;
}

int frame_decode(struct frame_decoder *decoder, const uint8_t *bytes, size_t length, size_t *consumed, struct frame *frame) {
  const uint8_t *zero = memchr(bytes, 0, length);
  const size_t run = zero == NULL ? length : (size_t)(zero - bytes);
  *consumed = zero == NULL ? length : run + 1;
  /* A frame that lies whole in this chunk is decoded where it is. */
  if (zero != NULL && decoder->seen == 0 && run > 0 && run <= FRAME_ENCODED_BYTES) return decode(decoder, bytes, run, frame);
  if (run > 0) hold(decoder, bytes, run);
  if (zero == NULL || decoder->seen == 0) return 0;
  const size_t seen = decoder->seen;
  decoder->seen = 0;
  if (seen > FRAME_ENCODED_BYTES) return discard(decoder, DISCARD_TOO_LONG);
  return decode(decoder, decoder->held, seen, frame);
}
