import type { ByteChannel } from './byte-channel.js';
import type { Clock, Timer } from './clock.js';
import { type Discarded, type DiscardReason, type Frame, FrameDecoder, type FrameType, framingVersion, maximumWireBytes, writeFrame } from './frame.js';
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
  /** The session is forgotten because its frames were not acknowledged; without this the line is closed and `down` says it. */
  dead?(): void;
}

/** What is sent when the line has nothing better to do. It is asked, so that what waits can be replaced until the last moment. */
export interface SpareSource {
  /** A message of telemetry for the reliable link. */
  message(): Uint8Array | undefined;
  /** A frame that may get lost. */
  frame(): { readonly type: FrameType; readonly payload: Uint8Array } | undefined;
}

export interface WireStatistics {
  readonly link: LinkStatistics | undefined;
  readonly discarded: Readonly<Record<DiscardReason, number>>;
  readonly discardedFrames: number;
  readonly discardedBytes: number;
  /** Everything on the line, acknowledgements, delimiters and noise included. */
  readonly lineBytesSent: number;
  readonly lineBytesReceived: number;
  readonly lineFramesSent: number;
  readonly lineFramesReceived: number;
  /** Bytes that the port has accepted and not sent yet. */
  readonly channelQueuedBytes: number;
  readonly writeStalls: number;
}

/** Of a line that is not open. */
export const noWireStatistics: WireStatistics = {
  link: undefined, discarded: { crc: 0, cobs: 0, 'too-long': 0, 'too-short': 0, version: 0, type: 0 }, discardedFrames: 0, discardedBytes: 0,
  lineBytesSent: 0, lineBytesReceived: 0, lineFramesSent: 0, lineFramesReceived: 0, channelQueuedBytes: 0,
  writeStalls: 0,
};

/** Bytes in the channel above which frames wait in the link, where a retransmission or an urgent message can still overtake. */
const channelHighMarkBytes = 64 * 1024;
/** On a line whose speed is known so much time of it waits in the channel at most, and two frames: an ESTOP stands behind it. */
const channelHighMarkMicroseconds = 20_000;
const outboxSizeBytes = 2 * channelHighMarkBytes;
/** Bytes in the link above which the user should wait. */
const queueHighMarkBytes = 256 * 1024;
/** And on a line whose speed is known, so much of its time: what is queued behind must not outlive its deadline. */
const queueHighMarkMicroseconds = 1_000_000;
const queueLowMarkShare = 0.25;

/** One end of a line: bytes to frames to messages and back. It is the same on the host and on the device. */
export class Wire {
  private readonly decoder = new FrameDecoder();
  /** Where frames are written, one behind the other. What was handed to the channel is not written to again; a full one is replaced. */
  private outbox = new Uint8Array(outboxSizeBytes);
  private outboxStart = 0;
  private outboxEnd = 0;
  private link: Link | undefined;
  private spare: SpareSource | undefined;
  private session = 0;
  private timer: Timer | undefined;
  private timerAtMicroseconds = 0;
  private corks = 0;
  private isClosed = false;
  private isFull = false;
  private highMarkBytes = channelHighMarkBytes;
  private queueMarkBytes = queueHighMarkBytes;
  private lastHeardMicroseconds: number;
  private readonly discards: Record<DiscardReason, number> = { crc: 0, cobs: 0, 'too-long': 0, 'too-short': 0, version: 0, type: 0 };
  private readonly counts = { discardedFrames: 0, discardedBytes: 0, lineBytesSent: 0, lineBytesReceived: 0, lineFramesSent: 0, lineFramesReceived: 0 };

  constructor(private readonly channel: ByteChannel, private readonly clock: Clock, private readonly events: WireEvents) {
    this.lastHeardMicroseconds = clock.nowMicroseconds();
    channel.attach({ data: (bytes) => this.read(bytes), drain: () => this.pump(), close: (reason) => this.fail(reason) });
  }

  /** Opens the reliable link of a session; an earlier one is forgotten with all that it held. */
  open(options: LinkOptions, spare?: SpareSource): void {
    this.session = options.session;
    this.spare = spare;
    this.link = new Link(spare === undefined ? options : { ...options, pull: () => spare.message() });
    this.isFull = false;
    this.lastHeardMicroseconds = this.clock.nowMicroseconds();
    const { frameTimeMicroseconds = 0 } = options;
    const framesIn = (microseconds: number) => (frameTimeMicroseconds === 0 ? Number.POSITIVE_INFINITY : microseconds / frameTimeMicroseconds);
    this.highMarkBytes = Math.min(channelHighMarkBytes, Math.max(2, framesIn(channelHighMarkMicroseconds)) * maximumWireBytes);
    const windows = Math.max(2 * options.windowFrames, framesIn(queueHighMarkMicroseconds));
    this.queueMarkBytes = Math.min(queueHighMarkBytes, windows * maximumWireBytes);
  }

  /** Forgets the session that is open. The line stays. */
  abandon(): void {
    this.link = undefined;
    this.spare = undefined;
  }

