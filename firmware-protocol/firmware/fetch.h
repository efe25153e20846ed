#ifndef PRIME_FETCH_H
#define PRIME_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "macro/v1/macro.pb.h"

/* Objects on their way to the host: chunks in the order of the requests, each object's answer behind its chunks. */
void fetch_initialise(void);
uint32_t fetch_count(void);
bool fetch_has(const uint8_t *request_id);

/* Queues a fetch; otherwise `final` says why not. */
bool fetch_begin(const macro_v1_Request *request, macro_v1_Final *final);

/* Sends chunks while the link has room. */
void fetch_work(void);

/* Ends a fetch. Returns whether it was there. */
bool fetch_cancel(const uint8_t *request_id);

#endif
