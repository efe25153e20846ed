#ifndef PRIME_SHA256_H
#define PRIME_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "limits.h"

/* A digest on its way: bulk objects are hashed as they arrive, so that a commit need not stop the board. */
struct sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[64];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const uint8_t *bytes, size_t length);
void sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES]);

#endif
