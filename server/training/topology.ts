import { philox } from '../../firmware-protocol/numerics/index.js';
import { keptFrom } from '../network/score-mask.js';

/** Adam (Kingma and Ba 2015, algorithm 1). */
const firstDecay = 0.9;
const secondDecay = 0.999;
const epsilon = 1e-8;

const initialRounds = 10;
const initialStream = 0x5c0e;

export interface TopologyOptions {
  /** Fraction of the pairs that have a device which is pruned. */
  readonly sparsity: number;
  /** Added to the gradient, not decoupled from it (PRIME.md §4). */
  readonly weightDecay: number;
  readonly seed: number;
}

/** What a layer's search remembers from step to step. */
export interface TopologyState {
  readonly scores: Float32Array;
  /** Running means of slopes and of their squares. */
  readonly first: Float32Array;
  readonly second: Float32Array;
  readonly stepCount: number;
}

/** One layer's synapses: what each could carry, how much the search wants it, and whether it is kept. */
export class TopologyLayer {
  readonly scores: Float32Array;
  readonly mask: Uint8Array;
  private readonly eligible: Uint32Array;
  private readonly first: Float32Array;
  private readonly second: Float32Array;
  private stepCount = 0;
  private firstPower = 1;
  private secondPower = 1;

  /**
   * @param weights network units, fixed: what the pairs of the chip conduct
   * @param isHealthy 1 where a pair has a device; others are pruned and not counted
   * @param fanIn inputs of one output
   */
  constructor(readonly weights: Float32Array, isHealthy: Uint8Array, fanIn: number, layer: number, private readonly options: TopologyOptions) {
    this.eligible = Uint32Array.from(isHealthy, (_, index) => index).filter((index) => isHealthy[index] === 1);
    this.scores = initialScores(weights.length, fanIn, options.seed, layer);
    this.mask = new Uint8Array(weights.length);
    this.first = new Float32Array(weights.length);
    this.second = new Float32Array(weights.length);
    this.choose();
  }

  get state(): TopologyState {
    const { scores, first, second, stepCount } = this;
    return { scores, first, second, stepCount };
  }

  /** Goes on where another search of the same layer had got to. */
  restore({ scores, first, second, stepCount }: TopologyState): void {
    this.scores.set(scores);
    this.first.set(first);
    this.second.set(second);
    while (this.stepCount < stepCount) this.countStep();
    this.choose();
  }

  /** Powers as products: how an engine takes a power may change in its last bit. */
  private countStep(): void {
    this.stepCount += 1;
    this.firstPower *= firstDecay;
    this.secondPower *= secondDecay;
  }

  /**
   * One step of Adam on the scores, then the mask anew. The slope of a score is ∂L/∂mask times its sign, straight through the mask of |score|.
   * @param slopes ∂L/∂(effective weight), the mean over a batch
   */
  step(slopes: Float32Array, learningRate: number): void {
    this.countStep();
    const { scores, first, second, weights, options: { weightDecay } } = this;
    const rate = (learningRate * Math.sqrt(1 - this.secondPower)) / (1 - this.firstPower);
    for (const index of this.eligible) {
      const slope = slopes[index] * weights[index] * Math.sign(scores[index]) + weightDecay * scores[index];
      first[index] = firstDecay * first[index] + (1 - firstDecay) * slope;
      second[index] = secondDecay * second[index] + (1 - secondDecay) * slope * slope;
      scores[index] -= (rate * first[index]) / (Math.sqrt(second[index]) + epsilon);
    }
    this.choose();
  }

  /** Among the pairs that have a device. */
  private choose(): void {
    const { eligible, scores, mask } = this;
    mask.fill(0);
    if (eligible.length === 0) return;
    const limit = keptFrom(Float32Array.from(eligible, (index) => scores[index]), this.options.sparsity);
    for (const index of eligible) if (Math.abs(scores[index]) >= limit) mask[index] = 1;
  }
}

/** Uniform in ±1/√fanIn: kaiming-uniform with a = √5, as the published code has it. A function of the seed alone. */
function initialScores(count: number, fanIn: number, seed: number, layer: number): Float32Array {
  const bound = 1 / Math.sqrt(fanIn);
  const block = new Uint32Array(4);
  return Float32Array.from({ length: count }, (_, index) => {
    block.set([index, layer, 0, 0]);
    philox(block, seed, initialStream, initialRounds);
    return bound * (block[0] / 2 ** 31 - 1);
  });
}
