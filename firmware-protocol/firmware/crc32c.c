/* CRC-32C (Castagnoli): reflected polynomial 82f63b78, start and final xor ffffffff. Eight bytes at a time ("slicing by 8"): the line is fast. */
#include "crc32c.h"

#define SLICES 8u
#define POLYNOMIAL 0x82f63b78u

/* tables[k][b]: the remainder of byte b followed by k zero bytes. */
static uint32_t tables[SLICES][256];

void crc32c_initialise(void) {
  for (uint32_t byte = 0; byte < 256; byte += 1) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; bit += 1) remainder = (remainder >> 1) ^ ((remainder & 1u) != 0 ? POLYNOMIAL : 0u);
    tables[0][byte] = remainder;
  }
  for (uint32_t slice = 1; slice < SLICES; slice += 1) {
    for (uint32_t byte = 0; byte < 256; byte += 1) {
      const uint32_t before = tables[slice - 1][byte];
      tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xffu];
    }
  }
}

static uint32_t word_at(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8) | ((uint32_t)bytes[2] << 16) | ((uint32_t)bytes[3] << 24);
}

uint32_t crc32c(const uint8_t *bytes, size_t length) {
  uint32_t remainder = 0xffffffffu;
  for (; length >= SLICES; length -= SLICES, bytes += SLICES) {
    const uint32_t low = word_at(bytes) ^ remainder;
    const uint32_t high = word_at(bytes + 4);
    remainder = tables[7][low & 0xffu] ^ tables[6][(low >> 8) & 0xffu] ^ tables[5][(low >> 16) & 0xffu] ^ tables[4][low >> 24] ^
                tables[3][high & 0xffu] ^ tables[2][(high >> 8) & 0xffu] ^ tables[1][(high >> 16) & 0xffu] ^ tables[0][high >> 24];
  }
  for (; length > 0; length -= 1, bytes += 1) remainder = (remainder >> 8) ^ tables[0][(remainder ^ *bytes) & 0xffu];
  return remainder ^ 0xffffffffu;
}
