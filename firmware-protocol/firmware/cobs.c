/* Consistent overhead byte stuffing (Cheshire and Baker, 1999): a code byte n says that n - 1 bytes follow and then a 00, except after n = 255. */
#include "cobs.h"

#include <string.h>

#define BLOCK_BYTES 254u

size_t cobs_encode(const uint8_t *source, size_t length, uint8_t *target) {
  size_t at = 0;
  size_t out = 0;
  for (;;) {
    const size_t left = length - at;
    const size_t limit = left < BLOCK_BYTES ? left : BLOCK_BYTES;
    const uint8_t *zero = limit == 0 ? NULL : memchr(source + at, 0, limit);
    const size_t run = zero == NULL ? limit : (size_t)(zero - (source + at));
    target[out] = (uint8_t)(run + 1);
    if (run > 0) memcpy(target + out + 1, source + at, run);
    out += run + 1;
    at += run;
    if (zero != NULL) at += 1;
    else if (at == length) return out;
  }
}

int cobs_decode(const uint8_t *source, size_t length, uint8_t *target) {
  size_t at = 0;
  size_t out = 0;
  while (at < length) {
    const size_t code = source[at];
    if (code == 0 || at + code > length) return -1;
    memcpy(target + out, source + at + 1, code - 1);
    out += code - 1;
    at += code;
    if (code < 255 && at < length) {
      target[out] = 0;
      out += 1;
    }
  }
  return (int)out;
}
