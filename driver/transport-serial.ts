import { SerialPort } from 'serialport';
import type { ByteChannel, ByteChannelEvents } from '../firmware-protocol/byte-channel.js';
import { type Clock, platformClock, type Timer } from '../firmware-protocol/clock.js';
import { maximumWireBytes } from '../firmware-protocol/frame.js';
import { makeDirect } from './direct-port.js';

const bitsPerByte = 10;
const stallFloorMicroseconds = 50_000;
const stallFrames = 4;
const stallAttempts = 3;
/** One write call hands the port so much of the line's time at most: each that ends is progress, and what has not been handed over can be seen. */
const writeMicroseconds = 50_000;
const writeLimitBytes = 64 * 1024;
const pollWritable = 2;

/** The part of serialport's POSIX binding that frees a write which missed its writable event. */
interface Poller {
  poll(event: number): void;
}

/** What of a serialport is used here. */
export interface Port {
  readonly baudRate: number;
  readonly isOpen: boolean;
  readonly port?: unknown;
  write(bytes: Uint8Array, done: (error?: Error | null) => void): unknown;
  close(done: () => void): void;
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'close' | 'error', listener: (error?: Error | null) => void): unknown;
}

/** A serial port as a byte channel, with a watch over writes: see `watchStall`. */
export class SerialChannel implements ByteChannel {
  /** Writes that did not end in time and were helped on. */
  writeStalls = 0;
  private events: ByteChannelEvents | undefined;
  private early: Uint8Array[] = [];
  private readonly waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private writingBytes = 0;
  private readonly byteMicroseconds: number;
  private readonly writeBytes: number;
  private stallTimer: Timer | undefined;
  private attempts = 0;
  private isClosed = false;
  /** Closed from this end: nothing else is told. */
  private isOurs = false;

  constructor(private readonly port: Port, private readonly clock: Clock) {
    this.byteMicroseconds = (bitsPerByte * 1e6) / port.baudRate;
    this.writeBytes = Math.min(writeLimitBytes, Math.max(maximumWireBytes, Math.floor(writeMicroseconds / this.byteMicroseconds)));
    port.on('data', (bytes) => (this.events === undefined ? this.early.push(bytes) : this.events.data(bytes)));
    port.on('close', (error) => this.end(error?.message ?? 'the port was closed'));
    port.on('error', (error) => this.end(error?.message ?? 'the port failed'));
  }

  attach(events: ByteChannelEvents): void {
    queueMicrotask(() => {
      if (this.isOurs) return;
      this.events = events;
      for (const bytes of this.early) events.data(bytes);
      this.early = [];
      if (this.isClosed) this.end('the port was closed');
    });
  }

  write(bytes: Uint8Array): void {
    if (this.isClosed) return;
    for (let at = 0; at < bytes.length; at += this.writeBytes) this.waiting.push(bytes.subarray(at, at + this.writeBytes));
    this.waitingBytes += bytes.length;
    this.writeNext();
  }

  get queuedBytes(): number {
    return this.waitingBytes + this.writingBytes;
  }

  close(): void {
    this.isOurs = true;
    this.events = undefined;
    this.end('closed here');
  }

  private writeNext(): void {
    if (this.writingBytes > 0 || this.waiting.length === 0 || this.isClosed) return;
    const parts: Uint8Array[] = [];
    while (this.waiting.length > 0 && (parts.length === 0 || this.writingBytes + this.waiting[0].length <= this.writeBytes)) {
      const part = this.waiting.shift() as Uint8Array;
      parts.push(part);
      this.writingBytes += part.length;
    }
    this.waitingBytes -= this.writingBytes;
    this.attempts = 0;
    this.watchStall();
    this.port.write(parts.length === 1 ? parts[0] : Buffer.concat(parts), (error) => this.written(error));
  }

  private written(error?: Error | null): void {
    this.stallTimer?.cancel();
    if (error) {
      this.end(error.message);
      return;
    }
    this.writingBytes = 0;
    this.writeNext();
    this.events?.drain();
  }

  /** Under two-way load a write that met EAGAIN can wait for a writable event that was lost: poll again, and give the port up after three. */
  private watchStall(): void {
    const transfer = this.writingBytes * this.byteMicroseconds;
    const patience = transfer + Math.max(stallFloorMicroseconds, stallFrames * maximumWireBytes * this.byteMicroseconds);
    this.stallTimer = this.clock.after(patience * 2 ** this.attempts, () => {
      this.writeStalls += 1;
      this.attempts += 1;
      if (this.attempts > stallAttempts) {
        this.end('a write does not finish (write-stalled)');
        return;
      }
      (this.port.port as { poller?: Poller } | null | undefined)?.poller?.poll(pollWritable);
      this.watchStall();
    });
  }

  private end(reason: string): void {
    this.stallTimer?.cancel();
    const { events } = this;
    this.events = undefined;
    if (!this.isClosed) {
      this.isClosed = true;
      if (this.port.isOpen) this.port.close(() => undefined);
    }
    events?.close(reason);
  }
}

const clock = platformClock({
  nowMilliseconds: () => performance.now(),
  setTimer(action, delayMilliseconds) {
    const timer = setTimeout(action, delayMilliseconds);
    return () => clearTimeout(timer);
  },
});

/**
 * Opens a serial port as a byte channel. `hupcl` is off, so that closing and opening again does not drop DTR, which restarts many boards.
 * Rejects with the system's error where the port is missing or not allowed.
 */
export function connectSerial(path: string, baud: number): Promise<ByteChannel> {
  return new Promise((resolve, reject) => {
    const port = new SerialPort({ path, baudRate: baud, autoOpen: false, hupcl: false, highWaterMark: writeLimitBytes });
    port.open((error) => {
      if (error) {
        reject(error);
        return;
      }
      makeDirect(port.port);
      resolve(new SerialChannel(port, clock));
    });
  });
}