  /** Sends a frame past window and queue: handshakes, RESET, ESTOP, datagrams and logs. */
  sendFrame(type: FrameType, session: number, payload: Uint8Array): void {
    if (this.isClosed) return;
    this.put({ version: framingVersion, type, flags: 0, session, sequence: 0, acknowledge: 0, selective: 0, credit: 0, payload });
    this.hand();
  }

  /** Queues a message of the open session; without one it is dropped, as the line would drop it. */
  send(payload: Uint8Array, priority: Priority): void {
    if (this.link === undefined || this.isClosed) return;
    this.link.send(payload, priority);
    if (this.link.queuedBytes > this.queueMarkBytes) this.isFull = true;
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

  /** The spare source has something to send. */
  wake(): void {
    this.pump();
  }

  get hasRoom(): boolean {
    return !this.isFull;
  }

  /** When the last valid frame of the open session arrived, or the session was opened. */
  get heardAtMicroseconds(): number {
    return this.lastHeardMicroseconds;
  }

  get statistics(): WireStatistics {
    const { queuedBytes, writeStalls = 0 } = this.channel;
    return { link: this.link?.statistics, discarded: { ...this.discards }, ...this.counts, channelQueuedBytes: queuedBytes, writeStalls };
  }

  /** Closes the channel; `down` is not called. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timer?.cancel();
    this.channel.close();
  }

  private read(bytes: Uint8Array): void {
    this.counts.lineBytesReceived += bytes.length;
    this.together(() => {
      for (const decoded of this.decoder.push(bytes)) {
        if (this.isClosed) return;
        if (decoded.discarded !== undefined) this.discard(decoded.discarded);
        else this.take(decoded.frame);
      }
    });
  }

  private discard(discarded: Discarded): void {
    this.counts.discardedFrames += 1;
    this.counts.discardedBytes += discarded.bytes;
    this.discards[discarded.reason] += 1;
    this.events.discarded(discarded);
  }

  private take(frame: Frame): void {
    const { link } = this;
    this.counts.lineFramesReceived += 1;
    const isOurs = link !== undefined && frame.session === this.session;
    const now = this.clock.nowMicroseconds();
    if (isOurs) this.lastHeardMicroseconds = now;
    if (!isOurs || (frame.type !== 'DATA' && frame.type !== 'ACK')) {
      this.events.frame(frame);
      return;
    }
    for (const message of link.receive(frame, now)) {
      if (this.isClosed || this.link !== link) return;
      this.events.message(message);
    }
  }

  private pump(): void {
    const { link } = this;
    if (link === undefined || this.isClosed || this.corks > 0) return;
    const now = this.clock.nowMicroseconds();
    const room = this.highMarkBytes - this.channel.queuedBytes;
    link.expire(now);
    while (this.outboxEnd - this.outboxStart < room) {
      const frame = link.transmit(now);
      if (frame === undefined) break;
      this.put(frame);
    }
    while (this.outboxEnd - this.outboxStart < room) {
      const frame = this.spare?.frame();
      if (frame === undefined) break;
      this.put({ ...frame, version: framingVersion, flags: 0, session: this.session, sequence: 0, acknowledge: 0, selective: 0, credit: 0 });
    }
    this.hand();
    if (link.state === 'down') this.die();
    else this.watch(link, now);
    if (this.isFull && link.queuedBytes < this.queueMarkBytes * queueLowMarkShare && !this.isClosed) {
      this.isFull = false;
      this.events.room();
    }
  }

  private put(frame: Frame): void {
    if (this.outboxEnd + maximumWireBytes > this.outbox.length) this.replaceOutbox();
    this.outboxEnd = writeFrame(frame, this.outbox, this.outboxEnd);
    this.counts.lineFramesSent += 1;
  }

  private replaceOutbox(): void {
    const waiting = this.outbox.subarray(this.outboxStart, this.outboxEnd);
    this.outbox = new Uint8Array(outboxSizeBytes);
    this.outbox.set(waiting);
    this.outboxStart = 0;
    this.outboxEnd = waiting.length;
  }

  private hand(): void {
    if (this.outboxEnd === this.outboxStart) return;
    const bytes = this.outbox.subarray(this.outboxStart, this.outboxEnd);
    this.outboxStart = this.outboxEnd;
    this.counts.lineBytesSent += bytes.length;
    this.channel.write(bytes);
  }

  /** Keeps one timer for the link. It may fire early and find nothing to do, so that it need not be moved with each frame. */
  private watch(link: Link, nowMicroseconds: number): void {
    const at = link.nextTimeoutMicroseconds(nowMicroseconds);
    if (at === undefined || (this.timer !== undefined && this.timerAtMicroseconds <= at)) return;
    this.timer?.cancel();
    this.timerAtMicroseconds = at;
    this.timer = this.clock.after(Math.max(0, at - nowMicroseconds), () => {
      this.timer = undefined;
      this.pump();
    });
  }

  private die(): void {
    if (this.events.dead === undefined) {
      this.fail('no answer to retransmissions');
      return;
    }
    this.abandon();
    this.events.dead();
  }

  private fail(reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timer?.cancel();
    this.channel.close();
    this.events.down(reason);
  }
}
