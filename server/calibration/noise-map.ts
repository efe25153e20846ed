import { type Region, wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { CellMap, MeteredArray } from '../array/metered-array.js';
import { conductsMicrosiemens } from '../array/parameters.js';
import { topCode } from '../network/snapshot.js';

/** Bit lines across the array on which noise is measured, and single reads of each. */
const lineCount = 8;
const readsOfLine = 16;

/** Reads of whole bit lines that a noise map takes. */
export const noiseReads = lineCount * readsOfLine;

/** The noise of cells: the standard deviation of one read, relative to the cell's mean. */
export interface NoiseMap {
  readonly bitLines: readonly number[];
  /** One value a cell, bit line by bit line; NaN where the cell does not conduct or saturates, which tells nothing. */
  readonly fractions: Float32Array;
}

const noiseRegion = (line: number): Region => ({ ...wholeArray, firstBitLine: Math.floor((line * wholeArray.bitLines) / lineCount), bitLines: 1 });

function noiseOf(codes: readonly number[], lowestCode: number): number {
  if (Math.min(...codes) < lowestCode || Math.max(...codes) >= topCode) return Number.NaN;
  const mean = codes.reduce((sum, code) => sum + code, 0) / codes.length;
  return Math.sqrt(codes.reduce((sum, code) => sum + (code / mean - 1) ** 2, 0) / (codes.length - 1));
}

/** Reads some bit lines again and again. @throws MacroError CANCELLED between two lines */
export async function takeNoiseMap(array: MeteredArray): Promise<NoiseMap> {
  const { sourceLines } = wholeArray;
  const regions = Array.from({ length: lineCount }, (_, line) => noiseRegion(line));
  const fractions = new Float32Array(lineCount * sourceLines);
  for (const [line, region] of regions.entries()) {
    if (array.signal?.aborted === true) throw new MacroError('CANCELLED', 'the calibration was stopped between two reads');
    const reads: CellMap[] = [];
    for (let read = 0; read < readsOfLine; read += 1) reads.push(await array.read(region, 1));
    const first = region.firstBitLine * sourceLines;
    for (let sourceLine = 0; sourceLine < sourceLines; sourceLine += 1) {
      fractions[line * sourceLines + sourceLine] = noiseOf(reads.map(({ codes }) => codes[first + sourceLine]), array.codeOf(conductsMicrosiemens));
    }
  }
  return { bitLines: regions.map(({ firstBitLine }) => firstBitLine), fractions };
}

/** Root mean square over the cells of a channel; null where none of them tells. */
export function noiseOfChannel({ fractions }: NoiseMap, channel: number, channels: number): number | null {
  const squares = Array.from(fractions, (fraction) => fraction ** 2)
    .filter((square, cell) => (cell % wholeArray.sourceLines) % channels === channel && !Number.isNaN(square));
  return squares.length === 0 ? null : Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
}
