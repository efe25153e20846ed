import { MacroError } from '../../proto/error.js';
import type { BusEvent } from '../../server/event-bus.js';
import { isEnded, type Job, type JobState } from '../../server/job/state.js';
import type { JobStore } from '../../server/job/store.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

/** Which states may follow which, as docs/architecture.md draws them; written down a second time so that the two can differ. */
const successors: Readonly<Record<JobState, readonly JobState[]>> = {
  QUEUED: ['RUNNING', 'STOPPED'],
  RUNNING: ['SUCCEEDED', 'FAILED', 'STOPPED', 'INTERRUPTED'],
  SUCCEEDED: [], FAILED: [], STOPPED: [], INTERRUPTED: [],
};

/** What a user was told of his jobs, over all lives of the service. */
export class JobWatch {
  private readonly states = new Map<string, JobState>();
  private readonly started = new Set<string>();

  constructor(private readonly trace: Trace, private readonly verdict: Verdict) {}

  /** Submitting has returned: from now on the job may not be lost. */
  accepted(job: Job): void {
    if (!this.states.has(job.id)) this.states.set(job.id, job.state);
  }

  heard({ topic, jobId = '', data }: BusEvent): void {
    this.trace.tell(topic, `${jobId} ${JSON.stringify(data)}`);
    if (topic !== 'job') return;
    const { state } = data as { state: JobState };
    const before = this.states.get(jobId);
    const isLegal = before === undefined ? state === 'QUEUED' : successors[before].includes(state);
    this.verdict.expect(isLegal, () => `job ${jobId} went from ${before ?? 'nothing'} to ${state}`);
    this.states.set(jobId, state);
  }

  /** The work of a job begins: once in all lives of the service. */
  begins(jobId: string): void {
    this.verdict.expect(!this.started.has(jobId), () => `the work of job ${jobId} was begun a second time`);
    this.started.add(jobId);
  }

  /** Compares what users were told with the store of a service that has just been opened, before it does anything. */
  checkStore(store: JobStore): void {
    for (const [id, state] of this.states) {
      const now = stateIn(store, id);
      this.verdict.expect(now === state, () => `job ${id} was ${state}; after the crash it is ${now}`);
    }
  }

  /** After the service has started again: what ran is interrupted. */
  checkInterrupted(wasRunning: readonly string[], store: JobStore): void {
    for (const id of wasRunning) {
      const now = stateIn(store, id);
      this.verdict.expect(now === 'INTERRUPTED', () => `job ${id} ran when the service died and is ${now}`);
    }
  }

  running(): string[] {
    return [...this.states].filter(([, state]) => state === 'RUNNING').map(([id]) => id);
  }

  get unfinished(): string[] {
    return [...this.states].filter(([, state]) => !isEnded(state)).map(([id, state]) => `${id} ${state}`);
  }

  get counts(): string {
    const counts = new Map<JobState, number>();
    for (const state of this.states.values()) counts.set(state, (counts.get(state) ?? 0) + 1);
    return [...counts].map(([state, count]) => `${count} ${state.toLowerCase()}`).join(', ');
  }
}

function stateIn(store: JobStore, id: string): JobState | 'lost' {
  try {
    return store.get(id).state;
  } catch (error) {
    if (MacroError.from(error).code === 'JOB_UNKNOWN') return 'lost';
    throw error;
  }
}
