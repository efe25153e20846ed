/*
 * The line of the POSIX board: one host at a time on a TCP port, or a pseudo-terminal. With --baud bytes pass no faster than a UART would let
 * them; with --corrupt a bit of some frames is flipped, each way.
 */
#define _GNU_SOURCE
#include "uart.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "signals.h"

#define BITS_PER_BYTE 10u
#define NO_FILE (-1)
/* Every frame is longer than this on the line, so a bit that is flipped before it lies in the frame. */
#define SHORTEST_FRAME_BYTES 20u
#define COPY_BYTES 8192u
#define MICROSECONDS_PER_SECOND 1000000u
#define NANOSECONDS_PER_MICROSECOND 1000

/* Flips a bit in some of the frames that pass. */
struct noise {
  uint32_t random;
  /* Bytes until the flip, where one is due in this frame. */
  uint32_t countdown;
  bool is_between_frames;
};

/* How many bytes may pass now: a UART's clock. */
struct pace {
  uint64_t counted_at;
  uint64_t bit_microseconds;
};

struct direction {
  struct noise noise;
  struct pace pace;
  bool is_blocked;
};

static struct direction incoming;
static struct direction outgoing;
static uint32_t baud;
static uint32_t corrupt_parts_per_million;
static int listener = NO_FILE;
static int line = NO_FILE;
/* Held open, so that the line outlives hosts that come and go, as a cable outlives programs. */
static int slave = NO_FILE;
static bool has_changed;
static bool watches_parent;
static bool has_lost_parent;

/* Marsaglia's xorshift32. */
static uint32_t next_random(struct noise *noise) {
  noise->random ^= noise->random << 13;
  noise->random ^= noise->random >> 17;
  noise->random ^= noise->random << 5;
  return noise->random;
}

static void add_noise(struct noise *noise, uint8_t *bytes, size_t length) {
  for (size_t at = 0; at < length && corrupt_parts_per_million > 0; at += 1) {
    const bool is_delimiter = bytes[at] == 0;
    if (!is_delimiter && noise->is_between_frames) {
      noise->countdown = next_random(noise) % MICROSECONDS_PER_SECOND < corrupt_parts_per_million ? 1 + next_random(noise) % SHORTEST_FRAME_BYTES : 0;
    }
    noise->is_between_frames = is_delimiter;
    if (noise->countdown == 0) continue;
    noise->countdown -= 1;
    if (noise->countdown == 0) bytes[at] = (uint8_t)(bytes[at] ^ (1u << (next_random(noise) & 7u)));
  }
}

static size_t allowance(struct pace *pace, size_t wanted) {
  if (baud == 0) return wanted;
  const uint64_t now = board_microseconds();
  /* An idle line saves nothing up beyond a millisecond, which is how finely this process can wait. */
  const uint64_t burst = (uint64_t)baud * 1000u + BITS_PER_BYTE * 2u * MICROSECONDS_PER_SECOND;
  pace->bit_microseconds += (now - pace->counted_at) * baud;
  pace->counted_at = now;
  if (pace->bit_microseconds > burst) pace->bit_microseconds = burst;
  const uint64_t bytes = pace->bit_microseconds / (BITS_PER_BYTE * MICROSECONDS_PER_SECOND);
  return wanted < bytes ? wanted : (size_t)bytes;
}

static void spend(struct pace *pace, size_t bytes) {
  if (baud > 0) pace->bit_microseconds -= (uint64_t)bytes * BITS_PER_BYTE * MICROSECONDS_PER_SECOND;
}

/* A host that has gone; a pseudo-terminal stays. */
static void lose_line(void) {
  if (slave != NO_FILE) return;
  (void)close(line);
  line = NO_FILE;
  has_changed = true;
}

size_t board_uart_read(uint8_t *bytes, size_t room) {
  if (line == NO_FILE) return 0;
  const size_t allowed = allowance(&incoming.pace, room);
  incoming.is_blocked = allowed == 0;
  if (allowed == 0) return 0;
  const ssize_t length = read(line, bytes, allowed);
  if (length == 0 || (length < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) lose_line();
  /* A controller that is held in reset loses what its UART receives. */
  if (length <= 0 || signals_is_restart_asked()) return 0;
  spend(&incoming.pace, (size_t)length);
  add_noise(&incoming.noise, bytes, (size_t)length);
  return (size_t)length;
}

size_t board_uart_write(const uint8_t *bytes, size_t length) {
  static uint8_t copy[COPY_BYTES];
  if (line == NO_FILE) return length; /* nobody is there: the bytes are gone, as on an open cable */
  const size_t allowed = allowance(&outgoing.pace, length);
  const struct noise before = outgoing.noise;
  const uint8_t *source = bytes;
  size_t wanted = allowed;
  if (corrupt_parts_per_million > 0) {
    wanted = allowed < COPY_BYTES ? allowed : COPY_BYTES;
    memcpy(copy, bytes, wanted);
    add_noise(&outgoing.noise, copy, wanted);
    source = copy;
  }
  ssize_t written = wanted == 0 ? 0 : write(line, source, wanted);
  if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) lose_line();
  if (written < 0) written = 0;
  if (corrupt_parts_per_million > 0 && (size_t)written < wanted) {
    /* The noise has seen more than has left: go back and see that much again. */
    outgoing.noise = before;
    memcpy(copy, bytes, (size_t)written);
    add_noise(&outgoing.noise, copy, (size_t)written);
  }
  spend(&outgoing.pace, (size_t)written);
  outgoing.is_blocked = (size_t)written < length;
  return (size_t)written;
}

