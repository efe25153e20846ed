import Type, { type Static } from 'typebox';
import { bitmapOf, type ProgramResult, type Region, type Staircase, wholeArray } from '../../driver/index.js';
import { bitLineCount, cellCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { cellOutcomes } from '../../proto/message.js';
import { integerFrom, strict } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import { type CellBitmap, cellsOf, cellsWhere, countCells } from './cell-bitmap.js';
import { CellWindows } from './cell-windows.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { outcomeCounts } from './outcomes.js';
import {
  averages, microsiemens, pulsesPerCell, pulsingFields, regionOf, regionSchema, staircaseOf, staircaseSchema, usualStaircases,
} from './parameters.js';
import { planOf } from './plan.js';
import { mostPulses } from './planned-pulses.js';

const targetSchema = strict({ bitLine: integerFrom(0, bitLineCount - 1), sourceLine: integerFrom(0, sourceLineCount - 1), microsiemens });

const programSchema = strict({
  region: Type.Optional(regionSchema),
  microsiemens: Type.Optional(microsiemens),
  cells: Type.Optional(Type.Array(targetSchema, { minItems: 1, maxItems: cellCount, description: 'cells with a target each, instead of a region with one' })),
  toleranceFraction: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'above 0 to 1' })),
  pulsesPerCell: Type.Optional(pulsesPerCell),
  averages: Type.Optional(averages),
  reset: Type.Optional(staircaseSchema),
  set: Type.Optional(staircaseSchema),
  ...pulsingFields,
});

interface CellTarget {
  readonly bitLine: number;
  readonly sourceLine: number;
  readonly microsiemens: number;
}

export interface ProgramChoice {
  readonly toleranceFraction: number;
  /** Absent: as many as the life of every cell allows, up to a usual number. */
  readonly pulsesPerCell?: number;
  readonly averages: number;
  readonly reset: Staircase;
  readonly set: Staircase;
}

interface ProgramParameters extends ProgramChoice {
  readonly region: Region;
  readonly microsiemens?: number;
  readonly cells?: readonly CellTarget[];
  readonly maximumPulses?: number;
  readonly user?: string;
}

const usualToleranceFraction = 0.05;
const usualPulsesPerCell = 20;
const usualAverages = 4;
/** At the compliance of 50 µA a SET leaves 12.34 µS, and more in proportion (PRIME §6); so much higher, that most cells come from below. */
const microamperesPerMicrosiemens = 50 / 12.34;
const complianceMargin = 1.4;

/** The compliance that lets a SET reach a conductance. */
export const complianceFor = (highestMicrosiemens: number): number => Math.ceil(highestMicrosiemens * microamperesPerMicrosiemens * complianceMargin);

type GivenChoice = Pick<Static<typeof programSchema>, 'toleranceFraction' | 'pulsesPerCell' | 'averages' | 'reset' | 'set'>;

export function choiceOf(given: GivenChoice, highest: number): ProgramChoice {
  const { toleranceFraction = usualToleranceFraction, pulsesPerCell: pulses, averages: reads = usualAverages } = given;
  const set = staircaseOf('set', given.set, { ...usualStaircases.programSet, complianceMicroamperes: complianceFor(highest) });
  const reset = staircaseOf('reset', given.reset, usualStaircases.programReset);
  return { toleranceFraction, ...(pulses !== undefined && { pulsesPerCell: pulses }), averages: reads, reset, set };
}

/** What each cell shall conduct, µS, by its number. */
export type CellTargets = ReadonlyMap<number, number>;

function targetsOf({ region, microsiemens: target, cells }: ProgramParameters): CellTargets {
  if (cells !== undefined) return new Map(cells.map(({ bitLine, sourceLine, microsiemens: own }) => [bitLine * sourceLineCount + sourceLine, own]));
  return new Map([...cellsOf(bitmapOf(region))].map((cell) => [cell, target as number]));
}

/** Codes between which a target is met. */
const windowOf = (array: MeteredArray, target: number, toleranceFraction: number) => ({
  lowest: array.codeOf(target * (1 - toleranceFraction)), highest: Math.floor((target * (1 + toleranceFraction) * 1000) / array.cellUnitNanosiemens),
});

/** Windows of the cells that do not read inside theirs: the others need no pulse. */
export function windowsOf(array: MeteredArray, targets: CellTargets, { codes }: CellMap, toleranceFraction: number): CellWindows {
  const windows = new CellWindows();
  for (const [cell, target] of targets) {
    const { lowest, highest } = windowOf(array, target, toleranceFraction);
    if (lowest > highest) {
      throw new MacroError('BAD_REQUEST', `no code of this chip lies within ${toleranceFraction} of ${target} µS`, { field: 'toleranceFraction' });
    }
    if (codes[cell] < lowest || codes[cell] > highest) windows.select(cell, lowest, highest);
  }
  return windows;
}

