import { wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { Split } from '../dataset/frames.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import type { Bundle } from '../network/bundle.js';
import { type PredictedAccuracy, predictAccuracy } from '../network/prediction.js';
import { type CellBitmap, hasCell } from './cell-bitmap.js';
import type { MeteredArray } from './metered-array.js';

/** What a mask does to a network; null where the service does not hold the map that was recorded, where no recording has a label, or where it was stopped. */
export interface MaskPrediction {
  /** With what was recorded of the cells that the mask keeps. */
  readonly predictedBefore: PredictedAccuracy | null;
  /** With what they conduct now. */
  readonly predictedAfter: PredictedAccuracy | null;
}

/**
 * Predicts the accuracy of a bundle whose mask has just been applied. Both times the cells that the mask prunes are what they are now: only what became of the
 * others tells. A stop ends it without a word of error, since the mask is applied.
 */
export async function predictMask(
  array: MeteredArray, bundle: Bundle, pruned: CellBitmap, recorded: Uint16Array | undefined, recordings: readonly SentRecording[], split: Split,
  averages: number,
): Promise<MaskPrediction> {
  const { codes } = await array.read(wholeArray, averages);
  const before = recorded?.map((code, cell) => (hasCell(pruned, cell) ? codes[cell] : code));
  const predicted = (map: Uint16Array) =>
    predictAccuracy(array.identity, bundle, map, recordings, split, array.signal).catch((error: unknown) => {
      if (error instanceof MacroError && error.code === 'CANCELLED') return null;
      throw error;
    });
  return { predictedBefore: before === undefined ? null : await predicted(before), predictedAfter: await predicted(codes) };
}
