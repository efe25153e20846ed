import { isConfident, StopGate, type StopRule, thresholdQ24 } from '../../firmware-protocol/numerics/index.js';
import { scaleOf } from './policy.js';

/** What a network says of one recording while it looks at all of it. */
export interface Course {
  readonly label: number;
  /** Of the output layer after each timestep, membrane units. */
  readonly membranes: readonly (readonly number[])[];
}

/** What a rule sees of a course: its confidence after each timestep in 1/2^24, and which class would be the answer there. */
export interface Judgement {
  readonly label: number;
  readonly confidencesQ24: readonly number[];
  readonly predictions: readonly number[];
}

/** How recordings would be answered under a threshold. */
export interface Frontier {
  readonly accuracy: number;
  readonly meanTimesteps: number;
}

/** Membrane units of one network unit where a course comes from software. */
const softwareUnits = 2 ** 20;

/** The course of a network in software. @param means time mean of the outputs after each timestep, network units */
export function softwareCourse(label: number, means: readonly (readonly number[])[]): Course {
  const sums = means.map((mean, timestep) => mean.map((value) => Math.round(value * (timestep + 1) * softwareUnits)));
  return { label, membranes: sums.map((sum, timestep) => sum.map((value, output) => value - (timestep === 0 ? 0 : sums[timestep - 1][output]))) };
}

/** What the integers of a rule are scaled by. */
export interface JudgeOptions {
  /** Of the softmax. */
  readonly temperature?: number;
  /** Left out: of courses in software. */
  readonly membraneUnitsPerNetworkUnit?: number;
}

/** The same integers as on the device, so that the decisions are the same. */
export function judge(courses: readonly Course[], rule: StopRule, options: JudgeOptions = {}): Judgement[] {
  const { temperature = 1, membraneUnitsPerNetworkUnit = softwareUnits } = options;
  const by = scaleOf(rule, temperature, membraneUnitsPerNetworkUnit);
  return courses.map(({ label, membranes }) => {
    const gate = new StopGate(membranes[0].length, by, rule);
    const steps = membranes.map((step) => ({ confidence: gate.add(step), prediction: gate.prediction }));
    return { label, confidencesQ24: steps.map(({ confidence }) => confidence), predictions: steps.map(({ prediction }) => prediction) };
  });
}

/** Timesteps that a recording takes, from 1. @param thresholdsQ24 one, or one for each timestep */
export function stopOf({ confidencesQ24 }: Judgement, thresholdsQ24: readonly number[]): number {
  const stop = confidencesQ24.findIndex((confidence, timestep) => isConfident({ thresholdsQ24 }, timestep, confidence));
  return stop < 0 ? confidencesQ24.length : stop + 1;
}

/** @param threshold as a policy has it; undefined: all timesteps */
export function frontierAt(judgements: readonly Judgement[], threshold: number | readonly number[] | undefined): Frontier {
  const thresholdsQ24 = threshold === undefined ? [Number.POSITIVE_INFINITY] : [threshold].flat().map(thresholdQ24);
  let [right, timesteps] = [0, 0];
  for (const judgement of judgements) {
    const stop = stopOf(judgement, thresholdsQ24);
    timesteps += stop;
    right += judgement.predictions[stop - 1] === judgement.label ? 1 : 0;
  }
  return { accuracy: right / judgements.length, meanTimesteps: timesteps / judgements.length };
}
