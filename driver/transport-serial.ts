import { SerialPort } from 'serialport';
import type { ByteChannel, ByteChannelEvents } from '../firmware-protocol/byte-channel.js';

/** Longest frame on the wire, 10 bits a byte. */
const frameBits = 6_500;
const stallFloorMilliseconds = 50;
const stallAttempts = 3;
/** Bytes that one write call hands to the port; the rest waits here, so that a stall can be seen. */
const writeBytes = 64 * 1024;
const pollWritable = 2;

/** The part of serialport's POSIX binding that frees a write which missed its writable event. */
interface Poller {
  poll(event: number): void;
}

/** A serial port as a byte channel, with a watch over writes: see `watchStall`. */
class SerialChannel implements ByteChannel {
  stalls = 0;
  private events: ByteChannelEvents | undefined;
  private early: Uint8Array[] = [];
  private readonly waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private writingBytes = 0;
  private stallTimer: NodeJS.Timeout | undefined;
  private attempts = 0;
  private isClosed = false;
  /** Closed from this end: nothing else is told. */
  private isOurs = false;

  constructor(private readonly port: SerialPort) {
    port.on('data', (bytes: Buffer) => (this.events === undefined ? this.early.push(bytes) : this.events.data(bytes)));
    port.on('close', (error?: Error | null) => this.end(error?.message ?? 'the port was closed'));
    port.on('error', (error) => this.end(error.message));
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
    this.waiting.push(bytes);
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
    while (this.waiting.length > 0 && this.writingBytes < writeBytes) {
      const part = this.waiting.shift() as Uint8Array;
      parts.push(part);
      this.writingBytes += part.length;
    }
    this.waitingBytes -= this.writingBytes;
    this.attempts = 0;
    this.watchStall();
    this.port.write(parts.length === 1 ? parts[0] : Buffer.concat(parts), (error) => {
      clearTimeout(this.stallTimer);
      if (error) {
        this.end(error.message);
        return;
      }
      this.writingBytes = 0;
      this.writeNext();
      if (this.queuedBytes === 0) this.events?.drain();
    });
  }

  /** Under two-way load a write that met EAGAIN can wait for a writable event that was lost: poll again, and give the port up after three. */
  private watchStall(): void {
    const bitTimeMilliseconds = 1000 / this.port.baudRate;
    const transferMilliseconds = this.writingBytes * 10 * bitTimeMilliseconds;
    const patienceMilliseconds = transferMilliseconds + Math.max(stallFloorMilliseconds, 4 * frameBits * bitTimeMilliseconds);
    this.stallTimer = setTimeout(() => {
      this.stalls += 1;
      this.attempts += 1;
      if (this.attempts > stallAttempts) {
        this.end('a write does not finish (write-stalled)');
        return;
      }
      (this.port.port as unknown as { poller?: Poller } | undefined)?.poller?.poll(pollWritable);
      this.watchStall();
    }, patienceMilliseconds * 2 ** this.attempts);
  }

  private end(reason: string): void {
    clearTimeout(this.stallTimer);
    const { events } = this;
    this.events = undefined;
    if (!this.isClosed) {
      this.isClosed = true;
      if (this.port.isOpen) this.port.close(() => undefined);
    }
    events?.close(reason);
  }
}

/**
 * Opens a serial port as a byte channel. `hupcl` is off, so that closing and opening again does not drop DTR, which restarts many boards.
 * Rejects with the system's error where the port is missing or not allowed.
 */
export function connectSerial(path: string, baud: number): Promise<ByteChannel> {
  return new Promise((resolve, reject) => {
    const port = new SerialPort({ path, baudRate: baud, autoOpen: false, hupcl: false, highWaterMark: writeBytes });
    port.open((error) => (error ? reject(error) : resolve(new SerialChannel(port))));
  });
}
