import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Discarded, Frame } from '../firmware-protocol/frame.js';
import { maximumWindowFrames } from '../firmware-protocol/limits.js';
import type { Priority } from '../firmware-protocol/link.js';
import { Wire, type WireStatistics } from '../firmware-protocol/wire.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import type { DeviceMessage, HelloAck, HostMessage } from '../proto/message.js';

/** Versions of PROTOCOL.md that this driver speaks. */
export const protocolVersions = { minimum: 1, maximum: 1 } as const;

const creditBytes = 60_000;
const helloIntervalMicroseconds = 250_000;
const helloAttempts = 8;

export interface SessionEvents {
  opened(identity: HelloAck): void;
  message(message: DeviceMessage): void;
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
}

const decoder = new TextDecoder();

/** One conversation with a board, from HELLO until the line or one end gives it up. */
export class Session {
  private readonly wire: Wire;
  private identity: HelloAck | undefined;
  private helloTimer: Timer | undefined;
  private hellos = 0;
  private isEnded = false;

  constructor(channel: ByteChannel, private readonly clock: Clock, private readonly options: SessionOptions, private readonly events: SessionEvents) {
    this.wire = new Wire(channel, clock, {
      frame: (frame) => this.takeFrame(frame),
      message: (payload) => this.takeMessage(payload),
      room: () => events.room(),
      down: (reason) => this.end(new MacroError('DEVICE_LOST', reason)),
      discarded: ({ reason, bytes }: Discarded) => events.noise(`${bytes} bytes discarded (${reason})`),
    });
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
    if (this.hellos === helloAttempts) {
      this.end(new MacroError('DEVICE_UNREACHABLE', 'the line is open and nobody answers HELLO'));
      return;
    }
    this.hellos += 1;
    const { number, leaseEpoch, hostVersion } = this.options;
    const hello = {
      protocolMinimum: protocolVersions.minimum, protocolMaximum: protocolVersions.maximum, hostVersion, windowFrames: maximumWindowFrames,
      creditBytes, leaseEpoch, capabilities: [],
    };
    this.wire.sendFrame('HELLO', number, helloCodec.encode(hello));
    this.helloTimer = this.clock.after(helloIntervalMicroseconds, () => this.sayHello());
  }

  private takeFrame(frame: Frame): void {
    if (this.isEnded) return;
    if (frame.type === 'LOG') this.events.noise(`the board says: ${decoder.decode(frame.payload)}`);
    if (frame.session !== this.options.number) return; // of an earlier session
    if (frame.type === 'HELLO_ACK' && this.identity === undefined) this.open(frame.payload);
    if (frame.type === 'RESET') this.end(resetError(decoder.decode(frame.payload)));
  }

  private open(payload: Uint8Array): void {
    const identity = helloAckCodec.decode(payload);
    if (!identity.ok) {
      this.end(new MacroError('PROTOCOL_VIOLATION', identity.reason));
      return;
    }
    const { protocol, windowFrames, creditBytes: peerCreditBytes } = identity.value;
    if (protocol < protocolVersions.minimum || protocol > protocolVersions.maximum) {
      const ours = `${protocolVersions.minimum} to ${protocolVersions.maximum}`;
      this.end(new MacroError('PROTOCOL_UNSUPPORTED', `the board speaks protocol ${protocol}, this driver ${ours}`));
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
    this.events.opened(identity.value);
  }

  private takeMessage(payload: Uint8Array): void {
    const message = deviceMessageCodec.decode(payload);
    if (message.ok) this.events.message(message.value);
    else this.events.noise(`a message that is none: ${message.reason}`);
  }

  private end(error: MacroError): void {
    if (this.isEnded) return;
    this.close();
    this.events.ended(error);
  }
}

/** A board refuses or ends a session with RESET and a reason: `CODE detail`. */
function resetError(text: string): MacroError {
  if (text.startsWith('PROTOCOL_UNSUPPORTED')) return new MacroError('PROTOCOL_UNSUPPORTED', text.slice('PROTOCOL_UNSUPPORTED'.length).trim());
  return new MacroError('DEVICE_LOST', text === '' ? 'the board ended the session' : `the board ended the session: ${text}`);
}
