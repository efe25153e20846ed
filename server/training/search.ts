import { createHash } from 'node:crypto';
import { layerInputs, type Network } from '../network/network.js';
import { type Course, softwareCourse } from '../early-stop/course.js';
import type { GradientPool } from './gradient-pool.js';
import { shuffled } from './shuffle.js';
import { TopologyLayer, type TopologyState } from './topology.js';

export interface SearchOptions {
  readonly seed: number;
  readonly epochs: number;
  readonly batchSize: number;
  /** Of the first step; a cosine leads from it to 0. */
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Of each layer. */
  readonly sparsities: readonly number[];
  /** What weights do from read to read; absent: they are as the map of the chip has them. */
  readonly noise?: WeightNoise;
}

export interface WeightNoise {
  /** Standard deviation of a read of one cell, as a fraction of what it conducts. */
  readonly readFraction: number;
  /** Standard deviation of what a cell conducts that was RESET, µS; the mean is the same on both lines of a pair. */
  readonly residualSdMicrosiemens: number;
}

/** What the pairs of a chip offer one layer. */
export interface LayerDevices {
  /** µS, in the order of the bundle. */
  readonly differences: Float32Array;
  /** Root of the squared conductances of both cells, µS. */
  readonly magnitudes: Float32Array;
  /** 1 where a pair has a device that works. */
  readonly isHealthy: Uint8Array;
}

/** One step of a search. */
export interface SearchStep {
  readonly epoch: number;
  /** Of the whole search, counted from 1. */
  readonly step: number;
  readonly recordings: number;
  /** Sum over the recordings. */
  readonly loss: number;
  readonly correct: number;
  readonly isEndOfEpoch: boolean;
}

/**
 * The search of PRIME.md §4: which synapses exist, on conductances that are what they are. Reproducible bit for bit: chance comes from the
 * seed, sums have a fixed order, arithmetic is float32 without relaxed operations.
 */
export class TopologySearch {
  readonly layers: readonly TopologyLayer[];
  private readonly stepsPerEpoch: number;
  private stepCount = 0;

  /** @param recordings those of the pool's set that it learns from */
  constructor(
    private readonly network: Network, private readonly devices: readonly LayerDevices[], private readonly options: SearchOptions,
    private readonly pool: GradientPool, private readonly recordings: Uint32Array,
  ) {
    const { seed, weightDecay, sparsities } = options;
    this.stepsPerEpoch = Math.ceil(recordings.length / options.batchSize);
    this.layers = network.layers.map((layer, index) => {
      const { differences, isHealthy } = devices[index];
      const weights = differences.map((difference) => difference * network.weightScale);
      return new TopologyLayer(weights, isHealthy, layerInputs(layer), index, { sparsity: sparsities[index], weightDecay, seed });
    });
  }

  get totalSteps(): number {
    return this.options.epochs * this.stepsPerEpoch;
  }

  /** Everything that a search is, but for what it was made with. */
  get state(): { readonly stepCount: number; readonly layers: readonly TopologyState[] } {
    return { stepCount: this.stepCount, layers: this.layers.map(({ state }) => state) };
  }

  /** Goes on where another search that was made with the same had got to. */
  restore({ stepCount, layers }: TopologySearch['state']): void {
    this.stepCount = stepCount;
    this.layers.forEach((layer, index) => { layer.restore(layers[index]); });
  }

  /** Step by step to the end, each epoch in an order of its own. Masks and scores are changed when a step is told of. */
  async *steps(): AsyncGenerator<SearchStep> {
    const { pool, recordings, options: { batchSize, seed }, stepsPerEpoch } = this;
    while (this.stepCount < this.totalSteps) {
      const epoch = Math.floor(this.stepCount / stepsPerEpoch);
      const first = (this.stepCount % stepsPerEpoch) * batchSize;
      const batch = shuffled(recordings.length, seed, epoch).subarray(first, first + batchSize).map((index) => recordings[index]);
      this.place(pool);
      const { loss, correct, slopes } = await pool.learn(batch, this.stepCount);
      this.change(slopes);
      this.stepCount += 1;
      yield { epoch, step: this.stepCount, recordings: batch.length, loss, correct, isEndOfEpoch: this.stepCount % stepsPerEpoch === 0 };
    }
  }

  /** What the masked network says of recordings of a set, in software and without noise. @param pool of the set; that of the search where left out */
  async courses(recordings: Uint32Array, pool = this.pool): Promise<Course[]> {
    this.place(pool);
    const { labels } = pool.set;
    return (await pool.watch(recordings)).map((means, index) => softwareCourse(labels[recordings[index]], means));
  }

  /** SHA-256 over masks and scores: equal digests are equal searches. */
  digest(): string {
    const hash = createHash('sha256');
    for (const { mask, scores } of this.layers) hash.update(mask).update(new Uint8Array(scores.buffer));
    return hash.digest('hex');
  }

  /** Kept pairs as the chip has them, pruned ones without; and how far each may be off from read to read. */
  private place(pool: GradientPool): void {
    const { network: { weightScale }, options: { noise } } = this;
    let at = 0;
    this.layers.forEach(({ weights, mask }, index) => {
      const { magnitudes, isHealthy } = this.devices[index];
      for (let weight = 0; weight < weights.length; weight += 1, at += 1) {
        pool.weights[at] = mask[weight] === 1 ? weights[weight] : 0;
        if (pool.spreads === undefined || noise === undefined) continue;
        const ofPruned = isHealthy[weight] === 1 ? Math.SQRT2 * noise.residualSdMicrosiemens : 0;
        pool.spreads[at] = weightScale * (mask[weight] === 1 ? noise.readFraction * magnitudes[weight] : ofPruned);
      }
    });
  }

  /** Cosine schedule from the stated rate to 0. */
  private change(slopes: Float32Array): void {
    const rate = (this.options.learningRate * (1 + Math.cos((Math.PI * this.stepCount) / this.totalSteps))) / 2;
    let first = 0;
    for (const layer of this.layers) {
      layer.step(slopes.subarray(first, first + layer.mask.length), rate);
      first += layer.mask.length;
    }
  }
}
