import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { type Chip, topCode } from './chip.js';
import { CrossbarSolver } from './line-resistance.js';

/**
 * The cells as the converters meet them behind the resistance of lines and multiplexers: what a cell adds to its source line per volt at its bit
 * line's driver, as a code. Without either resistance that is the chip's own code. Codes are worked out a source line at a time, when one
 * of it is first asked for, and hold until the array changes.
 */
export class EffectiveArray {
  private readonly isOff: boolean;
  private readonly codes: Uint16Array;
  private readonly isKnown = new Uint8Array(sourceLineCount);
  private state = '';
  private solver: CrossbarSolver | undefined;
  private siemens = new Float64Array(0);
  /** Fraction of the driver's voltage that each bit line carries when only multiplexers resist. */
  private readonly gains = new Float64Array(bitLineCount);

  constructor(private readonly chip: Chip) {
    const { lineResistanceOhmsPerCell, multiplexerResistanceOhms } = chip.profile;
    this.isOff = lineResistanceOhmsPerCell === 0 && multiplexerResistanceOhms === 0;
    this.codes = new Uint16Array(this.isOff ? 0 : chip.codes.length);
  }

  /** @param cell bit line × 512 + source line */
  code(cell: number): number {
    if (this.isOff) return this.chip.codeNow(cell);
    if (this.state !== this.chip.stateName) this.renew();
    const sourceLine = cell % sourceLineCount;
    if (this.isKnown[sourceLine] === 0) this.workOut(sourceLine);
    return this.codes[cell];
  }

  private renew(): void {
    this.isKnown.fill(0);
    this.state = this.chip.stateName;
    if (this.chip.profile.lineResistanceOhmsPerCell === 0) this.renewGains();
    else this.renewSolver();
  }

  /** Source lines are at ground all along, so a bit line's cells are one conductance behind its multiplexer. */
  private renewGains(): void {
    const { multiplexerResistanceOhms, cellUnitNanosiemens } = this.chip.profile;
    for (let bitLine = 0; bitLine < bitLineCount; bitLine += 1) {
      let codes = 0;
      for (let cell = bitLine * sourceLineCount; cell < (bitLine + 1) * sourceLineCount; cell += 1) codes += this.chip.codeNow(cell);
      this.gains[bitLine] = 1 / (1 + multiplexerResistanceOhms * codes * cellUnitNanosiemens * 1e-9);
    }
  }

  private renewSolver(): void {
    const { lineResistanceOhmsPerCell, multiplexerResistanceOhms, cellUnitNanosiemens } = this.chip.profile;
    if (this.solver === undefined) this.siemens = new Float64Array(this.chip.codes.length);
    for (let cell = 0; cell < this.siemens.length; cell += 1) this.siemens[cell] = this.chip.codeNow(cell) * cellUnitNanosiemens * 1e-9;
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
    const unitSiemens = this.chip.profile.cellUnitNanosiemens * 1e-9;
    const column = this.chip.profile.lineResistanceOhmsPerCell === 0 ? undefined : this.solver?.effectiveColumn(sourceLine);
    for (let bitLine = 0, cell = sourceLine; bitLine < bitLineCount; bitLine += 1, cell += sourceLineCount) {
      const code = column === undefined ? this.chip.codeNow(cell) * this.gains[bitLine] : column[bitLine] / unitSiemens;
      this.codes[cell] = Math.min(topCode, Math.round(code));
    }
    this.isKnown[sourceLine] = 1;
  }
}
