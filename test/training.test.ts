// The search behind the demonstration network: its gradients against a differentiation that shares no code with them, the rules of the search
// one by one, and the first steps of the committed training repeated to the bit.
import { createHash } from 'node:crypto';
import t from 'tap';
import { layerGeometries, layerInputs, layerOutputs, type Network } from '../server/network/network.js';
import { readBundle } from '../server/network/bundle.js';
import { GradientNetwork, gradientPlaces } from '../server/training/gradient.js';
import { shuffled } from '../server/training/shuffle.js';
import { TopologyLayer } from '../server/training/topology.js';
import { Scalar, sumOf } from './autodiff.js';
import { committedFolder, committedReport, committedSearch, filmedSet } from './rig/committed-search.js';
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

const weightDecay = 5e-4;
const prng = new SeededPrng(3);
const uniform = () => prng.nextUint32() / 2 ** 32;
const weightsOf = (ofNetwork: Network) => ofNetwork.layers.map((layer, index) =>
  Float32Array.from({ length: layerInputs(layer) * layerOutputs(layer) }, () => [0.5, 0.6, 1][index] * (uniform() - 0.5)));
const codes = Uint8Array.from({ length: 4 * 2 * 64 }, () => Math.max(0, Math.floor(5 * uniform()) - 2));

const leakyReLU = (u: Scalar, slope: number) => u.through(u.value < 0 ? slope * u.value : u.value, u.value < 0 ? slope : 1);
const spikeOf = (u: Scalar, threshold: number) => u.through(u.value > threshold ? 1 : 0, Math.abs(u.value - threshold) < 0.5 ? 1 : 0);

/** Currents of a layer as PyTorch would compute them: outputs × positions, from inputs channel × height × width. */
function currentsOf(network: Network, layer: number, input: readonly Scalar[], synapses: readonly Scalar[]): Scalar[] {
  const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth } = layerGeometries(network)[layer];
  const shape = network.layers[layer];
  const [kernel, padding, stride] = shape.type === 'convolution' ? [shape.kernel, shape.padding, shape.stride] : [1, 0, 1];
  const currents: Scalar[] = [];
  for (let output = 0; output < outputChannels; output += 1) {
    for (let position = 0; position < outputHeight * outputWidth; position += 1) {
      let current = new Scalar(0);
      for (let tap = 0; tap < inputChannels * kernel * kernel; tap += 1) {
        const channel = Math.floor(tap / kernel ** 2);
        const y = stride * Math.floor(position / outputWidth) + (Math.floor(tap / kernel) % kernel) - padding;
        const x = stride * (position % outputWidth) + (tap % kernel) - padding;
        if (y < 0 || x < 0 || y >= inputHeight || x >= inputWidth) continue;
        const synapse = synapses[output * inputChannels * kernel * kernel + tap];
        current = current.plus(synapse.times(input[(channel * inputHeight + y) * inputWidth + x]));
      }
      currents.push(current);
    }
  }
  return currents;
}

function pooled(network: Network, layer: number, spikes: readonly Scalar[]): readonly Scalar[] {
  const { outputChannels, outputHeight, outputWidth, poolSize } = layerGeometries(network)[layer];
  if (poolSize === 1) return spikes;
  const [rows, columns] = [outputHeight / poolSize, outputWidth / poolSize];
  return Array.from({ length: outputChannels * rows * columns }, (_, index) => {
    const first = Math.floor(index / columns) * poolSize * outputWidth + (index % columns) * poolSize;
    const cells = Array.from({ length: poolSize ** 2 }, (_, cell) => spikes[first + Math.floor(cell / poolSize) * outputWidth + (cell % poolSize)]);
    return sumOf(cells.map((spike) => [spike, 1 / poolSize ** 2] as const));
  });
}

/** The cross-entropy of means of membranes. */
function crossEntropyOf(means: readonly Scalar[], label: number): Scalar {
  const powers = means.map(({ value }) => Math.exp(value));
  const sum = powers.reduce((all, power) => all + power, 0);
  const normaliser = sumOf(means.map((mean, output) => [mean, powers[output] / sum] as const));
  // log Σ exp has the softmax as its slopes.
  return normaliser.through(Math.log(sum), 1).plus(means[label].scaled(-1));
}

/**
 * Loss of the network by PRIME.md §2 and §4, as a graph of scalars over its weights.
 * @param timestepLossFraction how much of it is the mean over all timesteps
 */
