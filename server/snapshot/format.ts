import { MacroError } from '../../proto/error.js';
import { writeCsv } from './csv.js';
import { writeHdf5 } from './hdf5.js';
import { writeNpz } from './npz.js';
import type { Snapshot } from './snapshot.js';

interface SnapshotFormat {
  readonly mediaType: string;
  write(snapshot: Snapshot): Uint8Array | Promise<Uint8Array>;
}

/** Formats that snapshots are exported in, by the ending of the file. */
export const snapshotFormats = {
  npz: { mediaType: 'application/zip', write: writeNpz },
  h5: { mediaType: 'application/x-hdf5', write: writeHdf5 },
  csv: { mediaType: 'text/csv; charset=utf-8', write: writeCsv },
} as const satisfies Readonly<Record<string, SnapshotFormat>>;

export type SnapshotFormatName = keyof typeof snapshotFormats;

/** @throws MacroError BAD_ARGUMENT where the ending of the file is none of them */
export function formatOfFile(file: string): SnapshotFormatName {
  const ending = /\.([a-z0-9]+)$/i.exec(file)?.[1]?.toLowerCase() ?? '';
  if (Object.hasOwn(snapshotFormats, ending)) return ending as SnapshotFormatName;
  const endings = Object.keys(snapshotFormats).map((name) => `.${name}`);
  throw new MacroError('BAD_ARGUMENT', `${file}: a snapshot is written as ${endings.join(', ')}`, { field: 'out' });
}
