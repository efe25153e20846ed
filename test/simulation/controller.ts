import type { Clock } from '../../firmware-protocol/clock.js';
import type { Frame } from '../../firmware-protocol/frame.js';
import { Board } from '../../sim/board.js';
import type { Chip } from '../../sim/chip.js';
import { sha256 } from '../rig/bench.js';
import type { Cable } from './cable.js';
import type { Chance } from './chance.js';
import type { FaultPlan } from './fault-plan.js';
import { ForgetfulJournal } from './forgetful-journal.js';
import { GuardedClock } from './guarded-clock.js';
import type { Ledger } from './ledger.js';
import type { Sabotage } from './sabotage.js';
import { chipFrom, type ProfileChoice, savedChip } from './silicon.js';
import { snapshotName } from './snapshot-name.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

export interface ControllerOptions {
  readonly clock: Clock;
  readonly trace: Trace;
  readonly verdict: Verdict;
  readonly ledger: Ledger;
  readonly sabotage: Sabotage;
  readonly chance: Chance;
  readonly profile: ProfileChoice;
  readonly pace: 'none' | 'real';
  readonly frameTimeMicroseconds: number;
  readonly isCanary: boolean;
  readonly plan: () => FaultPlan;
  /** The controller has power again; a serial line must be given to it. */
  readonly onPower: () => void;
}

const powerOffMicroseconds = 500_000;

/** The board with its chip, as hardware: it can lose power, hang, be reset, and is looked at after each of its turns. */
export class Controller {
  chip: Chip;
  board: Board;
  clock: GuardedClock;
  isOff = false;
  /** ESTOP is in force. */
  isStopped = false;
  private saved: Uint8Array;
  private scratchSeen = 0;
  private snapshots = new Map<string, number>();
  private savedSnapshots = new Map<string, number>();
  private isStopHeard = false;

  constructor(private readonly options: ControllerOptions) {
    this.saved = savedChip(options.profile);
    this.chip = this.newChip();
    this.clock = this.newClock();
    this.board = this.newBoard();
  }

  attach(cable: Cable): void {
    const { clock } = this;
    this.board.attach(cable.open('board', (action) => clock.turn(action)));
  }

  /** The reset button. */
  restart(): void {
    if (this.isOff) return;
    this.options.trace.tell('board', 'reset button');
    this.board.restart();
  }

  hang(microseconds: number): void {
    this.options.trace.tell('board', `hangs for ${microseconds} µs`);
    this.clock.hang(microseconds);
  }

  /** Power fails and comes back: what was saved is there. */
  powerCut(): void {
    if (this.isOff) return;
    this.look();
    this.options.trace.tell('board', 'power fails');
    this.isOff = true;
    this.clock.kill();
    this.board.close();
    this.options.clock.after(this.options.chance.below(powerOffMicroseconds), () => this.powerOn());
  }

  frameArrived(frame: Frame): void {
    if (frame.type === 'ESTOP') this.isStopHeard = true;
  }

  close(): void {
    this.look();
    this.isOff = true;
    this.board.close();
    const { pulses } = this.chip;
    const watched = [...this.options.ledger.watchedCells].reduce((sum, cell) => sum + this.chip.pulseCounts[cell], 0);
    this.options.verdict.expect(pulses === watched, () => `the chip has had ${pulses} pulses, ${watched} of them on cells that somebody named`);
  }

  /** Compares the chip with what it was after the last turn. */
  look(): void {
    if (this.isOff) return;
    const before = this.options.trace.length;
    const { ledger } = this.options;
    for (const cell of ledger.watchedCells) ledger.observed(ledger.cellName(cell), this.chip.pulseCounts[cell]);
    for (const [name, count] of this.snapshots) ledger.observed(name, count);
    ledger.added(this.board.scratchCount - this.scratchSeen);
    this.scratchSeen = this.board.scratchCount;
    const isChanged = this.options.trace.length > before;
    this.options.verdict.expect(!this.isStopped || !isChanged, () => 'the array was changed while ESTOP was in force');
    this.isStopped ||= this.isStopHeard;
  }

  private powerOn(): void {
    this.options.trace.tell('board', 'power is back');
    this.isOff = false;
    this.isStopped = false;
    this.isStopHeard = false;
    this.scratchSeen = 0;
    this.snapshots = new Map(this.savedSnapshots);
    this.chip = this.newChip();
    this.clock = this.newClock();
    this.board = this.newBoard();
    this.look();
    this.options.onPower();
  }

  private newClock(): GuardedClock {
    return new GuardedClock(this.options.clock, () => this.look());
  }

  private newBoard(): Board {
    const { chance, pace, frameTimeMicroseconds, isCanary } = this.options;
    const canary = isCanary ? { journal: () => new ForgetfulJournal(0) } : {};
    const board = new Board({
      chip: this.chip, clock: this.clock, prng: chance.prng, sha256, pace, frameTimeMicroseconds, persist: (chip) => this.persist(chip), ...canary,
    });
    // Also where a host has asked for it, what the old boot has counted is seen before it is forgotten.
    const restart = board.restart.bind(board);
    board.restart = (reason) => {
      this.look();
      this.options.trace.tell('board', 'restarts');
      this.scratchSeen = 0;
      this.isStopped = false;
      this.isStopHeard = false;
      restart(reason);
    };
    return board;
  }

  private newChip(): Chip {
    const chip = chipFrom(this.saved, this.options.profile);
    const load = chip.loadSnapshot.bind(chip);
    chip.loadSnapshot = (tiles) => {
      const name = snapshotName(tiles);
      this.snapshots.set(name, (this.snapshots.get(name) ?? 0) + 1);
      return load(tiles);
    };
    return chip;
  }

  /** What the board does before it acknowledges; here power fails in the middle of a pulse. */
  private persist(chip: Chip): void {
    const { sabotage, chance, plan } = this.options;
    if (sabotage.strikes('persist')) throw new Error('no space left on the medium');
    const isCut = chance.happens(plan().powerCutInPulse);
    if (!isCut || chance.happens(plan().savedBeforePowerCut)) this.save(chip);
    if (!isCut) return;
    this.clock.kill();
    this.options.trace.tell('board', 'power fails in the middle of a pulse');
    this.isOff = true;
    this.board.close();
    this.options.clock.after(chance.below(powerOffMicroseconds), () => this.powerOn());
    throw new Error('power failed');
  }

  private save(chip: Chip): void {
    this.saved = chip.serialise();
    this.savedSnapshots = new Map(this.snapshots);
  }
}
