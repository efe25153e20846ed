import type { StopRule } from '../../firmware-protocol/numerics/index.js';
import { shuffled } from '../training/shuffle.js';
import { type Frontier, frontierAt, type Judgement } from './course.js';
import { type Threshold, thresholdLimits } from './policy.js';

const one = 2 ** 24;
/** Candidates lie between so many quantiles of the confidences that were seen. */
const candidateCount = 400;
/** Of sums of fractions. */
const rounding = 1e-9;

/**
 * How a threshold goes on with the timesteps. `falling`: in proportion to those that are left with the one at hand, (T + 1 − t) / T, for as much can the mean
 * of all still change; at the beginning little has been seen and much may follow.
 */
export const shapes = ['constant', 'falling'] as const;
export type Shape = (typeof shapes)[number];

const weightAt = (shape: Shape, timestep: number, timestepCount: number) => (shape === 'constant' ? 1 : (timestepCount - timestep) / timestepCount);

/** A threshold as a policy has it. @param level that of the first timestep */
export const thresholdOf = (shape: Shape, level: number, timestepCount: number): Threshold =>
  (shape === 'constant' ? level : Array.from({ length: timestepCount }, (_, timestep) => level * weightAt(shape, timestep, timestepCount)));

/** Levels that tell apart what was seen, ascending. */
function candidates(judgements: readonly Judgement[], rule: StopRule, shape: Shape): number[] {
  const seen = judgements.flatMap(({ confidencesQ24 }) =>
    confidencesQ24.map((confidence, timestep) => confidence / one / weightAt(shape, timestep, confidencesQ24.length))).sort((left, right) => left - right);
  const picked = Array.from({ length: candidateCount }, (_, index) => seen[Math.floor((index * seen.length) / candidateCount)]);
  return [...new Set(picked)].filter((level) => level > 0 && level < thresholdLimits[rule]);
}

/**
 * The lowest threshold whose accuracy on these recordings is at most so far below that of all timesteps, and stays so at every higher one: where the
 * accuracy of early answers comes and goes, a lucky low threshold is not taken.
 *
 * @param accuracyLoss a fraction: 0.002 are two recordings in a thousand
 */
export function fitThreshold(judgements: readonly Judgement[], rule: StopRule, accuracyLoss: number, shape: Shape = 'constant'): Threshold {
  const demanded = frontierAt(judgements, undefined).accuracy - accuracyLoss - rounding;
  const timestepCount = judgements[0].confidencesQ24.length;
  const at = (level: number) => thresholdOf(shape, level, timestepCount);
  const levels = candidates(judgements, rule, shape);
  const tooLow = levels.findLastIndex((level) => frontierAt(judgements, at(level)).accuracy < demanded);
  return at(levels[Math.min(tooLow + 1, levels.length - 1)] ?? thresholdLimits[rule] / 2);
}

/** What a rule that was fitted on one half of the recordings does on the other. */
export interface HalvesReport {
  readonly halves: number;
  readonly meanTimesteps: number;
  /** Of the accuracy of all timesteps, mean over the halves; negative where stopping early was better. */
  readonly accuracyLoss: number;
  readonly accuracy: number;
  /** Standard deviations from half to half. */
  readonly timestepsSd: number;
  readonly accuracyLossSd: number;
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const sdOf = (values: readonly number[]) => Math.sqrt(meanOf(values.map((value) => (value - meanOf(values)) ** 2)));

export interface HalvesOptions {
  /** A fraction: what a fitted threshold may cost. */
  readonly accuracyLoss: number;
  /** How often the recordings are divided, by the seed. */
  readonly halves: number;
  readonly seed: number;
}

export function acrossHalves(
  judgements: readonly Judgement[], rule: StopRule, shape: Shape, { accuracyLoss, halves, seed }: HalvesOptions,
): HalvesReport {
  const tried = Array.from({ length: halves }, (_, half): Frontier & { readonly loss: number } => {
    const order = Array.from(shuffled(judgements.length, seed, half), (index) => judgements[index]);
    const middle = order.length >> 1;
    const threshold = fitThreshold(order.slice(0, middle), rule, accuracyLoss, shape);
    const other = order.slice(middle);
    const found = frontierAt(other, threshold);
    return { ...found, loss: frontierAt(other, undefined).accuracy - found.accuracy };
  });
  const [timesteps, losses] = [tried.map(({ meanTimesteps }) => meanTimesteps), tried.map(({ loss }) => loss)];
  return {
    halves, meanTimesteps: meanOf(timesteps), timestepsSd: sdOf(timesteps), accuracyLoss: meanOf(losses), accuracyLossSd: sdOf(losses),
    accuracy: meanOf(tried.map(({ accuracy }) => accuracy)),
  };
}
