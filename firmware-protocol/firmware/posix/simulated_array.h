#ifndef PRIME_POSIX_SIMULATED_ARRAY_H
#define PRIME_POSIX_SIMULATED_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

/* Forms a chip by the law of its profile, a pure function of profile and seed. false: there is no such profile here. */
bool simulated_array_form(const char *profile_name, uint32_t seed, uint32_t baud);

/* Takes conductances over from a .npy file of 512 x 512 float32 in microsiemens. What is wrong with it is said on stderr. */
bool simulated_array_read_snapshot(const char *path);

#endif
