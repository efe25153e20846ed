/** 95 % of a normal law lie within so many standard deviations. */
export const twoSided95 = 1.959964;

/** A figure that was estimated from cells, with the interval that covers the truth 19 times out of 20. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) sum += values[index];
  return sum / values.length;
}

/** The mean of the n-th power of the distance from a centre. */
export function centralMoment(values: ArrayLike<number>, centre: number, power: number): number {
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) sum += (values[index] - centre) ** power;
  return sum / values.length;
}

export const estimateOf = (value: number, standardError: number): Estimate =>
  ({ value, low: value - twoSided95 * standardError, high: value + twoSided95 * standardError });

/**
 * Standard error of a figure from what each cell has moved it by, its influence: the infinitesimal jackknife, which needs no law of the cells.
 * @param influences of mean about 0, one a cell
 */
export function standardErrorOf(influences: ArrayLike<number>): number {
  return Math.sqrt(centralMoment(influences, meanOf(influences), 2) / influences.length);
}

/** An estimate through a function that rises: the ends of the interval go through it as well. */
export function through({ value, low, high }: Estimate, rising: (value: number) => number): Estimate {
  return { value: rising(value), low: rising(low), high: rising(high) };
}

/** A fraction of so many, by the interval of Wilson ("Probable inference", JASA 1927), which is right for rare things as well. */
export function fractionOf(count: number, of: number): Estimate {
  if (of === 0) return { value: 0, low: 0, high: 1 };
  const value = count / of;
  const square = (twoSided95 * twoSided95) / of;
  const middle = (value + square / 2) / (1 + square);
  const half = (twoSided95 / (1 + square)) * Math.sqrt((value * (1 - value)) / of + square / (4 * of));
  return { value, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** The value below which the fraction of a rising list lies. */
export const quantileOf = (rising: ArrayLike<number>, fraction: number): number =>
  rising[Math.min(rising.length - 1, Math.max(0, Math.floor(fraction * rising.length)))];
