/* Round trips in integers: the mean has 3 fractional bits and the variation 2, so that the divisions of RFC 6298 by 8 and 4 are shifts. */
#include "round_trip.h"

#define FIRST_TIMEOUT 200000u
#define TIMEOUT_FLOOR 5000u
#define TIMEOUT_CEILING 1000000u
#define GRANULARITY 1000u
#define BACKOFF_LIMIT 1024u
#define SAMPLE_LIMIT 60000000u

void round_trip_begin(struct round_trip *trip, uint32_t frame_microseconds) {
  trip->frame_microseconds = frame_microseconds;
  trip->smoothed_microseconds_8 = 0;
  trip->variation_microseconds_4 = 0;
  trip->backoff = 1;
  trip->has_sample = 0;
}

void round_trip_sample(struct round_trip *trip, uint64_t microseconds) {
  const uint32_t sample = microseconds > SAMPLE_LIMIT ? SAMPLE_LIMIT : (uint32_t)microseconds;
  trip->backoff = 1;
  if (!trip->has_sample) {
    trip->has_sample = 1;
    trip->smoothed_microseconds_8 = sample * 8;
    trip->variation_microseconds_4 = sample * 2;
    return;
  }
  const uint32_t smoothed = round_trip_smoothed(trip);
  const uint32_t distance = sample > smoothed ? sample - smoothed : smoothed - sample;
  trip->variation_microseconds_4 = trip->variation_microseconds_4 - trip->variation_microseconds_4 / 4 + distance;
  trip->smoothed_microseconds_8 = trip->smoothed_microseconds_8 - smoothed + sample;
}

void round_trip_back_off(struct round_trip *trip) {
  if (trip->backoff < BACKOFF_LIMIT) trip->backoff *= 2;
}

uint32_t round_trip_smoothed(const struct round_trip *trip) { return trip->smoothed_microseconds_8 / 8; }

uint32_t round_trip_timeout(const struct round_trip *trip) {
  const uint32_t frames = trip->frame_microseconds > TIMEOUT_CEILING / 4 ? TIMEOUT_CEILING : 4 * trip->frame_microseconds;
  const uint32_t floor = frames > TIMEOUT_FLOOR ? frames : TIMEOUT_FLOOR;
  /* The variation has 2 fractional bits, so it is four times of itself already. */
  const uint32_t spread = trip->variation_microseconds_4 > GRANULARITY ? trip->variation_microseconds_4 : GRANULARITY;
  const uint32_t estimate = trip->has_sample ? round_trip_smoothed(trip) + spread + ACKNOWLEDGEMENT_DELAY_MICROSECONDS : FIRST_TIMEOUT;
  const uint64_t timeout = (uint64_t)(estimate > floor ? estimate : floor) * trip->backoff;
  return timeout > TIMEOUT_CEILING ? TIMEOUT_CEILING : (uint32_t)timeout;
}
