import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { type Bundle, readBundle, writeBundle } from '../network/bundle.js';
import { exportFormatOf, exportFormats, withMeasuredWeights } from '../network/exchange/export.js';
import { importEndings, importModel } from '../network/exchange/import.js';
import { type MatchOptions, type WeightUnit, weightUnits } from '../network/exchange/layer-tensors.js';
import { type Network, networkSchema, parseNetwork } from '../network/network.js';
import { type Converters, type LayerRequirement, type NetworkRequirement, requirementOf, usualConverters } from '../network/requirement.js';
import { snapshotDigest } from '../network/snapshot.js';
import { importSnapshot } from '../snapshot/import.js';
import { type Console, exitDone, table } from './console.js';
import { checkOutput, numberOption, readInput, writeOutput } from './input-file.js';

interface ImportArguments {
  readonly network?: string;
  readonly out: string;
  readonly map?: readonly string[];
  readonly ignore?: readonly string[];
  readonly weightUnit: string;
  readonly sparsity: string;
  readonly json: boolean;
}

interface ExportArguments {
  readonly out: string;
  readonly format?: string;
  readonly snapshot?: string;
}

interface ShowArguments {
  readonly converters: string;
  readonly json: boolean;
}

const array = { bitLines: bitLineCount, sourceLines: sourceLineCount };

/** What a layer keeps, beside what it needs. */
type ShownLayer = LayerRequirement & { readonly kept?: number; readonly pruned?: number };
interface Shown extends Omit<NetworkRequirement, 'layers'> {
  readonly name: string;
  readonly digest?: string;
  readonly chipId?: string;
  readonly layers: readonly ShownLayer[];
}

function shownOf(network: Network, bundle: Bundle | undefined, converters: Converters): Shown {
  const { layers, ...rest } = requirementOf(network, array, converters);
  const kept = (index: number) => bundle?.layers[index].mask.reduce((sum, one) => sum + one, 0);
  return {
    name: network.name,
    ...(bundle && { digest: bundle.digest, ...(bundle.chip && { chipId: bundle.chip.chipId }) }),
    ...rest,
    layers: layers.map((layer, index) => {
      const keptWeights = kept(index);
      return { ...layer, ...(keptWeights !== undefined && { kept: keptWeights, pruned: layer.weights - keptWeights }) };
    }),
  };
}

function describeLayers(layers: readonly ShownLayer[]): string {
  const head = ['layer', 'type', 'input', 'output', 'weights', 'kept', 'pruned', 'rows', 'tiles', 'source lines', 'cells', 'conversions', 'ms'];
  return table(head, layers.map((layer) => [
    layer.name, layer.type, layer.input.join('×'), layer.output.join('×'), layer.weights, layer.kept ?? '', layer.pruned ?? '', layer.rows, layer.tiles,
    layer.sourceLines, layer.cells, layer.conversions, Number((layer.seconds * 1000).toFixed(3)),
  ]));
}

function describe(shown: Shown, converters: Converters): string {
  const { name, chipId, layers, sourceLines, availableSourceLines, bitLines, cells, tiles, conversionsPerTimestep, secondsPerTimestep, timestepCount } = shown;
  const made = chipId === undefined ? '' : `, made on chip ${chipId}`;
  const share = ((100 * cells) / (bitLines * availableSourceLines)).toFixed(1);
  return [
    describeLayers(layers),
    `${name}${made}: ${shown.isFitting ? 'fits' : 'does not fit'} an array of ${bitLines}×${availableSourceLines}: `,
    `${sourceLines} source lines, ${tiles} tiles, ${cells} cells (${share} %)\n`,
    `at most ${conversionsPerTimestep} conversions and ${secondsPerTimestep.toFixed(3)} s a timestep, `,
    `${(secondsPerTimestep * timestepCount).toFixed(2)} s for all ${timestepCount}, `,
    `with ${converters.count} at once of ${converters.conversionNanoseconds / 1000} µs each; bit planes that drive no line cost nothing\n`,
  ].join('');
}

const convertersOf = ({ converters }: ShowArguments): Converters =>
  ({ ...usualConverters, count: numberOption('converters', converters, 1, sourceLineCount, true) });

async function show(path: string, given: ShowArguments, console: Console): Promise<number> {
  const converters = convertersOf(given);
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  const bundle = isFile ? undefined : readBundle(path);
  const network = bundle?.network ?? parseNetwork(new TextDecoder().decode(readInput(path)));
  const shown = shownOf(network, bundle, converters);
  console.out(given.json ? `${JSON.stringify(shown)}\n` : describe(shown, converters));
  return exitDone;
}

