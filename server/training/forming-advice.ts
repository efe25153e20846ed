import type { ChipDevices } from './chip-devices.js';

/** What forming has left a search to work with. */
export interface FormingFigures {
  /** Of the pairs that the network sits on. */
  readonly pairsWithDeviceFraction: number;
  /** Cells of them that were formed, as far as that can be told from pairs: each pair without one has two that are not. */
  readonly formedCellsFraction: number;
  readonly advice: string;
}

/** Between these a search finds enough pairs, and as many of the others need no RESET (PRIME.md §6: 15 % yield is at chance unless dead pairs are left out). */
const leastPairsFraction = 0.5;
const mostPairsFraction = 0.9;

function adviceOn(pairs: number): string {
  if (pairs < leastPairsFraction) return 'few pairs have a device: forming more cells (a yield of 0.4 to 0.6) would give the search more to choose from';
  if (pairs > mostPairsFraction) {
    return 'nearly every pair has a device, so that each pruned one costs two RESET pulses: a forming yield of 0.5 would need a third of them';
  }
  return 'the forming yield suits: pairs without a device need no RESET to be pruned';
}

export function formingFigures({ layers }: ChipDevices): FormingFigures {
  const all = layers.reduce((sum, { isHealthy }) => sum + isHealthy.length, 0);
  const healthy = layers.reduce((sum, { isHealthy }) => sum + isHealthy.reduce((count, works) => count + works, 0), 0);
  const pairs = healthy / all;
  return { pairsWithDeviceFraction: pairs, formedCellsFraction: 1 - Math.sqrt(1 - pairs), advice: adviceOn(pairs) };
}
