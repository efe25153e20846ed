import { cellCount } from '../firmware-protocol/limits.js';
import { GaussianStream, gaussianOfWord, gaussianOne, philox } from '../firmware-protocol/numerics/index.js';

const rounds = 7;
const words = 2 ** 32;
/** No deviate lies further from 0 (NUMERICS.md): beyond it nothing ever happens. */
export const largestDeviate = gaussianOfWord(0) / gaussianOne;

/** Purposes of chance on a chip; each is a stream of its own. */
export const noiseStream = {
  formed: 1, pairMean: 2, forming: 3, snapshot: 4, residual: 5, multiply: 6, read: 7, setThreshold: 8, resetThreshold: 9, setCell: 10, setPulse: 11,
  switching: 12, fault: 13, noiseScale: 14, drift: 15, telegraphCell: 16, telegraphState: 17, channelGain: 18, channelOffset: 19, endurance: 20,
} as const;

type Purpose = (typeof noiseStream)[keyof typeof noiseStream];

/**
 * Chance of one chip. A draw is named by its purpose, the cell and what had happened to the cell before, so that it does not depend on the order
 * of work: a chip stays a pure function of profile, seed and what was done to it.
 */
export class Chance {
  private readonly streams = new Map<Purpose, GaussianStream>();
  private readonly four = new Int32Array(4);
  private readonly block = new Uint32Array(4);

  constructor(private readonly seed: number) {}

  /** A standard normal deviate. */
  normal(purpose: Purpose, cell: number, again = 0): number {
    let stream = this.streams.get(purpose);
    if (stream === undefined) {
      stream = new GaussianStream({ seed: this.seed, stream: purpose });
      this.streams.set(purpose, stream);
    }
    stream.four(cell, again, 0, 0, this.four, 0);
    return this.four[0] / gaussianOne;
  }

  /** An even draw from 0 to below 1. */
  even(purpose: Purpose, cell: number, again = 0): number {
    return this.word(purpose, cell, again) / words;
  }

  /** The normal deviate at the quantile `even` of the same name: it rises with it, so a fraction of cells can be told by either. */
  quantile(purpose: Purpose, cell: number): number {
    const word = this.word(purpose, cell, 0);
    // Below the median the tail is the word itself, above it what is left to 2^32; the top bit is the sign.
    return gaussianOfWord(word < words / 2 ? word + words / 2 : words - 1 - word) / gaussianOne;
  }

  private word(purpose: Purpose, cell: number, again: number): number {
    const { block } = this;
    block[0] = cell;
    block[1] = again;
    block[2] = 0;
    block[3] = 0;
    philox(block, this.seed, purpose, rounds);
    return block[0];
  }
}

/** One normal deviate of each cell, kept: it is asked for whenever slow states are looked at. */
export class CellDeviates {
  private values = new Float64Array(0);
  /** Of each cell one more than the `again` of its value; 0: none yet. */
  private names = new Uint32Array(0);

  constructor(private readonly chance: Chance, private readonly purpose: Purpose) {}

  of(cell: number, again = 0): number {
    if (this.values.length === 0) {
      this.values = new Float64Array(cellCount);
      this.names = new Uint32Array(cellCount);
    }
    if (this.names[cell] !== again + 1) {
      this.values[cell] = this.chance.normal(this.purpose, cell, again);
      this.names[cell] = again + 1;
    }
    return this.values[cell];
  }
}

/**
 * A deviate of mean 0, standard deviation 1 and some skewness, from a normal one: the gamma law by the cube of Wilson and Hilferty ("The
 * distribution of chi-square", PNAS 1931). Only sums and products, so that it is the same to the bit everywhere.
 */
export function skewed(normal: number, skewness: number): number {
  if (skewness === 0) return normal;
  const root = 1 - (skewness * skewness) / 36 + (skewness * normal) / 6;
  return (2 / skewness) * (root * root * root - 1);
}

const logarithmBits = 24;

/**
 * The logarithm to base 10 of a number of at least 1, to 24 binary digits of the logarithm to base 2: by squaring, so that it is the same to the
 * bit everywhere.
 */
export function decades(value: number): number {
  let whole = 0;
  let rest = value;
  for (; rest >= 2; rest /= 2) whole += 1;
  let binary = whole;
  for (let bit = 1, weight = 0.5; bit <= logarithmBits; bit += 1, weight /= 2) {
    rest *= rest;
    if (rest < 2) continue;
    rest /= 2;
    binary += weight;
  }
  return binary * 0.3010299956639812;
}