/** Pulses of each kind that the cells of a program-and-verify may get. Where a cell has none left it is 1, and the check of limits refuses it by name. */
export function pulsesAllowed(array: MeteredArray, cells: CellBitmap, { pulsesPerCell: chosen }: ProgramChoice): number {
  if (chosen !== undefined) return chosen;
  let left = usualPulsesPerCell;
  for (const kind of ['reset', 'set'] as const) {
    const limit = array.envelope[kind].pulsesPerCell;
    for (const cell of cellsOf(cells)) left = Math.min(left, limit - array.wear[kind][cell]);
  }
  return Math.max(1, left);
}

export function effortsOf(windows: CellWindows, { codes }: CellMap, array: MeteredArray, targets: CellTargets, choice: ProgramChoice) {
  const mostPerCell = pulsesAllowed(array, windows.cells, choice);
  const isTooHigh = (cell: number) => array.microsiemensOf(codes[cell]) > (targets.get(cell) as number);
  return (['reset', 'set'] as const).map((kind) => {
    const begins = cellsWhere(windows.cells, (cell) => isTooHigh(cell) === (kind === 'reset'));
    // Each cell may have to turn: in the worst case all its pulses are of one kind, and which one is not known.
    const planned = { kind, cells: windows.cells, leastPerCell: 0, mostPerCell } as const;
    return { planned, staircase: choice[kind], averages: choice.averages, begins: countCells(begins) };
  });
}

/** Reads, windows and worst case of one program-and-verify. */
async function look(array: MeteredArray, parameters: ProgramParameters) {
  array.require('ProgramCells', 'program-and-verify runs on the board');
  const targets = targetsOf(parameters);
  const map = await array.read(parameters.cells === undefined ? parameters.region : wholeArray, parameters.averages);
  const windows = windowsOf(array, targets, map, parameters.toleranceFraction);
  return { targets, map, windows, efforts: effortsOf(windows, map, array, targets, parameters) };
}

/** Outcomes of the cells that were pulsed, and of those that read inside before. */
function outcomesOf(targets: CellTargets, result: ProgramResult | undefined): Uint8Array {
  const outcomes = new Uint8Array(cellCount);
  for (const cell of targets.keys()) outcomes[cell] = result?.outcomes[cell] || cellOutcomes.indexOf('inside');
  return outcomes;
}

/** The job kind `program`: cells to a target conductance, by program-and-verify on the board. */
export const programOperation: Operation<ProgramParameters> = {
  name: 'program',
  schema: programSchema,
  parametersOf(given) {
    const { region, microsiemens: target, cells, maximumPulses, user, ...choice } = given as Static<typeof programSchema>;
    if ((target === undefined) === (cells === undefined)) {
      throw new MacroError('BAD_REQUEST', 'give microsiemens for a region, or a list of cells with a target each', { field: 'microsiemens' });
    }
    if (cells !== undefined && region !== undefined) throw new MacroError('BAD_REQUEST', 'a list of cells has no region', { field: 'region' });
    const highest = cells === undefined ? (target as number) : cells.reduce((most, cell) => Math.max(most, cell.microsiemens), 0);
    return {
      region: regionOf(region), ...(target !== undefined && { microsiemens: target }), ...(cells && { cells }), ...choiceOf(choice, highest),
      ...(maximumPulses !== undefined && { maximumPulses }), ...(user !== undefined && { user }),
    };
  },
  async plan(array, parameters) {
    const { targets, map, windows, efforts } = await look(array, parameters);
    const outside = countCells(windows.cells);
    const figures = { insideCells: targets.size - outside, tooHighCells: efforts[0].begins, tooLowCells: efforts[1].begins };
    return planOf('program', array, map, parameters.averages, targets.size, efforts, figures);
  },
  async run(array, parameters, job) {
    const { targets, map, windows, efforts } = await look(array, parameters);
    const { reset, set, averages: reads } = parameters;
    const pulses = pulsesAllowed(array, windows.cells, parameters);
    const result = countCells(windows.cells) === 0 ? undefined : await array.program(windows, { reset, set, pulsesPerCell: pulses, averages: reads });
    const outcomes = outcomesOf(targets, result);
    job.keep('outcomes', writeNpy(outcomes, [bitLineCount, sourceLineCount]));
    return {
      chipId: array.identity.chipId, cells: targets.size, insideBefore: targets.size - countCells(windows.cells), outcomes: outcomeCounts(outcomes),
      stubbornCells: result?.stubbornCells ?? 0, pulses: { forming: 0, set: result?.setPulses ?? 0, reset: result?.resetPulses ?? 0 },
      mostPulses: mostPulses(efforts.map(({ planned }) => planned)), operationSeconds: ((result?.operationNanoseconds ?? 0) + map.operationNanoseconds) / 1e9,
      energyNanojoules: (result?.energyFemtojoules ?? 0) / 1e6,
    };
  },
};
