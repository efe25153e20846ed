#ifndef PRIME_POSIX_UART_H
#define PRIME_POSIX_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arguments.h"

/* Opens the line: a TCP port or a pseudo-terminal, at the pace and with the noise that were asked for. Writes its address. */
bool uart_open(const struct arguments *arguments, char *address, size_t room);

/* Waits until there is something to do, at most until `wake_at` on the board's clock, or until there is a byte in `wake_file`. */
void uart_wait(uint64_t wake_at, int wake_file);

/* Whether the line has gone or is another one since the last call. */
bool uart_has_changed(void);

/* Whether stdin, which the parent holds, has been closed. */
bool uart_has_lost_parent(void);

#endif
