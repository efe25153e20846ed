import { basename } from 'node:path';
import type { Command } from 'commander';
import { MacroError } from '../../proto/error.js';
import { formatOfFile, type SnapshotFormatName } from '../snapshot/format.js';
import type { ChipPassport } from '../snapshot/header.js';
import { keptReadsMaximum } from '../snapshot/snapshot.js';
import type { SnapshotEntry } from '../store/chips.js';
import type { CalibrationEntry } from '../http/calibrations.js';
import { addCalibrations, describeCalibrations } from './calibration.js';
import type { ServiceClient } from './client.js';
import { type Console, exitDone, table } from './console.js';
import { numberOption, readInput, writeOutput } from './input-file.js';
import { type ServiceChoice, withService } from './service-choice.js';
import { addThreshold } from './threshold.js';

/** Fields of a passport that people write, with what they mean. */
const passportOptions = {
  lot: 'lot', wafer: 'wafer', die: 'die on its wafer', package: 'package', socket: 'socket that it sits in', formedBy: 'who formed it',
  formedAt: 'when, as 2025-07-01', formedHow: 'how: pulses, compliance, procedure', notes: 'whatever else is known',
} as const;

type PassportFields = { [Name in keyof typeof passportOptions]?: string };
interface ListArguments extends ServiceChoice { readonly json: boolean }
interface ImportArguments extends ServiceChoice {
  readonly chip?: string;
  readonly unit?: string;
  readonly cellUnit?: string;
  readonly formedAbove?: string;
  readonly transposed?: boolean;
}
export interface SnapshotArguments extends ServiceChoice {
  readonly device?: string;
  readonly reads?: string;
  readonly averages?: string;
  readonly readVoltage?: string;
  readonly wordLineBias?: string;
  readonly temperature?: string;
  readonly sinceLastPulse?: string;
  readonly out?: string;
  readonly json: boolean;
}

const optionOf = (field: string) => field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const short = (digest: string) => digest.slice(0, 12);

const describePassport = (passport: ChipPassport) => table(['field', 'value'], Object.entries(passport));

function describe(passport: ChipPassport, snapshots: readonly SnapshotEntry[], calibrations: readonly CalibrationEntry[]): string {
  const rows = snapshots.map(({ provenance, conditions, keptReads }) =>
    [short(provenance.digest), provenance.takenAt ?? '', provenance.importedFrom ?? provenance.profile ?? '', conditions.averages ?? '', keptReads]);
  const known = rows.length === 0 ? 'no snapshots\n' : table(['snapshot', 'taken', 'from', 'averages', 'kept reads'], rows);
  return [describePassport(passport), known, describeCalibrations(calibrations)].join('\n');
}

async function show(id: string | undefined, given: ListArguments, console: Console): Promise<number> {
  const text = await withService(given, console, async (client) => {
    if (id === undefined) {
      const chips = await client.chips();
      if (given.json) return chips.map((chip) => `${JSON.stringify(chip)}\n`).join('');
      const rows = chips.map(({ chipId, lot = '', wafer = '', die = '', socket = '' }) => [chipId, lot, wafer, die, socket]);
      return table(['chip', 'lot', 'wafer', 'die', 'socket'], rows);
    }
    const [chip, snapshots, { calibrations }] = [await client.passport(id), await client.snapshots(id), await client.calibrations(id)];
    return given.json ? `${JSON.stringify({ chip, snapshots, calibrations })}\n` : describe(chip, snapshots, calibrations);
  });
  console.out(text);
  return exitDone;
}

/** The passport as it is with some fields written anew; an empty text takes a field away. */
async function edit(id: string, given: PassportFields & ListArguments, console: Console): Promise<number> {
  const names = Object.keys(passportOptions) as (keyof PassportFields)[];
  const written = names.filter((name) => given[name] !== undefined).map((name) => [name, given[name]] as const);
  if (written.length === 0) throw new MacroError('BAD_ARGUMENT', `nothing to write; there are ${names.map((name) => `--${optionOf(name)}`).join(', ')}`);
  const passport = await withService(given, console, async (client) => {
    const known = await client.passport(id).catch((error: unknown) => {
      if (error instanceof MacroError && error.code === 'CHIP_UNKNOWN') return { chipId: id };
      throw error;
    });
    const fields = Object.entries({ ...known, ...Object.fromEntries(written) }).filter(([, value]) => value !== '');
    return client.writePassport(Object.fromEntries(fields) as ChipPassport);
  });
  console.out(given.json ? `${JSON.stringify(passport)}\n` : describePassport(passport));
  return exitDone;
}

async function importFile(path: string, given: ImportArguments, console: Console): Promise<number> {
  const bytes = readInput(path);
  const { chip, unit, cellUnit, formedAbove, transposed } = given;
  const query = {
    name: basename(path),
    ...(chip !== undefined && { chip }),
    ...(unit !== undefined && { unit }),
    ...(cellUnit !== undefined && { cellUnitNanosiemens: String(numberOption('cell-unit', cellUnit, 0.001, 1000)) }),
    ...(formedAbove !== undefined && { formedMicrosiemens: String(numberOption('formed-above', formedAbove, 0, 262)) }),
    ...(transposed === true && { transposed: 'true' }),
  };
  const digest = await withService(given, console, (client) => client.importSnapshot(bytes, query));
  console.out(`${digest}\n`);
  return exitDone;
}

/** A digest, the beginning of one of a chip's, or a chip, whose newest snapshot is meant. */
async function digestOf(client: ServiceClient, wanted: string): Promise<string> {
  if (/^[0-9a-f]{64}$/.test(wanted)) return wanted;
  const [chip = '', start = ''] = wanted.split('@');
  const found = (await client.snapshots(chip)).find(({ provenance }) => provenance.digest.startsWith(start));
  if (found === undefined) throw new MacroError('SNAPSHOT_UNKNOWN', `chip ${chip} has no snapshot ${start}`, { field: 'snapshot' });
  return found.provenance.digest;
}

