import { sourceLineCount } from '../../firmware-protocol/limits.js';
import type { Region, Staircase } from '../../driver/index.js';
import { topCode } from '../network/snapshot.js';
import { addCell, type CellBitmap, cellsOf, noCells } from './cell-bitmap.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import type { OperationJob } from './operation.js';
import type { Effort } from './plan.js';

/** How device papers plot a step of a sweep: what the cells conduct after it. */
export interface SweepPoint {
  /** Which step; its name says the unit. */
  readonly [step: string]: number | null;
  readonly cells: number;
  readonly meanMicrosiemens: number | null;
  readonly sdMicrosiemens: number | null;
  readonly p5Microsiemens: number | null;
  readonly medianMicrosiemens: number | null;
  readonly p95Microsiemens: number | null;
}

export interface SweepParameters {
  readonly region: Region;
  readonly averages: number;
  /** Undefined: the usual one of the sweep. */
  readonly staircase?: Staircase;
  readonly cycles: number;
  readonly reads: number;
}

/** The array of a sweep and the cells that it is about. */
export interface SweepBench {
  readonly array: MeteredArray;
  readonly cells: CellBitmap;
  readonly parameters: SweepParameters;
  read(): Promise<CellMap>;
  /** Tells a point of the curve and keeps it for the table. */
  point(step: Readonly<Record<string, number>>, map: CellMap): SweepPoint;
}

/** One curve that device papers plot. */
export interface Sweep {
  /** Cells of a region that it is about, of the map that was read first. */
  cellsOf(array: MeteredArray, map: CellMap, region: Region): CellBitmap;
  /** Pulses that it would give. */
  efforts(cells: CellBitmap, parameters: SweepParameters): readonly Effort[];
  /** @returns what the curve says, for the summary */
  run(bench: SweepBench, job: OperationJob): Promise<Readonly<Record<string, number | null>>>;
}

/** Cells of a region whose code passes. */
export function cellsIn(region: Region, map: CellMap, passes: (code: number, cell: number) => boolean): CellBitmap {
  const cells = noCells();
  for (let row = 0; row < region.bitLines; row += 1) {
    const first = (region.firstBitLine + row) * sourceLineCount + region.firstSourceLine;
    for (let cell = first; cell < first + region.sourceLines; cell += 1) if (passes(map.codes[cell], cell)) addCell(cells, cell);
  }
  return cells;
}

const none = { meanMicrosiemens: null, sdMicrosiemens: null, p5Microsiemens: null, medianMicrosiemens: null, p95Microsiemens: null };

/** What some cells conduct. One at the top code says only "or above": it counts as a cell and not in the figures. */
export function sweepPoint(step: Readonly<Record<string, number>>, array: MeteredArray, cells: CellBitmap, map: CellMap): SweepPoint {
  const codes = [...cellsOf(cells)].map((cell) => map.codes[cell]);
  const values = Float64Array.from(codes.filter((code) => code < topCode), (code) => array.microsiemensOf(code)).sort();
  const { length } = values;
  if (length === 0) return { ...step, cells: codes.length, ...none };
  const mean = values.reduce((sum, value) => sum + value, 0) / length;
  const at = (fraction: number) => values[Math.min(length - 1, Math.floor(fraction * length))];
  return {
    ...step,
    cells: codes.length,
    meanMicrosiemens: mean,
    sdMicrosiemens: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / length),
    p5Microsiemens: at(0.05),
    medianMicrosiemens: at(0.5),
    p95Microsiemens: at(0.95),
  };
}
