import type { Clock, Timer } from '../../firmware-protocol/clock.js';

interface Pending {
  readonly atMicroseconds: number;
  readonly order: number;
  readonly action: () => void;
}

/** Rounds of microtasks that are let through between two timers: promises of the code under test settle there. */
const microtaskRounds = 20;
const largestStepCount = 2_000_000;
/** What a bench does for ever, such as asking whether somebody is there, is no reason to wait for ever. */
const longestWaitMicroseconds = 4 * 3600 * 1e6;

/** Time that passes only when a test says so, in whole microseconds as that of a platform. Timers fire in the order of their time, then of their making. */
export class VirtualClock implements Clock {
  private now = 0;
  private made = 0;
  private pending: Pending[] = [];

  nowMicroseconds(): number {
    return this.now;
  }

  after(delayMicroseconds: number, action: () => void): Timer {
    const timer = { atMicroseconds: Math.ceil(this.now + Math.max(0, delayMicroseconds)), order: this.made, action };
    this.made += 1;
    this.pending.push(timer);
    return {
      cancel: () => {
        this.pending = this.pending.filter((other) => other !== timer);
      },
    };
  }

  get pendingTimers(): number {
    return this.pending.length;
  }

  /** Lets so much time pass. */
  async advance(microseconds: number): Promise<void> {
    const end = this.now + microseconds;
    await settle();
    for (let next = this.next(); next !== undefined && next.atMicroseconds <= end; next = this.next()) await this.fire(next);
    this.now = end;
  }

  /** Lets time pass until a promise settles. Fails where nothing is left that could make it. */
  async until<Value>(promise: Promise<Value>): Promise<Value> {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    await settle();
    const start = this.now;
    for (let step = 0; !isSettled; step += 1) {
      const next = this.next();
      const isHopeless = step > largestStepCount || this.now - start > longestWaitMicroseconds;
      if (next === undefined || isHopeless) throw new Error(`nothing is left to wait for at ${this.now} µs`);
      await this.fire(next);
    }
    return promise;
  }

  private next(): Pending | undefined {
    return this.pending.reduce<Pending | undefined>((first, timer) => {
      if (first === undefined || timer.atMicroseconds < first.atMicroseconds) return timer;
      return timer.atMicroseconds === first.atMicroseconds && timer.order < first.order ? timer : first;
    }, undefined);
  }

  private async fire(timer: Pending): Promise<void> {
    this.pending = this.pending.filter((other) => other !== timer);
    this.now = Math.max(this.now, timer.atMicroseconds);
    timer.action();
    await settle();
  }
}

async function settle(): Promise<void> {
  for (let round = 0; round < microtaskRounds; round += 1) await Promise.resolve();
}
