import Type, { type Static } from 'typebox';
import type { PulseKind, Region } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import { integerFrom, strict } from '../network/network.js';
import { countCells } from './cell-bitmap.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation, OperationJob } from './operation.js';
import { averages, pulsingFields, regionOf, regionSchema, type StaircaseChoice, staircaseOf, staircaseSchema, usualStaircases } from './parameters.js';
import { planOf } from './plan.js';
import { refuseBroken } from './planned-pulses.js';
import { type SweepBench, type SweepParameters, type SweepPoint, sweepPoint } from './sweep.js';
import { type SweepName, sweepNames, sweeps } from './sweeps.js';

const characteriseSchema = strict({
  sweep: Type.Union(sweepNames.map((name) => Type.Literal(name))),
  region: Type.Optional(regionSchema),
  averages: Type.Optional(averages),
  staircase: Type.Optional(staircaseSchema),
  cycles: Type.Optional(integerFrom(1, 1000)),
  reads: Type.Optional(integerFrom(2, 1000)),
  ...pulsingFields,
});

interface CharacteriseParameters extends SweepParameters {
  readonly sweep: SweepName;
  readonly maximumPulses?: number;
  readonly user?: string;
}

/** A corner of the array: a sweep wears the cells that it is about. */
const usualRegion: Region = { firstBitLine: 0, bitLines: 16, firstSourceLine: 0, sourceLines: 16 };
const usualAverages = 4;
const usualCycles = 10;
const usualReads = 32;

const pulsesOf: Readonly<Record<SweepName, PulseKind | undefined>> = { forming: 'forming', reset: 'reset', set: 'set', noise: undefined, endurance: undefined };
const stairsOf = { forming: usualStaircases.forming, reset: usualStaircases.programReset, set: usualStaircases.programSet };

/** @throws MacroError BAD_REQUEST where the sweep has no amplitudes to choose */
function chosenStairs(sweep: SweepName, given: StaircaseChoice | undefined) {
  if (given === undefined) return {};
  const kind = pulsesOf[sweep];
  if (kind === undefined) throw new MacroError('BAD_REQUEST', `a sweep of ${sweep} has no staircase; its pulses are fixed`, { field: 'staircase' });
  return { staircase: staircaseOf(kind, given, stairsOf[kind]) };
}

/** The points of a curve as a table: one row a step, the names of its columns first. */
function asCsv(points: readonly SweepPoint[]): Uint8Array {
  const columns = Object.keys(points[0] ?? {});
  const rows = points.map((point) => columns.map((column) => point[column] ?? '').join(','));
  return new TextEncoder().encode(`${[columns.join(','), ...rows].join('\n')}\n`);
}

function benchOf(array: MeteredArray, parameters: CharacteriseParameters, cells: SweepBench['cells'], job: OperationJob, points: SweepPoint[]): SweepBench {
  return {
    array, cells, parameters,
    read: () => array.read(parameters.region, parameters.averages),
    point(step, map) {
      const point = sweepPoint(step, array, cells, map);
      points.push(point);
      job.row(point);
      return point;
    },
  };
}

/** The job kind `characterise`: a curve of some cells in the form that device papers plot. Its dry run says what it costs them. */
export const characteriseOperation: Operation<CharacteriseParameters> = {
  name: 'characterise',
  schema: characteriseSchema,
  parametersOf(given) {
    const { sweep, region = usualRegion, staircase, averages: reads = usualAverages, ...rest } = given as Static<typeof characteriseSchema>;
    const { cycles = usualCycles, reads: repeats = usualReads } = rest;
    return { ...rest, sweep, region: regionOf(region), averages: reads, cycles, reads: repeats, ...chosenStairs(sweep, staircase) };
  },
  async plan(array, parameters) {
    const { sweep, region } = parameters;
    const map = await array.read(region, parameters.averages);
    const cells = sweeps[sweep].cellsOf(array, map, region);
    return planOf('characterise', array, map, parameters.averages, countCells(cells), sweeps[sweep].efforts(cells, parameters), { sweep });
  },
  async run(array, parameters, job) {
    const { sweep, region } = parameters;
    const cells = sweeps[sweep].cellsOf(array, await array.read(region, parameters.averages), region);
    // The whole sweep or nothing: half a curve wears cells and shows nothing.
    refuseBroken(array.brokenBy(sweeps[sweep].efforts(cells, parameters).map(({ planned }) => planned)));
    const points: SweepPoint[] = [];
    const figures = countCells(cells) === 0 ? {} : await sweeps[sweep].run(benchOf(array, parameters, cells, job, points), job);
    job.keep('table', asCsv(points));
    return { chipId: array.identity.chipId, sweep, region, cells: countCells(cells), points: points.length, ...figures };
  },
};
