import { shiftRounded } from '../firmware-protocol/numerics/index.js';
import type { Profile } from './profile.js';

/** On top of a number this leaves no digit finer than 1/256 in a float of 32 bits. */
const noiseBias = 1.5 * 2 ** 15;

/**
 * The noise of a conversion, an integer in 1/256 unit of the sum (NUMERICS.md §"Read noise"). Variances are in units of 2^12, deviates in 1/32768 σ. That of
 * a sum over cells is worked out in floats of 32 bits, each operation rounded, so that the kernel has four at once; that of a single cell in integers.
 */
export class ReadNoise {
  /** From a variance to the square of a deviate's unit, a float of 32 bits. */
  readonly scale: number;
  /** The same in integers: σ² in 1/256 unit. */
  private readonly factor: number;

  constructor({ readNoiseFraction }: Profile) {
    this.scale = Math.fround(readNoiseFraction ** 2 / 2 ** 18);
    this.factor = Math.round((16 * readNoiseFraction) ** 2 * 2 ** 20);
  }

  get isOn(): boolean {
    return this.scale > 0;
  }

  ofSum(variance: number, deviate: number): number {
    const sigma = Math.fround(Math.sqrt(Math.fround(Math.fround(variance) * this.scale)));
    const biased = Math.fround(Math.fround(sigma * deviate) + noiseBias);
    return Math.fround(biased - noiseBias) * 256;
  }

  cellSigma(variance: number): number {
    return Math.floor(Math.sqrt(variance * this.factor));
  }

  ofCell(sigma: number, deviate: number): number {
    return shiftRounded(sigma * deviate, 15);
  }
}
