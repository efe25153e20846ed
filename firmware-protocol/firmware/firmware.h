#ifndef PRIME_FIRMWARE_H
#define PRIME_FIRMWARE_H

#include <stdint.h>

#include "controller.h"

/* Starts the controller; where the board can tell, with the reason why it starts. */
void firmware_power_up(enum reset_reason reason);
/* Starts it again, as its reset button would: everything but the chip is forgotten. */
void firmware_restart(enum reset_reason reason);

/* The line is another one, or is gone: what was on it is forgotten and the session ends. For boards that can tell. */
void firmware_line_changed(void);

/* Does what there is to do, in a few milliseconds. Call it when bytes arrive, when the line takes bytes again, and at firmware_wake_at. */
void firmware_poll(void);

/* When firmware_poll wants to be called at the latest, on the board's clock; in the past: at once. UINT64_MAX: when bytes arrive. */
uint64_t firmware_wake_at(void);

#endif
