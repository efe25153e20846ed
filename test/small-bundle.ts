import type { Bundle } from '../server/network/bundle.js';
import { layerInputs, layerOutputs, type Network } from '../server/network/network.js';

/** A network with everything that the published one has (padding, pooling, a layer of two tiles) in a tenth of the work. */
export const smallNetwork: Network = {
  format: 'prime-bundle/1',
  name: 'small',
  task: 'classification',
  input: { channels: 2, height: 34, width: 34, encoding: 'event-count' },
  timestepCount: 4,
  weightScale: 0.01,
  layers: [
    {
      name: 'conv0', type: 'convolution', inputChannels: 2, outputChannels: 4, kernel: 5, stride: 1, padding: 1,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 }, pool: { type: 'average', size: 2 },
    },
    {
      name: 'conv1', type: 'convolution', inputChannels: 4, outputChannels: 12, kernel: 3, stride: 2, padding: 0,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 },
    },
    { name: 'linear0', type: 'linear', inputs: 588, outputs: 10, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
  earlyStop: { rule: 'softmax', temperature: 0.1, threshold: 0.5 },
};

/** Weights and masks from a counter: reproducible, of both signs, about half of them kept. */
export function smallBundle(): Omit<Bundle, 'digest'> {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const layers = smallNetwork.layers.map((layer) => {
    const count = layerInputs(layer) * layerOutputs(layer);
    const weight = Float32Array.from({ length: count }, () => 12 * (next() + next() + next() - 1.5));
    const mask = Uint8Array.from({ length: count }, () => (next() < 0.5 ? 1 : 0));
    return { name: layer.name, mask, weight };
  });
  return { network: structuredClone(smallNetwork), layers };
}
