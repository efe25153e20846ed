/* Streams of samples, one subscription each, each with its own policy of what may be lost and its own count of what was. */
#include "telemetry.h"

#include <pb_encode.h>
#include <string.h>

#include "board.h"
#include "controller.h"
#include "limits.h"
#include "link.h"
#include "method.h"
#include "wire.h"

#define STREAMS 3u
#define MAXIMUM_DECIMATION 1000u
#define MINIMUM_INTERVAL_MILLISECONDS 10u
#define MAXIMUM_INTERVAL_MILLISECONDS 60000u
/* Lossless samples in the link at once; the rest waits here, where it is counted. */
#define LINK_SAMPLES 4u

struct sample {
  uint16_t length;
  uint8_t bytes[MAXIMUM_PAYLOAD_BYTES];
};

struct stream {
  macro_v1_Policy policy;
  uint32_t decimation;
  uint32_t interval_microseconds;
  uint64_t due_at;
  uint32_t made;
  uint32_t dropped;
  uint32_t first;
  uint32_t count;
  struct sample samples[TELEMETRY_SAMPLES];
};

static struct stream streams[STREAMS];
static macro_v1_DeviceMessage message;

void telemetry_initialise(void) {
  for (uint32_t index = 0; index < STREAMS; index += 1) streams[index].policy = macro_v1_Policy_OFF;
}

void subscribe_answer(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_Subscribe *asked = &request->method.subscribe;
  const bool is_on = asked->policy != macro_v1_Policy_OFF;
  const bool is_timed = asked->stream != macro_v1_Stream_TIMESTEP_STREAM;
  if (!method_within(final, "stream", (uint32_t)asked->stream, 0, STREAMS - 1)) return;
  if (!method_within(final, "policy", (uint32_t)asked->policy, 0, macro_v1_Policy_DECIMATE)) return;
  if (asked->policy == macro_v1_Policy_DECIMATE && !method_within(final, "decimation", asked->decimation, 1, MAXIMUM_DECIMATION)) return;
  if (is_on && is_timed && !method_within(final, "intervalMilliseconds", asked->interval_milliseconds, MINIMUM_INTERVAL_MILLISECONDS,
                                          MAXIMUM_INTERVAL_MILLISECONDS)) {
    return;
  }
  struct stream *stream = &streams[asked->stream];
  stream->policy = asked->policy;
  stream->decimation = asked->policy == macro_v1_Policy_DECIMATE ? asked->decimation : 1;
  stream->interval_microseconds = asked->interval_milliseconds * 1000u;
  stream->due_at = board_microseconds() + stream->interval_microseconds;
  stream->made = 0;
  stream->dropped = 0;
  stream->first = 0;
  stream->count = 0;
  final->which_result = macro_v1_Final_subscribe_tag;
  final->result.subscribe.stream = asked->stream;
  final->result.subscribe.policy = asked->policy;
}

static uint32_t room_of(const struct stream *stream) {
  if (stream->policy == macro_v1_Policy_LATEST) return 1;
  return stream->policy == macro_v1_Policy_DECIMATE ? DECIMATED_SAMPLES : TELEMETRY_SAMPLES;
}

/* Counts a sample, and begins its message where it is one that shall be sent. */
static macro_v1_Telemetry *begin_sample(struct stream *stream) {
  const uint32_t sequence = stream->made;
  stream->made += 1;
  if (sequence % stream->decimation != 0) return NULL;
  if (stream->policy == macro_v1_Policy_LATEST && stream->count > 0) {
    stream->count = 0;
    stream->dropped += 1;
  }
  if (stream->count == room_of(stream)) {
    stream->dropped += 1;
    return NULL;
  }
  memset(&message, 0, sizeof message);
  message.which_body = macro_v1_DeviceMessage_telemetry_tag;
  macro_v1_Telemetry *telemetry = &message.body.telemetry;
  telemetry->stream = (macro_v1_Stream)(stream - streams);
  telemetry->sequence = sequence;
  telemetry->link_time_microseconds = (double)controller_link_time();
  telemetry->dropped = stream->dropped;
  return telemetry;
}

