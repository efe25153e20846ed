/* SHA-256, the bulk store and the journal. */
#include <string.h>

#include "bulk.h"
#include "check.h"
#include "journal.h"
#include "sha256.h"

static void digest_of(const uint8_t *bytes, size_t length, uint8_t digest[SHA256_BYTES]) {
  struct sha256 hash;
  sha256_begin(&hash);
  /* In uneven pieces, as chunks arrive. */
  for (size_t at = 0, piece = 1; at < length; at += piece, piece = piece * 3 % 127 + 1) {
    sha256_add(&hash, bytes + at, at + piece < length ? piece : length - at);
  }
  sha256_end(&hash, digest);
}

static void digests_are_the_published_ones(void) {
  static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
  static const uint8_t empty[4] = {0xe3, 0xb0, 0xc4, 0x42};
  static const uint8_t million[4] = {0xcd, 0xc7, 0x6e, 0x5c};
  static uint8_t bytes[1000000];
  uint8_t digest[SHA256_BYTES];
  digest_of((const uint8_t *)"abc", 3, digest);
  CHECK(memcmp(digest, abc, sizeof abc) == 0);
  digest_of(bytes, 0, digest);
  CHECK(memcmp(digest, empty, sizeof empty) == 0);
  memset(bytes, 'a', sizeof bytes);
  digest_of(bytes, sizeof bytes, digest);
  CHECK(memcmp(digest, million, sizeof million) == 0);
}

static uint8_t content[200000];

static struct bulk_object *upload(uint32_t seed, uint32_t length) {
  uint8_t digest[SHA256_BYTES];
  struct bulk_object *object = NULL;
  for (uint32_t at = 0; at < length; at += 1) content[at] = (uint8_t)(seed * 31 + at * 7 + (at >> 8));
  digest_of(content, length, digest);
  CHECK(bulk_offer(digest, length, &object) == BULK_OK);
  for (uint32_t at = object->offset_bytes; at < length; at += 584) bulk_take(digest, at, content + at, length - at < 584 ? length - at : 584);
  CHECK(bulk_commit(digest, &object) == BULK_OK);
  return bulk_find(digest, SHA256_BYTES);
}

static void objects_come_back(void) {
  static uint8_t back[sizeof content];
  bulk_initialise();
  for (uint32_t round = 0; round < 400; round += 1) {
    const uint32_t length = random_word() % (sizeof content + 1);
    const struct bulk_object *object = upload(round, length);
    CHECK(object != NULL && object->size_bytes == length);
    struct bulk_cursor cursor;
    const uint32_t from = length == 0 ? 0 : random_word() % length;
    bulk_seek(&cursor, object, from);
    size_t read = 0;
    for (size_t piece = 1; piece > 0; read += piece) piece = bulk_read(&cursor, back + read, random_word() % 9000 + 1);
    CHECK(read == length - from && memcmp(back, content + from, read) == 0);
  }
}

static void what_is_held_is_not_forgotten(void) {
  struct bulk_object *other = NULL;
  uint8_t digest[SHA256_BYTES] = {9};
  bulk_initialise();
  struct bulk_object *held = upload(1, 100000);
  bulk_pin(held);
  for (uint32_t round = 2; round < 2 + BULK_OBJECTS; round += 1) (void)upload(round, 100);
  CHECK(bulk_find(held->digest, SHA256_BYTES) == held);
  CHECK(bulk_offer(digest, BULK_BYTES + 1, &other) == BULK_TOO_LARGE);
  CHECK(bulk_offer(digest, BULK_BYTES, &other) == BULK_FULL);
  bulk_unpin(held);
  CHECK(bulk_offer(digest, BULK_BYTES, &other) == BULK_OK);
}

static void a_wrong_digest_can_be_sent_again(void) {
  struct bulk_object *object = NULL;
  uint8_t digest[SHA256_BYTES];
  digest_of((const uint8_t *)"abc", 3, digest);
  bulk_initialise();
  CHECK(bulk_commit(digest, &object) == BULK_NOT_KNOWN);
  CHECK(bulk_offer(digest, 3, &object) == BULK_OK && object->offset_bytes == 0);
  bulk_take(digest, 0, (const uint8_t *)"a", 1);
  bulk_take(digest, 2, (const uint8_t *)"c", 1);
  CHECK(bulk_commit(digest, &object) == BULK_INCOMPLETE);
  CHECK(bulk_offer(digest, 3, &object) == BULK_OK && object->offset_bytes == 1);
  bulk_take(digest, 1, (const uint8_t *)"xx", 2);
  CHECK(bulk_commit(digest, &object) == BULK_MISMATCH && object->offset_bytes == 0);
  bulk_take(digest, 0, (const uint8_t *)"abcd", 4);
  bulk_take(digest, 0, (const uint8_t *)"abc", 3);
  CHECK(bulk_commit(digest, &object) == BULK_OK);
}

static void a_map_read_twice_is_one_object(void) {
  bulk_initialise();
  struct bulk_object *first = bulk_make(5);
  bulk_append(first, (const uint8_t *)"12345", 5);
  first = bulk_finish(first);
  struct bulk_object *second = bulk_make(5);
  bulk_append(second, (const uint8_t *)"12345", 5);
  CHECK(bulk_finish(second) == first && bulk_find(first->digest, SHA256_BYTES) == first);
}

static void the_journal_keeps_the_last(void) {
  uint8_t id[REQUEST_ID_BYTES] = {0};
  size_t length = 0;
  journal_initialise();
  for (uint32_t number = 0; number < JOURNAL_ENTRIES + 10; number += 1) {
    memcpy(id, &number, sizeof number);
    journal_record(id, id, 4);
  }
  for (uint32_t number = 0; number < JOURNAL_ENTRIES + 10; number += 1) {
    memcpy(id, &number, sizeof number);
    const uint8_t *answer = journal_find(id, &length);
    CHECK((answer != NULL) == (number >= 10));
    if (answer != NULL) CHECK(length == 4 && memcmp(answer, id, 4) == 0);
  }
  journal_initialise();
  CHECK(journal_find(id, &length) == NULL);
}

void store_test(void) {
  digests_are_the_published_ones();
  objects_come_back();
  what_is_held_is_not_forgotten();
  a_wrong_digest_can_be_sent_again();
  a_map_read_twice_is_one_object();
  the_journal_keeps_the_last();
}
