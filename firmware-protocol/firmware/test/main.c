/* Runs every unit test. The last line says whether all have passed. */
#include <stdio.h>

#include "check.h"
#include "crc32c.h"

static unsigned checks;
static unsigned failures;

void check_that(int is_true, const char *condition, const char *file, int line) {
  checks += 1;
  if (is_true) return;
  failures += 1;
  (void)printf("%s:%d: %s\n", file, line, condition);
}

uint32_t random_word(void) {
  static uint32_t state = 12345;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

int main(void) {
  crc32c_initialise();
  framing_test();
  numerics_test();
  link_test();
  store_test();
  controller_test();
  (void)printf("%u checks, %u failed: %s\n", checks, failures, failures == 0 ? "all tests passed" : "NOT passed");
  return failures == 0 ? 0 : 1;
}
