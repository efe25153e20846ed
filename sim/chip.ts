import { cellCount, sourceLineCount } from '../firmware-protocol/limits.js';
import type { Pulse } from '../proto/message.js';
import { AgeingLaw } from './ageing.js';
import { CellDeviates, Chance, noiseStream } from './chance.js';
import { ChipState, seedOf } from './chip-state.js';
import { FormingLaw } from './forming.js';
import type { Profile } from './profile.js';
import { type SwitchedCell, SwitchingLaw } from './switching.js';

export const topCode = 65535;

/** What has happened to a cell. A cell that was SET counts as formed again. */
export const cellState = { pristine: 0, formed: 1, reset: 2 } as const;

/** A RESET that moves every cell all the way. */
const fullReset: Pulse = { amplitudeMillivolts: 1_000_000, widthNanoseconds: 1000, complianceMicroamperes: 0 };

/** The pairs that one tile of a network asks for; rows are bit lines. */
export interface SnapshotTile {
  readonly firstBitLine: number;
  readonly plusLines: readonly number[];
  readonly minusLines: readonly number[];
  /** Bit line by bit line, then line by line. */
  readonly differenceNanosiemens: ArrayLike<number>;
  /** 1 kept, 0 pruned, in the same order. */
  readonly kept: Uint8Array;
}

/** Squares of cell codes are kept in units of 2^12, so that the sum over 512 cells fits 32 bits (NUMERICS.md §"Read noise"). */
const squareUnit = 2 ** 12;

/**
 * The silicon: what every cell conducts and what was done to it. A formed chip is a pure function of profile and seed, and so is everything
 * that is done to it later, because each draw is keyed by the cell and what happened to it before.
 */
export class Chip extends ChipState {
  readonly chipId: string;
  private readonly chance: Chance;
  private readonly forming: FormingLaw;
  private readonly switching: SwitchingLaw;
  private readonly ageing: AgeingLaw;
  private readonly noiseDeviates: CellDeviates;

  private constructor(readonly profile: Profile, seed: number) {
    super(seed);
    this.chipId = `sim-${profile.name}-${seed}`;
    this.chance = new Chance(seed);
    this.forming = new FormingLaw(profile, this.chance);
    this.switching = new SwitchingLaw(profile, this.chance);
    this.ageing = new AgeingLaw(profile, this.chance);
    this.noiseDeviates = new CellDeviates(this.chance, noiseStream.noiseScale);
  }

  /** A chip as it comes from the fab: nothing conducts. */
  static pristine(profile: Profile, seed: number): Chip {
    return new Chip(profile, seed);
  }

  /** A chip whose forming is done, by the law of its profile. */
  static formed(profile: Profile, seed: number): Chip {
    const chip = new Chip(profile, seed);
    if (profile.formedLaw === 'pairs') chip.formPairs();
    else chip.formCells();
    return chip;
  }

  get pulses(): number {
    return this.pulseCounts.reduce((sum, count) => sum + count, 0);
  }

  /** A name of the slow states of the array: while it stays the same, so does what every cell conducts. */
  get stateName(): string {
    return this.ageing.isOn ? `${this.arrayEpoch}@${this.slowNanoseconds}` : `${this.arrayEpoch}`;
  }

  /** Slow states are looked at so often: within one inference they stand still. */
  private get slowNanoseconds(): number {
    return this.ageing.momentNanoseconds(this.operationNanoseconds, this.movedAtNanoseconds);
  }

  /** What a cell conducts now, as a code: what its last pulse left, and what time has made of it. */
  codeNow(cell: number): number {
    const code = this.codes[cell];
    if (!this.ageing.isOn || code === 0 || code === topCode) return code;
    const { slowNanoseconds } = this;
    const factor = this.lastingFactor(cell, slowNanoseconds) * this.ageing.passingFactor(cell, slowNanoseconds);
    return Math.min(topCode - 1, Math.round(code * factor));
  }

  /** What is left of a conductance when it has aged so long; a level that the cell will leave again does not count. */
  private lastingFactor(cell: number, nowNanoseconds: number): number {
    return this.ageing.driftFactor(cell, this.movedByPulse[cell], this.changedAtNanoseconds[cell], nowNanoseconds) * this.disturbFactor(cell);
  }

  private disturbFactor(cell: number): number {
    if (!this.ageing.isDisturbing) return 1;
    const drivenNanoseconds = this.drivenNanoseconds[Math.floor(cell / sourceLineCount)] - this.drivenAtChangeNanoseconds[cell];
    return this.ageing.disturbFactor(drivenNanoseconds, this.wordLinePulses[this.wordLineOf(cell)] - this.wordLinePulsesAtChange[cell]);
  }

