import { deflateSync, inflateSync } from 'node:zlib';
import type { PulseKind, WearCounts } from '../../driver/index.js';
import { bitLineCount, cellCount } from '../../firmware-protocol/limits.js';
import { voltageStepCount } from '../../proto/voltage-step.js';
import { type Database, transaction } from './database.js';

/** Whose doing pulses are. */
export interface PulseOwner {
  readonly jobId: string;
  /** null: the job does not say. */
  readonly user: string | null;
}

export type PulseTotals = Readonly<Record<PulseKind, number>>;

/** What one job has done to a chip; pulses of nobody's job have the owner null. */
export interface WearShare {
  readonly owner: PulseOwner | null;
  readonly pulses: PulseTotals;
  /** Sum over the bit lines and voltages. */
  readonly drivenNanoseconds: number;
}

const table = `
  CREATE TABLE IF NOT EXISTS wear (chip TEXT PRIMARY KEY, counts BLOB NOT NULL, seen BLOB NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS wear_share (
    chip TEXT NOT NULL,
    job TEXT NOT NULL,
    user TEXT,
    forming INTEGER NOT NULL,
    set_pulses INTEGER NOT NULL,
    reset_pulses INTEGER NOT NULL,
    driven_nanoseconds REAL NOT NULL,
    PRIMARY KEY (chip, job)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS wear_owner (chip TEXT PRIMARY KEY, job TEXT NOT NULL, user TEXT) STRICT, WITHOUT ROWID;
`;

const countMaximum = 0xffff;
/** Counts are mostly 0: the quickest level takes them to a hundredth. */
const compression = { level: 1 };
/** Of pulses that no job gave. */
const nobody = '';

const newCounts = (): WearCounts => ({
  forming: new Uint16Array(cellCount), set: new Uint16Array(cellCount), reset: new Uint16Array(cellCount),
  drivenNanoseconds: new Float64Array(bitLineCount * voltageStepCount),
});

function encode({ forming, set, reset, drivenNanoseconds }: WearCounts): Uint8Array {
  const parts = [forming, set, reset, drivenNanoseconds].map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength));
  return deflateSync(Buffer.concat(parts), compression);
}

function decode(blob: Uint8Array): WearCounts {
  const bytes = new Uint8Array(inflateSync(blob));
  const counts = (part: number) => new Uint16Array(bytes.slice(2 * cellCount * part, 2 * cellCount * (part + 1)).buffer);
  return { forming: counts(0), set: counts(1), reset: counts(2), drivenNanoseconds: new Float64Array(bytes.slice(6 * cellCount).buffer) };
}

type Counts = Uint16Array | Float64Array;

/**
 * Adds to `total` what a board has counted since it was `seen`. A count that fell is that of a board which has lost its memory: what it says now it has
 * counted since. @returns the sum of what was added
 */
function addSince(total: Counts, seen: Counts, now: Counts, maximum: number): number {
  let added = 0;
  for (let index = 0; index < total.length; index += 1) {
    if (now[index] === seen[index]) continue;
    const more = now[index] > seen[index] ? now[index] - seen[index] : now[index];
    total[index] = Math.min(maximum, total[index] + more);
    added += more;
  }
  return added;
}

interface ShareRow {
  readonly job: string;
  readonly user: string | null;
  readonly forming: number;
  readonly set_pulses: number;
  readonly reset_pulses: number;
  readonly driven_nanoseconds: number;
}

/**
 * Every pulse that each cell of each chip has ever had, and how long its bit lines were driven at which voltage. It never falls, and it
 * outlasts this process: what `update` has returned is on disk. The board's own counts say what happened; the ledger adds whose doing it was.
 */
export class WearLedger {
  constructor(private readonly database: Database) {
    database.exec(table);
  }

  /** All zero where nothing is known of the chip. */
  counts(chipId: string): WearCounts {
    return this.load(chipId).counts;
  }

