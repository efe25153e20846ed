import Type, { type Static } from 'typebox';
import type { Region } from '../../driver/index.js';
import { strict } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import { topCode } from '../network/snapshot.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { partOf } from './outcomes.js';
import { averages, conductsMicrosiemens, pulsingFields, regionOf, regionSchema } from './parameters.js';
import { planOf } from './plan.js';

const readSchema = strict({ region: Type.Optional(regionSchema), averages: Type.Optional(averages), user: pulsingFields.user });

interface ReadParameters {
  readonly region: Region;
  readonly averages: number;
  readonly user?: string;
}

const usualAverages = 4;
const percentiles = [1, 5, 25, 50, 75, 95, 99] as const;

/** What the cells of a region conduct. Mean, sd and percentiles are of cells that conduct and do not saturate: neither is a device to learn of. */
export interface Conductances {
  readonly cells: number;
  readonly conductingCells: number;
  readonly lowCells: number;
  readonly saturatedCells: number;
  readonly meanMicrosiemens: number | null;
  readonly sdMicrosiemens: number | null;
  readonly percentilesMicrosiemens: Readonly<Record<string, number>>;
}

export function conductancesOf(codes: Uint16Array, microsiemensOf: (code: number) => number): Conductances {
  const saturatedCells = codes.reduce((count, code) => count + (code >= topCode ? 1 : 0), 0);
  const conducting = Float64Array.from(codes.filter((code) => code < topCode && microsiemensOf(code) >= conductsMicrosiemens), microsiemensOf).sort();
  const { length } = conducting;
  const mean = length === 0 ? null : conducting.reduce((sum, value) => sum + value, 0) / length;
  const sd = mean === null ? null : Math.sqrt(conducting.reduce((sum, value) => sum + (value - mean) ** 2, 0) / length);
  const at = (percent: number) => conducting[Math.min(length - 1, Math.floor((percent / 100) * length))];
  return {
    cells: codes.length, conductingCells: length, lowCells: codes.length - length - saturatedCells, saturatedCells, meanMicrosiemens: mean, sdMicrosiemens: sd,
    percentilesMicrosiemens: length === 0 ? {} : Object.fromEntries(percentiles.map((percent) => [percent, at(percent)])),
  };
}

const littleEndian = (codes: Uint16Array) => new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);

/** The job kind `read`: what the cells of a region conduct. */
export const readOperation: Operation<ReadParameters> = {
  name: 'read',
  schema: readSchema,
  parametersOf(given) {
    const { region, averages: reads = usualAverages, ...rest } = given as Static<typeof readSchema>;
    return { region: regionOf(region), averages: reads, ...rest };
  },
  async plan(array: MeteredArray, { region, averages: reads }) {
    // One bit line says how long the others take.
    const map = await array.read({ ...region, bitLines: 1 }, reads);
    const whole = { ...map, operationNanoseconds: map.operationNanoseconds * region.bitLines };
    return planOf('read', array, whole, reads, region.bitLines * region.sourceLines, [], {});
  },
  async run(array, { region, averages: reads }, job) {
    const map = await array.read(region, reads);
    const codes = partOf(map.codes, region);
    job.keep('codes', writeNpy(codes, [region.bitLines, region.sourceLines]));
    // Bundles name the map that they were made on by the digest of its bare codes.
    job.keep('snapshot', littleEndian(codes));
    return {
      chipId: array.identity.chipId, region, averages: reads, cellUnitNanosiemens: array.cellUnitNanosiemens,
      ...conductancesOf(codes, (code) => array.microsiemensOf(code)), operationSeconds: map.operationNanoseconds / 1e9,
    };
  },
};
