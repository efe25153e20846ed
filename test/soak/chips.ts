// Chips of three kinds, three of each: a search on the real recordings on each, measured on the simulated device with all its noise, against the same search in
// PyTorch, in floating point, on the same map.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset } from '../../server/dataset/dataset.js';
import { chipDevices } from '../../server/training/chip-devices.js';
import { publishedNetwork } from '../../server/training/published-network.js';
import { trainingSet } from '../../server/training/training-set.js';
import { packageFolder } from '../../server/version.js';
import { Chip } from '../../sim/chip.js';
import { Macro } from '../../sim/macro.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import { torchInterpreter, TorchSearch } from '../bench/torch-search.js';
import { readAsBoard } from '../rig/committed-search.js';

/** Chosen on a tenth of the train recordings. The options of `prime train`; PyTorch is given the same. */
const recipe = { epochs: 60, batchSize: 32, learningRate: 2e-3, weightDecay: 5e-4 };
const averages = 16;
const kinds = [
  { name: 'lab-half', overrides: {} },
  { name: 'lab-full', overrides: {} },
  { name: 'lab-half', overrides: { formingYieldFraction: 0.15 } },
] as const;
const seeds = [1, 2, 3];

export interface ChipFigures {
  readonly chip: string;
  readonly recordings: number;
  /** Right answers after all timesteps, and with the early stop that was fitted on validation. */
  readonly right: number;
  readonly rightStopped: number;
  readonly meanTimesteps: number;
  readonly searchSeconds: number;
  /** null: there is no PyTorch here. */
  readonly torchRight: number | null;
  readonly torchSeconds: number | null;
}

function prime(...words: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(packageFolder(), 'server', 'bin', 'prime.js'), ...words], {
    encoding: 'utf8', maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`prime ${words[0]} ended with ${status}: ${stderr}`);
  return stdout;
}

const summaryOf = (lines: string) => JSON.parse(lines.trim().split('\n').at(-1) as string).summary;

async function inTorch(kind: (typeof kinds)[number], seed: number, train: string, test: string) {
  const interpreter = torchInterpreter();
  if (interpreter === undefined) return { torchRight: null, torchSeconds: null };
  const [learn, tried] = [trainingSet(await openDataset(train)), trainingSet(await openDataset(test))];
  const chip = Chip.formed(overrideProfile(profileNamed(kind.name), kind.overrides), seed);
  const geometry = { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: chip.profile.cellUnitNanosiemens };
  const devices = chipDevices(readAsBoard(new Macro(chip), averages), geometry, publishedNetwork);
  const network = { ...publishedNetwork, weightScale: devices.weightScale };
  const options = { ...recipe, seed, sparsities: network.layers.map(() => 0.5) };
  const all = (labels: Uint8Array) => Uint32Array.from(labels.keys());
  const torch = await TorchSearch.start(interpreter, network, devices.layers, options, learn, all(learn.labels), availableParallelism());
  let torchSeconds = 0;
  for (let epoch = 0; epoch < recipe.epochs; epoch += 1) torchSeconds += (await torch.epoch()).seconds;
  const { correct } = await torch.test(network, tried, all(tried.labels));
  await torch.close();
  return { torchRight: correct, torchSeconds };
}

/** @param data the folder that holds `nmnist` */
export async function* chips(data: string): AsyncGenerator<ChipFigures> {
  const [train, test] = ['Train', 'Test'].map((set) => join(data, 'nmnist', set));
  for (const kind of kinds) {
    for (const seed of seeds) {
      const folder = mkdtempSync(join(tmpdir(), 'prime-hil-chips-'));
      try {
        const [profile, found] = [join(folder, 'profile.json'), join(folder, 'found')];
        writeFileSync(profile, JSON.stringify(kind.overrides));
        const address = `sim:${kind.name}?seed=${seed}&profile=${profile}`;
        const { epochs, batchSize, learningRate, weightDecay } = recipe;
        const options = ['--epochs', epochs, '--batch', batchSize, '--learning-rate', learningRate, '--weight-decay', weightDecay, '--seed', seed].map(String);
        const start = performance.now();
        prime('train', '--local', address, '--data', train, '--out', found, '--averages', String(averages), ...options);
        const searchSeconds = (performance.now() - start) / 1000;
        const infer = (...words: string[]) => summaryOf(prime('infer', '--local', address, '--model', found, '--input', test, '--json', ...words));
        const [whole, stopped] = [infer('--no-early-stop'), infer()];
        const { chipId } = JSON.parse(readFileSync(join(found, 'chip.json'), 'utf8'));
        yield {
          chip: chipId, recordings: whole.recordings, right: Math.round(whole.accuracy * whole.recordings),
          rightStopped: Math.round(stopped.accuracy * stopped.recordings), meanTimesteps: stopped.meanTimesteps, searchSeconds,
          ...(await inTorch(kind, seed, train, test)),
        };
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
}
