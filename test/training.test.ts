// The search behind the demonstration network: its gradients against a differentiation that shares no code with them, the rules of the search
// one by one, and the first steps of the committed training repeated to the bit.
import t from 'tap';
import { layerGeometries, layerInputs, type Network } from '../server/network/network.js';
import { readBundle } from '../server/network/bundle.js';
import { filmedFramesOf, shuffled } from '../server/training/digits.js';
import { fitThreshold } from '../server/training/early-stop.js';
import { GradientNetwork } from '../server/training/gradient.js';
import { TopologyLayer } from '../server/training/topology.js';
import { Scalar, sumOf } from './autodiff.js';
import { committedFolder, committedReport, committedSearch } from './rig/committed-search.js';
import { SeededPrng } from './rig/seeded-prng.js';

/** Padding, a pool, two convolutions and an odd number of outputs, on a field that scalars can afford. */
const network = {
  format: 'prime-bundle/1', name: 'tiny', task: 'classification', timestepCount: 4, weightScale: 0.01,
  input: { channels: 2, height: 8, width: 8, encoding: 'event-count' },
  layers: [
    {
      name: 'conv0', type: 'convolution', inputChannels: 2, outputChannels: 3, kernel: 3, stride: 1, padding: 1,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 }, pool: { type: 'average', size: 2 },
    },
    {
      name: 'conv1', type: 'convolution', inputChannels: 3, outputChannels: 5, kernel: 3, stride: 1, padding: 0,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 },
    },
    { name: 'linear0', type: 'linear', inputs: 20, outputs: 3, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
  earlyStop: { rule: 'softmax', temperature: 2, threshold: 0.5 },
} as unknown as Network;

const prng = new SeededPrng(3);
const uniform = () => prng.nextUint32() / 2 ** 32;
const weights = network.layers.map((layer, index) => {
  const outputs = layer.type === 'linear' ? layer.outputs : layer.outputChannels;
  return Float32Array.from({ length: layerInputs(layer) * outputs }, () => [0.5, 0.6, 1][index] * (uniform() - 0.5));
});
const codes = Uint8Array.from({ length: 4 * 2 * 64 }, () => Math.max(0, Math.floor(5 * uniform()) - 2));

const leakyReLU = (u: Scalar, slope: number) => u.through(u.value < 0 ? slope * u.value : u.value, u.value < 0 ? slope : 1);
const spikeOf = (u: Scalar, threshold: number) => u.through(u.value > threshold ? 1 : 0, Math.abs(u.value - threshold) < 0.5 ? 1 : 0);

/** Currents of a layer as PyTorch would compute them: outputs × positions, from inputs channel × height × width. */
function currentsOf(layer: number, input: readonly Scalar[], synapses: readonly Scalar[]): Scalar[] {
  const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth } = layerGeometries(network)[layer];
  const shape = network.layers[layer];
  const [kernel, padding] = shape.type === 'convolution' ? [shape.kernel, shape.padding] : [1, 0];
  const currents: Scalar[] = [];
  for (let output = 0; output < outputChannels; output += 1) {
    for (let position = 0; position < outputHeight * outputWidth; position += 1) {
      let current = new Scalar(0);
      for (let tap = 0; tap < inputChannels * kernel * kernel; tap += 1) {
        const channel = Math.floor(tap / kernel ** 2);
        const y = Math.floor(position / outputWidth) + (Math.floor(tap / kernel) % kernel) - padding;
        const x = (position % outputWidth) + (tap % kernel) - padding;
        if (y < 0 || x < 0 || y >= inputHeight || x >= inputWidth) continue;
        const synapse = synapses[output * inputChannels * kernel * kernel + tap];
        current = current.plus(synapse.times(input[(channel * inputHeight + y) * inputWidth + x]));
      }
      currents.push(current);
    }
  }
  return currents;
}

function pooled(layer: number, spikes: readonly Scalar[]): readonly Scalar[] {
  const { outputChannels, outputHeight, outputWidth, poolSize } = layerGeometries(network)[layer];
  if (poolSize === 1) return spikes;
  const [rows, columns] = [outputHeight / poolSize, outputWidth / poolSize];
  return Array.from({ length: outputChannels * rows * columns }, (_, index) => {
    const first = Math.floor(index / columns) * poolSize * outputWidth + (index % columns) * poolSize;
    const cells = Array.from({ length: poolSize ** 2 }, (_, cell) => spikes[first + Math.floor(cell / poolSize) * outputWidth + (cell % poolSize)]);
    return sumOf(cells.map((spike) => [spike, 1 / poolSize ** 2] as const));
  });
}

/** Loss of the network by PRIME.md §2 and §4, as a graph of scalars over its weights. */
function lossOf(synapses: readonly (readonly Scalar[])[], label: number): Scalar {
  const membranes: Scalar[][] = network.layers.map(() => []);
  const spikes: Scalar[][] = network.layers.map(() => []);
  const totals = [0, 1, 2].map(() => new Scalar(0));
  for (let timestep = 0; timestep < network.timestepCount; timestep += 1) {
    let signal: readonly Scalar[] = Array.from(codes.subarray(timestep * 128, (timestep + 1) * 128), (code) => new Scalar(code));
    network.layers.forEach(({ neuron }, layer) => {
      membranes[layer] = currentsOf(layer, signal, synapses[layer]).map((current, index) => {
        const before = membranes[layer][index] ?? new Scalar(0);
        if (neuron.type === 'accumulate') return leakyReLU(before.plus(current), neuron.negativeSlope);
        const isSilent = (spikes[layer][index] ?? new Scalar(0)).scaled(-1).plus(new Scalar(1));
        return leakyReLU(before.times(isSilent).scaled(neuron.leak).plus(current), neuron.negativeSlope);
      });
      if (neuron.type === 'accumulate') return;
      spikes[layer] = membranes[layer].map((membrane) => spikeOf(membrane, neuron.threshold));
      signal = pooled(layer, spikes[layer]);
    });
    membranes[2].forEach((membrane, output) => {
      totals[output] = totals[output].plus(membrane.scaled(1 / network.timestepCount));
    });
  }
  const powers = totals.map(({ value }) => Math.exp(value));
  const sum = powers.reduce((all, power) => all + power, 0);
  const normaliser = sumOf(totals.map((total, output) => [total, powers[output] / sum] as const));
  // log Σ exp has the softmax as its slopes.
  return normaliser.through(Math.log(sum), 1).plus(totals[label].scaled(-1));
}

