#define _POSIX_C_SOURCE 200809L
#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MILLION 1000000.0

static char host[64];

static bool refuse(const char *name, const char *value, const char *wanted) {
  (void)fprintf(stderr, "BAD_ARGUMENT: %s is \"%s\"; it is %s.\n", name, value, wanted);
  return false;
}

static bool read_integer(const char *name, const char *text, unsigned long long maximum, uint32_t *number) {
  char *end = NULL;
  errno = 0;
  const unsigned long long value = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > maximum) return refuse(name, text, "an integer of 32 bits");
  *number = (uint32_t)value;
  return true;
}

static bool read_fraction(const char *name, const char *text, uint32_t *parts_per_million) {
  char *end = NULL;
  const double value = strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 1)) return refuse(name, text, "a fraction from 0 to 1");
  *parts_per_million = (uint32_t)(value * MILLION + 0.5);
  return true;
}

/* tcp://address:port, where port 0 lets the system choose. */
static bool read_address(struct arguments *arguments, const char *text) {
  static const char scheme[] = "tcp://";
  const char *name = text + sizeof scheme - 1;
  const char *colon = strrchr(text, ':');
  uint32_t port = 0;
  if (strncmp(text, scheme, sizeof scheme - 1) != 0 || colon == NULL || colon < name || (size_t)(colon - name) >= sizeof host) {
    return refuse("--listen", text, "tcp://host:port");
  }
  if (!read_integer("--listen", colon + 1, UINT16_MAX, &port)) return false;
  memcpy(host, name, (size_t)(colon - name));
  host[colon - name] = '\0';
  arguments->host = host;
  arguments->port = (uint16_t)port;
  return true;
}

/* Returns whether the option was taken; `next` is its value, or NULL. */
static bool read_option(struct arguments *arguments, const char *name, const char *next) {
  if (next == NULL) return refuse(name, "", "followed by its value");
  if (strcmp(name, "--listen") == 0) return read_address(arguments, next);
  if (strcmp(name, "--seed") == 0) return read_integer(name, next, UINT32_MAX, &arguments->seed);
  if (strcmp(name, "--baud") == 0) return read_integer(name, next, UINT32_MAX, &arguments->baud);
  if (strcmp(name, "--corrupt") == 0) return read_fraction(name, next, &arguments->corrupt_parts_per_million);
  if (strcmp(name, "--profile") == 0) arguments->profile = next;
  else if (strcmp(name, "--snapshot") == 0) arguments->snapshot = next;
  else return refuse("an argument", name, "--listen, --pty, --snapshot, --seed, --baud, --corrupt, --profile or --exit-with-parent");
  return true;
}

bool arguments_read(struct arguments *arguments, int count, char **words) {
  *arguments = (struct arguments){.host = "127.0.0.1", .profile = "ideal", .seed = 1};
  bool has_address = false;
  bool is_pty = false;
  for (int at = 1; at < count; at += 1) {
    if (strcmp(words[at], "--pty") == 0) {
      is_pty = true;
    } else if (strcmp(words[at], "--exit-with-parent") == 0) {
      arguments->exits_with_parent = true;
    } else {
      has_address = has_address || strcmp(words[at], "--listen") == 0;
      if (!read_option(arguments, words[at], at + 1 < count ? words[at + 1] : NULL)) return false;
      at += 1;
    }
  }
  if (is_pty && has_address) return refuse("--pty", "", "given, or --listen is");
  if (is_pty) arguments->host = NULL;
  return true;
}
