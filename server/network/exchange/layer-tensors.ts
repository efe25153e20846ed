import { MacroError } from '../../../proto/error.js';
import type { BundleLayer } from '../bundle.js';
import { type Network, type NetworkLayer, weightShape } from '../network.js';
import { maskOfScores } from '../score-mask.js';
import { refuseModel } from './refusal.js';
import { shapeText, type Tensor } from './tensor.js';

/** What a layer may have, and what files call it; the first is the published name, others are those of torch.nn.utils.prune. */
const roles = { weight: ['weight', 'weight_orig'], mask: ['mask', 'weight_mask'], scores: ['scores'], bias: ['bias'] } as const;
type Role = keyof typeof roles;
const mappedRoles: readonly Role[] = ['weight', 'mask', 'scores'];

/** What a number in the weights of a file is. */
export const weightUnits = ['microsiemens', 'network'] as const;
export type WeightUnit = (typeof weightUnits)[number];

export interface MatchOptions {
  /** Tensors by `layer.weight`, `layer.mask` or `layer.scores`, where names differ. */
  readonly map: ReadonlyMap<string, string>;
  /** Tensors that are left out; a trailing * stands for any rest. */
  readonly ignore: readonly string[];
  /** `network` weights are divided by the network's weightScale. */
  readonly weightUnit: WeightUnit;
  /** Fraction that is pruned where a layer has scores and no mask. */
  readonly sparsity: number;
}

export const usualMatch: MatchOptions = { map: new Map(), ignore: [], weightUnit: 'microsiemens', sparsity: 0.5 };

/** One file's tensors on their way into layers. Problems are collected, so that a user learns of all at once. */
class Match {
  readonly problems: string[] = [];
  private readonly used = new Set<string>();

  constructor(private readonly tensors: readonly Tensor[], private readonly options: MatchOptions) {}

  /** The tensor of a layer by name; of the published names `features.conv0.weight` is one of conv0. */
  find(layer: NetworkLayer, role: Role): Tensor | undefined {
    const place = `${layer.name}.${role}`;
    const mapped = this.options.map.get(place);
    const endings = roles[role].map((name) => `${layer.name}.${name}`);
    const isNamed = (name: string) => (mapped === undefined ? endings.some((end) => name === end || name.endsWith(`.${end}`)) : name === mapped);
    const found = this.tensors.filter(({ name }) => isNamed(name) && !this.isIgnored(name));
    if (mapped !== undefined && found.length === 0) this.problems.push(`${mapped} of --map ${place}=${mapped} is missing`);
    if (found.length > 1) this.problems.push(`${found.map(({ name }) => name).join(' and ')} could both be ${place}: name one by --map`);
    for (const { name } of found) this.used.add(name);
    return found[0];
  }

  /** The numbers of a tensor, which must have the shape of the layer's weights. */
  numbers(tensor: Tensor, layer: NetworkLayer, role: Role): Float64Array | undefined {
    const shape = weightShape(layer);
    const isShape = tensor.shape.length === shape.length && tensor.shape.every((size, axis) => size === shape[axis]);
    if (isShape) return tensor.values();
    this.problems.push(`${tensor.name} for ${layer.name}.${role} has the shape ${shapeText(tensor.shape)}, expected ${shapeText(shape)}`);
    return undefined;
  }

  get strangers(): string[] {
    return this.tensors.map(({ name }) => name).filter((name) => !this.used.has(name) && !this.isIgnored(name));
  }

  private isIgnored(name: string): boolean {
    return this.options.ignore.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
  }
}

/** The mask of the file, or what the scores stand for, or what is not exactly zero. */
function maskOf(match: Match, layer: NetworkLayer, { scores, weight }: Partial<BundleLayer>, sparsity: number): Uint8Array | undefined {
  const tensor = match.find(layer, 'mask');
  if (tensor === undefined && scores !== undefined) return maskOfScores(scores, sparsity);
  if (tensor === undefined) return weight && Uint8Array.from(weight, (microsiemens) => (microsiemens === 0 ? 0 : 1));
  const numbers = match.numbers(tensor, layer, 'mask');
  const wrong = numbers?.findIndex((kept) => kept !== 0 && kept !== 1) ?? -1;
  if (wrong >= 0) match.problems.push(`${tensor.name} holds ${numbers?.[wrong]} at element ${wrong}, a mask holds 0 and 1`);
  return numbers && Uint8Array.from(numbers);
}

function layerOf(match: Match, layer: NetworkLayer, weightScale: number, hasChip: boolean, options: MatchOptions): BundleLayer {
  const reals = (role: 'weight' | 'scores', divisor: number) => {
    const tensor = match.find(layer, role);
    const numbers = tensor && match.numbers(tensor, layer, role);
    return { isThere: tensor !== undefined, data: numbers && Float32Array.from(numbers, (number) => number / divisor) };
  };
  const weight = reals('weight', options.weightUnit === 'network' ? weightScale : 1);
  if (!weight.isThere && !hasChip) match.problems.push(`${layer.name}.weight ${shapeText(weightShape(layer))} is missing`);
  const scores = reals('scores', 1);
  const arrays = { ...(weight.data && { weight: weight.data }), ...(scores.data && { scores: scores.data }) };
  const mask = maskOf(match, layer, arrays, options.sparsity) ?? new Uint8Array();
  const bias = match.find(layer, 'bias');
  if (bias?.values().some((number) => number !== 0)) match.problems.push(`${bias.name} is not zero, and the array adds no bias`);
  return { name: layer.name, mask, ...arrays };
}

const namedMaximum = 40;

function listOf(tensors: readonly Tensor[]): string {
  const names = tensors.slice(0, namedMaximum).map(({ name, shape, type }) => `${name} ${shapeText(shape)} ${type}`);
  return tensors.length > namedMaximum ? `${names.join(', ')} and ${tensors.length - namedMaximum} more` : names.join(', ') || 'nothing';
}

/**
 * The layers of a bundle from the tensors of a file. Every tensor must have a place, so that nothing that a network has learned is dropped in silence.
 *
 * @param hasChip whether the weights are on a chip, and may be missing
 * @throws MacroError BAD_MODEL with everything that does not fit and what the file holds, BAD_ARGUMENT where a name of the map is none
 */
export function layersOfTensors(
  tensors: readonly Tensor[], network: Network, file: string, options: MatchOptions = usualMatch, hasChip = false,
): BundleLayer[] {
  const places = network.layers.flatMap(({ name }) => mappedRoles.map((role) => `${name}.${role}`));
  const unknown = [...options.map.keys()].find((place) => !places.includes(place));
  if (unknown !== undefined) throw new MacroError('BAD_ARGUMENT', `--map ${unknown}: there are ${places.join(', ')}`, { field: 'map' });
  const match = new Match(tensors, options);
  const layers = network.layers.map((layer) => layerOf(match, layer, network.weightScale, hasChip, options));
  const { problems, strangers } = match;
  const named = strangers.slice(0, namedMaximum).join(', ');
  if (strangers.length > 0) problems.push(`${named} ${strangers.length === 1 ? 'has' : 'have'} no place: use --map or --ignore`);
  if (problems.length > 0) refuseModel(file, `: ${problems.join('; ')}. It holds ${listOf(tensors)}`);
  return layers;
}
