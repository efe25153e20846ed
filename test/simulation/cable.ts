import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import type { Frame } from '../../firmware-protocol/frame.js';
import type { Chance } from './chance.js';
import type { WriteFaultRates } from './line-faults.js';
import type { Sabotage } from './sabotage.js';
import type { Trace } from './trace.js';
import { Way, type WayNature } from './way.js';
import { type Sender, Wiretap } from './wiretap.js';

/** Who sits at an end: lets its owner take something in when he can. */
export type Turn = (action: () => void) => void;

/** One end of a cable, as the driver or the board sees it. */
export class End implements ByteChannel {
  isClosed = false;
  private events: ByteChannelEvents | undefined;
  private early: Uint8Array[] = [];

  constructor(readonly side: Sender, private readonly cable: Cable, private readonly turn: Turn) {}

  get queuedBytes(): number {
    return this.isClosed ? 0 : this.cable.queuedBytes(this.side);
  }

  attach(events: ByteChannelEvents): void {
    this.cable.later(() => this.turn(() => {
      if (this.isClosed) return;
      this.events = events;
      for (const bytes of this.early.splice(0)) events.data(bytes);
    }));
  }

  write(bytes: Uint8Array): void {
    if (!this.isClosed) this.cable.carry(this, bytes);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.events = undefined;
    this.cable.closed(this);
  }

  take(bytes: Uint8Array, hear: () => void): void {
    this.turn(() => {
      if (this.isClosed) return;
      hear();
      if (this.events === undefined) this.early.push(bytes);
      else this.events.data(bytes);
    });
  }

  drain(): void {
    this.turn(() => this.events?.drain());
  }

  /** The line has ended under it. */
  lose(reason: string): void {
    this.turn(() => {
      if (this.isClosed) return;
      this.isClosed = true;
      this.events?.close(reason);
      this.events = undefined;
    });
  }
}

export interface CableOptions extends WayNature {
  readonly clock: Clock;
  readonly trace: Trace;
  readonly chance: Chance;
  readonly sabotage: Sabotage;
  /** A socket tells both ends that it is closed and is made anew each time; a serial line stays, and tells nobody. */
  readonly isSocket: boolean;
  readonly rates: () => WriteFaultRates;
}

/** Whole frames, where they leave and where they arrive. */
export interface CableListener {
  left(sender: Sender, frame: Frame): void;
  arrived(sender: Sender, frame: Frame): void;
  /** Whether the cable shall be pulled now, so that this write of the board is lost with the line. */
  isAnswerLost(): boolean;
}

/** A host, a board, and what lies between them. */
export class Cable {
  readonly ways: Readonly<Record<Sender, Way>>;
  private readonly taps: Readonly<Record<Sender, { readonly leaving: Wiretap; readonly arriving: Wiretap }>>;
  private readonly ends: Partial<Record<Sender, End>> = {};

  constructor(private readonly options: CableOptions, private readonly listener: CableListener) {
    this.ways = { host: this.way('host'), board: this.way('board') };
    this.taps = { host: this.tapsOf('host'), board: this.tapsOf('board') };
  }

  /** Sits down at an end; whoever sat there hears nothing any more. */
  open(side: Sender, turn: Turn): End {
    const before = this.ends[side];
    if (before !== undefined) before.isClosed = true;
    const end = new End(side, this, turn);
    this.ends[side] = end;
    return end;
  }

  queuedBytes(side: Sender): number {
    return this.ways[side].queuedBytes;
  }

  later(action: () => void): void {
    this.options.clock.after(0, action);
  }

  carry(end: End, bytes: Uint8Array): void {
    if (this.options.sabotage.strikes('write')) {
      this.options.trace.tell('line', `a write of the ${end.side} fails`);
      if (this.options.isSocket || end.side === 'host') this.later(() => end.lose('the write failed'));
      if (this.options.isSocket) this.later(() => this.ends[other(end.side)]?.lose('the other end failed'));
      return;
    }
    this.taps[end.side].leaving.hear(bytes);
    if (end.side === 'board' && this.listener.isAnswerLost()) this.later(() => this.cut('the cable was pulled before the answer had passed'));
    else this.ways[end.side].send(bytes);
  }

  /** Pulls the cable out of the host; a socket's other end learns of it too. */
  cut(reason: string): void {
    this.options.trace.tell('line', reason);
    this.ends.host?.lose(reason);
    if (this.options.isSocket) this.ends.board?.lose(reason);
  }

  /** The process at the host's end is gone: a socket is closed for it, a serial line falls silent. */
  hostDied(): void {
    const { host } = this.ends;
    if (host === undefined || host.isClosed) return;
    host.isClosed = true;
    this.closed(host);
  }

  /** Lets the line be as it should. A socket that was half open stays dead: nobody can bring it back. */
  heal(): void {
    for (const way of Object.values(this.ways)) {
      way.slowMicroseconds = 0;
      if (!this.options.isSocket || way.blockage === 'stick') way.unblock();
    }
  }

  closed(end: End): void {
    if (!this.options.isSocket || this.ways[end.side].blockage !== 'none') return;
    this.options.clock.after(this.options.latencyMicroseconds, () => this.ends[other(end.side)]?.lose('the other end closed the connection'));
  }

  private way(sender: Sender): Way {
    const { clock, rates, chance } = this.options;
    return new Way(clock, this.options, rates, chance, { arrive: (bytes) => this.arrive(sender, bytes), drain: () => this.ends[sender]?.drain() });
  }

  private arrive(sender: Sender, bytes: Uint8Array): void {
    this.ends[other(sender)]?.take(bytes, () => this.taps[sender].arriving.hear(bytes));
  }

  private tapsOf(sender: Sender) {
    const { trace } = this.options;
    const place = sender === 'host' ? 'host → board' : 'host ← board';
    return {
      leaving: new Wiretap(trace, `${place}`, sender, (frame) => this.listener.left(sender, frame)),
      arriving: new Wiretap(trace, `${place} in`, sender, (frame) => this.listener.arrived(sender, frame)),
    };
  }
}

const other = (side: Sender): Sender => (side === 'host' ? 'board' : 'host');
