import { type Clock, platformClock } from '../firmware-protocol/clock.js';

/** The clock of this machine: monotonic, microseconds since the process began. */
export const systemClock: Clock = platformClock({
  nowMilliseconds: () => performance.now(),
  setTimer(action, delayMilliseconds) {
    const timer = setTimeout(action, delayMilliseconds);
    return () => clearTimeout(timer);
  },
});
