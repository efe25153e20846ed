import type { Device } from '../../driver/index.js';
import type { Clock, Timer } from '../../firmware-protocol/clock.js';
import { MacroError } from '../../proto/error.js';
import type { Outcome } from '../../proto/outcome.js';
import type { EventBus, Topic } from '../event-bus.js';
import { isEnded, type Job, type JobEvent, type JobFailure } from './state.js';
import type { JobStore } from './store.js';

/** What a running job may use. */
export interface JobContext {
  readonly job: Job;
  readonly device: Device;
  /** Aborted when the job shall end at its next safe point. */
  readonly signal: AbortSignal;
  checkpoint(name: string, data: unknown): void;
  lastCheckpoint(name: string): unknown;
  result(index: number, row: unknown): void;
  progress(done: number, total: number, detail?: unknown): void;
  event(topic: Topic, data: unknown): void;
}

/** One kind of work. `run` resolves with the summary of a job that succeeded, and rejects with why it did not. */
export interface JobKind {
  readonly name: string;
  run(context: JobContext, parameters: unknown): Promise<unknown>;
}

/** Where the scheduler finds devices. */
export interface DeviceSource {
  device(id: string): Device;
  ids(): readonly string[];
}

interface Running {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  isStopping: boolean;
}

/** Jobs that may wait for one device. */
export const queueLimit = 1000;

/** The store did not take what had happened; it is offered again so often. */
const storeRetryMicroseconds = 1_000_000;

type Effects = Device['effects'];

/** What a job has done to its array, whatever request it failed at: the gravest of what became of its effectful requests. */
function outcomeSince(before: Effects, after: Effects): Outcome {
  if (after.unknown > before.unknown) return 'unknown';
  return after.applied > before.applied ? 'applied' : 'not-applied';
}

/** Of an error that nobody foresaw nobody can say what had been done by then. */
function failureOf(error: unknown, ofJob: Outcome): JobFailure {
  const { code, detail, outcome, field } = MacroError.from(error);
  const isUnknown = !(error instanceof MacroError) || outcome === 'unknown';
  return { code, detail, outcome: isUnknown ? 'unknown' : ofJob, ...(field !== undefined && { field }) };
}

/**
 * How a job ends that was not done. One that was stopped while something became unknown has not just stopped: that must not be hidden. A device that went
 * away has interrupted it, as the end of the service does: the same job, submitted again, finds what was done and does the rest.
 */
function endOf(error: unknown, ofJob: Outcome, { abort, isStopping }: Pick<Running, 'abort' | 'isStopping'>): JobEvent {
  const failure = failureOf(error, ofJob);
  if (abort.signal.aborted && failure.outcome !== 'unknown') return { kind: isStopping ? 'stopped' : 'interrupted' };
  const isInterrupted = error instanceof MacroError && error.isDeviceGone;
  return { kind: isInterrupted ? 'interrupted' : 'failed', failure };
}

/**
 * Runs jobs, one at a time on each device, in the order in which they were submitted. Whatever a job does, the next one runs. What was RUNNING when
 * service or device went away is INTERRUPTED and nothing is repeated; what was QUEUED goes on.
 */
export class Scheduler {
  private readonly kinds: ReadonlyMap<string, JobKind>;
  /** By device. */
  private readonly running = new Map<string, Running & { readonly jobId: string }>();
  /** By device: how its job has ended, until the store has taken it. */
  private readonly ends = new Map<string, JobEvent>();
  private retryTimer: Timer | undefined;
  private isClosed = false;

  constructor(
    private readonly store: JobStore, private readonly devices: DeviceSource, kinds: readonly JobKind[], private readonly bus: EventBus,
    private readonly clock: Clock,
  ) {
    this.kinds = new Map(kinds.map((kind) => [kind.name, kind]));
  }

  /** Ends what a crash left open, and starts what waits. Called once. */
  start(): void {
    for (const job of this.store.list({ state: 'RUNNING', limit: -1 })) this.publish(this.store.append(job.id, { kind: 'interrupted' }));
    for (const id of this.devices.ids()) this.advance(id);
  }

  /** @throws MacroError DEVICE_UNKNOWN, QUEUE_FULL, SERVICE_STOPPING */
  submit(kind: string, deviceId: string, parameters: unknown): Job {
    if (this.isClosed) throw new MacroError('SERVICE_STOPPING', 'the service is stopping');
    if (!this.kinds.has(kind)) {
      throw new MacroError('BAD_REQUEST', `there is no job kind "${kind}"; there are ${[...this.kinds.keys()].join(', ')}`, { field: 'kind' });
    }
    this.devices.device(deviceId);
    if (this.store.queued(deviceId).length >= queueLimit) throw new MacroError('QUEUE_FULL', `${queueLimit} jobs wait for ${deviceId}`);
    const job = this.store.create(kind, deviceId, parameters);
    this.publish(job);
    this.advance(deviceId);
    return this.store.get(job.id);
  }