async function exportFile(wanted: string, given: ServiceChoice & { out: string }, console: Console): Promise<number> {
  const format = formatOfFile(given.out);
  writeOutput(given.out, await withService(given, console, async (client) => client.snapshotFile(await digestOf(client, wanted), format)));
  return exitDone;
}

interface Taken {
  readonly digest: string;
  readonly summary: Readonly<Record<string, unknown>>;
}

/** Has every cell read. */
export async function takeSnapshot(client: ServiceClient, given: Omit<SnapshotArguments, 'json' | 'out'>): Promise<Taken> {
  const { device, reads = '1', averages = '4', readVoltage, wordLineBias, temperature, sinceLastPulse } = given;
  const conditions = {
    ...(readVoltage !== undefined && { readVoltageMillivolts: numberOption('read-voltage', readVoltage, 0, 5000) }),
    ...(wordLineBias !== undefined && { wordLineBiasMillivolts: numberOption('word-line-bias', wordLineBias, 0, 10_000) }),
    ...(temperature !== undefined && { temperatureCelsius: numberOption('temperature', temperature, -273, 400) }),
    ...(sinceLastPulse !== undefined && { secondsSinceLastPulse: numberOption('since-last-pulse', sinceLastPulse, 0, 1e10) }),
  };
  const job = await client.submitOperation('/v1/snapshot-takings', {
    reads: numberOption('reads', reads, 1, keptReadsMaximum, true), averages: numberOption('averages', averages, 1, 1024, true), conditions,
    ...(device !== undefined && { device }),
  });
  const { summary } = (await client.ended(job.id)) as unknown as Pick<Taken, 'summary'>;
  return { digest: String(summary['digest']), summary };
}

async function snapshot(given: SnapshotArguments, console: Console): Promise<number> {
  const format: SnapshotFormatName | undefined = given.out === undefined ? undefined : formatOfFile(given.out);
  const summary = await withService(given, console, async (client) => {
    const taken = await takeSnapshot(client, given);
    if (format !== undefined && given.out !== undefined) writeOutput(given.out, await client.snapshotFile(taken.digest, format));
    return taken.summary;
  });
  if (given.json) console.out(`${JSON.stringify(summary)}\n`);
  else {
    const figures = Object.entries(summary).filter(([, value]) => ['number', 'string'].includes(typeof value)).map(([name, value]) => [name, String(value)]);
    console.out(table(['figure', 'value'], figures));
  }
  return exitDone;
}

/** `prime chip`: passports, snapshots, calibrations and thresholds. */
export function addChip(program: Command, withOptions: (command: Command) => Command, console: Console, done: (exitCode: number) => void): void {
  const chip = program.command('chip').description('passports, snapshots, calibrations and thresholds of chips');
  withOptions(chip.command('show').description('list chips, or show one with its snapshots and calibrations'))
    .argument('[chip]', 'chip to show')
    .option('--json', 'as JSON', false)
    .action(async (id: string | undefined, given: ListArguments) => done(await show(id, given, console)));
  addCalibrations(chip, withOptions, console, done);
  addThreshold(chip, withOptions, console, done);
  const editing = withOptions(chip.command('edit').description('write fields of a passport; an empty text takes one away'))
    .argument('<chip>', 'chip that it is of');
  for (const [name, means] of Object.entries(passportOptions)) editing.option(`--${optionOf(name)} <text>`, means);
  editing.option('--json', 'as JSON', false)
    .action(async (id: string, given: PassportFields & ListArguments) => done(await edit(id, given, console)));
  withOptions(chip.command('import').description('store a snapshot, or a map of conductances; prints its digest'))
    .argument('<file>', '.npz, .h5 or .csv as exported, or a map: .npy, .csv, .xlsx')
    .option('--chip <id>', 'chip that a map is of')
    .option('--unit <unit>', 'what the numbers of a map are: S, mS, uS, nS or codes')
    .option('--cell-unit <nanosiemens>', 'one step of a cell code (default: 4)')
    .option('--formed-above <microsiemens>', 'cells that conduct less were never formed (default: those that conduct nothing)')
    .option('--transposed', 'columns of a map are bit lines, or reads')
    .action(async (path: string, given: ImportArguments) => done(await importFile(path, given, console)));
  withOptions(chip.command('export').description('write a snapshot to a file'))
    .argument('<snapshot>', 'digest; CHIP@DIGEST, of which the beginning will do; or CHIP for its newest')
    .requiredOption('--out <file>', 'ends in .npz, .h5 or .csv')
    .action(async (wanted: string, given: ServiceChoice & { out: string }) => done(await exportFile(wanted, given, console)));
  withOptions(chip.command('snapshot').description('read every cell of a device and keep the snapshot'))
    .option('--device <id>', 'device of the service, where it has several')
    .option('--reads <count>', 'single reads; more than one are all kept', '1')
    .option('--averages <count>', 'conversions that each read is the mean of', '4')
    .option('--read-voltage <millivolts>', 'on the bit lines, where it is known')
    .option('--word-line-bias <millivolts>', 'on the gates, where it is known')
    .option('--temperature <celsius>', 'of the chip, where it is known')
    .option('--since-last-pulse <seconds>', 'since the cells were last pulsed, where it is known')
    .option('--out <file>', 'write it as well; ends in .npz, .h5 or .csv')
    .option('--json', 'as JSON', false)
    .action(async (given: SnapshotArguments) => done(await snapshot(given, console)));
}
