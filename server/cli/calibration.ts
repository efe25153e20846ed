import type { Command } from 'commander';
import { MacroError } from '../../proto/error.js';
import type { ChannelCalibration } from '../calibration/channel.js';
import { gainLimitFraction } from '../calibration/record.js';
import type { MeasuredReference } from '../calibration/reference.js';
import type { CalibrationEntry } from '../http/calibrations.js';
import { type ArrayArguments, numberOf, runOperation } from './array.js';
import type { ServiceClient } from './client.js';
import { type Console, exitDone, table } from './console.js';
import { numberOption, writeOutput } from './input-file.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface CalibrateArguments extends ArrayArguments {
  readonly averages?: string;
  readonly reference?: readonly string[];
  readonly temperature?: string;
}

/** Of one calibration, as its job's summary has it. */
interface Summary {
  readonly chipId: string;
  readonly gain: string;
  readonly references: readonly MeasuredReference[];
  readonly previous: { readonly job: string; readonly takenAt: string | null } | null;
  readonly gainChangeFraction: number | null;
}

/** `NAME,BIT LINE,SOURCE LINE,MICROSIEMENS`, or the address of a source meter in the last place. */
function referenceOf(text: string): object {
  const [name = '', bitLine = '', sourceLine = '', what = '', ...rest] = text.split(',').map((part) => part.trim());
  const [row, column, microsiemens] = [bitLine, sourceLine, what].map((part) => (part === '' ? Number.NaN : Number(part)));
  const isMeter = what.startsWith('tcp://');
  if (name === '' || rest.length > 0 || !Number.isInteger(row) || !Number.isInteger(column) || (!isMeter && !Number.isFinite(microsiemens))) {
    const forms = 'NAME,BIT LINE,SOURCE LINE,MICROSIEMENS or NAME,BIT LINE,SOURCE LINE,tcp://host:port';
    throw new MacroError('BAD_ARGUMENT', `--reference is "${text}"; it is ${forms}`, { field: 'reference' });
  }
  return { name, bitLine: row, sourceLine: column, ...(isMeter ? { meter: what } : { microsiemens }) };
}

const percent = (fraction: number) => `${(100 * fraction).toFixed(2)} %`;
const orNone = (value: number | null, text: (value: number) => string) => (value === null ? 'none' : text(value));

function describeChange({ previous, gainChangeFraction: change }: Summary): string {
  if (previous === null) return 'it is the first calibration of this chip\n';
  const verdict = change !== null && change >= gainLimitFraction ? 'DIFFERS from it by 2 % or more' : 'agrees with it to 2 %';
  const largest = change === null ? '' : ` (largest change of a gain ${percent(change)})`;
  return `previous calibration ${previous.takenAt ?? previous.job}: this one ${verdict}${largest}\n`;
}

function describe(summary: Summary, channels: readonly ChannelCalibration[]): string {
  const { chipId, gain, references } = summary;
  const by = references.length === 0 ? 'no reference: against the median of all channels' : `by ${references.map(({ name }) => name).join(', ')}`;
  const referenceRows = references.map(({ name, bitLine, sourceLine, microsiemens, readMicrosiemens, measuredBy }) =>
    [name, bitLine, sourceLine, microsiemens.toFixed(3), readMicrosiemens.toFixed(3), measuredBy]);
  const channelRows = channels.map(({ channel, gain: value, gainStandardError, offsetCodes, fullScaleMicrosiemens, noiseFraction, references: names }) => [
    channel, orNone(value, (number) => number.toFixed(4)), orNone(gainStandardError, (number) => number.toFixed(4)), names.join(', ') || 'medians',
    Object.entries(offsetCodes).map(([range, codes]) => `${range} ${codes.toFixed(1)}`).join(', '),
    Object.entries(fullScaleMicrosiemens).map(([range, value]) => `${range} ${value.toFixed(1)}`).join(', '), orNone(noiseFraction, percent),
  ]);
  return [
    `calibration of ${chipId}: gain ${gain}, ${by}\n`,
    ...(referenceRows.length === 0 ? [] : [table(['reference', 'bit line', 'source line', 'is (µS)', 'reads (µS)', 'measured by'], referenceRows)]),
    table(['channel', 'gain', '±', 'from', 'offset (codes)', 'full scale (µS)', 'noise'], channelRows),
    describeChange(summary),
  ].join('\n');
}

/** `prime calibrate`: gain, offset, full scale and noise of every converter; `--out` keeps the map of noise. */
export async function calibrate(args: CalibrateArguments, console: Console): Promise<number> {
  const { out } = args;
  if (out !== undefined && !out.endsWith('.npy')) throw new MacroError('BAD_ARGUMENT', `--out is "${out}"; it ends in .npy`, { field: 'out' });
  const fields = {
    averages: numberOf('averages', args.averages), references: args.reference?.map(referenceOf), temperatureCelsius: numberOf('temperature', args.temperature),
  };
  const channels: ChannelCalibration[] = [];
  return runOperation({
    path: '/v1/calibrations',
    fields,
    async finish(client, { id }) {
      for await (const row of client.results<ChannelCalibration>(id)) channels.push(row);
      if (out !== undefined) writeOutput(out, await client.jobObject(id, 'noiseMap'));
    },
    describe: ({ summary }) => describe(summary as unknown as Summary, channels),
  }, args, console);
}

const rowOf = ({ takenAt, reason, gain, references, temperatureCelsius, due, job }: CalibrationEntry) => [
  takenAt ?? '', reason, gain, references.map(({ name }) => name).join(', '), temperatureCelsius ?? '', due.join(', ') || 'no', job,
];

/** Calibrations as a table. */
export const describeCalibrations = (entries: readonly CalibrationEntry[]): string =>
  (entries.length === 0 ? 'no calibrations\n' : table(['calibrated', 'reason', 'gain', 'references', '°C', 'due', 'job'], entries.map(rowOf)));

interface ListArguments extends ServiceChoice {
  readonly temperature?: string;
  readonly json: boolean;
}

/** `prime chip calibrations`: what is known of the converters, and what has to be repeated. */
export function addCalibrations(chip: Command, withOptions: (command: Command) => Command, console: Console, done: (exitCode: number) => void): void {
  withOptions(chip.command('calibrations').description('calibrations of a chip, and why which of them has to be repeated'))
    .argument('<chip>', 'chip that they are of')
    .option('--temperature <celsius>', 'of the chip now (default: as its board tells it, or as it was last stated)')
    .option('--json', 'as JSON', false)
    .action(async (id: string, { temperature, ...given }: ListArguments) => {
      const celsius = temperature === undefined ? undefined : numberOption('temperature', temperature, -273.15, 400);
      const list = await withService(given, console, (client: ServiceClient) => client.calibrations(id, celsius));
      console.out(given.json ? `${JSON.stringify(list)}\n` : describeCalibrations(list.calibrations));
      done(exitDone);
    });
}
