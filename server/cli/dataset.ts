import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { MacroError } from '../../proto/error.js';
import { framesFolderOf, homeFolderOf } from '../config.js';
import { type DatasetOptions, openDataset } from '../dataset/dataset.js';
import { splitManifest } from '../dataset/dataset-split.js';
import { usualColumns } from '../dataset/event-array.js';
import { digitSource } from '../dataset/film.js';
import { FrameCache, usualCacheBytes } from '../dataset/frame-cache.js';
import { type Split, splits } from '../dataset/frames.js';
import {
  differenceOf, type Manifest, manifestEntry, type ManifestEntry, manifestOf, parseManifest, readEntry, writeManifest,
} from '../dataset/manifest.js';
import { encodeRecording } from '../dataset/recording.js';
import { RecordingFolder } from '../dataset/recording-folder.js';
import { openSource, type SetName, type Source, type SourceEntry, visit } from '../dataset/source.js';
import { type Comparison, compareStatistics, type DatasetStatistics, StatisticsCollector } from '../dataset/statistics.js';
import { type Console, exitDone, exitFailed, table } from './console.js';
import { numberOption, writeOutput } from './input-file.js';
import { ProgressLine } from './progress.js';

interface SourceArguments {
  readonly set?: string;
  readonly columns?: string;
  readonly json: boolean;
}

interface FilmArguments {
  readonly from: string;
  readonly like?: string;
  readonly count?: string;
  readonly seed?: string;
  readonly out: string;
  readonly json: boolean;
}
interface ConvertArguments extends SourceArguments { readonly out: string }
interface ManifestArguments extends SourceArguments { readonly out?: string }
interface CheckArguments extends SourceArguments { readonly manifest?: string }
interface SplitArguments extends SourceArguments { readonly seed: string; readonly validation: string; readonly test: string; readonly out?: string }
interface StatisticsArguments extends SourceArguments { readonly against?: string; readonly within?: string }
interface FramesArguments extends SourceArguments { readonly timesteps: string; readonly split: string; readonly cache?: string; readonly cacheLimit: string }

function setOption(text: string | undefined): SetName | undefined {
  if (text === undefined || text === 'train' || text === 'test') return text;
  throw new MacroError('BAD_ARGUMENT', `--set is "${text}"; it is train or test`, { field: 'set' });
}

function sourceOptions({ set: text, columns = usualColumns }: SourceArguments) {
  if ([...columns].sort().join('') !== 'ptxy') {
    throw new MacroError('BAD_ARGUMENT', `--columns is "${columns}"; it is x, y, p and t in the order of the file, as ${usualColumns}`, { field: 'columns' });
  }
  const set = setOption(text);
  return { columns, ...(set && { set }) };
}

/** Visits every recording of a source under a progress bar, and closes it. */
async function visitAll(source: Source, console: Console, work: (entry: SourceEntry) => void): Promise<void> {
  const progress = new ProgressLine(console, source.entries.length);
  try {
    await visit(source, work, { signal: console.signal, onProgress: (done, total) => progress.show(done, total) });
  } finally {
    progress.end();
    source.close();
  }
}

/** Writes every recording of a source as ATIS events. */
async function writeFolder(source: Source, out: string, json: boolean, console: Console): Promise<number> {
  const folder = new RecordingFolder(out);
  const recordings: ManifestEntry[] = [];
  try {
    await visitAll(source, console, (entry) => {
      const recording = entry.parse(entry.read());
      const bytes = encodeRecording(recording);
      const path = entry.path.replace(/\.\w+$/, '.bin');
      folder.write(path, bytes);
      recordings.push(manifestEntry({ ...entry, path }, bytes, recording.x.length));
    });
    folder.finish();
  } catch (error) {
    folder.discard();
    throw error;
  }
  const { digest } = manifestOf(recordings);
  const { length } = recordings;
  console.out(json ? `${JSON.stringify({ out, recordings: length, digest })}\n` : `${length} recordings in ${out}, digest ${digest}\n`);
  return exitDone;
}

