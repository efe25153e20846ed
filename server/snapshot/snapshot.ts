import { bitLineCount, cellCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { snapshotDigest, topCode } from '../network/snapshot.js';
import { checkHeader, type ChipPassport, type Provenance, type ReadConditions, type SnapshotHeader, snapshotFormat } from './header.js';
import { refuseSnapshot } from './refusal.js';

export const mapShape = [bitLineCount, sourceLineCount] as const;
/** What a snapshot may keep of single reads: 64 of them are 32 MiB. */
export const keptReadsMaximum = 64;

/** What is known of a cell beyond its code: bits. */
export const cellFlag = { saturated: 1, unformed: 2 } as const;
const knownFlags = cellFlag.saturated | cellFlag.unformed;

/** What every cell of a chip conducts, under what conditions it was read, and where that is known from. */
export interface Snapshot {
  readonly chip: ChipPassport;
  readonly cellUnitNanosiemens: number;
  /** Bit line × 512 + source line; 65535: at or above. */
  readonly codes: Uint16Array;
  /** Bits of `cellFlag`, one byte a cell. */
  readonly flags: Uint8Array;
  readonly conditions: ReadConditions;
  readonly provenance: Provenance;
  /** Codes of the single reads that `codes` is the mean of, where they were kept. */
  readonly reads: readonly Uint16Array[];
}

export const headerOf = ({ chip, cellUnitNanosiemens, conditions, provenance }: Snapshot): SnapshotHeader =>
  ({ format: snapshotFormat, chip, cellUnitNanosiemens, conditions, provenance });

const placeOf = (cell: number) => `bit line ${Math.floor(cell / sourceLineCount)}, source line ${cell % sourceLineCount}`;

function checkFlags(codes: Uint16Array, flags: Uint8Array, file: string): void {
  for (let cell = 0; cell < cellCount; cell += 1) {
    if ((flags[cell] & ~knownFlags) !== 0) refuseSnapshot(file, `holds ${flags[cell]} at ${placeOf(cell)}, flags are 0 to ${knownFlags}`, { field: 'flags' });
    const isFlagged = (flags[cell] & cellFlag.saturated) !== 0;
    if (isFlagged === codes[cell] >= topCode) continue;
    refuseSnapshot(file, `has the code ${codes[cell]} at ${placeOf(cell)} and says that it is ${isFlagged ? '' : 'not '}saturated`, { field: 'flags' });
  }
}

/**
 * Puts a snapshot together from what a file says, and holds its parts against one another.
 *
 * @param file the name that messages shall use
 * @throws MacroError BAD_SNAPSHOT naming file and field
 */
export function snapshotOf(header: unknown, codes: Uint16Array, flags: Uint8Array, reads: readonly Uint16Array[], file: string): Snapshot {
  const { chip, cellUnitNanosiemens, conditions, provenance } = checkHeader(header, file);
  if (codes.length !== cellCount) refuseSnapshot(file, `has ${codes.length} codes, there are ${cellCount} cells`, { field: 'codes' });
  if (flags.length !== cellCount) refuseSnapshot(file, `has ${flags.length} flags, there are ${cellCount} cells`, { field: 'flags' });
  checkFlags(codes, flags, file);
  if (reads.length > keptReadsMaximum) refuseSnapshot(file, `keeps ${reads.length} reads, the limit is ${keptReadsMaximum}`, { field: 'read_codes' });
  if (reads.some(({ length }) => length !== cellCount)) refuseSnapshot(file, `keeps a read that has not ${cellCount} cells`, { field: 'read_codes' });
  const times = conditions.readSeconds;
  if (times !== undefined && times.length !== reads.length) {
    refuseSnapshot(file, `states ${times.length} times and keeps ${reads.length} reads`, { field: 'conditions.readSeconds' });
  }
  const digest = snapshotDigest(codes);
  if (provenance.digest !== digest) refuseSnapshot(file, `states the digest ${provenance.digest}, its codes have ${digest}`, { field: 'provenance.digest' });
  return { chip, cellUnitNanosiemens, codes, flags, conditions, provenance, reads };
}

/** What the codes themselves tell of cells. @param formedMicrosiemens a cell that conducts less was never formed, unless `isFormed` knows better */
export function flagsOf(
  codes: Uint16Array, formedMicrosiemens: number, cellUnitNanosiemens: number, isFormed: (cell: number) => boolean = () => false,
): Uint8Array {
  const formedCode = (formedMicrosiemens * 1000) / cellUnitNanosiemens;
  return Uint8Array.from(codes, (code, cell) => {
    if (code >= topCode) return cellFlag.saturated;
    return (code === 0 || code < formedCode) && !isFormed(cell) ? cellFlag.unformed : 0;
  });
}

/** The mean of several reads of the same cells; a cell that saturated once is never averaged. */
export function meanCodes(reads: readonly Uint16Array[]): Uint16Array {
  return Uint16Array.from({ length: reads[0].length }, (_, cell) => {
    let sum = 0;
    for (const read of reads) {
      if (read[cell] >= topCode) return topCode;
      sum += read[cell];
    }
    return Math.round(sum / reads.length);
  });
}

/** What a new snapshot is made of. */
export interface SnapshotParts extends Omit<Snapshot, 'provenance' | 'reads'> {
  readonly provenance: Omit<Provenance, 'digest'>;
  readonly reads?: readonly Uint16Array[];
}

/** A snapshot of codes that were just read or imported: its digest follows from the codes. */
export function newSnapshot(parts: SnapshotParts): Snapshot {
  const provenance = { ...parts.provenance, digest: snapshotDigest(parts.codes) };
  const { chip, cellUnitNanosiemens, codes, flags, conditions, reads = [] } = parts;
  return snapshotOf({ format: snapshotFormat, chip, cellUnitNanosiemens, conditions, provenance }, codes, flags, reads, 'the snapshot');
}
