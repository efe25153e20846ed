import type { StopRule } from '../../firmware-protocol/numerics/index.js';
import type { Threshold } from '../early-stop/policy.js';
import type { Database } from './database.js';

/** A confidence to stop at that was found for one mask on one chip, in one array state. */
export interface StoredThreshold {
  readonly chipId: string;
  /** Digest of the bundle whose mask it is for. */
  readonly model: string;
  /** The array state that it was found in, hexadecimal. */
  readonly arrayState: string;
  readonly rule: StopRule;
  /** Confidence to stop at, or one for each timestep. */
  readonly threshold: Threshold;
  /** ISO 8601. */
  readonly storedAt: string;
  /** Where it comes from: who found it, on what. */
  readonly source: string | null;
}

const table = `
  CREATE TABLE IF NOT EXISTS stop_threshold (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    chip TEXT NOT NULL,
    model TEXT NOT NULL,
    array_state TEXT NOT NULL,
    rule TEXT NOT NULL,
    threshold TEXT NOT NULL, -- JSON
    stored_at TEXT NOT NULL,
    source TEXT
  ) STRICT;
  CREATE INDEX IF NOT EXISTS stop_threshold_by_chip ON stop_threshold (chip, number);
`;

interface Row {
  readonly chip: string;
  readonly model: string;
  readonly array_state: string;
  readonly rule: StopRule;
  readonly threshold: string;
  readonly stored_at: string;
  readonly source: string | null;
}

/** Early-stop thresholds. None is overwritten: which one a run had is asked long after it. */
export class ThresholdStore {
  constructor(private readonly database: Database) {
    database.exec(table);
  }

  add({ chipId, model, arrayState, rule, threshold, storedAt, source }: StoredThreshold): void {
    this.database
      .prepare('INSERT INTO stop_threshold (chip, model, array_state, rule, threshold, stored_at, source) VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(chipId, model, arrayState, rule, JSON.stringify(threshold), storedAt, source);
  }

  /** Of one chip, the newest first. @param model only those for this bundle */
  list(chipId: string, model?: string): StoredThreshold[] {
    const rows = this.database
      .prepare('SELECT * FROM stop_threshold WHERE chip = ?1 AND (?2 IS NULL OR model = ?2) ORDER BY number DESC')
      .all(chipId, model ?? null) as unknown as Row[];
    return rows.map(({ chip, model: digest, array_state: arrayState, rule, threshold, stored_at: storedAt, source }) =>
      ({ chipId: chip, model: digest, arrayState, rule, threshold: JSON.parse(threshold) as Threshold, storedAt, source }));
  }
}
