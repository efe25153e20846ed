import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { GaussianStream, gaussianOne, philox } from '../firmware-protocol/numerics/index.js';
import type { Profile } from './profile.js';

const cellCount = bitLineCount * sourceLineCount;
export const topCode = 65535;

/** What has happened to a cell. */
export const cellState = { pristine: 0, formed: 1, reset: 2 } as const;

/** Purposes of chance on a chip; each is a stream of its own. */
export const noiseStream = { formed: 1, pairMean: 2, forming: 3, snapshot: 4, residual: 5, multiply: 6, read: 7 } as const;

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

const serialMagic = 0x50434831; // "PCH1"

/**
 * The silicon: what every cell conducts and what was done to it. A formed chip is a pure function of profile and seed, and so is everything
 * that is done to it later, because each draw is keyed by the cell and what happened to it before.
 */
export class Chip {
  readonly chipId: string;
  /** Cell codes, bit line × 512 + source line, in units of the profile. */
  readonly codes = new Uint16Array(cellCount);
  readonly states = new Uint8Array(cellCount);
  readonly pulseCounts = new Uint16Array(cellCount);
  /** Rises before each operation that changes the array. */
  arrayEpoch = 0;
  /** Counts array reads, so that no two share their noise. */
  operationCount = 0;
  operationNanoseconds = 0;

