import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Priority } from '../firmware-protocol/link.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { noWireStatistics, type WireStatistics } from '../firmware-protocol/wire.js';
import { MacroError } from '../proto/error.js';
import type { DeviceMessage, HelloAck, HostMessage, Telemetry } from '../proto/message.js';
import { type ClockEstimate, ClockModel } from './clock-model.js';
import { EmergencyStop } from './emergency-stop.js';
import { KeepAlive } from './keep-alive.js';
import { type BoardLog, Session } from './session.js';

export interface ConnectionOptions {
  /** Opens the line. Called again, with backoff, until the connection is closed. */
  readonly connect: () => Promise<ByteChannel>;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly hostVersion: string;
  readonly leaseEpoch: number;
  readonly frameTimeMicroseconds: number;
  readonly deadManMilliseconds: number;
}

export interface ConnectionEvents {
  opened(identity: HelloAck, hasRestarted: boolean): void;
  /** The line is gone; it is tried again without being asked. */
  lost(error: MacroError): void;
  message(message: DeviceMessage): void;
  telemetry(sample: Telemetry): void;
  /** There may be room for more on the line. */
  room(): void;
  log(log: BoardLog): void;
  noise(detail: string): void;
  /** Whether requests are under way. */
  isBusy(): boolean;
}

const backoffMilliseconds = [50, 100, 200, 500, 1000, 2000] as const;
/** A dead-man time must outlast so many frames of a slow line. */
const deadManFrames = 16;
const usualDeadManMilliseconds = 2_000;

/** A TCP connection to an address that swallows packets takes the system two minutes to give up. */
const connectMicroseconds = 10_000_000;

function discard(channel: ByteChannel): void {
  channel.attach({ data: () => undefined, drain: () => undefined, close: () => undefined });
  channel.close();
}

const unreachable = (error: unknown) =>
  new MacroError('DEVICE_UNREACHABLE', error instanceof Error ? error.message : String(error), { cause: error });

/** The line to one board, kept up for ever: sessions that come and go, what is known of the board, its clock, and the ESTOP that must reach it. */
export class Connection {
  private session: Session | undefined;
  private known: HelloAck | undefined;
  private isClosed = false;
  private opened = false;
  private sessionCount = 0;
  private attempt = 0;
  private retryTimer: Timer | undefined;
  private connecting: Promise<void> = Promise.resolve();
  private readonly clockModel = new ClockModel();
  private readonly stop: EmergencyStop;
  private readonly keepAlive: KeepAlive;

  constructor(private readonly options: ConnectionOptions, private readonly events: ConnectionEvents) {
    const { clock, prng, frameTimeMicroseconds } = options;
    this.stop = new EmergencyStop(clock, frameTimeMicroseconds, () => this.drop(new MacroError('DEVICE_LOST', 'ESTOP is not answered: the line is dead')));
    this.keepAlive = new KeepAlive(clock, prng, frameTimeMicroseconds, {
      ask: (requestId) => this.ask(requestId),
      isBusy: () => events.isBusy(),
      answered: (sentAtMicroseconds, boardMicroseconds) => this.clockModel.add(sentAtMicroseconds, boardMicroseconds, clock.nowMicroseconds()),
      hung: (detail) => this.drop(new MacroError('DEVICE_LOST', detail)),
    });
    this.connect();
  }

  get isOpen(): boolean {
    return this.opened;
  }

  /** What HELLO_ACK said, of this session or the last one. */
  get identity(): HelloAck | undefined {
    return this.known;
  }

  /** Rises with every session that was opened. */
  get sessions(): number {
    return this.sessionCount;
  }

  get hasRoom(): boolean {
    return this.session?.hasRoom ?? false;
  }

  get statistics(): WireStatistics {
    return this.session?.statistics ?? noWireStatistics;
  }

  get leaseEpoch(): number {
    return this.options.leaseEpoch;
  }

  get clockEstimate(): ClockEstimate | undefined {
    return this.clockModel.estimate(this.options.clock.nowMicroseconds());
  }

  /** The board has said its link time in an answer. */
  clockSample(sentAtMicroseconds: number, boardMicroseconds: number): void {
    this.clockModel.add(sentAtMicroseconds, boardMicroseconds, this.options.clock.nowMicroseconds());
  }