  /** What a cell conducts now, µS, as no converter sees it; above what a code can say it is infinite. */
  microsiemens(cell: number): number {
    const code = this.codeNow(cell);
    return code === topCode ? Number.POSITIVE_INFINITY : (code * this.profile.cellUnitNanosiemens) / 1000;
  }

  /**
   * Square of a cell's code in units of 2^12, times how much noisier than the average this cell is: the variance of its read noise but for what is
   * the same for all cells. Its scale is |1 + spread · z| over the root of 1 + spread², whose mean square is 1.
   */
  noiseSquare(cell: number, code: number): number {
    const { readNoiseSpread } = this.profile;
    if (readNoiseSpread === 0) return Math.round((code * code) / squareUnit);
    const scale = 1 + readNoiseSpread * this.noiseDeviates.of(cell);
    return Math.round((code * code * scale * scale) / (squareUnit * (1 + readNoiseSpread * readNoiseSpread)));
  }

  private codeOf(microsiemens: number): number {
    const code = Math.round((microsiemens * 1000) / this.profile.cellUnitNanosiemens);
    return Math.min(topCode, Math.max(0, code));
  }

  private formCells(): void {
    for (let cell = 0; cell < cellCount; cell += 1) {
      if (!this.forming.isAmongFirst(cell, this.profile.formingYieldFraction)) continue;
      this.states[cell] = cellState.formed;
      this.codes[cell] = this.codeOf(this.forming.formedMicrosiemens(cell));
    }
  }

  private formPairs(): void {
    const { pairDifferenceSdMicrosiemens } = this.profile;
    for (let plus = 0; plus < cellCount; plus += 2) {
      const difference = pairDifferenceSdMicrosiemens * this.chance.normal(noiseStream.formed, plus);
      this.placeDifference(plus, plus + 1, difference, this.chance.normal(noiseStream.pairMean, plus));
    }
  }

  /** Two independent cells given their difference: G± = mean + c ± difference/2, c from the chip's seed; a cell conducts at least nothing. */
  private placeDifference(plus: number, minus: number, differenceMicrosiemens: number, meanDeviate: number): void {
    const { formedMeanMicrosiemens, pairMeanSdMicrosiemens } = this.profile;
    const mean = formedMeanMicrosiemens + pairMeanSdMicrosiemens * meanDeviate;
    this.codes[plus] = this.codeOf(mean + differenceMicrosiemens / 2);
    this.codes[minus] = this.codeOf(mean - differenceMicrosiemens / 2);
    this.states[plus] = cellState.formed;
    this.states[minus] = cellState.formed;
    this.changed.add(plus).add(minus);
  }

  /** G+ − G− is the difference exactly, and both are at least 0. */
  private placeExactly(plus: number, minus: number, differenceNanosiemens: number): void {
    const common = Math.ceil(Math.abs(differenceNanosiemens) / 2);
    this.codes[plus] = Math.ceil(differenceNanosiemens / 2) + common;
    this.codes[minus] = common - Math.floor(differenceNanosiemens / 2);
    this.states[plus] = cellState.formed;
    this.states[minus] = cellState.formed;
    this.changed.add(plus).add(minus);
  }

  private prune(cell: number): void {
    this.move(cell, this.switching.reset(this.switchedCell(cell), fullReset));
    this.states[cell] = cellState.reset;
  }

  /** What a pulse finds, which is counted already: what time has made of the cell, but not a level that it will leave again. */
  private switchedCell(cell: number): SwitchedCell {
    const pulses = this.pulseCounts[cell];
    const lasting = this.ageing.isOn ? this.lastingFactor(cell, this.operationNanoseconds) : 1;
    const microsiemens = (this.codes[cell] * lasting * this.profile.cellUnitNanosiemens) / 1000;
    return { cell, microsiemens, pulses, cycles: pulses - this.formingCounts[cell] };
  }

  /** A pulse reaches a cell: it counts, whatever it does, and opens the gates of its word line. */
  private strike(cell: number): void {
    this.changed.add(cell);
    this.pulseCounts[cell] += 1;
    this.wordLinePulses[this.wordLineOf(cell)] += 1;
    // It is no neighbour of its own.
    this.wordLinePulsesAtChange[cell] += 1;
  }

