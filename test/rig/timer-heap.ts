/** A timer that waits: when it is due, and which of two that are due at once was made first. */
export interface WaitingTimer {
  readonly atMicroseconds: number;
  readonly order: number;
  readonly action: () => void;
  isCancelled: boolean;
}

const isBefore = (left: WaitingTimer, right: WaitingTimer) =>
  left.atMicroseconds < right.atMicroseconds || (left.atMicroseconds === right.atMicroseconds && left.order < right.order);

/** Timers by their time, then by their making: a binary heap. One that is cancelled is passed over when its turn comes. */
export class TimerHeap {
  private readonly timers: WaitingTimer[] = [];

  push(timer: WaitingTimer): void {
    const { timers } = this;
    let at = timers.push(timer) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(timer, timers[above])) break;
      timers[at] = timers[above];
      at = above;
    }
    timers[at] = timer;
  }

  /** The next timer that is due and was not cancelled; it stays. */
  peek(): WaitingTimer | undefined {
    while (this.timers.length > 0 && this.timers[0].isCancelled) this.removeFirst();
    return this.timers[0];
  }

  removeFirst(): void {
    const { timers } = this;
    const last = timers.pop();
    if (last === undefined || timers.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= timers.length) break;
      const child = left + 1 < timers.length && isBefore(timers[left + 1], timers[left]) ? left + 1 : left;
      if (!isBefore(timers[child], last)) break;
      timers[at] = timers[child];
      at = child;
    }
    timers[at] = last;
  }
}
