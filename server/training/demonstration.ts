import type { Device, HelloAck } from '../../driver/index.js';
import type { Network } from '../network/network.js';
import { fingerprintOf, snapshotDigest } from '../network/snapshot.js';
import { writeBundle } from '../network/bundle.js';
import { type ChipDevices, chipDevices, readChip } from './chip-devices.js';
import { type SearchOptions, TopologySearch } from './search.js';

/** Half of the published network's second layer: large enough for digits, small enough to be found in minutes on one core. */
export const demonstrationNetwork: Network = {
  format: 'prime-bundle/1',
  name: 'prime-hil-demonstration',
  task: 'classification',
  source: 'topology found by server/training on the simulated chip that chip.json names',
  input: { channels: 2, height: 34, width: 34, encoding: 'event-count' },
  timestepCount: 10,
  weightScale: 0.01,
  layers: [
    {
      name: 'conv0', type: 'convolution', inputChannels: 2, outputChannels: 12, kernel: 5, stride: 1, padding: 1,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 }, pool: { type: 'average', size: 2 },
    },
    {
      name: 'conv1', type: 'convolution', inputChannels: 12, outputChannels: 32, kernel: 5, stride: 1, padding: 0,
      neuron: { type: 'lif', threshold: 0.2, leak: 0.2, negativeSlope: 0.1 }, pool: { type: 'average', size: 2 },
    },
    { name: 'linear0', type: 'linear', inputs: 1152, outputs: 10, neuron: { type: 'accumulate', negativeSlope: 0.1 } },
  ],
  earlyStop: { rule: 'softmax', temperature: 2, threshold: 0.8 },
};

export const demonstrationOptions = { batchSize: 32, learningRate: 2e-3, sparsity: 0.5 } as const;

export interface PreparedSearch {
  readonly network: Network;
  readonly chip: ChipDevices;
  readonly search: TopologySearch;
}

/** A search on the conductances of a chip that has been read. */
export function prepareSearch(codes: Uint16Array, identity: HelloAck, options: SearchOptions): PreparedSearch {
  const chip = chipDevices(codes, identity, demonstrationNetwork);
  const network = { ...demonstrationNetwork, weightScale: chip.weightScale };
  return { network, chip, search: new TopologySearch(network, chip.layers, options) };
}

/** Reads a chip and prepares a search on it. */
export async function searchOn(device: Device, identity: HelloAck, options: SearchOptions): Promise<PreparedSearch> {
  return prepareSearch(await readChip(device, identity), identity, options);
}

/** Writes masks, scores and where every weight sits as a bundle. */
export function writeFound(folder: string, { chipId, geometry }: HelloAck, { network, chip, search }: PreparedSearch) {
  const record = {
    format: 'prime-chip/1' as const,
    chipId,
    fingerprint: fingerprintOf(chip.codes, geometry),
    snapshotDigest: snapshotDigest(chip.codes),
    weightScale: chip.weightScale,
    placements: [...chip.placements],
  };
  const layers = network.layers.map(({ name }, index) => ({ name, mask: search.layers[index].mask, scores: search.layers[index].scores }));
  return writeBundle(folder, { network, layers, chip: record });
}
