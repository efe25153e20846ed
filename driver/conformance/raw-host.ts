import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import { encodeCobs, encodedLength } from '../../firmware-protocol/cobs.js';
import { crc32c } from '../../firmware-protocol/crc32c.js';
import { describeFrame, type Discarded, encodeFrame, type Frame, FrameDecoder, type FrameType } from '../../firmware-protocol/frame.js';

export interface Received {
  readonly frame: Frame;
  readonly atMicroseconds: number;
}

/** What a frame of the suite says beyond its type; everything else is 0 or empty. */
export type FrameFields = Partial<Omit<Frame, 'type'>>;

/** Lines of the conversation that a failure may quote. */
const traceLines = 200;
const noPayload = new Uint8Array(0);

/** Any bytes as a frame: 00 | COBS(bytes ‖ checksum) | 00, whatever the bytes say. */
export function wrap(bytes: Uint8Array, checksum: (bytes: Uint8Array) => number = crc32c): Uint8Array {
  const checked = new Uint8Array(bytes.length + 4);
  checked.set(bytes);
  new DataView(checked.buffer).setUint32(bytes.length, checksum(bytes), true);
  const wire = new Uint8Array(encodedLength(checked.length) + 2);
  wire.set(checked, 2);
  return wire.subarray(0, encodeCobs(wire, 1, checked.length) + 1);
}

/** Header and payload of a frame, as they stand before COBS. */
export function headerAndPayload(frame: Frame, type: number): Uint8Array {
  const bytes = new Uint8Array(17 + frame.payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = frame.version;
  bytes[1] = type;
  bytes[2] = frame.flags;
  view.setUint32(3, frame.session, true);
  view.setUint16(7, frame.sequence, true);
  view.setUint16(9, frame.acknowledge, true);
  view.setUint32(11, frame.selective, true);
  view.setUint16(15, frame.credit, true);
  bytes.set(frame.payload, 17);
  return bytes;
}

export const frameOf = (type: FrameType, fields: FrameFields = {}): Frame => ({
  version: 1, flags: 0, session: 0, sequence: 0, acknowledge: 0, selective: 0, credit: 0, payload: noPayload, ...fields, type,
});

/** One end of a line that sends exactly what it is told and keeps all that comes: no window, no timer, no acknowledgement of its own. */
export class RawHost {
  readonly frames: Received[] = [];
  readonly discarded: Discarded[] = [];
  readonly trace: string[] = [];
  bytesReceived = 0;
  closedBecause: string | undefined;
  /** Told of each frame, before whoever waits. */
  onFrame: (received: Received) => void = () => undefined;
  private readonly decoder = new FrameDecoder();
  private readonly watchers = new Set<() => void>();
  private readonly openedAtMicroseconds: number;

  constructor(private readonly channel: ByteChannel, private readonly clock: Clock) {
    this.openedAtMicroseconds = clock.nowMicroseconds();
    channel.attach({ data: (bytes) => this.read(bytes), drain: () => undefined, close: (reason) => this.lose(reason) });
  }

  write(bytes: Uint8Array): void {
    this.note(`→ ${bytes.length} bytes`);
    this.channel.write(bytes);
  }

  /** Sends one frame; `note` is what a reader of a failure should know of it. */
  send(type: FrameType, fields: FrameFields = {}): void {
    const frame = frameOf(type, fields);
    this.note(`→ ${describeFrame(frame)}`);
    this.channel.write(encodeFrame(frame));
  }

  /** Bytes that have been written and have not left yet. */
  get queuedBytes(): number {
    return this.channel.queuedBytes;
  }

  /** Waits until `find` finds something in what has come; undefined where the time is over or the line is gone. */
  until<Value>(find: () => Value | undefined, milliseconds: number): Promise<Value | undefined> {
    const found = find();
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve) => {
      const end = (value: Value | undefined) => {
        timer.cancel();
        this.watchers.delete(look);
        resolve(value);
      };
      const look = () => {
        const value = find();
        if (value !== undefined || this.closedBecause !== undefined) end(value);
      };
      const timer = this.clock.after(milliseconds * 1000, () => end(find()));
      this.watchers.add(look);
      if (this.closedBecause !== undefined) look();
    });
  }

  /** Lets time pass. */
  rest(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.clock.after(milliseconds * 1000, resolve);
    });
  }

  /** The last lines of the conversation, for people. */
  lastLines(count: number): string[] {
    return this.trace.slice(-count);
  }

  close(): void {
    this.closedBecause ??= 'closed here';
    this.channel.close();
    this.wake();
  }

  private note(line: string): void {
    const milliseconds = (this.clock.nowMicroseconds() - this.openedAtMicroseconds) / 1000;
    this.trace.push(`${milliseconds.toFixed(3).padStart(10)} ms ${line}`);
    if (this.trace.length > traceLines) this.trace.shift();
  }

  private read(bytes: Uint8Array): void {
    this.bytesReceived += bytes.length;
    for (const { frame, discarded } of this.decoder.push(bytes)) {
      if (discarded !== undefined) {
        this.note(`← ${discarded.bytes} bytes that are no frame (${discarded.reason})`);
        this.discarded.push(discarded);
        continue;
      }
      const received = { frame, atMicroseconds: this.clock.nowMicroseconds() };
      this.note(`← ${describeFrame(frame)}`);
      this.frames.push(received);
      this.onFrame(received);
    }
    this.wake();
  }

  private lose(reason: string): void {
    this.closedBecause ??= reason;
    this.note(`the line is gone: ${reason}`);
    this.wake();
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}
