import { type ProgramCellsRequest, type ProgramResult, type Region, type Staircase, wholeArray } from '../../driver/index.js';
import { cellCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { cellOutcomes } from '../../proto/message.js';
import type { Bundle, ChipRecord } from '../network/bundle.js';
import { topCode } from '../network/snapshot.js';
import { addCell, type CellBitmap, cellsOf, cellsWhere, countCells, noCells } from './cell-bitmap.js';
import { CellWindows } from './cell-windows.js';
import { inspectMask, type MaskInspection, type RegrowingPair } from './mask-inspection.js';
import type { MeteredArray } from './metered-array.js';
import { conductsMicrosiemens, staircaseOf, usualStaircases } from './parameters.js';
import type { Effort } from './plan.js';
import { refuseBroken } from './planned-pulses.js';
import { type CellTargets, choiceOf, effortsOf, type ProgramChoice, pulsesAllowed, windowsOf } from './program.js';

/** What becomes of kept pairs whose cells were RESET before: a SET gives them new conductances, program-and-verify about their recorded ones. */
export const regrowChoices = ['refuse', 'redraw', 'program'] as const;
export type Regrow = (typeof regrowChoices)[number];

export interface MaskChoice {
  readonly residualLimitMicrosiemens: number;
  readonly pulsesPerCell: number;
  readonly averages: number;
  readonly regrow: Regrow;
  /** Of a recorded value that is programmed again. */
  readonly toleranceFraction: number;
}

/** As `infer` applies a mask. */
export const usualMaskChoice: MaskChoice = {
  // A cell that was reset keeps 0.5 ± 0.3 µS, a formed one has 8 µS and more (PRIME.md §6): between them nothing is.
  residualLimitMicrosiemens: conductsMicrosiemens, pulsesPerCell: 5, averages: 4, regrow: 'refuse', toleranceFraction: 0.05,
};

/** A kept pair whose conductance is another than the bundle knows. */
export interface ChangedPair {
  readonly layer: string;
  readonly weight: number;
  /** Differential, as the snapshot recorded it; null where the service does not hold the snapshot. */
  readonly oldMicrosiemens: number | null;
  readonly newMicrosiemens: number;
  /** Whether it was programmed back to what was recorded, within the tolerance. */
  readonly isRestored: boolean;
}

export interface MaskResult {
  readonly inspection: MaskInspection;
  /** One byte a cell, index of a `CellOutcome`; cells that the mask does not prune and that were not grown again are not selected. */
  readonly outcomes: Uint8Array;
  readonly pulses: { readonly forming: 0; readonly set: number; readonly reset: number };
  readonly stubbornCells: number;
  readonly changedPairs: readonly ChangedPair[];
  readonly operationNanoseconds: number;
  readonly energyFemtojoules: number;
}

const [, , , , , inside, , tooHigh] = cellOutcomes.keys();
const resetStaircase: Staircase = staircaseOf('reset', undefined, usualStaircases.maskReset);
const setStaircase: Staircase = staircaseOf('set', undefined, usualStaircases.regrow);
/** Of the loop for boards that do not verify by themselves. */
const loopPulse = { amplitudeMillivolts: resetStaircase.first.amplitudeMillivolts, widthNanoseconds: resetStaircase.first.widthNanoseconds };
const loopAttempts = 3;

const lostCells = (regrowing: readonly RegrowingPair[]) => {
  const cells = noCells();
  for (const pair of regrowing) for (const cell of pair.cells) addCell(cells, cell);
  return cells;
};

/** One application of the mask of one bundle to the array that it was made on. */
export class MaskApplication {
  #set = 0;
  #reset = 0;
  #nanoseconds = 0;
  #femtojoules = 0;
  readonly #outcomes = new Uint8Array(cellCount);

  private constructor(
    private readonly array: MeteredArray, private readonly chip: ChipRecord, private readonly choice: MaskChoice,
    private readonly recorded: Uint16Array | undefined, readonly inspection: MaskInspection,
  ) {
    this.#nanoseconds = inspection.map.operationNanoseconds;
  }

  /**
   * Reads the array and finds what the mask still asks of it.
   * @param recorded codes of the snapshot that the bundle was made on, where the service holds it
   * @throws MacroError BUNDLE_CHIP_MISMATCH, METHOD_UNSUPPORTED
   */
  static async look(array: MeteredArray, bundle: Bundle, chip: ChipRecord, choice: MaskChoice, recorded: Uint16Array | undefined): Promise<MaskApplication> {
    array.require('ResetCells', 'the mask of the bundle must be applied');
    return new MaskApplication(array, chip, choice, recorded, await inspectMask(array, bundle, chip, choice, recorded));
  }

  /** What it would take. */
  efforts(): Effort[] {
    const { conducting, regrowing } = this.inspection;
    const { pulsesPerCell, averages, regrow } = this.choice;
    const mostPerCell = this.isVerifiedByBoard ? pulsesPerCell : loopAttempts;
    const resets = { planned: { kind: 'reset', cells: conducting, leastPerCell: 1, mostPerCell } as const, staircase: resetStaircase, averages };
    if (regrow === 'refuse' || regrowing.length === 0) return [resets];
    if (regrow === 'redraw') {
      const planned = { kind: 'set', cells: lostCells(regrowing), leastPerCell: 0, mostPerCell: 1 } as const;
      return [resets, { planned, staircase: setStaircase, averages }];
    }
    const { windows, targets, program } = this.restoring();
    return [resets, ...effortsOf(windows, this.inspection.map, this.array, targets, program)];
  }

  /** @throws MacroError MASK_REGROWS, and PULSE_REFUSED where a limit could break: both before a byte is sent */
  check(): void {
    const { regrowing } = this.inspection;
    if (this.choice.regrow === 'refuse' && regrowing.length > 0) {
      const cells = countCells(lostCells(regrowing));
      throw new MacroError('MASK_REGROWS', `${regrowing.length} pairs that the mask keeps were RESET before (${cells} cells)`, { field: 'model' });
    }
    refuseBroken(this.array.brokenBy(this.efforts().map(({ planned }) => planned)));
  }

  /** Pulses the difference between the mask and the array, and nothing else. */
  async apply(): Promise<MaskResult> {
    this.check();
    const { pruned, conducting, stubborn, regrowing } = this.inspection;
    for (const cell of cellsOf(pruned)) this.#outcomes[cell] = inside;
    for (const cell of cellsOf(stubborn)) this.#outcomes[cell] = tooHigh;
    if (countCells(conducting) > 0) await (this.isVerifiedByBoard ? this.resetOnBoard(conducting) : this.resetInLoop(conducting));
    const changedPairs = regrowing.length === 0 ? [] : await this.regrow();
    return {
      inspection: this.inspection, outcomes: this.#outcomes, pulses: { forming: 0, set: this.#set, reset: this.#reset },
      stubbornCells: [...cellsOf(pruned)].filter((cell) => this.#outcomes[cell] === tooHigh).length, changedPairs,
      operationNanoseconds: this.#nanoseconds, energyFemtojoules: this.#femtojoules,
    };
  }

  private get isVerifiedByBoard(): boolean {
    return this.array.can('ProgramCells');
  }

  private get limitCode(): number {
    return this.array.codeOf(this.choice.residualLimitMicrosiemens);
  }

  private async resetOnBoard(cells: CellBitmap): Promise<void> {
    const windows = new CellWindows();
    for (const cell of cellsOf(cells)) windows.select(cell, 0, this.limitCode - 1);
    const { pulsesPerCell, averages } = this.choice;
    this.take(await this.array.program(windows, { reset: resetStaircase, pulsesPerCell, averages }), cells);
  }

  /** For boards of protocol 1 and 2: pulse, read, and again those that still conduct. */
  private async resetInLoop(cells: CellBitmap): Promise<void> {
    let left = cells;
    for (let attempt = 0; attempt < loopAttempts && countCells(left) > 0; attempt += 1) {
      const { pulses, operationNanoseconds } = await this.array.reset(left, loopPulse);
      const { codes, operationNanoseconds: readNanoseconds } = await this.array.read(wholeArray, this.choice.averages);
      this.#reset += pulses;
      this.#nanoseconds += operationNanoseconds + readNanoseconds;
      left = cellsWhere(left, (cell) => codes[cell] >= this.limitCode);
    }
    // A cell that cannot be reset is a measurement, not an error: a few cost accuracy by fractions of a percent (PRIME.md §7).
    for (const cell of cellsOf(left)) this.#outcomes[cell] = tooHigh;
  }

  /** Cells that never formed are passed over by the board: a SET would form them uncontrolled. */
  private async regrow(): Promise<ChangedPair[]> {
    const { windows, asked } = this.regrowth();
    if (countCells(windows.cells) > 0) this.take(await this.array.program(windows, asked), windows.cells);
    const { codes, operationNanoseconds } = await this.array.read(regionOfCells(lostCells(this.inspection.regrowing)), this.choice.averages);
    this.#nanoseconds += operationNanoseconds;
    const { recorded } = this;
    // What was not read anew has not changed since it was looked at.
    const codeNow = (pair: RegrowingPair, cell: number) => (pair.cells.includes(cell) ? codes[cell] : this.inspection.map.codes[cell]);
    const microsiemens = (difference: number) => (difference * this.array.cellUnitNanosiemens) / 1000;
    return this.inspection.regrowing.map((pair) => ({
      layer: pair.layer, weight: pair.weight,
      oldMicrosiemens: recorded === undefined ? null : microsiemens(recorded[pair.plus] - recorded[pair.minus]),
      newMicrosiemens: microsiemens(codeNow(pair, pair.plus) - codeNow(pair, pair.minus)),
      isRestored: this.choice.regrow === 'program' && pair.cells.every((cell) => this.#outcomes[cell] === inside),
    }));
  }

  /** One SET for each lost cell; the window only says which ones conduct then. */
  private redrawing(): { windows: CellWindows; asked: ProgramCellsRequest } {
    const windows = new CellWindows();
    for (const cell of cellsOf(lostCells(this.inspection.regrowing))) windows.select(cell, this.limitCode, topCode - 1);
    return { windows, asked: { set: setStaircase, pulsesPerCell: 1, averages: this.choice.averages } };
  }

  /** Lost cells go back to what the snapshot recorded of them. */
  private restoring(): { windows: CellWindows; targets: CellTargets; program: ProgramChoice } {
    const { recorded } = this;
    if (recorded === undefined) {
      const problem = `regrow "program" needs the snapshot ${this.chip.snapshotDigest}, which the service does not hold`;
      throw new MacroError('BAD_REQUEST', problem, { field: 'regrow' });
    }
    // A cell that was broken when the map was made is no value to go back to.
    const cells = [...cellsOf(lostCells(this.inspection.regrowing))].filter((cell) => recorded[cell] < topCode);
    const targets = new Map(cells.map((cell) => [cell, this.array.microsiemensOf(recorded[cell])]));
    const highest = [...targets.values()].reduce((most, target) => Math.max(most, target), 1);
    const { toleranceFraction, averages } = this.choice;
    const windows = windowsOf(this.array, targets, this.inspection.map, toleranceFraction);
    return { windows, targets, program: choiceOf({ toleranceFraction, averages }, highest) };
  }

  private regrowth(): { windows: CellWindows; asked: ProgramCellsRequest } {
    if (this.choice.regrow === 'redraw') return this.redrawing();
    const { windows, program } = this.restoring();
    const { reset, set, averages } = program;
    return { windows, asked: { reset, set, pulsesPerCell: pulsesAllowed(this.array, windows.cells, program), averages } };
  }

  private take(result: ProgramResult, cells: CellBitmap): void {
    for (const cell of cellsOf(cells)) this.#outcomes[cell] = result.outcomes[cell];
    this.#set += result.setPulses;
    this.#reset += result.resetPulses;
    this.#nanoseconds += result.operationNanoseconds;
    this.#femtojoules += result.energyFemtojoules;
  }
}

/** The bit lines that cells lie on, from the first to the last. */
function regionOfCells(cells: CellBitmap): Region {
  const lines = [...cellsOf(cells)].map((cell) => Math.floor(cell / wholeArray.sourceLines));
  const firstBitLine = lines[0];
  return { ...wholeArray, firstBitLine, bitLines: lines[lines.length - 1] - firstBitLine + 1 };
}