  /** A job is about to pulse cells: until `update` says that it has ended, what the board counts more is its doing, even if this process dies. */
  begin(chipId: string, { jobId, user }: PulseOwner): void {
    this.database.prepare('INSERT OR REPLACE INTO wear_owner (chip, job, user) VALUES (?, ?, ?)').run(chipId, jobId, user);
  }

  /**
   * Takes in what the board of a chip has counted.
   * @param hasEnded whether the pulses of the owner that `begin` named are all given: the next ones are nobody's until somebody else begins
   */
  update(chipId: string, now: WearCounts, hasEnded: boolean): void {
    transaction(this.database, () => {
      const { counts, seen } = this.load(chipId);
      const added = {
        forming: addSince(counts.forming, seen.forming, now.forming, countMaximum),
        set: addSince(counts.set, seen.set, now.set, countMaximum),
        reset: addSince(counts.reset, seen.reset, now.reset, countMaximum),
      };
      const driven = addSince(counts.drivenNanoseconds, seen.drivenNanoseconds, now.drivenNanoseconds, Number.MAX_VALUE);
      if (driven > 0 || added.forming + added.set + added.reset > 0) {
        this.save(chipId, counts, now);
        this.addShare(chipId, added, driven);
      }
      if (hasEnded) this.database.prepare('DELETE FROM wear_owner WHERE chip = ?').run(chipId);
    });
  }

  /** Books one RESET on each cell of a bitmap, for boards that do not count: they may have been given. */
  assumeReset(chipId: string, cells: Uint8Array): void {
    const { seen } = this.load(chipId);
    for (let cell = 0; cell < cellCount; cell += 1) seen.reset[cell] += (cells[cell >> 3] >> (cell & 7)) & 1;
    this.update(chipId, seen, true);
  }

  /** What each job has done to a chip, the most pulses first. */
  shares(chipId: string): WearShare[] {
    const rows = this.database
      .prepare('SELECT * FROM wear_share WHERE chip = ? ORDER BY forming + set_pulses + reset_pulses DESC, job')
      .all(chipId) as unknown as ShareRow[];
    return rows.map(({ job, user, forming, set_pulses: set, reset_pulses: reset, driven_nanoseconds: drivenNanoseconds }) => ({
      owner: job === nobody ? null : { jobId: job, user }, pulses: { forming, set, reset }, drivenNanoseconds,
    }));
  }

  private load(chipId: string): { counts: WearCounts; seen: WearCounts } {
    const row = this.database.prepare('SELECT counts, seen FROM wear WHERE chip = ?').get(chipId) as { counts: Uint8Array; seen: Uint8Array } | undefined;
    return row === undefined ? { counts: newCounts(), seen: newCounts() } : { counts: decode(row.counts), seen: decode(row.seen) };
  }

  private save(chipId: string, counts: WearCounts, seen: WearCounts): void {
    this.database.prepare('INSERT OR REPLACE INTO wear (chip, counts, seen) VALUES (?, ?, ?)').run(chipId, encode(counts), encode(seen));
  }

  private addShare(chipId: string, { forming, set, reset }: PulseTotals, driven: number): void {
    const owner = this.database.prepare('SELECT job, user FROM wear_owner WHERE chip = ?').get(chipId) as { job: string; user: string | null } | undefined;
    const { job, user } = owner ?? { job: nobody, user: null };
    this.database
      .prepare(
        `INSERT INTO wear_share (chip, job, user, forming, set_pulses, reset_pulses, driven_nanoseconds) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (chip, job) DO UPDATE SET forming = forming + excluded.forming, set_pulses = set_pulses + excluded.set_pulses,
         reset_pulses = reset_pulses + excluded.reset_pulses, driven_nanoseconds = driven_nanoseconds + excluded.driven_nanoseconds`,
      )
      .run(chipId, job, user, forming, set, reset, driven);
  }
}
