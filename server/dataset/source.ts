import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative, resolve, sep } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { MacroError } from '../../proto/error.js';
import { type ColumnOrder, eventArrayBytesMaximum, isEventArray, parseEventArray, usualColumns } from './event-array.js';
import { filmSource, isFilmSpec } from './film.js';
import { labelOf } from './nmnist.js';
import { checkRecordingSize, maximumRecordingBytes, parseRecording, type Recording } from './recording.js';
import { refuseDataset, refuseMissing } from './refusal.js';
import { ZipArchive, type ZipEntry } from './zip-archive.js';

/** The sets that publishers divide their recordings into. */
export type SetName = 'train' | 'test';

/** One recording of a source, not yet read. */
export interface SourceEntry {
  /** Below the root of the source, parts divided by /. */
  readonly path: string;
  /** The number that names its folder; null where it is no number. */
  readonly label: number | null;
  /** The bytes that it is stored as. @throws MacroError RECORDING_…, BAD_DATASET, INPUT_NOT_FOUND naming the file */
  read(): Uint8Array;
  /** @throws MacroError RECORDING_…, BAD_DATASET naming file and offset */
  parse(bytes: Uint8Array): Recording;
}

/** Where recordings come from: a folder, a zip archive, or images that the camera films. */
export interface Source {
  readonly name: string;
  /** Sorted by path. */
  readonly entries: readonly SourceEntry[];
  /** What decides every byte of it, where that is known without loading it; undefined: the bytes must be read. */
  readonly identity?: string;
  close(): void;
}

export interface SourceOptions {
  /** Only the recordings of this set, where the source is divided. */
  readonly set?: SetName;
  /** Order of the columns of event files that are N×4 numbers. */
  readonly columns?: ColumnOrder;
}

const extension = /\.(bin|bs2|npy|npz)$/i;
const compare = (left: { path: string }, right: { path: string }) => (left.path < right.path ? -1 : left.path > right.path ? 1 : 0);
/** What file managers leave behind. */
const isHidden = (path: string) => path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');

/** @throws MacroError RECORDING_…, BAD_DATASET */
export function parseEvents(bytes: Uint8Array, name: string, label: number | null, columns: ColumnOrder = usualColumns): Recording {
  if (isEventArray(bytes)) return parseEventArray(bytes, name, label, columns);
  if (bytes[0] === 0x23 && bytes[1] === 0x21) refuseDataset(name, ', offset 0: is an AEDAT file, which is not read; docs/dataset.md says how to convert it');
  return parseRecording(bytes, name, label);
}

function checkSize(bytes: number, path: string): void {
  if (/\.np[yz]$/i.test(path)) {
    if (bytes > eventArrayBytesMaximum) refuseDataset(path, `has ${bytes} bytes, the limit is ${eventArrayBytesMaximum}`);
  } else checkRecordingSize(bytes, path);
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.')) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() && extension.test(entry.name) ? [path] : [];
  });
}

function readFile(file: string): Uint8Array {
  try {
    checkSize(statSync(file).size, file);
    return new Uint8Array(readFileSync(file));
  } catch (error) {
    if (error instanceof MacroError) throw error;
    return refuseMissing(file, error);
  }
}

function folderSource(folder: string, { columns }: SourceOptions): Source {
  const root = resolve(folder);
  const entries = filesBelow(root).map((file) => {
    const path = relative(root, file).split(sep).join('/');
    const label = labelOf(file);
    const parse = (bytes: Uint8Array) => ({ ...parseEvents(bytes, file, label, columns), name: path });
    return { path, label, read: () => readFile(file), parse };
  });
  return { name: folder, entries: entries.sort(compare), close: () => undefined };
}

function zipSource(file: string, { columns }: SourceOptions): Source {
  const archive = ZipArchive.open(file);
  const nameOf = (path: string) => `${file}, ${path}`;
  const read = (entry: ZipEntry) => {
    checkSize(entry.bytes, nameOf(entry.path));
    return archive.read(entry, Math.max(eventArrayBytesMaximum, maximumRecordingBytes));
  };
  const entries = archive.entries.filter(({ path }) => extension.test(path) && !isHidden(path)).map((entry) => {
    const { path } = entry;
    const label = labelOf(path);
    const parse = (bytes: Uint8Array) => ({ ...parseEvents(bytes, nameOf(path), label, columns), name: path });
    return { path, label, read: () => read(entry), parse };
  });
  return { name: file, entries: entries.sort(compare), close: () => archive.close() };
}

/** The set whose name a folder on the way to a recording has, from the root of the source on. */
function setOf(root: string, path: string): SetName | undefined {
  const names = [basename(resolve(root), '.zip'), ...path.split('/')].map((name) => name.toLowerCase());
  return names.findLast((name): name is SetName => name === 'train' || name === 'test');
}

/** The recordings of one set; all of them where none names its set. @throws MacroError INPUT_NOT_FOUND where the source only has others */
function ofSet(source: Source, set: SetName): Source {
  const sets = source.entries.map(({ path }) => setOf(source.name, path));
  if (sets.every((name) => name === undefined)) return source;
  const entries = source.entries.filter((_, index) => sets[index] === set);
  if (entries.length === 0) throw new MacroError('INPUT_NOT_FOUND', `${source.name} has no recordings of the ${set} set`, { field: 'input' });
  return { ...source, entries };
}

/**
 * Finds recordings.
 *
 * @param spec a folder with `.bin`, `.bs2`, `.npy` and `.npz` files at any depth; a zip archive of such; `mnist`, `mnist:train` or `mnist:test`, which
 *   are filmed; or an idx file of images, with its labels beside it, which are filmed as well. What is filmed takes `?seed=N&count=N`
 * @throws MacroError INPUT_NOT_FOUND where there is none, BAD_DATASET, BAD_ARGUMENT
 */
export function openSource(spec: string, options: SourceOptions = {}): Source {
  if (isFilmSpec(spec)) return filmSource(spec, options.set);
  const status = statSync(spec, { throwIfNoEntry: false });
  if (status === undefined) refuseMissing(spec);
  const source = status.isDirectory() ? folderSource(spec, options) : zipSource(spec, options);
  if (source.entries.length > 0) return options.set === undefined ? source : ofSet(source, options.set);
  source.close();
  throw new MacroError('INPUT_NOT_FOUND', `${spec} holds no .bin, .bs2, .npy or .npz file`, { field: 'input' });
}

export interface VisitOptions {
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** For so long nobody else in this thread gets a turn. */
const turnMilliseconds = 20;

/** Visits all recordings, one by one, and lets others have their turn. @throws MacroError CANCELLED, and what the work throws */
export async function visit({ name, entries }: Source, work: (entry: SourceEntry) => void, { onProgress, signal }: VisitOptions): Promise<void> {
  let turnedAt = performance.now();
  for (const [index, entry] of entries.entries()) {
    work(entry);
    if (performance.now() - turnedAt < turnMilliseconds) continue;
    onProgress?.(index + 1, entries.length);
    await turn();
    if (signal?.aborted === true) throw new MacroError('CANCELLED', `${name} was read up to recording ${index + 1} of ${entries.length}`);
    turnedAt = performance.now();
  }
  onProgress?.(entries.length, entries.length);
}
