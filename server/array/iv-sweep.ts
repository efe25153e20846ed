import Type, { type Static } from 'typebox';
import { checkSweep, type Pulse, type PulseKind, type Region, type SweepRequest, type SweepResult } from '../../driver/index.js';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { countSweepSteps, maximumSweepCycles, type SweepPoint, sweepSteps, sweptKinds } from '../../proto/cell-sweep.js';
import { MacroError } from '../../proto/error.js';
import type { SweepBranch } from '../../proto/message.js';
import { integerFrom, strict } from '../network/network.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import type { Operation, OperationJob } from './operation.js';
import { conductsMicrosiemens, pulsingFields } from './parameters.js';
import { femtojoulesPerNanojoule, type Plan, planOf, pulseFemtojoules, pulseSettlingNanoseconds } from './plan.js';
import { mostPulses, plannedSweep } from './planned-pulses.js';

const branchSchema = strict({
  lastMillivolts: Type.Optional(integerFrom(1, 10_000)),
  complianceMicroamperes: Type.Optional(integerFrom(1, 10_000)),
});
type BranchChoice = Static<typeof branchSchema>;

const ivSweepSchema = strict({
  bitLine: integerFrom(0, bitLineCount - 1),
  sourceLine: integerFrom(0, sourceLineCount - 1),
  forming: Type.Optional(branchSchema),
  set: Type.Optional(branchSchema),
  reset: Type.Optional(branchSchema),
  stepMillivolts: Type.Optional(integerFrom(1, 10_000)),
  dwellNanoseconds: Type.Optional(integerFrom(1, 1_000_000_000)),
  cycles: Type.Optional(integerFrom(1, maximumSweepCycles)),
  ...pulsingFields,
});

type Branch = Omit<SweepBranch, 'countedFromMillivolts'>;

interface IvSweepParameters {
  readonly bitLine: number;
  readonly sourceLine: number;
  readonly branches: { readonly [Kind in PulseKind]?: Branch };
  readonly stepMillivolts: number;
  readonly dwellNanoseconds: number;
  readonly cycles: number;
  readonly maximumPulses?: number;
  readonly user?: string;
}

/** Far enough to see a cell like those of PRIME §6 switch, and short enough for the SET pulses of its life: one cycle by 100 mV counts as 19 of 20. */
const usualBranches: Readonly<Record<PulseKind, Branch>> = {
  forming: { lastMillivolts: 3900, complianceMicroamperes: 50 },
  set: { lastMillivolts: 1300, complianceMicroamperes: 50 },
  reset: { lastMillivolts: 1600, complianceMicroamperes: 200 },
};
const usualStepMillivolts = 100;
/** A forming breaks a cell for good that meets a step far above its breakdown voltage. */
const usualFormingStepMillivolts = 20;
const usualDwellNanoseconds = 100_000;
const readAverages = 4;
const allKinds: readonly PulseKind[] = ['forming', 'set', 'reset'];

/** The branches that were written, completed; SET and RESET where none was. @throws MacroError BAD_REQUEST */
function branchesOf(given: { readonly [Kind in PulseKind]?: BranchChoice }): IvSweepParameters['branches'] {
  const written = allKinds.filter((kind) => given[kind] !== undefined);
  if (written.includes('forming') && written.length > 1) {
    throw new MacroError('BAD_REQUEST', 'forming: a sweep that forms a cell has no SET or RESET beside it', { field: 'forming' });
  }
  const chosen = written.length === 0 ? (['set', 'reset'] as const) : written;
  return Object.fromEntries(chosen.map((kind) => [kind, { ...usualBranches[kind], ...given[kind] }]));
}

/** The request for this array: which steps count as pulses is for its envelope to say. */
function requestOf({ envelope }: MeteredArray, { bitLine, sourceLine, branches, stepMillivolts, dwellNanoseconds, cycles }: IvSweepParameters): SweepRequest {
  const counted = Object.entries(branches).map(([kind, branch]) =>
    [kind, { ...branch, countedFromMillivolts: envelope[kind as PulseKind].movesFromMillivolts }]);
  return { bitLine, sourceLine, stepMillivolts, dwellNanoseconds, cycles, ...Object.fromEntries(counted) };
}

/** Refuses what this host or the board would, before anything is read or counted. */
function checkedRequest(array: MeteredArray, parameters: IvSweepParameters): SweepRequest {
  array.require('SweepCell', 'the board steps the voltage and converts the current');
  array.require('ReadWear', 'each step that can move the cell is counted');
  const asked = requestOf(array, parameters);
  checkSweep(asked, array.envelope);
  return asked;
}

const regionOf = ({ bitLine, sourceLine }: SweepRequest): Region =>
  ({ firstBitLine: bitLine, bitLines: 1, firstSourceLine: sourceLine, sourceLines: 1 });
const codeIn = ({ codes }: CellMap, { bitLine, sourceLine }: SweepRequest) => codes[bitLine * sourceLineCount + sourceLine];

/** Steps that count as no pulse take their time and their energy as well. */
function costOf(asked: SweepRequest) {
  const steps = sweepSteps(asked);
  const pulseOf = (kind: PulseKind, amplitudeMillivolts: number): Pulse =>
    ({ amplitudeMillivolts, widthNanoseconds: asked.dwellNanoseconds, complianceMicroamperes: (asked[kind] as SweepBranch).complianceMicroamperes });
  const femtojoules = steps.reduce((sum, { kind, amplitudeMillivolts }) => sum + pulseFemtojoules(pulseOf(kind, amplitudeMillivolts), 0), 0);
  return { seconds: (steps.length * (asked.dwellNanoseconds + pulseSettlingNanoseconds)) / 1e9, energyNanojoules: femtojoules / femtojoulesPerNanojoule };
}

