import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { MacroError } from '../proto/error.js';

/** What a RESET pulse may be. The device enforces its own limits as well; the stricter of the two holds. */
export const resetEnvelope = {
  amplitudeMillivolts: { minimum: 1, maximum: 2500 },
  widthNanoseconds: { minimum: 10, maximum: 1_000_000 },
} as const;

export interface ResetPulse {
  readonly amplitudeMillivolts: number;
  readonly widthNanoseconds: number;
}

const bitmapBytes = (bitLineCount * sourceLineCount) / 8;

/**
 * Refuses a RESET outside the envelope before a byte of it is sent.
 * @param cells 1 bit a cell, bit line × 512 + source line
 * @throws MacroError PULSE_REFUSED, naming the field and its range
 */
export function checkReset(cells: Uint8Array, pulse: ResetPulse): void {
  if (cells.length !== bitmapBytes) {
    throw new MacroError('PULSE_REFUSED', `the bitmap of cells has ${cells.length} bytes; it has ${bitmapBytes}`, { field: 'cells' });
  }
  for (const field of ['amplitudeMillivolts', 'widthNanoseconds'] as const) {
    const { minimum, maximum } = resetEnvelope[field];
    const value = pulse[field];
    if (!Number.isInteger(value) || value < minimum || value > maximum) {
      throw new MacroError('PULSE_REFUSED', `${field} is ${value}; it is an integer from ${minimum} to ${maximum}`, { field });
    }
  }
}
