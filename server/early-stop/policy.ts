import Type, { type Static, type TNumber } from 'typebox';
import { maximumTimestepCount } from '../../firmware-protocol/limits.js';
import {
  confidenceScale, type EarlyStopRule, marginScale, type Scale, type StopRule, stopRules, thresholdQ24,
} from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { exactly, numberBetween, numberFrom, strict } from '../network/fields.js';

/** What a confidence may be compared with, by rule: shares lie in (0, 1), a margin is in network units. */
const largestMargin = 255;
export const thresholdLimits: Readonly<Record<StopRule, number>> = { softmax: 1, entropy: 1, margin: largestMargin, 'relative-margin': 1 };

const usualTemperature = 2;
const temperature = numberFrom(0.01, 100);

const oneOrMany = (one: TNumber & { readonly description?: string }) =>
  Type.Union([one, Type.Array(one, { minItems: 1, maxItems: maximumTimestepCount })], { description: `${one.description}, or a list of one a timestep` });

const share = oneOrMany(numberBetween(0, 1));
const ofSoftmax = strict({ rule: exactly('softmax'), temperature, threshold: share });
const ofEntropy = strict({ rule: exactly('entropy'), temperature, threshold: share });
const ofMargin = strict({ rule: exactly('margin'), threshold: oneOrMany(numberBetween(0, largestMargin)) });
const ofRelativeMargin = strict({ rule: exactly('relative-margin'), threshold: share });

/** What `network.json` may say of the early stop, by rule. */
export const policySchemas = { softmax: ofSoftmax, entropy: ofEntropy, margin: ofMargin, 'relative-margin': ofRelativeMargin } as const;
export const policySchema = Type.Union([ofSoftmax, ofEntropy, ofMargin, ofRelativeMargin]);
export const ruleSchema = Type.Union(
  [Type.Literal('softmax'), Type.Literal('entropy'), Type.Literal('margin'), Type.Literal('relative-margin')],
  { description: 'what the early stop is decided by' },
);

/** A rule, and the confidence above which it stops: one for all timesteps, or one for each. */
export type EarlyStopPolicy = Static<typeof policySchema>;
export type Threshold = EarlyStopPolicy['threshold'];

export const isStopRule = (name: unknown): name is StopRule => stopRules.includes(name as StopRule);

/** What the rule of a policy makes of summed membranes (`StopGate`). @param membraneUnitsPerNetworkUnit of the output layer */
export function scaleOf(rule: StopRule, softmaxTemperature: number, membraneUnitsPerNetworkUnit: number): Scale {
  if (rule === 'margin') return marginScale(membraneUnitsPerNetworkUnit);
  return rule === 'relative-margin' ? { multiplier: 0, shift: 0 } : confidenceScale(membraneUnitsPerNetworkUnit, softmaxTemperature);
}

/** @throws MacroError BAD_THRESHOLD naming the range of the rule */
export function checkThreshold(rule: StopRule, threshold: Threshold, timestepCount?: number): readonly number[] {
  const all = typeof threshold === 'number' ? [threshold] : threshold;
  const limit = thresholdLimits[rule];
  const wrong = all.find((one) => !(one > 0 && one < limit));
  if (wrong !== undefined) {
    throw new MacroError('BAD_THRESHOLD', `the threshold is ${wrong}; that of ${rule} lies above 0 and below ${limit}`, { field: 'threshold' });
  }
  if (typeof threshold !== 'number' && timestepCount !== undefined && all.length !== timestepCount) {
    throw new MacroError('BAD_THRESHOLD', `there are ${all.length} thresholds, the network has ${timestepCount} timesteps`, { field: 'threshold' });
  }
  return all;
}

/** A policy as users choose it beside that of a bundle: what they leave out is the bundle's. */
export interface PolicyChoice {
  readonly rule?: StopRule;
  readonly threshold?: Threshold;
}

/** @throws MacroError BAD_THRESHOLD where another rule than the bundle's has no threshold */
export function choosePolicy(ofBundle: EarlyStopPolicy, { rule = ofBundle.rule, threshold }: PolicyChoice): EarlyStopPolicy {
  if (threshold === undefined && rule !== ofBundle.rule) {
    throw new MacroError('BAD_THRESHOLD', `the bundle stops by ${ofBundle.rule}; ${rule} needs a threshold of its own`, { field: 'threshold' });
  }
  const chosen = threshold ?? ofBundle.threshold;
  if (rule === 'margin' || rule === 'relative-margin') return { rule, threshold: chosen };
  return { rule, temperature: temperatureOf(ofBundle), threshold: chosen };
}

/** That of a bundle's softmax; the published one where its rule needs none. */
export const temperatureOf = (policy: EarlyStopPolicy): number => ('temperature' in policy ? policy.temperature : usualTemperature);

/**
 * The stop rule of a run, in the integers of the device.
 *
 * @param membraneUnitsPerNetworkUnit of the output layer
 * @throws MacroError BAD_THRESHOLD
 */
export function ruleOf(policy: EarlyStopPolicy, membraneUnitsPerNetworkUnit: number, timestepCount: number): EarlyStopRule {
  const { rule, threshold } = policy;
  return {
    rule, confidence: scaleOf(rule, temperatureOf(policy), membraneUnitsPerNetworkUnit),
    thresholdsQ24: checkThreshold(rule, threshold, timestepCount).map(thresholdQ24),
  };
}
