#include "fetch.h"

#include <string.h>

#include "bulk.h"
#include "dispatch.h"
#include "limits.h"
#include "link.h"
#include "method.h"
#include "wire.h"

#define CHUNK_BYTES 584u
#define NAME_BYTES 8u

struct fetch {
  uint8_t request_id[REQUEST_ID_BYTES];
  struct bulk_object *object;
  struct bulk_cursor cursor;
};

static struct fetch fetches[REQUESTS_IN_FLIGHT];
static uint32_t count;

static void end_fetch(uint32_t index) {
  bulk_unpin(fetches[index].object);
  count -= 1;
  memmove(&fetches[index], &fetches[index + 1], (count - index) * sizeof fetches[0]);
}

void fetch_initialise(void) {
  while (count > 0) end_fetch(count - 1);
}

uint32_t fetch_count(void) { return count; }

static uint32_t index_of(const uint8_t *request_id) {
  uint32_t index = 0;
  while (index < count && memcmp(fetches[index].request_id, request_id, REQUEST_ID_BYTES) != 0) index += 1;
  return index;
}

bool fetch_has(const uint8_t *request_id) { return index_of(request_id) < count; }

bool fetch_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_BulkFetch *asked = &request->method.bulk_fetch;
  struct bulk_object *object = bulk_find(asked->sha256.bytes, asked->sha256.size);
  if (object == NULL) return method_refuse(final, "BULK_UNKNOWN", "the object is not here");
  struct fetch *fetch = &fetches[count];
  count += 1;
  memcpy(fetch->request_id, request->request_id.bytes, REQUEST_ID_BYTES);
  fetch->object = object;
  bulk_pin(object);
  bulk_seek(&fetch->cursor, object, asked->offset_bytes);
  return true;
}

static void send_chunk(struct fetch *fetch) {
  static macro_v1_DeviceMessage message;
  message.which_body = macro_v1_DeviceMessage_bulk_chunk_tag;
  macro_v1_BulkChunk *chunk = &message.body.bulk_chunk;
  chunk->sha256.size = NAME_BYTES;
  memcpy(chunk->sha256.bytes, fetch->object->digest, NAME_BYTES);
  chunk->offset_bytes = fetch->cursor.offset_bytes;
  chunk->data.size = (pb_size_t)bulk_read(&fetch->cursor, chunk->data.bytes, CHUNK_BYTES);
  dispatch_send(&message, PRIORITY_BULK);
}

static void finish(struct fetch *fetch) {
  static macro_v1_Final final;
  memset(&final, 0, sizeof final);
  final.request_id.size = REQUEST_ID_BYTES;
  memcpy(final.request_id.bytes, fetch->request_id, REQUEST_ID_BYTES);
  final.which_result = macro_v1_Final_bulk_fetch_tag;
  macro_v1_BulkState *state = &final.result.bulk_fetch;
  memcpy(state->sha256, fetch->object->digest, SHA256_BYTES);
  state->offset_bytes = fetch->object->size_bytes;
  state->size_bytes = fetch->object->size_bytes;
  state->committed = true;
  /* Behind its chunks, so that the answer means that they have arrived. */
  dispatch_send_final(&final, PRIORITY_BULK);
  end_fetch(0);
}

void fetch_work(void) {
  while (count > 0 && dispatch_has_room() && link_queued(wire_link(), PRIORITY_BULK) < MAXIMUM_WINDOW_FRAMES) {
    if (fetches[0].cursor.offset_bytes < fetches[0].object->size_bytes) send_chunk(&fetches[0]);
    else finish(&fetches[0]);
  }
}

bool fetch_cancel(const uint8_t *request_id) {
  const uint32_t index = index_of(request_id);
  if (index == count) return false;
  end_fetch(index);
  return true;
}
