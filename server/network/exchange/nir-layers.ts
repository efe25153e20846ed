import type { BundleLayer } from '../bundle.js';
import { type Network, type NetworkLayer, weightShape } from '../network.js';
import type { NirArray, NirField, NirGraph, NirNode } from './nir.js';
import { nirMetadata } from './nir-network.js';
import { refuseModel } from './refusal.js';
import { shapeText } from './tensor.js';

/** NIR keeps time constants and thresholds as floats of 32 bits. */
const tolerance = 1e-5;
const isNear = (left: number, right: number) => Math.abs(left - right) <= tolerance * Math.max(1e-30, Math.abs(left), Math.abs(right));

interface Named { readonly name: string; readonly node: NirNode }
interface PendingWeight { readonly at: Named; readonly layer: NetworkLayer; readonly weights: Float64Array }

const numbersIn = ({ data }: NirArray) => Float64Array.from(data as ArrayLike<number | bigint>, Number);

/** The nodes from the one input to the one output. Branches, loops and nested graphs are no networks of the array. */
function chainOf({ nodes, edges }: NirGraph, file: string): Named[] {
  const refuse = (name: string, problem: string) => refuseModel(file, `: node ${name} ${problem}`, { field: name });
  const next = new Map<string, string>();
  for (const [from, to] of edges) {
    for (const name of [from, to]) if (!nodes.has(name)) refuse(name, 'has an edge and is not in the graph');
    if (next.has(from)) refuse(from, `leads to ${next.get(from)} and to ${to}; a network of the array is one chain`);
    next.set(from, to);
  }
  const inputs = [...nodes].filter(([, { type }]) => type === 'Input');
  if (inputs.length !== 1) refuseModel(file, `: the graph has ${inputs.length} nodes of type Input, expected one`, { field: 'node/nodes' });
  const chain: Named[] = [];
  for (let name: string | undefined = inputs[0][0]; name !== undefined; name = next.get(name)) {
    if (chain.length > nodes.size) refuse(name, 'is part of a loop; a network of the array is one chain');
    chain.push({ name, node: nodes.get(name) as NirNode });
  }
  const last = chain[chain.length - 1];
  if (last.node.type !== 'Output') refuse(last.name, `of type ${last.node.type} ends the chain, expected Output`);
  const left = [...nodes.keys()].find((name) => !chain.some((link) => link.name === name));
  if (left !== undefined) refuse(left, 'is not on the way from the input to the output');
  return chain;
}

/** A walk along the chain: what is linear is gathered as one factor of the weights, what is not must be what the layer says. */
class Walk {
  readonly layers: BundleLayer[] = [];
  private pending: PendingWeight | undefined;
  private isPooled = true;
  private factor = 1;
  private step: number | undefined;

  constructor(private readonly network: Network, graph: NirGraph, private readonly file: string) {
    const stated = graph.metadata.get(nirMetadata.timestep);
    if (stated !== undefined && typeof stated !== 'string') this.step = Number(stated.data[0]);
  }

  take(at: Named): void {
    const visit = visits[at.node.type];
    if (visit === undefined) this.refuse(at, `is of type ${at.node.type}, which the array cannot run`);
    visit(this, at);
  }

  refuse({ name }: Named, problem: string): never {
    return refuseModel(this.file, `: node ${name} ${problem}`, { field: name });
  }

  input(at: Named): void {
    const { channels, height, width } = this.network.input;
    const [shape, wanted] = [[...this.numbers(at, 'shape')], [channels, height, width]];
    if (`${shape}` !== `${wanted}`) this.refuse(at, `has the shape ${shapeText(shape)}, expected ${shapeText(wanted)}`);
  }

  /** Factors of pools by sum and of scales go into the weights before or behind them. */
  scale(at: Named): void {
    this.factor *= this.uniform(at, 'scale');
  }

  pool(at: Named, isSum: boolean): void {
    const layer = this.network.layers[this.layers.length - 1];
    if (this.pending !== undefined || layer === undefined) this.refuse(at, 'pools before the neurons of its layer; the array pools their spikes');
    const size = layer.type === 'convolution' ? layer.pool?.size : undefined;
    if (size === undefined || this.isPooled) this.refuse(at, `is a pool that ${layer.name} does not have`);
    for (const [field, wanted] of [['kernel_size', size], ['stride', size], ['padding', 0]] as const) {
      const given = this.numbers(at, field);
      if (given.some((number) => number !== wanted)) this.refuse(at, `has ${field} ${given}, ${layer.name} has ${wanted}`);
    }
    this.isPooled = true;
    if (isSum) this.factor *= size ** 2;
  }

