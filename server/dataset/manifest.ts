import { createHash } from 'node:crypto';
import { refuseDataset } from './refusal.js';
import type { SourceEntry } from './source.js';

/** What a manifest says of one recording. */
export interface ManifestEntry {
  /** Below the root of the dataset, parts divided by /. */
  readonly path: string;
  readonly label: number | null;
  readonly bytes: number;
  /** Of its bytes, in hexadecimal. */
  readonly sha256: string;
  readonly events: number;
}

/** What a dataset consists of, byte for byte. */
export interface Manifest {
  /** Sorted by path. */
  readonly recordings: readonly ManifestEntry[];
  /** SHA-256 of the lines of all recordings. */
  readonly digest: string;
}

/** How two states of a dataset differ. */
export interface ManifestDifference {
  readonly missing: readonly string[];
  readonly added: readonly string[];
  readonly changed: readonly string[];
}

const format = 'prime-dataset/1';

const lineOf = ({ path, label, bytes, sha256, events }: ManifestEntry) => `${JSON.stringify({ path, label, bytes, sha256, events })}\n`;

export function manifestOf(recordings: readonly ManifestEntry[]): Manifest {
  const hash = createHash('sha256');
  for (const entry of recordings) hash.update(lineOf(entry));
  return { recordings, digest: hash.digest('hex') };
}

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export const manifestEntry = ({ path, label }: SourceEntry, bytes: Uint8Array, events: number): ManifestEntry =>
  ({ path, label, bytes: bytes.length, sha256: digestOf(bytes), events });

/** Reads one recording. @throws MacroError RECORDING_…, BAD_DATASET, INPUT_NOT_FOUND where it is damaged */
export function readEntry(entry: SourceEntry): ManifestEntry {
  const bytes = entry.read();
  return manifestEntry(entry, bytes, entry.parse(bytes).x.length);
}

/** As JSON lines: what it is, then a line for each recording. */
export function writeManifest({ recordings, digest }: Manifest): string {
  return `${JSON.stringify({ format, recordings: recordings.length, digest })}\n${recordings.map(lineOf).join('')}`;
}

function parseLine(line: string, file: string, number: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // refused below
  }
  return refuseDataset(file, `, line ${number}: is no JSON object`);
}

function entryOf(fields: Record<string, unknown>, file: string, number: number): ManifestEntry {
  const { path, label, bytes, sha256, events } = fields;
  const refuse = (field: string, range: string) => refuseDataset(file, `, line ${number}: ${field} is ${JSON.stringify(fields[field])}, expected ${range}`);
  const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isInteger(value) && value >= 0;
  if (typeof path !== 'string' || path === '') refuse('path', 'a text');
  if (label !== null && !isCount(label)) refuse('label', 'an integer of 0 or more, or null');
  if (!isCount(bytes)) refuse('bytes', 'an integer of 0 or more');
  if (!isCount(events)) refuse('events', 'an integer of 0 or more');
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) refuse('sha256', '64 hexadecimal digits');
  return { path, label, bytes, sha256, events } as ManifestEntry;
}

/** The inverse of `writeManifest`. @throws MacroError BAD_DATASET naming file, line and field */
export function parseManifest(text: string, file: string): Manifest {
  const [first = '', ...lines] = text.split('\n').filter((line) => line !== '');
  const head = parseLine(first, file, 1);
  if (head['format'] !== format) refuseDataset(file, `, line 1: format is ${JSON.stringify(head['format'])}, expected ${format}`);
  if (head['recordings'] !== lines.length) refuseDataset(file, `, line 1: states ${head['recordings']} recordings, ${lines.length} follow`);
  const manifest = manifestOf(lines.map((line, index) => entryOf(parseLine(line, file, index + 2), file, index + 2)));
  if (manifest.digest !== head['digest']) refuseDataset(file, `, line 1: the digest is not that of its lines, which is ${manifest.digest}`);
  return manifest;
}

/** What became of the recordings of `stated`. A recording is changed where its bytes or its label are others. */
export function differenceOf(stated: Manifest, found: Manifest): ManifestDifference {
  const before = new Map(stated.recordings.map((entry) => [entry.path, lineOf(entry)]));
  const after = new Map(found.recordings.map((entry) => [entry.path, lineOf(entry)]));
  return {
    missing: [...before.keys()].filter((path) => !after.has(path)),
    added: [...after.keys()].filter((path) => !before.has(path)),
    changed: [...after].filter(([path, line]) => before.has(path) && before.get(path) !== line).map(([path]) => path),
  };
}
