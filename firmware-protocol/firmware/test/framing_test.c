/* Golden frames both ways, the same frames whatever the chunks, and a decoder that takes any bytes. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "framing.h"
#include "vectors.h"

static size_t bytes_of(const char *hex, uint8_t *bytes) {
  size_t length = 0;
  for (; hex[2 * length] != '\0'; length += 1) {
    unsigned byte = 0;
    (void)sscanf(hex + 2 * length, "%2x", &byte);
    bytes[length] = (uint8_t)byte;
  }
  return length;
}

static void check_same(const struct frame *frame, const struct golden_frame *golden, const uint8_t *payload, size_t length) {
  CHECK(frame->type == golden->type && frame->flags == golden->flags && frame->session == golden->session);
  CHECK(frame->sequence == golden->sequence && frame->acknowledge == golden->acknowledge);
  CHECK(frame->selective == golden->selective && frame->credit == golden->credit);
  CHECK(frame->length == length && memcmp(frame->payload, payload, length) == 0);
}

static void golden_frames_are_these_bytes(void) {
  static struct frame_decoder decoder;
  for (size_t index = 0; index < sizeof golden_frames / sizeof golden_frames[0]; index += 1) {
    const struct golden_frame *golden = &golden_frames[index];
    uint8_t payload[MAXIMUM_FRAME_BYTES];
    uint8_t wire[FRAME_WIRE_BYTES];
    uint8_t encoded[FRAME_WIRE_BYTES];
    const size_t length = bytes_of(golden->payload_hex, payload);
    const size_t wire_length = bytes_of(golden->wire_hex, wire);
    const struct frame frame = {
      .type = golden->type, .flags = golden->flags, .session = golden->session, .sequence = golden->sequence, .acknowledge = golden->acknowledge,
      .selective = golden->selective, .credit = golden->credit, .payload = payload, .length = length,
    };
    CHECK(frame_encode(&frame, encoded) == wire_length && memcmp(encoded, wire, wire_length) == 0);
    for (size_t chunk = 1; chunk <= wire_length; chunk += 1) {
      unsigned found = 0;
      frame_decoder_clear(&decoder);
      for (size_t at = 0; at < wire_length;) {
        struct frame decoded;
        size_t consumed = 0;
        const size_t end = at + chunk - at % chunk < wire_length ? at + chunk - at % chunk : wire_length;
        if (frame_decode(&decoder, wire + at, end - at, &consumed, &decoded) != 0) {
          found += 1;
          check_same(&decoded, golden, payload, length);
        }
        at += consumed;
      }
      CHECK(found == 1);
    }
  }
}

static void checksum_has_its_published_values(void) {
  uint8_t bytes[32];
  CHECK(crc32c((const uint8_t *)"123456789", 9) == 0xe3069283u);
  memset(bytes, 0, sizeof bytes);
  CHECK(crc32c(bytes, sizeof bytes) == 0x8a9136aau);
  for (size_t index = 0; index < sizeof bytes; index += 1) bytes[index] = (uint8_t)index;
  CHECK(crc32c(bytes, sizeof bytes) == 0x46dd794eu);
}

static void stuffing_comes_back(void) {
  static uint8_t source[1000];
  static uint8_t wire[COBS_ENCODED_BYTES(1000)];
  static uint8_t back[COBS_ENCODED_BYTES(1000)];
  for (unsigned round = 0; round < 3000; round += 1) {
    const size_t length = random_word() % (sizeof source + 1);
    const uint32_t zeros = random_word() % 4;
    for (size_t index = 0; index < length; index += 1) source[index] = (uint8_t)(zeros == 0 ? 1 + random_word() % 255 : random_word() % (zeros * 3));
    const size_t encoded = cobs_encode(source, length, wire);
    CHECK(encoded <= COBS_ENCODED_BYTES(length) && memchr(wire, 0, encoded) == NULL);
    CHECK(cobs_decode(wire, encoded, back) == (int)length && memcmp(back, source, length) == 0);
  }
  memset(source, 1, 508);
  CHECK(cobs_encode(source, 508, wire) == 510);
}

static size_t any_frame(uint8_t *wire) {
  static uint8_t payload[MAXIMUM_PAYLOAD_BYTES];
  const size_t length = random_word() % (MAXIMUM_PAYLOAD_BYTES + 1);
  for (size_t index = 0; index < length; index += 1) payload[index] = (uint8_t)random_word();
  const struct frame frame = {.type = (uint8_t)(random_word() % FRAME_TYPES), .session = random_word(), .payload = payload, .length = length};
  return frame_encode(&frame, wire);
}

/* A flipped bit, a cut or noise costs that frame; the next one arrives whole. */
static void noise_costs_one_frame(void) {
  static struct frame_decoder decoder;
  static uint8_t wire[3000];
  for (unsigned round = 0; round < 20000; round += 1) {
    size_t length = 0;
    for (uint32_t noise = random_word() % 1500; noise > 0 && round % 3 == 0; noise -= 1, length += 1) wire[length] = (uint8_t)random_word();
    if (round % 3 == 1) {
      length = any_frame(wire);
      wire[1 + random_word() % (length - 2)] ^= (uint8_t)(1u << (random_word() % 8));
    }
    if (round % 3 == 2) length = random_word() % any_frame(wire);
    /* The delimiter that the next frame begins with may close what noise has begun. */
    const size_t begin = length;
    length += any_frame(wire + length);
    unsigned found = 0;
    uint8_t last_type = 0;
    for (size_t at = 0; at < length;) {
      struct frame frame;
      size_t consumed = 0;
      const size_t chunk = 1 + random_word() % 700;
      const size_t end = at + chunk < length ? at + chunk : length;
      if (frame_decode(&decoder, wire + at, end - at, &consumed, &frame) != 0) {
        found += 1;
        last_type = frame.type;
      }
      at += consumed;
    }
    struct frame whole;
    size_t consumed = 0;
    static struct frame_decoder fresh;
    CHECK(found >= 1);
    CHECK(frame_decode(&fresh, wire + begin + 1, length - begin - 1, &consumed, &whole) == 1 && whole.type == last_type);
  }
}

void framing_test(void) {
  checksum_has_its_published_values();
  golden_frames_are_these_bytes();
  stuffing_comes_back();
  noise_costs_one_frame();
}