/** `prime dataset film`: films images into a folder in the published layout. */
async function film({ from, like, count, seed, out, json }: FilmArguments, console: Console): Promise<number> {
  const seedNumber = numberOption('seed', seed ?? '1', 0, 0xffffffff, true);
  if (like !== undefined && count !== undefined) throw new MacroError('BAD_ARGUMENT', '--count is of no use with --like, whose recordings are all filmed');
  if (like !== undefined) {
    const model = openSource(like);
    model.close();
    return writeFolder(digitSource(model, from, seedNumber), out, json, console);
  }
  const options = new URLSearchParams({ seed: String(seedNumber), ...(count !== undefined && { count }) });
  const source = openSource(from.includes('?') ? from : `${from}?${options}`);
  return writeFolder(source, out, json, console);
}

/** `prime dataset convert`: any event files as ATIS events. */
async function convert(path: string, given: ConvertArguments, console: Console): Promise<number> {
  return writeFolder(openSource(path, sourceOptions(given)), given.out, given.json, console);
}

/** @throws MacroError of the first recording that is damaged */
async function manifestOfSource(path: string, given: SourceArguments, console: Console): Promise<Manifest> {
  const recordings: ManifestEntry[] = [];
  await visitAll(openSource(path, sourceOptions(given)), console, (entry) => void recordings.push(readEntry(entry)));
  return manifestOf(recordings);
}

/** `prime dataset manifest`: what a dataset consists of, byte for byte. */
async function manifest(path: string, given: ManifestArguments, console: Console): Promise<number> {
  const read = await manifestOfSource(path, given, console);
  if (given.out === undefined) console.out(writeManifest(read));
  else writeOutput(given.out, writeManifest(read));
  if (given.out !== undefined) console.out(`${read.recordings.length} recordings, digest ${read.digest}\n`);
  return exitDone;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new MacroError('INPUT_NOT_FOUND', `${path} cannot be read`, { field: 'manifest', cause: error });
  }
}

/** `prime dataset check`: reads every recording, names all that are damaged, and holds the rest to a manifest. */
async function check(path: string, given: CheckArguments, console: Console): Promise<number> {
  const stated = given.manifest === undefined ? undefined : parseManifest(readText(given.manifest), given.manifest);
  const recordings: ManifestEntry[] = [];
  const damaged: { path: string; code: string; message: string }[] = [];
  await visitAll(openSource(path, sourceOptions(given)), console, (entry) => {
    try {
      recordings.push(readEntry(entry));
    } catch (error) {
      const { code, message } = MacroError.from(error);
      damaged.push({ path: entry.path, code, message });
    }
  });
  const found = manifestOf(recordings);
  const difference = stated && differenceOf(stated, found);
  const isDamaged = new Set(damaged.map((one) => one.path));
  const missing = difference?.missing.filter((name) => !isDamaged.has(name)) ?? [];
  const { added = [], changed = [] } = difference ?? {};
  const lists = { missing, added, changed };
  if (given.json) console.out(`${JSON.stringify({ recordings: recordings.length, digest: found.digest, damaged, ...lists })}\n`);
  else {
    for (const { message } of damaged) console.out(`damaged: ${message}\n`);
    for (const [what, names] of Object.entries(lists)) for (const name of names) console.out(`${what}: ${name}\n`);
    console.out(`${recordings.length} good recordings, ${damaged.length} damaged, digest ${found.digest}\n`);
  }
  return damaged.length + missing.length + added.length + changed.length === 0 ? exitDone : exitFailed;
}

