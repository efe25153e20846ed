/* What the unit tests stand on: a check that says where it failed, chance from a seed, and the test board's strings. */
#ifndef PRIME_TEST_CHECK_H
#define PRIME_TEST_CHECK_H

#include <stddef.h>
#include <stdint.h>

void check_that(int is_true, const char *condition, const char *file, int line);
#define CHECK(condition) check_that((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

/* A uniform word; the sequence is the same in every run. */
uint32_t random_word(void);

void framing_test(void);
void numerics_test(void);
void link_test(void);
void store_test(void);
void controller_test(void);

#endif
