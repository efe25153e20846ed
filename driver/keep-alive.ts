import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Prng } from '../firmware-protocol/prng.js';
import type { Final } from '../proto/message.js';
import { idText, newRequestId } from './request.js';

/** A board that watches nobody is asked as often as if it watched with the usual patience. */
const usualDeadManMicroseconds = 2_000_000;
/** Questions of one dead-man time. */
const questionsPerDeadMan = 3;
const idleIntervalMicroseconds = 10_000_000;
const patienceFloorMicroseconds = 10_000_000;
/** Frames that may stand before a question on a slow line: a window each way. */
const framesAhead = 64;

export interface KeepAliveEvents {
  /** Sends a NoOperation. */
  ask(requestId: Uint8Array): void;
  isBusy(): boolean;
  answered(sentAtMicroseconds: number, boardMicroseconds: number): void;
  /** The link carries frames and nobody behind it answers. */
  hung(detail: string): void;
}

/**
 * Asks the board for its time: a third of the dead-man time after the last question while requests are under way, so that the board knows that somebody
 * is there, and now and then when it is idle, so that a dead line and a hung board are found before they are needed.
 */
export class KeepAlive {
  private timer: Timer | undefined;
  private asked: { id: string; atMicroseconds: number } | undefined;
  private lastAskedAtMicroseconds = 0;
  private heardAtMicroseconds = 0;
  private intervalMicroseconds = 0;

  constructor(
    private readonly clock: Clock, private readonly prng: Prng, private readonly frameTimeMicroseconds: number, private readonly events: KeepAliveEvents,
  ) {}

  /** A session is open. @param deadManMicroseconds as the board stated it; 0: it watches nobody */
  start(deadManMicroseconds: number): void {
    this.stop();
    this.intervalMicroseconds = (deadManMicroseconds === 0 ? usualDeadManMicroseconds : deadManMicroseconds) / questionsPerDeadMan;
    this.heardAtMicroseconds = this.clock.nowMicroseconds();
    this.lastAskedAtMicroseconds = this.heardAtMicroseconds;
    this.schedule();
  }

  stop(): void {
    this.timer?.cancel();
    this.asked = undefined;
  }

  /** A message of any kind has come: somebody is there. @returns whether it was the answer to a question of ours */
  take(final: Final | null | undefined): boolean {
    const now = this.clock.nowMicroseconds();
    this.heardAtMicroseconds = now;
    if (!final || this.asked === undefined || idText(final.requestId) !== this.asked.id) return false;
    const { atMicroseconds } = this.asked;
    this.asked = undefined;
    if (final.noOperation) this.events.answered(atMicroseconds, final.noOperation.linkTimeMicroseconds);
    return true;
  }

  private schedule(): void {
    this.timer = this.clock.after(this.intervalMicroseconds, () => {
      this.schedule();
      this.look();
    });
  }

  private look(): void {
    const now = this.clock.nowMicroseconds();
    if (this.asked !== undefined) {
      const patience = Math.max(patienceFloorMicroseconds, framesAhead * this.frameTimeMicroseconds);
      const silence = now - Math.max(this.asked.atMicroseconds, this.heardAtMicroseconds);
      if (silence > patience) this.events.hung(`the board acknowledges frames and has answered nothing for ${Math.round(silence / 1000)} ms`);
      return;
    }
    if (!this.events.isBusy() && now - this.lastAskedAtMicroseconds < idleIntervalMicroseconds) return;
    const requestId = newRequestId(this.prng);
    this.asked = { id: idText(requestId), atMicroseconds: now };
    this.lastAskedAtMicroseconds = now;
    this.events.ask(requestId);
  }
}
