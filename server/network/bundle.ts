import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import {
  checkShape, integerFrom, type Network, type NetworkLayer, networkFile, parseNetwork, strict, textUpTo, weightShape,
} from './network.js';
import { readNpy, writeNpy } from './npy.js';
import { checkPlacements, layerPlacementSchema } from './placement.js';
import { fingerprintCellCount } from './snapshot.js';

export const chipFile = 'chip.json';
const maximumFileBytes = 4 * 2 ** 20;
/** Codes of 16 bits at 1 nS a step, the finest unit of a chip, end at 65 µS. */
const maximumWeightMicrosiemens = 65;

const chipRecordSchema = strict({
  format: Type.Literal('prime-chip/1', { description: '"prime-chip/1"' }),
  chipId: textUpTo(128),
  fingerprint: Type.Array(integerFrom(0, 65_535), {
    minItems: fingerprintCellCount,
    maxItems: fingerprintCellCount,
    description: `a list of ${fingerprintCellCount} cell codes`,
  }),
  snapshotDigest: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'a SHA-256 of 64 small hexadecimal digits' }),
  weightScale: Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1, description: 'a number above 0 and below 1' }),
  placements: Type.Array(layerPlacementSchema, { description: 'a list of layer placements' }),
});

/** What ties a bundle to the chip it was made on: `chip.json`. `fingerprint`: codes of the cells that `fingerprintCells` names. */
export type ChipRecord = Static<typeof chipRecordSchema>;

export interface BundleLayer {
  readonly name: string;
  /** 1 = kept, in the order of `weightShape`. */
  readonly mask: Uint8Array;
  /** Differential conductance in µS, where the bundle brings its own. */
  readonly weight?: Float32Array;
  readonly scores?: Float32Array;
}

export interface Bundle {
  readonly network: Network;
  readonly layers: readonly BundleLayer[];
  readonly chip?: ChipRecord;
  /** SHA-256 over names and contents of the files, hexadecimal. */
  readonly digest: string;
}

function refuse(file: string, problem: string): never {
  throw new MacroError('BAD_BUNDLE', `${file} ${problem}`, { field: file });
}

function digestOf(files: ReadonlyMap<string, Uint8Array>): string {
  const hash = createHash('sha256');
  for (const name of [...files.keys()].sort()) {
    const bytes = files.get(name) as Uint8Array;
    hash.update(`${name}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

const arrayFiles = (name: string) => ({ mask: `${name}.mask.npy`, weight: `${name}.weight.npy`, scores: `${name}.scores.npy` });

function readMask(bytes: Uint8Array | undefined, file: string, layer: NetworkLayer): Uint8Array {
  if (bytes === undefined) return refuse(file, 'is missing');
  const mask = readNpy(bytes, file, 'u1', weightShape(layer));
  const wrong = mask.findIndex((kept) => kept > 1);
  if (wrong >= 0) refuse(file, `holds ${mask[wrong]} at element ${wrong}, a mask holds 0 and 1`);
  return mask;
}

function readReals(bytes: Uint8Array, file: string, layer: NetworkLayer, limit: number, unit: string): Float32Array {
  const reals = readNpy(bytes, file, 'f4', weightShape(layer));
  const wrong = reals.findIndex((value) => !(Math.abs(value) <= limit));
  if (wrong >= 0) refuse(file, `holds ${reals[wrong]} at element ${wrong}, the range is −${limit} to ${limit}${unit}`);
  return reals;
}

function readLayer(files: ReadonlyMap<string, Uint8Array>, layer: NetworkLayer, hasChip: boolean): BundleLayer {
  const names = arrayFiles(layer.name);
  const mask = readMask(files.get(names.mask), names.mask, layer);
  const weightBytes = files.get(names.weight);
  if (weightBytes === undefined && !hasChip) refuse(names.weight, `is missing; only a bundle with ${chipFile} has its weights on a chip`);
  const scoresBytes = files.get(names.scores);
  return {
    name: layer.name,
    mask,
    ...(weightBytes && { weight: readReals(weightBytes, names.weight, layer, maximumWeightMicrosiemens, ' µS') }),
    ...(scoresBytes && { scores: readReals(scoresBytes, names.scores, layer, 1e6, '') }),
  };
}

function readChip(bytes: Uint8Array, network: Network): ChipRecord {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    return refuse(chipFile, `is not JSON: ${(error as Error).message}`);
  }
  const chip = checkShape(chipRecordSchema, value, chipFile);
  if (chip.weightScale !== network.weightScale) refuse(chipFile, `: weightScale must be ${network.weightScale}, as in ${networkFile}`);
  checkPlacements(chip.placements, network, { bitLines: bitLineCount, sourceLines: sourceLineCount }, chipFile);
  return chip;
}

/**
 * Reads a bundle from its files by name: `network.json`, `<layer>.mask.npy` (u8), `<layer>.weight.npy` (float32, µS),
 * `<layer>.scores.npy` (float32) and `chip.json`.
 *
 * @throws MacroError BAD_BUNDLE naming file and field; unknown files and fields are refused
 */
export function bundleFromFiles(files: ReadonlyMap<string, Uint8Array>): Bundle {
  for (const [name, bytes] of files) {
    if (bytes.length > maximumFileBytes) refuse(name, `has ${bytes.length} bytes, the limit is ${maximumFileBytes}`);
  }
  const text = files.get(networkFile);
  if (text === undefined) return refuse(networkFile, 'is missing');
  const network = parseNetwork(new TextDecoder().decode(text));
  const known = new Set([networkFile, chipFile, ...network.layers.flatMap(({ name }) => Object.values(arrayFiles(name)))]);
  for (const name of files.keys()) if (!known.has(name)) refuse(name, 'belongs to no layer of the network');
  const chipBytes = files.get(chipFile);
  const layers = network.layers.map((layer) => readLayer(files, layer, chipBytes !== undefined));
  return { network, layers, ...(chipBytes && { chip: readChip(chipBytes, network) }), digest: digestOf(files) };
}

/** The files of a bundle by name; the inverse of `bundleFromFiles`. */
export function filesOfBundle(bundle: Omit<Bundle, 'digest'>): Map<string, Uint8Array> {
  const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
  const files = new Map<string, Uint8Array>([[networkFile, json(bundle.network)]]);
  if (bundle.chip) files.set(chipFile, json(bundle.chip));
  bundle.layers.forEach((layer, index) => {
    const names = arrayFiles(layer.name);
    const shape = weightShape(bundle.network.layers[index]);
    files.set(names.mask, writeNpy(layer.mask, shape));
    if (layer.weight) files.set(names.weight, writeNpy(layer.weight, shape));
    if (layer.scores) files.set(names.scores, writeNpy(layer.scores, shape));
  });
  return files;
}

/**
 * Reads the bundle in a folder; files that are neither `network.json`, `chip.json` nor `.npy` are left alone.
 *
 * @throws MacroError MODEL_UNKNOWN where there is no such folder, BAD_BUNDLE as `bundleFromFiles`
 */
export function readBundle(folder: string): Bundle {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new MacroError('MODEL_UNKNOWN', `${folder} is no folder with a bundle`, { field: 'model' });
  }
  const names = readdirSync(folder).filter((name) => name === networkFile || name === chipFile || name.endsWith('.npy'));
  return bundleFromFiles(new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))])));
}

/** Writes the files of a bundle into a folder, which is made if need be. Returns the bundle as it will be read. */
export function writeBundle(folder: string, bundle: Omit<Bundle, 'digest'>): Bundle {
  const files = filesOfBundle(bundle);
  const checked = bundleFromFiles(files);
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
  return checked;
}
