import { parseRegion } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { BrokenLimit, PulseNumbers } from '../array/planned-pulses.js';
import type { Plan } from '../array/plan.js';
import type { Check } from '../array/self-test.js';
import { findRecordings } from '../dataset/nmnist.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import { readNpyArray } from '../network/npy.js';
import { formatOfFile } from '../snapshot/format.js';
import type { JobView, ServiceClient } from './client.js';
import { type Console, exitDone, exitFailed, table } from './console.js';
import { checkOutput, readInput, readRecording, writeOutput } from './input-file.js';
import { ProgressLine } from './progress.js';
import { type ServiceChoice, withService } from './service-choice.js';

/** What every command on an array takes. */
export interface ArrayArguments extends ServiceChoice {
  readonly device?: string;
  readonly user?: string;
  readonly dryRun?: boolean;
  readonly json: boolean;
  readonly region?: string;
  readonly maximumPulses?: string;
  readonly out?: string;
}

/** A number that an option holds. @throws MacroError BAD_ARGUMENT */
export function numberOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new MacroError('BAD_ARGUMENT', `--${option} is "${text}"; it is a number`, { field: option });
}

/** Fields that were written; the service has its defaults for the others. */
export const given = (fields: Readonly<Record<string, unknown>>) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

interface StaircaseArguments {
  readonly first?: string;
  readonly step?: string;
  readonly last?: string;
  readonly width?: string;
  readonly compliance?: string;
}

function staircaseOf({ first, step, last, width, compliance }: StaircaseArguments): object | undefined {
  const fields = given({
    firstMillivolts: numberOf('first', first), stepMillivolts: numberOf('step', step), lastMillivolts: numberOf('last', last),
    widthNanoseconds: numberOf('width', width), complianceMicroamperes: numberOf('compliance', compliance),
  });
  return Object.keys(fields).length === 0 ? undefined : fields;
}

const commonOf = ({ device, user, region, maximumPulses }: ArrayArguments) =>
  ({ device, user, region: region === undefined ? undefined : parseRegion(region, 'region'), maximumPulses: numberOf('maximum-pulses', maximumPulses) });

const numbersOf = ({ forming, set, reset }: PulseNumbers) => `${forming} forming, ${set} SET, ${reset} RESET`;

export function describePlan(plan: Plan): string {
  const { cells, leastPulses, mostPulses, seconds, energyNanojoules, wearAfter, brokenLimits, figures } = plan;
  const isExact = numbersOf(leastPulses) === numbersOf(mostPulses);
  const rows: [string, string][] = [
    ['cells', String(cells)],
    ...(isExact ? [] : ([['pulses, at least', numbersOf(leastPulses)]] as [string, string][])),
    [isExact ? 'pulses, exactly' : 'pulses, at most', numbersOf(mostPulses)],
    ['time on the device, at most', `${seconds.toFixed(3)} s`],
    ['energy of the pulses, at most', `${energyNanojoules.toFixed(1)} nJ`],
    ...wearAfter.map(({ kind, largestPulsesPerCell, limitPulsesPerCell }) =>
      [`${kind} pulses of a cell after it`, `${largestPulsesPerCell} of ${limitPulsesPerCell}`] as [string, string]),
    ...Object.entries(figures).map(([name, value]) => [wordsOf(name), String(value)] as [string, string]),
    ...brokenLimits.map(({ detail }: BrokenLimit) => ['breaks a limit', detail] as [string, string]),
  ];
  return `dry run of ${plan.kind} on ${plan.chipId}: nothing was pulsed\n\n${table(['', 'value'], rows)}`;
}

const wordsOf = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

const units: readonly (readonly [RegExp, (value: number) => string])[] = [
  [/Microsiemens$/, (value) => `${value.toFixed(3)} µS`],
  [/Seconds$/, (value) => `${value.toFixed(3)} s`],
  [/Nanojoules$/, (value) => `${value.toFixed(1)} nJ`],
  [/Millivolts$/, (value) => `${value} mV`],
  [/Nanosiemens$/, (value) => `${value} nS`],
  [/Fraction$/, (value) => `${(100 * value).toFixed(2)} %`],
];

/** One figure of a summary, with its unit where its name ends in one. */
function figureOf(name: string, value: unknown): [string, string] {
  const unit = typeof value === 'number' ? units.find(([ending]) => ending.test(name)) : undefined;
  if (unit === undefined) return [wordsOf(name), String(value ?? 'none')];
  return [wordsOf(name.replace(/(Microsiemens|Seconds|Nanojoules|Millivolts|Nanosiemens|Fraction)$/, '')), unit[1](value as number)];
}

