import type { Network } from '../network/network.js';

const hidden = { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 } as const;
const pool = { type: 'average', size: 2 } as const;

/** The classification network of PRIME.md §2, which a search takes where it is given no other. The chip's own weight scale replaces this one. */
export const publishedNetwork: Network = {
  format: 'prime-bundle/1',
  name: 'prime-classification',
  task: 'classification',
  input: { channels: 2, height: 34, width: 34, encoding: 'event-count' },
  timestepCount: 10,
  weightScale: 0.01,
  layers: [
    { name: 'conv0', type: 'convolution', inputChannels: 2, outputChannels: 12, kernel: 5, stride: 1, padding: 1, neuron: hidden, pool },
    { name: 'conv1', type: 'convolution', inputChannels: 12, outputChannels: 64, kernel: 5, stride: 1, padding: 0, neuron: hidden, pool },
    { name: 'linear0', type: 'linear', inputs: 2304, outputs: 10, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
  earlyStop: { rule: 'softmax', temperature: 2, threshold: 0.8 },
};
