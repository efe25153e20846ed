import type { LoggedRequest, RequestLog } from '../../driver/index.js';
import { isMethodName } from '../../proto/method.js';
import type { Outcome } from '../../proto/outcome.js';
import type { Database } from './database.js';

/** What is kept of requests that have ended, for people who ask what was done to a chip. */
const endedLimit = 10_000;

const table = `
  CREATE TABLE IF NOT EXISTS request (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    id BLOB NOT NULL,
    method TEXT NOT NULL,
    boot BLOB NOT NULL,
    request BLOB NOT NULL,
    outcome TEXT,
    UNIQUE (device, id)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS request_unended ON request (device) WHERE outcome IS NULL;
`;

interface Row {
  readonly id: Uint8Array;
  readonly method: string;
  readonly boot: Uint8Array;
  readonly request: Uint8Array;
}

/** The effectful requests of one device, on disk before their first byte is on the line: a commit here survives a power cut. */
export class StoredRequestLog implements RequestLog {
  readonly #insert;
  readonly #end;
  readonly #unended;
  readonly #forget;

  /** @param device whose requests these are: what the user calls it, which outlasts addresses */
  constructor(database: Database, private readonly device: string) {
    database.exec(table);
    this.#insert = database.prepare('INSERT INTO request (device, id, method, boot, request) VALUES (?, ?, ?, ?, ?)');
    this.#end = database.prepare('UPDATE request SET outcome = ? WHERE device = ? AND id = ?');
    this.#unended = database.prepare('SELECT id, method, boot, request FROM request WHERE device = ? AND outcome IS NULL ORDER BY number');
    const newest = `(SELECT number FROM request WHERE device = ? ORDER BY number DESC LIMIT 1 OFFSET ${endedLimit})`;
    this.#forget = database.prepare(`DELETE FROM request WHERE device = ? AND outcome IS NOT NULL AND number <= ${newest}`);
    this.#forget.run(device, device);
  }

  begin({ id, method, bootId, request }: LoggedRequest): void {
    this.#insert.run(this.device, id, method, bootId, request);
  }

  end(id: Uint8Array, outcome: Outcome): void {
    this.#end.run(outcome, this.device, id);
  }

  unended(): readonly LoggedRequest[] {
    const rows = this.#unended.all(this.device) as unknown as Row[];
    return rows.flatMap(({ id, method, boot, request }) => {
      const bytes = { id: new Uint8Array(id), bootId: new Uint8Array(boot), request: new Uint8Array(request) };
      return isMethodName(method) ? [{ ...bytes, method }] : [];
    });
  }
}
