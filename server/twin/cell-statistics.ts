import { topCode } from '../network/snapshot.js';
import { centralMoment, meanOf } from './moments.js';
import { type RepeatedReads, readsOfCell } from './repeated-reads.js';
import { type TelegraphCell, TelegraphTest } from './telegraph.js';

/** Reference time of drift in a simulated chip, s. */
export const driftReferenceSeconds = 1e-6;
/** Times that span less tell nothing of drift. */
const decadesMinimum = 0.5;

/** What the reads of one formed cell say of it. */
export interface CellStatistics {
  readonly cell: number;
  /** µS. */
  readonly mean: number;
  /** Of one conversion, relative to the conductance, without what the steps of the code add. */
  readonly relativeVariance: number;
  /** Of the mean, µS². */
  readonly meanVariance: number;
  /** Relative loss for each decade of time, and the variance of that figure. */
  readonly loss?: { readonly perDecade: number; readonly variance: number };
  readonly telegraph?: TelegraphCell;
}

/** Cells by what can be learnt of them. */
export interface SortedCells {
  readonly formed: readonly CellStatistics[];
  readonly unformed: readonly number[];
  readonly saturated: readonly number[];
  /** Those of the formed that read the same every time: their noise is below the step of a code, or nobody reads them. */
  readonly constant: readonly number[];
  /** Degrees of freedom of each variance. */
  readonly freedom: number;
}

/** Decades since the reference time at each read; undefined where times are not known or tell nothing. */
function decadesOf({ secondsSinceLastPulse: times }: RepeatedReads): Float64Array | undefined {
  if (times === undefined) return undefined;
  const decades = Float64Array.from(times, (time) => Math.log10(1 + time / driftReferenceSeconds));
  return decades[decades.length - 1] - decades[0] >= decadesMinimum ? decades : undefined;
}

interface Line {
  readonly residuals: Float64Array;
  readonly intercept: number;
  readonly slope: number;
  readonly slopeSquares: number;
}

function lineThrough(values: Float64Array, decades: Float64Array): Line {
  const [centre, mean] = [meanOf(decades), meanOf(values)];
  let [slopeSquares, product] = [0, 0];
  for (let read = 0; read < values.length; read += 1) {
    slopeSquares += (decades[read] - centre) ** 2;
    product += (decades[read] - centre) * (values[read] - mean);
  }
  const slope = product / slopeSquares;
  const residuals = values.map((value, read) => value - mean - slope * (decades[read] - centre));
  return { residuals, intercept: mean - slope * centre, slope, slopeSquares };
}

function statisticsOf(cell: number, values: Float64Array, reads: RepeatedReads, decades: Float64Array | undefined, test: TelegraphTest): CellStatistics {
  const mean = meanOf(values);
  const line = decades && lineThrough(values, decades);
  const steady = line === undefined ? values : line.residuals.map((residual) => residual + mean);
  const freedom = values.length - (line === undefined ? 1 : 2);
  const step = reads.cellUnitNanosiemens / 1000;
  // Where noise is below a step the codes tell nothing of it, and what steps add is not what they add elsewhere.
  const variance = Math.max(0, (centralMoment(steady, mean, 2) * values.length) / freedom - (step * step) / 12);
  const meanVariance = variance / values.length;
  const telegraph = test.cellOf(steady, step);
  const loss = line && { perDecade: -line.slope / line.intercept, variance: variance / (line.intercept ** 2 * line.slopeSquares) };
  const relativeVariance = (reads.averages * variance) / (mean * mean - meanVariance);
  return { cell, mean, meanVariance, relativeVariance, ...(loss && { loss }), ...(telegraph && { telegraph }) };
}

/** @param formedMicrosiemens a cell that conducts less was never formed, where the reads do not know it themselves */
export function sortCells(reads: RepeatedReads, formedMicrosiemens: number): SortedCells {
  const [formed, unformed, saturated, constant]: [CellStatistics[], number[], number[], number[]] = [[], [], [], []];
  const decades = decadesOf(reads);
  const test = new TelegraphTest(reads.reads);
  for (let cell = 0; cell < reads.cells; cell += 1) {
    const values = readsOfCell(reads, cell);
    const first = values?.[0] ?? topCode;
    if (values === undefined) saturated.push(cell);
    else if (reads.unformed?.[cell] === 1 || meanOf(values) < formedMicrosiemens) unformed.push(cell);
    else {
      formed.push(statisticsOf(cell, values, reads, decades, test));
      if (values.every((value) => value === first)) constant.push(cell);
    }
  }
  return { formed, unformed, saturated, constant, freedom: reads.reads - (decades === undefined ? 1 : 2) };
}
