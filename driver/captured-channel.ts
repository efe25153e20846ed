import type { ByteChannel, ByteChannelEvents } from '../firmware-protocol/byte-channel.js';
import type { Clock } from '../firmware-protocol/clock.js';
import { type CaptureKind, encodeCaptureRecord, segmentBytes } from './capture.js';

/** Where records go. It takes them at once or drops them; it never waits. */
export interface CaptureSink {
  append(record: Uint8Array): void;
  /** Called when a line opens, with the record that names it: a file that begins later repeats it. */
  open(line: number, record: Uint8Array): void;
  close(line: number, record: Uint8Array): void;
}

export interface CapturedLine {
  readonly number: number;
  readonly name: string;
  readonly clock: Clock;
  readonly wallMilliseconds: () => number;
  /** Board link time minus host time, where it is known. Asked for now and then. */
  readonly clockOffsetMicroseconds: () => number | undefined;
}

/** A clock model is asked so often at most: it looks through its samples. */
const offsetLifeMicroseconds = 250_000;

const noBytes = new Uint8Array(0);

/** The bytes of one sender, cut at each 00. */
class Segments {
  private held = new Uint8Array(segmentBytes);
  private length = 0;

  constructor(private readonly put: (data: Uint8Array, isComplete: boolean) => void) {}

  push(chunk: Uint8Array): void {
    let start = 0;
    while (start < chunk.length) {
      const zero = chunk.indexOf(0, start);
      const end = zero < 0 ? chunk.length : zero;
      this.hold(chunk.subarray(start, end));
      if (zero < 0) return;
      if (this.length > 0) this.flush(true);
      start = zero + 1;
    }
  }

  flush(isComplete: boolean): void {
    if (this.length === 0) return;
    this.put(this.held.subarray(0, this.length), isComplete);
    this.length = 0;
  }

  private hold(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const room = Math.min(bytes.length - at, segmentBytes - this.length);
      this.held.set(bytes.subarray(at, at + room), this.length);
      this.length += room;
      at += room;
      // A garbage of megabytes without a 00 is told piece by piece; one byte stays, so that the last piece is never empty.
      if (this.length === segmentBytes && at < bytes.length) this.flush(false);
    }
  }
}

/** Puts a tap on a line: everything that passes goes to the sink as well, with both clocks. */
export function capturedChannel(channel: ByteChannel, line: CapturedLine, sink: CaptureSink): ByteChannel {
  let offset = Number.NaN;
  let offsetUntilMicroseconds = Number.NEGATIVE_INFINITY;
  const record = (kind: CaptureKind, data: Uint8Array, isComplete = true) => {
    const hostMicroseconds = line.clock.nowMicroseconds();
    if (hostMicroseconds >= offsetUntilMicroseconds) {
      offset = line.clockOffsetMicroseconds() ?? Number.NaN;
      offsetUntilMicroseconds = hostMicroseconds + offsetLifeMicroseconds;
    }
    const times = { hostMicroseconds, wallMilliseconds: line.wallMilliseconds(), linkTimeMicroseconds: hostMicroseconds + offset };
    return encodeCaptureRecord({ kind, isComplete, line: line.number, ...times, data });
  };
  const text = (value: string) => new TextEncoder().encode(value).slice(0, segmentBytes);
  const sent = new Segments((data, isComplete) => sink.append(record('host', data, isComplete)));
  const received = new Segments((data, isComplete) => sink.append(record('board', data, isComplete)));
  let isOver = false;
  const end = (reason: string) => {
    if (isOver) return;
    isOver = true;
    sent.flush(false);
    received.flush(false);
    sink.close(line.number, record('closed', text(reason)));
  };
  sink.open(line.number, record('opened', line.name === '' ? noBytes : text(line.name)));
  return {
    attach(events: ByteChannelEvents) {
      channel.attach({
        data(bytes) {
          received.push(bytes);
          events.data(bytes);
        },
        drain: () => events.drain(),
        close(reason) {
          end(reason);
          events.close(reason);
        },
      });
    },
    write(bytes) {
      if (!isOver) sent.push(bytes);
      channel.write(bytes);
    },
    get queuedBytes() {
      return channel.queuedBytes;
    },
    get writeStalls() {
      return channel.writeStalls ?? 0;
    },
    close() {
      end('closed here');
      channel.close();
    },
  };
}