  send(message: HostMessage, priority: Priority): void {
    this.session?.send(message, priority);
  }

  /** Sends what `action` queues as few, large writes. */
  together(action: () => void): void {
    if (this.session === undefined) action();
    else this.session.together(action);
  }

  emergencyStop(): Promise<boolean> {
    return this.isClosed ? Promise.resolve(false) : this.stop.request();
  }

  /** Gives the session up and begins another. */
  drop(error: MacroError): void {
    this.session?.close();
    this.lose(error);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.opened = false;
    this.retryTimer?.cancel();
    this.stop.close();
    this.keepAlive.stop();
    this.session?.close();
    this.session = undefined;
    await this.connecting;
  }

  private ask(requestId: Uint8Array): void {
    this.send({ request: { requestId, deadlineMicroseconds: 0, leaseEpoch: this.options.leaseEpoch, noOperation: {} } }, 'control');
  }

  /** An attempt that neither opens nor fails is given up; what it opens after all is closed. */
  private connect(): void {
    this.connecting = new Promise<void>((resolve) => {
      let isGivenUp = false;
      const timer = this.options.clock.after(connectMicroseconds, () => {
        isGivenUp = true;
        this.lose(new MacroError('DEVICE_UNREACHABLE', `the line has not opened within ${connectMicroseconds / 1e6} s`));
        resolve();
      });
      const settle = (action: () => void) => {
        timer.cancel();
        if (!isGivenUp) action();
        resolve();
      };
      this.options.connect().then(
        (channel) => {
          if (isGivenUp || this.isClosed) discard(channel);
          settle(() => this.open(channel));
        },
        (error: unknown) => settle(() => this.lose(unreachable(error))),
      );
    });
  }

  private open(channel: ByteChannel): void {
    if (this.isClosed) return;
    const { clock, prng, hostVersion, leaseEpoch, frameTimeMicroseconds, deadManMilliseconds } = this.options;
    const leastMilliseconds = (deadManFrames * frameTimeMicroseconds) / 1000;
    const patient = leastMilliseconds > (deadManMilliseconds || usualDeadManMilliseconds) ? Math.ceil(leastMilliseconds) : deadManMilliseconds;
    const options = { number: prng.nextUint32(), leaseEpoch, hostVersion, frameTimeMicroseconds, deadManMilliseconds: patient };
    const { events } = this;
    const session: Session = new Session(channel, clock, options, {
      opened: (identity, helloSentAtMicroseconds) => this.meet(identity, helloSentAtMicroseconds),
      message: (message) => {
        if (!this.keepAlive.take(message.final)) events.message(message);
      },
      telemetry: (sample) => events.telemetry(sample),
      stopAnswered: () => this.stop.answered(),
      log: (log) => events.log(log),
      room: () => events.room(),
      ended: (error) => this.lose(error),
      noise: (detail) => events.noise(detail),
    });
    this.session = session;
    this.stop.attach(() => session.emergencyStop());
    session.start();
  }

  private meet(identity: HelloAck, helloSentAtMicroseconds: number): void {
    const before = this.known;
    const hasRestarted = before !== undefined && Buffer.compare(before.bootId, identity.bootId) !== 0;
    this.known = identity;
    this.opened = true;
    this.sessionCount += 1;
    this.attempt = 0;
    if (hasRestarted) this.clockModel.forget();
    this.clockSample(helloSentAtMicroseconds, identity.linkTimeMicroseconds);
    this.stop.agreed(identity.protocol);
    this.keepAlive.start(identity.deadManMilliseconds * 1000);
    this.events.opened(identity, hasRestarted);
  }

  private lose(error: MacroError): void {
    if (this.isClosed) return;
    this.session = undefined;
    this.opened = false;
    this.stop.detach();
    this.keepAlive.stop();
    const delay = backoffMilliseconds[Math.min(this.attempt, backoffMilliseconds.length - 1)];
    this.attempt += 1;
    this.retryTimer = this.options.clock.after(delay * 1000, () => this.connect());
    this.events.lost(error);
  }
}
