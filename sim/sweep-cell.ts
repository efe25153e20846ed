import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import {
  countedPulses, countSweepSteps, encodeSweepPoints, maximumSweepCycles, maximumSweepPoints, type SweepPoint, type SweepStep, sweepSteps, sweptKinds,
} from '../proto/cell-sweep.js';
import type { MethodRequests, Pulse, PulseKind, SweepBranch } from '../proto/message.js';
import { cellState } from './chip.js';
import { envelopeOf, outside, temperatureProblem, totalProblem } from './envelope.js';
import { resetCount } from './pulse-methods.js';
import { type Bench, outOfRange, type PulseAhead, Refusal, type Task } from './task.js';

type SweepRequest = MethodRequests['sweepCell'];

const cellOf = ({ bitLine, sourceLine }: SweepRequest) => bitLine * sourceLineCount + sourceLine;
const invalid = (detail: string) => new Refusal('REQUEST_INVALID', detail);

/** What makes it no sweep at all. */
function shapeProblem(request: SweepRequest): Refusal | undefined {
  const { bitLine, sourceLine, stepMillivolts, cycles } = request;
  const kinds = sweptKinds(request);
  if (bitLine >= bitLineCount) return outOfRange('bitLine', bitLine, 0, bitLineCount - 1);
  if (sourceLine >= sourceLineCount) return outOfRange('sourceLine', sourceLine, 0, sourceLineCount - 1);
  if (kinds.length === 0) return invalid('the sweep has no branch; it has forming, or set, or reset, or set and reset');
  if (kinds.includes('forming') && kinds.length > 1) return invalid('a forming branch has no other beside it');
  const cyclesMaximum = kinds.includes('forming') ? 1 : maximumSweepCycles;
  if (cycles < 1 || cycles > cyclesMaximum) return outOfRange('cycles', cycles, 1, cyclesMaximum);
  return stepMillivolts < 1 ? outOfRange('stepMillivolts', stepMillivolts, 1, 2 ** 32 - 1) : undefined;
}

function branchProblem({ chip }: Bench, kind: PulseKind, branch: SweepBranch): Refusal | undefined {
  const limits = envelopeOf(chip.profile)[kind];
  // A current that is measured is limited, of a RESET as well.
  return outside(`${kind}.lastMillivolts`, branch.lastMillivolts, 1, limits.amplitudeMaximumMillivolts)
    ?? outside(`${kind}.complianceMicroamperes`, branch.complianceMicroamperes, 1, limits.complianceMaximumMicroamperes)
    ?? totalProblem(branch.complianceMicroamperes, limits)
    ?? outside(`${kind}.countedFromMillivolts`, branch.countedFromMillivolts, 0, limits.movesFromMillivolts);
}

/** Called behind the amplitudes: of those that are refused there may be any number. */
function lengthProblem(request: SweepRequest): Refusal | undefined {
  const steps = countSweepSteps(request);
  return steps > maximumSweepPoints ? outOfRange('the number of steps', steps, 1, maximumSweepPoints) : undefined;
}

function cellProblem(bench: Bench, request: SweepRequest): Refusal | undefined {
  const { chip } = bench;
  const cell = cellOf(request);
  const isPristine = chip.states[cell] === cellState.pristine;
  if (request.set && isPristine) return new Refusal('PULSE_REFUSED', `cell ${cell} never formed; a sweep in SET polarity would form it uncontrolled`);
  if (request.forming && !isPristine) return new Refusal('PULSE_REFUSED', `cell ${cell} was formed before; it is never formed again`);
  const had = { forming: chip.formingCounts[cell], set: chip.setCounts[cell], reset: resetCount(bench, cell) };
  const planned = countedPulses(request);
  for (const kind of sweptKinds(request)) {
    const limit = envelopeOf(chip.profile)[kind].pulsesPerCell;
    if (had[kind] + planned[kind] <= limit) continue;
    return new Refusal('PULSE_REFUSED', `cell ${cell} has had ${had[kind]} ${kind} pulses and would get ${planned[kind]} more; the limit is ${limit}`);
  }
  return undefined;
}