const isPulses = (value: unknown): value is PulseNumbers => typeof value === 'object' && value !== null && 'forming' in value && 'reset' in value;

/** A summary as a table: figures of nested objects on lines of their own, zeros of outcomes left out. */
export function describeSummary(summary: Readonly<Record<string, unknown>>): string {
  const rows = Object.entries(summary).flatMap(([name, value]): [string, string][] => {
    if (name === 'objects' || name === 'checks' || name === 'mostPulses' || name === 'region') return [];
    if (isPulses(value)) return [[wordsOf(name), numbersOf(value)]];
    if (Array.isArray(value)) return [[wordsOf(name), value.length === 0 ? 'none' : value.join(', ')]];
    if (typeof value !== 'object' || value === null) return [figureOf(name, value)];
    const unit = units.find(([ending]) => ending.test(name))?.[1] ?? String;
    const textOf = (part: unknown) => (typeof part === 'number' ? unit(part) : String(part ?? 'none'));
    return Object.entries(value).filter(([, part]) => part !== 0).map(([key, part]) => [`${wordsOf(name)}: ${wordsOf(key)}`, textOf(part)]);
  });
  return table(['', 'value'], rows);
}

const verdicts = new Map<boolean | null, string>([[true, 'passed'], [false, 'FAILED'], [null, 'not run']]);

const describeChecks = (checks: readonly Check[]) =>
  table(['check', 'result', 'figures'], checks.map(({ name, isPassed, detail }) => [name, verdicts.get(isPassed) ?? '', detail]));

type EndedJob = Omit<JobView, 'summary'> & { readonly summary: Readonly<Record<string, unknown>> };

interface ArrayCommand {
  readonly path: string;
  /** What is not common to all commands. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly describe?: (job: EndedJob) => string;
  /** Done with the job that succeeded, while its service is there. */
  readonly finish?: (client: ServiceClient, job: EndedJob) => Promise<void>;
}

/** Follows a job to its end; a command that is interrupted stops it first. */
async function follow(client: ServiceClient, jobId: string, console: Console): Promise<EndedJob> {
  const progress = new ProgressLine(console, 1, 'cells');
  try {
    return (await client.ended(jobId, (view) => view.progress && progress.show(view.progress.done, view.progress.total))) as unknown as EndedJob;
  } finally {
    progress.end();
  }
}

/** Submits an operation, or its dry run, follows it to its end and prints what came of it. */
export async function runOperation(
  command: ArrayCommand, args: ArrayArguments, console: Console, prepare?: (client: ServiceClient) => Promise<object>,
): Promise<number> {
  if (args.out !== undefined) checkOutput(args.out);
  const common = commonOf(args);
  return withService(args, console, async (client) => {
    const body = given({ ...common, ...command.fields, ...(await prepare?.(client)) });
    if (args.dryRun) {
      const plan = await client.planOperation(command.path, body);
      console.out(args.json ? `${JSON.stringify({ plan })}\n` : describePlan(plan));
      return plan.brokenLimits.length > 0 ? exitFailed : exitDone;
    }
    const submitted = await client.submitOperation(command.path, body);
    const job = await follow(client, submitted.id, console);
    await command.finish?.(client, job);
    const { describe = ({ summary }) => describeSummary(summary) } = command;
    console.out(args.json ? `${JSON.stringify({ job: job.id, summary: job.summary })}\n` : describe(job));
    return Number(job.summary['failed'] ?? 0) > 0 ? exitFailed : exitDone;
  });
}

export interface FormArguments extends ArrayArguments, StaircaseArguments {
  readonly targetYield?: string;
}

/** `prime form`: forms cells by a staircase until as many as asked for are formed. */
export const form = (args: FormArguments, console: Console): Promise<number> =>
  runOperation({ path: '/v1/formings', fields: { targetYield: numberOf('target-yield', args.targetYield), staircase: staircaseOf(args) } }, args, console);

export interface ReadArguments extends ArrayArguments {
  readonly averages?: string;
}

/** The conductances that a read of a part has left: codes as .npy, or µS as lines of text. */
function regionFile(path: string, npy: Uint8Array, summary: EndedJob['summary']): Uint8Array | string {
  if (path.endsWith('.npy')) return npy;
  const { data, shape: [bitLines, sourceLines] } = readNpyArray(npy, 'codes', 'u2');
  const unit = Number(summary['cellUnitNanosiemens']) / 1000;
  const lines = Array.from({ length: bitLines }, (_, row) =>
    Array.from(data.subarray(row * sourceLines, (row + 1) * sourceLines), (code) => String(Math.round(code * unit * 1000) / 1000)).join(','));
  return `${lines.join('\n')}\n`;
}

