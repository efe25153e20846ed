/* The POSIX board as a process: prints {"address":"..."} as its first line, then serves one host after the other until it is told to end. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "board.h"
#include "firmware.h"
#include "signals.h"
#include "simulated_array.h"
#include "uart.h"

#define EXIT_USAGE 2

uint64_t board_microseconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void board_random(uint8_t *bytes, size_t length) {
  const int file = open("/dev/urandom", O_RDONLY);
  size_t filled = 0;
  while (file >= 0 && filled < length) {
    const ssize_t more = read(file, bytes + filled, length - filled);
    if (more <= 0) break;
    filled += (size_t)more;
  }
  if (file >= 0) (void)close(file);
  /* Without a source of chance the clock still tells two starts apart. */
  const uint64_t now = board_microseconds();
  for (; filled < length; filled += 1) bytes[filled] = (uint8_t)((now >> (8 * (filled % 8))) & 0xffu);
}

static void serve(void) {
  while (!signals_is_end_asked() && !uart_has_lost_parent()) {
    if (signals_is_restart_asked()) {
      signals_take_restart();
      firmware_restart(RESET_REQUESTED);
    }
    if (uart_has_changed()) firmware_line_changed();
    firmware_poll();
    uart_wait(firmware_wake_at(), signals_file());
  }
}

int main(int count, char **words) {
  struct arguments arguments;
  char address[128];
  if (!arguments_read(&arguments, count, words)) return EXIT_USAGE;
  if (!simulated_array_form(arguments.profile, arguments.seed, arguments.baud)) {
    (void)fprintf(stderr, "BAD_PROFILE: there is no profile \"%s\"; there are ideal, lab-paper-quiet and lab-paper.\n", arguments.profile);
    return EXIT_USAGE;
  }
  if (arguments.snapshot != NULL && !simulated_array_read_snapshot(arguments.snapshot)) return EXIT_USAGE;
  if (!uart_open(&arguments, address, sizeof address)) return 1;
  if (!signals_catch()) return 1;
  firmware_power_up(RESET_POWER_ON);
  (void)printf("{\"address\":\"%s\"}\n", address);
  (void)fflush(stdout);
  serve();
  return 0;
}