/** Why a sweep is not begun, naming the field and its range. */
function sweepProblem(bench: Bench, request: SweepRequest): Refusal | undefined {
  const problem = shapeProblem(request);
  if (problem !== undefined) return problem;
  const { chip, macro } = bench;
  const kinds = sweptKinds(request);
  const widest = Math.min(...kinds.map((kind) => envelopeOf(chip.profile)[kind].widthMaximumNanoseconds));
  const problems = kinds.map((kind) => branchProblem(bench, kind, request[kind] as SweepBranch));
  return problems.find((found) => found !== undefined)
    ?? outside('dwellNanoseconds', request.dwellNanoseconds, macro.currentMeter.leastNanoseconds, widest)
    ?? lengthProblem(request)
    ?? temperatureProblem(chip.profile)
    ?? cellProblem(bench, request);
}

/** One cell under a voltage that goes step by step. */
class SweepRun {
  readonly points: SweepPoint[] = [];
  readonly pulses = { forming: 0, set: 0, reset: 0 };
  private readonly cell: number;

  constructor(private readonly bench: Bench, private readonly request: SweepRequest) {
    this.cell = cellOf(request);
  }

  get givenPulses(): number {
    return this.pulses.forming + this.pulses.set + this.pulses.reset;
  }

  /** A pulse of the step's amplitude as any other, where it counts as one; then the current, while the cell is still under bias. */
  *visit({ kind, amplitudeMillivolts, isCounted }: SweepStep): Generator<PulseAhead, void> {
    const { chip, macro } = this.bench;
    const { complianceMicroamperes } = this.request[kind] as SweepBranch;
    const pulse = { amplitudeMillivolts, widthNanoseconds: this.request.dwellNanoseconds, complianceMicroamperes };
    yield { pulse, give: (driven) => this.bias(kind, driven, isCounted) };
    chip.operationCount += 1;
    const { nanoamperes, range, isSaturated } = macro.readCurrent(this.cell, pulse);
    const sign = kind === 'reset' ? -1 : 1;
    this.points.push({ amplitudeMillivolts: sign * amplitudeMillivolts, currentNanoamperes: sign * nanoamperes, range, isSaturated });
  }

  private bias(kind: PulseKind, driven: Pulse, isCounted: boolean): void {
    const { macro } = this.bench;
    // Steps that can move nothing leave the array as it was, its epoch as well.
    if (isCounted && this.givenPulses === 0) macro.beginPulses();
    macro.accountPulse(this.cell, driven);
    if (isCounted) this.strike(kind, driven);
  }

  private strike(kind: PulseKind, pulse: Pulse): void {
    const { chip } = this.bench;
    this.pulses[kind] += 1;
    if (kind === 'forming') chip.form(this.cell, pulse);
    else if (kind === 'set') chip.set(this.cell, pulse);
    else chip.reset(this.cell, pulse);
  }

  /** From where it forms on a cell is another one, which the amplitudes of a forming would ruin. */
  get hasFormed(): boolean {
    return Boolean(this.request.forming) && this.bench.chip.states[this.cell] !== cellState.pristine;
  }
}

export function* sweepCell(bench: Bench, request: SweepRequest): Task<'sweepCell'> {
  const problem = sweepProblem(bench, request);
  if (problem !== undefined) return problem;
  const { chip, macro, bulk } = bench;
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  const run = new SweepRun(bench, request);
  const steps = sweepSteps(request);
  for (const [done, step] of steps.entries()) {
    if (run.hasFormed) break;
    // Between two steps the gates are closed and the lines at ground.
    if (done > 0) yield { cells: { done, total: steps.length, pulses: run.givenPulses, amplitudeMillivolts: step.amplitudeMillivolts } };
    yield* run.visit(step);
  }
  chip.operationCount += 1;
  const finalCode = macro.readCell(cellOf(request), 1);
  bench.persist();
  const points = encodeSweepPoints(run.points);
  const pointsSha256 = bulk.put(points);
  if (pointsSha256 === undefined) throw new RangeError('the store does not hold the points of a sweep');
  const { forming: formingPulses, set: setPulses, reset: resetPulses } = run.pulses;
  return {
    pointsSha256, sizeBytes: points.length, ranges: macro.currentMeter.ranges, formingPulses, setPulses, resetPulses, finalCode,
    arrayState: bench.arrayState(), operationNanoseconds: macro.operationNanoseconds - before, energyFemtojoules: macro.energyFemtojoules,
  };
}
