import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { cellCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { readNpyArray } from '../network/npy.js';
import { topCode } from '../network/snapshot.js';
import { parseUnit } from '../snapshot/conductance-unit.js';
import { importSnapshot } from '../snapshot/import.js';
import { writeNpz } from '../snapshot/npz.js';
import { asSnapshot } from '../snapshot/refusal.js';
import { cellFlag, keptReadsMaximum, newSnapshot, type Snapshot } from '../snapshot/snapshot.js';
import type { Estimate } from '../twin/moments.js';
import { fitTwin, type TwinFit, usualFormedMicrosiemens } from '../twin/fit.js';
import { matchOf, type TwinMatch } from '../twin/match.js';
import { readRepeatedReads, type RepeatedReads, readsOfSnapshot } from '../twin/repeated-reads.js';
import { takeSnapshot } from './chip.js';
import { type Console, exitDone, table } from './console.js';
import { numberOption, readInput, writeOutput } from './input-file.js';
import { type ServiceChoice, withService } from './service-choice.js';

interface FitArguments extends ServiceChoice {
  readonly reads?: string;
  readonly count: string;
  readonly averages?: string;
  readonly device?: string;
  readonly snapshot?: string;
  readonly unit?: string;
  readonly cellUnit?: string;
  readonly seconds?: string;
  readonly sinceLastPulse?: string;
  readonly transposed?: boolean;
  readonly formedAbove: string;
  readonly profile: string;
  readonly rehearsal: boolean;
  readonly out?: string;
  readonly json: boolean;
}

/** What a fit is made from: reads, and where each of their cells is in the array. */
interface Source {
  readonly reads: RepeatedReads;
  readonly map: Snapshot | undefined;
}

const profileFile = 'profile.json';
const mapFile = 'chip.npz';

/** What a retention has kept as its times. */
const readTimes = (path: string) => asSnapshot(() => readNpyArray(readInput(path), basename(path), 'f8').data);

function secondsOf(given: FitArguments): readonly number[] | undefined {
  if (given.seconds === undefined) return undefined;
  const before = given.sinceLastPulse === undefined ? 0 : numberOption('since-last-pulse', given.sinceLastPulse, 0, 1e10);
  const { seconds } = given;
  const written = seconds.endsWith('.npy') ? Array.from(readTimes(seconds), String) : seconds.split(',');
  return written.map((text) => before + numberOption('seconds', text, 0, 1e10));
}

async function fileSource(path: string, map: Snapshot | undefined, given: FitArguments): Promise<Source> {
  const { unit, cellUnit, averages, transposed } = given;
  const seconds = secondsOf(given);
  const reads = await readRepeatedReads(readInput(path), basename(path), {
    unit: parseUnit(unit),
    isTransposed: transposed === true,
    ...(cellUnit !== undefined && { cellUnitNanosiemens: numberOption('cell-unit', cellUnit, 0.001, 1000) }),
    ...(averages !== undefined && { averages: numberOption('averages', averages, 1, 65_535, true) }),
    ...(seconds !== undefined && { secondsSinceLastPulse: seconds }),
    ...(map !== undefined && { unformed: map.flags.map((flag) => ((flag & cellFlag.unformed) === 0 ? 0 : 1)) }),
  });
  return { reads, map };
}

/** Reads the chip at the other end as a snapshot that keeps its single reads. */
async function deviceSource(given: FitArguments, console: Console): Promise<Source> {
  const { count, averages = '1', device, sinceLastPulse } = given;
  const bytes = await withService(given, console, async (client) => {
    const asked = { reads: count, averages, ...(device !== undefined && { device }), ...(sinceLastPulse !== undefined && { sinceLastPulse }) };
    return client.snapshotFile((await takeSnapshot(client, asked)).digest, 'npz');
  });
  const map = await importSnapshot(bytes, mapFile);
  return { reads: readsOfSnapshot(map, 'the device'), map };
}

async function sourceOf(given: FitArguments, console: Console): Promise<Source> {
  const map = given.snapshot === undefined ? undefined : await importSnapshot(readInput(given.snapshot), basename(given.snapshot));
  if (given.reads !== undefined) return fileSource(given.reads, map, given);
  if (map !== undefined) return { reads: readsOfSnapshot(map, basename(given.snapshot ?? '')), map };
  return deviceSource(given, console);
}

/** Cells that are read, one after the other, at the beginning of an array whose other cells are pristine. */
function mapOfReads({ reads, cells, codes, cellUnitNanosiemens, unformed }: RepeatedReads): Snapshot {
  if (cells > cellCount) {
    throw new MacroError('BAD_SNAPSHOT', `the reads are of ${cells} cells, a chip has ${cellCount}; use --no-rehearsal`, { field: 'reads' });
  }
  const means = new Uint16Array(cellCount);
  for (let cell = 0; cell < cells; cell += 1) {
    let sum = 0;
    let isSaturated = false;
    for (let read = 0; read < reads; read += 1) {
      sum += codes[read * cells + cell];
      isSaturated ||= codes[read * cells + cell] >= topCode;
    }
    means[cell] = isSaturated ? topCode : Math.round(sum / reads);
  }
  const flags = Uint8Array.from(means, (code, cell) => {
    if (code >= topCode) return cellFlag.saturated;
    return code === 0 || cell >= cells || unformed?.[cell] === 1 ? cellFlag.unformed : 0;
  });
  return newSnapshot({ chip: { chipId: 'twin' }, cellUnitNanosiemens, codes: means, flags, conditions: {}, provenance: {} });
}

/** The first cells of the reads that a snapshot keeps. */
function firstCells(all: RepeatedReads, cells: number): RepeatedReads {
  if (cells === all.cells) return all;
  const codes = new Uint16Array(all.reads * cells);
  for (let read = 0; read < all.reads; read += 1) codes.set(all.codes.subarray(read * all.cells, read * all.cells + cells), read * cells);
  const { unformed, ...rest } = all;
  return { ...rest, cells, codes, ...(unformed && { unformed: unformed.slice(0, cells) }) };
}

interface Rehearsal {
  /** A twin that starts from the map: the same cells. */
  readonly cells: TwinMatch;
  /** Another chip that the fitted profile makes: the same law. */
  readonly law: TwinMatch;
}

/** Builds the twin, reads it as often as its source was read, and compares. */
async function rehearse(fit: TwinFit, { reads, map }: Source, given: FitArguments, formedMicrosiemens: number, console: Console): Promise<Rehearsal> {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-twin-'));
  try {
    writeOutput(join(folder, profileFile), JSON.stringify(fit.profile));
    const wholeMap = map !== undefined && reads.cells === cellCount ? map : mapOfReads(reads);
    writeOutput(join(folder, mapFile), writeNpz({ ...wholeMap, reads: [], conditions: {} }));
    const readTwin = async (query: string): Promise<RepeatedReads> => {
      const choice = { local: `sim:${given.profile}?profile=${encodeURIComponent(join(folder, profileFile))}${query}` };
      const asked = { reads: String(Math.min(keptReadsMaximum, reads.reads)), averages: String(Math.min(1024, reads.averages)) };
      const bytes = await withService(choice, console, async (client) => client.snapshotFile((await takeSnapshot(client, asked)).digest, 'npz'));
      return readsOfSnapshot(await importSnapshot(bytes, mapFile), 'the twin');
    };
    const same = firstCells(await readTwin(`&snapshot=${encodeURIComponent(join(folder, mapFile))}`), reads.cells);
    const other = firstCells(await readTwin('&seed=2'), Math.min(cellCount, Math.ceil(reads.cells / sourceLineCount) * sourceLineCount));
    return { cells: matchOf(reads, same, formedMicrosiemens), law: matchOf(reads, other, formedMicrosiemens) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const digits = (value: number) => (value === 0 ? '0' : value.toPrecision(4));

function describe({ estimates, counts, remarks }: TwinFit, rehearsal: Rehearsal | undefined): string {
  const figures = (Object.entries(estimates) as [string, Estimate][]).map(([name, { value, low, high }]) => [name, digits(value), digits(low), digits(high)]);
  const parts = [
    `${counts.cells} cells: ${counts.formed} formed, ${counts.unformed} unformed, ${counts.saturated} saturated\n`,
    table(['field', 'estimate', '95 % from', 'to'], figures),
  ];
  if (rehearsal !== undefined) {
    const twins = [['the same cells', rehearsal.cells], ['another chip of the profile', rehearsal.law]] as const;
    const rows = twins.map(([name, { correlation, conductances, deviations, beyondFourSigma: { source, twin } }]) =>
      [name, ...[correlation, conductances.distance, deviations.distance, source, twin].map(digits)]);
    parts.push(table(['twin', 'correlation', 'KS of conductances', 'KS of deviations', 'beyond 4σ here', 'and there'], rows));
  }
  parts.push(remarks.map((remark) => `note: ${remark}\n`).join(''));
  return parts.join('\n');
}

/** `prime twin fit`: the profile of a twin from repeated reads, and how well it matches. */
async function fit(given: FitArguments, console: Console): Promise<number> {
  const formedMicrosiemens = numberOption('formed-above', given.formedAbove, 0, 262);
  const source = await sourceOf(given, console);
  const fitted = fitTwin(source.reads, formedMicrosiemens);
  if (given.out !== undefined) writeOutput(given.out, `${JSON.stringify(fitted.profile, null, 2)}\n`);
  const rehearsal = given.rehearsal ? await rehearse(fitted, source, given, formedMicrosiemens, console) : undefined;
  if (given.json) console.out(`${JSON.stringify({ ...fitted, ...(rehearsal && { match: rehearsal }) })}\n`);
  else console.out(describe(fitted, rehearsal));
  return exitDone;
}

/** `prime twin`: simulated chips that stand for real ones. */
export function addTwin(program: Command, withOptions: (command: Command) => Command, console: Console, done: (exitCode: number) => void): void {
  const twin = program.command('twin').description('simulated chips that stand for real ones');
  withOptions(twin.command('fit').description('fit a profile to repeated reads of the same cells, and say how well a twin of it matches'))
    .option('--reads <file>', 'reads × cells as .npy, .csv or .xlsx, or a snapshot that keeps its reads (default: the device is read)')
    .option('--count <reads>', 'how often a device is read', '16')
    .option('--averages <count>', 'conversions that each read is the mean of (default: 1)')
    .option('--device <id>', 'device of the service, where it has several')
    .option('--snapshot <file>', 'map of the chip: where the twin starts, and which cells were never formed')
    .option('--unit <unit>', 'what the numbers of a matrix are: S, mS, uS, nS or codes')
    .option('--cell-unit <nanosiemens>', 'one step of a cell code (default: 4)')
    .option('--seconds <list>', 'when each read of a matrix was made, as 0,1,10 or a .npy file: for drift')
    .option('--since-last-pulse <seconds>', 'how long before the first read the cells were last pulsed')
    .option('--transposed', 'rows of a matrix are cells, columns are reads')
    .option('--formed-above <microsiemens>', 'cells that conduct less were never formed', String(usualFormedMicrosiemens))
    .option('--profile <name>', 'profile that the fitted fields replace parts of', 'lab')
    .option('--no-rehearsal', 'do not build the twin and compare')
    .option('--out <file>', 'write the fields for sim:PROFILE?profile=FILE')
    .option('--json', 'as JSON', false)
    .action(async (given: FitArguments) => done(await fit(given, console)));
}
