#ifndef PRIME_BULK_H
#define PRIME_BULK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "sha256.h"

/* An object by its digest: bounded, in pages, the longest unused is forgotten first, an upload resumes where it stopped. */
struct bulk_object {
  uint8_t digest[SHA256_BYTES];
  uint32_t size_bytes;
  uint32_t offset_bytes;
  uint32_t used_at;
  /* Users that must not lose it now. */
  uint16_t pins;
  uint16_t first_page;
  /* Page of offset_bytes, where the next byte goes. */
  uint16_t last_page;
  bool is_taken;
  bool is_committed;
  struct sha256 hash;
};

enum bulk_result { BULK_OK, BULK_TOO_LARGE, BULK_FULL, BULK_NOT_KNOWN, BULK_INCOMPLETE, BULK_MISMATCH };

/* Forgets everything. */
void bulk_initialise(void);

/* Makes room for an object, or finds it. */
enum bulk_result bulk_offer(const uint8_t digest[SHA256_BYTES], uint32_t size_bytes, struct bulk_object **object);

/* Takes a chunk that continues an object; any other is dropped, the commit will tell. `name` is the first 8 bytes of the digest. */
void bulk_take(const uint8_t *name, uint32_t offset_bytes, const uint8_t *bytes, size_t length);

/* Checks a complete object. A wrong digest forgets what was sent, so that it can be sent again. */
enum bulk_result bulk_commit(const uint8_t digest[SHA256_BYTES], struct bulk_object **object);

/* A committed object, or NULL. */
struct bulk_object *bulk_find(const uint8_t *digest, size_t digest_bytes);

/* An object of the board's own making: room for it, its bytes in order, and its name when it is whole. */
struct bulk_object *bulk_make(uint32_t size_bytes);
void bulk_append(struct bulk_object *object, const uint8_t *bytes, size_t length);
struct bulk_object *bulk_finish(struct bulk_object *object);

void bulk_pin(struct bulk_object *object);
void bulk_unpin(struct bulk_object *object);
void bulk_drop(struct bulk_object *object);

/* Reads an object from an offset on; pages are followed from the start, so long reads use a cursor. */
struct bulk_cursor {
  const struct bulk_object *object;
  uint32_t offset_bytes;
  uint16_t page;
};

void bulk_seek(struct bulk_cursor *cursor, const struct bulk_object *object, uint32_t offset_bytes);
/* Copies up to `length` bytes and moves on. Returns how many there were. */
size_t bulk_read(struct bulk_cursor *cursor, uint8_t *bytes, size_t length);

#endif