static void finish_sample(struct stream *stream) {
  struct sample *sample = &stream->samples[(stream->first + stream->count) % TELEMETRY_SAMPLES];
  pb_ostream_t output = pb_ostream_from_buffer(sample->bytes, sizeof sample->bytes);
  if (!pb_encode(&output, macro_v1_DeviceMessage_fields, &message)) {
    stream->dropped += 1;
    return;
  }
  sample->length = (uint16_t)output.bytes_written;
  stream->count += 1;
}

static void fill_link_report(macro_v1_LinkReport *report) {
  const struct link *link = wire_link();
  if (link == NULL) return;
  const struct link_statistics *statistics = &link->statistics;
  const uint32_t *discarded = wire_discarded();
  report->frames_sent = statistics->frames_sent;
  report->frames_received = statistics->frames_received;
  report->retransmissions = statistics->retransmissions;
  report->duplicates = statistics->duplicates;
  report->discarded_checksum = discarded[DISCARD_CHECKSUM];
  report->discarded_cobs = discarded[DISCARD_COBS];
  report->discarded_length = discarded[DISCARD_TOO_LONG] + discarded[DISCARD_TOO_SHORT];
  report->discarded_kind = discarded[DISCARD_VERSION] + discarded[DISCARD_TYPE];
  report->round_trip_microseconds = round_trip_smoothed(&link->round_trip);
  report->queued_bytes = link->queued_bytes;
}

static void make_sample(struct stream *stream) {
  macro_v1_Telemetry *telemetry = begin_sample(stream);
  if (telemetry == NULL) return;
  if (telemetry->stream == macro_v1_Stream_STATUS_STREAM) {
    telemetry->which_body = macro_v1_Telemetry_status_tag;
    method_status(&telemetry->body.status);
  } else {
    telemetry->which_body = macro_v1_Telemetry_link_tag;
    fill_link_report(&telemetry->body.link);
  }
  finish_sample(stream);
}

static bool is_timed(const struct stream *stream) {
  return stream->policy != macro_v1_Policy_OFF && stream != &streams[macro_v1_Stream_TIMESTEP_STREAM];
}

void telemetry_make(uint64_t now) {
  for (uint32_t index = 0; index < STREAMS; index += 1) {
    struct stream *stream = &streams[index];
    if (!is_timed(stream) || now < stream->due_at) continue;
    make_sample(stream);
    stream->due_at += stream->interval_microseconds;
    /* After a long step of work the samples that were missed are not made up for. */
    if (stream->due_at < now) stream->due_at = now + stream->interval_microseconds;
  }
}

void telemetry_timestep(const macro_v1_TimestepResult *result) {
  struct stream *stream = &streams[macro_v1_Stream_TIMESTEP_STREAM];
  if (stream->policy == macro_v1_Policy_OFF) return;
  macro_v1_Telemetry *telemetry = begin_sample(stream);
  if (telemetry == NULL) return;
  telemetry->which_body = macro_v1_Telemetry_timestep_tag;
  telemetry->body.timestep = *result;
  finish_sample(stream);
}

static bool send_sample(const struct stream *stream, uint32_t session) {
  const struct sample *sample = &stream->samples[stream->first];
  if (stream->policy != macro_v1_Policy_LOSSLESS) {
    return wire_has_slack() && wire_send_frame(FRAME_DATAGRAM, session, sample->bytes, sample->length);
  }
  struct link *link = wire_link();
  if (link_queued(link, PRIORITY_TELEMETRY) >= LINK_SAMPLES || link_room(link) < LINK_MESSAGES / 2) return false;
  return link_send(link, PRIORITY_TELEMETRY, sample->bytes, sample->length);
}

void telemetry_send(uint32_t session) {
  for (uint32_t index = 0; index < STREAMS; index += 1) {
    struct stream *stream = &streams[index];
    while (stream->policy != macro_v1_Policy_OFF && stream->count > 0 && send_sample(stream, session)) {
      stream->first = (stream->first + 1) % TELEMETRY_SAMPLES;
      stream->count -= 1;
    }
  }
}

uint64_t telemetry_due_at(void) {
  uint64_t due_at = UINT64_MAX;
  for (uint32_t index = 0; index < STREAMS; index += 1) {
    if (is_timed(&streams[index]) && streams[index].due_at < due_at) due_at = streams[index].due_at;
  }
  return due_at;
}