async function planSweep(array: MeteredArray, parameters: IvSweepParameters): Promise<Plan> {
  const asked = checkedRequest(array, parameters);
  const map = await array.read(regionOf(asked), readAverages);
  const efforts = plannedSweep(asked).map((planned) => {
    const { lastMillivolts, complianceMicroamperes } = asked[planned.kind] as SweepBranch;
    const first = { amplitudeMillivolts: lastMillivolts, widthNanoseconds: asked.dwellNanoseconds, complianceMicroamperes };
    return { planned, staircase: { first, stepMillivolts: asked.stepMillivolts, lastMillivolts }, averages: 0 };
  });
  const counted = Object.fromEntries(sweptKinds(asked).map((kind) => [`${kind}CountedFromMillivolts`, (asked[kind] as SweepBranch).countedFromMillivolts]));
  const figures = { points: countSweepSteps(asked), ...counted, presentMicrosiemens: array.microsiemensOf(codeIn(map, asked)) };
  const { seconds, energyNanojoules } = costOf(asked);
  const reads = (2 * map.operationNanoseconds) / 1e9;
  return { ...planOf('iv-sweep', array, map, readAverages, 1, efforts, figures), seconds: seconds + reads, energyNanojoules };
}

/** A point as rows and table show it. */
const rowOf = ({ amplitudeMillivolts, currentNanoamperes, range, isSaturated }: SweepPoint, { ranges }: SweepResult) =>
  ({ amplitudeMillivolts, currentNanoamperes, resolutionPicoamperes: ranges[range].resolutionPicoamperes, isSaturated: isSaturated ? 1 : 0 });

/** The curve as a table: one row a step, the names of its columns first. */
function asCsv(rows: readonly ReturnType<typeof rowOf>[]): Uint8Array {
  const columns = ['amplitudeMillivolts', 'currentNanoamperes', 'resolutionPicoamperes', 'isSaturated'] as const;
  const lines = rows.map((row) => columns.map((column) => row[column]).join(','));
  return new TextEncoder().encode(`${[columns.join(','), ...lines].join('\n')}\n`);
}

/**
 * The first voltage of a branch at which the cell is on the other side of what counts as conducting, or as limited by the compliance; null where there is
 * none.
 */
function switchedMillivolts(points: readonly SweepPoint[], kind: PulseKind, { complianceMicroamperes }: SweepBranch): number | null {
  const sign = kind === 'reset' ? -1 : 1;
  const branch = points.filter(({ amplitudeMillivolts }) => Math.sign(amplitudeMillivolts) === sign);
  // mV · µS are nA.
  const conducts = branch.map(({ amplitudeMillivolts, currentNanoamperes }) =>
    sign * currentNanoamperes >= Math.min(sign * amplitudeMillivolts * conductsMicrosiemens, 500 * complianceMicroamperes));
  const at = conducts.findIndex((isOn, index) => index > 0 && isOn !== conducts[index - 1] && isOn === (sign > 0));
  return at < 0 ? null : branch[at].amplitudeMillivolts;
}

async function runSweep(array: MeteredArray, parameters: IvSweepParameters, job: OperationJob) {
  const asked = checkedRequest(array, parameters);
  const map = await array.read(regionOf(asked), readAverages);
  const result = await array.sweep(asked);
  const rows = result.points.map((point) => rowOf(point, result));
  rows.forEach((row) => { job.row(row); });
  job.keep('curve', asCsv(rows));
  const { bitLine, sourceLine, cycles } = asked;
  const { formingPulses: forming, setPulses: set, resetPulses: reset, points, ranges, finalCode } = result;
  return {
    chipId: array.identity.chipId, bitLine, sourceLine, cycles, points: points.length,
    saturatedPoints: points.filter(({ isSaturated }) => isSaturated).length,
    fullScaleNanoamperes: Math.max(...ranges.map(({ fullScaleNanoamperes }) => fullScaleNanoamperes)),
    pulses: { forming, set, reset }, mostPulses: mostPulses(plannedSweep(asked)),
    ...Object.fromEntries(sweptKinds(asked).map((kind) => [`${kind}SwitchedMillivolts`, switchedMillivolts(points, kind, asked[kind] as SweepBranch)])),
    startMicrosiemens: array.microsiemensOf(codeIn(map, asked)), finalCode, finalMicrosiemens: array.microsiemensOf(finalCode),
    operationSeconds: (result.operationNanoseconds + map.operationNanoseconds) / 1e9, energyNanojoules: result.energyFemtojoules / femtojoulesPerNanojoule,
  };
}

/** The job kind `iv-sweep`: current against voltage of one cell, up and down. Its steps wear the cell as pulses do: see its dry run. */
export const ivSweepOperation: Operation<IvSweepParameters> = {
  name: 'iv-sweep',
  schema: ivSweepSchema,
  parametersOf(given) {
    const { forming, set, reset, stepMillivolts, dwellNanoseconds = usualDwellNanoseconds, cycles = 1, ...rest } = given as Static<typeof ivSweepSchema>;
    const branches = branchesOf({ ...(forming && { forming }), ...(set && { set }), ...(reset && { reset }) });
    const usualStep = branches.forming === undefined ? usualStepMillivolts : usualFormingStepMillivolts;
    return { ...rest, branches, stepMillivolts: stepMillivolts ?? usualStep, dwellNanoseconds, cycles };
  },
  plan: planSweep,
  run: runSweep,
};
