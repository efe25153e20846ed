import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { philox } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { filmDigit, nmnistCamera } from './camera.js';
import { digitOf, labelsBeside, type Mnist, readDigits, readMnist } from './mnist.js';
import { refuseDataset } from './refusal.js';
import { encodeRecording, parseRecording } from './recording.js';
import type { SetName, Source } from './source.js';

/** Images that the camera films, and how. */
interface FilmSpec {
  /** `mnist`, `mnist:train`, `mnist:test`, or the path of an idx file of images. */
  readonly images: string;
  readonly set: SetName;
  readonly seed: number;
  /** Only the first so many. */
  readonly count: number | undefined;
}

const mnistName = /^mnist(?::(train|test))?$/;
const idxName = /idx3-ubyte(\.gz)?$/;

const withoutOptions = (spec: string) => spec.split('?')[0];

/** Whether a source is the digits of MNIST, which are always at hand. */
export const isMnistSpec = (spec: string): boolean => mnistName.test(withoutOptions(spec));

/** Whether a source is filmed. */
export const isFilmSpec = (spec: string): boolean => isMnistSpec(spec) || idxName.test(withoutOptions(spec));

/** An idx file is of the set that its name says; MNIST has both. */
const statedSet = (images: string): SetName | undefined => {
  const mnist = mnistName.exec(images);
  return mnist === null ? (/^(t10k|test)/.test(basename(images)) ? 'test' : 'train') : (mnist[1] as SetName | undefined);
};

function integerOption(options: URLSearchParams, name: string, minimum: number, maximum: number): number | undefined {
  const text = options.get(name);
  if (text === null) return undefined;
  const value = text === '' ? Number.NaN : Number(text);
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  throw new MacroError('BAD_ARGUMENT', `${name} of the images to film is "${text}", the range is ${minimum} to ${maximum}`, { field: name });
}

/** @throws MacroError BAD_ARGUMENT */
function parseFilmSpec(spec: string, wanted: SetName | undefined): FilmSpec {
  const images = withoutOptions(spec);
  const options = new URLSearchParams(spec.slice(images.length + 1));
  const unknown = [...options.keys()].find((name) => !['seed', 'count'].includes(name));
  if (unknown !== undefined) throw new MacroError('BAD_ARGUMENT', `"${spec}" has the option ${unknown}; there are seed and count`, { field: 'input' });
  const stated = statedSet(images);
  if (stated !== undefined && wanted !== undefined && stated !== wanted) {
    throw new MacroError('INPUT_NOT_FOUND', `${spec} has no recordings of the ${wanted} set`, { field: 'input' });
  }
  return {
    images,
    set: stated ?? wanted ?? 'train',
    seed: integerOption(options, 'seed', 0, 0xffffffff) ?? 1,
    count: integerOption(options, 'count', 1, 1e6),
  };
}

const filmStream = { train: 0xf11a, test: 0xf11e } as const;
const philoxRounds = 10;

/** Chance of one film. The two sets have none in common. */
function filmSeed(seed: number, set: SetName, index: number): number {
  const block = Uint32Array.of(index, 0, 0, 0);
  philox(block, seed, filmStream[set], philoxRounds);
  return block[0];
}

/** First number of a file in the published folders, by set: the test digits follow the train digits. */
const firstNumber = { train: 1, test: 60_001 } as const;

/** Where the published folders have a digit: `Train/7/00016.bin`. */
const pathOf = (set: SetName, label: number, index: number) =>
  `${set === 'train' ? 'Train' : 'Test'}/${label}/${String(firstNumber[set] + index).padStart(5, '0')}.bin`;

/** The inverse: which digit a file of the published folders is of. */
export function digitAt(path: string): { readonly set: SetName; readonly index: number } | undefined {
  const [, number] = /^(\d{5})\.\w+$/.exec(basename(path)) ?? [];
  if (number === undefined || Number(number) < 1) return undefined;
  const set = Number(number) >= firstNumber.test ? 'test' : 'train';
  return { set, index: Number(number) - firstNumber[set] };
}

