import { MacroError } from '../proto/error.js';
import type { Geometry, ReadWearResult } from '../proto/message.js';
import { voltageStepCount, voltageStepMillivolts } from '../proto/voltage-step.js';

/** Every pulse that the cells of a chip have had, bit line by bit line, and how long each bit line was driven at which voltage: as its board counts them. */
export interface WearCounts {
  readonly forming: Uint16Array;
  readonly set: Uint16Array;
  readonly reset: Uint16Array;
  /** Of reads, multiplies and pulses: one a bit line and step of voltage, bit line × `voltageStepCount` + step. */
  readonly drivenNanoseconds: Float64Array;
}

function drivenNanosecondsOf(bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float64Array.from({ length: bytes.length / 8 }, (_, place) => Number(view.getBigUint64(8 * place, true)));
}

/** @throws MacroError PROTOCOL_VIOLATION where the object of a ReadWear has another size, or its steps of voltage are others */
export function decodeWear(bytes: Uint8Array, answer: ReadWearResult, { bitLines, sourceLines }: Geometry): WearCounts {
  const { voltageStepMillivolts: step, voltageSteps: steps } = answer;
  if (step !== voltageStepMillivolts || steps !== voltageStepCount) {
    throw new MacroError('PROTOCOL_VIOLATION', `wear is told in ${steps} steps of ${step} mV; it has ${voltageStepCount} of ${voltageStepMillivolts} mV`);
  }
  const countBytes = 2 * bitLines * sourceLines;
  const expected = 3 * countBytes + 8 * bitLines * voltageStepCount;
  if (bytes.length !== expected) throw new MacroError('PROTOCOL_VIOLATION', `the counts of wear have ${bytes.length} bytes; they have ${expected}`);
  // Copies start at byte 0 of their buffers, so that their elements are aligned.
  const counts = (part: number) => new Uint16Array(bytes.slice(part * countBytes, (part + 1) * countBytes).buffer);
  return { forming: counts(0), set: counts(1), reset: counts(2), drivenNanoseconds: drivenNanosecondsOf(bytes.subarray(3 * countBytes)) };
}
