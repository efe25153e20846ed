#include "bulk.h"

#include <string.h>

#define NAME_BYTES 8u
#define NO_PAGE UINT16_MAX

static uint8_t pages[BULK_PAGES][BULK_PAGE_BYTES];
/* The page behind each page, of an object or of the free ones. */
static uint16_t next_page[BULK_PAGES];
static uint16_t first_free;
static uint32_t free_pages;
static struct bulk_object objects[BULK_OBJECTS];
static uint32_t uses;

static uint32_t pages_of(uint32_t size_bytes) { return size_bytes / BULK_PAGE_BYTES + (size_bytes % BULK_PAGE_BYTES != 0 ? 1u : 0u); }

void bulk_initialise(void) {
  memset(objects, 0, sizeof objects);
  uses = 0;
  for (uint32_t page = 0; page < BULK_PAGES; page += 1) next_page[page] = page + 1 == BULK_PAGES ? NO_PAGE : (uint16_t)(page + 1);
  first_free = 0;
  free_pages = BULK_PAGES;
}

static void touch(struct bulk_object *object) {
  uses += 1;
  object->used_at = uses;
}

static struct bulk_object *named(const uint8_t *name) {
  for (uint32_t index = 0; index < BULK_OBJECTS; index += 1) {
    if (objects[index].is_taken && memcmp(objects[index].digest, name, NAME_BYTES) == 0) return &objects[index];
  }
  return NULL;
}

void bulk_drop(struct bulk_object *object) {
  while (object->first_page != NO_PAGE) {
    const uint16_t page = object->first_page;
    object->first_page = next_page[page];
    next_page[page] = first_free;
    first_free = page;
    free_pages += 1;
  }
  object->is_taken = false;
}

/* Forgets the longest unused object that nobody holds. Returns whether there was one. */
static bool drop_oldest(void) {
  struct bulk_object *oldest = NULL;
  for (uint32_t index = 0; index < BULK_OBJECTS; index += 1) {
    struct bulk_object *object = &objects[index];
    if (!object->is_taken || object->pins > 0) continue;
    if (oldest == NULL || object->used_at < oldest->used_at) oldest = object;
  }
  if (oldest != NULL) bulk_drop(oldest);
  return oldest != NULL;
}

static struct bulk_object *free_object(void) {
  for (uint32_t index = 0; index < BULK_OBJECTS; index += 1) {
    if (!objects[index].is_taken) return &objects[index];
  }
  return NULL;
}

static void take_pages(struct bulk_object *object, uint32_t count) {
  uint16_t last = NO_PAGE;
  object->first_page = count == 0 ? NO_PAGE : first_free;
  for (; count > 0; count -= 1) {
    last = first_free;
    first_free = next_page[first_free];
    free_pages -= 1;
  }
  if (last != NO_PAGE) next_page[last] = NO_PAGE;
}

static void begin_bytes(struct bulk_object *object) {
  object->offset_bytes = 0;
  object->last_page = object->first_page;
  sha256_begin(&object->hash);
}

struct bulk_object *bulk_make(uint32_t size_bytes) {
  if (size_bytes > BULK_BYTES) return NULL;
  const uint32_t needed = pages_of(size_bytes);
  struct bulk_object *object = free_object();
  while (free_pages < needed || object == NULL) {
    if (!drop_oldest()) return NULL;
    object = free_object();
  }
  memset(object, 0, sizeof *object);
  object->is_taken = true;
  object->size_bytes = size_bytes;
  take_pages(object, needed);
  begin_bytes(object);
  touch(object);
  return object;
}

enum bulk_result bulk_offer(const uint8_t digest[SHA256_BYTES], uint32_t size_bytes, struct bulk_object **object) {
  if (size_bytes > BULK_BYTES) return BULK_TOO_LARGE;
  struct bulk_object *known = named(digest);
  if (known != NULL && known->size_bytes == size_bytes) {
    touch(known);
    *object = known;
    return BULK_OK;
  }
  if (known != NULL && known->pins > 0) return BULK_FULL;
  if (known != NULL) bulk_drop(known);
  *object = bulk_make(size_bytes);
  if (*object == NULL) return BULK_FULL;
  memcpy((*object)->digest, digest, SHA256_BYTES);
  return BULK_OK;
}

