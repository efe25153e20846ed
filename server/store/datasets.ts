import { MacroError } from '../../proto/error.js';
import { packRecordings, type SentRecording, unpackRecordings } from '../dataset/recording-pack.js';
import type { Database } from './database.js';
import type { ObjectStore } from './objects.js';

const table = `
  CREATE TABLE IF NOT EXISTS dataset (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    recordings INTEGER NOT NULL,
    labelled INTEGER NOT NULL
  ) STRICT;
`;

export interface DatasetEntry {
  /** SHA-256 of all recordings with their names and labels. */
  readonly id: string;
  readonly recordings: number;
  readonly labelled: number;
}

/** Recordings that jobs name as a whole. */
export class DatasetStore {
  constructor(private readonly database: Database, private readonly objects: ObjectStore) {
    database.exec(table);
  }

  /** The same recordings twice are one dataset. */
  add(recordings: readonly SentRecording[]): DatasetEntry {
    const labelled = recordings.filter(({ label }) => label !== null).length;
    const entry = { id: this.objects.put(packRecordings(recordings)), recordings: recordings.length, labelled };
    this.database.prepare('INSERT OR IGNORE INTO dataset (id, recordings, labelled) VALUES (?, ?, ?)').run(entry.id, entry.recordings, labelled);
    return entry;
  }

  /** The newest first. */
  list(): DatasetEntry[] {
    return this.database.prepare('SELECT id, recordings, labelled FROM dataset ORDER BY number DESC').all() as unknown as DatasetEntry[];
  }

  /** @throws MacroError DATASET_UNKNOWN */
  entry(id: string): DatasetEntry {
    const row = this.database.prepare('SELECT id, recordings, labelled FROM dataset WHERE id = ?').get(id) as unknown as DatasetEntry | undefined;
    if (row === undefined) throw new MacroError('DATASET_UNKNOWN', `there is no dataset "${id}"`, { field: 'dataset' });
    return row;
  }

  /** @throws MacroError DATASET_UNKNOWN */
  read(id: string): SentRecording[] {
    return unpackRecordings(this.objects.get(this.entry(id).id));
  }
}
