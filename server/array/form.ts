import Type, { type Static } from 'typebox';
import { bitmapOf, type FormResult, type Region, type Staircase, stairCount } from '../../driver/index.js';
import { cellCount } from '../../firmware-protocol/limits.js';
import { cellOutcomes } from '../../proto/message.js';
import { strict } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import { type CellBitmap, cellsOf, cellsWhere, countCells } from './cell-bitmap.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import type { Operation, OperationJob } from './operation.js';
import { outcomeCounts, partOf } from './outcomes.js';
import {
  brokenMicrosiemens, conductsMicrosiemens, fraction, microsiemens, pulsingFields, regionOf, regionSchema, staircaseOf, staircaseSchema, usualStaircases,
} from './parameters.js';
import { type Plan, planOf } from './plan.js';
import { mostPulses, refuseBroken } from './planned-pulses.js';

const formSchema = strict({
  region: Type.Optional(regionSchema),
  targetYield: Type.Optional(fraction),
  staircase: Type.Optional(staircaseSchema),
  formedMicrosiemens: Type.Optional(microsiemens),
  overFormedMicrosiemens: Type.Optional(microsiemens),
  ...pulsingFields,
});

interface FormParameters {
  readonly region: Region;
  /** Of the cells of the region. */
  readonly targetYield: number;
  readonly staircase: Staircase;
  readonly formedMicrosiemens: number;
  readonly overFormedMicrosiemens: number;
  readonly maximumPulses?: number;
  readonly user?: string;
}

const readAverages = 4;
const verifyAverages = 1;
const checkpointName = 'forming-counts';
const formedOutcomes: ReadonlySet<number> = new Set([cellOutcomes.indexOf('formed'), cellOutcomes.indexOf('over-formed')]);
const wasFormed = cellOutcomes.indexOf('was-formed');
const unformed = cellOutcomes.indexOf('unformed');

interface StartingCounts {
  readonly chipId: string;
  /** Forming pulses of each cell before the staircase began, base64 of u16. */
  readonly counts: string;
}

/** Cells of one region that wait for their next forming pulse, by how many amplitudes of the staircase they have had. */
interface Waiting {
  readonly map: CellMap;
  readonly formed: CellBitmap;
  readonly pristine: CellBitmap;
  /** Of each pristine cell: the next amplitude's number. */
  stepOf(cell: number): number;
}

/**
 * A cell that conducts, or ever had a SET or RESET pulse, was formed. What was cut off goes on where each cell stands: how many amplitudes it has had is
 * what the board has counted since the staircase began.
 */
async function waitingCells(array: MeteredArray, { region, formedMicrosiemens }: FormParameters, start: Uint16Array): Promise<Waiting> {
  const map = await array.read(region, readAverages);
  const { set, reset, forming } = array.wear;
  const formedCode = array.codeOf(formedMicrosiemens);
  const isFormed = (cell: number) => map.codes[cell] >= formedCode || set[cell] > 0 || reset[cell] > 0;
  const all = bitmapOf(region);
  return {
    map, formed: cellsWhere(all, isFormed), pristine: cellsWhere(all, (cell) => !isFormed(cell)), stepOf: (cell) => forming[cell] - start[cell],
  };
}

const targetCells = ({ region, targetYield }: FormParameters) => Math.round(targetYield * region.bitLines * region.sourceLines);

/** What the rest of the staircase may still give, cells that have had as many amplitudes together. */
function effortsOf(waiting: Waiting, parameters: FormParameters) {
  if (countCells(waiting.formed) >= targetCells(parameters)) return [];
  const stairs = stairCount(parameters.staircase);
  const steps = [...new Set([...cellsOf(waiting.pristine)].map(waiting.stepOf))].filter((step) => step < stairs).sort((left, right) => left - right);
  return steps.map((step) => {
    const cells = cellsWhere(waiting.pristine, (cell) => waiting.stepOf(cell) === step);
    const planned = { kind: 'forming', cells, leastPerCell: 0, mostPerCell: stairs - step } as const;
    return { planned, staircase: parameters.staircase, averages: verifyAverages, step };
  });
}

const freshStart = (array: MeteredArray) => array.wear.forming.slice();

/** The counts that the staircase began with: those of the job that was cut off, on the same chip, or those of now. */
function startingCounts(array: MeteredArray, job: OperationJob): Uint16Array {
  const earlier = job.earlierCheckpoint(checkpointName) as StartingCounts | undefined;
  const start = earlier?.chipId === array.identity.chipId
    ? new Uint16Array(new Uint8Array(Buffer.from(earlier.counts, 'base64')).buffer)
    : freshStart(array);
  const counts = Buffer.from(start.buffer, start.byteOffset, start.byteLength).toString('base64');
  job.checkpoint(checkpointName, { chipId: array.identity.chipId, counts } satisfies StartingCounts);
  return start;
}

