/*
 * The other end of a bare pseudo-terminal, which the link is compared with: sends back what comes, or with a number as argument one byte for so
 * many that have come. Prints {"address":"/dev/pts/N"} first and ends with its parent.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static bool write_all(int line, const unsigned char *bytes, size_t length) {
  while (length > 0) {
    const ssize_t written = write(line, bytes, length);
    if (written < 0) return false;
    bytes += written;
    length -= (size_t)written;
  }
  return true;
}

int main(int count, char **words) {
  static unsigned char bytes[65536];
  const unsigned long swallowed = count > 1 ? strtoul(words[1], NULL, 10) : 0;
  unsigned long received = 0;
  struct termios settings;
  const int line = posix_openpt(O_RDWR | O_NOCTTY);
  if (line < 0 || grantpt(line) != 0 || unlockpt(line) != 0) return 1;
  const int slave = open(ptsname(line), O_RDWR | O_NOCTTY);
  if (slave < 0 || tcgetattr(slave, &settings) != 0) return 1;
  cfmakeraw(&settings);
  if (tcsetattr(slave, TCSANOW, &settings) != 0) return 1;
  (void)printf("{\"address\":\"%s\"}\n", ptsname(line));
  (void)fflush(stdout);
  for (;;) {
    struct pollfd files[2] = {{.fd = line, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    if (poll(files, 2, -1) < 0 || files[1].revents != 0) return 0;
    const ssize_t length = read(line, bytes, sizeof bytes);
    if (length <= 0) return 0;
    if (swallowed == 0) {
      if (!write_all(line, bytes, (size_t)length)) return 0;
      continue;
    }
    received += (unsigned long)length;
    for (; received >= swallowed; received -= swallowed) {
      if (!write_all(line, bytes, 1)) return 0;
    }
  }
}