function checkRegionFile(path: string): void {
  if (/\.(npy|csv)$/.test(path)) return;
  const means = 'a part of the array is written as .npy (codes) or .csv (µS, a bit line a row); .npz and .h5 are snapshots of the whole';
  throw new MacroError('BAD_ARGUMENT', `--out is "${path}"; ${means}`, { field: 'out' });
}

/** `prime read`: what cells conduct. `--out` keeps it: all of it as a snapshot, from which a simulated chip can start, or a region of it. */
export async function read(args: ReadArguments, console: Console): Promise<number> {
  const { out, region } = args;
  const fields = { averages: numberOf('averages', args.averages) };
  if (out === undefined) return runOperation({ path: '/v1/reads', fields }, args, console);
  if (region === undefined && !out.endsWith('.npy')) {
    const format = formatOfFile(out);
    const finish = async (client: ServiceClient, { summary }: EndedJob) => {
      writeOutput(out, await client.snapshotFile(String(summary['digest']), format));
    };
    return runOperation({ path: '/v1/snapshot-takings', fields, finish }, args, console);
  }
  checkRegionFile(out);
  const finish = async (client: ServiceClient, job: EndedJob) => writeOutput(out, regionFile(out, await client.jobObject(job.id, 'codes'), job.summary));
  return runOperation({ path: '/v1/reads', fields, finish }, args, console);
}

export interface ProgramArguments extends ArrayArguments {
  readonly target?: string;
  readonly cells?: string;
  readonly tolerance?: string;
  readonly pulsesPerCell?: string;
}

/** Lines of `bit line,source line,µS`. */
function readTargets(path: string): object[] {
  const text = new TextDecoder().decode(readInput(path));
  return text.split('\n').filter((line) => line.trim() !== '').map((line, index) => {
    const [bitLine, sourceLine, microsiemens, ...rest] = line.split(',').map(Number);
    if (![bitLine, sourceLine, microsiemens].every(Number.isFinite) || rest.length > 0) {
      throw new MacroError('BAD_ARGUMENT', `line ${index + 1} of ${path} is "${line}"; it is BIT LINE,SOURCE LINE,MICROSIEMENS`, { field: 'cells' });
    }
    return { bitLine, sourceLine, microsiemens };
  });
}

/** `prime program`: cells to a target conductance. */
export async function program(args: ProgramArguments, console: Console): Promise<number> {
  const { target, cells, tolerance, pulsesPerCell } = args;
  const fields = {
    microsiemens: numberOf('target', target), cells: cells === undefined ? undefined : readTargets(cells), toleranceFraction: numberOf('tolerance', tolerance),
    pulsesPerCell: numberOf('pulses-per-cell', pulsesPerCell),
  };
  return runOperation({ path: '/v1/programmings', fields }, args, console);
}

export interface ApplyMaskArguments extends ArrayArguments {
  readonly model: string;
  readonly regrow?: string;
  readonly residualLimit?: string;
  readonly tolerance?: string;
  readonly snapshot?: string;
  readonly input?: readonly string[];
  readonly split?: string;
  readonly calibrate: boolean;
}

/** `prime apply-mask`: RESETs what the mask of a bundle prunes and still conducts. */
export async function applyMask(args: ApplyMaskArguments, console: Console): Promise<number> {
  const files = filesOfBundle(readBundle(args.model));
  const { regrow, residualLimit, tolerance, snapshot, input, split, calibrate } = args;
  const recordings = input === undefined ? undefined : findRecordings(input).map(readRecording);
  const map = snapshot === undefined ? undefined : readInput(snapshot);
  const fields = {
    regrow, residualLimitMicrosiemens: numberOf('residual-limit', residualLimit), toleranceFraction: numberOf('tolerance', tolerance), split,
    calibrate: calibrate ? undefined : false,
  };
  return runOperation({ path: '/v1/mask-applications', fields }, args, console, async (client) => {
    if (map !== undefined) await client.uploadSnapshot(map);
    return { model: await client.uploadModel(files), ...(recordings !== undefined && { dataset: await client.uploadDataset(recordings) }) };
  });
}

/** `prime self-test`: whether line, board and array are as they should be. */
export const selfTest = (args: ArrayArguments, console: Console): Promise<number> =>
  runOperation({ path: '/v1/self-tests', fields: {}, describe: ({ summary }) => describeChecks(summary['checks'] as Check[]) }, args, console);

