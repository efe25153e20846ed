import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { type Chip, topCode } from './chip.js';
import { CrossbarSolver } from './line-resistance.js';

/** Bit lines whose cells of one source line have about the same way to the driver and the converter. */
const neighbourhood = 32;

/**
 * The cells as the converters meet them behind the resistance of lines and multiplexers: what a cell adds to its source line per volt at its bit
 * line's driver, as a code. Without either resistance that is the chip's own code. Codes are worked out a source line at a time, when one
 * of it is first asked for, for the array as its last pulse left it. What a cell has done since, by ageing or by a pulse of the operation under
 * way, counts with the share of it that gets through: its own change, without what that does to its neighbours.
 */
export class EffectiveArray {
  private readonly isOff: boolean;
  /** The chip's own codes that the effective ones belong to. */
  private readonly ownCodes: Uint16Array;
  private readonly codes: Uint16Array;
  /** What of a small change of the cell its source line sees. */
  private readonly shares: Float32Array;
  private readonly isKnown = new Uint8Array(sourceLineCount);
  private epoch = -1;
  private solver: CrossbarSolver | undefined;
  private siemens = new Float64Array(0);
  /** Fraction of the driver's voltage that each bit line carries when only multiplexers resist. */
  private readonly gains = new Float64Array(bitLineCount);

  constructor(private readonly chip: Chip) {
    const { lineResistanceOhmsPerCell, multiplexerResistanceOhms } = chip.profile;
    this.isOff = lineResistanceOhmsPerCell === 0 && multiplexerResistanceOhms === 0;
    const count = this.isOff ? 0 : chip.codes.length;
    this.ownCodes = new Uint16Array(count);
    this.codes = new Uint16Array(count);
    this.shares = new Float32Array(count);
  }

  /** Takes in all pulses so far, which an operation may have given after it began. To be called before codes of many cells are asked for. */
  settle(): void {
    if (this.isOff) return;
    if (this.epoch < 0 || this.ownCodes.some((code, cell) => code !== this.chip.codes[cell])) this.renew();
    this.epoch = this.chip.arrayEpoch;
  }

  /** Works source lines out that will be asked for, one a step: the line that the board hangs on has its turn between them. */
  *preparing(sourceLines: Iterable<number>): Generator<undefined, void> {
    if (this.isOff) return;
    this.settle();
    for (const sourceLine of sourceLines) {
      if (this.isKnown[sourceLine] !== 0) continue;
      this.workOut(sourceLine);
      yield;
    }
  }

  /** @param cell bit line × 512 + source line */
  code(cell: number): number {
    const now = this.chip.codeNow(cell);
    if (this.isOff) return now;
    if (this.epoch !== this.chip.arrayEpoch) this.settle();
    const sourceLine = cell % sourceLineCount;
    if (this.isKnown[sourceLine] === 0) this.workOut(sourceLine);
    const change = Math.round((now - this.ownCodes[cell]) * this.shares[cell]);
    return Math.min(topCode, Math.max(0, this.codes[cell] + change));
  }

  private renew(): void {
    this.isKnown.fill(0);
    this.ownCodes.set(this.chip.codes);
    if (this.chip.profile.lineResistanceOhmsPerCell === 0) this.renewGains();
    else this.renewSolver();
  }

  /** Source lines are at ground all along, so a bit line's cells are one conductance behind its multiplexer. */
  private renewGains(): void {
    const { multiplexerResistanceOhms, cellUnitNanosiemens } = this.chip.profile;
    for (let bitLine = 0; bitLine < bitLineCount; bitLine += 1) {
      let codes = 0;
      for (let cell = bitLine * sourceLineCount; cell < (bitLine + 1) * sourceLineCount; cell += 1) codes += this.ownCodes[cell];
      this.gains[bitLine] = 1 / (1 + multiplexerResistanceOhms * codes * cellUnitNanosiemens * 1e-9);
    }
  }

  private renewSolver(): void {
    const { lineResistanceOhmsPerCell, multiplexerResistanceOhms, cellUnitNanosiemens } = this.chip.profile;
    if (this.solver === undefined) this.siemens = new Float64Array(this.chip.codes.length);
    for (let cell = 0; cell < this.siemens.length; cell += 1) this.siemens[cell] = this.ownCodes[cell] * cellUnitNanosiemens * 1e-9;
    this.solver?.refresh();
    this.solver ??= new CrossbarSolver({
      bitLineCount,
      sourceLineCount,
      conductancesSiemens: this.siemens,
      bitLineOhmsPerCell: lineResistanceOhmsPerCell,
      sourceLineOhmsPerCell: lineResistanceOhmsPerCell,
      driverOhms: multiplexerResistanceOhms,
    });
  }

  private workOut(sourceLine: number): void {
    if (this.chip.profile.lineResistanceOhmsPerCell === 0) this.scale(sourceLine);
    else this.solve(sourceLine);
    this.isKnown[sourceLine] = 1;
  }

  private scale(sourceLine: number): void {
    for (let bitLine = 0, cell = sourceLine; bitLine < bitLineCount; bitLine += 1, cell += sourceLineCount) {
      this.codes[cell] = Math.round(this.ownCodes[cell] * this.gains[bitLine]);
      this.shares[cell] = this.gains[bitLine];
    }
  }

  private solve(sourceLine: number): void {
    const unitSiemens = this.chip.profile.cellUnitNanosiemens * 1e-9;
    const column = this.solver?.effectiveColumn(sourceLine) ?? [];
    for (let bitLine = 0; bitLine < bitLineCount; bitLine += 1) {
      this.codes[bitLine * sourceLineCount + sourceLine] = Math.min(topCode, Math.round(column[bitLine] / unitSiemens));
    }
    for (let first = 0, share = 1; first < bitLineCount; first += neighbourhood) {
      share = this.shareOf(sourceLine, first) ?? share;
      for (let bitLine = first; bitLine < first + neighbourhood; bitLine += 1) this.shares[bitLine * sourceLineCount + sourceLine] = share;
    }
  }

  /**
   * The slope of effective over own codes among neighbours: effective = share · own + what comes by way of other cells, and both are much the same
   * for all of them. Undefined where all conduct the same, which tells nothing.
   */
  private shareOf(sourceLine: number, firstBitLine: number): number | undefined {
    const cells = Array.from({ length: neighbourhood }, (_, index) => (firstBitLine + index) * sourceLineCount + sourceLine);
    const meanOwn = cells.reduce((sum, cell) => sum + this.ownCodes[cell], 0) / neighbourhood;
    const meanEffective = cells.reduce((sum, cell) => sum + this.codes[cell], 0) / neighbourhood;
    const variance = cells.reduce((sum, cell) => sum + (this.ownCodes[cell] - meanOwn) ** 2, 0);
    const covariance = cells.reduce((sum, cell) => sum + (this.ownCodes[cell] - meanOwn) * (this.codes[cell] - meanEffective), 0);
    return variance === 0 ? undefined : Math.min(1, Math.max(0, covariance / variance));
  }
}
