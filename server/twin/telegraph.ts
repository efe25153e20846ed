import { gaussianOne, GaussianStream } from '../../firmware-protocol/numerics/index.js';

/** A cell that jumps between two levels. */
export interface TelegraphCell {
  readonly upper: number;
  readonly lower: number;
  /** From read to read. */
  readonly jumps: number;
}

export const telegraphReadsMinimum = 8;
/** One of so many steady cells may be taken for one with two levels. */
export const steadyCells = 20_000;
/** Levels that lie nearer than this many of their own standard deviations are not told apart from one. */
const separationMinimum = 3;
const stepsMinimum = 4;
const readsAtLevelMinimum = 2;
/** Of cells that are steady and only noisy; its seed is fixed, so that a fit is the same every time. */
const steadySeed = 20_25;

interface Split {
  readonly within: number;
  readonly total: number;
  readonly upper: number;
  readonly lower: number;
  readonly atLower: number;
  readonly highestOfLower: number;
}

/** The cut of reads into a lower and an upper group that leaves the least scatter within them. */
function bestSplit(reads: Float64Array): Split {
  const sorted = Float64Array.from(reads).sort();
  const { length } = sorted;
  const sum = sorted.reduce((total, value) => total + value, 0);
  const squares = sorted.reduce((total, value) => total + value * value, 0);
  let [below, best, cut, belowAtCut] = [0, -1, 1, sorted[0]];
  for (let count = 1; count < length; count += 1) {
    below += sorted[count - 1];
    const between = (below * below) / count + ((sum - below) * (sum - below)) / (length - count);
    if (between <= best) continue;
    [best, cut, belowAtCut] = [between, count, below];
  }
  const total = squares - (sum * sum) / length;
  return {
    within: Math.max(0, squares - best), total, lower: belowAtCut / cut, upper: (sum - belowAtCut) / (length - cut), atLower: cut,
    highestOfLower: sorted[cut - 1],
  };
}

/**
 * Tells cells with two levels from those that are only noisy. Among so many steady cells with normal noise (drawn here, whatever their spread, for the ratio
 * does not depend on it) the best cut never leaves so little scatter: a steady cell is taken for one of two levels less than once in twenty thousand.
 */
export class TelegraphTest {
  private readonly leastRatio: number = 1;

  constructor(private readonly reads: number) {
    if (reads < telegraphReadsMinimum) return;
    const stream = new GaussianStream({ seed: steadySeed, stream: reads });
    const four = new Int32Array(4);
    const values = new Float64Array(reads);
    let least = 1;
    for (let cell = 0; cell < steadyCells; cell += 1) {
      for (let read = 0; read < reads; read += 1) {
        if ((read & 3) === 0) stream.four(cell, read >> 2, 0, 0, four, 0);
        values[read] = four[read & 3] / gaussianOne;
      }
      const { within, total, atLower } = bestSplit(values);
      if (atLower < readsAtLevelMinimum || reads - atLower < readsAtLevelMinimum) continue;
      least = Math.min(least, within / total);
    }
    this.leastRatio = least;
  }

  /**
   * @param step of the codes, in the unit of the reads: a quiet cell that is read as one code or the next has no two levels
   * @returns undefined where one level explains the reads
   */
  cellOf(reads: Float64Array, step: number): TelegraphCell | undefined {
    if (this.reads < telegraphReadsMinimum) return undefined;
    const { within, total, upper, lower, atLower, highestOfLower } = bestSplit(reads);
    const isLone = atLower < readsAtLevelMinimum || reads.length - atLower < readsAtLevelMinimum;
    if (total === 0 || isLone || within / total >= this.leastRatio) return undefined;
    if (upper - lower < Math.max(stepsMinimum * step, separationMinimum * Math.sqrt(within / reads.length))) return undefined;
    let jumps = 0;
    for (let read = 1; read < reads.length; read += 1) if (reads[read] > highestOfLower !== reads[read - 1] > highestOfLower) jumps += 1;
    return { upper, lower, jumps };
  }
}
