import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Discarded, Frame } from '../firmware-protocol/frame.js';
import { maximumWindowFrames } from '../firmware-protocol/limits.js';
import type { Priority } from '../firmware-protocol/link.js';
import { commonVersion, protocolVersions, type VersionRange, versionMismatch } from '../firmware-protocol/version.js';
import { Wire, type WireStatistics } from '../firmware-protocol/wire.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec, logRecordCodec } from '../proto/codec.js';
import { isErrorCode, MacroError } from '../proto/error.js';
import { type DeviceMessage, type HelloAck, type HostMessage, type LogRecord, logLevels, type Telemetry } from '../proto/message.js';

const creditBytes = 60_000;
const helloIntervalMicroseconds = 250_000;
const helloAttempts = 8;

/** A record of the board's log, as people read it. */
export interface BoardLog {
  readonly level: (typeof logLevels)[number];
  readonly text: string;
  /** undefined where the board speaks protocol 1, which says only the text. */
  readonly record: LogRecord | undefined;
}

export interface SessionEvents {
  /** @param helloSentAtMicroseconds when the first HELLO was sent: the board read its clock after that */
  opened(identity: HelloAck, helloSentAtMicroseconds: number): void;
  message(message: DeviceMessage): void;
  /** A sample that came outside the reliable link. */
  telemetry(sample: Telemetry): void;
  stopAnswered(): void;
  log(log: BoardLog): void;
  room(): void;
  /** The session is over; nothing else is called. */
  ended(error: MacroError): void;
  noise(detail: string): void;
}

export interface SessionOptions {
  readonly number: number;
  readonly leaseEpoch: number;
  readonly hostVersion: string;
  readonly frameTimeMicroseconds: number;
  /** 0: as the board likes. */
  readonly deadManMilliseconds: number;
}

const decoder = new TextDecoder();

/** One conversation with a board, from HELLO until the line or one end gives it up. */
export class Session {
  private readonly wire: Wire;
  private identity: HelloAck | undefined;
  private helloTimer: Timer | undefined;
  private hellos = 0;
  private helloSentAtMicroseconds = 0;
  private isEnded = false;

  constructor(channel: ByteChannel, private readonly clock: Clock, private readonly options: SessionOptions, private readonly events: SessionEvents) {
    this.wire = new Wire(channel, clock, {
      frame: (frame) => this.takeFrame(frame),
      message: (payload) => this.takeMessage(payload),
      room: () => events.room(),
      down: (reason) => this.end(new MacroError('DEVICE_LOST', reason)),
      discarded: ({ reason, bytes }: Discarded) => events.noise(`${bytes} bytes discarded (${reason})`),
    });
  }

  /** Says HELLO, and again until it is answered. */
  start(): void {
    this.helloSentAtMicroseconds = this.clock.nowMicroseconds();
    this.sayHello();
  }

  get hasRoom(): boolean {
    return this.wire.hasRoom;
  }

  get statistics(): WireStatistics {
    return this.wire.statistics;
  }

  send(message: HostMessage, priority: Priority): void {
    this.wire.send(hostMessageCodec.encode(message), priority);
  }

  /** Sends what `action` queues as few, large writes. */
  together(action: () => void): void {
    this.wire.together(action);
  }

  /** Bias off, now: past window, queue and lease. */
  emergencyStop(): void {
    this.wire.sendFrame('ESTOP', this.options.number, new Uint8Array(0));
  }

  /** Ends the session without a call back. */
  close(): void {
    this.isEnded = true;
    this.helloTimer?.cancel();
    this.wire.close();
  }

  private sayHello(): void {
    if (this.isEnded) return;
    if (this.hellos === helloAttempts) {
      this.end(new MacroError('DEVICE_UNREACHABLE', 'the line is open and nobody answers HELLO'));
      return;
    }
    this.hellos += 1;
    const { number, leaseEpoch, hostVersion, deadManMilliseconds, frameTimeMicroseconds } = this.options;
    const hello = {
      protocolMinimum: protocolVersions.minimum, protocolMaximum: protocolVersions.maximum, hostVersion, windowFrames: maximumWindowFrames,
      creditBytes, leaseEpoch, capabilities: [], deadManMilliseconds,
    };
    this.wire.sendFrame('HELLO', number, helloCodec.encode(hello));
    // On a slow line an answer takes longer than the interval: HELLO there and HELLO_ACK back.
    const interval = Math.max(helloIntervalMicroseconds, 4 * frameTimeMicroseconds);
    this.helloTimer = this.clock.after(interval, () => this.sayHello());
  }