function matchOf({ map = [], ignore = [], weightUnit, sparsity }: ImportArguments): MatchOptions {
  if (!(weightUnits as readonly string[]).includes(weightUnit)) {
    throw new MacroError('BAD_ARGUMENT', `--weight-unit ${weightUnit}: there are ${weightUnits.join(', ')}`, { field: 'weightUnit' });
  }
  const pairs = map.map((pair) => {
    const [place, ...name] = pair.split('=');
    if (name.length === 0) throw new MacroError('BAD_ARGUMENT', `--map ${pair}: write LAYER.weight=TENSOR`, { field: 'map' });
    return [place, name.join('=')] as const;
  });
  return { map: new Map(pairs), ignore, weightUnit: weightUnit as WeightUnit, sparsity: numberOption('sparsity', sparsity, 0, 1) };
}

/** A bundle appears whole or not at all, and never among the files of another. */
function writeNewBundle(folder: string, bundle: Bundle): Bundle {
  const place = resolve(folder);
  if (existsSync(place) && (!statSync(place).isDirectory() || readdirSync(place).length > 0)) {
    throw new MacroError('BAD_ARGUMENT', `--out ${folder} is there already: name a new or an empty folder`, { field: 'out' });
  }
  checkOutput(place);
  const draft = join(dirname(place), `.${basename(place)}-${process.pid}`);
  try {
    const written = writeBundle(draft, bundle);
    renameSync(draft, place);
    return written;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw error;
  }
}

async function importFile(path: string, given: ImportArguments, console: Console): Promise<number> {
  const match = matchOf(given);
  const network = given.network === undefined ? undefined : new TextDecoder().decode(readInput(given.network));
  const bundle = await importModel(readInput(path), basename(path), { ...(network !== undefined && { network }), match });
  const written = writeNewBundle(given.out, bundle);
  const shown = shownOf(written.network, written, usualConverters);
  console.out(given.json ? `${JSON.stringify({ bundle: given.out, ...shown })}\n` : `${describe(shown, usualConverters)}written to ${given.out}\n`);
  return exitDone;
}

async function exportBundle(folder: string, given: ExportArguments, console: Console): Promise<number> {
  const format = exportFormatOf(given.out, given.format);
  const bundle = readBundle(folder);
  checkOutput(given.out);
  const full = given.snapshot === undefined ? bundle : await measured(bundle, given.snapshot, console);
  writeOutput(given.out, await exportFormats[format](full));
  return exitDone;
}

async function measured(bundle: Bundle, path: string, console: Console): Promise<Bundle> {
  const chip = bundle.chip && { chipId: bundle.chip.chipId };
  const snapshot = await importSnapshot(readInput(path), basename(path), path.endsWith('.npy') && chip ? { chip } : {});
  if (bundle.chip && snapshotDigest(snapshot.codes) !== bundle.chip.snapshotDigest) {
    console.error('the snapshot is another than the one that the bundle was made on\n');
  }
  return withMeasuredWeights(bundle, snapshot);
}

/** `prime model`: networks from and for other programs. Files only; no device and no service. */
export function addModel(program: Command, console: Console, done: (exitCode: number) => void): void {
  const model = program.command('model').description('networks from other programs, and for them');
  model
    .command('import')
    .description(`make a bundle of a file: ${importEndings.map((ending) => `.${ending}`).join(', ')}`)
    .argument('<file>', 'PyTorch state dict, NumPy archive, safetensors or NIR graph')
    .requiredOption('--out <bundle>', 'folder to make')
    .option('--network <file>', 'network.json, where the file does not bring its own')
    .option('--map <place=tensor...>', 'tensors by LAYER.weight, LAYER.mask or LAYER.scores, where names differ')
    .option('--ignore <tensor...>', 'tensors to leave out; a trailing * stands for any rest')
    .option('--weight-unit <unit>', 'of the weights: microsiemens, or network (× weightScale already)', 'microsiemens')
    .option('--sparsity <fraction>', 'pruned by scores, where a layer has no mask', '0.5')
    .option('--json', 'one JSON object', false)
    .action(async (path: string, given: ImportArguments) => done(await importFile(path, given, console)));
  model
    .command('export')
    .description('write the network of a bundle for other programs')
    .argument('<bundle>', 'folder of a bundle')
    .requiredOption('--out <file>', 'file to write')
    .option('--format <format>', `${Object.keys(exportFormats).join(', ')} (default: by the ending of the file)`)
    .option('--snapshot <file>', 'of the chip that the bundle was made on, for its weights: .npz, .h5, .csv, or .npy with codes')
    .action(async (folder: string, given: ExportArguments) => done(await exportBundle(folder, given, console)));
  model
    .command('show')
    .description('layers of a network, and what it needs of an array')
    .argument('<bundle>', 'folder of a bundle, or a network.json')
    .option('--converters <count>', 'how many convert at once', String(usualConverters.count))
    .option('--json', 'one JSON object', false)
    .action(async (path: string, given: ShowArguments) => done(await show(path, given, console)));
  model
    .command('schema')
    .description('JSON Schema of network.json')
    .action(() => {
      console.out(`${JSON.stringify(networkSchema, null, 2)}\n`);
      done(exitDone);
    });
}
