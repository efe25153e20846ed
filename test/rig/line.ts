import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import type { Prng } from '../../firmware-protocol/prng.js';

/** What may go wrong on a line; each is the probability for one write. */
export interface LineFaults {
  readonly flip: number;
  readonly drop: number;
  readonly duplicate: number;
  /** Adds up to so many microseconds, so that writes may overtake one another. */
  readonly jitterMicroseconds: number;
}

export const noFaults: LineFaults = { flip: 0, drop: 0, duplicate: 0, jitterMicroseconds: 0 };

/** What a line is like when nothing goes wrong. */
export interface LineShape {
  /** From the host to the board. */
  readonly delayMicroseconds: number;
  /** And back; by default the same. */
  readonly returnDelayMicroseconds?: number;
  /** 0: as fast as can be. */
  readonly byteTimeMicroseconds?: number;
  /** Bytes of a port's own buffer, which nobody can see. */
  readonly hiddenBytes?: number;
}

/** A write on its way; what is returned goes on, undefined is lost. */
export type Intercept = (from: 'host' | 'board', bytes: Uint8Array) => Uint8Array | undefined;

/** A slow line brings bytes as they leave; the test's decoder need not see each. */
const pieceBytes = 650;

/** One end of a simulated line. */
class End implements ByteChannel {
  peer: End | undefined;
  bytesWritten = 0;
  private events: ByteChannelEvents | undefined;
  private isClosed = false;
  private freeAtMicroseconds = 0;
  private leavingBytes = 0;

  constructor(private readonly name: 'host' | 'board', private readonly line: Line, private readonly clock: Clock, private readonly shape: LineShape) {}

  get queuedBytes(): number {
    return Math.max(0, this.leavingBytes - (this.shape.hiddenBytes ?? 0));
  }

  attach(events: ByteChannelEvents): void {
    if (this.isClosed) queueMicrotask(() => events.close('the cable was pulled'));
    else this.events = events;
  }

  write(bytes: Uint8Array): void {
    if (this.isClosed) return;
    this.bytesWritten += bytes.length;
    const { byteTimeMicroseconds = 0 } = this.shape;
    if (byteTimeMicroseconds === 0) this.carry(bytes, 0);
    else for (let at = 0; at < bytes.length; at += pieceBytes) this.leave(bytes.subarray(at, at + pieceBytes), byteTimeMicroseconds);
  }

  close(): void {
    this.end();
    this.peer?.end('the other end was closed');
  }

  end(reason?: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { events } = this;
    this.events = undefined;
    if (reason !== undefined) events?.close(reason);
  }

  private leave(bytes: Uint8Array, byteTimeMicroseconds: number): void {
    const now = this.clock.nowMicroseconds();
    this.freeAtMicroseconds = Math.max(now, this.freeAtMicroseconds) + bytes.length * byteTimeMicroseconds;
    this.leavingBytes += bytes.length;
    const wait = this.freeAtMicroseconds - now;
    this.carry(bytes, wait);
    this.clock.after(wait, () => {
      this.leavingBytes -= bytes.length;
      this.events?.drain();
    });
  }

  private carry(bytes: Uint8Array, waitMicroseconds: number): void {
    const { delayMicroseconds, returnDelayMicroseconds = delayMicroseconds } = this.shape;
    const delay = waitMicroseconds + (this.name === 'host' ? delayMicroseconds : returnDelayMicroseconds);
    this.line.carry(this.name, bytes, delay, (arrived) => this.peer?.events?.data(arrived));
  }
}

/** Two ends of a line with a delay, and with faults that a seed decides. */
export class Line {
  readonly host: End;
  readonly board: End;
  faults: LineFaults = noFaults;
  isDead = false;
  intercept: Intercept | undefined;

  constructor(private readonly clock: Clock, private readonly prng: Prng, shape: LineShape = { delayMicroseconds: 100 }) {
    this.host = new End('host', this, clock, shape);
    this.board = new End('board', this, clock, shape);
    this.host.peer = this.board;
    this.board.peer = this.host;
  }

  /** Pulls the cable. */
  cut(): void {
    this.host.end('the cable was pulled');
    this.board.end('the cable was pulled');
  }

  carry(from: 'host' | 'board', bytes: Uint8Array, delayMicroseconds: number, deliver: (bytes: Uint8Array) => void): void {
    const sent = this.intercept === undefined ? bytes : this.intercept(from, bytes);
    if (sent === undefined || this.isDead || this.happens(this.faults.drop)) return;
    const arriving = this.happens(this.faults.flip) ? this.flipped(sent) : sent;
    const copies = this.happens(this.faults.duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) this.clock.after(delayMicroseconds + this.jitter(), () => deliver(arriving));
  }

  private happens(probability: number): boolean {
    return probability > 0 && this.prng.nextUint32() / 2 ** 32 < probability;
  }

  private jitter(): number {
    return this.faults.jitterMicroseconds === 0 ? 0 : this.prng.nextUint32() % this.faults.jitterMicroseconds;
  }

  private flipped(bytes: Uint8Array): Uint8Array {
    const copy = bytes.slice();
    const bit = this.prng.nextUint32() % (bytes.length * 8);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return copy;
  }
}
