import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';

export type Database = InstanceType<typeof DatabaseSync>;

const schemaVersion = 1;

const schema = `
  CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    view TEXT NOT NULL
  ) STRICT;
  CREATE INDEX job_by_state ON job (state, number);
  CREATE TABLE job_event (
    job TEXT NOT NULL REFERENCES job (id),
    number INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (job, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE checkpoint (
    job TEXT NOT NULL REFERENCES job (id),
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, name)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE result (
    job TEXT NOT NULL REFERENCES job (id),
    number INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE model (
    id TEXT NOT NULL,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (id, file)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/** Opens the store of a home folder, and makes it where there is none. What a transaction has committed survives a power cut. */
export function openDatabase(homeFolder: string): Database {
  mkdirSync(homeFolder, { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(join(homeFolder, 'store.sqlite'));
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 2000;');
  const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number };
  if (version === 0) transaction(database, () => database.exec(`${schema} PRAGMA user_version = ${schemaVersion};`));
  else if (version !== schemaVersion) throw new Error(`the store has schema ${version}, this program knows ${schemaVersion}`);
  return database;
}

/** Runs `action` as one transaction: all of it, or nothing. Not nested. */
export function transaction<Result>(database: Database, action: () => Result): Result {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = action();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    database.exec('ROLLBACK');
    throw error;
  }
}
