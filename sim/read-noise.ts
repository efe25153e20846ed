import type { Profile } from './profile.js';

/** On top of a number this leaves no digit finer than 1/256 in a float of 32 bits. */
const noiseBias = 1.5 * 2 ** 15;

/**
 * The noise of a conversion (NUMERICS.md §"Read noise"). In floats of 32 bits, each operation rounded, so that the kernel has four at once: their 24 digits
 * are more than any noise has.
 */
export class ReadNoise {
  /** Of a variance in units of 2^12: its share in the square of σ, which goes with deviates in 1/32768. */
  readonly scale: number;

  constructor({ readNoiseFraction }: Profile) {
    this.scale = Math.fround(readNoiseFraction ** 2 / 2 ** 18);
  }

  get isOn(): boolean {
    return this.scale > 0;
  }

  /** @param variance of the sum, in units of 2^12 */
  sigma(variance: number): number {
    return Math.fround(Math.sqrt(Math.fround(Math.fround(variance) * this.scale)));
  }

  /** @returns noise in 1/256 unit of the sum, an integer */
  of(sigma: number, deviate: number): number {
    const biased = Math.fround(Math.fround(sigma * deviate) + noiseBias);
    return Math.fround(biased - noiseBias) * 256;
  }
}
