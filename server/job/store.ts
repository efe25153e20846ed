import { MacroError } from '../../proto/error.js';
import { type Database, transaction } from '../store/database.js';
import { applyEvent, type Job, type JobEvent, type JobState, jobStates } from './state.js';

export interface JobFilter {
  readonly state?: JobState;
  readonly device?: string;
  /** At most so many. */
  readonly limit?: number;
  /** Only jobs submitted before the one with this id; newest come first. */
  readonly before?: string;
}

interface JobRow { id: string; view: string }

const defaultLimit = 50;
const largestInferenceNumber = 2 ** 32;

/**
 * Jobs as events in SQLite. An event is on disk when the call that appended it returns; the view of a job is derived from its events in the
 * same transaction, so the two cannot differ.
 */
export class JobStore {
  constructor(private readonly database: Database, private readonly nowMilliseconds: () => number, private readonly newId: () => string) {}

  /** Accepts a job. */
  create(kind: string, device: string, parameters: unknown): Job {
    return this.append(this.newId(), { kind: 'submitted', jobKind: kind, device, parameters });
  }

  /** @throws MacroError JOB_STATE_CONFLICT where the event is not legal now */
  append(id: string, event: JobEvent): Job {
    return transaction(this.database, () => {
      const before = this.find(id);
      const timed = { ...event, atMilliseconds: this.nowMilliseconds() };
      const job = applyEvent(id, before, timed);
      const view = JSON.stringify(job);
      if (before === undefined) this.database.prepare('INSERT INTO job (id, state, view) VALUES (?, ?, ?)').run(id, job.state, view);
      else this.database.prepare('UPDATE job SET state = ?, view = ? WHERE id = ?').run(job.state, view, id);
      this.database
        .prepare('INSERT INTO job_event (job, number, event) VALUES (?1, (SELECT COUNT(*) FROM job_event WHERE job = ?1), ?2)')
        .run(id, JSON.stringify(timed));
      return job;
    });
  }

  /** @throws MacroError JOB_UNKNOWN */
  get(id: string): Job {
    const job = this.find(id);
    if (job === undefined) throw new MacroError('JOB_UNKNOWN', `there is no job "${id}"`, { field: 'id' });
    return job;
  }

  /** The events of a job, oldest first. */
  events(id: string): unknown[] {
    const rows = this.database.prepare('SELECT event FROM job_event WHERE job = ? ORDER BY number').all(id) as { event: string }[];
    return rows.map(({ event }) => JSON.parse(event));
  }

  /** Jobs, newest first. @throws MacroError JOB_UNKNOWN where `before` is none */
  list({ state, device, limit = defaultLimit, before }: JobFilter = {}): Job[] {
    const rows = this.database
      .prepare(
        `SELECT id, view FROM job WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR json_extract(view, '$.device') = ?2)
         AND (?3 IS NULL OR number < ?3) ORDER BY number DESC LIMIT ?4`,
      )
      .all(state ?? null, device ?? null, before === undefined ? null : this.numberOf(before), limit) as JobRow[];
    return rows.map(({ view }) => JSON.parse(view) as Job);
  }

  /** Queued jobs of a device, oldest first. */
  queued(device: string): Job[] {
    return this.list({ state: 'QUEUED', device, limit: -1 }).reverse();
  }

  /** How many jobs are in each state. */
  counts(): Record<JobState, number> {
    const counts = Object.fromEntries(jobStates.map((state) => [state, 0])) as Record<JobState, number>;
    const rows = this.database.prepare('SELECT state, COUNT(*) AS count FROM job GROUP BY state').all() as { state: JobState; count: number }[];
    for (const { state, count } of rows) counts[state] = count;
    return counts;
  }

  saveCheckpoint(id: string, name: string, data: unknown): void {
    this.database.prepare('INSERT OR REPLACE INTO checkpoint (job, name, data) VALUES (?, ?, ?)').run(id, name, JSON.stringify(data));
  }

  checkpoint(id: string, name: string): unknown {
    const row = this.database.prepare('SELECT data FROM checkpoint WHERE job = ? AND name = ?').get(id, name) as { data: string } | undefined;
    return row === undefined ? undefined : JSON.parse(row.data);
  }

  /** A checkpoint of the last job that asked for the same of the same device before this one, and left one; jobs before one that succeeded do not count. */
  earlierCheckpoint({ id, kind, device, parameters }: Job, name: string): unknown {
    const rows = this.database
      .prepare(
        `SELECT id, state FROM job WHERE number < (SELECT number FROM job WHERE id = ?1) AND json_extract(view, '$.kind') = ?2
         AND json_extract(view, '$.device') = ?3 AND json_extract(view, '$.parameters') = ?4 ORDER BY number DESC`,
      )
      .all(id, kind, device, JSON.stringify(parameters)) as { id: string; state: JobState }[];
    for (const row of rows) {
      if (row.state === 'SUCCEEDED') return undefined;
      const data = this.checkpoint(row.id, name);
      if (data !== undefined) return data;
    }
    return undefined;
  }

  addResult(id: string, index: number, row: unknown): void {
    this.database.prepare('INSERT OR REPLACE INTO result (job, number, data) VALUES (?, ?, ?)').run(id, index, JSON.stringify(row));
  }

  /** Result rows from an index on, in order; read as they are asked for. */
  *results(id: string, from = 0): Generator<unknown> {
    const select = this.database.prepare('SELECT number, data FROM result WHERE job = ? AND number >= ? ORDER BY number LIMIT 256');
    for (let next = from; ; ) {
      const rows = select.all(id, next) as { number: number; data: string }[];
      for (const { data } of rows) yield JSON.parse(data);
      const last = rows.at(-1);
      if (last === undefined) return;
      next = last.number + 1;
    }
  }

  /** Takes a block of inference numbers for good: noise is keyed by them, so none is given out twice. @returns the first */
  takeInferenceNumbers(count: number): number {
    return transaction(this.database, () => {
      const row = this.database.prepare("SELECT value FROM counter WHERE name = 'inference'").get() as { value: number } | undefined;
      const first = row?.value ?? 0;
      if (first + count > largestInferenceNumber) throw new MacroError('INTERNAL_ERROR', 'the store has used all 2^32 inference numbers');
      this.database.prepare("INSERT OR REPLACE INTO counter (name, value) VALUES ('inference', ?)").run(first + count);
      return first;
    });
  }

  private find(id: string): Job | undefined {
    const row = this.database.prepare('SELECT view FROM job WHERE id = ?').get(id) as { view: string } | undefined;
    return row === undefined ? undefined : (JSON.parse(row.view) as Job);
  }

  private numberOf(id: string): number {
    const row = this.database.prepare('SELECT number FROM job WHERE id = ?').get(id) as { number: number } | undefined;
    if (row === undefined) throw new MacroError('JOB_UNKNOWN', `there is no job "${id}"`, { field: 'before' });
    return row.number;
  }
}