/** `prime dataset split`: which recordings to train on, which to choose by, which to keep for the end. */
async function split(path: string, given: SplitArguments, console: Console): Promise<number> {
  const fraction = (name: 'validation' | 'test') => numberOption(name, given[name], 0, 1);
  const rule = { seed: numberOption('seed', given.seed, 0, 0xffffffff, true), validationFraction: fraction('validation'), testFraction: fraction('test') };
  const read = await manifestOfSource(path, given, console);
  const places = splitManifest(read, rule);
  const sets = Object.entries(places).map(([set, indices]) => [set, [...indices].map((index) => read.recordings[index])] as const);
  const paths = Object.fromEntries(sets.map(([set, recordings]) => [set, recordings.map((recording) => recording.path)]));
  const text = `${JSON.stringify({ digest: read.digest, ...rule, ...paths })}\n`;
  if (given.out !== undefined) writeOutput(given.out, text);
  if (given.json) console.out(text);
  else {
    const labels = [...new Set(read.recordings.map(({ label }) => label))];
    const rows = labels.map((label) => [label ?? 'none', ...sets.map(([, recordings]) => recordings.filter((one) => one.label === label).length)]);
    console.out(table(['label', ...sets.map(([set]) => set)], [...rows, ['all', ...sets.map(([, recordings]) => recordings.length)]]));
  }
  return exitDone;
}

async function statisticsOf(path: string, given: SourceArguments, console: Console): Promise<DatasetStatistics> {
  const collector = new StatisticsCollector();
  await visitAll(openSource(path, sourceOptions(given)), console, (entry) => collector.add(entry.parse(entry.read())));
  return collector.statistics();
}

function describeStatistics({ recordings, events, onPerOff, eventsPerActivePixel, labels, eventsByLabel, timeProfile }: DatasetStatistics): string {
  const figures = [
    ['recordings', recordings], ['events a recording', events.mean.toFixed(1)], ['spread (sd) of events', events.sd.toFixed(1)],
    ['fewest, most', `${events.minimum}, ${events.maximum}`], ['ON for each OFF event', onPerOff.toFixed(4)],
    ['events of an active pixel', eventsPerActivePixel.toFixed(3)], ['last slice of 10 ms with events', timeProfile.length],
  ];
  const byLabel = Object.keys(labels).map((label) => [label, labels[label], eventsByLabel[label].toFixed(1)]);
  return `${table(['figure', 'value'], figures)}\n${table(['label', 'recordings', 'events a recording'], byLabel)}`;
}

function describeComparison(comparisons: readonly Comparison[]): string {
  const number = (value: number | undefined) => (value === undefined ? '' : value.toPrecision(5));
  const rows = comparisons.map(({ figure, value, against, difference }) => [figure, number(value), number(against), `${(100 * difference).toFixed(2)} %`]);
  return table(['figure', 'here', 'there', 'difference'], rows);
}

/** `prime dataset statistics`: figures of a dataset, alone or beside another's. */
async function statistics(path: string, given: StatisticsArguments, console: Console): Promise<number> {
  const within = given.within === undefined ? undefined : numberOption('within', given.within, 0, 10);
  if (within !== undefined && given.against === undefined) throw new MacroError('BAD_ARGUMENT', '--within is for --against: it says how far apart they may be');
  const one = await statisticsOf(path, given, console);
  if (given.against === undefined) {
    console.out(given.json ? `${JSON.stringify(one)}\n` : describeStatistics(one));
    return exitDone;
  }
  const other = await statisticsOf(given.against, given, console);
  const comparisons = compareStatistics(one, other);
  console.out(given.json ? `${JSON.stringify({ here: one, there: other, comparisons })}\n` : describeComparison(comparisons));
  return within !== undefined && comparisons.some(({ difference }) => Math.abs(difference) > within) ? exitFailed : exitDone;
}

/** Where frames are kept, by the options of a command. @param folder as given; the service's home where nothing was */
export function frameCacheOf(folder: string | undefined, limitMebibytes: string | undefined, console: Console): FrameCache {
  const mebibyte = 2 ** 20;
  const limit = limitMebibytes === undefined ? usualCacheBytes : mebibyte * numberOption('cache-limit', limitMebibytes, 1, 1e7);
  return new FrameCache(folder ?? framesFolderOf(homeFolderOf(console.environment)), limit);
}

