import { MacroError } from '../../proto/error.js';
import { type Bundle, bundleFromFiles } from '../network/bundle.js';
import { type Database, transaction } from './database.js';
import type { ObjectStore } from './objects.js';

/** Bundles under the digest of their files. */
export class ModelStore {
  private last: Bundle | undefined;

  constructor(private readonly database: Database, private readonly objects: ObjectStore) {}

  /** Stores the files of a bundle. The same bundle twice is one. */
  add(id: string, files: ReadonlyMap<string, Uint8Array>): void {
    const digests = [...files].map(([name, bytes]) => [name, this.objects.put(bytes)] as const);
    transaction(this.database, () => {
      const insert = this.database.prepare('INSERT OR REPLACE INTO model (id, file, sha256) VALUES (?, ?, ?)');
      for (const [name, sha256] of digests) insert.run(id, name, sha256);
    });
  }

  /** Ids, in their own order. */
  list(): string[] {
    const rows = this.database.prepare('SELECT DISTINCT id FROM model ORDER BY id').all() as { id: string }[];
    return rows.map(({ id }) => id);
  }

  /** @throws MacroError MODEL_UNKNOWN */
  read(id: string): Bundle {
    if (this.last?.digest !== id) this.last = bundleFromFiles(this.files(id));
    return this.last;
  }

  /** The files of a bundle by name. @throws MacroError MODEL_UNKNOWN */
  files(id: string): Map<string, Uint8Array> {
    const rows = this.database.prepare('SELECT file, sha256 FROM model WHERE id = ? ORDER BY file').all(id) as { file: string; sha256: string }[];
    if (rows.length === 0) throw new MacroError('MODEL_UNKNOWN', `there is no model "${id}"`, { field: 'model' });
    return new Map(rows.map(({ file, sha256 }) => [file, this.objects.get(sha256)]));
  }
}
