import type { Chance } from './chance.js';
import type { WriteFault } from './fault-plan.js';

/** A piece of a write on its way: how much later than an undisturbed line it arrives, and whether it keeps its place behind the piece before. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly delayMicroseconds: number;
  readonly isInOrder: boolean;
}

const longestReorderMicroseconds = 20_000;
const longestDelayMicroseconds = 300_000;
const longestGarbageBytes = 40;
const mostPieces = 5;

export type WriteFaultRates = Readonly<Record<WriteFault, number>>;

function flip(bytes: Uint8Array, chance: Chance): Uint8Array {
  const copy = bytes.slice();
  for (let flips = chance.between(1, 3); flips > 0; flips -= 1) copy[chance.below(copy.length)] ^= 1 << chance.below(8);
  return copy;
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Garbage before, behind or inside; or in the place of some bytes. */
function soil(bytes: Uint8Array, chance: Chance): Uint8Array {
  const at = chance.below(bytes.length + 1);
  const behind = Math.min(bytes.length, at + chance.pick([0, 0, chance.below(longestGarbageBytes)]));
  return join(bytes.subarray(0, at), chance.bytes(chance.between(1, longestGarbageBytes)), bytes.subarray(behind));
}

/** All of it is lost, or a part of it. */
function lose(bytes: Uint8Array, chance: Chance): Uint8Array {
  if (chance.happens(0.5)) return new Uint8Array(0);
  const from = chance.below(bytes.length);
  return join(bytes.subarray(0, from), bytes.subarray(chance.between(from, bytes.length)));
}

function cut(bytes: Uint8Array, chance: Chance): Uint8Array[] {
  const borders = Array.from({ length: chance.between(1, mostPieces - 1) }, () => chance.below(bytes.length + 1)).sort((left, right) => left - right);
  return [...borders, bytes.length].map((end, index) => bytes.subarray(borders[index - 1] ?? 0, end)).filter(({ length }) => length > 0);
}

/** What becomes of one write on a bad line. */
export function disturb(bytes: Uint8Array, rates: WriteFaultRates, chance: Chance): Piece[] {
  let arriving = bytes;
  if (chance.happens(rates.drop)) arriving = lose(arriving, chance);
  if (arriving.length > 0 && chance.happens(rates.flip)) arriving = flip(arriving, chance);
  if (chance.happens(rates.garbage)) arriving = soil(arriving, chance);
  if (arriving.length === 0) return [];
  const parts = chance.happens(rates.split) ? cut(arriving, chance) : [arriving];
  const copies = chance.happens(rates.duplicate) ? [...parts, arriving] : parts;
  return copies.map((part) => {
    if (chance.happens(rates.reorder)) return { bytes: part, delayMicroseconds: chance.below(longestReorderMicroseconds), isInOrder: false };
    const delayMicroseconds = chance.happens(rates.delay) ? chance.below(longestDelayMicroseconds) : 0;
    return { bytes: part, delayMicroseconds, isInOrder: true };
  });
}
