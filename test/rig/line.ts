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

/** One end of a simulated line. */
class End implements ByteChannel {
  peer: End | undefined;
  bytesWritten = 0;
  private events: ByteChannelEvents | undefined;
  private isClosed = false;

  constructor(private readonly line: Line) {}

  readonly queuedBytes = 0;

  attach(events: ByteChannelEvents): void {
    if (this.isClosed) queueMicrotask(() => events.close('the cable was pulled'));
    else this.events = events;
  }

  write(bytes: Uint8Array): void {
    if (this.isClosed) return;
    this.bytesWritten += bytes.length;
    this.line.carry(bytes, (arrived) => this.peer?.events?.data(arrived));
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
}

/** Two ends of a line with a delay, and with faults that a seed decides. */
export class Line {
  readonly host = new End(this);
  readonly board = new End(this);
  faults: LineFaults = noFaults;
  isDead = false;

  constructor(private readonly clock: Clock, private readonly prng: Prng, private readonly delayMicroseconds = 100) {
    this.host.peer = this.board;
    this.board.peer = this.host;
  }

  /** Pulls the cable. */
  cut(): void {
    this.host.end('the cable was pulled');
    this.board.end('the cable was pulled');
  }

  carry(bytes: Uint8Array, deliver: (bytes: Uint8Array) => void): void {
    if (this.isDead || this.happens(this.faults.drop)) return;
    const arriving = this.happens(this.faults.flip) ? this.flipped(bytes) : bytes;
    const copies = this.happens(this.faults.duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) this.clock.after(this.delayMicroseconds + this.jitter(), () => deliver(arriving));
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
