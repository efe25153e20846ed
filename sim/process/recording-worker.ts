// A worker of the pool: takes recording after recording from the shared memory, until the pool has none left.
import { parentPort, workerData } from 'node:worker_threads';
import { Chip } from '../chip.js';
import { Macro } from '../macro.js';
import { NetworkRun, type TimestepOutcome } from '../network-run.js';
import { readKernel } from './kernel-file.js';
import type { RecordingBatch, RecordingResult, WorkerBench } from './recording-pool.js';

const { chipBytes, profile, program, earlyStop } = workerData as WorkerBench;
const chip = Chip.deserialise(chipBytes, profile);
if (chip === undefined) throw new Error('the bytes of the chip are none');
const macro = new Macro(chip, readKernel());

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

parentPort?.on('message', ({ frames, frameBytes, next, firstInferenceNumber }: RecordingBatch) => {
  const counter = new Int32Array(next);
  const count = frames.byteLength / frameBytes;
  const results: [index: number, result: RecordingResult][] = [];
  for (let index = Atomics.add(counter, 0, 1); index < count; index = Atomics.add(counter, 0, 1)) {
    results.push([index, resultOf(new Uint8Array(frames, index * frameBytes, frameBytes), firstInferenceNumber + index)]);
  }
  parentPort?.postMessage(results);
});