  private takeFrame(frame: Frame): void {
    if (this.isEnded) return;
    if (frame.type === 'LOG') this.takeLog(frame.payload);
    if (frame.session !== this.options.number) return; // of an earlier session
    if (frame.type === 'HELLO_ACK' && this.identity === undefined) this.open(frame.payload);
    if (frame.type === 'ESTOP') this.events.stopAnswered();
    if (frame.type === 'DATAGRAM') this.takeDatagram(frame.payload);
    if (frame.type === 'RESET') this.end(resetError(decoder.decode(frame.payload)));
  }

  private open(payload: Uint8Array): void {
    const identity = helloAckCodec.decode(payload);
    if (!identity.ok) {
      this.end(new MacroError('PROTOCOL_VIOLATION', identity.reason));
      return;
    }
    const { protocol, windowFrames, creditBytes: peerCreditBytes } = identity.value;
    const range = rangeOf(identity.value);
    if (commonVersion(range, protocolVersions) === undefined || protocol < protocolVersions.minimum || protocol > protocolVersions.maximum) {
      this.end(new MacroError('PROTOCOL_UNSUPPORTED', versionMismatch(range, protocolVersions)));
      return;
    }
    this.helloTimer?.cancel();
    this.identity = identity.value;
    this.wire.open({
      session: this.options.number,
      windowFrames: Math.max(1, Math.min(maximumWindowFrames, windowFrames)),
      receiveBytes: creditBytes,
      peerCreditBytes,
      frameTimeMicroseconds: this.options.frameTimeMicroseconds,
    });
    this.events.opened(identity.value, this.helloSentAtMicroseconds);
  }

  private takeMessage(payload: Uint8Array): void {
    const message = deviceMessageCodec.decode(payload);
    if (message.ok) this.events.message(message.value);
    else this.events.noise(`a message that is none: ${message.reason}`);
  }

  private takeDatagram(payload: Uint8Array): void {
    const message = deviceMessageCodec.decode(payload);
    if (message.ok && message.value.telemetry) this.events.telemetry(message.value.telemetry);
    else this.events.noise('a datagram that holds no telemetry');
  }

  private takeLog(payload: Uint8Array): void {
    if (this.identity !== undefined && this.identity.protocol > 1) {
      const record = logRecordCodec.decode(payload);
      if (record.ok) this.events.log({ level: logLevels[record.value.level] ?? 'info', text: record.value.text, record: record.value });
      else this.events.noise(`a log record that is none: ${record.reason}`);
    } else this.events.log({ level: 'info', text: decoder.decode(payload), record: undefined });
  }

  private end(error: MacroError): void {
    if (this.isEnded) return;
    this.close();
    this.events.ended(error);
  }
}

/** What a board could speak; one of protocol 1 says only what it does. */
function rangeOf({ protocol, protocolMinimum, protocolMaximum }: HelloAck): VersionRange {
  return protocolMaximum === 0 ? { minimum: protocol, maximum: protocol } : { minimum: protocolMinimum, maximum: protocolMaximum };
}

/** A board refuses or ends a session with RESET and a reason: `CODE detail`, or in protocol 1 only the detail. */
function resetError(text: string): MacroError {
  const [, code = '', detail = ''] = /^([A-Z_]+)\s+([\s\S]*)$/.exec(text) ?? [];
  if (code === 'PROTOCOL_UNSUPPORTED') return new MacroError(code, detail);
  const why = code !== '' && isErrorCode(code) ? detail : text;
  return new MacroError('DEVICE_LOST', why === '' ? 'the board ended the session' : `the board ended the session: ${why}`);
}
