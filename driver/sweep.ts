import { decodeSweepPoints, type SweepPoint, sweepPointBytes } from '../proto/cell-sweep.js';
import { MacroError } from '../proto/error.js';
import type { CurrentRange } from '../proto/message.js';

/** The points of a sweep that was done. @throws MacroError PROTOCOL_VIOLATION where they are not whole, or name a range that the answer has not */
export function decodeSweep(bytes: Uint8Array, ranges: readonly CurrentRange[]): SweepPoint[] {
  const refuse = (problem: string) => new MacroError('PROTOCOL_VIOLATION', `the pulses were given, ${problem}`, { outcome: 'applied' });
  if (bytes.length % sweepPointBytes !== 0) throw refuse(`the points have ${bytes.length} bytes; one has ${sweepPointBytes}`);
  const points = decodeSweepPoints(bytes);
  const strange = points.find(({ range }) => range >= ranges.length);
  if (strange !== undefined) throw refuse(`a point names range ${strange.range}; the answer has ${ranges.length}`);
  return points;
}
