import { cellCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { type ChipPassport, parseHeader, type SnapshotHeader } from '../snapshot/header.js';
import { headerOf, type Snapshot, snapshotOf } from '../snapshot/snapshot.js';
import { type Database, transaction } from './database.js';
import type { ObjectStore } from './objects.js';

const table = `
  CREATE TABLE IF NOT EXISTS chip (id TEXT PRIMARY KEY, passport TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS snapshot (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    chip TEXT NOT NULL REFERENCES chip (id),
    header TEXT NOT NULL,
    flags TEXT NOT NULL,
    reads TEXT,
    read_count INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS snapshot_by_chip ON snapshot (chip, number);
`;

interface Row {
  readonly digest: string;
  readonly header: string;
  readonly flags: string;
  readonly reads: string | null;
  readonly read_count: number;
}

/** A snapshot without its arrays. */
export interface SnapshotEntry extends SnapshotHeader {
  readonly keptReads: number;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array) => new Uint8Array(buffer, byteOffset, byteLength);
const codesIn = (bytes: Uint8Array) => new Uint16Array(bytes.slice().buffer);

function readsOf(bytes: Uint8Array | undefined, count: number): Uint16Array[] {
  const all = bytes === undefined ? new Uint16Array() : codesIn(bytes);
  return Array.from({ length: count }, (_, read) => all.slice(read * cellCount, (read + 1) * cellCount));
}

/** Passports of chips, and their snapshots under the digest of their codes, by which bundles name them as well. */
export class ChipStore {
  constructor(private readonly database: Database, private readonly objects: ObjectStore) {
    database.exec(table);
  }

  /** By id. */
  list(): ChipPassport[] {
    const rows = this.database.prepare('SELECT passport FROM chip ORDER BY id').all() as { passport: string }[];
    return rows.map(({ passport }) => JSON.parse(passport) as ChipPassport);
  }

  /** @throws MacroError CHIP_UNKNOWN */
  passport(chipId: string): ChipPassport {
    const row = this.database.prepare('SELECT passport FROM chip WHERE id = ?').get(chipId) as { passport: string } | undefined;
    if (row === undefined) throw new MacroError('CHIP_UNKNOWN', `there is no chip "${chipId}"`, { field: 'chip' });
    return JSON.parse(row.passport) as ChipPassport;
  }

  /** What people write of a chip replaces what stood there. */
  setPassport(passport: ChipPassport): void {
    this.database.prepare('INSERT OR REPLACE INTO chip (id, passport) VALUES (?, ?)').run(passport.chipId, JSON.stringify(passport));
  }

  /** A chip that is met for the first time gets a passport with nothing but its name. */
  meet(chipId: string): void {
    this.database.prepare('INSERT OR IGNORE INTO chip (id, passport) VALUES (?, ?)').run(chipId, JSON.stringify({ chipId }));
  }

  /**
   * Keeps a snapshot. The same codes again replace what was known of their conditions; a passport that people wrote stays as it is.
   * @throws MacroError BAD_SNAPSHOT where the same codes are those of another chip: two chips never agree in every cell
   */
  add(snapshot: Snapshot): void {
    const { chip, codes, flags, reads, provenance: { digest } } = snapshot;
    this.objects.put(bytesOf(codes));
    const flagsObject = this.objects.put(flags);
    const readsObject = reads.length === 0 ? null : this.objects.put(Buffer.concat(reads.map(bytesOf)));
    transaction(this.database, () => {
      const known = this.database.prepare('SELECT chip FROM snapshot WHERE digest = ?').get(digest) as { chip: string } | undefined;
      if (known !== undefined && known.chip !== chip.chipId) {
        throw new MacroError('BAD_SNAPSHOT', `these codes are stored as a snapshot of chip ${known.chip}, not ${chip.chipId}`, { field: 'chip' });
      }
      this.database.prepare('INSERT OR IGNORE INTO chip (id, passport) VALUES (?, ?)').run(chip.chipId, JSON.stringify(chip));
      const insert = 'INSERT INTO snapshot (digest, chip, header, flags, reads, read_count) VALUES (?, ?, ?, ?, ?, ?)';
      const columns = ['header', 'flags', 'reads', 'read_count'].map((column) => `${column} = excluded.${column}`);
      const replace = `ON CONFLICT (digest) DO UPDATE SET ${columns.join(', ')}`;
      this.database.prepare(`${insert} ${replace}`).run(digest, chip.chipId, JSON.stringify(headerOf(snapshot)), flagsObject, readsObject, reads.length);
    });
  }

  /** Of one chip, the newest first. @throws MacroError CHIP_UNKNOWN */
  snapshots(chipId: string): SnapshotEntry[] {
    this.passport(chipId);
    const rows = this.database.prepare('SELECT * FROM snapshot WHERE chip = ? ORDER BY number DESC').all(chipId) as unknown as Row[];
    return rows.map((row) => this.entryOf(row));
  }

  /** @throws MacroError SNAPSHOT_UNKNOWN */
  entry(digest: string): SnapshotEntry {
    return this.entryOf(this.row(digest));
  }

  /** @throws MacroError SNAPSHOT_UNKNOWN, INTERNAL_ERROR where its arrays are no longer what they were */
  read(digest: string): Snapshot {
    const row = this.row(digest);
    const reads = readsOf(row.reads === null ? undefined : this.objects.get(row.reads), row.read_count);
    const { keptReads: _, ...header } = this.entryOf(row);
    return snapshotOf(header, codesIn(this.objects.get(digest)), this.objects.get(row.flags), reads, `snapshot ${digest.slice(0, 12)}`);
  }

  private row(digest: string): Row {
    const row = this.database.prepare('SELECT * FROM snapshot WHERE digest = ?').get(digest) as unknown as Row | undefined;
    if (row === undefined) throw new MacroError('SNAPSHOT_UNKNOWN', `there is no snapshot "${digest}"`, { field: 'snapshot' });
    return row;
  }

  /** With the passport as it is now: what people have written since belongs to it. */
  private entryOf({ header, read_count: keptReads }: Row): SnapshotEntry {
    const known = parseHeader(header, 'the store');
    return { ...known, chip: this.passport(known.chip.chipId), keptReads };
  }
}
