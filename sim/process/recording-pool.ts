import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Chip } from '../chip.js';
import type { EarlyStopRule } from '../../firmware-protocol/numerics/index.js';
import type { RunProgram, TimestepOutcome } from '../network-run.js';
import type { Profile } from '../profile.js';

/** What every worker has of its own: the same chip with the same seed, so that it does not matter which worker runs a recording. */
export interface WorkerBench {
  readonly chipBytes: Uint8Array;
  readonly profile: Profile;
  readonly program: RunProgram;
  readonly earlyStop: EarlyStopRule | undefined;
}

/** Recordings in memory that the workers share, each of `frameBytes`; `next` is the index of the first that nobody has taken. */
export interface RecordingBatch {
  readonly frames: SharedArrayBuffer;
  readonly frameBytes: number;
  readonly next: SharedArrayBuffer;
  readonly firstInferenceNumber: number;
  /** As of when the slow states of the chip count in the whole batch, and how long its bit lines had been driven by then. */
  readonly operationNanoseconds: number;
  readonly drivenNanoseconds: Float64Array;
}

/** What a worker did of a batch. */
export interface BatchPart {
  readonly results: readonly (readonly [index: number, result: RecordingResult])[];
  /** How long it has driven each bit line. */
  readonly drivenNanoseconds: Float64Array;
}

/** A recording's run, and what it took of the chip. */
export interface RecordingResult {
  readonly outcomes: readonly TimestepOutcome[];
  readonly prediction: number;
  readonly stoppedEarly: boolean;
  readonly conversions: number;
  readonly saturations: number;
  readonly operationNanoseconds: number;
  readonly energyFemtojoules: number;
}

/**
 * Runs a network on one chip in several threads, a whole recording in each. Results do not depend on how many there are: a batch is one operation, in
 * which slow states stand still, and the chip is older by all of it afterwards.
 */
export class RecordingPool {
  private readonly workers: readonly Worker[];

  constructor(private readonly chip: Chip, program: RunProgram, workerCount: number, earlyStop?: EarlyStopRule) {
    const chipBytes = new Uint8Array(new SharedArrayBuffer(chip.serialise().length));
    chipBytes.set(chip.serialise());
    const workerData: WorkerBench = { chipBytes, profile: chip.profile, program, earlyStop };
    this.workers = Array.from({ length: workerCount }, () => new Worker(new URL('./recording-worker.js', import.meta.url), { workerData }));
  }

  /** @param recordings frames of T × C × H × W drive codes; the first has `firstInferenceNumber`, the others count on from it */
  async run(recordings: readonly Uint8Array[], firstInferenceNumber: number): Promise<RecordingResult[]> {
    const frameBytes = recordings[0]?.length ?? 0;
    if (recordings.some(({ length }) => length !== frameBytes)) throw new RangeError('recordings of one program have frames of one size');
    const frames = new SharedArrayBuffer(recordings.length * frameBytes);
    recordings.forEach((recording, index) => { new Uint8Array(frames).set(recording, index * frameBytes); });
    const { operationNanoseconds, drivenNanoseconds } = this.chip;
    const batch = { frames, frameBytes, next: new SharedArrayBuffer(4), firstInferenceNumber, operationNanoseconds, drivenNanoseconds };
    const parts = await Promise.all(this.workers.map((worker) => this.ask(worker, batch)));
    const results = new Map(parts.flatMap((part) => part.results));
    for (const part of parts) part.drivenNanoseconds.forEach((nanoseconds, bitLine) => { drivenNanoseconds[bitLine] += nanoseconds; });
    for (const result of results.values()) this.chip.operationNanoseconds += result.operationNanoseconds;
    return recordings.map((_, index) => results.get(index) as RecordingResult);
  }

  private async ask(worker: Worker, batch: RecordingBatch): Promise<BatchPart> {
    worker.postMessage(batch);
    const [part] = await once(worker, 'message');
    return part;
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}
