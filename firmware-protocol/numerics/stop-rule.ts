import { confidenceOne, exactQuotient, largestExponent, negativePower } from './confidence.js';
import type { Scale } from './round.js';

/** What an early stop is decided by, in the order of their numbers on the wire. */
export const stopRules = ['softmax', 'entropy', 'margin', 'relative-margin'] as const;
export type StopRule = (typeof stopRules)[number];

/** Largest confidence that a result can hold; a margin above it is cut. */
export const confidenceMaximum = 2 ** 32 - 1;

/** When a run stops: behind the first timestep whose confidence is above its threshold. */
export interface EarlyStopRule {
  readonly rule: StopRule;
  /** See `StopGate`. */
  readonly confidence: Scale;
  /** In 1/2^24: one for all timesteps, or as many as there are. */
  readonly thresholdsQ24: readonly number[];
}

/** @param timestep counts from 0 */
export const isConfident = ({ thresholdsQ24 }: Pick<EarlyStopRule, 'thresholdsQ24'>, timestep: number, confidenceQ24: number): boolean =>
  confidenceQ24 > thresholdsQ24[Math.min(timestep, thresholdsQ24.length - 1)];

const fractionBits = 16;
const ratioBits = 24;

/** log2 of an integer of 1 to below 2^52, in 1/2^16: the whole part by halving, then a bit for each squaring. The error is below 2^-15. */
export function binaryLogarithm(value: number): number {
  let mantissa = value;
  let whole = ratioBits;
  while (mantissa >= 2 * confidenceOne) {
    mantissa = Math.floor(mantissa / 2);
    whole += 1;
  }
  while (mantissa < confidenceOne) {
    mantissa *= 2;
    whole -= 1;
  }
  let fraction = 0;
  for (let bit = 0; bit < fractionBits; bit += 1) {
    mantissa = Math.floor((mantissa * mantissa) / confidenceOne);
    fraction *= 2;
    if (mantissa < 2 * confidenceOne) continue;
    mantissa = Math.floor(mantissa / 2);
    fraction += 1;
  }
  return whole * 2 ** fractionBits + fraction;
}

/** floor(2^24 · part / whole), bit by bit. @param part an integer of 0 to whole, which is below 2^52 */
function ratio(part: number, whole: number): number {
  if (part === whole) return confidenceOne;
  let [rest, quotient] = [part, 0];
  for (let bit = 0; bit < ratioBits; bit += 1) {
    rest *= 2;
    quotient *= 2;
    if (rest < whole) continue;
    rest -= whole;
    quotient += 1;
  }
  return quotient;
}

type Confidence = (sums: ArrayLike<number>, by: Scale, timesteps: number) => number;

/** Base-2 exponents of the softmax of the mean, in 1/2^16, cut at 40. */
function exponentsOf(sums: ArrayLike<number>, largest: number, by: Scale, timesteps: number): number[] {
  const divisor = timesteps * 2 ** by.shift;
  return Array.from(sums, (sum) => Math.min(largestExponent, exactQuotient(largest - sum, by.multiplier, divisor)));
}

const largestOf = (sums: ArrayLike<number>) => Array.from(sums).reduce((largest, sum) => Math.max(largest, sum), Number.NEGATIVE_INFINITY);

/** What the best output is above the second best, both where two are equal. */
function marginOf(sums: ArrayLike<number>): number {
  let [best, second] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let output = 0; output < sums.length; output += 1) {
    second = Math.max(second, Math.min(best, sums[output]));
    best = Math.max(best, sums[output]);
  }
  return second === Number.NEGATIVE_INFINITY ? 0 : best - second;
}

/** How confident the sums of the outputs are, in 1/2^24, by rule (NUMERICS.md, "Confidence"). */
const confidences: Readonly<Record<StopRule, Confidence>> = {
  softmax(sums, by, timesteps) {
    const powers = exponentsOf(sums, largestOf(sums), by, timesteps).map(negativePower);
    return Math.floor(confidenceOne ** 2 / powers.reduce((total, power) => total + power, 0));
  },
  entropy(sums, by, timesteps) {
    const exponents = exponentsOf(sums, largestOf(sums), by, timesteps);
    const powers = exponents.map(negativePower);
    const total = powers.reduce((sum, power) => sum + power, 0);
    const weighted = exponents.reduce((sum, exponent, output) => sum + exponent * powers[output], 0);
    const entropy = binaryLogarithm(total) - ratioBits * 2 ** fractionBits + Math.floor(weighted / total);
    const most = binaryLogarithm(sums.length);
    return most === 0 ? confidenceOne : confidenceOne - ratio(Math.min(entropy, most), most);
  },
  margin: (sums, by, timesteps) => Math.min(confidenceMaximum, exactQuotient(marginOf(sums), by.multiplier, timesteps * 2 ** by.shift)),
  'relative-margin'(sums) {
    const others = sums.length - 1;
    const total = Array.from(sums).reduce((sum, each) => sum + each, 0);
    const spread = sums.length * largestOf(sums) - total;
    return spread === 0 ? 0 : ratio(others * marginOf(sums), spread);
  },
};

/**
 * The gate of an early stop: adds a timestep's output membranes to their sums and says how confident they are, in integers alone, so that host and device
 * stop at the same timestep.
 */
export class StopGate {
  private readonly sums: Float64Array;
  private timesteps = 0;

  /**
   * @param by what turns a difference of summed membranes into a base-2 exponent in 1/2^16 (softmax, entropy; see `confidenceScale`), or into network units
   *   in 1/2^24 (margin; see `marginScale`); the relative margin needs none
   */
  constructor(outputs: number, private readonly by: Scale, private readonly rule: StopRule = 'softmax') {
    this.sums = new Float64Array(outputs);
  }

  /** @returns confidence after this timestep in 1/2^24 */
  add(membranes: ArrayLike<number>): number {
    const { sums, by, rule } = this;
    this.timesteps += 1;
    for (let output = 0; output < sums.length; output += 1) sums[output] += membranes[output];
    return confidences[rule](sums, by, this.timesteps);
  }

  /** Index of the largest sum, the lowest where several are equal. */
  get prediction(): number {
    return this.sums.indexOf(Math.max(...this.sums));
  }
}
