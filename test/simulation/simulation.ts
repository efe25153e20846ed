import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import { deviceMessageCodec } from '../../proto/codec.js';
import { SeededPrng } from '../rig/seeded-prng.js';
import { VirtualClock } from '../rig/virtual-clock.js';
import { Cable, type Turn } from './cable.js';
import { Chance } from './chance.js';
import { Controller } from './controller.js';
import { type FaultPlan, noFaultPlan } from './fault-plan.js';
import { Host } from './host.js';
import { JobWatch } from './job-watch.js';
import { Ledger } from './ledger.js';
import { Sabotage, type SabotagePlan } from './sabotage.js';
import { type ProfileChoice, profileOf } from './silicon.js';
import { Trace } from './trace.js';
import { Trust } from './trust.js';
import { Halt, Verdict } from './verdict.js';
import type { Work } from './work.js';

export interface SimulationOptions {
  readonly seed: number;
  readonly profile: ProfileChoice;
  readonly plan: FaultPlan;
  readonly isSocket: boolean;
  readonly pace: 'none' | 'real';
  readonly latencyMicroseconds: number;
  readonly byteMicroseconds: number;
  readonly isCanary: boolean;
  readonly sabotage?: SabotagePlan;
}

const firstFreeSourceLine = 256; // networks of the simulation lie below
const freeBitLines = 511; // the last one holds the worn cell
const wornCell = 511 * 512 + 511;
const connectMicroseconds = 1000;
const longestFrameBytes = 650;
const mostTurns = 1_000_000;
const mostTurnsAtOnce = 20_000;

/** A service, a line and a board in one process, under one clock and one seed. It does nothing by itself: a script moves it. */
export class Simulation {
  readonly clock = new VirtualClock();
  readonly trace = new Trace(() => this.clock.nowMicroseconds());
  readonly verdict = new Verdict();
  readonly ledger = new Ledger(this.trace, this.verdict);
  readonly watch = new JobWatch(this.trace, this.verdict);
  readonly trust: Trust;
  readonly sabotage: Sabotage;
  readonly controller: Controller;
  readonly chance: Chance;
  plan: FaultPlan;
  /** Until then nobody answers who connects. */
  refusesUntilMicroseconds = 0;
  host: Host | undefined;
  cable: Cable;
  private readonly lineChance: Chance;
  private readonly folder = mkdtempSync(join(tmpdir(), 'prime-hil-simulation-'));
  private turnAtMicroseconds = 0;
  private turnsAtOnce = 0;
  private isAnswerDue = false;
  private jobs = 0;
  private cells = 0;

  constructor(readonly options: SimulationOptions) {
    this.plan = options.plan;
    this.sabotage = new Sabotage(options.sabotage);
    this.chance = new Chance(new SeededPrng(options.seed));
    this.lineChance = this.chance.branch();
    this.trust = new Trust(this.trace, this.verdict, this.ledger, profileOf(options.profile));
    this.controller = new Controller({
      clock: this.clock, trace: this.trace, verdict: this.verdict, ledger: this.ledger, sabotage: this.sabotage, chance: this.chance.branch(),
      profile: options.profile, pace: options.pace, frameTimeMicroseconds: this.frameTimeMicroseconds, isCanary: options.isCanary, plan: () => this.plan,
      onPower: () => this.powerCameBack(),
    });
    this.cable = this.newCable();
    if (!options.isSocket) this.controller.attach(this.cable);
  }

  private get frameTimeMicroseconds(): number {
    return Math.ceil(this.options.byteMicroseconds * longestFrameBytes);
  }

  startHost(): Host {
    const { clock, trace, verdict, ledger, trust, controller, sabotage, watch, folder, chance } = this;
    this.trace.tell('host', 'starts');
    this.host = new Host({
      clock, trace, chance: chance.branch(), folder, frameTimeMicroseconds: this.frameTimeMicroseconds, sabotage, watch,
      newJobId: () => `job-${(this.jobs += 1)}`, connect: (turn) => this.connect(turn),
      observers: { ledger, trust, verdict, controller, isExact: this.options.profile === 'ideal' },
      shop: { ledger, verdict, wornCell, newCells: (count) => this.newCells(count) },
    });
    return this.host;
  }

  killHost(): void {
    this.host?.die();
    this.host = undefined;
    this.cable.hostDied();
  }

  submit(work: Work): string | undefined {
    return this.host?.submit(work)?.id;
  }

