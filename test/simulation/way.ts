import type { Clock } from '../../firmware-protocol/clock.js';
import type { Chance } from './chance.js';
import { disturb, type WriteFaultRates } from './line-faults.js';

/** What a way tells. */
export interface WayEvents {
  /** Bytes have come out at the far end. */
  arrive(bytes: Uint8Array): void;
  /** The sender's queue has room again. */
  drain(): void;
}

export interface WayNature {
  readonly latencyMicroseconds: number;
  readonly byteMicroseconds: number;
}

const highMarkBytes = 32 * 1024;
const longestJoinMicroseconds = 3000;

/** One direction of a line: bytes take their time, and what the faults make of them arrives. */
export class Way {
  /** Above 0: everything comes so much later. */
  slowMicroseconds = 0;
  /** `vanish`: bytes are swallowed. `stick`: they pile up at the sender. */
  blockage: 'none' | 'vanish' | 'stick' = 'none';
  private stuck: Uint8Array[] = [];
  private held: Uint8Array[] = [];
  private freeAtMicroseconds = 0;
  private lastArrivalMicroseconds = 0;
  private isDrainDue = false;

  constructor(
    private readonly clock: Clock, private readonly nature: WayNature, private readonly rates: () => WriteFaultRates, private readonly chance: Chance,
    private readonly events: WayEvents,
  ) {}

  get queuedBytes(): number {
    const { byteMicroseconds } = this.nature;
    const leaving = byteMicroseconds === 0 ? 0 : Math.max(0, this.freeAtMicroseconds - this.clock.nowMicroseconds()) / byteMicroseconds;
    return Math.ceil(leaving) + this.stuck.reduce((sum, { length }) => sum + length, 0);
  }

  send(bytes: Uint8Array): void {
    if (this.blockage === 'vanish') return;
    if (this.blockage === 'stick') this.stuck.push(bytes);
    else this.depart(bytes);
    if (this.queuedBytes > highMarkBytes) this.promiseDrain();
  }

  /** Lets go what was stuck. */
  unblock(): void {
    if (this.blockage === 'none') return;
    this.blockage = 'none';
    const stuck = this.stuck.splice(0);
    for (const bytes of stuck) this.depart(bytes);
    if (stuck.length > 0) this.clock.after(0, () => this.events.drain());
  }

  private depart(bytes: Uint8Array): void {
    const now = this.clock.nowMicroseconds();
    this.freeAtMicroseconds = Math.max(now, this.freeAtMicroseconds) + Math.ceil(bytes.length * this.nature.byteMicroseconds);
    if (this.held.length > 0 || this.chance.happens(this.rates().join)) this.hold(bytes);
    else this.disturbed(bytes);
  }

  /** Keeps a write back, to come out as one chunk with those that follow soon. */
  private hold(bytes: Uint8Array): void {
    this.held.push(bytes);
    if (this.held.length > 1) return;
    this.clock.after(this.chance.below(longestJoinMicroseconds), () => this.disturbed(new Uint8Array(Buffer.concat(this.held.splice(0)))));
  }

  private disturbed(bytes: Uint8Array): void {
    const now = this.clock.nowMicroseconds();
    const undisturbed = Math.max(now, this.freeAtMicroseconds) + this.nature.latencyMicroseconds + this.slowMicroseconds;
    for (const piece of disturb(bytes, this.rates(), this.chance)) {
      const wanted = undisturbed + piece.delayMicroseconds;
      const at = piece.isInOrder ? Math.max(wanted, this.lastArrivalMicroseconds) : wanted;
      if (piece.isInOrder) this.lastArrivalMicroseconds = at;
      this.clock.after(at - now, () => this.events.arrive(piece.bytes));
    }
  }

  private promiseDrain(): void {
    if (this.isDrainDue || this.blockage === 'stick') return;
    this.isDrainDue = true;
    this.clock.after(this.freeAtMicroseconds - this.clock.nowMicroseconds(), () => {
      this.isDrainDue = false;
      this.events.drain();
    });
  }
}
