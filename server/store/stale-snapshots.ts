import type { Database } from './database.js';

const table = `
  CREATE TABLE IF NOT EXISTS stale_snapshot (
    digest TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    since TEXT NOT NULL,
    changed_pairs INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/** Why a map of a chip, and what was made on it, is no longer true of the chip. */
export interface Staleness {
  /** The job that changed the chip. */
  readonly job: string;
  /** Date and time, as ISO 8601 says it. */
  readonly since: string;
  /** Pairs with new conductances. */
  readonly changedPairs: number;
}

/** Maps of chips whose cells conduct something else by now, by the digest by which bundles name them. The service need not hold the map itself. */
export class StaleSnapshots {
  constructor(private readonly database: Database) {
    database.exec(table);
  }

  /** Of several jobs the last is named. @param staleness null: it is true after all */
  mark(digest: string, staleness: Staleness | null): void {
    if (staleness === null) {
      this.database.prepare('DELETE FROM stale_snapshot WHERE digest = ?').run(digest);
      return;
    }
    const { job, since, changedPairs } = staleness;
    const insert = 'INSERT OR REPLACE INTO stale_snapshot (digest, job, since, changed_pairs) VALUES (?, ?, ?, ?)';
    this.database.prepare(insert).run(digest, job, since, changedPairs);
  }

  /** @returns null where it is still true of its chip, as far as anyone knows */
  of(digest: string): Staleness | null {
    const query = this.database.prepare('SELECT job, since, changed_pairs AS changedPairs FROM stale_snapshot WHERE digest = ?');
    return (query.get(digest) as Staleness | undefined) ?? null;
  }
}