  weight(at: Named, type: NetworkLayer['type']): void {
    const index = this.layers.length;
    if (this.pending !== undefined) this.refuse(at, `follows ${this.pending.at.name} without neurons between`);
    if (!this.isPooled) this.refuse(at, `stands where ${this.network.layers[index - 1].name} pools`);
    const layer = this.network.layers[index] ?? this.refuse(at, `is one layer more than the ${index} of the network`);
    if (layer.type !== type) this.refuse(at, `is of type ${at.node.type}, ${layer.name} is ${layer.type}`);
    const field = this.field(at, 'weight');
    const shape = weightShape(layer);
    if (typeof field === 'string' || `${field.shape}` !== `${shape}`) {
      this.refuse(at, `has weights of shape ${shapeText(typeof field === 'string' ? [] : field.shape)}, ${layer.name} has ${shapeText(shape)}`);
    }
    const bias = at.node.fields.has('bias') ? this.numbers(at, 'bias') : [];
    if (bias.some((number) => number !== 0)) this.refuse(at, 'has a bias that is not zero, and the array adds none');
    if (layer.type === 'convolution') this.convolution(at, layer);
    this.pending = { at, layer, weights: numbersIn(field) };
  }

  private convolution(at: Named, { name, stride, padding, kernel }: Extract<NetworkLayer, { type: 'convolution' }>): void {
    for (const [field, wanted] of [['stride', stride], ['padding', padding], ['dilation', 1], ['groups', 1]] as const) {
      const given = this.field(at, field);
      const words: Readonly<Record<string, number | undefined>> = { valid: 0, same: stride === 1 && kernel % 2 === 1 ? (kernel - 1) / 2 : undefined };
      const numbers = typeof given === 'string' ? [words[given]] : [...this.numbers(at, field)];
      if (numbers.some((number) => number !== wanted)) this.refuse(at, `has ${field} ${typeof given === 'string' ? given : numbers}, ${name} has ${wanted}`);
    }
  }

  /** LIF, IF or CubaLIF of a hidden layer. */
  fire(at: Named): void {
    const { layer } = this.expectNeurons(at);
    const { neuron } = layer;
    if (neuron.type !== 'lif') this.refuse(at, `spikes, ${layer.name} does not: its output neurons are a node of type I`);
    if (at.node.fields.has('v_reset')) this.expect(at, 'v_reset', 0, 'the array resets to it');
    this.expect(at, 'v_threshold', neuron.threshold, `${layer.name} has that threshold`);
    const gain = at.node.type === 'IF' ? this.integrate(at, neuron.leak, layer) : this.leak(at, neuron.leak, layer);
    this.finish(at, gain);
  }

  /** I of the output layer: it adds up and never spikes. */
  accumulate(at: Named): void {
    const { layer } = this.expectNeurons(at);
    if (layer.neuron.type !== 'accumulate') this.refuse(at, `never spikes, ${layer.name} does`);
    this.finish(at, this.integrate(at, 1, layer));
  }

  /** v ← v + dt·r·I. */
  private integrate(at: Named, leak: number, layer: NetworkLayer): number {
    if (leak !== 1) this.refuse(at, `does not leak, ${layer.name} keeps ${leak} of its membrane a timestep`);
    return this.uniform(at, 'r') * (this.step ?? 1);
  }

  /** v ← (1 − dt/τ)·v + (r·dt/τ)·I, where dt is what makes 1 − dt/τ the leak of the layer, and the same for all layers. */
  private leak(at: Named, leak: number, layer: NetworkLayer): number {
    const tauName = at.node.type === 'CubaLIF' ? 'tau_mem' : 'tau';
    const tau = this.uniform(at, tauName);
    if (leak === 1) this.refuse(at, `has ${tauName} ${tau}; ${layer.name} does not leak, as a node of type IF`);
    this.expect(at, 'v_leak', 0, 'the array leaks to it');
    this.step ??= tau * (1 - leak);
    const wanted = this.step / (1 - leak);
    if (!isNear(tau, wanted)) this.refuse(at, `has ${tauName} ${tau}; the leak ${leak} of ${layer.name} at a timestep of ${this.step} needs ${wanted}`);
    if (at.node.type !== 'CubaLIF') return this.uniform(at, 'r') * (1 - leak);
    const synapse = this.uniform(at, 'tau_syn');
    const isBrief = synapse === 0 || isNear(synapse, this.step);
    if (!isBrief) this.refuse(at, `has tau_syn ${synapse}: the array has no currents that outlast a timestep (${this.step})`);
    const inputWeight = at.node.fields.has('w_in') ? this.uniform(at, 'w_in') : 1;
    return this.uniform(at, 'r') * inputWeight * (1 - leak);
  }

  private expectNeurons(at: Named): PendingWeight {
    const pending = this.pending ?? this.refuse(at, 'follows no weights');
    const stated = at.node.metadata.get(nirMetadata.negativeSlope);
    const slope = stated === undefined || typeof stated === 'string' ? 1 : Number(stated.data[0]);
    const wanted = pending.layer.neuron.negativeSlope;
    const what = stated === undefined ? 'no LeakyReLU, a' : 'the';
    if (slope !== wanted) this.refuse(at, `has ${what} negativeSlope of ${slope}; ${pending.layer.name} has ${wanted}`);
    return pending;
  }

