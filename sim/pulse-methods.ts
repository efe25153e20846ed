import { bitLineCount, cellCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { cellOutcomes, type MethodRequests, type Pulse } from '../proto/message.js';
import { cellState } from './chip.js';
import { pulseProblem, stairOf, staircaseProblem } from './envelope.js';
import { type Bench, missingObject, outOfRange, type PulseAhead, Refusal, type Task } from './task.js';

/** Bit lines whose cells are pulsed in one step: ESTOP, the dead-man and a cancel get in between. */
const linesPerStep = 8;
const bitmapBytes = cellCount / 8;
const codeMaximum = 65535;
const outcome = Object.fromEntries(cellOutcomes.map((name, number) => [name, number])) as Record<(typeof cellOutcomes)[number], number>;

const isSelected = (cells: Uint8Array, cell: number) => ((cells[cell >> 3] >> (cell & 7)) & 1) === 1;

/** A bitmap of cells that was committed before, as a copy: the object may leave the store while the request runs. */
function bitmapOf({ bulk }: Bench, sha256: Uint8Array): Uint8Array | Refusal {
  const cells = bulk.get(sha256)?.slice();
  if (cells === undefined) return missingObject('cellsSha256', sha256);
  return cells.length === bitmapBytes ? cells : new Refusal('REQUEST_INVALID', `the bitmap has ${cells.length} bytes; it has ${bitmapBytes}`);
}

function firstSelected(cells: Uint8Array, isWrong: (cell: number) => boolean): number | undefined {
  for (let cell = 0; cell < cellCount; cell += 1) if (isSelected(cells, cell) && isWrong(cell)) return cell;
  return undefined;
}

const wornOut = (cell: number, count: number, limit: number) => new Refusal('PULSE_REFUSED', `cell ${cell} has had ${count} pulses; the limit is ${limit}`);

/** RESET pulses that a cell has had. */
export const resetCount = ({ chip }: Bench, cell: number) => chip.pulseCounts[cell] - chip.formingCounts[cell] - chip.setCounts[cell];

/** Source lines on which some cell passes. */
export function sourceLinesOf(passes: (cell: number) => boolean): number[] {
  const bitLines = Array.from({ length: bitLineCount }, (_, bitLine) => bitLine * sourceLineCount);
  return Array.from({ length: sourceLineCount }, (_, line) => line).filter((line) => bitLines.some((first) => passes(first + line)));
}

/** One pulse on every selected cell, bit line by bit line, a few lines a step. What was done is saved when the request ends, however it ends. */
function* pulseEach(bench: Bench, cells: Uint8Array, pulse: Pulse, strike: (cell: number, driven: Pulse) => void) {
  const { macro } = bench;
  let pulses = 0;
  macro.beginPulses();
  for (let line = 0; line < bitLineCount; line += linesPerStep) {
    const end = (line + linesPerStep) * sourceLineCount;
    const before = pulses;
    for (let cell = line * sourceLineCount; cell < end; cell += 1) {
      if (!isSelected(cells, cell)) continue;
      yield {
        pulse,
        give: (driven: Pulse) => {
          macro.accountPulse(cell, driven);
          strike(cell, driven);
          pulses += 1;
        },
      };
    }
    if (pulses > before && end < cellCount) {
      yield { cells: { done: end, total: cellCount, pulses, amplitudeMillivolts: pulse.amplitudeMillivolts } };
    }
  }
  bench.persist();
  return pulses;
}

export function* resetCells(bench: Bench, request: MethodRequests['resetCells']): Task<'resetCells'> {
  const { chip, macro } = bench;
  const pulse = { amplitudeMillivolts: request.amplitudeMillivolts, widthNanoseconds: request.widthNanoseconds, complianceMicroamperes: 0 };
  const cells = bitmapOf(bench, request.cellsSha256);
  const problem = cells instanceof Refusal && cells.code === 'BULK_UNKNOWN' ? cells : pulseProblem('reset', pulse, chip.profile);
  if (problem !== undefined) return problem;
  if (cells instanceof Refusal) return cells;
  const limit = chip.profile.resetPulsesPerCellMaximum;
  const worn = firstSelected(cells, (cell) => resetCount(bench, cell) >= limit);
  if (worn !== undefined) return wornOut(worn, resetCount(bench, worn), limit);
  const before = macro.operationNanoseconds;
  const pulses = yield* pulseEach(bench, cells, pulse, (cell, driven) => chip.reset(cell, driven));
  return { pulses, cells: pulses, arrayState: bench.arrayState(), operationNanoseconds: macro.operationNanoseconds - before };
}

export function* setCells(bench: Bench, { cellsSha256, pulse }: MethodRequests['setCells']): Task<'setCells'> {
  const { chip, macro } = bench;
  const cells = bitmapOf(bench, cellsSha256);
  if (cells instanceof Refusal) return cells;
  const problem = pulseProblem('set', pulse, chip.profile);
  if (problem !== undefined) return problem;
  const unformed = firstSelected(cells, (cell) => chip.states[cell] === cellState.pristine);
  if (unformed !== undefined) return new Refusal('PULSE_REFUSED', `cell ${unformed} never formed; a SET would form it uncontrolled`);
  const limit = chip.profile.setPulsesPerCellMaximum;
  const worn = firstSelected(cells, (cell) => chip.setCounts[cell] >= limit);
  if (worn !== undefined) return wornOut(worn, chip.setCounts[worn], limit);
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  const pulses = yield* pulseEach(bench, cells, pulse, (cell, driven) => chip.set(cell, driven));
  const operationNanoseconds = macro.operationNanoseconds - before;
  return { pulses, arrayState: bench.arrayState(), operationNanoseconds, energyFemtojoules: macro.energyFemtojoules };
}

type FormRequest = MethodRequests['formCells'];

/** The selected cells of a forming and what became of them. */
class FormingRun {
  readonly outcomes = new Uint8Array(cellCount);
  pulses = 0;
  formedCells = 0;
  overFormedCells = 0;
  lastMillivolts = 0;

  constructor(private readonly bench: Bench, private readonly request: FormRequest, cells: Uint8Array) {
    const { states } = bench.chip;
    for (let cell = 0; cell < cellCount; cell += 1) {
      if (!isSelected(cells, cell)) continue;
      const wasFormed = states[cell] !== cellState.pristine;
      this.outcomes[cell] = wasFormed ? outcome['was-formed'] : outcome.unformed;
      if (wasFormed) this.formedCells += 1;
    }
  }

  get isDone(): boolean {
    return this.formedCells >= this.request.targetCells;
  }

  /** A pulse and a read for each cell of some bit lines that has not formed yet. @returns whether there was one */
  *visit(firstCell: number, endCell: number, pulse: Pulse): Generator<PulseAhead, boolean> {
    const { chip, macro } = this.bench;
    const before = this.pulses;
    chip.operationCount += 1;
    for (let cell = firstCell; cell < endCell && !this.isDone; cell += 1) {
      if (this.outcomes[cell] !== outcome.unformed || chip.formingCounts[cell] >= chip.profile.formingPulsesPerCellMaximum) continue;
      yield { pulse, give: (driven) => this.strike(cell, driven) };
      this.judge(cell, macro.readCell(cell, 1));
    }
    if (this.pulses > before) this.lastMillivolts = pulse.amplitudeMillivolts;
    return this.pulses > before;
  }

  private strike(cell: number, driven: Pulse): void {
    const { chip, macro } = this.bench;
    macro.accountPulse(cell, driven);
    chip.form(cell, driven);
    this.pulses += 1;
  }

  /** Whether a cell has formed is what a read says; one that conducts a little is not pulsed again all the same: it is no longer pristine. */
  private judge(cell: number, code: number): void {
    const { formedCode, overFormedCode } = this.request;
    if (code >= overFormedCode) this.outcomes[cell] = outcome['over-formed'];
    else if (code >= formedCode) this.outcomes[cell] = outcome.formed;
    else if (this.bench.chip.states[cell] !== cellState.pristine) this.outcomes[cell] = outcome['too-low'];
    else return;
    if (code >= formedCode) this.formedCells += 1;
    if (code >= overFormedCode) this.overFormedCells += 1;
  }
}

function formProblem({ chip }: Bench, { staircase, targetCells, formedCode, overFormedCode }: FormRequest): Refusal | undefined {
  if (formedCode < 1 || formedCode > codeMaximum) return outOfRange('formedCode', formedCode, 1, codeMaximum);
  if (overFormedCode <= formedCode || overFormedCode > codeMaximum) return outOfRange('overFormedCode', overFormedCode, formedCode + 1, codeMaximum);
  if (targetCells > cellCount) return outOfRange('targetCells', targetCells, 0, cellCount);
  return staircaseProblem('forming', staircase, chip.profile);
}

export function* formCells(bench: Bench, request: FormRequest): Task<'formCells'> {
  const { macro, bulk } = bench;
  const cells = bitmapOf(bench, request.cellsSha256);
  if (cells instanceof Refusal) return cells;
  const problem = formProblem(bench, request);
  if (problem !== undefined) return problem;
  const { first, stepMillivolts, lastMillivolts } = request.staircase;
  const steps = Math.floor((lastMillivolts - first.amplitudeMillivolts) / stepMillivolts) + 1;
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  yield* macro.preparing(sourceLinesOf((cell) => isSelected(cells, cell)));
  macro.beginPulses();
  const run = new FormingRun(bench, request, cells);
  for (let step = 0; step < steps && !run.isDone; step += 1) {
    const pulse = stairOf(request.staircase, step);
    for (let line = 0; line < bitLineCount && !run.isDone; line += linesPerStep) {
      const wasPulsed = yield* run.visit(line * sourceLineCount, (line + linesPerStep) * sourceLineCount, pulse);
      const { formedCells: done, pulses } = run;
      if (wasPulsed) yield { cells: { done, total: request.targetCells, pulses, amplitudeMillivolts: pulse.amplitudeMillivolts } };
    }
  }
  bench.persist();
  const outcomesSha256 = bulk.put(run.outcomes);
  if (outcomesSha256 === undefined) throw new RangeError('the store does not hold a map of outcomes');
  const { pulses, formedCells, overFormedCells, lastMillivolts: last } = run;
  return {
    outcomesSha256, sizeBytes: run.outcomes.length, pulses, formedCells, overFormedCells, lastMillivolts: last, arrayState: bench.arrayState(),
    operationNanoseconds: macro.operationNanoseconds - before, energyFemtojoules: macro.energyFemtojoules,
  };
}