  /**
   * Ends a job: a queued one at once, a running one at its next safe point.
   * @throws MacroError JOB_UNKNOWN, JOB_STATE_CONFLICT where it has ended
   */
  stop(jobId: string): Job {
    const job = this.store.get(jobId);
    if (isEnded(job.state)) throw new MacroError('JOB_STATE_CONFLICT', `job ${jobId} is ${job.state} and has nothing to stop`);
    const running = [...this.running.values()].find((candidate) => candidate.jobId === jobId);
    if (running === undefined) {
      const stopped = this.store.append(jobId, { kind: 'stopped' });
      this.publish(stopped);
      return stopped;
    }
    running.isStopping = true;
    running.abort.abort();
    return job;
  }

  /** Stops what runs at its next safe point and starts nothing more. Running jobs become INTERRUPTED, queued ones wait for the next start. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.retryTimer?.cancel();
    const ends = [...this.running.values()].map(({ abort, ended }) => {
      abort.abort();
      return ended;
    });
    await Promise.all(ends);
  }

  /**
   * Records how the job of a device has ended and starts the next one. Where the store takes neither, it is asked again later: until the end is on
   * disk the job counts as running, and nothing else uses the device.
   */
  private advance(deviceId: string): void {
    try {
      this.recordEnd(deviceId);
      this.startNext(deviceId);
    } catch (error) {
      this.bus.publish({ topic: 'log', deviceId, data: { level: 'error', text: `the store fails: ${MacroError.from(error).detail}` } });
      if (!this.isClosed) this.retryTimer ??= this.clock.after(storeRetryMicroseconds, () => this.retry());
    }
  }

  private retry(): void {
    this.retryTimer = undefined;
    for (const id of this.devices.ids()) this.advance(id);
  }

  private recordEnd(deviceId: string): void {
    const end = this.ends.get(deviceId);
    const running = this.running.get(deviceId);
    if (end === undefined || running === undefined) return;
    const ended = this.store.append(running.jobId, end);
    this.ends.delete(deviceId);
    this.running.delete(deviceId);
    this.publish(ended);
  }

  private startNext(deviceId: string): void {
    if (this.isClosed || this.running.has(deviceId)) return;
    const job = this.store.queued(deviceId)[0];
    if (job === undefined) return;
    const started = this.store.append(job.id, { kind: 'started' });
    this.publish(started);
    const abort = new AbortController();
    const running = { jobId: job.id, abort, isStopping: false, ended: Promise.resolve() };
    this.running.set(deviceId, running);
    running.ended = this.run(started, running).then((end) => {
      this.ends.set(deviceId, end);
      this.advance(deviceId);
    });
  }

  /** @returns how it ended; never rejects */
  private async run(job: Job, running: Pick<Running, 'abort' | 'isStopping'>): Promise<JobEvent> {
    const kind = this.kinds.get(job.kind);
    const device = this.devices.device(job.device);
    const before = device.effects;
    try {
      if (kind === undefined) throw new MacroError('INTERNAL_ERROR', `this version does not know the job kind "${job.kind}"`);
      return { kind: 'succeeded', summary: await kind.run(this.contextOf(job, running.abort.signal), job.parameters) };
    } catch (error) {
      return endOf(error, outcomeSince(before, device.effects), running);
    }
  }

  private contextOf(job: Job, signal: AbortSignal): JobContext {
    const { store, bus } = this;
    const about = { deviceId: job.device, jobId: job.id };
    return {
      job,
      device: this.devices.device(job.device),
      signal,
      checkpoint: (name, data) => store.saveCheckpoint(job.id, name, data),
      lastCheckpoint: (name) => store.checkpoint(job.id, name),
      result: (index, row) => store.addResult(job.id, index, row),
      progress: (done, total, detail) => bus.publish({ topic: 'progress', ...about, data: { done, total, ...(detail !== undefined && { detail }) } }),
      event: (topic, data) => bus.publish({ topic, ...about, data }),
    };
  }

  private publish(job: Job): void {
    const { id, kind, state, failure } = job;
    this.bus.publish({ topic: 'job', deviceId: job.device, jobId: id, data: { id, kind, state, failure } });
  }
}