  private constructor(readonly profile: Profile, readonly seed: number) {
    this.chipId = `sim-${profile.name}-${seed}`;
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

  private codeOf(microsiemens: number): number {
    const code = Math.round((microsiemens * 1000) / this.profile.cellUnitNanosiemens);
    return Math.min(topCode, Math.max(0, code));
  }

  private deviates(stream: number): (cell: number, again?: number) => number {
    const gaussians = new GaussianStream({ seed: this.seed, stream });
    const four = new Int32Array(4);
    return (cell, again = 0) => {
      gaussians.four(cell, again, 0, 0, four, 0);
      return four[0] / gaussianOne;
    };
  }

  private formCells(): void {
    const { formingYieldFraction, formedMeanMicrosiemens, formedSdMicrosiemens } = this.profile;
    const deviate = this.deviates(noiseStream.formed);
    const block = new Uint32Array(4);
    const limit = formingYieldFraction * 2 ** 32;
    for (let cell = 0; cell < cellCount; cell += 1) {
      block.fill(0);
      block[0] = cell;
      philox(block, this.seed, noiseStream.forming, 7);
      if (block[0] >= limit) continue;
      this.states[cell] = cellState.formed;
      this.codes[cell] = this.codeOf(formedMeanMicrosiemens + formedSdMicrosiemens * deviate(cell));
    }
  }

  private formPairs(): void {
    const { pairDifferenceSdMicrosiemens } = this.profile;
    const deviate = this.deviates(noiseStream.formed);
    const meanDeviate = this.deviates(noiseStream.pairMean);
    for (let plus = 0; plus < cellCount; plus += 2) {
      this.placeDifference(plus, plus + 1, pairDifferenceSdMicrosiemens * deviate(plus), meanDeviate(plus));
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
  }

  /** G+ − G− is the difference exactly, and both are at least 0. */
  private placeExactly(plus: number, minus: number, differenceNanosiemens: number): void {
    const common = Math.ceil(Math.abs(differenceNanosiemens) / 2);
    this.codes[plus] = Math.ceil(differenceNanosiemens / 2) + common;
    this.codes[minus] = common - Math.floor(differenceNanosiemens / 2);
    this.states[plus] = cellState.formed;
    this.states[minus] = cellState.formed;
  }

  private prune(cell: number, deviate: (cell: number, again: number) => number): void {
    const { residualMeanMicrosiemens, residualSdMicrosiemens } = this.profile;
    if (this.states[cell] === cellState.pristine) return;
    this.codes[cell] = this.codeOf(residualMeanMicrosiemens + residualSdMicrosiemens * deviate(cell, this.pulseCounts[cell]));
    this.states[cell] = cellState.reset;
  }

  /**
   * Gives the chip the pairs of a network, by the law of the profile. Only a simulator can do that.
   * @returns the number of pairs
   */
  loadSnapshot(tiles: readonly SnapshotTile[]): number {
    this.arrayEpoch += 1;
    const residual = this.deviates(noiseStream.residual);
    const meanDeviate = this.deviates(noiseStream.snapshot);
    let pairs = 0;
    for (const { firstBitLine, plusLines, minusLines, differenceNanosiemens, kept } of tiles) {
      for (let index = 0; index < kept.length; index += 1) {
        const line = index % plusLines.length;
        const first = (firstBitLine + (index - line) / plusLines.length) * sourceLineCount;
        const plus = first + plusLines[line];
        const minus = first + minusLines[line];
        const difference = differenceNanosiemens[index];
        if (this.profile.exactSnapshots) this.placeExactly(plus, minus, kept[index] === 1 ? difference : 0);
        else this.placeDifference(plus, minus, difference / 1000, meanDeviate(plus));
        if (kept[index] === 0) {
          this.prune(plus, residual);
          this.prune(minus, residual);
        }
      }
      pairs += kept.length;
    }
    return pairs;
  }

  /**
   * One RESET pulse on every cell of some bit lines whose bit is set. A pristine cell stays pristine. The first bit lines begin an operation.
   * @param cells 1 bit a cell, bit line × 512 + source line, bit i of byte i>>3
   * @returns the number of pulses
   */
  resetCells(cells: Uint8Array, firstBitLine = 0, endBitLine = bitLineCount): number {
    if (firstBitLine === 0) this.arrayEpoch += 1;
    const residual = this.deviates(noiseStream.residual);
    let pulses = 0;
    for (let cell = firstBitLine * sourceLineCount; cell < endBitLine * sourceLineCount; cell += 1) {
      if (((cells[cell >> 3] >> (cell & 7)) & 1) === 0) continue;
      this.pulseCounts[cell] += 1;
      this.prune(cell, residual);
      pulses += 1;
    }
    return pulses;
  }

  /** Takes conductances over from a recorded map; what conducts nothing is pristine. @param microsiemens one value a cell */
  setConductances(microsiemens: Float32Array): void {
    for (let cell = 0; cell < cellCount; cell += 1) {
      this.codes[cell] = this.codeOf(microsiemens[cell]);
      this.states[cell] = this.codes[cell] === 0 ? cellState.pristine : cellState.formed;
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

  /** The chip as bytes, for a chip file: 28 bytes of header, then codes, states and pulse counters. */
  serialise(): Uint8Array {
    const bytes = new Uint8Array(28 + cellCount * 5);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, serialMagic, true);
    view.setUint32(4, this.seed, true);
    view.setUint32(8, this.arrayEpoch, true);
    view.setFloat64(12, this.operationCount, true);
    view.setFloat64(20, this.operationNanoseconds, true);
    bytes.set(new Uint8Array(this.codes.buffer), 28);
    bytes.set(this.states, 28 + cellCount * 2);
    bytes.set(new Uint8Array(this.pulseCounts.buffer), 28 + cellCount * 3);
    return bytes;
  }

  /** @returns undefined where the bytes are no chip file */
  static deserialise(bytes: Uint8Array, profile: Profile): Chip | undefined {
    if (bytes.length !== 28 + cellCount * 5) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(0, true) !== serialMagic) return undefined;
    const chip = new Chip(profile, view.getUint32(4, true));
    chip.arrayEpoch = view.getUint32(8, true);
    chip.operationCount = view.getFloat64(12, true);
    chip.operationNanoseconds = view.getFloat64(20, true);
    const part = (from: number, length: number) => bytes.slice(28 + from, 28 + from + length);
    chip.codes.set(new Uint16Array(part(0, cellCount * 2).buffer));
    chip.states.set(part(cellCount * 2, cellCount));
    chip.pulseCounts.set(new Uint16Array(part(cellCount * 3, cellCount * 2).buffer));
    return chip;
  }
}
