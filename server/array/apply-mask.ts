import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { type Split, splits } from '../dataset/frames.js';
import { checkRecordings, type SentRecording } from '../dataset/recording-pack.js';
import type { Bundle, ChipRecord } from '../network/bundle.js';
import { strict, textUpTo } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import type { Staleness } from '../store/stale-snapshots.js';
import type { CalibrationSources } from './calibrate.js';
import { type CellBitmap, countCells } from './cell-bitmap.js';
import { MaskApplication, type MaskChoice, regrowChoices, usualMaskChoice } from './mask-application.js';
import { predictMask } from './mask-prediction.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { outcomeCounts } from './outcomes.js';
import { averages, microsiemens, pulsesPerCell, pulsingFields } from './parameters.js';
import { planOf } from './plan.js';
import { mostPulses } from './planned-pulses.js';
import { recalibrationSeconds, repeatCalibration } from './recalibration.js';

const applyMaskSchema = strict({
  model: textUpTo(128),
  residualLimitMicrosiemens: Type.Optional(microsiemens),
  pulsesPerCell: Type.Optional(pulsesPerCell),
  averages: Type.Optional(averages),
  dataset: Type.Optional(textUpTo(64)),
  split: Type.Optional(Type.Union(splits.map((split) => Type.Literal(split)))),
  regrow: Type.Optional(Type.Union(regrowChoices.map((choice) => Type.Literal(choice)))),
  toleranceFraction: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'above 0 to 1' })),
  calibrate: Type.Optional(Type.Boolean({ description: 'false: the calibration of the chip is not repeated behind the mask' })),
  ...pulsingFields,
});

interface ApplyMaskParameters extends MaskChoice {
  readonly model: string;
  /** Labelled recordings on which the accuracy is predicted. */
  readonly dataset?: string;
  readonly split: Split;
  readonly calibrate?: boolean;
  readonly maximumPulses?: number;
  readonly user?: string;
}

/** Where bundles and the maps that they were made on are found. */
export interface MaskSources {
  /** @throws MacroError MODEL_UNKNOWN */
  model(id: string): Bundle;
  /** Ids of all bundles. */
  models(): readonly string[];
  /** Codes of a map of the whole array by its digest; undefined where the service does not hold it. */
  snapshot(digest: string): Uint16Array | undefined;
  /** @throws MacroError DATASET_UNKNOWN */
  dataset(id: string): readonly SentRecording[];
  /** Why a map that bundles were made on is no longer true of its chip; null where it is. */
  staleness(digest: string): Staleness | null;
  markStale(digest: string, staleness: Staleness | null): void;
  /** Date and time, as ISO 8601 says it. */
  now(): string;
}

/** @throws MacroError BAD_BUNDLE where the bundle was made on no chip */
export function chipOf({ chip }: Bundle): ChipRecord {
  if (chip === undefined) throw new MacroError('BAD_BUNDLE', 'the bundle has no chip.json: it was made on no chip and has no cells', { field: 'model' });
  return chip;
}

/** The job kind `apply-mask`: the array holds what a mask keeps, and no more. */
export function applyMaskOperation(sources: MaskSources & CalibrationSources): Operation<ApplyMaskParameters> {
  const look = (array: MeteredArray, parameters: ApplyMaskParameters) => {
    const bundle = sources.model(parameters.model);
    const chip = chipOf(bundle);
    return MaskApplication.look(array, bundle, chip, parameters, sources.snapshot(chip.snapshotDigest));
  };
  const predict = ({ model, dataset, split, averages: reads }: ApplyMaskParameters, array: MeteredArray, pruned: CellBitmap) => {
    if (dataset === undefined) return {};
    const bundle = sources.model(model);
    return predictMask(array, bundle, pruned, sources.snapshot(chipOf(bundle).snapshotDigest), sources.dataset(dataset), split, reads);
  };
  /** Whatever stops it, nobody may take the old values for those of pairs that could have been pulsed: they are stale before the first pulse. */
  const apply = async (application: MaskApplication, digest: string, job: string) => {
    application.check();
    const before = sources.staleness(digest);
    const mark = (changedPairs: number) => sources.markStale(digest, { job, since: sources.now(), changedPairs });
    const { regrowing } = application.inspection;
    if (regrowing.length > 0) mark(regrowing.length);
    const result = await application.apply();
    const redrawnPairs = result.changedPairs.filter(({ isRestored }) => !isRestored).length;
    if (redrawnPairs > 0) mark(redrawnPairs);
    else if (regrowing.length > 0) sources.markStale(digest, before);
    return { result, isStale: redrawnPairs > 0 };
  };
  const bundlesOn = (digest: string) => sources.models().filter((id) => sources.model(id).chip?.snapshotDigest === digest);
  return {
    name: 'apply-mask',
    schema: applyMaskSchema,
    parametersOf(given) {
      const parameters = { ...usualMaskChoice, split: 'number' as const, ...(given as Static<typeof applyMaskSchema>) };
      chipOf(sources.model(parameters.model));
      const { dataset, model, split } = parameters;
      if (dataset !== undefined) checkRecordings(sources.dataset(dataset), sources.model(model).network.timestepCount, split);
      return parameters;
    },
    async plan(array, parameters) {
      const application = await look(array, parameters);
      const { pruned, conducting, stubborn, regrowing, map } = application.inspection;
      const isPulsed = application.efforts().length > 0 && parameters.calibrate !== false;
      const calibrationSeconds = isPulsed ? await recalibrationSeconds(array, sources) : 0;
      const figures = {
        prunedCells: countCells(pruned), conductingCells: countCells(conducting), stubbornCells: countCells(stubborn), regrowingPairs: regrowing.length,
        calibrationSeconds,
      };
      const plan = planOf('apply-mask', array, map, parameters.averages, countCells(pruned), application.efforts(), figures);
      return { ...plan, seconds: plan.seconds + calibrationSeconds };
    },
    async run(array, parameters, job) {
      const application = await look(array, parameters);
      const most = mostPulses(application.efforts().map(({ planned }) => planned));
      const { snapshotDigest } = chipOf(sources.model(parameters.model));
      const { result, isStale } = await apply(application, snapshotDigest, job.id);
      const { pruned, conducting } = result.inspection;
      for (const pair of result.changedPairs) job.row(pair);
      job.keep('outcomes', writeNpy(result.outcomes, [bitLineCount, sourceLineCount]));
      const isPulsed = result.pulses.set + result.pulses.reset > 0;
      const calibration = isPulsed && parameters.calibrate !== false ? await repeatCalibration(array, job, sources) : null;
      return {
        chipId: array.identity.chipId, model: parameters.model, prunedCells: countCells(pruned), conductingCells: countCells(conducting),
        outcomes: outcomeCounts(result.outcomes), stubbornCells: result.stubbornCells, pulses: result.pulses, mostPulses: most,
        regrownPairs: result.changedPairs.length, staleSnapshot: isStale ? snapshotDigest : null, staleModels: isStale ? bundlesOn(snapshotDigest) : [],
        operationSeconds: result.operationNanoseconds / 1e9, energyNanojoules: result.energyFemtojoules / 1e6, calibration,
        ...(await predict(parameters, array, pruned)),
      };
    },
  };
}

/** Codes of a map of the whole array from its bytes, little-endian. */
export function snapshotCodes(bytes: Uint8Array): Uint16Array | undefined {
  return bytes.length === bitLineCount * sourceLineCount * 2 ? new Uint16Array(bytes.slice().buffer) : undefined;
}