/** The part of a staircase from one amplitude to before another. */
function stairsBetween({ first, stepMillivolts, lastMillivolts }: Staircase, from: number, to: number): Staircase {
  const amplitude = (step: number) => first.amplitudeMillivolts + step * stepMillivolts;
  return { first: { ...first, amplitudeMillivolts: amplitude(from) }, stepMillivolts, lastMillivolts: Math.min(lastMillivolts, amplitude(to - 1)) };
}

interface FormTally {
  readonly outcomes: Uint8Array;
  pulses: number;
  lastMillivolts: number;
  operationNanoseconds: number;
  energyFemtojoules: number;
}

function addResult(tally: FormTally, result: FormResult): void {
  for (let cell = 0; cell < cellCount; cell += 1) {
    const outcome = result.outcomes[cell];
    // A cell that an earlier part of the staircase formed was formed before only as the board sees it.
    if (outcome !== 0 && !(outcome === wasFormed && formedOutcomes.has(tally.outcomes[cell]))) tally.outcomes[cell] = outcome;
  }
  tally.pulses += result.pulses;
  tally.lastMillivolts = Math.max(tally.lastMillivolts, result.lastMillivolts);
  tally.operationNanoseconds += result.operationNanoseconds;
  tally.energyFemtojoules += result.energyFemtojoules;
}

/** Climbs the staircase: cells that were cut off at a lower amplitude first, until they have caught up with the others; then all together. */
async function climb(array: MeteredArray, parameters: FormParameters, waiting: Waiting): Promise<FormTally> {
  const { staircase, formedMicrosiemens, overFormedMicrosiemens } = parameters;
  const codes = { formedCode: array.codeOf(formedMicrosiemens), overFormedCode: array.codeOf(overFormedMicrosiemens) };
  const tally = { outcomes: new Uint8Array(cellCount), pulses: 0, lastMillivolts: 0, operationNanoseconds: 0, energyFemtojoules: 0 };
  for (const cell of cellsOf(waiting.formed)) tally.outcomes[cell] = wasFormed;
  for (const cell of cellsOf(waiting.pristine)) tally.outcomes[cell] = unformed;
  const efforts = effortsOf(waiting, parameters);
  let formed = countCells(waiting.formed);
  for (let index = 0; index < efforts.length; index += 1) {
    const nextStep = efforts[index + 1]?.step ?? stairCount(staircase);
    const climbing = cellsWhere(waiting.pristine, (cell) => waiting.stepOf(cell) <= efforts[index].step && tally.outcomes[cell] === unformed);
    const wanted = targetCells(parameters) - formed;
    if (wanted <= 0) break;
    const part = stairsBetween(staircase, efforts[index].step, nextStep);
    const result = await array.form(climbing, { staircase: part, targetCells: wanted, ...codes });
    addResult(tally, result);
    formed += result.formedCells;
  }
  return tally;
}

/** The job kind `form`: a staircase of pulses that stops where as many cells are formed as are asked for. */
export const formOperation: Operation<FormParameters> = {
  name: 'form',
  schema: formSchema,
  parametersOf(given) {
    const { region, targetYield = 1, staircase, formedMicrosiemens = conductsMicrosiemens, overFormedMicrosiemens = brokenMicrosiemens, ...rest } =
      given as Static<typeof formSchema>;
    return {
      region: regionOf(region), targetYield, staircase: staircaseOf('forming', staircase, usualStaircases.forming), formedMicrosiemens,
      overFormedMicrosiemens, ...rest,
    };
  },
  async plan(array, parameters): Promise<Plan> {
    array.require('FormCells', 'forming climbs its staircase on the board');
    const waiting = await waitingCells(array, parameters, freshStart(array));
    const [formed, pristine] = [countCells(waiting.formed), countCells(waiting.pristine)];
    const figures = { formedCells: formed, pristineCells: pristine, targetCells: targetCells(parameters) };
    return planOf('form', array, waiting.map, readAverages, formed + pristine, effortsOf(waiting, parameters), figures);
  },
  async run(array, parameters, job) {
    array.require('FormCells', 'forming climbs its staircase on the board');
    const waiting = await waitingCells(array, parameters, startingCounts(array, job));
    const planned = effortsOf(waiting, parameters).map((effort) => effort.planned);
    refuseBroken(array.brokenBy(planned));
    const tally = await climb(array, parameters, waiting);
    const { region } = parameters;
    const counts = outcomeCounts(tally.outcomes);
    const cells = region.bitLines * region.sourceLines;
    const formedCells = counts['formed'] + counts['over-formed'] + counts['was-formed'];
    job.keep('outcomes', writeNpy(partOf(tally.outcomes, region), [region.bitLines, region.sourceLines]));
    return {
      chipId: array.identity.chipId, cells, targetCells: targetCells(parameters), formedCells, yieldFraction: formedCells / cells, outcomes: counts,
      pulses: { forming: tally.pulses, set: 0, reset: 0 }, mostPulses: mostPulses(planned), lastMillivolts: tally.lastMillivolts,
      operationSeconds: (tally.operationNanoseconds + waiting.map.operationNanoseconds) / 1e9, energyNanojoules: tally.energyFemtojoules / 1e6,
    };
  },
};
