#ifndef PRIME_DISPATCH_H
#define PRIME_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"
#include "macro/v1/macro.pb.h"

/* Forgets all requests. */
void dispatch_initialise(void);

/* Takes the messages that the link has received, as long as there is room for what they may be answered with. */
void dispatch_receive(uint32_t protocol);

/* Does one step of the first request that waits for the array, and sends chunks of fetches. */
void dispatch_work(void);
/* Whether dispatch_work would do anything now. */
bool dispatch_has_work(void);

/* Pure work of a session that is over is dropped: the host asks again. What changes the array is finished and journaled. */
void dispatch_end_session(void);

/* Ends everything that is under way: on ESTOP all of it, on a silent host what energises the array. */
void dispatch_stop(void);
void dispatch_host_silent(uint32_t dead_man_milliseconds);

bool dispatch_has_energising(void);
bool dispatch_has_effectful(void);

/* Room for a message that may wait, beside an answer of each request that is under way. */
bool dispatch_has_room(void);
void dispatch_send(const macro_v1_DeviceMessage *message, enum priority priority);
void dispatch_send_final(const macro_v1_Final *final, enum priority priority);

#endif
