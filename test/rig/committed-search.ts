import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../../server/dataset/dataset.js';
import { readBundle } from '../../server/network/bundle.js';
import { packageFolder } from '../../server/version.js';
import type { EpochRow } from '../../server/training/checkpoint.js';
import { chipDevices } from '../../server/training/chip-devices.js';
import { GradientPool } from '../../server/training/gradient-pool.js';
import type { TrainParameters } from '../../server/training/parameters.js';
import { TopologySearch } from '../../server/training/search.js';
import { divided } from '../../server/training/train.js';
import { type TrainingSet, trainingSet } from '../../server/training/training-set.js';
import { Chip } from '../../sim/chip.js';
import { Macro } from '../../sim/macro.js';
import { profileNamed } from '../../sim/profile.js';

/** What the search of the demonstration network has written of itself. */
export interface SearchReport {
  readonly parameters: TrainParameters;
  readonly epochs: readonly EpochRow[];
}

/** With the sources, from which a build runs as well. */
export const committedFolder = join(packageFolder(), 'server', 'training', 'demonstration');

export const committedReport = () => JSON.parse(readFileSync(join(committedFolder, 'training.json'), 'utf8')) as SearchReport;

/** The whole array as the board reads it for one request: blocks of 32 bit lines. */
export function readAsBoard(macro: Macro, averages: number): Uint16Array {
  const codes = new Uint16Array(512 * 512);
  for (let firstBitLine = 0; firstBitLine < 512; firstBitLine += 32) {
    const block = { firstBitLine, bitLines: 32, firstSourceLine: 0, sourceLines: 512 };
    codes.set(macro.readCells(block, averages).codes, firstBitLine * 512);
  }
  return codes;
}

/** Films for it to learn from. @param films as `openDataset` takes them */
export const filmedSet = async (films: string): Promise<TrainingSet> =>
  trainingSet(await openDataset(films, { timestepCount: committedReport().parameters.network.timestepCount }));

/** The search that found the demonstration network, at its beginning. */
export function committedSearch(set: TrainingSet, workerCount: number) {
  const { parameters } = committedReport();
  const chip = Chip.formed(profileNamed('lab'), 1);
  if (chip.chipId !== readBundle(committedFolder).chip?.chipId) throw new Error(`the network was found on another chip than ${chip.chipId}`);
  const geometry = { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: chip.profile.cellUnitNanosiemens };
  const devices = chipDevices(readAsBoard(new Macro(chip), parameters.averages), geometry, parameters.network);
  const network = { ...parameters.network, weightScale: devices.weightScale };
  const { seed, timestepLossFraction, noise } = parameters;
  const pool = new GradientPool(network, set, { seed, timestepLossFraction, isNoisy: noise !== undefined, workerCount });
  return { search: new TopologySearch(network, devices.layers, parameters, pool, divided(set.labels.length, parameters).learn), pool, parameters };
}