function lossOf(network: Network, synapses: readonly (readonly Scalar[])[], label: number, timestepLossFraction: number): Scalar {
  const { layers, timestepCount } = network;
  const membranes: Scalar[][] = layers.map(() => []);
  const spikes: Scalar[][] = layers.map(() => []);
  let totals = [0, 1, 2].map(() => new Scalar(0));
  let loss = new Scalar(0);
  for (let timestep = 0; timestep < timestepCount; timestep += 1) {
    let signal: readonly Scalar[] = Array.from(codes.subarray(timestep * 128, (timestep + 1) * 128), (code) => new Scalar(code));
    layers.forEach(({ neuron }, layer) => {
      membranes[layer] = currentsOf(network, layer, signal, synapses[layer]).map((current, index) => {
        const before = membranes[layer][index] ?? new Scalar(0);
        if (neuron.type === 'accumulate') return leakyReLU(before.plus(current), neuron.negativeSlope);
        const isSilent = (spikes[layer][index] ?? new Scalar(0)).scaled(-1).plus(new Scalar(1));
        return leakyReLU(before.times(isSilent).scaled(neuron.leak).plus(current), neuron.negativeSlope);
      });
      if (neuron.type === 'accumulate') return;
      spikes[layer] = membranes[layer].map((membrane) => spikeOf(membrane, neuron.threshold));
      signal = pooled(network, layer, spikes[layer]);
    });
    totals = totals.map((total, output) => total.plus(membranes[layers.length - 1][output]));
    const entropy = crossEntropyOf(totals.map((total) => total.scaled(1 / (timestep + 1))), label);
    const share = timestepLossFraction / timestepCount + (timestep === timestepCount - 1 ? 1 - timestepLossFraction : 0);
    loss = loss.plus(entropy.scaled(share));
  }
  return loss;
}

