import { bitLineCount, cellCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { cellOutcomes, type MethodRequests, type Pulse } from '../proto/message.js';
import { cellState } from './chip.js';
import { stairOf, staircaseProblem } from './envelope.js';
import { resetCount, sourceLinesOf } from './pulse-methods.js';
import { type Bench, missingObject, outOfRange, type PulseAhead, Refusal, type Task } from './task.js';

type ProgramRequest = MethodRequests['programCells'];
type Switching = 'reset' | 'set';

const windowBytes = 4;
const averagesMaximum = 1024;
const pulsesMaximum = 1000;
const [, unformed, , , , inside, tooLow, tooHigh] = cellOutcomes.keys();

/** Codes between which a cell shall read; a window of which the lowest is above the highest selects nothing. */
interface Window {
  readonly lowest: number;
  readonly highest: number;
}

/** Program-and-verify, cell by cell. The amplitude climbs while a cell has to go on in one direction, and begins anew where it turns. */
class ProgramRun {
  readonly outcomes = new Uint8Array(cellCount);
  resetPulses = 0;
  setPulses = 0;
  insideCells = 0;
  stubbornCells = 0;
  private readonly view: DataView;

  constructor(private readonly bench: Bench, private readonly request: ProgramRequest, windows: Uint8Array) {
    this.view = new DataView(windows.buffer, windows.byteOffset, windows.byteLength);
  }

  isSelected(cell: number): boolean {
    const { lowest, highest } = this.windowOf(cell);
    return lowest <= highest;
  }

  private windowOf(cell: number): Window {
    return { lowest: this.view.getUint16(cell * windowBytes, true), highest: this.view.getUint16(cell * windowBytes + 2, true) };
  }

  /** @returns whether any cell of the bit line was selected */
  *visit(bitLine: number): Generator<PulseAhead, boolean> {
    let isBusy = false;
    for (let cell = bitLine * sourceLineCount; cell < (bitLine + 1) * sourceLineCount; cell += 1) {
      if (!this.isSelected(cell)) continue;
      isBusy = true;
      const reached = this.bench.chip.states[cell] === cellState.pristine ? unformed : yield* this.program(cell, this.windowOf(cell));
      this.outcomes[cell] = reached;
      if (reached === inside) this.insideCells += 1;
      else if (reached !== unformed) this.stubbornCells += 1;
    }
    return isBusy;
  }

  private *program(cell: number, { lowest, highest }: Window): Generator<PulseAhead, number> {
    const { chip, macro } = this.bench;
    const { pulsesPerCell, averages } = this.request;
    let step = 0;
    let direction = inside;
    for (let pulses = 0; ; pulses += 1) {
      chip.operationCount += 1;
      const code = macro.readCell(cell, averages);
      if (code >= lowest && code <= highest) return inside;
      const wanted = code > highest ? tooHigh : tooLow;
      step = wanted === direction ? step + 1 : 0;
      direction = wanted;
      const kind = wanted === tooHigh ? 'reset' : 'set';
      const staircase = this.request[kind];
      if (pulses >= pulsesPerCell || !staircase || this.isWornOut(kind, cell)) return wanted;
      yield { pulse: stairOf(staircase, step), give: (driven) => this.strike(kind, cell, driven) };
    }
  }

  private isWornOut(kind: Switching, cell: number): boolean {
    const { chip } = this.bench;
    if (kind === 'set') return chip.setCounts[cell] >= chip.profile.setPulsesPerCellMaximum;
    return resetCount(this.bench, cell) >= chip.profile.resetPulsesPerCellMaximum;
  }

  private strike(kind: Switching, cell: number, driven: Pulse): void {
    const { chip, macro } = this.bench;
    macro.accountPulse(cell, driven);
    chip[kind](cell, driven);
    if (kind === 'set') this.setPulses += 1;
    else this.resetPulses += 1;
  }
}

function programProblem({ chip }: Bench, { reset, set, pulsesPerCell, averages }: ProgramRequest): Refusal | undefined {
  if (pulsesPerCell < 1 || pulsesPerCell > pulsesMaximum) return outOfRange('pulsesPerCell', pulsesPerCell, 1, pulsesMaximum);
  if (averages < 1 || averages > averagesMaximum) return outOfRange('averages', averages, 1, averagesMaximum);
  return (reset ? staircaseProblem('reset', reset, chip.profile) : undefined) ?? (set ? staircaseProblem('set', set, chip.profile) : undefined);
}

export function* programCells(bench: Bench, request: ProgramRequest): Task<'programCells'> {
  const { macro, bulk } = bench;
  const windows = bulk.get(request.windowsSha256)?.slice();
  if (windows === undefined) return missingObject('windowsSha256', request.windowsSha256);
  if (windows.length !== cellCount * windowBytes) {
    return new Refusal('REQUEST_INVALID', `the windows have ${windows.length} bytes; they have ${cellCount * windowBytes}`);
  }
  const problem = programProblem(bench, request);
  if (problem !== undefined) return problem;
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  const run = new ProgramRun(bench, request, windows);
  yield* macro.preparing(sourceLinesOf((cell) => run.isSelected(cell)));
  macro.beginPulses();
  for (let line = 0; line < bitLineCount; line += 1) {
    const isBusy = yield* run.visit(line);
    const pulses = run.resetPulses + run.setPulses;
    if (isBusy) yield { cells: { done: (line + 1) * sourceLineCount, total: cellCount, pulses, amplitudeMillivolts: 0 } };
  }
  bench.persist();
  const outcomesSha256 = bulk.put(run.outcomes);
  if (outcomesSha256 === undefined) throw new RangeError('the store does not hold a map of outcomes');
  const { resetPulses, setPulses, insideCells, stubbornCells } = run;
  return {
    outcomesSha256, sizeBytes: run.outcomes.length, resetPulses, setPulses, insideCells, stubbornCells, arrayState: bench.arrayState(),
    operationNanoseconds: macro.operationNanoseconds - before, energyFemtojoules: macro.energyFemtojoules,
  };
}
