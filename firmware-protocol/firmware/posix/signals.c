#define _POSIX_C_SOURCE 200809L
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t is_restart_asked;
static volatile sig_atomic_t is_end_asked;
static int wake_pipe[2];

static void take_signal(int number) {
  const int error = errno;
  if (number == SIGHUP) is_restart_asked = 1;
  else is_end_asked = 1;
  /* Where the pipe is full the wait ends anyway. */
  if (write(wake_pipe[1], "", 1) < 0) errno = error;
}

bool signals_catch(void) {
  static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};
  struct sigaction action = {.sa_handler = take_signal};
  if (pipe(wake_pipe) != 0) return false;
  for (size_t index = 0; index < 2; index += 1) (void)fcntl(wake_pipe[index], F_SETFL, O_NONBLOCK);
  (void)sigemptyset(&action.sa_mask);
  for (size_t index = 0; index < sizeof numbers / sizeof numbers[0]; index += 1) (void)sigaction(numbers[index], &action, NULL);
  (void)signal(SIGPIPE, SIG_IGN);
  return true;
}

bool signals_is_restart_asked(void) { return is_restart_asked != 0; }

bool signals_is_end_asked(void) { return is_end_asked != 0; }

void signals_take_restart(void) { is_restart_asked = 0; }

int signals_file(void) { return wake_pipe[0]; }
