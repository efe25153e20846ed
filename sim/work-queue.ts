import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { ErrorCode } from '../proto/error.js';
import type { Final, MethodName, Progress, Request } from '../proto/message.js';
import { energises, methodEffects } from '../proto/method.js';
import type { Outcome } from '../proto/outcome.js';
import { type Bench, isPulse, type PulseAhead, Refusal, type Task } from './task.js';

/** A request that waits for the array, or has it. */
export interface Job {
  readonly id: string;
  readonly request: Request;
  readonly method: MethodName;
  readonly task: Task;
}

interface Entry extends Job {
  hasStarted: boolean;
  /** When it began, by both clocks. */
  startedAtMicroseconds: number;
  startedAtNanoseconds: number;
  epochBefore: number;
  pulsesBefore: number;
  /** A pulse that is not over yet, where operations take time. */
  atHand: PulseAhead | undefined;
  /** Why it ends at its next safe point. */
  ending: Ending | undefined;
}

interface Ending {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** A pulse during which bias went off. */
export interface CutPulse {
  readonly widthNanoseconds: number;
  /** 0: it never reached its cell. */
  readonly drivenNanoseconds: number;
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

/** How often what has become over meanwhile is looked at. */
const lookMicroseconds = 1000;

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
    const notYet = { hasStarted: false, startedAtMicroseconds: 0, startedAtNanoseconds: 0, epochBefore: 0, pulsesBefore: 0 };
    this.entries.push({ ...job, ...notYet, atHand: undefined, ending: undefined });
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

  /** Ends everything now: bias is off, word lines first. @returns the pulse that was cut, and for how long its line was driven */
  stop(code: ErrorCode, detail: string): CutPulse | undefined {
    const entries = this.entries;
    this.clear();
    const cut = entries.map((entry) => this.cut(entry))[0];
    for (const entry of entries) this.fail(entry, { code, detail });
    return cut;
  }

  /** The gates close now: what should be over by now is over, and the pulse at hand lasted until now; none, where the gates had not opened yet. */
  private cut(entry: Entry): CutPulse | undefined {
    if (entry.atHand === undefined) return undefined;
    try {
      this.advance(entry);
    } catch {
      return undefined; // what cannot be saved is said where the request fails
    }
    const { atHand } = entry;
    if (atHand === undefined) return undefined;
    const { macro, chip } = this.bench;
    const { widthNanoseconds } = atHand.pulse;
    const opened = macro.operationNanoseconds + chip.profile.settlingNanoseconds / 2;
    const drivenNanoseconds = Math.min(widthNanoseconds, Math.max(0, Math.floor(-1000 * this.leftMicroseconds(entry, opened))));
    if (drivenNanoseconds > 0) atHand.give({ ...atHand.pulse, widthNanoseconds: drivenNanoseconds });
    return { widthNanoseconds, drivenNanoseconds };
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
    const { chip } = this.bench;
    // The epoch rises before the first pulse, which may have been cut before it reached its cell.
    const isGiven = entry.atHand === undefined || chip.pulses !== entry.pulsesBefore;
    const isApplied = entry.hasStarted && isEffectful(entry) && chip.arrayEpoch !== entry.epochBefore && isGiven;
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
    if (entry.ending !== undefined && entry.atHand === undefined) this.close(entry, entry.ending);
    else if (isLate && !(entry.hasStarted && isEffectful(entry))) {
      this.close(entry, { code: 'DEADLINE_EXCEEDED', detail: `the deadline of ${entry.method} has passed` });
    } else this.step(entry);
  }

  private begin(entry: Entry): void {
    const { macro, chip } = this.bench;
    entry.hasStarted = true;
    entry.startedAtMicroseconds = this.options.linkTimeMicroseconds();
    entry.startedAtNanoseconds = macro.operationNanoseconds;
    entry.epochBefore = chip.arrayEpoch;
    entry.pulsesBefore = isEffectful(entry) ? chip.pulses : 0;
  }

  /** How long it is until operation time, at the pace of the model, stands there. */
  private leftMicroseconds({ startedAtMicroseconds, startedAtNanoseconds }: Entry, operationNanoseconds: number): number {
    return startedAtMicroseconds + (operationNanoseconds - startedAtNanoseconds) / 1000 - this.options.linkTimeMicroseconds();
  }

  /** How long a pulse that comes next goes on; 0: it is over. */
  private leftOf(entry: Entry, { pulse }: PulseAhead): number {
    if (this.options.pace !== 'real') return 0;
    const { macro, chip } = this.bench;
    return Math.max(0, this.leftMicroseconds(entry, macro.operationNanoseconds + pulse.widthNanoseconds + chip.profile.settlingNanoseconds));
  }

  /** Goes on up to where there is something to tell, or to a pulse that is not over yet: that stays at hand. */
  private advance(entry: Entry): ReturnType<Task['next']> | undefined {
    for (;;) {
      if (entry.atHand === undefined) {
        const step = entry.task.next();
        if (step.done === true || !isPulse(step.value)) return step;
        entry.atHand = step.value;
      }
      if (this.leftOf(entry, entry.atHand) > 0) return undefined;
      entry.atHand.give(entry.atHand.pulse);
      entry.atHand = undefined;
      if (entry.ending !== undefined) return undefined;
    }
  }

  private step(entry: Entry): void {
    if (!entry.hasStarted) this.begin(entry);
    const tell = this.stepped(entry);
    if (tell === undefined) {
      // Many short pulses are given at once, when all of them are over.
      this.schedule(entry.atHand === undefined ? 0 : Math.max(lookMicroseconds, this.leftOf(entry, entry.atHand)), () => this.work());
      return;
    }
    const delayMicroseconds = this.options.pace === 'real' ? this.leftMicroseconds(entry, this.bench.macro.operationNanoseconds) : 0;
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
   * @returns what tells of it, when its time has passed; undefined while a pulse of it goes on
   */
  private stepped(entry: Entry): (() => void) | undefined {
    try {
      const step = this.advance(entry);
      // What changes nothing drives the array all the same: that is noted once, when it has ended.
      if (step?.done === true || isEffectful(entry)) this.bench.note();
      if (step === undefined) return undefined;
      const { done, value } = step;
      if (done !== true) return () => value && !isPulse(value) && this.events.progress(entry, value);
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
