import type { Device, HelloAck } from '../../driver/index.js';
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
/** Reads that are averaged: 2 % of read noise becomes half a percent. */
const readsPerCell = 16;
/** A formed cell conducts 8 µS and more; one that conducts less than this is not formed. */
const formedAboveMicrosiemens = 4;

export async function readChip(device: Device, { geometry }: HelloAck): Promise<Uint16Array> {
  const region = { firstBitLine: 0, bitLines: geometry.bitLines, firstSourceLine: 0, sourceLines: geometry.sourceLines };
  return (await device.readCells(region, readsPerCell)).codes;
}

function layerDevices(codes: Uint16Array, placement: LayerPlacement, { geometry }: HelloAck): LayerDevices {
  const { plus, minus } = weightCells(placement, geometry.sourceLines);
  const formedCode = (formedAboveMicrosiemens * 1000) / geometry.cellUnitNanosiemens;
  const works = (cell: number) => codes[cell] >= formedCode && codes[cell] < topCode;
  return {
    differences: snapshotDifferences(codes, geometry.cellUnitNanosiemens, placement, geometry.sourceLines),
    isHealthy: Uint8Array.from(plus, (cell, weight) => (works(cell) || works(minus[weight]) ? 1 : 0)),
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
export function chipDevices(codes: Uint16Array, identity: HelloAck, network: Network): ChipDevices {
  const blockedSourceLines = brokenSourceLines(codes, identity.geometry.sourceLines);
  const placements = placeNetwork(network, { geometry: identity.geometry, blockedSourceLines });
  const layers = placements.map((placement) => layerDevices(codes, placement, identity));
  return { codes, placements, layers, weightScale: publishedSpread / standardDeviation(layers) };
}
