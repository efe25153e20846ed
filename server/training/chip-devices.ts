import type { Geometry } from '../../driver/index.js';
import type { Network } from '../network/network.js';
import { type LayerPlacement, placeNetwork } from '../network/placement.js';
import { brokenSourceLines, snapshotDifferences, topCode, weightCells } from '../network/snapshot.js';
import type { LayerDevices } from './search.js';

/** A chip as it was read once, and what it offers a network. */
export interface ChipDevices {
  /** One 16-bit code a cell, bit line by bit line. */
  readonly codes: Uint16Array;
  readonly placements: readonly LayerPlacement[];
  readonly layers: readonly LayerDevices[];
  /** Network units per µS: the published spread over that of the pairs of this chip (PRIME.md §6). */
  readonly weightScale: number;
}

/** Spread of the published network's weights, in network units. */
const publishedSpread = 0.0635;
/** A formed cell conducts 8 µS and more; one that conducts less than this is not formed, or was RESET. */
export const formedAboveMicrosiemens = 4;
/** A cell so many times as far above the median as the upper sixth begins is broken: no RESET would prune it, and it would outweigh all others. */
const brokenBeyond = 8;

/** The smallest code that no sound cell has: whatever conducts more is broken. Of a chip with few formed cells, the top code. */
export function brokenFromCode(codes: Uint16Array, formedCode: number): number {
  const formed = codes.filter((code) => code >= formedCode && code < topCode).sort();
  if (formed.length < 100) return topCode;
  const [median, upper] = [0.5, 0.84].map((part) => formed[Math.floor(part * formed.length)]);
  return Math.min(topCode, Math.ceil(median + brokenBeyond * Math.max(1, upper - median)));
}

function layerDevices(
  codes: Uint16Array, placement: LayerPlacement, { sourceLines, cellUnitNanosiemens }: Geometry, works: (code: number) => boolean,
): LayerDevices {
  const { plus, minus } = weightCells(placement, sourceLines);
  const magnitudeOf = (cell: number, weight: number) => (Math.hypot(codes[cell], codes[minus[weight]]) * cellUnitNanosiemens) / 1000;
  return {
    differences: snapshotDifferences(codes, cellUnitNanosiemens, placement, sourceLines),
    magnitudes: Float32Array.from(plus, magnitudeOf),
    isHealthy: Uint8Array.from(plus, (cell, weight) => (works(codes[cell]) || works(codes[minus[weight]]) ? 1 : 0)),
  };
}

function standardDeviation(layers: readonly LayerDevices[]): number {
  let count = 0;
  let sum = 0;
  let squares = 0;
  for (const { differences, isHealthy } of layers) {
    for (const [index, difference] of differences.entries()) {
      if (isHealthy[index] === 0) continue;
      count += 1;
      sum += difference;
      squares += difference * difference;
    }
  }
  return Math.sqrt(squares / count - (sum / count) ** 2);
}

/** Places a network on a chip that was read, past broken lines, and says which pairs it could use. */
export function chipDevices(codes: Uint16Array, geometry: Geometry, network: Network): ChipDevices {
  const formedCode = (formedAboveMicrosiemens * 1000) / geometry.cellUnitNanosiemens;
  const brokenCode = brokenFromCode(codes, formedCode);
  const blockedSourceLines = brokenSourceLines(codes, geometry.sourceLines, brokenCode);
  const placements = placeNetwork(network, { geometry, blockedSourceLines });
  const works = (code: number) => code >= formedCode && code < brokenCode;
  const layers = placements.map((placement) => layerDevices(codes, placement, geometry, works));
  return { codes, placements, layers, weightScale: publishedSpread / standardDeviation(layers) };
}
