import { philox } from '../../firmware-protocol/numerics/index.js';

const stream = 0x5f1e;
const rounds = 10;

/** A permutation of 0…count−1 that depends on seed and turn alone. */
export function shuffled(count: number, seed: number, turn: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  const block = new Uint32Array(4);
  for (let last = count - 1; last > 0; last -= 1) {
    block.set([last, turn, 0, 0]);
    philox(block, seed, stream, rounds);
    const other = Math.floor((block[0] / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