  private finish(at: Named, gain: number): void {
    const { at: weightAt, layer, weights } = this.pending as PendingWeight;
    const factor = this.factor * gain;
    if (!(factor > 0 && Number.isFinite(factor))) this.refuse(at, `makes the weights of ${layer.name} ${factor} times themselves`);
    this.layers.push(this.kept(weightAt, layer, weights.map((weight) => weight * factor)));
    this.pending = undefined;
    this.factor = 1;
    this.isPooled = !(layer.type === 'convolution' && layer.pool !== undefined);
  }

  /** What the bundle held before, where the metadata have it and say the same as the graph; otherwise the graph in µS, zeros pruned. */
  private kept(at: Named, layer: NetworkLayer, weights: Float64Array): BundleLayer {
    const { metadata } = at.node;
    const { weightScale } = this.network;
    const { name } = layer;
    const arrays = [nirMetadata.mask, nirMetadata.weight, nirMetadata.scores].map((key) => this.array(metadata.get(key), weights.length));
    const [mask, microsiemens, scores] = arrays;
    if (mask === undefined || microsiemens === undefined) {
      return { name, mask: Uint8Array.from(weights, (weight) => (weight === 0 ? 0 : 1)), weight: Float32Array.from(weights, (weight) => weight / weightScale) };
    }
    const wrong = weights.findIndex((weight, index) => Math.fround(weight) !== Math.fround(mask[index] === 1 ? microsiemens[index] * weightScale : 0));
    if (wrong >= 0) {
      const behind = `${nirMetadata.weight} ${microsiemens[wrong]} behind it`;
      this.refuse(at, `has the weight ${weights[wrong]} at element ${wrong} and ${behind}; remove the metadata of a weight that was changed`);
    }
    return { name, mask: Uint8Array.from(mask), weight: Float32Array.from(microsiemens), ...(scores && { scores: Float32Array.from(scores) }) };
  }

  private array(field: NirField | undefined, length: number): Float64Array | undefined {
    if (field === undefined || typeof field === 'string' || field.data.length !== length) return undefined;
    return numbersIn(field);
  }

  end(at: Named): void {
    if (this.pending !== undefined) this.refuse(at, `follows ${this.pending.at.name} without neurons: the output layer ends in a node of type I`);
    const missing = this.network.layers[this.layers.length];
    if (missing !== undefined) this.refuse(at, `ends the chain before ${missing.name}`);
  }

  private field(at: Named, name: string): NirField {
    return at.node.fields.get(name) ?? this.refuse(at, `has no ${name}`);
  }

  private numbers(at: Named, name: string): Float64Array {
    const field = this.field(at, name);
    return typeof field === 'string' ? this.refuse(at, `has the text "${field.slice(0, 40)}" for ${name}`) : numbersIn(field);
  }

  /** The one value of a parameter that NIR keeps neuron by neuron. */
  private uniform(at: Named, name: string): number {
    const numbers = this.numbers(at, name);
    if (numbers.length === 0) this.refuse(at, `has an empty ${name}`);
    const other = numbers.find((number) => number !== numbers[0]);
    if (other !== undefined) this.refuse(at, `has ${name} ${numbers[0]} and ${other}; the neurons of a layer are all alike`);
    return numbers[0];
  }

  private expect(at: Named, name: string, wanted: number, why: string): void {
    const given = this.uniform(at, name);
    if (given !== wanted && !isNear(given, wanted)) this.refuse(at, `has ${name} ${given}, expected ${wanted}: ${why}`);
  }
}

const visits: Readonly<Record<string, (walk: Walk, at: Named) => void>> = {
  Input: (walk, at) => walk.input(at),
  Output: (walk, at) => walk.end(at),
  Conv2d: (walk, at) => walk.weight(at, 'convolution'),
  Linear: (walk, at) => walk.weight(at, 'linear'),
  Affine: (walk, at) => walk.weight(at, 'linear'),
  Scale: (walk, at) => walk.scale(at),
  // Elements keep their order when axes are joined; whether all of them arrive is seen by the shape of the weights behind.
  Flatten: () => undefined,
  SumPool2d: (walk, at) => walk.pool(at, true),
  AvgPool2d: (walk, at) => walk.pool(at, false),
  LIF: (walk, at) => walk.fire(at),
  IF: (walk, at) => walk.fire(at),
  CubaLIF: (walk, at) => walk.fire(at),
  I: (walk, at) => walk.accumulate(at),
};

/**
 * The layers of a bundle from a NIR graph whose neurons are those of the network. The graph counts; metadata of ours only bring back what it cannot say.
 *
 * @throws MacroError BAD_MODEL naming the node and the parameter that the array cannot run, or that is not as the network says
 */
export function layersOfNir(graph: NirGraph, network: Network, file: string): BundleLayer[] {
  const walk = new Walk(network, graph, file);
  for (const at of chainOf(graph, file)) walk.take(at);
  return walk.layers;
}
