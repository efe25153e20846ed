import type { Clock, Timer } from '../../firmware-protocol/clock.js';
import { TimerHeap, type WaitingTimer } from './timer-heap.js';

const largestStepCount = 2_000_000;
/** What a bench does for ever, such as asking whether somebody is there, is no reason to wait for ever. */
const longestWaitMicroseconds = 4 * 3600 * 1e6;

/** Time that passes only when a test says so, in whole microseconds as that of a platform. Timers fire in the order of their time, then of their making. */
export class VirtualClock implements Clock {
  private now = 0;
  private made = 0;
  private waiting = 0;
  private readonly heap = new TimerHeap();

  nowMicroseconds(): number {
    return this.now;
  }

  after(delayMicroseconds: number, action: () => void): Timer {
    const timer: WaitingTimer = { atMicroseconds: Math.ceil(this.now + Math.max(0, delayMicroseconds)), order: this.made, action, isCancelled: false };
    this.made += 1;
    this.waiting += 1;
    this.heap.push(timer);
    return {
      cancel: () => {
        if (timer.isCancelled) return;
        timer.isCancelled = true;
        this.waiting -= 1;
      },
    };
  }

  get pendingTimers(): number {
    return this.waiting;
  }

  /** Lets so much time pass. */
  async advance(microseconds: number): Promise<void> {
    const end = this.now + microseconds;
    await settle();
    while (await this.step(end));
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
      const isTooLong = step > largestStepCount || this.now - start > longestWaitMicroseconds;
      if (isTooLong || !(await this.step())) throw new Error(`nothing is left to wait for at ${this.now} µs`);
    }
    return promise;
  }

  /** Fires the next timer, if it is due by `endMicroseconds`, and lets all promises settle that it resolved. @returns whether there was one */
  async step(endMicroseconds = Number.POSITIVE_INFINITY): Promise<boolean> {
    const next = this.heap.peek();
    if (next === undefined || next.atMicroseconds > endMicroseconds) return false;
    this.heap.removeFirst();
    this.waiting -= 1;
    next.isCancelled = true; // cancelling what has fired does nothing
    this.now = Math.max(this.now, next.atMicroseconds);
    next.action();
    await settle();
    return true;
  }
}

/** All microtasks that are due, and those that they queue, run before the event loop goes on. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
