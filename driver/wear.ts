import { MacroError } from '../proto/error.js';
import type { Geometry } from '../proto/message.js';

/** Every pulse that the cells of a chip have had, bit line by bit line, and how long each bit line was driven: as its board counts them. */
export interface WearCounts {
  readonly forming: Uint16Array;
  readonly set: Uint16Array;
  readonly reset: Uint16Array;
  /** One a bit line. */
  readonly drivenMilliseconds: Uint32Array;
}

/** @throws MacroError PROTOCOL_VIOLATION where the object of a ReadWear has another size */
export function decodeWear(bytes: Uint8Array, { bitLines, sourceLines }: Geometry): WearCounts {
  const countBytes = 2 * bitLines * sourceLines;
  const expected = 3 * countBytes + 4 * bitLines;
  if (bytes.length !== expected) throw new MacroError('PROTOCOL_VIOLATION', `the counts of wear have ${bytes.length} bytes; they have ${expected}`);
  // Copies start at byte 0 of their buffers, so that their elements are aligned.
  const counts = (part: number) => new Uint16Array(bytes.slice(part * countBytes, (part + 1) * countBytes).buffer);
  return { forming: counts(0), set: counts(1), reset: counts(2), drivenMilliseconds: new Uint32Array(bytes.slice(3 * countBytes).buffer) };
}
