#ifndef PRIME_POSIX_SIGNALS_H
#define PRIME_POSIX_SIGNALS_H

#include <stdbool.h>

/* Catches SIGHUP, the reset button, and what ends the process. */
bool signals_catch(void);

bool signals_is_restart_asked(void);
bool signals_is_end_asked(void);
/* The reset button has been seen to. */
void signals_take_restart(void);

/* A file with a byte in it whenever a signal has come, so that none is missed between a look at it and a wait. */
int signals_file(void);

#endif
