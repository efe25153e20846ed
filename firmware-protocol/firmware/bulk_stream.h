#ifndef PRIME_BULK_STREAM_H
#define PRIME_BULK_STREAM_H

#include <pb.h>

#include "bulk.h"

/* A bulk object as a stream of nanopb, read in pieces: bytes of small fields come from a buffer, not from the pages one by one. */
struct bulk_stream {
  struct bulk_cursor cursor;
  uint8_t buffer[256];
  size_t at;
  size_t filled;
};

/* `source` lives as long as the stream. */
pb_istream_t bulk_stream(struct bulk_stream *source, const struct bulk_object *object);

#endif