const strided = {
  ...network, name: 'strided',
  layers: [
    { ...network.layers[0], stride: 2, padding: 3, pool: undefined },
    network.layers[1],
    { name: 'linear0', type: 'linear', inputs: 5 * 16, outputs: 3, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
} as unknown as Network;
const wide = {
  ...network, name: 'wide',
  layers: [
    { ...network.layers[0], outputChannels: 20, pool: undefined },
    { ...network.layers[1], inputChannels: 20, outputChannels: 36, pool: { type: 'average', size: 2 } },
    { name: 'linear0', type: 'linear', inputs: 36 * 9, outputs: 3, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
} as unknown as Network;

/** Loss and gradients of the kernel, these in the order of the bundle. */
function kernelGradients(ofNetwork: Network, values: readonly Float32Array[], label: number, timestepLossFraction: number) {
  const kernel = new GradientNetwork(ofNetwork, timestepLossFraction);
  values.forEach((layer, index) => { kernel.setWeights(index, layer); });
  kernel.clearGradients();
  const { loss } = kernel.learn(codes, label);
  const all = kernel.gradients.flatMap((gradient) => Array.from(gradient));
  const inOrder = Array.from(gradientPlaces(ofNetwork).places, (place) => all[place]);
  let first = 0;
  return { loss, gradients: values.map(({ length }) => inOrder.slice(first, (first += length))) };
}

for (const [ofNetwork, timestepLossFraction] of [[network, 0], [network, 0.4], [strided, 0], [wide, 1]] as const) {
  t.test(`gradients through time are those of an independent differentiation: ${ofNetwork.name}, ${timestepLossFraction} of every timestep`, async (t) => {
    const [values, label] = [weightsOf(ofNetwork), 1];
    const { loss, gradients } = kernelGradients(ofNetwork, values, label, timestepLossFraction);
    const synapses = values.map((layer) => Array.from(layer, (value) => new Scalar(value)));
    const reference = lossOf(ofNetwork, synapses, label, timestepLossFraction);
    reference.differentiate();
    t.ok(Math.abs(loss - reference.value) < 1e-5, `loss ${loss}, reference ${reference.value}`);
    synapses.forEach((layer, index) => {
      const largest = Math.max(...layer.map(({ slope }) => Math.abs(slope)));
      const error = Math.max(...layer.map(({ slope }, synapse) => Math.abs(slope - gradients[index][synapse])));
      t.ok(largest > 1e-3, `layer ${index} learns: ${largest}`);
      t.ok(error < 1e-5 * Math.max(1, largest), `layer ${index}: error ${error} of ${largest}`);
    });
  });
}

t.test('where no spike hangs on it, a gradient is what finite differences give', async (t) => {
  const values = weightsOf(network);
  const last = values[values.length - 1];
  const { gradients } = kernelGradients(network, values, 2, 0.3);
  const lossWith = (synapse: number, value: number) => {
    const [before] = last.subarray(synapse, synapse + 1);
    last[synapse] = value;
    const { loss } = kernelGradients(network, values, 2, 0.3);
    last[synapse] = before;
    return loss;
  };
  for (let synapse = 0; synapse < last.length; synapse += 7) {
    const [low, high] = [-1, 1].map((sign) => Math.fround(last[synapse] + sign * 1e-3));
    const difference = (lossWith(synapse, high) - lossWith(synapse, low)) / (high - low);
    t.ok(Math.abs(difference - gradients[gradients.length - 1][synapse]) < 2e-3, `synapse ${synapse}: ${difference}`);
  }
});

t.test('half of the pairs that have a device are kept, and no other', async (t) => {
  const healthy = Uint8Array.from({ length: 1000 }, (_, index) => (index % 4 === 0 ? 0 : 1));
  const layer = new TopologyLayer(new Float32Array(1000).fill(1), healthy, 100, 0, { sparsity: 0.5, weightDecay, seed: 1 });
  const kept = layer.mask.reduce((sum, bit) => sum + bit, 0);
  t.equal(kept, 750 - 374, 'k = 1 + round(sparsity · (N − 1)), half to even');
  t.ok(layer.mask.every((bit, index) => bit === 0 || healthy[index] === 1));
  const smallest = Math.min(...Array.from(layer.scores, Math.abs).filter((_, index) => layer.mask[index] === 1));
  t.ok(layer.scores.every((score, index) => layer.mask[index] === 1 || healthy[index] === 0 || Math.abs(score) < smallest));
});

t.test('the first step of Adam moves a score by the learning rate, against its slope', async (t) => {
  const layer = new TopologyLayer(Float32Array.of(0.5, -0.5), Uint8Array.of(1, 1), 100, 0, { sparsity: 0, weightDecay, seed: 1 });
  const before = layer.scores.slice();
  layer.step(Float32Array.of(1, 1), 0.01);
  for (const index of [0, 1]) {
    const slope = layer.weights[index] * Math.sign(before[index]) + weightDecay * before[index];
    t.ok(Math.abs(layer.scores[index] - (before[index] - 0.01 * Math.sign(slope))) < 1e-6);
  }
});

t.test('an epoch visits each recording once, each epoch in another order', async (t) => {
  const [first, second] = [shuffled(500, 1, 0), shuffled(500, 1, 1)];
  t.strictSame([...first].sort((a, b) => a - b), Array.from({ length: 500 }, (_, index) => index));
  t.notSame(first, second);
  t.strictSame(shuffled(500, 1, 0), first);
});

const firstFilms = 'mnist:train?count=640';
/** Masks and scores of the demonstration's search after 20 steps on these: the same on every machine and in every version. */
const digestAfter20Steps = '759fb47e4871f4cd5e21d45648e6c744508d95b61b71d8105afb7f87c4587ca4';

t.test('a search repeats to the bit, in one thread, in two, and where it was stopped and begun again', async (t) => {
  const digests: string[] = [];
  const set = await filmedSet(firstFilms);
  for (const workerCount of [0, 1, 2]) {
    const { search, pool } = committedSearch(set, workerCount);
    let before = search.state;
    for await (const { step } of search.steps()) {
      if (step === 7 && workerCount === 1) before = structuredClone(search.state);
      if (step === 20) break;
    }
    digests.push(search.digest());
    if (workerCount === 1) {
      const again = committedSearch(set, 0);
      again.search.restore(before);
      for await (const { step } of again.search.steps()) if (step === 20) break;
      digests.push(again.search.digest());
    }
    await pool.close();
  }
  t.strictSame(digests, new Array(4).fill(digestAfter20Steps));
});

t.test('the committed bundle is what its search has found', async (t) => {
  const { epochs } = committedReport();
  const { layers, chip } = readBundle(committedFolder);
  t.equal(chip?.chipId, 'sim-lab-half-1');
  for (const { mask } of layers) t.ok(mask.includes(0) && mask.includes(1));
  const hash = createHash('sha256');
  for (const { mask, scores = new Float32Array() } of layers) hash.update(mask).update(new Uint8Array(scores.buffer, scores.byteOffset, scores.byteLength));
  t.equal(hash.digest('hex'), epochs.at(-1)?.digest);
});
