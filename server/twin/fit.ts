import { type CellStatistics, type SortedCells, sortCells } from './cell-statistics.js';
import { centralMoment, type Estimate, estimateOf, fractionOf, meanOf, quantileOf, standardErrorOf, through } from './moments.js';
import type { RepeatedReads } from './repeated-reads.js';
import { steadyCells, telegraphReadsMinimum } from './telegraph.js';

/** Fields of a profile that repeated reads say something of. */
export type FittedField =
  | 'readNoiseFraction' | 'readNoiseSpread' | 'formedMeanMicrosiemens' | 'formedSdMicrosiemens' | 'formedSkewness' | 'formingYieldFraction'
  | 'driftMeanFractionPerDecade' | 'driftSdFractionPerDecade' | 'telegraphCellFraction' | 'telegraphAmplitudeFraction' | 'telegraphDwellNanoseconds';

export interface TwinFit {
  readonly reads: number;
  readonly averages: number;
  readonly counts: { readonly cells: number; readonly formed: number; readonly unformed: number; readonly saturated: number; readonly constant: number };
  /** Where a field is missing the reads say nothing of it. */
  readonly estimates: Readonly<Partial<Record<FittedField, Estimate>>>;
  /** Overrides of a named profile: the estimates, within what a profile may say. */
  readonly profile: Readonly<Partial<Record<FittedField, number>>>;
  /** Indices of cells in the order of the reads. */
  readonly map: { readonly saturated: readonly number[]; readonly constant: readonly number[]; readonly telegraph: readonly number[] };
  /** What the figures do not cover. */
  readonly remarks: readonly string[];
}

export const usualFormedMicrosiemens = 4;
const cellsMinimum = 30;
/** More than chance leaves without noise. */
const constantShare = 0.01;

/** What a profile may say (sim/profile-fields.ts; a test holds both together). */
export const fieldRanges: Readonly<Record<FittedField, readonly [minimum: number, maximum: number]>> = {
  readNoiseFraction: [0, 1], readNoiseSpread: [0, 2], formedMeanMicrosiemens: [0, 100], formedSdMicrosiemens: [0, 50], formedSkewness: [0, 2],
  formingYieldFraction: [0, 1], driftMeanFractionPerDecade: [-0.1, 0.1], driftSdFractionPerDecade: [0, 0.1], telegraphCellFraction: [0, 1],
  telegraphAmplitudeFraction: [0, 1], telegraphDwellNanoseconds: [1000, 1e15],
};

type Estimates = Partial<Record<FittedField, Estimate>>;

/** Root mean square over the cells of their relative noise. */
function noiseOf(cells: readonly CellStatistics[]): Estimate {
  const variances = cells.map(({ relativeVariance }) => relativeVariance);
  const mean = meanOf(variances);
  return through(estimateOf(mean, standardErrorOf(variances)), (variance) => Math.sqrt(Math.max(0, variance)));
}

/**
 * How much cells differ in their noise. The scale |1 + c·z| / √(1 + c²) of a cell (MODEL.md) makes E[v²] / E[v]² of the true variances
 * κ = (1 + 6k + 3k²) / (1 + k)² with k = c²; that of the estimated ones is κ · (1 + 2/freedom), the spread that chi-square itself has. Solved:
 * (1 + k)² = 2 / (3 − κ).
 */
function spreadOf(cells: readonly CellStatistics[], freedom: number): Estimate {
  const variances = Float64Array.from(cells, ({ relativeVariance }) => relativeVariance);
  const mean = meanOf(variances);
  const squares = meanOf(variances.map((variance) => variance * variance));
  const chiSquare = 1 + 2 / freedom;
  const kappa = squares / (mean * mean) / chiSquare;
  const influences = variances.map((v) => ((v * v - squares) / (mean * mean) - (2 * squares * (v - mean)) / mean ** 3) / chiSquare);
  // 2.99: a spread of 12, beyond all that a profile may say.
  return through(estimateOf(kappa, standardErrorOf(influences)), (value) => Math.sqrt(Math.max(0, Math.sqrt(2 / (3 - Math.min(2.99, value))) - 1)));
}

/** Mean, sd and skewness of what formed cells conduct, without what read noise adds to the spread of their means. */
function lawOf(cells: readonly CellStatistics[]): Estimates {
  const means = Float64Array.from(cells, ({ mean }) => mean);
  const mean = meanOf(means);
  const noise = meanOf(cells.map(({ meanVariance }) => meanVariance));
  // Noise rises with conductance, and so leans the distribution of the means to the right.
  const lean = 3 * meanOf(cells.map((cell) => (cell.mean - mean) * (cell.meanVariance - noise)));
  const variance = Math.max(0, centralMoment(means, mean, 2) - noise);
  const sd = Math.sqrt(variance);
  const law = { formedMeanMicrosiemens: estimateOf(mean, standardErrorOf(means)) };
  if (sd === 0) return { ...law, formedSdMicrosiemens: estimateOf(0, Math.sqrt(noise / cells.length)) };
  const skewness = (centralMoment(means, mean, 3) - lean) / sd ** 3;
  const deviates = means.map((value) => (value - mean) / sd);
  return {
    ...law,
    formedSdMicrosiemens: estimateOf(sd, standardErrorOf(deviates.map((z) => (sd * (z * z - 1)) / 2))),
    formedSkewness: estimateOf(skewness, standardErrorOf(deviates.map((z) => z ** 3 - 3 * z - 1.5 * skewness * (z * z - 1)))),
  };
}