  /** Ends all faults: the line is whole, everybody answers, what failed is mended. */
  heal(): void {
    this.trace.tell('operator', 'ends all faults');
    this.plan = noFaultPlan;
    this.sabotage.end();
    this.refusesUntilMicroseconds = 0;
    this.controller.clock.hang(0);
    this.cable.heal();
  }

  /**
   * Lets time pass, turn by turn, until something holds. @returns false where it does not within the time
   * @throws Halt as soon as the run has failed
   */
  async until(holds: () => boolean, microseconds: number): Promise<boolean> {
    const end = this.clock.nowMicroseconds() + microseconds;
    await this.clock.advance(0); // what was asked for just now makes its timers
    for (let turns = 0; ; turns += 1) {
      if (this.verdict.failure !== undefined) throw new Halt();
      if (holds()) return true;
      this.watchForSpin();
      if (turns > mostTurns || !(await this.clock.step(end))) return false;
    }
  }

  /** Somebody who makes a timer for now again and again would stop the time for all. */
  private watchForSpin(): void {
    const now = this.clock.nowMicroseconds();
    this.turnsAtOnce = now === this.turnAtMicroseconds ? this.turnsAtOnce + 1 : 0;
    this.turnAtMicroseconds = now;
    if (this.turnsAtOnce > mostTurnsAtOnce) this.verdict.fail('liveness', `${mostTurnsAtOnce} turns happened and no time has passed`);
  }

  /** Leaves nothing on disk. A host that still lives dies. */
  abandon(): void {
    this.host?.die();
    this.host = undefined;
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Cells far apart, so that pulses on them are several steps of the board; the neighbour of each is free too. */
  private newCells(count: number): number[] {
    const first = this.cells;
    this.cells += count;
    return Array.from({ length: count }, (_, index) => {
      const number = first + index;
      return ((number * 157) % freeBitLines) * 512 + firstFreeSourceLine + 2 * Math.floor(number / freeBitLines);
    });
  }

  private connect(turn: Turn): Promise<ByteChannel> {
    const isRefused = this.sabotage.strikes('connect') || this.clock.nowMicroseconds() < this.refusesUntilMicroseconds;
    // Some who are not answered are not told so either: a firewall swallows what they send.
    const isSwallowed = isRefused && this.lineChance.happens(0.3);
    this.trace.tell('connect', isSwallowed ? 'swallowed' : isRefused ? 'refused' : 'accepted');
    if (isSwallowed) return new Promise(() => undefined);
    return new Promise((resolve, reject) => {
      this.clock.after(connectMicroseconds, () => turn(() => {
        if (isRefused || (this.options.isSocket && this.controller.isOff)) reject(new Error('connection refused'));
        else resolve(this.openLine(turn));
      }));
    });
  }

  private openLine(turn: Turn): ByteChannel {
    if (this.options.isSocket) {
      this.cable = this.newCable();
      this.controller.attach(this.cable);
    }
    return this.cable.open('host', turn);
  }

  private powerCameBack(): void {
    if (!this.options.isSocket) this.controller.attach(this.cable);
  }

  private newCable(): Cable {
    const { clock, trace, sabotage, lineChance: chance, options } = this;
    const { isSocket, latencyMicroseconds, byteMicroseconds } = options;
    return new Cable({ clock, trace, sabotage, chance, isSocket, latencyMicroseconds, byteMicroseconds, rates: () => this.plan.writes }, {
      left: (sender, frame) => {
        if (sender === 'host') this.trust.left(frame);
        else if (frame.type === 'DATA') this.isAnswerDue ||= isEffectAnswer(frame.payload);
      },
      arrived: (sender, frame) => {
        if (sender === 'host') this.controller.frameArrived(frame);
        else this.trust.arrived(frame);
      },
      isAnswerLost: () => {
        const isDue = this.isAnswerDue;
        this.isAnswerDue = false;
        return isDue && chance.happens(this.plan.writes['answer-loss']);
      },
    });
  }
}


/** Whether a message is the answer to a request that changed something. */
function isEffectAnswer(payload: Uint8Array): boolean {
  const message = deviceMessageCodec.decode(payload);
  if (!message.ok || !message.value.final) return false;
  const { scratch, resetCells, loadSnapshot } = message.value.final;
  return Boolean(scratch ?? resetCells ?? loadSnapshot);
}
