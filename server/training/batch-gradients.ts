import { GaussianStream, gaussianOne } from '../../firmware-protocol/numerics/index.js';
import { FramePack } from '../dataset/frame-pack.js';
import { layerInputs, layerOutputs, type Network } from '../network/network.js';
import { GradientNetwork } from './gradient.js';
import type { TrainingSet } from './training-set.js';

/** A batch is shared out over so many groups, whoever computes them: the order of its sums, and so its bits, do not depend on how many threads there are. */
export const groupCount = 16;

const noiseStream = 0x7e40;

/** What all threads of a search share. */
export interface GradientBench {
  readonly network: Network;
  readonly timestepLossFraction: number;
  readonly set: TrainingSet;
  readonly seed: number;
  /** Of all layers, one after the other in the order of the bundle, float32: what each pair gives, in network units; 0 where it is pruned. */
  readonly weights: SharedArrayBuffer;
  /** Standard deviation of each weight from one read to the next; absent: none is drawn. */
  readonly spreads?: SharedArrayBuffer;
  /** Of each group ∂L/∂(weight), summed over its recordings, where `gradientPlaces` says. */
  readonly gradients: SharedArrayBuffer;
}

/** Something to do for all threads together: they take groups of it in turn. */
export interface Batch {
  readonly task: 'learn' | 'watch';
  /** Recordings of the set. */
  readonly recordings: Uint32Array;
  /** Of the search, counted from 0: fresh noise belongs to it. */
  readonly step: number;
  /** The next group that nobody has taken, int32. */
  readonly next: SharedArrayBuffer;
}

export interface GroupOutcome {
  readonly group: number;
  readonly loss: number;
  readonly correct: number;
  /** Of each recording that was watched, the time mean of its outputs after each timestep. */
  readonly courses: readonly (readonly (readonly number[])[])[];
}

/** What one thread does of a batch. */
export class BatchGradients {
  private readonly network: GradientNetwork;
  private readonly sizes: readonly number[];
  private readonly weights: Float32Array;
  private readonly spreads: Float32Array | undefined;
  private readonly noise: GaussianStream;
  private readonly frames: FramePack;
  private readonly codes: Uint8Array;

  constructor(private readonly bench: GradientBench) {
    this.network = new GradientNetwork(bench.network, bench.timestepLossFraction);
    this.sizes = bench.network.layers.map((layer) => layerInputs(layer) * layerOutputs(layer));
    this.weights = new Float32Array(bench.weights);
    this.spreads = bench.spreads && new Float32Array(bench.spreads);
    this.noise = new GaussianStream({ seed: bench.seed, stream: noiseStream });
    this.frames = new FramePack(bench.set.frames);
    this.codes = new Uint8Array(this.frames.frameBytes);
  }

  /** Does groups until none is left. */
  run(batch: Batch): GroupOutcome[] {
    const next = new Int32Array(batch.next);
    const outcomes: GroupOutcome[] = [];
    if (batch.task === 'watch' || this.spreads === undefined) this.place(this.weights);
    for (let group = Atomics.add(next, 0, 1); group < groupCount; group = Atomics.add(next, 0, 1)) {
      outcomes.push(batch.task === 'watch' ? this.watch(batch, group) : this.learn(batch, group));
    }
    return outcomes;
  }

  private recordingsOf({ recordings }: Batch, group: number): Uint32Array {
    const bound = (index: number) => Math.floor((index * recordings.length) / groupCount);
    return recordings.subarray(bound(group), bound(group + 1));
  }

  private watch(batch: Batch, group: number): GroupOutcome {
    const courses = Array.from(this.recordingsOf(batch, group), (index) => this.network.forward(this.frames.frames(index, this.codes)));
    return { group, loss: 0, correct: 0, courses };
  }

  private learn(batch: Batch, group: number): GroupOutcome {
    if (this.spreads !== undefined) this.place(this.drawn(this.spreads, batch.step, group));
    this.network.clearGradients();
    let [loss, correct] = [0, 0];
    for (const index of this.recordingsOf(batch, group)) {
      const label = this.bench.set.labels[index];
      const outcome = this.network.learn(this.frames.frames(index, this.codes), label);
      loss += outcome.loss;
      correct += outcome.prediction === label ? 1 : 0;
    }
    const all = new Float32Array(this.bench.gradients);
    let at = (group * all.length) / groupCount;
    for (const gradient of this.network.gradients) {
      all.set(gradient, at);
      at += gradient.length;
    }
    return { group, loss, correct, courses: [] };
  }

  /** The weights as one read would find them. */
  private drawn(spreads: Float32Array, step: number, group: number): Float32Array {
    const deviates = new Int32Array((spreads.length + 3) & ~3);
    for (let at = 0; at < deviates.length; at += 4) this.noise.four(at, step, group, 0, deviates, at);
    return this.weights.map((weight, index) => weight + (spreads[index] * deviates[index]) / gaussianOne);
  }

  private place(weights: Float32Array): void {
    this.eachLayer((layer, first, count) => { this.network.setWeights(layer, weights.subarray(first, first + count)); });
  }

  private eachLayer(visit: (layer: number, first: number, count: number) => void): void {
    let first = 0;
    this.sizes.forEach((count, layer) => {
      visit(layer, first, count);
      first += count;
    });
  }
}
