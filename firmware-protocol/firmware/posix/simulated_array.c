/*
 * The array of the POSIX board: cells, converter, time and energy as sim/chip.ts and sim/macro.ts have them, so that both simulate one chip. Making
 * cells takes doubles there and here, in the same order; what the firmware computes of the cells does not.
 */
#define _POSIX_C_SOURCE 200809L
#include "simulated_array.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "board.h"
#include "framing.h"
#include "numerics.h"

/* Purposes of chance on a chip; each is a stream of its own. */
enum noise_stream { STREAM_FORMED = 1, STREAM_PAIR_MEAN = 2, STREAM_SNAPSHOT = 4, STREAM_RESIDUAL = 5, STREAM_MULTIPLY = 6, STREAM_READ = 7 };

#define GAUSSIAN_ONE 32768.0
#define PARALLEL_CONVERTERS 8u
#define CONVERSION_NANOSECONDS 20000u
#define SETTLING_NANOSECONDS 2000u
#define CONVERSION_FEMTOJOULES 500000000u
#define ENERGY_SHIFT 16u
#define FRAME_BITS 6500u
#define CHIP_MILLICELSIUS 25000

#define FORMED_MEAN 12.34
#define PAIR_DIFFERENCE_SD 6.352
#define PAIR_MEAN_SD 3.18

struct profile {
  const char *name;
  uint32_t cell_unit_nanosiemens;
  uint32_t converter_bits;
  uint32_t noise_parts_per_million;
  double residual_mean;
  double residual_sd;
  bool has_exact_snapshots;
  struct board_range ranges[2];
  /* Energy in the cells per unit of the summed codes of a drive, in femtojoules with 16 fractional bits: unit * (0.1 V)^2 * 22 us. */
  uint32_t energy_q16;
};

static const struct profile profiles[] = {
  {.name = "ideal", .cell_unit_nanosiemens = 1, .converter_bits = 32, .has_exact_snapshots = true, .ranges = {{"multiply", 1, 1}, {"cell", 1, 1}},
   .energy_q16 = 14418},
  {.name = "lab-paper-quiet", .cell_unit_nanosiemens = 4, .converter_bits = 14, .residual_mean = 0.5, .residual_sd = 0.3,
   .ranges = {{"multiply", 2500000, 16384}, {"cell", 102400, 16384}}, .energy_q16 = 57672},
  {.name = "lab-paper", .cell_unit_nanosiemens = 4, .converter_bits = 14, .noise_parts_per_million = 20000, .residual_mean = 0.5, .residual_sd = 0.3,
   .ranges = {{"multiply", 2500000, 16384}, {"cell", 102400, 16384}}, .energy_q16 = 57672},
};

static const struct profile *profile;
static uint32_t chip_seed;
static uint16_t codes[CELLS];
/* What a chip is when it comes to the board. */
static uint8_t first_states[CELLS];
static uint32_t operation_count;
static uint32_t gains[2];
static uint64_t noise_factor;
static float sum_noise_scale;
static int32_t maximum_code;
static char chip_id[64];
static struct board_description description;

const struct board_description *board_description(void) { return &description; }

/* Halves upwards, as Math.round has it. */
static double round_up(double value) {
  const double whole = floor(value);
  return value - whole >= 0.5 ? whole + 1 : whole;
}

static uint16_t code_of(double microsiemens) {
  const double code = round_up((microsiemens * 1000) / profile->cell_unit_nanosiemens);
  if (!(code > 0)) return 0;
  return code >= TOP_CODE ? TOP_CODE : (uint16_t)code;
}

static double deviate(enum noise_stream stream, uint32_t cell, uint32_t again) {
  const uint32_t counter[4] = {cell, again, 0, 0};
  int32_t deviates[4];
  gaussian_four(chip_seed, (uint32_t)stream, counter, deviates);
  return deviates[0] / GAUSSIAN_ONE;
}

/* Two independent cells given their difference: mean + c plus and minus half the difference; a cell conducts at least nothing. */
static void place_difference(uint32_t plus, uint32_t minus, double difference, double mean_deviate) {
  const double mean = FORMED_MEAN + PAIR_MEAN_SD * mean_deviate;
  codes[plus] = code_of(mean + difference / 2);
  codes[minus] = code_of(mean - difference / 2);
}

static void describe(uint32_t baud) {
  (void)snprintf(chip_id, sizeof chip_id, "sim-%s-%u", profile->name, (unsigned)chip_seed);
  description = (struct board_description){
    .chip_id = chip_id, .profile = profile->name, .cell_unit_nanosiemens = profile->cell_unit_nanosiemens, .converter_bits = profile->converter_bits,
    .ranges = {profile->ranges[0], profile->ranges[1]}, .settling_nanoseconds = SETTLING_NANOSECONDS, .reset_amplitude_maximum_millivolts = 2500,
    .reset_width_maximum_nanoseconds = 1000000, .reset_pulses_per_cell_maximum = 100, .total_current_maximum_microamperes = 1000,
    .temperature_minimum_celsius = 10, .temperature_maximum_celsius = 40,
    .frame_microseconds = baud == 0 ? 0 : (uint32_t)((FRAME_BITS * (uint64_t)1000000u + baud - 1) / baud),
  };
}

