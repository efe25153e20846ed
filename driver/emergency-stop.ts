import type { Clock, Timer } from '../firmware-protocol/clock.js';

const intervalFloorMicroseconds = 10_000;
const attemptLimit = 100;
/** A board of protocol 1 obeys without an answer. */
const unansweredAttempts = 3;

/**
 * An ESTOP from when somebody asks for it until a board has answered it. It is repeated on the session that is open and begins every later one: a
 * line that breaks at the wrong moment must not swallow it.
 */
export class EmergencyStop {
  private isWanted = false;
  private attempts = 0;
  private isAnswerable = true;
  private send: (() => void) | undefined;
  private timer: Timer | undefined;
  private waiters: ((isAnswered: boolean) => void)[] = [];

  /** @param dead is called when a line has swallowed a hundred of them */
  constructor(private readonly clock: Clock, private readonly frameTimeMicroseconds: number, private readonly dead: () => void) {}

  /** Stops the board, now or as soon as it can be reached. Resolves with whether it answered; a board of protocol 1 never does. */
  request(): Promise<boolean> {
    const answered = new Promise<boolean>((resolve) => this.waiters.push(resolve));
    this.isWanted = true;
    this.begin();
    return answered;
  }

  /** A session begins; nothing has been sent on it yet. */
  attach(send: () => void): void {
    this.send = send;
    this.isAnswerable = true;
    if (this.isWanted) this.begin();
  }

  /** The session is over. */
  detach(): void {
    this.timer?.cancel();
    this.send = undefined;
  }

  /** What the board speaks is known now. */
  agreed(protocol: number): void {
    this.isAnswerable = protocol > 1;
  }

  answered(): void {
    if (this.isWanted) this.conclude(true);
  }

  /** Nobody will repeat it any more. */
  close(): void {
    this.detach();
    this.conclude(false);
  }

  private begin(): void {
    this.attempts = 0;
    this.repeat();
  }

  private repeat(): void {
    this.timer?.cancel();
    if (this.send === undefined) return;
    if (this.attempts === attemptLimit) {
      this.dead();
      return;
    }
    this.attempts += 1;
    this.send();
    if (!this.isAnswerable && this.attempts >= unansweredAttempts) this.conclude(false);
    else this.timer = this.clock.after(Math.max(intervalFloorMicroseconds, 4 * this.frameTimeMicroseconds), () => this.repeat());
  }

  private conclude(isAnswered: boolean): void {
    this.timer?.cancel();
    this.isWanted = false;
    for (const resolve of this.waiters.splice(0)) resolve(isAnswered);
  }
}
