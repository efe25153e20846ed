import type { Clock, Timer } from '../firmware-protocol/clock.js';

const milliseconds = { least: 100, most: 60_000, usual: 2_000 } as const;
const readingMicroseconds = 1_000;

/** What the watch has to know of the board. */
export interface Watched {
  /** When the last valid frame of the session arrived. */
  heardAtMicroseconds(): number;
  energises(): boolean;
}

/** Bias must not outlast a silent host: while anything energises the array somebody must be heard (PROTOCOL.md §"Dead-man (2)"). */
export class DeadMan {
  private inForceMicroseconds = 0;
  private timer: Timer | undefined;

  constructor(private readonly clock: Clock, private readonly watched: Watched, private readonly silent: (detail: string) => void) {}

  /** In force; 0: nobody watches. */
  get milliseconds(): number {
    return this.inForceMicroseconds / 1000;
  }

  /** A session is open. @param askedMilliseconds 0: as the board likes */
  begin(protocol: number, askedMilliseconds: number): void {
    const { least, most, usual } = milliseconds;
    const asked = askedMilliseconds === 0 ? usual : Math.min(most, Math.max(least, askedMilliseconds));
    // A host of protocol 1 does not know that it must be heard.
    this.inForceMicroseconds = protocol === 1 ? 0 : asked * 1000;
    this.watch();
  }

  /** Something may energise the array from here on. The timer fires early where the host was heard since. */
  watch(delayMicroseconds = this.inForceMicroseconds): void {
    if (this.timer !== undefined || this.inForceMicroseconds === 0 || !this.watched.energises()) return;
    this.timer = this.clock.after(delayMicroseconds, () => this.check(false));
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  /** @param isRead whether what had arrived was read: a controller that was busy with one long step has to look at its line first */
  private check(isRead: boolean): void {
    this.timer = undefined;
    const left = this.watched.heardAtMicroseconds() + this.inForceMicroseconds - this.clock.nowMicroseconds();
    if (left > 0 || !this.watched.energises()) this.watch(Math.max(0, left));
    else if (!isRead) this.timer = this.clock.after(readingMicroseconds, () => this.check(true));
    else {
      this.silent(`no valid frame of the host for ${this.milliseconds} ms`);
      this.watch();
    }
  }
}
