/* Multiply: raw binary multiplies of one tile, for hosts that step the neurons themselves. */
#include <string.h>

#include "array.h"
#include "board.h"
#include "method.h"

/* Of an answer that carries codes: message and result tags, lengths, request id, counts, time and energy. */
#define ANSWER_OVERHEAD_BYTES 64u
#define CODES_MAXIMUM_BYTES (MAXIMUM_PAYLOAD_BYTES - ANSWER_OVERHEAD_BYTES)

static uint32_t code_bytes(void) { return board_description()->converter_bits > 16 ? 4u : 2u; }

static bool check_lines(const macro_v1_Multiply *multiply, macro_v1_Final *final) {
  if (!method_within(final, "bitLineCount", multiply->bit_line_count, 1, BIT_LINES)) return false;
  if (!method_within(final, "firstBitLine", multiply->first_bit_line, 0, BIT_LINES - multiply->bit_line_count)) return false;
  if (!method_within(final, "sourceLines.length", multiply->source_lines_count, 1, SOURCE_LINES)) return false;
  for (pb_size_t index = 0; index < multiply->source_lines_count; index += 1) {
    if (!method_within(final, "sourceLines", multiply->source_lines[index], 0, SOURCE_LINES - 1)) return false;
  }
  return true;
}

static bool check_drives(const macro_v1_Multiply *multiply, macro_v1_Final *final) {
  const uint32_t bytes = (multiply->bit_line_count + 7) / 8;
  if (!method_within(final, "drives.length", multiply->drives_count, 1, MAXIMUM_DRIVES)) return false;
  for (pb_size_t index = 0; index < multiply->drives_count; index += 1) {
    if (!method_within(final, "drives.lines.length", multiply->drives[index].lines.size, bytes, bytes)) return false;
    if (!method_within(final, "drives.plane", multiply->drives[index].plane, 0, 3)) return false;
  }
  return true;
}

bool multiply_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_Multiply *multiply = &request->method.multiply;
  if (!check_lines(multiply, final)) return false;
  if (!method_within(final, "range", multiply->range, 0, 1)) return false;
  if (!method_within(final, "timestep", multiply->timestep, 0, MAXIMUM_TIMESTEPS - 1)) return false;
  if (!method_within(final, "tile", multiply->tile, 0, 255)) return false;
  if (!check_drives(multiply, final)) return false;
  const uint32_t answer = (uint32_t)multiply->drives_count * multiply->source_lines_count * code_bytes();
  return method_within(final, "bytes of codes in the answer", answer, 1, CODES_MAXIMUM_BYTES);
}

static uint32_t driven_lines(const macro_v1_Drive *drive, uint32_t rows, uint16_t driven[BIT_LINES]) {
  uint32_t count = 0;
  for (uint32_t row = 0; row < rows; row += 1) {
    if ((((uint32_t)drive->lines.bytes[row >> 3] >> (row & 7u)) & 1u) == 0) continue;
    driven[count] = (uint16_t)row;
    count += 1;
  }
  return count;
}

static void put_codes(macro_v1_MultiplyResult *result, const int32_t *codes, uint32_t count) {
  const uint32_t bytes = code_bytes();
  for (uint32_t line = 0; line < count; line += 1) {
    for (uint32_t byte = 0; byte < bytes; byte += 1) {
      result->codes.bytes[result->codes.size] = (uint8_t)(((uint32_t)codes[line] >> (8 * byte)) & 0xffu);
      result->codes.size = (pb_size_t)(result->codes.size + 1);
    }
  }
}

enum step multiply_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  (void)progress;
  static uint16_t driven[BIT_LINES];
  static uint16_t lines[SOURCE_LINES];
  static int32_t codes[SOURCE_LINES];
  const macro_v1_Multiply *multiply = &request->method.multiply;
  macro_v1_MultiplyResult *result = &final->result.multiply;
  final->which_result = macro_v1_Final_multiply_tag;
  struct board_cost cost = {0, 0};
  struct board_drive drive = {
    .first_bit_line = multiply->first_bit_line, .driven = driven, .source_lines = lines, .line_count = multiply->source_lines_count,
    .range = multiply->range, .inference_number = multiply->inference_number, .timestep = multiply->timestep, .tile = multiply->tile,
  };
  for (uint32_t line = 0; line < drive.line_count; line += 1) lines[line] = (uint16_t)multiply->source_lines[line];
  for (pb_size_t index = 0; index < multiply->drives_count; index += 1) {
    drive.driven_count = driven_lines(&multiply->drives[index], multiply->bit_line_count, driven);
    drive.position = multiply->drives[index].position;
    drive.plane = multiply->drives[index].plane;
    result->saturations += board_convert(&drive, codes, &cost);
    put_codes(result, codes, drive.line_count);
  }
  array_account(cost.nanoseconds);
  result->operation_nanoseconds = (double)cost.nanoseconds;
  result->energy_femtojoules = (double)cost.femtojoules;
  return STEP_FINAL;
}
