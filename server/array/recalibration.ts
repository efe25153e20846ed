import { MacroError } from '../../proto/error.js';
import { type CalibrationRecord, gainChangeFraction } from '../calibration/record.js';
import type { Reference } from '../calibration/reference.js';
import { type CalibrateParameters, type CalibrationSources, calibrationNanoseconds, takeCalibration } from './calibrate.js';
import type { MeteredArray } from './metered-array.js';
import type { OperationJob } from './operation.js';

/** What became of the calibration behind a mask. */
export type Recalibration =
  | { readonly state: 'repeated'; readonly gain: CalibrationRecord['gain']; readonly gainChangeFraction: number | null }
  | { readonly state: 'failed'; readonly code: string; readonly detail: string };

/** What was asked for then, but for the temperature: that was stated of then; of now the board tells it, where it measures one. */
const askedFor = ({ averages, references, user }: CalibrationRecord): CalibrateParameters => ({
  averages,
  references: references.map(({ name, bitLine, sourceLine, microsiemens, meter }): Reference =>
    ({ name, bitLine, sourceLine, ...(meter === null ? { microsiemens } : { meter }) })),
  ...(user !== null && { user }),
});

/**
 * Repeats the last calibration of a chip for the array as it is now: a mask changes column sums, and with them what the multiplexers leave of a voltage
 * (PRIME.md §7). Never throws: pulses that were given stay given, and the calibration before stays due.
 * @returns null where the chip was never calibrated
 */
export async function repeatCalibration(
  array: MeteredArray, job: Pick<OperationJob, 'id' | 'keep'>, sources: CalibrationSources,
): Promise<Recalibration | null> {
  try {
    const before = sources.calibrations?.newest(array.identity.chipId);
    if (before === undefined) return null;
    const record = await takeCalibration(array, askedFor(before), 'mask', job, sources);
    return { state: 'repeated', gain: record.gain, gainChangeFraction: gainChangeFraction(before, record) };
  } catch (error) {
    const { code, detail } = MacroError.from(error);
    return { state: 'failed', code, detail };
  }
}

/** How long `repeatCalibration` would take, for a dry run; 0 where the chip was never calibrated. */
export async function recalibrationSeconds(array: MeteredArray, { calibrations }: CalibrationSources): Promise<number> {
  const before = calibrations?.newest(array.identity.chipId);
  return before === undefined ? 0 : (await calibrationNanoseconds(array, before.averages)) / 1e9;
}
