/* SHA-256 (FIPS 180-4). */
#include "sha256.h"

#include <string.h>

static const uint32_t constants[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
  0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
  0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
  0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, unsigned by) { return (word >> by) | (word << (32u - by)); }

static void schedule(uint32_t words[64], const uint8_t *block) {
  for (unsigned index = 0; index < 16; index += 1, block += 4) {
    words[index] = ((uint32_t)block[0] << 24) | ((uint32_t)block[1] << 16) | ((uint32_t)block[2] << 8) | (uint32_t)block[3];
  }
  for (unsigned index = 16; index < 64; index += 1) {
    const uint32_t early = words[index - 15];
    const uint32_t late = words[index - 2];
    words[index] = words[index - 16] + (rotate(early, 7) ^ rotate(early, 18) ^ (early >> 3)) + words[index - 7] +
                   (rotate(late, 17) ^ rotate(late, 19) ^ (late >> 10));
  }
}

static void compress(uint32_t state[8], const uint8_t *block) {
  uint32_t words[64];
  schedule(words, block);
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (unsigned index = 0; index < 64; index += 1) {
    const uint32_t first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants[index] + words[index];
    const uint32_t second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

void sha256_begin(struct sha256 *hash) {
  static const uint32_t start[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  };
  memcpy(hash->state, start, sizeof start);
  hash->length = 0;
}

void sha256_add(struct sha256 *hash, const uint8_t *bytes, size_t length) {
  size_t held = (size_t)(hash->length & 63u);
  hash->length += length;
  if (held > 0) {
    const size_t room = 64 - held;
    const size_t taken = length < room ? length : room;
    memcpy(hash->block + held, bytes, taken);
    bytes += taken;
    length -= taken;
    if (held + taken < 64) return;
    compress(hash->state, hash->block);
  }
  for (; length >= 64; length -= 64, bytes += 64) compress(hash->state, bytes);
  if (length > 0) memcpy(hash->block, bytes, length);
}

void sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES]) {
  static const uint8_t padding[64] = {0x80};
  const uint64_t bits = hash->length * 8;
  const size_t held = (size_t)(hash->length & 63u);
  sha256_add(hash, padding, held < 56 ? 56 - held : 120 - held);
  uint8_t tail[8];
  for (unsigned index = 0; index < 8; index += 1) tail[index] = (uint8_t)((bits >> (56 - 8 * index)) & 0xffu);
  sha256_add(hash, tail, sizeof tail);
  for (unsigned index = 0; index < SHA256_BYTES; index += 1) {
    digest[index] = (uint8_t)((hash->state[index >> 2] >> (24 - 8 * (index & 3u))) & 0xffu);
  }
}
