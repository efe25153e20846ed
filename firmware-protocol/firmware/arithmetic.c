/* Arithmetic: the board's own numerics on numbers of the host. It touches no cell. */
#include <inttypes.h>
#include <string.h>

#include "method.h"
#include "neuron.h"
#include "numerics.h"

#define VALUE_LIMIT 4503599627370496.0 /* 2^52 */
#define PRODUCT_LIMIT ((uint64_t)1 << 53)
#define SHIFT_MAXIMUM 63u

static uint64_t magnitude(int64_t value) { return value < 0 ? (uint64_t)-value : (uint64_t)value; }

static struct scale scale_of(const macro_v1_Scale *scale) { return (struct scale){.multiplier = scale->multiplier, .shift = scale->shift}; }

/* NUMERICS.md keeps products below 2^52; up to 2^53 a double and this register still agree. */
static bool check_product(macro_v1_Final *final, const char *field, uint64_t left, uint32_t right) {
  if (right == 0 || left <= (PRODUCT_LIMIT - 1) / right) return true;
  return method_refuse(final, "REQUEST_INVALID", "%s: the product with %" PRIu32 " leaves 53 bits", field, right);
}

static bool answer_scale(const macro_v1_ScaleOperation *operation, macro_v1_Final *final) {
  macro_v1_ArithmeticResult *result = &final->result.arithmetic;
  const struct scale by = scale_of(&operation->by);
  double values[64];
  if (!method_within(final, "scale.by.shift", by.shift, 0, SHIFT_MAXIMUM)) return false;
  for (pb_size_t index = 0; index < operation->values_count; index += 1) {
    const double value = operation->values[index];
    /* Written so that what is no number is refused as well. */
    if (!(value > -VALUE_LIMIT && value < VALUE_LIMIT) || value != (double)(int64_t)value) {
      return method_refuse(final, "REQUEST_INVALID", "scale.values holds a number that is no integer below 2^52");
    }
    if (!check_product(final, "scale.values", magnitude((int64_t)value), by.multiplier)) return false;
    values[index] = (double)scale_value((int64_t)value, by);
  }
  memcpy(result->values, values, operation->values_count * sizeof values[0]);
  result->values_count = operation->values_count;
  return true;
}

static bool answer_convert(const macro_v1_ConvertOperation *operation, macro_v1_Final *final) {
  macro_v1_ArithmeticResult *result = &final->result.arithmetic;
  if (!method_within(final, "convert.noise256.length", operation->noise_256_count, operation->sums_count, operation->sums_count)) return false;
  for (pb_size_t index = 0; index < operation->sums_count; index += 1) {
    const int64_t sum = (int64_t)operation->sums[index] * 256 + operation->noise_256[index];
    if (!check_product(final, "convert.sums", magnitude(sum), operation->gain_q20)) return false;
  }
  result->values_count = operation->sums_count;
  for (pb_size_t index = 0; index < operation->sums_count; index += 1) {
    const int64_t code = convert_sum(operation->sums[index], operation->noise_256[index], operation->gain_q20, operation->offset);
    result->values[index] = (double)code;
  }
  return true;
}

static bool check_neuron(const macro_v1_NeuronOperation *operation, macro_v1_Final *final) {
  const pb_size_t count = operation->membranes_count;
  const uint32_t multiplier_limit = 1u << 26;
  if (!method_within(final, "neuron.currents.length", operation->currents_count, count, count)) return false;
  const pb_size_t spikes = operation->neuron.kind == macro_v1_Neuron_Kind_LIF ? count : operation->spikes.size;
  if (!method_within(final, "neuron.spikes.length", operation->spikes.size, spikes, spikes)) return false;
  return method_within(final, "neuron.leak.multiplier", operation->neuron.leak.multiplier, 0, multiplier_limit) &&
         method_within(final, "neuron.leak.shift", operation->neuron.leak.shift, 0, SHIFT_MAXIMUM) &&
         method_within(final, "neuron.negativeSlope.multiplier", operation->neuron.negative_slope.multiplier, 0, multiplier_limit) &&
         method_within(final, "neuron.negativeSlope.shift", operation->neuron.negative_slope.shift, 0, SHIFT_MAXIMUM);
}

static bool answer_neuron(const macro_v1_NeuronOperation *operation, macro_v1_Final *final) {
  macro_v1_ArithmeticResult *result = &final->result.arithmetic;
  if (!check_neuron(operation, final)) return false;
  const uint32_t count = operation->membranes_count;
  const struct neuron neuron = {
    .threshold = operation->neuron.threshold, .leak = scale_of(&operation->neuron.leak),
    .negative_slope = scale_of(&operation->neuron.negative_slope),
  };
  result->membranes_count = operation->membranes_count;
  memcpy(result->membranes, operation->membranes, count * sizeof result->membranes[0]);
  if (operation->neuron.kind != macro_v1_Neuron_Kind_LIF) {
    neuron_step_accumulate(result->membranes, operation->currents, count, neuron.negative_slope);
    return true;
  }
  result->spikes.size = operation->membranes_count;
  memcpy(result->spikes.bytes, operation->spikes.bytes, count);
  (void)neuron_step_lif(result->membranes, result->spikes.bytes, operation->currents, count, &neuron);
  return true;
}

static bool answer_gate(const macro_v1_GateOperation *operation, macro_v1_Final *final) {
  macro_v1_ArithmeticResult *result = &final->result.arithmetic;
  static struct gate gate;
  const struct scale by = scale_of(&operation->confidence);
  if (!method_within(final, "gate.outputs", operation->outputs, 1, 64)) return false;
  if (operation->membranes_count == 0 || operation->membranes_count % operation->outputs != 0) {
    return method_refuse(final, "REQUEST_INVALID", "gate.membranes does not fill its timesteps");
  }
  if (!method_within(final, "gate.confidence.multiplier", by.multiplier, 0, CONFIDENCE_MULTIPLIER_MAXIMUM)) return false;
  if (!method_within(final, "gate.confidence.shift", by.shift, 0, CONFIDENCE_SHIFT_MAXIMUM)) return false;
  if (!method_within(final, "gate.rule", operation->rule, 0, STOP_RULES - 1)) return false;
  gate_begin(&gate, operation->outputs);
  for (pb_size_t at = 0; at < operation->membranes_count; at = (pb_size_t)(at + operation->outputs)) {
    gate_add(&gate, operation->membranes + at);
    result->confidence_q24[result->confidence_q24_count] = gate_confidence(&gate, (enum stop_rule)operation->rule, by);
    result->confidence_q24_count = (pb_size_t)(result->confidence_q24_count + 1);
  }
  result->prediction = gate_prediction(&gate);
  return true;
}

void arithmetic_answer(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_Arithmetic *arithmetic = &request->method.arithmetic;
  bool is_done = false;
  if (arithmetic->which_operation == macro_v1_Arithmetic_scale_tag) is_done = answer_scale(&arithmetic->operation.scale, final);
  else if (arithmetic->which_operation == macro_v1_Arithmetic_convert_tag) is_done = answer_convert(&arithmetic->operation.convert, final);
  else if (arithmetic->which_operation == macro_v1_Arithmetic_neuron_tag) is_done = answer_neuron(&arithmetic->operation.neuron, final);
  else if (arithmetic->which_operation == macro_v1_Arithmetic_gate_tag) is_done = answer_gate(&arithmetic->operation.gate, final);
  else (void)method_refuse(final, "REQUEST_INVALID", "arithmetic names no operation");
  if (is_done) final->which_result = macro_v1_Final_arithmetic_tag;
}
