/**
 * Philox4x32: a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The same key and counter
 * give the same four words whatever was drawn before, so noise does not depend on the order of work. Seven rounds pass BigCrush.
 */
const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;

function highWord(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = Math.imul(aLow, bLow) >>> 0;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (low >>> 16);
  const middle2 = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (Math.imul(aHigh, bHigh) + Math.floor(middle / 65536) + Math.floor(middle2 / 65536)) >>> 0;
}

/** Writes four words for the counter in `block` (4 words) over it. */
export function philox(block: Uint32Array, key0: number, key1: number, rounds: number): void {
  let c0 = block[0];
  let c1 = block[1];
  let c2 = block[2];
  let c3 = block[3];
  for (let round = 0; round < rounds; round += 1) {
    const high0 = highWord(multiplier0, c0);
    const low0 = Math.imul(multiplier0, c0);
    const high1 = highWord(multiplier1, c2);
    const low1 = Math.imul(multiplier1, c2);
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 = (key0 + weyl0) | 0;
    key1 = (key1 + weyl1) | 0;
  }
  block[0] = c0;
  block[1] = c1;
  block[2] = c2;
  block[3] = c3;
}
