/* RunNetwork: what a request of it must hold, and what each timestep tells. */
#include <inttypes.h>
#include <string.h>

#include "method.h"
#include "network.h"
#include "telemetry.h"

static struct network_run run;
static struct bulk_object *frames;

static bool check_early_stop(const macro_v1_RunNetwork *asked, macro_v1_Final *final) {
  run.has_early_stop = asked->has_early_stop;
  if (!run.has_early_stop) return true;
  const macro_v1_EarlyStop *stop = &asked->early_stop;
  if (!stop->has_confidence) return method_refuse(final, "REQUEST_INVALID", "earlyStop.confidence is missing");
  if (!method_within(final, "earlyStop.confidence.multiplier", stop->confidence.multiplier, 0, CONFIDENCE_MULTIPLIER_MAXIMUM)) return false;
  if (!method_within(final, "earlyStop.confidence.shift", stop->confidence.shift, 0, CONFIDENCE_SHIFT_MAXIMUM)) return false;
  if (!method_within(final, "earlyStop.rule", stop->rule, 0, STOP_RULES - 1)) return false;
  const uint32_t timesteps = run.program->timestep_count;
  const uint32_t thresholds = stop->thresholds_q24_count;
  if (thresholds != 0 && !method_within(final, "earlyStop.thresholdsQ24.length", thresholds, timesteps, timesteps)) return false;
  run.early_stop.rule = (enum stop_rule)stop->rule;
  for (uint32_t timestep = 0; timestep < timesteps; timestep += 1) {
    run.early_stop.thresholds_q24[timestep] = thresholds == 0 ? stop->threshold_q24 : stop->thresholds_q24[timestep];
  }
  run.early_stop.confidence = (struct scale){.multiplier = stop->confidence.multiplier, .shift = stop->confidence.shift};
  return true;
}

bool run_network_begin(const macro_v1_Request *request, macro_v1_Final *final) {
  const macro_v1_RunNetwork *asked = &request->method.run_network;
  memset(&run, 0, sizeof run);
  run.program = program_find(asked->program_sha256.bytes, asked->program_sha256.size);
  if (run.program == NULL) return method_refuse(final, "PROGRAM_UNKNOWN", "the program is not loaded");
  frames = method_object(final, "framesSha256", asked->frames_sha256.bytes, asked->frames_sha256.size);
  if (frames == NULL) return false;
  const struct program *program = run.program;
  const uint32_t codes = program->timestep_count * program->input_channels * program->input_height * program->input_width;
  if (frames->size_bytes != (codes + 1) / 2) {
    return method_refuse(final, "REQUEST_INVALID", "frames have %" PRIu32 " bytes; the program takes %" PRIu32, frames->size_bytes, (codes + 1) / 2);
  }
  if (!check_early_stop(asked, final)) return false;
  run.frames = frames;
  run.inference_number = asked->inference_number;
  bulk_pin(frames);
  network_begin(&run);
  return true;
}

static void fill_timestep(macro_v1_TimestepResult *result) {
  uint32_t count;
  const int32_t *membranes = network_outputs(&run, &count);
  result->timestep = run.timesteps - 1;
  result->membranes_count = (pb_size_t)count;
  memcpy(result->membranes, membranes, count * sizeof membranes[0]);
  result->layers_count = (pb_size_t)run.program->layer_count;
  for (uint32_t layer = 0; layer < run.program->layer_count; layer += 1) {
    const struct layer_counts *counts = &run.counts[layer];
    result->layers[layer] = (macro_v1_LayerCounts){counts->conversions, counts->saturations, counts->spikes};
  }
  result->confidence_q24 = run.confidence_q24;
}

static enum step finish(macro_v1_Final *final) {
  macro_v1_RunResult *result = &final->result.run_network;
  bulk_unpin(frames);
  final->which_result = macro_v1_Final_run_network_tag;
  result->timesteps = run.timesteps;
  result->stopped_early = run.stopped_early;
  result->prediction = gate_prediction(&run.gate);
  result->operation_nanoseconds = (double)run.nanoseconds;
  result->energy_femtojoules = (double)run.femtojoules;
  return STEP_FINAL;
}

enum step run_network_step(const macro_v1_Request *request, macro_v1_Progress *progress, macro_v1_Final *final) {
  (void)request;
  if (network_is_over(&run)) return finish(final);
  if (!network_work(&run)) return STEP_WORKING;
  progress->which_body = macro_v1_Progress_timestep_tag;
  fill_timestep(&progress->body.timestep);
  telemetry_timestep(&progress->body.timestep);
  return STEP_PROGRESS;
}

macro_v1_Outcome run_network_abandon(void) {
  bulk_unpin(frames);
  return macro_v1_Outcome_NOT_APPLIED;
}
