#ifndef PRIME_CRC32C_H
#define PRIME_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Fills the tables; called once, before the first frame. */
void crc32c_initialise(void);

/* The checksum of `length` bytes; "123456789" gives e3069283 (RFC 3720 B.4). */
uint32_t crc32c(const uint8_t *bytes, size_t length);

#endif
