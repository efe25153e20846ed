import { createHash } from 'node:crypto';
import { Device, type DeviceEvent } from '../../driver/index.js';
import { Board } from '../../sim/board.js';
import { Chip } from '../../sim/chip.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import { Line, type LineFaults, noFaults } from './line.js';
import { SeededPrng } from './seeded-prng.js';
import { VirtualClock } from './virtual-clock.js';

export const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());

export interface RigOptions {
  readonly seed?: number;
  readonly profile?: string;
  readonly overrides?: object;
  readonly faults?: LineFaults;
  readonly persist?: (chip: Chip) => void;
  readonly pace?: 'none' | 'real';
}

/** Driver, line and board in one process, under one clock and one seed. */
export class Rig {
  readonly clock = new VirtualClock();
  readonly prng: SeededPrng;
  readonly chip: Chip;
  readonly board: Board;
  readonly device: Device;
  readonly events: DeviceEvent[] = [];
  line: Line | undefined;
  /** While false, nobody answers at the other end. */
  isPlugged = true;
  faults: LineFaults;

  constructor({ seed = 1, profile = 'ideal', overrides = {}, faults = noFaults, persist, pace = 'none' }: RigOptions = {}) {
    this.prng = new SeededPrng(seed);
    this.faults = faults;
    this.chip = Chip.formed(overrideProfile(profileNamed(profile), overrides), 1);
    this.board = new Board({ chip: this.chip, clock: this.clock, prng: this.prng, sha256, pace, ...(persist && { persist }) });
    this.device = new Device({
      name: 'rig', clock: this.clock, prng: this.prng, onEvent: (event) => this.events.push(event), connect: () => this.connect(),
    });
  }

  /** Pulls the cable; it stays out until `plug`. */
  unplug(): void {
    this.isPlugged = false;
    this.line?.cut();
  }

  plug(): void {
    this.isPlugged = true;
  }

  /** Runs until a promise settles. */
  until<Value>(promise: Promise<Value>): Promise<Value> {
    return this.clock.until(promise);
  }

  ready() {
    return this.until(this.device.whenReady(60_000));
  }

  private connect() {
    if (!this.isPlugged) return Promise.reject(new Error('nobody is at the other end'));
    const line = new Line(this.clock, this.prng);
    line.faults = this.faults;
    this.line = line;
    this.board.attach(line.board);
    return Promise.resolve(line.host);
  }
}
