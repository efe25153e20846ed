import Type, { type Static } from 'typebox';
import { wholeArray } from '../../driver/index.js';
import { channelsOf } from '../calibration/channel.js';
import { noiseReads, takeNoiseMap } from '../calibration/noise-map.js';
import { type CalibrationRecord, gainChangeFraction } from '../calibration/record.js';
import { checkReferences, measureReferences, type Reference, referencesSchema } from '../calibration/reference.js';
import { strict } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import { conditionsSchema } from '../snapshot/header.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation, OperationJob } from './operation.js';
import { averages, pulsingFields } from './parameters.js';
import { planOf } from './plan.js';

const calibrateSchema = strict({
  averages: Type.Optional(averages),
  references: Type.Optional(referencesSchema),
  temperatureCelsius: conditionsSchema.properties.temperatureCelsius,
  user: pulsingFields.user,
});

export interface CalibrateParameters {
  readonly averages: number;
  readonly references: readonly Reference[];
  readonly temperatureCelsius?: number;
  readonly user?: string;
}

/** Where calibrations are kept; a bench of tests may have none. */
export interface CalibrationSources {
  readonly calibrations?: {
    add(record: CalibrationRecord): void;
    /** The last one of a chip. */
    newest(chipId: string): CalibrationRecord | undefined;
  };
  /** Date and time, as ISO 8601 says it. */
  now(): string;
}

const usualAverages = 16;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const rootMeanSquare = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);

/**
 * Measures gain, offset and noise of every converter and keeps them, all or nothing. No cell is pulsed.
 * @throws MacroError METER_UNREACHABLE, METER_INVALID, METER_OVERLOAD, REFERENCE_UNFIT, CANCELLED, and what the device says
 */
export async function takeCalibration(
  array: MeteredArray, asked: CalibrateParameters, reason: CalibrationRecord['reason'], job: Pick<OperationJob, 'id' | 'keep'>, sources: CalibrationSources,
): Promise<CalibrationRecord> {
  const references = await measureReferences(array, asked.references, asked.averages, asked.user);
  const map = await array.read(wholeArray, asked.averages);
  const noise = await takeNoiseMap(array);
  const channels = await channelsOf(array, map, references, noise);
  const { arrayState, temperatureCelsius } = await array.device.status();
  const record: CalibrationRecord = {
    chipId: array.identity.chipId,
    job: job.id,
    takenAt: sources.now(),
    reason,
    arrayState: hex(arrayState),
    temperatureCelsius: asked.temperatureCelsius ?? temperatureCelsius ?? null,
    gain: references.length > 0 ? 'absolute' : 'relative',
    references,
    averages: asked.averages,
    user: asked.user ?? null,
    channels,
  };
  job.keep('noiseMap', writeNpy(noise.fractions, [noise.bitLines.length, wholeArray.sourceLines]));
  job.keep('noiseMapBitLines', writeNpy(Int32Array.from(noise.bitLines), [noise.bitLines.length]));
  sources.calibrations?.add(record);
  return record;
}

/** How long a calibration drives lines, as the read of one bit line tells. */
export async function calibrationNanoseconds(array: MeteredArray, reads: number): Promise<number> {
  const { operationNanoseconds } = await array.read({ ...wholeArray, bitLines: 1 }, reads);
  return operationNanoseconds * (wholeArray.bitLines + noiseReads / reads);
}

/** What a calibration says in short, and how far it is from the one before it. */
function summaryOf(array: MeteredArray, record: CalibrationRecord, before: CalibrationRecord | undefined) {
  const { chipId, gain, references, arrayState, temperatureCelsius, averages: reads, channels } = record;
  const gains = channels.flatMap((channel) => channel.gain ?? []);
  const noise = channels.flatMap(({ noiseFraction }) => noiseFraction ?? []);
  return {
    chipId, gain, references, arrayState, temperatureCelsius, averages: reads, channels: channels.length,
    gainSpreadFraction: gains.length === 0 ? null : Math.max(...gains) - Math.min(...gains),
    noiseFraction: noise.length === 0 ? null : rootMeanSquare(noise),
    fullScaleMicrosiemens: Object.fromEntries(array.identity.converter.ranges.map(({ name, stepNumeratorNanosiemens, stepDenominator }) =>
      [name, (stepNumeratorNanosiemens / stepDenominator) * 2 ** array.identity.converter.bits / 1000])),
    previous: before === undefined ? null : { job: before.job, takenAt: before.takenAt, gain: before.gain },
    gainChangeFraction: before === undefined ? null : gainChangeFraction(before, record),
  };
}

/**
 * The job kind `calibrate`: gain, offset and noise of every converter, for the array state that it names. Gain is absolute where references say what a cell
 * really conducts; without any it is relative: medians tell the channels apart, and nothing tells the scale of them all.
 */
export function calibrateOperation(sources: CalibrationSources): Operation<CalibrateParameters> {
  return {
    name: 'calibrate',
    schema: calibrateSchema,
    parametersOf(given) {
      const { averages: reads = usualAverages, references = [], ...rest } = given as Static<typeof calibrateSchema>;
      return { ...rest, averages: reads, references: checkReferences(references) };
    },
    async plan(array, { averages: reads, references }) {
      const map = await array.read({ ...wholeArray, bitLines: 1 }, reads);
      const all = { ...map, operationNanoseconds: await calibrationNanoseconds(array, reads) };
      const figures = { gain: references.length > 0 ? 'absolute' : 'relative', references: references.length };
      return planOf('calibrate', array, all, reads, wholeArray.bitLines * wholeArray.sourceLines, [], figures);
    },
    async run(array, parameters, job) {
      const before = sources.calibrations?.newest(array.identity.chipId);
      const record = await takeCalibration(array, parameters, 'asked', job, sources);
      for (const channel of record.channels) job.row(channel);
      return summaryOf(array, record, before);
    },
  };
}
