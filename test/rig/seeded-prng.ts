import { philox } from '../../firmware-protocol/numerics/index.js';
import type { Prng } from '../../firmware-protocol/prng.js';

/** Chance from one seed. */
export class SeededPrng implements Prng {
  private readonly block = new Uint32Array(4);
  private count = 0;

  constructor(private readonly seed: number) {}

  nextUint32(): number {
    this.block.set([this.count, 0, 0, 0]);
    this.count += 1;
    philox(this.block, this.seed, 0x7e57, 10);
    return this.block[0] ?? 0;
  }
}