export interface CharacteriseArguments extends ArrayArguments, StaircaseArguments {
  readonly sweep: string;
  readonly averages?: string;
  readonly cycles?: string;
  readonly reads?: string;
}

/** `prime characterise`: a curve of some cells; `--out` keeps its table. */
export async function characterise(args: CharacteriseArguments, console: Console): Promise<number> {
  const { sweep, averages, cycles, reads, out } = args;
  const fields = {
    sweep, averages: numberOf('averages', averages), cycles: numberOf('cycles', cycles), reads: numberOf('reads', reads), staircase: staircaseOf(args),
  };
  const finish = async (client: ServiceClient, job: EndedJob) => {
    if (out !== undefined) writeOutput(out, await client.jobObject(job.id, 'table'));
  };
  return runOperation({ path: '/v1/characterisations', fields, finish }, args, console);
}

export interface RetentionArguments extends ArrayArguments {
  readonly averages?: string;
  readonly firstSeconds?: string;
  readonly lastSeconds?: string;
  readonly pointsPerDecade?: string;
  readonly sinceLastPulse?: string;
}

/** `prime retention`: the same cells again at log-spaced times; `--out` keeps their codes, times × cells, as a twin is fitted to. */
export async function retention(args: RetentionArguments, console: Console): Promise<number> {
  const { averages, firstSeconds, lastSeconds, pointsPerDecade, sinceLastPulse, out } = args;
  if (out !== undefined && !out.endsWith('.npy')) throw new MacroError('BAD_ARGUMENT', `--out is "${out}"; it ends in .npy`, { field: 'out' });
  const fields = {
    averages: numberOf('averages', averages), firstSeconds: numberOf('first-seconds', firstSeconds), lastSeconds: numberOf('last-seconds', lastSeconds),
    pointsPerDecade: numberOf('points-per-decade', pointsPerDecade), secondsSinceLastPulse: numberOf('since-last-pulse', sinceLastPulse),
  };
  const finish = async (client: ServiceClient, job: EndedJob) => {
    if (out === undefined) return;
    writeOutput(out, await client.jobObject(job.id, 'reads'));
    writeOutput(out.replace(/\.npy$/, '.seconds.npy'), await client.jobObject(job.id, 'seconds'));
  };
  return runOperation({ path: '/v1/retentions', fields, finish }, args, console);
}

export interface IvSweepArguments extends ArrayArguments {
  readonly cell: string;
  readonly set?: string;
  readonly reset?: string;
  readonly forming?: string;
  readonly step?: string;
  readonly dwell?: string;
  readonly compliance?: string;
  readonly cycles?: string;
}

/** @throws MacroError BAD_ARGUMENT where it is more than one */
function parseCell(text: string): { bitLine: number; sourceLine: number } {
  const { firstBitLine: bitLine, bitLines, firstSourceLine: sourceLine, sourceLines } = parseRegion(text, 'cell');
  if (bitLines * sourceLines === 1) return { bitLine, sourceLine };
  throw new MacroError('BAD_ARGUMENT', `--cell is "${text}"; one cell is written "bl 3, sl 7"`, { field: 'cell' });
}

/** Branches as they were written: how far each goes, and the compliance, which holds for all; with a compliance alone it is SET and RESET. */
function branchesOf({ set, reset, forming, compliance }: IvSweepArguments): Readonly<Record<string, object>> {
  const complianceMicroamperes = numberOf('compliance', compliance);
  const last = given({ set: numberOf('set', set), reset: numberOf('reset', reset), forming: numberOf('forming', forming) });
  const chosen = Object.keys(last).length === 0 && complianceMicroamperes !== undefined ? { set: undefined, reset: undefined } : last;
  return Object.fromEntries(Object.entries(chosen).map(([kind, lastMillivolts]) => [kind, given({ lastMillivolts, complianceMicroamperes })]));
}

/** `prime iv-sweep`: current against voltage of one cell; `--out` keeps the curve. */
export async function ivSweep(args: IvSweepArguments, console: Console): Promise<number> {
  const { cell, step, dwell, cycles, out } = args;
  const fields = {
    ...parseCell(cell), ...branchesOf(args), stepMillivolts: numberOf('step', step), dwellNanoseconds: numberOf('dwell', dwell),
    cycles: numberOf('cycles', cycles),
  };
  const finish = async (client: ServiceClient, job: EndedJob) => {
    if (out !== undefined) writeOutput(out, await client.jobObject(job.id, 'curve'));
  };
  return runOperation({ path: '/v1/iv-sweeps', fields, finish }, args, console);
}
