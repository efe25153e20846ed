// Aim: what leaves as npz or NIR comes back as it was, what leaves as ONNX computes the same network, what other programs send is run as they meant it or
// refused by node and parameter, and a network that does not fit is told what it would need. ONNX runs in onnxruntime, against a float64 reference of its own
// (float-reference.ts), the simulator, and the golden membranes.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import t, { type Test } from 'tap';
import { MacroError } from '../proto/error.js';
import { main } from '../server/cli/main.js';
import { type Bundle, type BundleLayer, bundleFromFiles, filesOfBundle, readBundle, writeBundle } from '../server/network/bundle.js';
import { compile } from '../server/network/compile.js';
import { exportFormats, withMeasuredWeights } from '../server/network/exchange/export.js';
import { importModel } from '../server/network/exchange/import.js';
import { layersOfNir } from '../server/network/exchange/nir-layers.js';
import { nirMetadata, nirOfBundle } from '../server/network/exchange/nir-network.js';
import { type NirField, type NirGraph, type NirNode, nirInteger, nirIntegers, nirReal, readNir, writeNir } from '../server/network/exchange/nir.js';
import { writeOnnx } from '../server/network/exchange/onnx.js';
import { floatLayers } from '../server/network/float-network.js';
import { layerInputs, layerOutputs, type Network, type NetworkLayer, parseNetwork } from '../server/network/network.js';
import { readNpyArray } from '../server/network/npy.js';
import { placeNetwork } from '../server/network/placement.js';
import { requirementOf, usualConverters } from '../server/network/requirement.js';
import { fingerprintOf, snapshotDigest } from '../server/network/snapshot.js';
import { writeNpz } from '../server/snapshot/npz.js';
import { newSnapshot } from '../server/snapshot/snapshot.js';
import { Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { NetworkRun } from '../sim/network-run.js';
import { profileNamed } from '../sim/profile.js';
import { bufferConsole } from './console.js';
import { runReference } from './float-reference.js';
import { smallBundle, smallNetwork } from './small-bundle.js';

const data = process.env['PRIME_DATA'];
const array = { bitLines: 512, sourceLines: 512 };
const modelFile = (name: string) => new Uint8Array(readFileSync(join(import.meta.dirname, 'model-files', name)));

interface Firing { threshold: number; leak: number; negativeSlope: number }
interface Convolution { outputs: number; kernel: number; stride: number; padding: number; pool: number }
const neuron = fc.record({
  threshold: fc.constantFrom(0.2, 0.35, 1), leak: fc.constantFrom(0, 0.2, 0.3, 0.75, 1), negativeSlope: fc.constantFrom(0, 0.1, 1),
});
const convolution = fc.record({
  outputs: fc.integer({ min: 1, max: 4 }), kernel: fc.integer({ min: 1, max: 5 }), stride: fc.integer({ min: 1, max: 3 }),
  padding: fc.integer({ min: 0, max: 2 }), pool: fc.integer({ min: 1, max: 3 }),
});

/** A network that fits together: pools are dropped where they do not divide. */
function networkOf(convolutions: Convolution[], hidden: number, timestepCount: number, neurons: Firing[]): Network {
  const layers: NetworkLayer[] = [];
  let [channels, size] = [2, 34];
  const neuronAt = (index: number) => ({ type: 'lif' as const, ...neurons[index % neurons.length] });
  for (const { outputs, kernel, stride, padding, pool } of convolutions) {
    const next = Math.floor((size + 2 * padding - kernel) / stride) + 1;
    if (next < 1) break;
    const isPooled = pool > 1 && next % pool === 0;
    layers.push({
      name: `conv${layers.length}`, type: 'convolution', inputChannels: channels, outputChannels: outputs, kernel, stride, padding,
      neuron: neuronAt(layers.length), ...(isPooled && { pool: { type: 'average', size: pool } }),
    });
    [channels, size] = [outputs, isPooled ? next / pool : next];
  }
  const inputs = channels * size * size;
  if (hidden > 0) layers.push({ name: 'hidden', type: 'linear', inputs, outputs: hidden, neuron: neuronAt(layers.length) });
  const { negativeSlope } = neurons[0];
  layers.push({ name: 'output', type: 'linear', inputs: hidden > 0 ? hidden : inputs, outputs: 3, neuron: { type: 'accumulate', negativeSlope } });
  return parseNetwork(JSON.stringify({ ...smallNetwork, name: 'any', timestepCount, layers }));
}

/** Numbers of a counter between −1 and 1. */
function counter(seed: number): () => number {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
}

function bundleOf(network: Network, seed: number, hasScores: boolean): Omit<Bundle, 'digest'> {
  const next = counter(seed);
  const layers = network.layers.map((layer): BundleLayer => {
    const count = layerInputs(layer) * layerOutputs(layer);
    const reals = (size: number) => Float32Array.from({ length: count }, () => size * next());
    const mask = Uint8Array.from({ length: count }, () => (next() < 0 ? 1 : 0));
    return { name: layer.name, mask, weight: reals(30), ...(hasScores && { scores: reals(0.1) }) };
  });
  return { network, layers };
}

/** Small enough that one timestep is quick in plain float64. */
const anyBundle = fc
  .tuple(
    fc.array(convolution, { maxLength: 2 }), fc.constantFrom(0, 5), fc.integer({ min: 1, max: 3 }), fc.array(neuron, { minLength: 1, maxLength: 3 }),
    fc.nat(), fc.boolean(),
  )
  .map(([convolutions, hidden, timestepCount, neurons, seed, hasScores]) => bundleOf(networkOf(convolutions, hidden, timestepCount, neurons), seed, hasScores))
  .filter(({ network }) => requirementOf(network, array).isFitting);

const sameBundle = (left: Omit<Bundle, 'digest'>, right: Omit<Bundle, 'digest'>) => {
  const [a, b] = [filesOfBundle(left), filesOfBundle(right)];
  assert.deepEqual([...a.keys()].sort(), [...b.keys()].sort());
  for (const [name, bytes] of a) assert.ok(Buffer.from(bytes).equals(b.get(name) as Uint8Array), name);
};

function chipBundle(): { bundle: Bundle; snapshot: ReturnType<typeof newSnapshot> } {
  const codes = Chip.formed(profileNamed('lab'), 1).codes;
  const { network, layers } = smallBundle();
  const unweighted = layers.map(({ name, mask }) => ({ name, mask, scores: new Float32Array(mask.length).fill(0.5) }));
  const chip = {
    format: 'prime-chip/1' as const, chipId: 'sim-lab-1', fingerprint: fingerprintOf(codes, array), snapshotDigest: snapshotDigest(codes),
    weightScale: network.weightScale, placements: placeNetwork(network, { geometry: array }),
  };
  const bundle = bundleFromFiles(filesOfBundle({ network, chip, layers: unweighted }));
  const flags = new Uint8Array(codes.length);
  return { bundle, snapshot: newSnapshot({ chip: { chipId: 'sim-lab-1' }, cellUnitNanosiemens: 4, codes, flags, conditions: {}, provenance: {} }) };
}

async function refused(work: () => unknown): Promise<MacroError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof MacroError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

t.test('npz and NIR bring every bundle back to the bit', async () => {
  await fc.assert(fc.asyncProperty(anyBundle, async (bundle) => {
    sameBundle(await importModel(exportFormats.npz(bundle), 'a.npz'), bundle);
  }), { numRuns: 25 });
  await fc.assert(fc.asyncProperty(anyBundle, async (bundle) => {
    const imported = await importModel(await exportFormats.nir(bundle), 'a.nir', { network: JSON.stringify(bundle.network) });
    sameBundle(imported, bundle);
  }), { numRuns: 5 });
});

t.test('a bundle that was made on a chip keeps it, and needs a snapshot where weights are asked for', async (t) => {
  const { bundle, snapshot } = chipBundle();
  sameBundle(await importModel(exportFormats.npz(bundle), 'a.npz'), bundle);
  for (const format of ['nir', 'onnx'] as const) {
    const error = await refused(() => exportFormats[format](bundle));
    t.match(error.message, /conv0\.weight\.npy is missing: the weights are on a chip, and no snapshot of it is given/);
  }
  const measured = withMeasuredWeights(bundle, snapshot);
  const [plus, minus] = [bundle.chip?.placements[0].tiles[0].plusLines[0], bundle.chip?.placements[0].tiles[0].minusLines[0]] as [number, number];
  t.equal(measured.layers[0].weight?.[1], Math.fround(((snapshot.codes[512 + plus] - snapshot.codes[512 + minus]) * 4) / 1000), 'second row, first output');
  sameBundle(await importModel(await exportFormats.nir(measured), 'a.nir'), measured);
  const other = { ...snapshot, chip: { chipId: 'sim-lab-2' } };
  t.equal((await refused(() => withMeasuredWeights(bundle, other))).code, 'BUNDLE_CHIP_MISMATCH');
  t.equal((await refused(() => withMeasuredWeights(bundleFromFiles(filesOfBundle(smallBundle())), snapshot))).code, 'BAD_ARGUMENT');
});

const chainNetwork: Network = {
  ...smallNetwork, name: 'chain', timestepCount: 2, weightScale: 0.05,
  layers: [
    {
      name: 'first', type: 'convolution', inputChannels: 2, outputChannels: 3, kernel: 5, stride: 2, padding: 1,
      neuron: { type: 'lif', threshold: 0.5, leak: 0.5, negativeSlope: 1 }, pool: { type: 'average', size: 2 },
    },
    { name: 'last', type: 'linear', inputs: 192, outputs: 4, neuron: { type: 'accumulate', negativeSlope: 1 } },
  ],
};

t.test('a NIR graph of another program becomes the network that it describes', async (t) => {
  const { layers } = await importModel(modelFile('chain.nir'), 'chain.nir', { network: JSON.stringify(chainNetwork) });
  // Forward Euler: v ← (1 − dt/τ)·v + (r·dt/τ)·W·x with dt/τ = 0.5, r = 4; a pool by sum is 4 times one by mean; dt·r of the integrator is 1.
  const expected = [[150, -0.2, 0.003, 2], [768, -0.1, 0.0003, 4]].map(([count, start, step, factor]) =>
    Float64Array.from({ length: count }, (_, index) => (factor * Math.fround(start + index * step)) / 0.05));
  layers.forEach(({ weight = new Float32Array(), mask }, index) => {
    const wrong = weight.findIndex((value, at) => Math.abs(value - expected[index][at]) > 1e-5 * Math.abs(expected[index][at]) + 1e-9);
    t.equal(wrong, -1, `layer ${index}, element ${wrong}: ${weight[wrong]} for ${expected[index][wrong]}`);
    t.ok(mask.every((kept, at) => kept === (weight[at] === 0 ? 0 : 1)));
  });
  const none = await refused(() => importModel(modelFile('chain.nir'), 'chain.nir'));
  t.match(none.message, /BAD_ARGUMENT: chain\.nir does not say what its network is: --network is needed/);
});

type Change = (node: NirNode) => NirNode;
const withField = (name: string, field: NirField): Change => (node) => ({ ...node, fields: new Map([...node.fields, [name, field]]) });
const withoutField = (name: string): Change => (node) => ({ ...node, fields: new Map([...node.fields].filter(([field]) => field !== name)) });
const withType = (type: string): Change => (node) => ({ ...node, type });
const reals = (...values: number[]): NirField => ({ shape: [values.length], data: Float64Array.from(values) });

t.test('a NIR graph that the array cannot run is refused by node and parameter', async (t) => {
  const chain = await readNir(modelFile('chain.nir'), 'chain.nir');
  const changed = (name: string, ...changes: Change[]): NirGraph => {
    const node = changes.reduce((last, change) => change(last), chain.nodes.get(name) as NirNode);
    return { ...chain, nodes: new Map([...chain.nodes, [name, node]]) };
  };
  const edges = (...pairs: [string, string][]): NirGraph => ({ ...chain, edges: pairs });
  const plain = chain.edges.map(([from, to]) => [from, to] as [string, string]);
  const bridged = (gone: string, ...bridge: [string, string]): NirGraph => ({
    ...chain, nodes: new Map([...chain.nodes].filter(([name]) => name !== gone)), edges: [...plain.filter((edge) => !edge.includes(gone)), bridge],
  });
  const current = (seconds: number) => [withType('CubaLIF'), withField('tau_mem', reals(2e-4)), withField('tau_syn', reals(seconds))];
  const timed = { ...changed('1', withField('tau', reals(0.001))), metadata: new Map([[nirMetadata.timestep, nirReal(1e-4)]]) };
  const cases: [RegExp, NirGraph][] = [
    [/node 1 has tau 0\.001; the leak 0\.5 of first at a timestep of 0\.0001 needs 0\.0002/, timed],
    [/node 1 has v_threshold 0\.6, expected 0\.5: first has that threshold/, changed('1', withField('v_threshold', reals(0.6)))],
    [/node 1 has v_leak 0\.1, expected 0: the array leaks to it/, changed('1', withField('v_leak', reals(0.1)))],
    [/node 1 has v_reset -0\.5, expected 0: the array resets to it/, changed('1', withField('v_reset', reals(-0.5)))],
    [/node 1 has r 1 and 2; the neurons of a layer are all alike/, changed('1', withField('r', reals(1, 2)))],
    [/node 1 has no tau/, changed('1', withoutField('tau'))],
    [/node 1 has tau_syn 0\.01: the array has no currents that outlast a timestep/, changed('1', ...current(0.01))],
    [/node 1 does not leak, first keeps 0\.5 of its membrane a timestep/, changed('1', withType('IF'))],
    [/node 1 is of type LI, which the array cannot run/, changed('1', withType('LI'))],
    [/node 1 is of type Delay, which the array cannot run/, changed('1', withType('Delay'))],
    [/node 1 never spikes, first does/, changed('1', withType('I'))],
    [/node 1 makes the weights of first -2 times themselves/, changed('1', withField('r', reals(-4)))],
    [/node 5 spikes, last does not: its output neurons are a node of type I/, changed('5', withType('IF'), withField('v_threshold', reals(1)))],
    [/node 0 has dilation 2,2, first has 1/, changed('0', withField('dilation', nirIntegers([2, 2])))],
    [/node 0 has groups 2, first has 1/, changed('0', withField('groups', nirInteger(2)))],
    [/node 0 has stride 1,1, first has 2/, changed('0', withField('stride', nirIntegers([1, 1])))],
    [/node 0 has padding same, first has 1/, changed('0', withField('padding', 'same'))],
    [/node 0 has a bias that is not zero, and the array adds none/, changed('0', withField('bias', reals(0, 0, 1)))],
    [/node 0 has weights of shape \(3,\), first has \(3, 2, 5, 5\)/, changed('0', withField('weight', reals(1, 2, 3)))],
    [/node 0 is of type Linear, first is convolution/, changed('0', withType('Linear'))],
    [/node 2 has kernel_size 3,3, first has 2/, changed('2', withField('kernel_size', nirIntegers([3, 3])))],
    [/node 2 has padding 1,1, first has 0/, changed('2', withField('padding', nirIntegers([1, 1])))],
    [/node 4 has a bias that is not zero/, changed('4', withField('bias', reals(1, 0, 0, 0)))],
    [/node input has the shape \(1, 28, 28\), expected \(2, 34, 34\)/, changed('input', withField('shape', nirIntegers([1, 28, 28])))],
    [/node 1 leads to 2 and to 1; a network of the array is one chain/, edges(...plain, ['1', '1'])],
    [/node 7 has an edge and is not in the graph/, edges(...plain, ['5', '7'])],
    [/node [01] is part of a loop/, edges(['input', '0'], ['0', '1'], ['1', '0'])],
    [/node 1 of type LIF ends the chain, expected Output/, edges(['input', '0'], ['0', '1'])],
    [/node 1 is not on the way from the input to the output/, edges(...plain.filter(([from, to]) => from !== '1' && to !== '1'), ['0', '2'])],
    [/node 4 stands where first pools/, bridged('2', '1', '3')],
    [/node output follows 4 without neurons: the output layer ends in a node of type I/, bridged('5', '4', 'output')],
  ];
  for (const [message, graph] of cases) {
    const error = await refused(() => layersOfNir(graph, chainNetwork, 'chain.nir'));
    t.equal(error.code, 'BAD_MODEL');
    t.match(error.message, message);
    t.match(error.message, /chain\.nir: node/);
  }
  const slope = structuredClone(chainNetwork);
  slope.layers[0].neuron.negativeSlope = 0.1;
  t.match((await refused(() => layersOfNir(chain, slope, 'c.nir'))).message, /node 1 has no LeakyReLU, a negativeSlope of 1; first has 0\.1/);
  const fast = changed('1', ...current(1e-4), withField('w_in', reals(3)));
  const [{ weight: tripled }] = layersOfNir(fast, chainNetwork, 'c.nir');
  t.ok(Math.abs((tripled?.[0] ?? 0) + (0.2 * 2 * 3) / 0.05) < 1e-4, 'a current that does not outlast the timestep is a factor');
});

t.test('a weight that was changed behind its metadata is told, not guessed', async (t) => {
  const graph = nirOfBundle(smallBundle());
  const node = graph.nodes.get('conv1_weight') as NirNode;
  const weight = node.fields.get('weight') as Extract<NirField, { shape: unknown }>;
  const moved = { ...weight, data: Float32Array.from(weight.data as Float32Array, (value, index) => (index === 5 ? value + 0.5 : value)) };
  const changed = { ...graph, nodes: new Map([...graph.nodes, ['conv1_weight', { ...node, fields: new Map([...node.fields, ['weight', moved]]) }]]) };
  const error = await refused(() => layersOfNir(changed, smallNetwork, 'a.nir'));
  t.match(error.message, /node conv1_weight has the weight .* at element 5 and prime_weight_microsiemens .*; remove the metadata of a weight that was changed/);
  const { metadata: _, ...rest } = changed.nodes.get('conv1_weight') as NirNode;
  const bare = new Map([...changed.nodes, ['conv1_weight', { ...rest, metadata: new Map() }]]);
  const layers = layersOfNir({ ...changed, nodes: bare }, smallNetwork, 'a.nir');
  t.equal(layers[1].weight?.[5], Math.fround((moved.data[5] as number) / 0.01), 'without them the graph counts');
});

t.test('damaged HDF5 is refused, and a text is no graph', async (t) => {
  const good = modelFile('chain.nir');
  for (const bytes of [new Uint8Array(), new TextEncoder().encode('nir'), good.subarray(0, 2000), good.subarray(0, good.length - 4000)]) {
    t.equal((await refused(() => importModel(bytes, 'a.nir', { network: JSON.stringify(chainNetwork) }))).code, 'BAD_MODEL');
  }
});

t.test('a graph that unpacks beyond its limits is refused', async (t) => {
  const zeros = (count: number): NirField => ({ shape: [count], data: new Uint8Array(count) });
  const graphWith = (fields: [string, NirField][]): NirGraph =>
    ({ nodes: new Map([['input', { type: 'Input', fields: new Map(fields), metadata: new Map() }]]), edges: [['input', 'input']], metadata: new Map() });
  const error = async (fields: [string, NirField][]) =>
    (await refused(async () => importModel(await writeNir(graphWith(fields)), 'a.nir', { network: JSON.stringify(chainNetwork) }))).message;
  t.match(await error([['shape', zeros(2 ** 24 + 1)]]), /BAD_MODEL: a\.nir: node input\/shape has the shape \(16777217,\), the limit is 16777216 elements/);
  const all = await error([['a', zeros(2 ** 24)], ['b', zeros(2 ** 24 - 100)], ['c', zeros(200)]]);
  t.match(all, /node input\/c is beyond the limit of 33554432 elements of a graph/);
});

async function onnxMembranes(bundle: Omit<Bundle, 'digest'>, recordings: readonly Uint8Array[]): Promise<number[][][]> {
  const { timestepCount, input: { channels, height, width } } = bundle.network;
  const session = await InferenceSession.create(writeOnnx(bundle), { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const runs: number[][][] = [];
  for (const frames of recordings) {
    const { membranes } = await session.run({ frames: new Tensor('float32', Float32Array.from(frames), [timestepCount, channels, height, width]) });
    const [values, outputs] = [membranes.data as Float32Array, membranes.dims[1]];
    runs.push(Array.from({ length: timestepCount }, (_, timestep) => Array.from(values.subarray(timestep * outputs, (timestep + 1) * outputs))));
  }
  await session.release();
  return runs;
}

/** Event counts here and there. */
function frames(timestepCount: number, seed: number): Uint8Array {
  const next = counter(seed);
  return Uint8Array.from({ length: timestepCount * 2 * 34 * 34 }, () => (next() > 0.8 ? Math.floor(8 * (1 + next())) : 0));
}

t.test('ONNX computes the network that its bundle describes', async () => {
  await fc.assert(fc.asyncProperty(anyBundle, fc.nat(), async (bundle, seed) => {
    const recording = frames(bundle.network.timestepCount, seed);
    const { membranes, nearestToThreshold } = runReference(floatLayers(bundle), recording, bundle.network.timestepCount);
    // Nearer than float32 can tell, both answers are right.
    fc.pre(nearestToThreshold > 1e-4);
    const [found] = await onnxMembranes(bundle, [recording]);
    found.flat().forEach((value, index) => {
      const expected = membranes.flat()[index];
      assert.ok(Math.abs(value - expected) <= 1e-4 * Math.abs(expected) + 1e-3, `${value} for ${expected} in ${JSON.stringify(bundle.network.layers)}`);
    });
  }), { numRuns: 25 });
});

t.test('the ideal simulator and ONNX agree on the small network', async (t) => {
  const { network, layers } = smallBundle();
  const onGrid = layers.map((layer) => ({ ...layer, weight: Float32Array.from(layer.weight as Float32Array, (weight) => Math.round(1000 * weight) / 1000) }));
  const bundle = bundleFromFiles(filesOfBundle({ network, layers: onGrid }));
  const macro = new Macro(Chip.formed(profileNamed('ideal'), 1));
  const compiled = compile(bundle, { geometry: array, converter: { bits: 32, signedCodes: false, differential: false, ranges: [...macro.ranges] } });
  macro.chip.loadSnapshot(compiled.snapshot?.tiles ?? []);
  const recording = frames(network.timestepCount, 7);
  const run = new NetworkRun(macro, compiled.program, recording, 0);
  const expected: number[][] = [];
  for (let step = run.step(); step; step = run.step()) expected.push(Array.from(step.membranes, (membrane) => membrane * compiled.outputScale));
  const [found] = await onnxMembranes(bundle, [recording]);
  t.ok(expected.flat().some((membrane) => Math.abs(membrane) > 0.5), 'there is something to agree on');
  const furthest = Math.max(...found.flat().map((value, index) => Math.abs(value - expected.flat()[index])));
  t.ok(furthest < 1e-3, `the furthest membrane is ${furthest} away`);
});

t.test('ONNX of the published network gives the golden membranes', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const golden = (name: string) => new Uint8Array(readFileSync(join(data as string, 'golden', name)));
  const bundle = readBundle(join(data as string, 'prime-bundle'));
  const { data: all } = readNpyArray(golden('frames_number.npy'), 'frames', 'u1');
  const { data: membranes, shape: [count, timestepCount, outputs] } = readNpyArray(golden('membrane_number.npy'), 'membranes', 'f8');
  const pixels = all.length / count;
  const found = await onnxMembranes(bundle, Array.from({ length: count }, (_, recording) => all.subarray(recording * pixels, (recording + 1) * pixels)));
  const errors = found.map((run, recording) =>
    Math.max(...run.flat().map((value, index) => Math.abs(value - membranes[recording * timestepCount * outputs + index]))));
  errors.sort((left, right) => left - right);
  t.comment(`largest error of a recording: median ${errors[count >> 1]}, 95 % ${errors[Math.floor(0.95 * count)]}, all ${errors[count - 1]}`);
  t.ok(errors[count >> 1] < 1e-4, 'half of the recordings are right to float32');
  t.ok(errors.filter((error) => error < 0.05).length >= 0.95 * count, 'a spike on its threshold flips in few of them');
});

t.test('what a network needs is what it takes when every line is driven', async (t) => {
  const macro = new Macro(Chip.formed(profileNamed('ideal'), 1));
  const bundle = bundleFromFiles(filesOfBundle(smallBundle()));
  const compiled = compile(bundle, { geometry: array, converter: { bits: 32, signedCodes: false, differential: false, ranges: [...macro.ranges] } });
  macro.chip.loadSnapshot(compiled.snapshot?.tiles ?? []);
  const { settlingNanoseconds, conversionNanoseconds, parallelConverters } = macro.chip.profile;
  const needed = requirementOf(smallNetwork, array, { count: parallelConverters, conversionNanoseconds, settlingNanoseconds });
  t.strictSame({ count: parallelConverters, conversionNanoseconds, settlingNanoseconds }, usualConverters, 'as MODEL.md has them');
  const run = new NetworkRun(macro, compiled.program, new Uint8Array(4 * 2 * 34 * 34).fill(15), 0);
  const step = run.step();
  t.equal(step?.layers[0].conversions, needed.layers[0].conversions, 'all planes of all positions of the first layer');
  step?.layers.forEach(({ conversions }, index) => { t.ok(conversions <= needed.layers[index].conversions, needed.layers[index].name); });
  const firstNanoseconds = needed.layers[0].seconds * 1e9;
  t.ok(macro.operationNanoseconds >= firstNanoseconds && macro.operationNanoseconds <= needed.secondsPerTimestep * 1e9, 'and so does the time');
  const counts = needed.layers.map(({ rows, tiles, sourceLines, cells }) => [rows, tiles, sourceLines, cells]);
  t.strictSame(counts, [[50, 1, 8, 400], [36, 1, 24, 864], [588, 2, 40, 11_760]]);
});

const wide = (outputs: number): Network => {
  const network = structuredClone(smallNetwork);
  network.layers[1] = { ...network.layers[1], outputChannels: outputs } as NetworkLayer;
  network.layers[2] = { ...network.layers[2], inputs: outputs * 49 } as NetworkLayer;
  return network;
};

t.test('a network that does not fit is refused with all that it would need', async (t) => {
  const error = await refused(() => importModel(new Uint8Array(), 'a.pt', { network: JSON.stringify(wide(240)) }));
  t.equal(error.code, 'NETWORK_TOO_LARGE', 'before the file is looked at');
  t.equal(error.detail, 'small needs 948 source lines of 512 rows, the array has 512 to use: conv0 50 rows in 1 tile on 8 source lines (400 cells), '
    + 'conv1 36 rows in 1 tile on 480 source lines (17280 cells), linear0 11760 rows in 23 tiles on 460 source lines (235200 cells); together 25 tiles, '
    + '252880 cells, and up to 103788 conversions or 0.268 s a timestep');
  const far = await refused(() => importModel(new Uint8Array(), 'a.pt', { network: JSON.stringify(wide(300)) }));
  t.match(far.message, /NETWORK_TOO_LARGE: small needs 1188 source lines .* conv1 36 rows in 1 tile on 600 source lines/, 'where one layer is too wide');
});

function throwAway(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-exchange-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function prime(...argv: string[]) {
  const console = bufferConsole();
  return { exitCode: await main(argv, console), stdout: console.stdout(), stderr: console.stderr() };
}

t.test('prime model export, import and show', async (t) => {
  const folder = throwAway(t);
  const at = (name: string) => join(folder, name);
  const { digest } = writeBundle(at('bundle'), smallBundle());
  for (const name of ['a.npz', 'a.nir', 'a.onnx']) {
    t.strictSame(await prime('model', 'export', at('bundle'), '--out', at(name)), { exitCode: 0, stdout: '', stderr: '' });
  }
  t.equal((await prime('model', 'export', at('bundle'), '--out', at('b.bin'), '--format', 'npz')).exitCode, 0);
  t.ok(readFileSync(at('b.bin')).equals(readFileSync(at('a.npz'))), 'the same bundle is the same bytes');
  t.ok(readFileSync(at('a.onnx')).equals(Buffer.from(writeOnnx(readBundle(at('bundle'))))), 'also as ONNX');
  for (const name of ['a.npz', 'a.nir']) {
    const imported = await prime('model', 'import', at(name), '--out', at(`from-${name}`), '--json');
    t.equal(JSON.parse(imported.stdout).digest, digest, name);
    t.equal(readBundle(at(`from-${name}`)).digest, digest);
  }
  const shown = JSON.parse((await prime('model', 'show', at('bundle'), '--json')).stdout);
  t.match(shown, { name: 'small', digest, isFitting: true, sourceLines: 72, tiles: 4, cells: 13_024, timestepCount: 4 });
  const kept = smallBundle().layers.map(({ mask }) => mask.reduce((sum, one) => sum + one, 0));
  t.strictSame(shown.layers.map((layer: { kept: number }) => layer.kept), kept);
  const { stdout } = await prime('model', 'show', at('bundle'));
  t.match(stdout, /^conv0 +convolution +2×34×34 +4×16×16 +200 /m);
  t.match(stdout, /^small: fits an array of 512×512: 72 source lines, 4 tiles/m);
  writeFileSync(at('network.json'), JSON.stringify(wide(240)));
  const large = await prime('model', 'show', at('network.json'), '--converters', '1');
  t.match(large.stdout, /^small: does not fit an array of 512×512: 948 source lines/m);
  t.match(large.stdout, /with 1 at once of 20 µs each/);
});

t.test('prime model refuses without leaving anything behind', async (t) => {
  const folder = throwAway(t);
  const at = (name: string) => join(folder, name);
  writeBundle(at('bundle'), smallBundle());
  await prime('model', 'export', at('bundle'), '--out', at('a.npz'));
  writeFileSync(at('network.json'), JSON.stringify(smallNetwork));
  writeFileSync(at('x.txt'), 'x');
  const before = readdirSync(folder).sort();
  const cases: [string, string[]][] = [
    ['BAD_ARGUMENT', ['import', at('x.txt'), '--out', at('new')]],
    ['BAD_ARGUMENT', ['import', at('a.npz'), '--out', at('bundle')]],
    ['BAD_ARGUMENT', ['import', at('a.npz'), '--out', at('new'), '--map', 'conv0.weight']],
    ['BAD_ARGUMENT', ['import', at('a.npz'), '--out', at('new'), '--weight-unit', 'volts']],
    ['BAD_ARGUMENT', ['import', at('a.npz'), '--out', at('new'), '--sparsity', '2']],
    ['BAD_MODEL', ['import', at('a.npz'), '--out', at('new'), '--ignore', 'conv0.weight']],
    ['BAD_BUNDLE', ['import', at('a.npz'), '--out', at('new'), '--network', at('x.txt')]],
    ['INPUT_NOT_FOUND', ['import', at('nowhere.pt'), '--network', at('network.json'), '--out', at('new')]],
    ['BAD_ARGUMENT', ['export', at('bundle'), '--out', at('a.pt')]],
    ['BAD_ARGUMENT', ['export', at('bundle'), '--out', at('a.npz'), '--format', 'pt']],
    ['MODEL_UNKNOWN', ['export', at('nowhere'), '--out', at('b.npz')]],
    ['BAD_ARGUMENT', ['show', at('bundle'), '--converters', '0']],
    ['BAD_ARGUMENT', ['fly']],
  ];
  for (const [code, argv] of cases) {
    const { exitCode, stdout, stderr } = await prime('model', ...argv);
    t.ok(stderr.startsWith(`${code}: `), `${argv.join(' ')}: ${stderr}`);
    t.equal(exitCode, 2);
    t.equal(stdout, '');
  }
  t.strictSame(readdirSync(folder).sort(), before);
  t.notOk(existsSync(at('new')));
});

t.test('prime model export takes the weights of a chip from its snapshot', async (t) => {
  const folder = throwAway(t);
  const at = (name: string) => join(folder, name);
  const { bundle, snapshot } = chipBundle();
  writeBundle(at('bundle'), bundle);
  writeFileSync(at('chip.npz'), writeNpz(snapshot));
  t.match((await prime('model', 'export', at('bundle'), '--out', at('a.onnx'))).stderr, /BAD_BUNDLE: conv0\.weight\.npy is missing/);
  t.strictSame(await prime('model', 'export', at('bundle'), '--out', at('a.onnx'), '--snapshot', at('chip.npz')), { exitCode: 0, stdout: '', stderr: '' });
  writeFileSync(at('later.npz'), writeNpz(newSnapshot({ ...snapshot, codes: snapshot.codes.map((code, cell) => (cell === 5 ? code + 1 : code)) })));
  const later = await prime('model', 'export', at('bundle'), '--out', at('b.onnx'), '--snapshot', at('later.npz'));
  t.match(later, { exitCode: 0, stderr: 'the snapshot is another than the one that the bundle was made on\n' });
});
