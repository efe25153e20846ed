import type { CalibrationRecord } from '../calibration/record.js';
import type { Database } from './database.js';

const table = `
  CREATE TABLE IF NOT EXISTS calibration (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    chip TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS calibration_by_chip ON calibration (chip, number);
`;

/** Every calibration of every chip. */
export class CalibrationStore {
  constructor(private readonly database: Database) {
    database.exec(table);
  }

  add(record: CalibrationRecord): void {
    this.database.prepare('INSERT INTO calibration (chip, record) VALUES (?, ?)').run(record.chipId, JSON.stringify(record));
  }

  /** Of one chip, the newest first. @param limit at most so many; -1: all */
  list(chipId: string, limit = -1): CalibrationRecord[] {
    const rows = this.database.prepare('SELECT record FROM calibration WHERE chip = ? ORDER BY number DESC LIMIT ?').all(chipId, limit) as { record: string }[];
    return rows.map(({ record }) => JSON.parse(record) as CalibrationRecord);
  }

  newest(chipId: string): CalibrationRecord | undefined {
    return this.list(chipId, 1)[0];
  }
}
