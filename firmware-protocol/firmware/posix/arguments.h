#ifndef PRIME_POSIX_ARGUMENTS_H
#define PRIME_POSIX_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

struct arguments {
  /* Where to listen; NULL for a pseudo-terminal. */
  const char *host;
  uint16_t port;
  const char *profile;
  const char *snapshot;
  uint32_t seed;
  /* Bits a second of the line; 0: as fast as it goes. */
  uint32_t baud;
  /* Frames of a million, each way, in which a bit is flipped. */
  uint32_t corrupt_parts_per_million;
  bool exits_with_parent;
};

/* Reads the command line. What is wrong with it is said on stderr, and false is returned. */
bool arguments_read(struct arguments *arguments, int count, char **words);

#endif
