/** Half to even, as Python rounds: the published masks were made so. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** The |score| from which on pairs are kept (PRIME.md §4): the k-th smallest, k = 1 + round(sparsity · (N − 1)). @param scores N of them, one at least */
export function keptFrom(scores: Float32Array, sparsity: number): number {
  const sizes = scores.map(Math.abs).sort();
  return sizes[roundHalfEven(sparsity * (sizes.length - 1))];
}

/** The mask that the scores of a layer stand for. */
export function maskOfScores(scores: Float32Array, sparsity: number): Uint8Array {
  const limit = keptFrom(scores, sparsity);
  return Uint8Array.from(scores, (score) => (Math.abs(score) >= limit ? 1 : 0));
}
