/** A pending timer. Cancelling one that has fired or was cancelled does nothing. */
export interface Timer {
  cancel(): void;
}

/** The only source of time. Monotonic; its zero is arbitrary. */
export interface Clock {
  nowMicroseconds(): number;
  /** Calls `action` once, `delayMicroseconds` from now or later; never from inside this call. */
  after(delayMicroseconds: number, action: () => void): Timer;
}

/** What a platform lends to make a clock: this folder may not name the platform itself. */
export interface Platform {
  nowMilliseconds(): number;
  setTimer(action: () => void, delayMilliseconds: number): unknown;
  clearTimer(handle: unknown): void;
}

/** A clock on a platform's own monotonic time and timers. */
export function platformClock(platform: Platform): Clock {
  return {
    nowMicroseconds: () => Math.round(platform.nowMilliseconds() * 1000),
    after(delayMicroseconds, action) {
      const handle = platform.setTimer(action, Math.max(0, delayMicroseconds) / 1000);
      return { cancel: () => platform.clearTimer(handle) };
    },
  };
}
