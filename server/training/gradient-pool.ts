import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Network } from '../network/network.js';
import { packageFolder } from '../version.js';
import { type Batch, BatchGradients, type GradientBench, type GroupOutcome, groupCount } from './batch-gradients.js';
import { gradientPlaces } from './gradient.js';
import type { TrainingSet } from './training-set.js';

export interface GradientOptions {
  readonly seed: number;
  /** Of the loss, how much is the mean over all timesteps; the rest is that of the last one. */
  readonly timestepLossFraction: number;
  /** Whether weights are drawn anew for each group of a batch, as reads of the chip would find them. */
  readonly isNoisy: boolean;
  /** 0: in the thread that asks. */
  readonly workerCount: number;
}

/** Of the build, wherever this runs from: a thread begins with a file that needs no compiler. */
const workerFile = join(packageFolder(), 'dist', 'server', 'training', 'gradient-worker.js');

type Member = (batch: Batch) => Promise<GroupOutcome[]>;

/** Gradients of whole batches, on several threads. The result does not depend on how many there are. */
export class GradientPool {
  /** In network units, in the order of the bundle, all layers; to be set before a batch is asked for. */
  readonly weights: Float32Array;
  readonly spreads: Float32Array | undefined;
  private readonly gradients: Float32Array;
  private readonly places: Uint32Array;
  private readonly workers: readonly Worker[];
  private readonly members: readonly Member[];

  constructor(network: Network, readonly set: TrainingSet, { seed, timestepLossFraction, isNoisy, workerCount }: GradientOptions) {
    const { places, size } = gradientPlaces(network);
    this.places = places;
    const bytes = places.length * Float32Array.BYTES_PER_ELEMENT;
    const bench: GradientBench = {
      network, timestepLossFraction, set, seed, weights: new SharedArrayBuffer(bytes),
      gradients: new SharedArrayBuffer(groupCount * size * Float32Array.BYTES_PER_ELEMENT),
      ...(isNoisy && { spreads: new SharedArrayBuffer(bytes) }),
    };
    this.weights = new Float32Array(bench.weights);
    this.spreads = bench.spreads && new Float32Array(bench.spreads);
    this.gradients = new Float32Array(bench.gradients);
    this.workers = Array.from({ length: workerCount }, () => new Worker(workerFile, { workerData: bench, execArgv: [] }));
    this.members = workerCount === 0 ? [inThisThread(bench)] : this.workers.map(asked);
  }

  /** ∂L/∂(weight) of the mean loss of a batch. @returns loss and number of right decisions, summed, and the slopes in the order of the bundle */
  async learn(recordings: Uint32Array, step: number): Promise<{ loss: number; correct: number; slopes: Float32Array }> {
    const outcomes = await this.run({ task: 'learn', recordings, step, next: new SharedArrayBuffer(4) });
    const { gradients } = this;
    const size = gradients.length / groupCount;
    const sums = gradients.subarray(0, size);
    for (let group = size; group < gradients.length; group += size) {
      for (let index = 0; index < size; index += 1) sums[index] += gradients[group + index];
    }
    const slopes = new Float32Array(this.places.length);
    for (let index = 0; index < slopes.length; index += 1) slopes[index] = sums[this.places[index]] / recordings.length;
    const sum = (of: (outcome: GroupOutcome) => number) => outcomes.reduce((total, outcome) => total + of(outcome), 0);
    return { loss: sum(({ loss }) => loss), correct: sum(({ correct }) => correct), slopes };
  }

  /** Of each recording, the time mean of the outputs after each timestep; without noise. */
  async watch(recordings: Uint32Array): Promise<(readonly (readonly number[])[])[]> {
    return (await this.run({ task: 'watch', recordings, step: 0, next: new SharedArrayBuffer(4) })).flatMap(({ courses }) => courses);
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  /** In the order of the groups. */
  private async run(batch: Batch): Promise<GroupOutcome[]> {
    const parts = await Promise.all(this.members.map((member) => member(batch)));
    return parts.flat().sort((left, right) => left.group - right.group);
  }
}

function inThisThread(bench: GradientBench): Member {
  const gradients = new BatchGradients(bench);
  return async (batch) => gradients.run(batch);
}

const asked = (worker: Worker): Member => async (batch) => {
  worker.postMessage(batch);
  const [outcomes] = await once(worker, 'message');
  return outcomes;
};