  /** @param microsiemens undefined: the pulse was too weak, and the cell ages on as if there had been none */
  private move(cell: number, microsiemens: number | undefined): void {
    if (microsiemens === undefined) return;
    this.codes[cell] = this.codeOf(microsiemens);
    this.movedByPulse[cell] = this.pulseCounts[cell];
    this.changedAtNanoseconds[cell] = this.operationNanoseconds;
    this.movedAtNanoseconds = this.operationNanoseconds;
    this.drivenAtChangeNanoseconds[cell] = this.drivenNanoseconds[Math.floor(cell / sourceLineCount)];
    this.wordLinePulsesAtChange[cell] = this.wordLinePulses[this.wordLineOf(cell)];
  }

  private wordLineOf(cell: number): number {
    return this.profile.wordLines === 'along-bit-lines' ? Math.floor(cell / sourceLineCount) : cell % sourceLineCount;
  }

  /** Called before the first pulse of an operation. */
  beginOperation(): void {
    this.arrayEpoch += 1;
  }

  /** One forming pulse. A cell that is not pristine must not get one: whoever calls sees to that. */
  form(cell: number, pulse: Pulse): void {
    if (this.states[cell] !== cellState.pristine) throw new RangeError(`cell ${cell} was formed before`);
    this.strike(cell);
    this.formingCounts[cell] += 1;
    const formed = this.forming.form(cell, pulse);
    this.move(cell, formed?.microsiemens);
    if (formed !== undefined) this.states[cell] = cellState.formed;
  }

  /** One SET pulse. A cell that never formed must not get one: it would be formed uncontrolled. */
  set(cell: number, pulse: Pulse): void {
    if (this.states[cell] === cellState.pristine) throw new RangeError(`cell ${cell} never formed`);
    this.strike(cell);
    this.setCounts[cell] += 1;
    this.move(cell, this.switching.set(this.switchedCell(cell), pulse));
    this.states[cell] = cellState.formed;
  }

  /** One RESET pulse. A pristine cell stays pristine. */
  reset(cell: number, pulse: Pulse): void {
    this.strike(cell);
    if (this.states[cell] === cellState.pristine) return;
    this.move(cell, this.switching.reset(this.switchedCell(cell), pulse));
    this.states[cell] = cellState.reset;
  }

  /**
   * Gives the chip the pairs of a network, by the law of the profile. Only a simulator can do that.
   * @returns the number of pairs
   */
  loadSnapshot(tiles: readonly SnapshotTile[]): number {
    this.arrayEpoch += 1;
    let pairs = 0;
    for (const { firstBitLine, plusLines, minusLines, differenceNanosiemens, kept } of tiles) {
      for (let index = 0; index < kept.length; index += 1) {
        const line = index % plusLines.length;
        const first = (firstBitLine + (index - line) / plusLines.length) * sourceLineCount;
        const plus = first + plusLines[line];
        const minus = first + minusLines[line];
        const difference = differenceNanosiemens[index];
        if (this.profile.exactSnapshots) this.placeExactly(plus, minus, kept[index] === 1 ? difference : 0);
        else this.placeDifference(plus, minus, difference / 1000, this.chance.normal(noiseStream.snapshot, plus));
        if (kept[index] === 0) {
          this.prune(plus);
          this.prune(minus);
        }
      }
      pairs += kept.length;
    }
    return pairs;
  }

  /**
   * Takes conductances over from a recorded map. A cell that was never formed is pristine, whatever its reads said; without `unformed` those are the ones
   * that conduct nothing.
   * @param microsiemens one value a cell
   */
  setConductances(microsiemens: ArrayLike<number>, unformed?: Uint8Array): void {
    for (let cell = 0; cell < cellCount; cell += 1) {
      this.codes[cell] = this.codeOf(microsiemens[cell]);
      const isPristine = unformed === undefined ? this.codes[cell] === 0 : unformed[cell] === 1;
      this.states[cell] = isPristine ? cellState.pristine : cellState.formed;
      this.changed.add(cell);
    }
  }

  /** What the array state is the digest of: chip id, array epoch, what was reset, and the pulse counters; never a conductance. */
  stateBytes(): Uint8Array {
    const id = new TextEncoder().encode(this.chipId);
    const bytes = new Uint8Array(id.length + 4 + this.states.length + this.pulseCounts.byteLength);
    bytes.set(id);
    new DataView(bytes.buffer).setUint32(id.length, this.arrayEpoch, true);
    bytes.set(this.states, id.length + 4);
    bytes.set(new Uint8Array(this.pulseCounts.buffer), id.length + 4 + this.states.length);
    return bytes;
  }

  /** @returns undefined where the bytes are no chip */
  static deserialise(bytes: Uint8Array, profile: Profile): Chip | undefined {
    const seed = seedOf(bytes);
    if (seed === undefined) return undefined;
    const chip = new Chip(profile, seed);
    return chip.restoreAll(bytes) ? chip : undefined;
  }
}
