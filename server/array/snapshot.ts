import Type, { type Static } from 'typebox';
import { wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import { integerFrom, strict, textUpTo } from '../network/network.js';
import { topCode } from '../network/snapshot.js';
import { conditionsSchema, type Provenance, type ReadConditions } from '../snapshot/header.js';
import { cellFlag, flagsOf, keptReadsMaximum, meanCodes, newSnapshot, type Snapshot } from '../snapshot/snapshot.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { averages, conductsMicrosiemens, pulsingFields } from './parameters.js';
import { planOf } from './plan.js';
import { conductancesOf } from './read.js';

/** What people know of a read and the wire does not say. */
const { averages: _averages, readSeconds: _readSeconds, ...stated } = conditionsSchema.properties;
const statedSchema = strict(stated);

const snapshotSchema = strict({
  reads: Type.Optional(integerFrom(1, keptReadsMaximum)),
  averages: Type.Optional(averages),
  conditions: Type.Optional(statedSchema),
  notes: Type.Optional(textUpTo(4000)),
  user: pulsingFields.user,
});

export interface SnapshotParameters {
  readonly reads: number;
  readonly averages: number;
  readonly conditions: ReadConditions;
  readonly notes?: string;
  readonly user?: string;
}

/** Where snapshots are kept; a bench of tests may have none. */
export interface SnapshotSources {
  keepSnapshot?(snapshot: Snapshot): void;
  /** Date and time, as ISO 8601 says it. */
  now(): string;
}

const usualAverages = 4;

/** Reads a whole chip several times, and says all that is known of how. */
export async function takeSnapshot(array: MeteredArray, asked: SnapshotParameters, provenance: Omit<Provenance, 'digest'>): Promise<Snapshot> {
  const { chipId, firmwareVersion, profile } = array.identity;
  const reads: Uint16Array[] = [];
  const readSeconds: number[] = [];
  let seconds = 0;
  for (let read = 0; read < asked.reads; read += 1) {
    if (array.signal?.aborted === true) throw new MacroError('CANCELLED', 'the job was stopped between two reads');
    const map = await array.read(wholeArray, asked.averages);
    reads.push(map.codes);
    readSeconds.push(seconds);
    seconds += map.operationNanoseconds / 1e9;
  }
  const codes = meanCodes(reads);
  const { set, reset } = array.wear;
  const told = array.device.temperatureCelsius;
  // What people state of the read goes before what the board tells.
  const conditions = { ...(told !== undefined && { temperatureCelsius: told }), ...asked.conditions };
  // A cell that was SET or RESET was formed once, however little it conducts now.
  const flags = flagsOf(codes, conductsMicrosiemens, array.cellUnitNanosiemens, (cell) => set[cell] + reset[cell] > 0);
  return newSnapshot({
    chip: { chipId, ...(asked.notes !== undefined && { notes: asked.notes }) },
    cellUnitNanosiemens: array.cellUnitNanosiemens, codes, flags, reads: reads.length > 1 ? reads : [],
    conditions: { ...conditions, averages: asked.averages, ...(reads.length > 1 && { readSeconds }) },
    provenance: { deviceAddress: array.device.name, ...(firmwareVersion !== '' && { firmwareVersion }), ...(profile !== '' && { profile }), ...provenance },
  });
}

/** The job kind `snapshot`: every cell of the chip, read several times under stated conditions, and kept under the digest of its codes. */
export function snapshotOperation({ keepSnapshot, now }: SnapshotSources): Operation<SnapshotParameters> {
  return {
    name: 'snapshot',
    schema: snapshotSchema,
    parametersOf(given) {
      const { reads = 1, averages: repeats = usualAverages, conditions = {}, ...rest } = given as Static<typeof snapshotSchema>;
      return { ...rest, reads, averages: repeats, conditions };
    },
    async plan(array, { reads, averages: repeats }) {
      const map = await array.read({ ...wholeArray, bitLines: 1 }, repeats);
      const whole = { ...map, operationNanoseconds: map.operationNanoseconds * wholeArray.bitLines * reads };
      return planOf('snapshot', array, whole, repeats, wholeArray.bitLines * wholeArray.sourceLines, [], { reads });
    },
    async run(array, parameters, job) {
      const snapshot = await takeSnapshot(array, parameters, { job: job.id, takenAt: now() });
      const { codes, flags, provenance } = snapshot;
      job.keep('snapshot', new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
      keepSnapshot?.(snapshot);
      const unformedCells = flags.reduce((count, flag) => count + ((flag & cellFlag.unformed) === 0 ? 0 : 1), 0);
      const statistics = conductancesOf(codes, (code) => (code >= topCode ? Number.POSITIVE_INFINITY : array.microsiemensOf(code)));
      return { chipId: array.identity.chipId, digest: provenance.digest, reads: parameters.reads, averages: parameters.averages, unformedCells, ...statistics };
    },
  };
}