bool simulated_array_form(const char *profile_name, uint32_t seed, uint32_t baud) {
  for (size_t index = 0; index < sizeof profiles / sizeof profiles[0]; index += 1) {
    if (strcmp(profiles[index].name, profile_name) == 0) profile = &profiles[index];
  }
  if (profile == NULL) return false;
  chip_seed = seed;
  for (uint32_t range = 0; range < 2; range += 1) {
    const struct board_range *steps = &profile->ranges[range];
    gains[range] = gain_of(profile->cell_unit_nanosiemens, steps->step_numerator_nanosiemens, steps->step_denominator);
  }
  noise_factor = variance_factor(profile->noise_parts_per_million);
  sum_noise_scale = noise_scale(profile->noise_parts_per_million);
  maximum_code = profile->converter_bits == 32 ? INT32_MAX : (int32_t)((1u << profile->converter_bits) - 1u);
  for (uint32_t plus = 0; plus < CELLS; plus += 2) {
    place_difference(plus, plus + 1, PAIR_DIFFERENCE_SD * deviate(STREAM_FORMED, plus, 0), deviate(STREAM_PAIR_MEAN, plus, 0));
  }
  memset(first_states, CELL_FORMED, sizeof first_states);
  describe(baud);
  return true;
}

static bool refuse_snapshot(const char *path, const char *problem) {
  (void)fprintf(stderr, "BAD_PROFILE: %s: %s.\n", path, problem);
  return false;
}

#define NPY_START_BYTES 10u
#define NPY_HEADER_BYTES 4096u

static bool read_header(FILE *file) {
  static char header[NPY_HEADER_BYTES + 1];
  uint8_t start[NPY_START_BYTES];
  if (fread(start, 1, sizeof start, file) != sizeof start || memcmp(start, "\x93NUMPY", 6) != 0) return false;
  const size_t length = (size_t)start[8] | ((size_t)start[9] << 8);
  if (length > NPY_HEADER_BYTES || fread(header, 1, length, file) != length) return false;
  header[length] = '\0';
  return strstr(header, "'descr': '<f4'") != NULL && strstr(header, "'fortran_order': False") != NULL && strstr(header, "'shape': (512, 512)") != NULL;
}

static float float_of(const uint8_t *bytes) {
  const uint32_t word = (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8) | ((uint32_t)bytes[2] << 16) | ((uint32_t)bytes[3] << 24);
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}

bool simulated_array_read_snapshot(const char *path) {
  static uint8_t bytes[CELLS * 4 + 1];
  FILE *file = fopen(path, "rb");
  if (file == NULL) return refuse_snapshot(path, "cannot be opened");
  const bool is_map = read_header(file);
  const size_t length = is_map ? fread(bytes, 1, sizeof bytes, file) : 0;
  (void)fclose(file);
  if (!is_map) return refuse_snapshot(path, "a snapshot is a .npy file of float32 of shape (512, 512) in C order");
  if (length != CELLS * 4) return refuse_snapshot(path, "the map is not 1048576 bytes long");
  for (uint32_t cell = 0; cell < CELLS; cell += 1) {
    codes[cell] = code_of(float_of(bytes + 4 * cell));
    first_states[cell] = codes[cell] == 0 ? CELL_PRISTINE : CELL_FORMED;
  }
  return true;
}

/* What one drive takes: settling, conversions in groups of parallel converters, and charge through the cells. */
static void account(struct board_cost *cost, uint32_t line_count, uint64_t sum_of_codes) {
  cost->nanoseconds += SETTLING_NANOSECONDS + (uint64_t)((line_count + PARALLEL_CONVERTERS - 1) / PARALLEL_CONVERTERS) * CONVERSION_NANOSECONDS;
  cost->femtojoules += (uint64_t)line_count * CONVERSION_FEMTOJOULES +
                       (uint64_t)shift_rounded((int64_t)(sum_of_codes * profile->energy_q16), ENERGY_SHIFT);
}

static void add_driven(const struct board_drive *drive, int32_t *sums, uint32_t *variances) {
  memset(sums, 0, drive->line_count * sizeof sums[0]);
  if (noise_factor > 0) memset(variances, 0, drive->line_count * sizeof variances[0]);
  for (uint32_t index = 0; index < drive->driven_count; index += 1) {
    const uint16_t *row = codes + (drive->first_bit_line + drive->driven[index]) * SOURCE_LINES;
    for (uint32_t line = 0; line < drive->line_count; line += 1) sums[line] += row[drive->source_lines[line]];
    if (noise_factor == 0) continue;
    for (uint32_t line = 0; line < drive->line_count; line += 1) variances[line] += cell_variance(row[drive->source_lines[line]]);
  }
}

