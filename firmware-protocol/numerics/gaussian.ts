import { gaussianQuantiles } from './gaussian-table.js';
import { philox } from './philox.js';

/** One σ of `gaussianOfWord`. */
export const gaussianOne = 32768;

const segmentBits = 5;
const rowLength = 33;
const fractionBits = 12;

/**
 * A standard normal deviate in 1/32768 σ from 32 uniform bits, in integers only: the top bit is the sign, the other 31 a tail probability.
 * The octave of that probability and its next five bits select two quantiles; the rest interpolates between them. Tails reach 6.2 σ.
 */
export function gaussianOfWord(word: number): number {
  const tail = word & 0x7fffffff;
  if (tail === 0) return word < 0 || word >= 0x80000000 ? -gaussianQuantiles[0] : gaussianQuantiles[0];
  const octave = 31 - Math.clz32(tail);
  const rest = tail ^ (1 << octave);
  let segment: number;
  let fraction: number;
  if (octave <= segmentBits) {
    segment = rest << (segmentBits - octave);
    fraction = 0;
  } else {
    const below = octave - segmentBits;
    segment = rest >>> below;
    const bits = rest & ((1 << below) - 1);
    fraction = below > fractionBits ? bits >>> (below - fractionBits) : bits << (fractionBits - below);
  }
  const at = octave * rowLength + segment;
  const high = gaussianQuantiles[at];
  const value = high - (((high - gaussianQuantiles[at + 1]) * fraction) >> fractionBits);
  return (word | 0) < 0 ? -value : value;
}

const rounds = 7;

/** Where a draw belongs. Streams keep draws of different purposes apart; the rest is the counter of the generator. */
export interface NoiseKey {
  /** Seed of the chip, uint32. */
  seed: number;
  /** Purpose of the draw, uint32. */
  stream: number;
}

/** Draws of one stream: the same counter gives the same four deviates, whatever was drawn before. */
export class GaussianStream {
  private readonly block = new Uint32Array(4);

  constructor(private readonly key: NoiseKey) {}

  /** Writes four deviates, in 1/32768 σ, for a counter of four words to `out[at…at+3]`. */
  four(c0: number, c1: number, c2: number, c3: number, out: Int32Array, at: number): void {
    const { block } = this;
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
    philox(block, this.key.seed, this.key.stream, rounds);
    out[at] = gaussianOfWord(block[0]);
    out[at + 1] = gaussianOfWord(block[1]);
    out[at + 2] = gaussianOfWord(block[2]);
    out[at + 3] = gaussianOfWord(block[3]);
  }
}
