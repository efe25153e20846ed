import type { Database } from './database.js';

/** A confidence to stop at that was found for one mask on one chip, in one array state. */
export interface StoredThreshold {
  readonly chipId: string;
  /** Digest of the bundle whose mask it is for. */
  readonly model: string;
  /** The array state that it was found in, hexadecimal. */
  readonly arrayState: string;
  /** Softmax confidence, above 0 and below 1. */
  readonly threshold: number;
  /** ISO 8601. */
  readonly storedAt: string;
  /** Where it comes from: who found it, on what. */
  readonly source: string | null;
}

const table = `
  CREATE TABLE IF NOT EXISTS threshold (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    chip TEXT NOT NULL,
    model TEXT NOT NULL,
    array_state TEXT NOT NULL,
    threshold REAL NOT NULL,
    stored_at TEXT NOT NULL,
    source TEXT
  ) STRICT;
  CREATE INDEX IF NOT EXISTS threshold_by_chip ON threshold (chip, number);
`;

interface Row {
  readonly chip: string;
  readonly model: string;
  readonly array_state: string;
  readonly threshold: number;
  readonly stored_at: string;
  readonly source: string | null;
}

/** Early-stop thresholds. None is overwritten: which one a run had is asked long after it. */
export class ThresholdStore {
  constructor(private readonly database: Database) {
    database.exec(table);
  }

  add({ chipId, model, arrayState, threshold, storedAt, source }: StoredThreshold): void {
    this.database
      .prepare('INSERT INTO threshold (chip, model, array_state, threshold, stored_at, source) VALUES (?, ?, ?, ?, ?, ?)')
      .run(chipId, model, arrayState, threshold, storedAt, source);
  }

  /** Of one chip, the newest first. @param model only those for this bundle */
  list(chipId: string, model?: string): StoredThreshold[] {
    const rows = this.database
      .prepare('SELECT * FROM threshold WHERE chip = ?1 AND (?2 IS NULL OR model = ?2) ORDER BY number DESC')
      .all(chipId, model ?? null) as unknown as Row[];
    return rows.map(({ chip, model: digest, array_state: arrayState, threshold, stored_at: storedAt, source }) =>
      ({ chipId: chip, model: digest, arrayState, threshold, storedAt, source }));
  }
}
