import { negativePowers } from './power-table.js';
import type { Scale } from './round.js';

/** Largest shift and multiplier of a confidence scale. */
export const confidenceShiftMaximum = 31;
export const confidenceMultiplierMaximum = 2 ** 18 - 1;

/** A confidence or stop threshold of 1. */
export const confidenceOne = 2 ** 24;

const exponentBits = 16;
const exponentOne = 2 ** exponentBits;
const segmentBits = 6;
const multiplierLimit = 2 ** 18;
const halfMultiplier = 2 ** 9;
/** Powers beyond it are 0. */
export const largestExponent = 40 * exponentOne;

/** 2^(−exponent/2^16) in 1/2^24: the whole part shifts, the fraction is interpolated in a table of 1024 segments. */
export function negativePower(exponentQ16: number): number {
  if (exponentQ16 >= largestExponent) return 0;
  const whole = exponentQ16 >> exponentBits;
  const fraction = exponentQ16 & (exponentOne - 1);
  const segment = fraction >> segmentBits;
  const high = negativePowers[segment];
  const value = high - (((high - negativePowers[segment + 1]) * (fraction & 63)) >> segmentBits);
  return whole > 24 ? 0 : value >> whole;
}

/**
 * The scale that turns a difference of summed output membranes into a base-2 exponent in 1/2^16: 2^16 / (units · temperature · ln 2), as an
 * 18-bit multiplier. Floats are allowed here: the host computes it once and sends it with the run.
 *
 * @param membraneUnitsPerNetworkUnit membrane units of the output layer in one network unit
 * @param temperature divides the mean membranes before the softmax; 2 in the published network
 */
export const confidenceScale = (membraneUnitsPerNetworkUnit: number, temperature: number): Scale =>
  scaleOf(exponentOne / (membraneUnitsPerNetworkUnit * temperature * Math.LN2));

/** The scale that turns a difference of summed output membranes into network units in 1/2^24. */
export const marginScale = (membraneUnitsPerNetworkUnit: number): Scale => scaleOf(confidenceOne / membraneUnitsPerNetworkUnit);

/** A factor as a multiplier of 18 bits and the largest shift that it can have. */
function scaleOf(factor: number): Scale {
  let shift = 0;
  while (Math.round(factor * 2 ** (shift + 1)) < multiplierLimit && shift < confidenceShiftMaximum) shift += 1;
  return { multiplier: Math.round(factor * 2 ** shift), shift };
}

/**
 * floor(difference · multiplier / divisor), exact where the product passes 2^53: the quotient is taken in two halves of the multiplier.
 * @param difference an integer below 2^38
 * @param multiplier below 2^18
 * @param divisor timesteps · 2^shift, below 2^38
 */
export function exactQuotient(difference: number, multiplier: number, divisor: number): number {
  const product = difference * multiplier;
  if (product <= Number.MAX_SAFE_INTEGER) return Math.floor(product / divisor);
  const whole = Math.floor(difference / divisor);
  const rest = difference - whole * divisor;
  const upper = rest * Math.floor(multiplier / halfMultiplier);
  const upperWhole = Math.floor(upper / divisor);
  const lower = (upper - upperWhole * divisor) * halfMultiplier + rest * (multiplier % halfMultiplier);
  return whole * multiplier + upperWhole * halfMultiplier + Math.floor(lower / divisor);
}

/** A threshold as the integer that the gate compares with. */
export const thresholdQ24 = (threshold: number): number => Math.round(threshold * confidenceOne);
