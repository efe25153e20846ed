import { createHash } from 'node:crypto';
import { layerInputs, type Network } from '../network/network.js';
import { type LabelledFrames, shuffled } from './digits.js';
import type { Course } from './early-stop.js';
import { GradientNetwork } from './gradient.js';
import { TopologyLayer } from './topology.js';

export interface SearchOptions {
  readonly seed: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly sparsity: number;
}

/** What the pairs of a chip offer one layer. */
export interface LayerDevices {
  /** µS, in the order of the bundle. */
  readonly differences: Float32Array;
  /** 1 where a pair has a device that works. */
  readonly isHealthy: Uint8Array;
}

export interface EpochReport {
  readonly epoch: number;
  readonly meanLoss: number;
  readonly accuracy: number;
  /** Synapses whose mask changed in this epoch. */
  readonly changed: number;
}

/**
 * The search of PRIME.md §4: which synapses exist, on conductances that are what they are. Reproducible bit for bit: chance comes from the
 * seed, sums have a fixed order, arithmetic is float32 without relaxed operations.
 */
export class TopologySearch {
  readonly layers: readonly TopologyLayer[];
  private readonly gradients: GradientNetwork;
  private stepCount = 0;

  constructor(network: Network, devices: readonly LayerDevices[], private readonly options: SearchOptions) {
    this.gradients = new GradientNetwork(network);
    this.layers = network.layers.map((layer, index) => {
      const { differences, isHealthy } = devices[index];
      const weights = differences.map((difference) => difference * network.weightScale);
      return new TopologyLayer(weights, isHealthy, layerInputs(layer), options.sparsity, options.seed, index);
    });
  }

  /** One pass over the recordings, in an order of its own. @param onStep called after each step with how many there were */
  epoch(epoch: number, recordings: readonly LabelledFrames[], onStep?: (steps: number) => void): EpochReport {
    const before = this.layers.map(({ mask }) => mask.slice());
    let [steps, loss, correct] = [0, 0, 0];
    for (const batch of this.steps(epoch, recordings.length, (index) => recordings[index])) {
      loss += batch.loss;
      correct += batch.correct;
      onStep?.((steps += 1));
    }
    const changed = this.layers.reduce((sum, { mask }, layer) => sum + mask.filter((kept, index) => kept !== before[layer][index]).length, 0);
    return { epoch, meanLoss: loss / recordings.length, accuracy: correct / recordings.length, changed };
  }

  /** The same pass step by step: a batch each, and masks and scores are changed when it is told of. */
  *steps(epoch: number, count: number, recordingAt: (index: number) => LabelledFrames): Generator<{ loss: number; correct: number }> {
    const { seed, batchSize, epochs } = this.options;
    const order = shuffled(count, seed, epoch);
    const batches = Math.ceil(count / batchSize);
    for (let first = 0; first < count; first += batchSize) {
      const batch = order.subarray(first, first + batchSize);
      let [loss, correct] = [0, 0];
      this.place();
      for (const index of batch) {
        const { codes, label } = recordingAt(index);
        const outcome = this.gradients.learn(codes, label);
        loss += outcome.loss;
        correct += outcome.prediction === label ? 1 : 0;
      }
      this.step(batch.length, this.stepCount / (epochs * batches));
      yield { loss, correct };
    }
  }

  /** What the masked network says of recordings, in software and without noise. */
  courses(recordings: readonly LabelledFrames[]): Course[] {
    this.place();
    return recordings.map(({ codes, label }) => ({ label, means: this.gradients.forward(codes) }));
  }

  /** SHA-256 over masks and scores: equal digests are equal searches. */
  digest(): string {
    const hash = createHash('sha256');
    for (const { mask, scores } of this.layers) hash.update(mask).update(new Uint8Array(scores.buffer));
    return hash.digest('hex');
  }

  private place(): void {
    for (const [index, layer] of this.layers.entries()) this.gradients.setWeights(index, layer.effectiveWeights);
    this.gradients.clearGradients();
  }

  /** Cosine schedule from the stated rate to 0. @param done fraction of the steps that are done */
  private step(batchSize: number, done: number): void {
    const rate = (this.options.learningRate * (1 + Math.cos(Math.PI * Math.min(1, done)))) / 2;
    for (const [index, layer] of this.layers.entries()) {
      layer.step(this.gradients.gradient(index).map((slope) => slope / batchSize), rate);
    }
    this.stepCount += 1;
  }
}