/** `prime dataset frames`: counts a dataset into frames and keeps them, so that whoever asks next need not wait. */
async function frames(path: string, given: FramesArguments, console: Console): Promise<number> {
  if (!splits.includes(given.split as Split)) throw new MacroError('BAD_ARGUMENT', `--split is "${given.split}"; it is number or time`, { field: 'split' });
  const progress = new ProgressLine(console, 1);
  const options: DatasetOptions = {
    ...sourceOptions(given), timestepCount: numberOption('timesteps', given.timesteps, 1, 64, true), split: given.split as Split,
    cache: frameCacheOf(given.cache, given.cacheLimit, console), signal: console.signal, onProgress: (done, total) => progress.show(done, total),
  };
  try {
    const dataset = await openDataset(path, options);
    const { count, shape, manifest: { digest }, pack: { parts: { tokens } } } = dataset;
    const about = { recordings: count, shape, packedBytes: tokens.length, digest };
    console.out(given.json ? `${JSON.stringify(about)}\n` : `${count} recordings of ${shape.join(' × ')} counts in ${tokens.length} bytes, digest ${digest}\n`);
  } finally {
    progress.end();
  }
  return exitDone;
}

const onSource = (command: Command) =>
  command
    .argument('<dataset>', 'folder or zip of .bin, .bs2, .npy, .npz; mnist:train, mnist:test or an idx file of images, which are filmed')
    .option('--set <name>', 'only the train or the test set')
    .option('--columns <order>', `order of event files that are N×4 numbers (default: ${usualColumns})`)
    .option('--json', 'as JSON', false);

/** `prime dataset`: recordings to train on, and how they compare. */
export function addDataset(program: Command, console: Console, done: (exitCode: number) => void): void {
  const dataset = program.command('dataset').description('recordings to train on: film, convert, check, divide and compare them');
  dataset.command('film').description('film images as N-MNIST was recorded, into a folder Train/LABEL/NUMBER.bin')
    .requiredOption('--out <folder>', 'where they go; it must be new or empty')
    .option('--from <images>', 'mnist:train, mnist:test, or an idx file of images with its labels beside it', 'mnist:train')
    .option('--like <dataset>', 'film the digits that these recordings are of, each under the name of its recording')
    .option('--count <count>', 'only the first so many')
    .option('--seed <seed>', 'of the camera\'s noise (default: 1)')
    .option('--json', 'as JSON', false)
    .action(async (given: FilmArguments) => done(await film(given, console)));
  onSource(dataset.command('convert').description('write recordings as .bin files'))
    .requiredOption('--out <folder>', 'where they go; it must be new or empty')
    .action(async (path: string, given: ConvertArguments) => done(await convert(path, given, console)));
  onSource(dataset.command('manifest').description('path, label, bytes, SHA-256 and events of every recording, as JSON lines'))
    .option('--out <file>', 'write them there')
    .action(async (path: string, given: ManifestArguments) => done(await manifest(path, given, console)));
  onSource(dataset.command('check').description('name every recording that is damaged, or is not as a manifest says'))
    .option('--manifest <file>', 'that prime dataset manifest wrote')
    .action(async (path: string, given: CheckArguments) => done(await check(path, given, console)));
  onSource(dataset.command('split').description('divide recordings, label by label, by a seed'))
    .requiredOption('--validation <fraction>', 'of each label, to choose by')
    .option('--test <fraction>', 'of each label, for the end', '0')
    .option('--seed <seed>', 'decides which', '1')
    .option('--out <file>', 'write the paths of each set, as JSON')
    .action(async (path: string, given: SplitArguments) => done(await split(path, given, console)));
  onSource(dataset.command('statistics').description('events, polarities, pixels and times of a dataset'))
    .option('--against <dataset>', 'say how far it is from this one')
    .option('--within <fraction>', 'fail where a figure is further apart')
    .action(async (path: string, given: StatisticsArguments) => done(await statistics(path, given, console)));
  onSource(dataset.command('frames').description('count events into frames and keep them for training'))
    .option('--timesteps <count>', 'frames of a recording', '10')
    .option('--split <rule>', 'how events are shared out over timesteps: number or time', 'number')
    .option('--cache <folder>', 'where they are kept (default: frames in the service\'s home)')
    .option('--cache-limit <mebibytes>', 'what all kept frames may take (default: 2048)')
    .action(async (path: string, given: FramesArguments) => done(await frames(path, given, console)));
}