t.test('gradients through time are those of an independent differentiation', async (t) => {
  const kernel = new GradientNetwork(network);
  weights.forEach((values, layer) => { kernel.setWeights(layer, values); });
  kernel.clearGradients();
  const label = 1;
  const { loss } = kernel.learn(codes, label);
  const synapses = weights.map((values) => Array.from(values, (value) => new Scalar(value)));
  const reference = lossOf(synapses, label);
  reference.differentiate();
  t.ok(Math.abs(loss - reference.value) < 1e-5, `loss ${loss}, reference ${reference.value}`);
  synapses.forEach((layer, index) => {
    const gradient = kernel.gradient(index);
    const largest = Math.max(...layer.map(({ slope }) => Math.abs(slope)));
    const error = Math.max(...layer.map(({ slope }, synapse) => Math.abs(slope - gradient[synapse])));
    t.ok(largest > 1e-3, `layer ${index} learns: ${largest}`);
    t.ok(error < 1e-5 * Math.max(1, largest), `layer ${index}: error ${error} of ${largest}`);
  });
});

t.test('half of the pairs that have a device are kept, and no other', async (t) => {
  const healthy = Uint8Array.from({ length: 1000 }, (_, index) => (index % 4 === 0 ? 0 : 1));
  const layer = new TopologyLayer(new Float32Array(1000).fill(1), healthy, 100, 0.5, 1, 0);
  const kept = layer.mask.reduce((sum, bit) => sum + bit, 0);
  t.equal(kept, 750 - Math.round(0.5 * 749), 'k = 1 + round(sparsity · (N − 1))');
  t.ok(layer.mask.every((bit, index) => bit === 0 || healthy[index] === 1));
  const smallest = Math.min(...Array.from(layer.scores, Math.abs).filter((_, index) => layer.mask[index] === 1));
  t.ok(layer.scores.every((score, index) => layer.mask[index] === 1 || healthy[index] === 0 || Math.abs(score) < smallest));
});

t.test('the first step of Adam moves a score by the learning rate, against its slope', async (t) => {
  const layer = new TopologyLayer(Float32Array.of(0.5, -0.5), Uint8Array.of(1, 1), 100, 0, 1, 0);
  const before = layer.scores.slice();
  layer.step(Float32Array.of(1, 1), 0.01);
  for (const index of [0, 1]) {
    const slope = layer.weights[index] * Math.sign(before[index]) + 5e-4 * before[index];
    t.ok(Math.abs(layer.scores[index] - (before[index] - 0.01 * Math.sign(slope))) < 1e-6);
  }
});

t.test('an epoch visits each recording once, each epoch in another order', async (t) => {
  const [first, second] = [shuffled(500, 1, 0), shuffled(500, 1, 1)];
  t.strictSame([...first].sort((a, b) => a - b), Array.from({ length: 500 }, (_, index) => index));
  t.notSame(first, second);
  t.strictSame(shuffled(500, 1, 0), first);
});

t.test('the first steps of the committed training repeat to the bit', async (t) => {
  const { search, report } = committedSearch();
  const { first: { steps, digest }, digits } = report;
  let left = steps;
  for (const _ of search.steps(0, digits, (index) => filmedFramesOf('train', index, 10))) if ((left -= 1) === 0) break;
  t.equal(search.digest(), digest);
});

t.test('the committed network reads 94 % of a thousand filmed test digits on the chip, says its report', async (t) => {
  const { device } = committedReport();
  t.ok(device.earlyStop.accuracy >= 0.94, `${device.earlyStop.accuracy}`);
  t.ok(device.earlyStop.meanTimesteps < device.allTimesteps.meanTimesteps);
  const { layers, chip } = readBundle(committedFolder);
  t.equal(chip?.chipId, 'sim-lab-half-1');
  for (const { mask } of layers) t.ok(mask.includes(0) && mask.includes(1));
});

t.test('the threshold of the early stop is the lowest that costs at most 0.2 points', async (t) => {
  // Right from the second timestep on, and unsure at the first: a threshold above the first confidence is needed, and no more.
  const course = (label: number, first: number) => ({ label, means: [[first, 0], [label === 0 ? 4 : -4, 0], [label === 0 ? 4 : -4, 0]] });
  const courses = Array.from({ length: 100 }, (_, index) => course(index % 2, 0.5));
  const confidence = 1 / (1 + Math.exp(-0.25));
  const threshold = fitThreshold(courses, 2);
  t.ok(threshold >= confidence && threshold < confidence + 0.01, `${threshold} for ${confidence}`);
  t.equal(fitThreshold([course(0, 0.5)], 2), 0.01, 'where the first timestep is right nothing needs to be waited for');
});
