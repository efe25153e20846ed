#ifndef PRIME_JOURNAL_H
#define PRIME_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

/* Answers of effectful requests, so that one that is sent again is answered and not applied again. It lives as long as a boot. */
void journal_initialise(void);

/* Keeps an encoded Final under its request id of REQUEST_ID_BYTES; the oldest is forgotten. An answer above JOURNAL_ANSWER_BYTES is a defect. */
void journal_record(const uint8_t *request_id, const uint8_t *answer, size_t length);

/* The answer to a request id, or NULL. */
const uint8_t *journal_find(const uint8_t *request_id, size_t *length);

#endif
