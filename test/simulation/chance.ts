import type { Prng } from '../../firmware-protocol/prng.js';
import { SeededPrng } from '../rig/seeded-prng.js';

/** Decisions from a stream of chance. */
export class Chance {
  constructor(readonly prng: Prng) {}

  /** A stream of its own, so that what one part draws does not shift what another one gets. */
  branch(): Chance {
    return new Chance(new SeededPrng(this.prng.nextUint32()));
  }

  happens(probability: number): boolean {
    return probability > 0 && this.prng.nextUint32() / 2 ** 32 < probability;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor((this.prng.nextUint32() / 2 ** 32) * limit);
  }

  /** An integer from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  pick<Choice>(choices: readonly Choice[]): Choice {
    return choices[this.below(choices.length)];
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}