static bool fail(const char *what) {
  (void)fprintf(stderr, "DEVICE_UNREACHABLE: %s: %s.\n", what, strerror(errno));
  return false;
}

static bool listen_tcp(const struct arguments *arguments, char *address, size_t room) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(arguments->port)};
  socklen_t length = sizeof name;
  const int yes = 1;
  const char *host = strcmp(arguments->host, "localhost") == 0 ? "127.0.0.1" : arguments->host;
  if (inet_pton(AF_INET, host, &name.sin_addr) != 1) {
    errno = EINVAL;
    return fail(arguments->host);
  }
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (listener < 0) return fail("socket");
  (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (const struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 4) != 0) return fail("bind");
  if (getsockname(listener, (struct sockaddr *)&name, &length) != 0) return fail("getsockname");
  (void)fcntl(listener, F_SETFL, O_NONBLOCK);
  (void)snprintf(address, room, "tcp://%s:%u", arguments->host, (unsigned)ntohs(name.sin_port));
  return true;
}

static bool open_pty(char *address, size_t room) {
  struct termios settings;
  line = posix_openpt(O_RDWR | O_NOCTTY);
  if (line < 0 || grantpt(line) != 0 || unlockpt(line) != 0) return fail("pseudo-terminal");
  const char *path = ptsname(line);
  if (path == NULL) return fail("ptsname");
  slave = open(path, O_RDWR | O_NOCTTY);
  if (slave < 0 || tcgetattr(slave, &settings) != 0) return fail(path);
  cfmakeraw(&settings);
  if (tcsetattr(slave, TCSANOW, &settings) != 0) return fail(path);
  (void)fcntl(line, F_SETFL, O_NONBLOCK);
  (void)snprintf(address, room, "serial:%s", path);
  return true;
}

static void begin_direction(struct direction *direction, uint32_t seed) {
  direction->noise = (struct noise){.random = seed | 1u, .is_between_frames = true};
  direction->pace = (struct pace){.counted_at = board_microseconds()};
  direction->is_blocked = false;
}

bool uart_open(const struct arguments *arguments, char *address, size_t room) {
  baud = arguments->baud;
  corrupt_parts_per_million = arguments->corrupt_parts_per_million;
  watches_parent = arguments->exits_with_parent;
  begin_direction(&incoming, 2654435761u * (arguments->seed + 1));
  begin_direction(&outgoing, 2246822519u * (arguments->seed + 1));
  return arguments->host == NULL ? open_pty(address, room) : listen_tcp(arguments, address, room);
}

static void accept_host(void) {
  const int yes = 1;
  const int host = accept(listener, NULL, NULL);
  if (host < 0) return;
  /* A board has one connector: the newest host has it. */
  if (line != NO_FILE) (void)close(line);
  line = host;
  has_changed = true;
  (void)fcntl(line, F_SETFL, O_NONBLOCK);
  (void)setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static void read_parent(void) {
  char byte;
  const ssize_t length = read(STDIN_FILENO, &byte, 1);
  if (length == 0 || (length < 0 && errno != EINTR && errno != EAGAIN)) has_lost_parent = true;
}

static short events_of_line(void) {
  const bool waits_for_pace = incoming.is_blocked;
  const bool is_full = outgoing.is_blocked && baud == 0;
  return (short)((waits_for_pace ? 0 : POLLIN) | (is_full ? POLLOUT : 0));
}

static struct timespec timeout_until(uint64_t wake_at) {
  const uint64_t now = board_microseconds();
  const bool is_paced = baud > 0 && (incoming.is_blocked || outgoing.is_blocked);
  const uint64_t byte_time = baud == 0 ? 0 : BITS_PER_BYTE * (uint64_t)MICROSECONDS_PER_SECOND / baud + 1;
  /* On a paced line look again when some bytes' time has passed, but let a millisecond do for many. */
  const uint64_t pace_at = is_paced ? now + (byte_time > 500 ? byte_time : 500) : UINT64_MAX;
  const uint64_t until = wake_at < pace_at ? wake_at : pace_at;
  const uint64_t longest = 3600u * (uint64_t)MICROSECONDS_PER_SECOND;
  uint64_t wait = until > now ? until - now : 0;
  if (wait > longest) wait = longest;
  return (struct timespec){.tv_sec = (time_t)(wait / MICROSECONDS_PER_SECOND),
                           .tv_nsec = (long)(wait % MICROSECONDS_PER_SECOND) * NANOSECONDS_PER_MICROSECOND};
}

void uart_wait(uint64_t wake_at, int wake_file) {
  char bytes[16];
  struct pollfd files[4] = {
    {.fd = line, .events = events_of_line()},
    {.fd = listener, .events = POLLIN},
    {.fd = watches_parent && !has_lost_parent ? STDIN_FILENO : NO_FILE, .events = POLLIN},
    {.fd = wake_file, .events = POLLIN},
  };
  const struct timespec timeout = timeout_until(wake_at);
  if (ppoll(files, 4, &timeout, NULL) <= 0) return;
  if ((files[1].revents & POLLIN) != 0) accept_host();
  if (files[2].revents != 0) read_parent();
  while ((files[3].revents & POLLIN) != 0 && read(wake_file, bytes, sizeof bytes) == (ssize_t)sizeof bytes) continue;
}

bool uart_has_changed(void) {
  const bool is_changed = has_changed;
  has_changed = false;
  return is_changed;
}

bool uart_has_lost_parent(void) { return has_lost_parent; }
