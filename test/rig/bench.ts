import { createHash } from 'node:crypto';
import { Device, type DeviceEvent, type RequestLog } from '../../driver/index.js';
import { Board } from '../../sim/board.js';
import { Chip } from '../../sim/chip.js';
import type { Firmware } from '../../sim/firmware.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import { type Intercept, Line, type LineFaults, type LineShape, noFaults } from './line.js';
import { SeededPrng } from './seeded-prng.js';
import { VirtualClock } from './virtual-clock.js';

export const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());

export interface RigOptions {
  readonly seed?: number;
  readonly profile?: string;
  readonly overrides?: object;
  readonly faults?: LineFaults;
  readonly note?: (chip: Chip) => void;
  readonly persist?: (chip: Chip) => void;
  readonly pace?: 'none' | 'real';
  readonly firmware?: Firmware;
  /** Speed of a serial line; without it the line takes no time. */
  readonly baud?: number;
  readonly shape?: Partial<LineShape>;
  readonly requestLog?: RequestLog;
  readonly deadManMilliseconds?: number;
}

const bitsPerByte = 10;
const frameBytes = 650;

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
  /** Sees every write of every line. */
  intercept: Intercept | undefined;
  readonly frameTimeMicroseconds: number;
  private readonly shape: LineShape;

  constructor(options: RigOptions = {}) {
    const { seed = 1, profile = 'ideal', overrides = {}, faults = noFaults, note, persist, pace = 'none', firmware, baud } = options;
    this.prng = new SeededPrng(seed);
    this.faults = faults;
    const byteTimeMicroseconds = baud === undefined ? 0 : (bitsPerByte * 1e6) / baud;
    this.frameTimeMicroseconds = Math.ceil(byteTimeMicroseconds * frameBytes);
    this.shape = { delayMicroseconds: 100, byteTimeMicroseconds, ...options.shape };
    this.chip = Chip.formed(overrideProfile(profileNamed(profile), overrides), 1);
    const { clock, prng, chip, frameTimeMicroseconds } = this;
    const keeping = { ...(note && { note }), ...(persist && { persist }) };
    this.board = new Board({ chip, clock, prng, sha256, pace, frameTimeMicroseconds, ...keeping, ...(firmware && { firmware }) });
    this.device = this.newHost(options);
  }

  /** Another run of the driver at the same bench: what a restarted service makes. */
  newHost({ requestLog, deadManMilliseconds }: Pick<RigOptions, 'requestLog' | 'deadManMilliseconds'> = {}): Device {
    const { clock, prng, frameTimeMicroseconds } = this;
    return new Device({
      name: 'rig', clock, prng, onEvent: (event) => this.events.push(event), connect: () => this.connect(), frameTimeMicroseconds,
      ...(requestLog && { requestLog }), ...(deadManMilliseconds !== undefined && { deadManMilliseconds }),
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
    const line = new Line(this.clock, this.prng, this.shape);
    line.faults = this.faults;
    line.intercept = (from, bytes) => (this.intercept === undefined ? bytes : this.intercept(from, bytes));
    this.line = line;
    this.board.attach(line.board);
    return Promise.resolve(line.host);
  }
}