void bulk_append(struct bulk_object *object, const uint8_t *bytes, size_t length) {
  sha256_add(&object->hash, bytes, length);
  while (length > 0) {
    const uint32_t at = object->offset_bytes % BULK_PAGE_BYTES;
    if (at == 0 && object->offset_bytes > 0) object->last_page = next_page[object->last_page];
    const size_t room = BULK_PAGE_BYTES - at;
    const size_t taken = length < room ? length : room;
    memcpy(pages[object->last_page] + at, bytes, taken);
    object->offset_bytes += (uint32_t)taken;
    bytes += taken;
    length -= taken;
  }
}

void bulk_take(const uint8_t *name, uint32_t offset_bytes, const uint8_t *bytes, size_t length) {
  struct bulk_object *object = named(name);
  if (object == NULL || object->is_committed || offset_bytes != object->offset_bytes || length > object->size_bytes - offset_bytes) return;
  bulk_append(object, bytes, length);
}

enum bulk_result bulk_commit(const uint8_t digest[SHA256_BYTES], struct bulk_object **object) {
  struct bulk_object *known = named(digest);
  if (known == NULL) return BULK_NOT_KNOWN;
  *object = known;
  if (known->is_committed) return BULK_OK;
  if (known->offset_bytes < known->size_bytes) return BULK_INCOMPLETE;
  uint8_t found[SHA256_BYTES];
  sha256_end(&known->hash, found);
  if (memcmp(found, digest, SHA256_BYTES) != 0) {
    begin_bytes(known);
    return BULK_MISMATCH;
  }
  known->is_committed = true;
  return BULK_OK;
}

struct bulk_object *bulk_find(const uint8_t *digest, size_t digest_bytes) {
  if (digest_bytes != SHA256_BYTES) return NULL;
  struct bulk_object *object = named(digest);
  if (object == NULL || !object->is_committed || memcmp(object->digest, digest, SHA256_BYTES) != 0) return NULL;
  touch(object);
  return object;
}

struct bulk_object *bulk_finish(struct bulk_object *object) {
  uint8_t digest[SHA256_BYTES];
  sha256_end(&object->hash, digest);
  struct bulk_object *known = named(digest);
  /* The same map may have been read before, and may be on its way to the host. */
  if (known != NULL && known != object && known->is_committed && known->size_bytes == object->size_bytes) {
    bulk_drop(object);
    touch(known);
    return known;
  }
  if (known != NULL && known != object) bulk_drop(known);
  memcpy(object->digest, digest, SHA256_BYTES);
  object->is_committed = true;
  return object;
}

void bulk_pin(struct bulk_object *object) { object->pins = (uint16_t)(object->pins + 1); }

void bulk_unpin(struct bulk_object *object) { object->pins = (uint16_t)(object->pins - 1); }

void bulk_seek(struct bulk_cursor *cursor, const struct bulk_object *object, uint32_t offset_bytes) {
  cursor->object = object;
  cursor->offset_bytes = offset_bytes < object->size_bytes ? offset_bytes : object->size_bytes;
  cursor->page = object->first_page;
  for (uint32_t left = cursor->offset_bytes / BULK_PAGE_BYTES; left > 0 && cursor->page != NO_PAGE; left -= 1) cursor->page = next_page[cursor->page];
}

size_t bulk_read(struct bulk_cursor *cursor, uint8_t *bytes, size_t length) {
  size_t done = 0;
  const size_t there = cursor->object->size_bytes - cursor->offset_bytes;
  const size_t wanted = length < there ? length : there;
  while (done < wanted) {
    const uint32_t at = cursor->offset_bytes % BULK_PAGE_BYTES;
    const size_t room = BULK_PAGE_BYTES - at;
    const size_t taken = wanted - done < room ? wanted - done : room;
    memcpy(bytes + done, pages[cursor->page] + at, taken);
    done += taken;
    cursor->offset_bytes += (uint32_t)taken;
    if (cursor->offset_bytes % BULK_PAGE_BYTES == 0) cursor->page = next_page[cursor->page];
  }
  return done;
}
