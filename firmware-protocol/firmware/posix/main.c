/* The POSIX board as a process: prints {"address":"..."} as its first line, then serves one host after the other until it is told to end. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "arguments.h"
#include "board.h"
#include "firmware.h"
#include "simulated_array.h"
#include "uart.h"

#define EXIT_USAGE 2

static volatile sig_atomic_t is_restart_asked;
static volatile sig_atomic_t is_end_asked;

static void take_signal(int number) {
  if (number == SIGHUP) is_restart_asked = 1;
  else is_end_asked = 1;
}

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

/* Signals come in only while the board waits, so that none is missed between a look at its flag and the wait. */
static sigset_t hold_signals(void) {
  static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};
  struct sigaction action = {.sa_handler = take_signal};
  sigset_t held;
  sigset_t before;
  (void)sigemptyset(&action.sa_mask);
  (void)sigemptyset(&held);
  for (size_t index = 0; index < sizeof numbers / sizeof numbers[0]; index += 1) {
    (void)sigaction(numbers[index], &action, NULL);
    (void)sigaddset(&held, numbers[index]);
  }
  (void)signal(SIGPIPE, SIG_IGN);
  (void)sigprocmask(SIG_BLOCK, &held, &before);
  return before;
}

static void serve(const sigset_t *mask) {
  while (!is_end_asked && !uart_has_lost_parent()) {
    if (is_restart_asked) {
      is_restart_asked = 0;
      firmware_restart(RESET_REQUESTED);
    }
    if (uart_has_changed()) firmware_line_changed();
    firmware_poll();
    uart_wait(firmware_wake_at(), mask);
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
  const sigset_t mask = hold_signals();
  firmware_power_up();
  (void)printf("{\"address\":\"%s\"}\n", address);
  (void)fflush(stdout);
  serve(&mask);
  return 0;
}