static void draw_multiply_noise(const struct board_drive *drive, int32_t *deviates) {
  for (uint32_t line = 0; line < drive->line_count; line += 4) {
    const uint32_t where = (drive->timestep << 16) + (drive->tile << 8) + drive->plane;
    const uint32_t counter[4] = {drive->inference_number, where, drive->position, line / 4};
    gaussian_four(chip_seed, STREAM_MULTIPLY, counter, deviates + line);
  }
}

uint32_t board_convert(const struct board_drive *drive, int32_t *out, struct board_cost *cost) {
  static int32_t sums[SOURCE_LINES];
  static uint32_t variances[SOURCE_LINES];
  static int32_t deviates[SOURCE_LINES + 4];
  add_driven(drive, sums, variances);
  uint64_t total = 0;
  for (uint32_t line = 0; line < drive->line_count; line += 1) total += (uint64_t)sums[line];
  account(cost, drive->line_count, total);
  if (profile->converter_bits == 32) {
    memcpy(out, sums, drive->line_count * sizeof sums[0]);
    return 0;
  }
  if (noise_factor > 0) draw_multiply_noise(drive, deviates);
  uint32_t saturated = 0;
  for (uint32_t line = 0; line < drive->line_count; line += 1) {
    const int64_t noise = noise_factor == 0 ? 0 : sum_noise(variances[line], sum_noise_scale, deviates[line]);
    const int64_t code = convert_sum(sums[line], noise, gains[drive->range], 0);
    saturated += code > maximum_code ? 1 : 0;
    out[line] = code > maximum_code ? maximum_code : code < 0 ? 0 : (int32_t)code;
  }
  return saturated;
}

void board_begin_read(void) { operation_count += 1; }

/* A mean ADC code of the cell range as a cell code. */
static uint16_t cell_code_of(double adc_code) {
  const struct board_range *range = &profile->ranges[1];
  const double code = round_up((adc_code * range->step_numerator_nanosiemens) / ((double)range->step_denominator * profile->cell_unit_nanosiemens));
  return code >= TOP_CODE - 1 ? TOP_CODE - 1 : (uint16_t)code;
}

uint16_t board_read_cell(uint32_t cell, uint32_t averages, struct board_cost *cost) {
  const uint32_t code = codes[cell];
  account(cost, averages, (uint64_t)code * averages);
  if (code == TOP_CODE) return TOP_CODE;
  int64_t total = 0;
  int32_t deviates[4] = {0, 0, 0, 0};
  for (uint32_t average = 0; average < averages; average += 1) {
    const uint32_t counter[4] = {operation_count, cell, average / 4, 0};
    if (noise_factor > 0 && (average & 3u) == 0) gaussian_four(chip_seed, STREAM_READ, counter, deviates);
    const int64_t noise = cell_noise(cell_variance(code), noise_factor, deviates[average & 3u]);
    const int64_t converted = convert_sum(code, noise, gains[1], 0);
    if (converted >= maximum_code) return TOP_CODE;
    total += converted < 0 ? 0 : converted;
  }
  return cell_code_of((double)total / averages);
}

static void prune(uint32_t cell) {
  const uint32_t pulses = array_record()->pulse_counts[cell];
  codes[cell] = code_of(profile->residual_mean + profile->residual_sd * deviate(STREAM_RESIDUAL, cell, pulses));
}

void board_reset_cell(uint32_t cell, const struct board_pulse *pulse) {
  (void)pulse;
  if (array_record()->states[cell] != CELL_PRISTINE) prune(cell);
}

void board_place_pair(uint32_t plus, uint32_t minus, int32_t difference_nanosiemens, uint8_t kept) {
  if (profile->has_exact_snapshots) {
    /* G+ - G- is the difference exactly, and both are at least 0 (DESIGN section 5): d = above - below, c the half of |d| rounded up. */
    const int64_t difference = kept == 1 ? difference_nanosiemens : 0;
    const int64_t common = ((difference < 0 ? -difference : difference) + 1) / 2;
    const int64_t above = difference >= 0 ? (difference + 1) / 2 : -(-difference / 2);
    const int64_t below = above - (difference % 2 != 0 ? 1 : 0);
    codes[plus] = (uint16_t)(uint64_t)(above + common);
    codes[minus] = (uint16_t)(uint64_t)(common - below);
  } else {
    place_difference(plus, minus, difference_nanosiemens / 1000.0, deviate(STREAM_SNAPSHOT, plus, 0));
  }
  if (kept != 0) return;
  prune(plus);
  prune(minus);
}

void board_bias_off(void) {}

bool board_temperature(int32_t *millicelsius) {
  *millicelsius = CHIP_MILLICELSIUS;
  return true;
}

/* The state of the simulated chip dies with the process. */
bool board_persist(const struct array_record *record) {
  (void)record;
  return true;
}

void board_restore(struct array_record *record) { memcpy(record->states, first_states, sizeof record->states); }
