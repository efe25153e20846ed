import type { Bundle, BundleLayer } from '../bundle.js';
import { floatLayers, type FloatLayer } from '../float-network.js';
import type { NetworkLayer } from '../network.js';
import { type NirArray, type NirField, type NirGraph, nirInteger, nirIntegers, type NirNode, nirReal } from './nir.js';

/** Names that graphs of ours use in metadata, and what they mean. */
export const nirMetadata = {
  /** Of the graph: `network.json`, and `chip.json` where the bundle has one. */
  network: 'prime_network',
  chip: 'prime_chip',
  /** Of the graph: what a timestep lasts, in the unit of every tau. */
  timestep: 'prime_timestep',
  /** Of a neuron: LeakyReLU between integration and threshold, which NIR has no word for. */
  negativeSlope: 'prime_leaky_relu_negative_slope',
  /** Of a weight: what the bundle holds behind the product of conductance, scale and mask. */
  mask: 'prime_mask',
  weight: 'prime_weight_microsiemens',
  scores: 'prime_scores',
} as const;

/** NIR is continuous in time; we write one timestep as one unit of it. */
const timestep = 1;

const node = (type: string, fields: Readonly<Record<string, NirField>>, metadata: ReadonlyMap<string, NirField> = new Map()): NirNode =>
  ({ type, fields: new Map(Object.entries(fields)), metadata });

function weightNode({ layer, geometry, weights, shape }: FloatLayer, { mask, weight, scores }: BundleLayer): NirNode {
  const metadata = new Map<string, NirField>([[nirMetadata.mask, { shape, data: mask }]]);
  if (weight) metadata.set(nirMetadata.weight, { shape, data: weight });
  if (scores) metadata.set(nirMetadata.scores, { shape, data: scores });
  const array = { shape, data: weights };
  if (layer.type === 'linear') return node('Linear', { weight: array }, metadata);
  const pair = (value: number) => nirIntegers([value, value]);
  return node('Conv2d', {
    input_shape: nirIntegers([geometry.inputHeight, geometry.inputWidth]), weight: array, stride: pair(layer.stride), padding: pair(layer.padding),
    dilation: pair(1), groups: nirInteger(1), bias: { shape: [layer.outputChannels], data: new Float32Array(layer.outputChannels) },
  }, metadata);
}

/** Forward Euler of τ·dv/dt = −v + r·I with a step of one is v ← (1 − 1/τ)·v + (r/τ)·I: τ = r = 1 / (1 − leak) makes it ours. */
function neuronNode({ neuron }: NetworkLayer, shape: readonly number[]): NirNode {
  const everywhere = (value: number): NirArray => ({ shape, data: new Float64Array(shape.reduce((product, size) => product * size, 1)).fill(value) });
  const metadata = new Map<string, NirField>([[nirMetadata.negativeSlope, nirReal(neuron.negativeSlope)]]);
  const r = everywhere(1 / timestep);
  if (neuron.type === 'accumulate') return node('I', { r }, metadata);
  const fires = { v_threshold: everywhere(neuron.threshold), v_reset: everywhere(0) };
  if (neuron.leak === 1) return node('IF', { r, ...fires }, metadata);
  const tau = everywhere(timestep / (1 - neuron.leak));
  return node('LIF', { tau, r: tau, v_leak: everywhere(0), ...fires }, metadata);
}

/** The chain of nodes that one layer is, with their names. Layers have no underscore in theirs, so that all names differ. */
function layerNodes(floatLayer: FloatLayer, bundleLayer: BundleLayer): [string, NirNode][] {
  const { name, layer, inputShape, neuronShape, geometry: { poolSize } } = floatLayer;
  const nodes: [string, NirNode][] = [[`${name}_weight`, weightNode(floatLayer, bundleLayer)], [`${name}_neuron`, neuronNode(layer, neuronShape)]];
  if (layer.type === 'linear' && inputShape.length > 1) {
    nodes.unshift([`${name}_flatten`, node('Flatten', { input_type: nirIntegers(inputShape), start_dim: nirInteger(0), end_dim: nirInteger(-1) })]);
  }
  if (poolSize > 1) {
    const size = nirIntegers([poolSize, poolSize]);
    nodes.push([`${name}_pool`, node('AvgPool2d', { kernel_size: size, stride: size, padding: nirIntegers([0, 0]) })]);
  }
  return nodes;
}

/**
 * The masked network of a bundle as a NIR graph: Conv2d or Linear, LIF or IF, AvgPool2d, Flatten, and I for the output layer. What NIR cannot say stands in
 * metadata: the slope of LeakyReLU, and conductances, masks and scores behind the weights.
 *
 * @throws MacroError BAD_BUNDLE where the weights are on a chip
 */
export function nirOfBundle(bundle: Omit<Bundle, 'digest'>): NirGraph {
  const { network, layers, chip } = bundle;
  const all = floatLayers(bundle);
  const { channels, height, width } = network.input;
  const outputs = all[all.length - 1].geometry.outputChannels;
  const nodes = new Map<string, NirNode>([
    ['input', node('Input', { shape: nirIntegers([channels, height, width]) })],
    ...all.flatMap((layer, index) => layerNodes(layer, layers[index])),
    ['output', node('Output', { shape: nirIntegers([outputs]) })],
  ]);
  const names = [...nodes.keys()];
  const metadata = new Map<string, NirField>([[nirMetadata.network, JSON.stringify(network)], [nirMetadata.timestep, nirReal(timestep)]]);
  if (chip) metadata.set(nirMetadata.chip, JSON.stringify(chip));
  return { nodes, edges: names.slice(1).map((name, index) => [names[index], name] as const), metadata };
}
