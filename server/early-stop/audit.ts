/** One recording that would have stopped early and was run to its end all the same. */
export interface AuditedRun {
  readonly label: number | null;
  /** From 1. */
  readonly stoppedAtTimestep: number;
  readonly predictionAtStop: number;
  readonly predictionAtEnd: number;
}

/** An estimate with its confidence interval of 95 %. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface AuditReport {
  /** Part of the recordings that was drawn for it. */
  readonly fraction: number;
  readonly recordings: number;
  /** Of them, those that would have stopped before their last timestep. */
  readonly stopped: number;
  /** Accuracy of all timesteps less that of the early stop, of those with a label; null where there are none. */
  readonly accuracyLoss: Estimate | null;
  /** Part whose answer the rest of the timesteps has changed. */
  readonly changedFraction: Estimate;
  /** Part of the timesteps that the early stop saves. */
  readonly savedFraction: Estimate;
}

/** Of the standard normal distribution, two-sided 95 %. */
const z = 1.959964;

/** A fraction with the score interval of Wilson (1927). */
function fractionEstimate(hits: number, count: number): Estimate {
  const center = (hits + z ** 2 / 2) / (count + z ** 2);
  const half = (z / (count + z ** 2)) * Math.sqrt((hits * (count - hits)) / count + z ** 2 / 4);
  return { value: hits / count, low: Math.max(0, center - half), high: Math.min(1, center + half) };
}

/** Difference of two fractions of the same runs, with the interval of Agresti and Min (2005): Wald's with half a run more in each of the four cells. */
function pairedDifference(onlyFirst: number, onlySecond: number, count: number): Estimate {
  const [more, less, total] = [onlyFirst + 0.5, onlySecond + 0.5, count + 2];
  const center = (more - less) / total;
  const half = (z * Math.sqrt(more + less - (more - less) ** 2 / total)) / total;
  return { value: (onlyFirst - onlySecond) / count, low: center - half, high: center + half };
}

/** A mean with its normal interval. */
function meanEstimate(values: readonly number[]): Estimate {
  const value = values.reduce((sum, each) => sum + each, 0) / values.length;
  const variance = values.reduce((sum, each) => sum + (each - value) ** 2, 0) / Math.max(1, values.length - 1);
  const half = z * Math.sqrt(variance / values.length);
  return { value, low: value - half, high: value + half };
}

/** What an early stop costs and saves, by recordings that were drawn at random. @returns null where none was */
export function auditOf(runs: readonly AuditedRun[], timestepCount: number, fraction: number): AuditReport | null {
  if (runs.length === 0) return null;
  const labelled = runs.filter(({ label }) => label !== null);
  const isRightOnly = (first: 'predictionAtStop' | 'predictionAtEnd', second: 'predictionAtStop' | 'predictionAtEnd') =>
    labelled.filter((run) => run[first] === run.label && run[second] !== run.label).length;
  const changed = runs.filter(({ predictionAtStop, predictionAtEnd }) => predictionAtStop !== predictionAtEnd).length;
  return {
    fraction, recordings: runs.length, stopped: runs.filter(({ stoppedAtTimestep }) => stoppedAtTimestep < timestepCount).length,
    accuracyLoss: labelled.length === 0
      ? null
      : pairedDifference(isRightOnly('predictionAtEnd', 'predictionAtStop'), isRightOnly('predictionAtStop', 'predictionAtEnd'), labelled.length),
    changedFraction: fractionEstimate(changed, runs.length),
    savedFraction: meanEstimate(runs.map(({ stoppedAtTimestep }) => 1 - stoppedAtTimestep / timestepCount)),
  };
}