/** Digits of one set, filmed one by one. */
export class FilmSet {
  constructor(readonly set: SetName, readonly digits: Mnist, private readonly seed: number) {}

  pathOf(index: number): string {
    return pathOf(this.set, this.digits.labels[index], index);
  }

  /** The film of one digit as ATIS events. */
  film(index: number): Uint8Array {
    const seed = filmSeed(this.seed, this.set, index);
    return encodeRecording(filmDigit(digitOf(this.digits, index), { seed, name: this.pathOf(index) }));
  }

  /**
   * What decides every byte of the films: images, labels, seed and camera; of the camera its parameters, and one film, because its program may
   * become another.
   */
  get identity(): string {
    const hash = createHash('sha256').update(this.digits.images).update(this.digits.labels);
    const { thresholdPattern, ...camera } = nmnistCamera;
    hash.update(JSON.stringify({ set: this.set, seed: this.seed, camera, thresholdPattern: thresholdPattern && [...thresholdPattern] }));
    return hash.update(this.film(0)).digest('hex');
  }
}

function readSet(images: string, set: SetName): Mnist {
  return mnistName.test(images) ? readMnist(set) : readDigits(images, labelsBeside(images));
}

/**
 * Images as a source of recordings; each is filmed whenever it is read.
 * @throws MacroError INPUT_NOT_FOUND, BAD_DATASET, BAD_ARGUMENT
 */
export function filmSource(spec: string, wanted: SetName | undefined): Source {
  const { images, set, seed, count } = parseFilmSpec(spec, wanted);
  const digits = readSet(images, set);
  const films = new FilmSet(set, digits, seed);
  const entries = Array.from({ length: Math.min(count ?? digits.count, digits.count) }, (_, index) => {
    const [path, label] = [films.pathOf(index), digits.labels[index]];
    return { path, label, read: () => films.film(index), parse: (bytes: Uint8Array) => parseRecording(bytes, path, label) };
  });
  entries.sort((left, right) => (left.path < right.path ? -1 : 1));
  return { name: spec, entries, get identity() { return `${films.identity}/${entries.length}`; }, close: () => undefined };
}

/**
 * Films of the digits that recordings are of, each under the name of its recording: so that films and recordings can be compared one to one.
 *
 * @param like recordings whose files are numbered as the published ones are
 * @param images `mnist` (of either set), or the idx file that they were recorded from
 * @throws MacroError BAD_DATASET naming the recording that is of no such digit
 */
export function digitSource(like: Source, images: string, seed: number): Source {
  const sets = new Map<SetName, FilmSet>();
  const filmsOf = (set: SetName) => {
    const known = sets.get(set) ?? new FilmSet(set, readSet(images, set), seed);
    sets.set(set, known);
    return known;
  };
  const isFile = !mnistName.test(images);
  const entries = like.entries.map(({ path, label }) => {
    const digit = digitAt(path);
    if (digit === undefined) return refuseDataset(path, 'has no number of a digit, as 00001.bin has');
    if (isFile && statedSet(images) !== digit.set) refuseDataset(path, `is of the ${digit.set} set, and ${images} is not`);
    const films = filmsOf(digit.set);
    if (digit.index >= films.digits.count) refuseDataset(path, `is of digit ${digit.index} of the ${digit.set} set, which has ${films.digits.count}`);
    const found = films.digits.labels[digit.index];
    if (label !== null && label !== found) refuseDataset(path, `is of digit ${digit.index} of the ${digit.set} set, whose label is ${found}`);
    return { path, label, read: () => films.film(digit.index), parse: (bytes: Uint8Array) => parseRecording(bytes, path, label) };
  });
  return { name: `films like ${like.name}`, entries, close: () => undefined };
}
