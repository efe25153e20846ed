import type { ByteChannel } from './byte-channel.js';
import type { Clock, Timer } from './clock.js';
import { type Discarded, encodeFrame, type Frame, FrameDecoder, type FrameType, protocolVersion } from './frame.js';
import { Link, type LinkOptions, type LinkStatistics, type Priority } from './link.js';

export interface WireEvents {
  /** A frame that is not DATA or ACK of the open session. */
  frame(frame: Frame): void;
  /** A message of the open session, in order, once. */
  message(payload: Uint8Array): void;
  /** The queue has room again after `hasRoom` was false. */
  room(): void;
  /** The line is gone or dead; nothing else is called. */
  down(reason: string): void;
  /** Bytes that were no frame. */
  discarded(discarded: Discarded): void;
}

export interface WireStatistics {
  readonly link: LinkStatistics | undefined;
  readonly discardedFrames: number;
  readonly discardedBytes: number;
}

/** Bytes in the channel above which frames wait in the link, where a retransmission or an urgent message can still overtake. */
const channelHighMarkBytes = 64 * 1024;
/** Bytes in the link above which the user should wait. */
const queueHighMarkBytes = 256 * 1024;
const queueLowMarkBytes = 64 * 1024;

/** One end of a line: bytes to frames to messages and back. It is the same on the host and on the device. */
export class Wire {
  private readonly decoder = new FrameDecoder();
  private link: Link | undefined;
  private session = 0;
  private timer: Timer | undefined;
  private timerAtMicroseconds = 0;
  private corks = 0;
  private isClosed = false;
  private isFull = false;
  private discardedFrames = 0;
  private discardedBytes = 0;

  constructor(private readonly channel: ByteChannel, private readonly clock: Clock, private readonly events: WireEvents) {
    channel.attach({ data: (bytes) => this.read(bytes), drain: () => this.pump(), close: (reason) => this.fail(reason) });
  }

  /** Opens the reliable link of a session; an earlier one is forgotten with all that it held. */
  open(options: LinkOptions): void {
    this.session = options.session;
    this.link = new Link(options);
    this.isFull = false;
  }

  /** Sends a frame past window and queue: handshakes, RESET, ESTOP, datagrams and logs. */
  sendFrame(type: FrameType, session: number, payload: Uint8Array): void {
    if (this.isClosed) return;
    this.channel.write(encodeFrame({ version: protocolVersion, type, flags: 0, session, sequence: 0, acknowledge: 0, selective: 0, credit: 0, payload }));
  }

  /** Queues a message of the open session; without one it is dropped, as the line would drop it. */
  send(payload: Uint8Array, priority: Priority): void {
    if (this.link === undefined || this.isClosed) return;
    this.link.send(payload, priority);
    if (this.link.queuedBytes > queueHighMarkBytes) this.isFull = true;
    this.pump();
  }

  /** Sends what `action` queues as few, large writes. */
  together(action: () => void): void {
    this.corks += 1;
    try {
      action();
    } finally {
      this.corks -= 1;
      this.pump();
    }
  }

  get hasRoom(): boolean {
    return !this.isFull;
  }

  get statistics(): WireStatistics {
    return { link: this.link?.statistics, discardedFrames: this.discardedFrames, discardedBytes: this.discardedBytes };
  }

  /** Closes the channel; `down` is not called. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timer?.cancel();
    this.channel.close();
  }

  private read(bytes: Uint8Array): void {
    this.together(() => {
      for (const decoded of this.decoder.push(bytes)) {
        if (this.isClosed) return;
        if (decoded.discarded !== undefined) this.discard(decoded.discarded);
        else this.take(decoded.frame);
      }
    });
  }

  private discard(discarded: Discarded): void {
    this.discardedFrames += 1;
    this.discardedBytes += discarded.bytes;
    this.events.discarded(discarded);
  }

  private take(frame: Frame): void {
    const isOurs = this.link !== undefined && frame.session === this.session && (frame.type === 'DATA' || frame.type === 'ACK');
    if (!isOurs || this.link === undefined) {
      this.events.frame(frame);
      return;
    }
    const { link } = this;
    for (const message of link.receive(frame, this.clock.nowMicroseconds())) {
      if (this.isClosed || this.link !== link) return;
      this.events.message(message);
    }
  }

  private pump(): void {
    const { link } = this;
    if (link === undefined || this.isClosed || this.corks > 0) return;
    const now = this.clock.nowMicroseconds();
    const frames: Uint8Array[] = [];
    let bytes = this.channel.queuedBytes;
    while (bytes < channelHighMarkBytes) {
      const frame = link.transmit(now);
      if (frame === undefined) break;
      const encoded = encodeFrame(frame);
      frames.push(encoded);
      bytes += encoded.length;
    }
    if (frames.length > 0) this.channel.write(frames.length === 1 ? frames[0] : joined(frames));
    if (link.state === 'down') this.fail('no answer to retransmissions');
    else this.watch(link, now);
    if (this.isFull && link.queuedBytes < queueLowMarkBytes && !this.isClosed) {
      this.isFull = false;
      this.events.room();
    }
  }

  /** Keeps one timer for the link. It may fire early and find nothing to do, so that it need not be moved with each frame. */
  private watch(link: Link, nowMicroseconds: number): void {
    const at = link.nextTimeoutMicroseconds;
    if (at === undefined || (this.timer !== undefined && this.timerAtMicroseconds <= at)) return;
    this.timer?.cancel();
    this.timerAtMicroseconds = at;
    this.timer = this.clock.after(Math.max(0, at - nowMicroseconds), () => {
      this.timer = undefined;
      this.pump();
    });
  }

  private fail(reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timer?.cancel();
    this.channel.close();
    this.events.down(reason);
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
