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
  /** @returns what cancels the timer */
  setTimer(action: () => void, delayMilliseconds: number): () => void;
}

/** A clock on a platform's own monotonic time and timers. */
export function platformClock(platform: Platform): Clock {
  return {
    nowMicroseconds: () => Math.round(platform.nowMilliseconds() * 1000),
    after: (delayMicroseconds, action) => ({ cancel: platform.setTimer(action, Math.max(0, delayMicroseconds) / 1000) }),
  };
}
