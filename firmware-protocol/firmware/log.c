/* What the board has to say to people: a short queue, sent in LOG frames that nobody acknowledges. */
#include "log.h"

#include <pb_encode.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller.h"
#include "limits.h"
#include "macro/v1/link.pb.h"
#include "wire.h"

static macro_v1_LogRecord records[LOG_RECORDS];
static uint32_t first;
static uint32_t count;
static uint32_t next_sequence;
static uint32_t dropped;

void log_initialise(void) {
  first = 0;
  count = 0;
  next_sequence = 0;
  dropped = 0;
}

void log_add(enum log_level level, const char *format, ...) {
  const uint32_t sequence = next_sequence;
  next_sequence += 1;
  if (count == LOG_RECORDS) {
    dropped += 1;
    return;
  }
  macro_v1_LogRecord *record = &records[(first + count) % LOG_RECORDS];
  count += 1;
  record->sequence = sequence;
  record->link_time_microseconds = (double)controller_link_time();
  record->level = (macro_v1_LogRecord_Level)level;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(record->text, sizeof record->text, format, arguments);
  va_end(arguments);
}

static bool send_record(macro_v1_LogRecord *record, uint32_t session, uint32_t protocol) {
  if (protocol == 1) return wire_send_frame(FRAME_LOG, session, (const uint8_t *)record->text, strlen(record->text));
  uint8_t bytes[macro_v1_LogRecord_size];
  pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
  record->dropped = dropped;
  return pb_encode(&stream, macro_v1_LogRecord_fields, record) && wire_send_frame(FRAME_LOG, session, bytes, stream.bytes_written);
}

void log_send(uint32_t session, uint32_t protocol) {
  while (count > 0 && wire_has_slack()) {
    if (!send_record(&records[first], session, protocol)) return;
    first = (first + 1) % LOG_RECORDS;
    count -= 1;
  }
}
