#ifndef PRIME_ROUND_TRIP_H
#define PRIME_ROUND_TRIP_H

#include <stdint.h>

/* A receiver may keep an acknowledgement so long (PROTOCOL.md, "Link"). */
#define ACKNOWLEDGEMENT_DELAY_MICROSECONDS 1000u

/* The retransmission timeout of RFC 6298 section 2, from samples taken by Karn's rule (section 3: never from a frame sent twice). */
struct round_trip {
  uint32_t frame_microseconds;
  uint32_t smoothed_microseconds_8;
  uint32_t variation_microseconds_4;
  uint32_t backoff;
  int has_sample;
};

/* frame_microseconds: time of the longest frame on the line; four of them are the least that a timeout may be. */
void round_trip_begin(struct round_trip *trip, uint32_t frame_microseconds);
void round_trip_sample(struct round_trip *trip, uint64_t microseconds);
/* A timeout has expired: the next one is twice as long (section 5.5), until a new sample comes. */
void round_trip_back_off(struct round_trip *trip);
/* 0 before the first sample. */
uint32_t round_trip_smoothed(const struct round_trip *trip);
uint32_t round_trip_timeout(const struct round_trip *trip);

#endif
