/** x ↦ x · multiplier / 2^shift, rounded half away from zero. The compiler chooses both so that |x · multiplier| < 2^53. */
export interface Scale {
  readonly multiplier: number;
  readonly shift: number;
}

const membraneMaximum = 2 ** 31 - 1;
const membraneMinimum = -(2 ** 31);

/** 2^−shift. Multiplying by a power of two is exact, and much cheaper than raising to one. */
const inversePowers = Float64Array.from({ length: 64 }, (_, shift) => 2 ** -shift);

/** An integer divided by 2^shift, rounded to the nearest integer, halves away from zero. Exact for |value| < 2^52, shift of 0–63. */
export function shiftRounded(value: number, shift: number): number {
  const inverse = inversePowers[shift];
  return value < 0 ? -Math.floor(0.5 - value * inverse) : Math.floor(value * inverse + 0.5);
}

/** Applies a scale to an integer. */
export function scale(value: number, by: Scale): number {
  return shiftRounded(value * by.multiplier, by.shift);
}

/** Clamps to int32, as a membrane register does. */
export function saturateInt32(value: number): number {
  if (value > membraneMaximum) return membraneMaximum;
  return value < membraneMinimum ? membraneMinimum : value;
}
