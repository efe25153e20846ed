import { topCode } from '../network/snapshot.js';
import { codesOf, type ConductanceUnit } from '../snapshot/conductance-unit.js';
import { importSnapshot, usualCellUnitNanosiemens } from '../snapshot/import.js';
import { matrixFormats, readMatrix, transposed } from '../snapshot/matrix.js';
import { refuseSnapshot } from '../snapshot/refusal.js';
import { cellFlag, type Snapshot } from '../snapshot/snapshot.js';

/** The same cells, read again and again. */
export interface RepeatedReads {
  readonly reads: number;
  readonly cells: number;
  /** Read by read; 65535: saturated. */
  readonly codes: Uint16Array;
  readonly cellUnitNanosiemens: number;
  /** Conversions that each read is the mean of. */
  readonly averages: number;
  /** Of each read, since the cells were last pulsed; what drift is measured by. */
  readonly secondsSinceLastPulse?: readonly number[];
  /** 1 where it is known that a cell was never formed. */
  readonly unformed?: Uint8Array;
}

export const readsMinimum = 3;

/** @throws MacroError BAD_SNAPSHOT where there are too few reads to tell noise from conductance */
export function repeatedReads(parts: RepeatedReads, file: string): RepeatedReads {
  const { reads, cells, codes, averages, secondsSinceLastPulse, unformed } = parts;
  if (reads < readsMinimum) refuseSnapshot(file, `holds ${reads} reads, ${readsMinimum} or more are needed`, { field: 'reads' });
  if (codes.length !== reads * cells) refuseSnapshot(file, `holds ${codes.length} codes instead of ${reads} × ${cells}`, { field: 'reads' });
  if (!(Number.isInteger(averages) && averages >= 1)) refuseSnapshot(file, `states ${averages} averages`, { field: 'averages' });
  if (unformed !== undefined && unformed.length !== cells) refuseSnapshot(file, `has ${cells} cells, the snapshot ${unformed.length}`, { field: 'snapshot' });
  const times = secondsSinceLastPulse;
  if (times !== undefined && (times.length !== reads || !times.every((time, read) => time >= 0 && time >= (times[read - 1] ?? 0)))) {
    refuseSnapshot(file, `needs ${reads} times that do not fall, one a read`, { field: 'seconds' });
  }
  return parts;
}

/** The single reads that a snapshot keeps. @throws MacroError BAD_SNAPSHOT where it keeps too few */
export function readsOfSnapshot({ reads, flags, cellUnitNanosiemens, conditions }: Snapshot, file: string): RepeatedReads {
  const cells = flags.length;
  const codes = new Uint16Array(reads.length * cells);
  reads.forEach((read, index) => { codes.set(read, index * cells); });
  const { readSeconds, secondsSinceLastPulse: before, averages = 1 } = conditions;
  const times = readSeconds !== undefined && before !== undefined ? { secondsSinceLastPulse: readSeconds.map((after) => before + after) } : {};
  const unformed = flags.map((flag) => ((flag & cellFlag.unformed) === 0 ? 0 : 1));
  return repeatedReads({ reads: reads.length, cells, codes, cellUnitNanosiemens, averages, unformed, ...times }, file);
}

export interface ReadsOptions {
  readonly unit?: ConductanceUnit | undefined;
  readonly cellUnitNanosiemens?: number;
  readonly averages?: number;
  readonly secondsSinceLastPulse?: readonly number[];
  readonly isTransposed?: boolean;
  readonly unformed?: Uint8Array;
}

/**
 * Repeated reads from a file: the reads that a snapshot keeps, or a matrix of reads × cells.
 * @throws MacroError BAD_SNAPSHOT naming the file and what is wrong in it
 */
export async function readRepeatedReads(bytes: Uint8Array, file: string, options: ReadsOptions = {}): Promise<RepeatedReads> {
  const { unit, cellUnitNanosiemens = usualCellUnitNanosiemens, averages = 1, secondsSinceLastPulse, isTransposed = false, unformed } = options;
  if (!matrixFormats.some((ending) => file.toLowerCase().endsWith(ending))) return readsOfSnapshot(await importSnapshot(bytes, file), file);
  const matrix = isTransposed ? transposed(readMatrix(bytes, file)) : readMatrix(bytes, file);
  const codes = codesOf(matrix, unit, cellUnitNanosiemens, file);
  const times = secondsSinceLastPulse === undefined ? {} : { secondsSinceLastPulse };
  return repeatedReads({ reads: matrix.rows, cells: matrix.columns, codes, cellUnitNanosiemens, averages, ...times, ...(unformed && { unformed }) }, file);
}

/** The reads of one cell, in µS and in order; undefined where one of them saturated. */
export function readsOfCell({ reads, cells, codes, cellUnitNanosiemens }: RepeatedReads, cell: number): Float64Array | undefined {
  const values = new Float64Array(reads);
  for (let read = 0; read < reads; read += 1) {
    const code = codes[read * cells + cell];
    if (code >= topCode) return undefined;
    values[read] = (code * cellUnitNanosiemens) / 1000;
  }
  return values;
}
