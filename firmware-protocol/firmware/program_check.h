#ifndef PRIME_PROGRAM_CHECK_H
#define PRIME_PROGRAM_CHECK_H

#include "program.h"

/* Whether a program can run on this array; otherwise `problem` names the field and its range. Fills in where each layer's neurons begin. */
bool program_check(struct program *program, char *problem, uint32_t room);

#endif
