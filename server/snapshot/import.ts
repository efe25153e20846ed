import { cellCount } from '../../firmware-protocol/limits.js';
import { csvMark, readCsv } from './csv.js';
import { codesOf, type ConductanceUnit } from './conductance-unit.js';
import { readHdf5 } from './hdf5.js';
import type { ChipPassport, ReadConditions } from './header.js';
import { type Matrix, readMatrix, transposed } from './matrix.js';
import { readNpz } from './npz.js';
import { refuseSnapshot } from './refusal.js';
import { flagsOf, keptReadsMaximum, mapShape, meanCodes, newSnapshot, type Snapshot } from './snapshot.js';

/** What a file of bare numbers does not say. */
export interface ImportOptions {
  readonly chip?: ChipPassport;
  readonly unit?: ConductanceUnit | undefined;
  readonly cellUnitNanosiemens?: number;
  /** A cell that conducts less counts as unformed; 0: only those that conduct nothing. */
  readonly formedMicrosiemens?: number;
  readonly isTransposed?: boolean;
  readonly conditions?: ReadConditions;
  readonly importedAt?: string;
}

export const usualCellUnitNanosiemens = 4;
/** Files beyond this are not opened. */
export const fileBytesMaximum = 128 * 2 ** 20;

/** A map of 512 × 512 is one read; otherwise each row is a read of every cell. */
function readsIn(matrix: Matrix, codes: Uint16Array, file: string): Uint16Array[] {
  const { rows, columns } = matrix;
  if (rows === mapShape[0] && columns === mapShape[1]) return [codes];
  if (columns !== cellCount) {
    refuseSnapshot(file, `holds ${rows} × ${columns} numbers, a snapshot has ${mapShape.join(' × ')}, or reads × ${cellCount} cells`, { field: 'shape' });
  }
  if (rows > keptReadsMaximum) refuseSnapshot(file, `holds ${rows} reads, the limit is ${keptReadsMaximum}`, { field: 'shape' });
  return Array.from({ length: rows }, (_, read) => codes.slice(read * cellCount, (read + 1) * cellCount));
}

function importMap(bytes: Uint8Array, file: string, options: ImportOptions): Snapshot {
  const { chip, unit, cellUnitNanosiemens = usualCellUnitNanosiemens, formedMicrosiemens = 0, isTransposed = false, conditions = {}, importedAt } = options;
  if (chip === undefined) return refuseSnapshot(file, 'does not say of which chip it is; name it', { field: 'chip' });
  const matrix = isTransposed ? transposed(readMatrix(bytes, file)) : readMatrix(bytes, file);
  const reads = readsIn(matrix, codesOf(matrix, unit, cellUnitNanosiemens, file), file);
  const codes = meanCodes(reads);
  return newSnapshot({
    chip, cellUnitNanosiemens, codes, conditions, flags: flagsOf(codes, formedMicrosiemens, cellUnitNanosiemens), reads: reads.length > 1 ? reads : [],
    provenance: { importedFrom: file.split('/').at(-1) ?? file, ...(importedAt !== undefined && { takenAt: importedAt }) },
  });
}

const startsWith = (bytes: Uint8Array, text: string) => new TextDecoder('latin1').decode(bytes.subarray(0, text.length)) === text;

/**
 * Reads a snapshot of any format, or a bare map of conductances (.npy, .csv, .xlsx). The name says what it is.
 * @throws MacroError BAD_SNAPSHOT naming the file and what is wrong in it
 */
export async function importSnapshot(bytes: Uint8Array, file: string, options: ImportOptions = {}): Promise<Snapshot> {
  if (bytes.length > fileBytesMaximum) refuseSnapshot(file, `has ${bytes.length} bytes, the limit is ${fileBytesMaximum}`);
  const name = file.toLowerCase();
  const read = name.endsWith('.npz') ? readNpz(bytes, file)
    : /\.(h5|hdf5)$/.test(name) ? await readHdf5(bytes, file)
      : name.endsWith('.csv') && startsWith(bytes, csvMark) ? readCsv(bytes, file)
        : undefined;
  if (read === undefined) return importMap(bytes, file, options);
  const { chip } = options;
  if (chip !== undefined && chip.chipId !== read.chip.chipId) refuseSnapshot(file, `is of chip ${read.chip.chipId}, not ${chip.chipId}`, { field: 'chip' });
  return read;
}
