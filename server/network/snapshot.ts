import { createHash } from 'node:crypto';
import type { LayerPlacement } from './placement.js';

/** The cells of one weight, as indices into a map of codes (bit line × source lines + source line). */
export interface WeightCells {
  /** Cell on the plus line of each weight, in the order of `weightShape`. */
  readonly plus: Uint32Array;
  readonly minus: Uint32Array;
}

/**
 * Which two cells hold each weight of a layer.
 *
 * @param sourceLines width of the map of codes
 */
export function weightCells(placement: LayerPlacement, sourceLines: number): WeightCells {
  const outputs = placement.tiles[0].plusLines.length;
  const inputs = placement.tiles.reduce((sum, tile) => sum + tile.inputCount, 0);
  const cells = { plus: new Uint32Array(outputs * inputs), minus: new Uint32Array(outputs * inputs) };
  for (const { firstInput, inputCount, firstBitLine, plusLines, minusLines } of placement.tiles) {
    for (let output = 0; output < outputs; output += 1) {
      for (let row = 0; row < inputCount; row += 1) {
        const weight = output * inputs + firstInput + row;
        const firstCell = (firstBitLine + row) * sourceLines;
        cells.plus[weight] = firstCell + plusLines[output];
        cells.minus[weight] = firstCell + minusLines[output];
      }
    }
  }
  return cells;
}

/**
 * Differential conductance of each weight of a layer in µS, from measured cell codes.
 *
 * @param codes one 16-bit code a cell, bit line by bit line
 * @param cellUnitNanosiemens conductance of one step of a code
 */
export function snapshotDifferences(
  codes: ArrayLike<number>, cellUnitNanosiemens: number, placement: LayerPlacement, sourceLines: number,
): Float32Array {
  const { plus, minus } = weightCells(placement, sourceLines);
  return Float32Array.from(plus, (cell, weight) => ((codes[cell] - codes[minus[weight]]) * cellUnitNanosiemens) / 1000);
}

/** Top code of a cell: "at or above", a broken cell and never a weight. */
export const topCode = 0xffff;

/** Source lines that hold a broken cell: one at the top code, or from a code on that no sound cell has. Placement passes over them. */
export function brokenSourceLines(codes: ArrayLike<number>, sourceLines: number, brokenCode = topCode): Set<number> {
  const broken = new Set<number>();
  for (let cell = 0; cell < codes.length; cell += 1) if (codes[cell] >= brokenCode) broken.add(cell % sourceLines);
  return broken;
}

/**
 * The cells that a mask prunes: both of each pair whose mask is 0, where they are placed.
 *
 * @param masks one a layer, 1 = kept, in the order of `weightShape`
 * @returns 1 bit a cell, bit i of byte i>>3, in the order of the map of codes: what `ResetCells` takes
 */
export function prunedCells(
  masks: readonly Uint8Array[], placements: readonly LayerPlacement[], geometry: { bitLines: number; sourceLines: number },
): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil((geometry.bitLines * geometry.sourceLines) / 8));
  placements.forEach((placement, layer) => {
    const { plus, minus } = weightCells(placement, geometry.sourceLines);
    masks[layer].forEach((kept, weight) => {
      if (kept === 1) return;
      for (const cell of [plus[weight], minus[weight]]) bitmap[cell >> 3] |= 1 << (cell & 7);
    });
  });
  return bitmap;
}

/** SHA-256 of a map of codes (16 bits little-endian each), hexadecimal. */
export function snapshotDigest(codes: Uint16Array): string {
  const bytes = new Uint8Array(codes.length * 2);
  const view = new DataView(bytes.buffer);
  for (let cell = 0; cell < codes.length; cell += 1) view.setUint16(cell * 2, codes[cell], true);
  return createHash('sha256').update(bytes).digest('hex');
}

export const fingerprintCellCount = 1024;

/**
 * The fixed sample of cells that tells a chip from another: two on each bit line, spread over the source lines by odd steps, so that no
 * line and no region of the array is favoured. Indices into a map of codes.
 */
export function fingerprintCells(geometry: { bitLines: number; sourceLines: number }): Uint32Array {
  return Uint32Array.from({ length: fingerprintCellCount }, (_, sample) => {
    const bitLine = sample % geometry.bitLines;
    const sourceLine = (sample * 197 + Math.floor(sample / geometry.bitLines) * 71) % geometry.sourceLines;
    return bitLine * geometry.sourceLines + sourceLine;
  });
}

/** Codes of the sample of cells, in the order of `fingerprintCells`. */
export function fingerprintOf(codes: ArrayLike<number>, geometry: { bitLines: number; sourceLines: number }): number[] {
  return Array.from(fingerprintCells(geometry), (cell) => codes[cell]);
}

/** Pearson correlation of two fingerprints, −1 to 1; 0 where one of them is constant. Cells left out by `use` do not count. */
export function fingerprintCorrelation(
  left: ArrayLike<number>, right: ArrayLike<number>, use: (sample: number) => boolean = () => true,
): number {
  const samples = Array.from({ length: Math.min(left.length, right.length) }, (_, sample) => sample).filter(use);
  const mean = (values: ArrayLike<number>) => samples.reduce((sum, sample) => sum + values[sample], 0) / samples.length;
  const [leftMean, rightMean] = [mean(left), mean(right)];
  let [product, leftSquares, rightSquares] = [0, 0, 0];
  for (const sample of samples) {
    const [a, b] = [left[sample] - leftMean, right[sample] - rightMean];
    product += a * b;
    leftSquares += a * a;
    rightSquares += b * b;
  }
  return leftSquares === 0 || rightSquares === 0 ? 0 : product / Math.sqrt(leftSquares * rightSquares);
}
