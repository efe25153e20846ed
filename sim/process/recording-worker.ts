// A worker of the pool: takes recording after recording from the shared memory, until the pool has none left.
import { parentPort, workerData } from 'node:worker_threads';
import { Chip } from '../chip.js';
import { Macro } from '../macro.js';
import { NetworkRun, type TimestepOutcome } from '../network-run.js';
import type { Profile } from '../profile.js';
import { readKernel } from './kernel-file.js';
import type { BatchPart, RecordingBatch, RecordingResult, WorkerBench } from './recording-pool.js';

const { chipBytes, profile, program, earlyStop } = workerData as WorkerBench;
const macro = new Macro(chipOf(chipBytes, profile), readKernel());

function chipOf(bytes: Uint8Array, ofProfile: Profile): Chip {
  const chip = Chip.deserialise(bytes, ofProfile);
  if (chip === undefined) throw new Error('the bytes of the chip are none');
  return chip;
}

function resultOf(frames: Uint8Array, inferenceNumber: number): RecordingResult {
  const before = { nanoseconds: macro.operationNanoseconds, conversions: macro.conversions, saturations: macro.saturations };
  macro.energyFemtojoules = 0;
  const run = new NetworkRun(macro, program, frames, inferenceNumber, earlyStop);
  const outcomes: TimestepOutcome[] = [];
  for (let outcome = run.step(); outcome !== undefined; outcome = run.step()) outcomes.push(outcome);
  return {
    outcomes,
    prediction: run.prediction,
    stoppedEarly: run.stoppedEarly,
    conversions: macro.conversions - before.conversions,
    saturations: macro.saturations - before.saturations,
    operationNanoseconds: macro.operationNanoseconds - before.nanoseconds,
    energyFemtojoules: macro.energyFemtojoules,
  };
}

function partOf({ frames, frameBytes, next, firstInferenceNumber, operationNanoseconds, drivenNanoseconds }: RecordingBatch): BatchPart {
  const counter = new Int32Array(next);
  const count = frames.byteLength / frameBytes;
  const results: [index: number, result: RecordingResult][] = [];
  macro.chip.drivenNanoseconds.set(drivenNanoseconds);
  for (let index = Atomics.add(counter, 0, 1); index < count; index = Atomics.add(counter, 0, 1)) {
    macro.operationNanoseconds = operationNanoseconds;
    results.push([index, resultOf(new Uint8Array(frames, index * frameBytes, frameBytes), firstInferenceNumber + index)]);
  }
  macro.settleDrives();
  return { results, drivenNanoseconds: macro.chip.drivenNanoseconds.map((nanoseconds, bitLine) => nanoseconds - drivenNanoseconds[bitLine]) };
}

parentPort?.on('message', (batch: RecordingBatch) => parentPort?.postMessage(partOf(batch)));
