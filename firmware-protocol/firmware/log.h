#ifndef PRIME_LOG_H
#define PRIME_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* In the numbers of LogRecord.Level. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

void log_initialise(void);

/* Keeps a record for the host; what the queue cannot hold is counted as dropped. */
void log_add(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends records past the window where the line has room. protocol 1: bare text. */
void log_send(uint32_t session, uint32_t protocol);

#endif
