import { shiftRounded } from './round.js';

/** Fractional bits of a converter's gain (codes a unit of the sum) and of the noise that is added to the sum. */
export const gainBits = 20;
export const noiseBits = 8;

/** The integers that one conversion is made of. */
export interface Conversion {
  /** ADC codes per unit of the sum, 2^20 is one. */
  readonly gainQ20: number;
  /** ADC codes that zero current reads as. */
  readonly offset: number;
  readonly minimumCode: number;
  readonly maximumCode: number;
}

/**
 * One conversion of a source line: sum in units of a cell code plus noise in 1/256 unit, times the gain, rounded half away from zero, plus the
 * offset. The caller saturates, because it counts. Exact: |sum| < 2^25, gain ≤ 2^20.
 */
export function convert(sum: number, noise256: number, gainQ20: number, offset: number): number {
  return shiftRounded((sum * 256 + noise256) * gainQ20, gainBits + noiseBits) + offset;
}

/** The gain of a range: cell unit over the conductance of one code. */
export function gainOf(cellUnitNanosiemens: number, stepNumeratorNanosiemens: number, stepDenominator: number): number {
  return Math.round((cellUnitNanosiemens * stepDenominator * 2 ** gainBits) / stepNumeratorNanosiemens);
}
