/** How far two samples are apart. */
export interface SampleDistance {
  /** Largest difference of their distribution functions (Kolmogorov and Smirnov), 0 to 1. */
  readonly distance: number;
  /** What it exceeds once in a hundred where both come from one law. */
  readonly chanceLevel: number;
}

const onceInAHundred = 1.628;

/** @param left in any order, as `right`; both are left as they are */
export function kolmogorovSmirnov(left: Float64Array, right: Float64Array): SampleDistance {
  const [a, b] = [Float64Array.from(left).sort(), Float64Array.from(right).sort()];
  if (a.length === 0 || b.length === 0) return { distance: 1, chanceLevel: 1 };
  let [i, j, distance] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const value = Math.min(a[i], b[j]);
    while (i < a.length && a[i] <= value) i += 1;
    while (j < b.length && b[j] <= value) j += 1;
    distance = Math.max(distance, Math.abs(i / a.length - j / b.length));
  }
  return { distance, chanceLevel: onceInAHundred * Math.sqrt((a.length + b.length) / (a.length * b.length)) };
}

/** Pearson's, −1 to 1; 0 where one of them is constant. */
export function correlationOf(left: ArrayLike<number>, right: ArrayLike<number>): number {
  const { length } = left;
  let [leftMean, rightMean] = [0, 0];
  for (let index = 0; index < length; index += 1) {
    leftMean += left[index] / length;
    rightMean += right[index] / length;
  }
  let [product, leftSquares, rightSquares] = [0, 0, 0];
  for (let index = 0; index < length; index += 1) {
    const [a, b] = [left[index] - leftMean, right[index] - rightMean];
    product += a * b;
    leftSquares += a * a;
    rightSquares += b * b;
  }
  return leftSquares === 0 || rightSquares === 0 ? 0 : product / Math.sqrt(leftSquares * rightSquares);
}
