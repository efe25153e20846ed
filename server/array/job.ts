import type { CellProgress, Device } from '../../driver/index.js';
import type { JobContext, JobKind } from '../job/scheduler.js';
import { whenReady } from '../job/ready.js';
import type { Job } from '../job/state.js';
import type { PulseOwner } from '../store/wear-ledger.js';
import { applyMaskOperation, type MaskSources } from './apply-mask.js';
import { type CalibrationSources, calibrateOperation } from './calibrate.js';
import { characteriseOperation } from './characterise.js';
import { formOperation } from './form.js';
import { ivSweepOperation } from './iv-sweep.js';
import { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import type { Plan } from './plan.js';
import { programOperation } from './program.js';
import { readOperation } from './read.js';
import { retentionOperation } from './retention.js';
import { selfTestOperation } from './self-test.js';
import { snapshotOperation, type SnapshotSources } from './snapshot.js';
import { type TrainingSources, trainOperation } from '../training/train.js';
import type { WearMeter } from './wear-meter.js';

/** Where jobs on an array find what they need beside their device. */
export interface ArraySources extends MaskSources, SnapshotSources, CalibrationSources, TrainingSources {
  readonly connectTimeoutMilliseconds: number;
  readonly meter: WearMeter;
  /** Keeps bytes for good. @returns their digest */
  keep(bytes: Uint8Array): string;
  /** A checkpoint of the last job before this one that asked for the same of the same device, unless that one succeeded. */
  earlierCheckpoint(job: Job, name: string): unknown;
}

/** Every operation on an array; what each takes is its own business. */
export function arrayOperations(sources: MaskSources & SnapshotSources & CalibrationSources & TrainingSources): readonly Operation<unknown>[] {
  const all = [
    formOperation, readOperation, programOperation, applyMaskOperation(sources), selfTestOperation, characteriseOperation, calibrateOperation(sources),
    snapshotOperation(sources), retentionOperation, ivSweepOperation, trainOperation(sources),
  ];
  return all as unknown as readonly Operation<unknown>[];
}

/** What all of them understand. */
interface CommonParameters {
  readonly maximumPulses?: number;
  readonly user?: string;
}

export const ownerOf = (job: Job): PulseOwner => ({ jobId: job.id, user: (job.parameters as CommonParameters | null)?.user ?? null });

/** What an operation would do to a device now. */
export async function planOperation(operation: Operation<unknown>, device: Device, parameters: unknown, sources: ArraySources): Promise<Plan> {
  const identity = await device.whenReady(sources.connectTimeoutMilliseconds);
  const { maximumPulses, user = null } = parameters as CommonParameters;
  return operation.plan(await MeteredArray.open(device, identity, sources.meter, { maximumPulses, user }), parameters);
}

/** Progress as the job tells it: cells, and where pulses are given, how many and how strong. */
const progressOf = (context: JobContext) => ({ done, total, pulses, amplitudeMillivolts }: CellProgress) =>
  context.progress(done, total, { pulses, amplitudeMillivolts });

/**
 * An operation as a job kind. What has been done is never remembered: a job that is started again reads cells and counts, and goes on where they stand.
 */
export function arrayJob(operation: Operation<unknown>, sources: ArraySources): JobKind {
  return {
    name: operation.name,
    async run(context, parameters) {
      const { device, signal, job } = context;
      const identity = await whenReady(device, sources.connectTimeoutMilliseconds, signal);
      const { maximumPulses } = parameters as CommonParameters;
      const onProgress = progressOf(context);
      const array = await MeteredArray.open(device, identity, sources.meter, { owner: ownerOf(job), maximumPulses, signal, onProgress });
      const objects: Record<string, string> = {};
      let rows = 0;
      const summary = await operation.run(array, parameters, {
        id: job.id,
        keep: (name, bytes) => { objects[name] = sources.keep(bytes); },
        row: (row) => { context.result(rows, row); rows += 1; },
        progress: (done, total, detail) => context.progress(done, total, detail),
        checkpoint: (name, data) => context.checkpoint(name, data),
        earlierCheckpoint: (name) => sources.earlierCheckpoint(job, name),
      });
      return { ...summary, objects };
    },
  };
}