/** Mean and spread of the loss per decade, without what noise adds to the slopes. */
function driftOf(cells: readonly CellStatistics[]): Estimates {
  const losses = cells.flatMap(({ loss }) => loss ?? []);
  if (losses.length < cellsMinimum) return {};
  const rates = Float64Array.from(losses, ({ perDecade }) => perDecade);
  const mean = meanOf(rates);
  const excess = Float64Array.from(losses, ({ perDecade, variance }) => (perDecade - mean) ** 2 - variance);
  const spread = through(estimateOf(meanOf(excess), standardErrorOf(excess)), (variance) => Math.sqrt(Math.max(0, variance)));
  return { driftMeanFractionPerDecade: estimateOf(mean, standardErrorOf(rates)), driftSdFractionPerDecade: spread };
}

/** How long the fastest of the cells stay: a simulated cell keeps or changes its level with equal chance each dwell time. */
function dwellOf(cells: readonly CellStatistics[], seconds: readonly number[] | undefined): Estimates {
  if (seconds === undefined) return {};
  const span = seconds[seconds.length - 1] - seconds[0];
  const rates = Float64Array.from(cells, ({ telegraph }) => (telegraph?.jumps ?? 0) / span).sort();
  const dwell = (rate: number) => 1e9 / (2 * rate);
  // An eighth of them belong to the fastest octave.
  const [value, low, high] = [15 / 16, 63 / 64, 7 / 8].map((fraction) => Math.round(dwell(Math.max(1 / span, quantileOf(rates, fraction)))));
  return { telegraphDwellNanoseconds: { value, low, high } };
}

function telegraphOf({ formed }: SortedCells, { reads, secondsSinceLastPulse }: RepeatedReads): Estimates {
  if (reads < telegraphReadsMinimum) return {};
  const jumping = formed.filter(({ telegraph }) => telegraph !== undefined);
  // So few may be steady cells that the test took for others.
  const expected = formed.length / steadyCells;
  const telegraphCellFraction = fractionOf(jumping.length, formed.length);
  if (jumping.length <= expected + 3 * Math.sqrt(expected)) return { telegraphCellFraction: { ...telegraphCellFraction, value: 0, low: 0 } };
  const amplitudes = Float64Array.from(jumping, ({ telegraph }) => (telegraph === undefined ? 0 : 1 - telegraph.lower / telegraph.upper)).sort();
  const margin = 1 / Math.sqrt(jumping.length);
  const amplitude = { value: quantileOf(amplitudes, 0.5), low: quantileOf(amplitudes, 0.5 - margin), high: quantileOf(amplitudes, 0.5 + margin) };
  return { telegraphCellFraction, telegraphAmplitudeFraction: amplitude, ...dwellOf(jumping, secondsSinceLastPulse) };
}

function remarksOn({ formed, saturated, constant }: SortedCells, reads: RepeatedReads, estimates: Estimates): string[] {
  const remarks: string[] = [];
  if (formed.length < cellsMinimum) remarks.push(`only ${formed.length} formed cells: noise and conductances need ${cellsMinimum} and are not fitted`);
  if (reads.reads < telegraphReadsMinimum) remarks.push(`telegraph noise needs ${telegraphReadsMinimum} reads, there are ${reads.reads}`);
  else remarks.push('telegraph cells that kept one level all the while are not seen: their fraction is at least the figure');
  if (estimates.driftMeanFractionPerDecade === undefined) {
    remarks.push('drift is not fitted: it needs the time since the last pulse of each read, over half a decade or more');
  }
  if (saturated.length > 0) remarks.push(`${saturated.length} saturated cells: no field of a profile makes them, a twin that starts from the map has them`);
  if (constant.length > constantShare * formed.length) {
    remarks.push(`${constant.length} of ${formed.length} formed cells read the same every time: are they read at all?`);
  }
  for (const [field, { value }] of Object.entries(estimates) as [FittedField, Estimate][]) {
    const [minimum, maximum] = fieldRanges[field];
    if (value < minimum || value > maximum) remarks.push(`${field} is ${value.toPrecision(3)}, a profile holds ${minimum} to ${maximum}: the nearest is used`);
  }
  return remarks;
}

const digits = 6;

function overridesOf(estimates: Estimates): TwinFit['profile'] {
  const fields = Object.entries(estimates) as [FittedField, Estimate][];
  return Object.fromEntries(fields.map(([field, { value }]) => {
    const [minimum, maximum] = fieldRanges[field];
    return [field, Number(Math.min(maximum, Math.max(minimum, value)).toPrecision(digits))];
  }));
}

/**
 * The parameters of a simulated chip that would read like these cells did.
 * @param formedMicrosiemens a cell that conducts less counts as unformed, where the reads do not know it themselves
 */
export function fitTwin(reads: RepeatedReads, formedMicrosiemens = usualFormedMicrosiemens): TwinFit {
  const sorted = sortCells(reads, formedMicrosiemens);
  const { formed, unformed, saturated, constant, freedom } = sorted;
  const steady = formed.filter(({ telegraph }) => telegraph === undefined);
  const isEnough = steady.length >= cellsMinimum;
  const conducting = reads.cells - unformed.length;
  const estimates: Estimates = {
    ...(isEnough && { readNoiseFraction: noiseOf(steady), readNoiseSpread: spreadOf(steady, freedom), ...lawOf(formed), ...driftOf(steady) }),
    formingYieldFraction: fractionOf(conducting, reads.cells),
    ...telegraphOf(sorted, reads),
  };
  const telegraph = formed.flatMap((cell) => (cell.telegraph === undefined ? [] : cell.cell));
  return {
    reads: reads.reads,
    averages: reads.averages,
    counts: { cells: reads.cells, formed: formed.length, unformed: unformed.length, saturated: saturated.length, constant: constant.length },
    estimates,
    profile: overridesOf(estimates),
    map: { saturated, constant, telegraph },
    remarks: remarksOn(sorted, reads, estimates),
  };
}
