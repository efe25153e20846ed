// An epoch of the topology search, against the same in PyTorch on as many threads.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { openDataset } from '../../server/dataset/dataset.js';
import { chipDevices } from '../../server/training/chip-devices.js';
import { GradientPool } from '../../server/training/gradient-pool.js';
import { publishedNetwork } from '../../server/training/published-network.js';
import { type SearchOptions, TopologySearch } from '../../server/training/search.js';
import { trainingSet } from '../../server/training/training-set.js';
import { Chip } from '../../sim/chip.js';
import { profileNamed } from '../../sim/profile.js';
import type { Figure, Subject } from './measure.js';
import { torchInterpreter, TorchSearch } from './torch-search.js';

const threads = availableParallelism();
const options: SearchOptions = { seed: 1, epochs: 1000, batchSize: 128, learningRate: 1e-3, weightDecay: 5e-4, sparsities: [0.5, 0.5, 0.5] };

/** The 950 real recordings where `PRIME_DATA` has them, otherwise filmed digits. */
async function recordings() {
  const data = process.env['PRIME_DATA'];
  return trainingSet(await openDataset(data === undefined ? 'mnist:train?count=200' : join(data, 'nmnist', 'Train')));
}

async function opened() {
  const set = await recordings();
  const all = Uint32Array.from({ length: set.labels.length }, (_, index) => index);
  const { codes, profile } = Chip.formed(profileNamed('lab-half'), 1);
  const chip = chipDevices(codes, { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: profile.cellUnitNanosiemens }, publishedNetwork);
  const network = { ...publishedNetwork, weightScale: chip.weightScale };
  const pool = new GradientPool(network, set, { seed: options.seed, timestepLossFraction: 0, isNoisy: false, workerCount: threads });
  const steps = new TopologySearch(network, chip.layers, options, pool, all).steps();
  const window = async () => {
    const start = performance.now();
    for (let step = await steps.next(); step.done !== true && !step.value.isEndOfEpoch; step = await steps.next());
    return (performance.now() - start) / 1000;
  };
  const subject: Subject = { name: 'search', window, close: () => pool.close() };
  const interpreter = torchInterpreter();
  if (interpreter === undefined) return { subject };
  const torch = await TorchSearch.start(interpreter, network, chip.layers, options, set, all, threads);
  return { subject, baseline: { name: 'PyTorch', window: async () => (await torch.epoch()).seconds, close: () => torch.close() } };
}

export const trainFigures: readonly Figure[] = [{ name: 'train-epoch', unit: 's', better: 'lower', open: opened }];
