import type { Clock, Timer } from '../../firmware-protocol/clock.js';

/** The clock of a part that can die, hang, and be looked at after each of its turns. */
export class GuardedClock implements Clock {
  private readonly waiting = new Set<Timer>();
  private isDead = false;
  private hungUntilMicroseconds = 0;

  constructor(private readonly clock: Clock, private readonly afterTurn: () => void = () => undefined) {}

  nowMicroseconds(): number {
    return this.clock.nowMicroseconds();
  }

  after(delayMicroseconds: number, action: () => void): Timer {
    let inner: Timer | undefined;
    const cancel = () => {
      if (inner !== undefined) this.waiting.delete(inner);
      inner?.cancel();
    };
    const arm = (delay: number) => {
      if (this.isDead) return;
      const timer = this.clock.after(delay, () => {
        this.waiting.delete(timer);
        const wait = this.hungMicroseconds;
        if (wait > 0) arm(wait);
        else this.take(action);
      });
      this.waiting.add(timer);
      inner = timer;
    };
    arm(delayMicroseconds);
    return { cancel };
  }

  /** Lets the part do something, now or when it no longer hangs; never when it is dead. */
  turn(action: () => void): void {
    if (this.hungMicroseconds > 0) this.after(this.hungMicroseconds, action);
    else if (!this.isDead) this.take(action);
  }

  hang(microseconds: number): void {
    this.hungUntilMicroseconds = this.clock.nowMicroseconds() + microseconds;
  }

  /** Nothing of the part happens any more, and nothing of it waits. */
  kill(): void {
    this.isDead = true;
    for (const timer of this.waiting) timer.cancel();
    this.waiting.clear();
  }

  private get hungMicroseconds(): number {
    return this.hungUntilMicroseconds - this.clock.nowMicroseconds();
  }

  private take(action: () => void): void {
    action();
    this.afterTurn();
  }
}
