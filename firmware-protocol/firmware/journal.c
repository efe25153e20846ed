#include "journal.h"

#include <assert.h>
#include <string.h>

#include "limits.h"

struct entry {
  uint8_t request_id[REQUEST_ID_BYTES];
  uint16_t length;
  uint8_t answer[JOURNAL_ANSWER_BYTES];
};

static struct entry entries[JOURNAL_ENTRIES];
static uint32_t recorded;

void journal_initialise(void) { recorded = 0; }

void journal_record(const uint8_t *request_id, const uint8_t *answer, size_t length) {
  assert(length <= JOURNAL_ANSWER_BYTES);
  struct entry *entry = &entries[recorded % JOURNAL_ENTRIES];
  memcpy(entry->request_id, request_id, REQUEST_ID_BYTES);
  memcpy(entry->answer, answer, length);
  entry->length = (uint16_t)length;
  recorded += 1;
}

const uint8_t *journal_find(const uint8_t *request_id, size_t *length) {
  const uint32_t count = recorded < JOURNAL_ENTRIES ? recorded : JOURNAL_ENTRIES;
  for (uint32_t index = 0; index < count; index += 1) {
    if (memcmp(entries[index].request_id, request_id, REQUEST_ID_BYTES) != 0) continue;
    *length = entries[index].length;
    return entries[index].answer;
  }
  return NULL;
}
