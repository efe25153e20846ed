import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { ErrorCode } from '../proto/error.js';
import type { Final, MethodName, Progress, Request } from '../proto/message.js';
import { energises, methodEffects } from '../proto/method.js';
import type { Outcome } from '../proto/outcome.js';
import { type Bench, Refusal, type Task } from './task.js';

/** A request that waits for the array, or has it. */
export interface Job {
  readonly id: string;
  readonly request: Request;
  readonly method: MethodName;
  readonly task: Task;
}

interface Entry extends Job {
  hasStarted: boolean;
  epochBefore: number;
  /** Why it ends at its next safe point. */
  ending: Ending | undefined;
}

interface Ending {
  readonly code: ErrorCode;
  readonly detail: string;
}

export interface WorkEvents {
  progress(job: Job, body: Omit<Progress, 'requestId'>): void;
  finished(job: Job, result: Partial<Final>): void;
  failed(job: Job, code: ErrorCode, detail: string, outcome: Outcome): void;
}

export interface WorkOptions {
  readonly clock: Clock;
  /** `real`: a step takes the time that the model accounts for it. */
  readonly pace: 'none' | 'real';
  linkTimeMicroseconds(): number;
}

/**
 * One array, one request at a time, step after step. Between two steps the line has its turn; there is a safe point where an effectful request
 * can end with a true word about what was done.
 */
export class WorkQueue {
  private entries: Entry[] = [];
  private timer: Timer | undefined;

  constructor(private readonly bench: Bench, private readonly options: WorkOptions, private readonly events: WorkEvents) {}

  get length(): number {
    return this.entries.length;
  }

  get energises(): boolean {
    return this.entries.some(({ method }) => energises(method));
  }

  get hasEffectful(): boolean {
    return this.entries.some(isEffectful);
  }

  has(id: string): boolean {
    return this.entries.some((entry) => entry.id === id);
  }

  add(job: Job): void {
    this.entries.push({ ...job, hasStarted: false, epochBefore: 0, ending: undefined });
    if (this.timer === undefined) this.work();
  }

  /** Ends a request: at once where nothing was begun that changes the array, at its next safe point where something was. */
  cancel(id: string): void {
    const entry = this.entries.find((candidate) => candidate.id === id);
    if (entry !== undefined) this.end(entry, { code: 'CANCELLED', detail: `${entry.method} was cancelled` });
  }

  /** Ends whatever energises, each as soon as it can. */
  endEnergising(code: ErrorCode, detail: string): void {
    for (const entry of this.entries.filter(({ method }) => energises(method))) this.end(entry, { code, detail });
  }

  /** Ends everything now: bias is off. */
  stop(code: ErrorCode, detail: string): void {
    const entries = this.entries;
    this.clear();
    for (const entry of entries) this.fail(entry, { code, detail });
  }

  /** Drops what changes nothing, without a word: whoever asked has gone. */
  dropPure(): void {
    this.remove(...this.entries.filter((entry) => !isEffectful(entry)));
  }

  clear(): void {
    this.entries = [];
    this.timer?.cancel();
    this.timer = undefined;
  }

  private end(entry: Entry, ending: Ending): void {
    if (entry.hasStarted && isEffectful(entry)) entry.ending ??= ending;
    else this.close(entry, ending);
  }

  private close(entry: Entry, ending: Ending): void {
    this.remove(entry);
    this.fail(entry, ending);
  }

  private remove(...gone: readonly Entry[]): void {
    const isWorking = gone.some((entry) => entry === this.entries[0]);
    this.entries = this.entries.filter((entry) => !gone.includes(entry));
    if (isWorking) this.schedule(0, () => this.work());
  }

  /** What is said of a request that ends early: whether it has changed the array is what the array epoch says. */
  private fail(entry: Entry, { code, detail }: Ending): void {
    const isApplied = entry.hasStarted && isEffectful(entry) && this.bench.chip.arrayEpoch !== entry.epochBefore;
    try {
      if (isApplied) this.bench.persist();
      this.events.failed(entry, code, detail, isApplied ? 'applied' : 'not-applied');
    } catch (error) {
      this.events.failed(entry, 'INTERNAL_ERROR', error instanceof Error ? error.message : String(error), 'unknown');
    }
  }

  private schedule(delayMicroseconds: number, action: () => void): void {
    this.timer?.cancel();
    this.timer = undefined;
    if (this.entries.length === 0) return;
    this.timer = this.options.clock.after(delayMicroseconds, () => {
      this.timer = undefined;
      action();
    });
  }

  private work(): void {
    const entry = this.entries[0];
    if (entry === undefined) return;
    const { deadlineMicroseconds } = entry.request;
    const isLate = deadlineMicroseconds > 0 && this.options.linkTimeMicroseconds() > deadlineMicroseconds;
    if (entry.ending !== undefined) this.close(entry, entry.ending);
    else if (isLate && !(entry.hasStarted && isEffectful(entry))) {
      this.close(entry, { code: 'DEADLINE_EXCEEDED', detail: `the deadline of ${entry.method} has passed` });
    } else this.step(entry);
  }

  private step(entry: Entry): void {
    const { macro, chip } = this.bench;
    if (!entry.hasStarted) entry.epochBefore = chip.arrayEpoch;
    entry.hasStarted = true;
    const nanosecondsBefore = macro.operationNanoseconds;
    const tell = this.stepped(entry);
    const delayMicroseconds = this.options.pace === 'real' ? (macro.operationNanoseconds - nanosecondsBefore) / 1000 : 0;
    const finish = () => {
      tell();
      if (this.timer === undefined) this.schedule(0, () => this.work());
    };
    if (delayMicroseconds > 0) this.schedule(delayMicroseconds, finish);
    else finish();
  }

  /**
   * Takes one step, and notes what it did. A chip that cannot be saved has been changed all the same: nobody may believe that nothing happened, nor
   * that all is well.
   * @returns what tells of it, when its time has passed
   */
  private stepped(entry: Entry): () => void {
    try {
      const { done, value } = entry.task.next();
      // What changes nothing drives the array all the same: that is noted once, when it has ended.
      if (done === true || isEffectful(entry)) this.bench.note();
      if (done !== true) return () => value && this.events.progress(entry, value);
      return () => {
        this.remove(entry);
        if (value instanceof Refusal) this.events.failed(entry, value.code, value.detail, 'not-applied');
        else this.events.finished(entry, { [entry.method]: value });
      };
    } catch (error) {
      return () => {
        this.remove(entry);
        this.events.failed(entry, 'INTERNAL_ERROR', error instanceof Error ? error.message : String(error), 'unknown');
      };
    }
  }
}

const isEffectful = ({ method }: Job) => methodEffects[method] === 'effectful';
