#include "bulk_stream.h"

#include <pb_decode.h>
#include <string.h>

static bool read_object(pb_istream_t *stream, pb_byte_t *bytes, size_t count) {
  struct bulk_stream *source = stream->state;
  while (count > 0) {
    if (source->at == source->filled) {
      source->filled = bulk_read(&source->cursor, source->buffer, sizeof source->buffer);
      source->at = 0;
      if (source->filled == 0) return false;
    }
    const size_t there = source->filled - source->at;
    const size_t taken = count < there ? count : there;
    if (bytes != NULL) {
      memcpy(bytes, source->buffer + source->at, taken);
      bytes += taken;
    }
    source->at += taken;
    count -= taken;
  }
  return true;
}

pb_istream_t bulk_stream(struct bulk_stream *source, const struct bulk_object *object) {
  bulk_seek(&source->cursor, object, 0);
  source->at = 0;
  source->filled = 0;
  return (pb_istream_t){.callback = read_object, .state = source, .bytes_left = object->size_bytes};
}
