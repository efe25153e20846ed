import { readdirSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { MacroError } from '../../proto/error.js';

export interface RecordingFile {
  readonly path: string;
  /** How results call it: the last three parts of the path in the layout `Test/7/60001.bin`, otherwise the path below the given folder. */
  readonly input: string;
  /** The number that names the parent folder; null where it is no number. */
  readonly label: number | null;
}

const extension = /\.(bin|bs2)$/i;
const labelFolder = /^\d{1,4}$/;

const compare = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0);

function statOrRefuse(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new MacroError('INPUT_NOT_FOUND', `${path} cannot be read`, { field: 'input', cause: error });
  }
}

function recordingsBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return recordingsBelow(path);
    return entry.isFile() && extension.test(entry.name) ? [path] : [];
  });
}

/** The number that names the parent folder of a recording; null where it is no number. */
export function labelOf(path: string): number | null {
  const parent = basename(dirname(path));
  return labelFolder.test(parent) ? Number(parent) : null;
}

function describe(path: string, folder: string): RecordingFile {
  const label = labelOf(path);
  if (label !== null) return { path, input: path.split(sep).slice(-3).join('/'), label };
  return { path, input: path.slice(dirname(folder).length).split(sep).filter(Boolean).join('/'), label: null };
}

/**
 * Finds recordings in files and folders. A file that is named is taken whatever its extension; of a folder, `.bin` and `.bs2` at any depth.
 * Sorted by path; what is named twice is listed once.
 *
 * @throws MacroError INPUT_NOT_FOUND where a path does not exist or a folder holds no recording
 */
export function findRecordings(paths: readonly string[]): RecordingFile[] {
  const found = new Map<string, RecordingFile>();
  for (const given of paths) {
    const path = resolve(given);
    const isFolder = statOrRefuse(path).isDirectory();
    const files = isFolder ? recordingsBelow(path) : [path];
    if (files.length === 0) throw new MacroError('INPUT_NOT_FOUND', `${given} holds no .bin or .bs2 file`, { field: 'input' });
    for (const file of files) if (!found.has(file)) found.set(file, describe(file, isFolder ? path : file));
  }
  return [...found.values()].sort((left, right) => compare(left.path, right.path));
}
