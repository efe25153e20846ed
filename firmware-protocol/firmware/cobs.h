#ifndef PRIME_COBS_H
#define PRIME_COBS_H

#include <stddef.h>
#include <stdint.h>

/* Longest encoding of `length` bytes. */
#define COBS_ENCODED_BYTES(length) ((length) + 1u + (length) / 254u)

/* Encodes to `target`, which has room for COBS_ENCODED_BYTES(length). Returns the encoded length. */
size_t cobs_encode(const uint8_t *source, size_t length, uint8_t *target);

/* Decodes to `target`, which has room for `length` bytes. Returns the decoded length, or -1 where a code byte points beyond the end. */
int cobs_decode(const uint8_t *source, size_t length, uint8_t *target);

#endif
