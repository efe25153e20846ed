import { type Pulse, type Region, type Staircase, stairCount } from '../../driver/index.js';
import { cellOutcomes } from '../../proto/message.js';
import { writeNpy } from '../network/npy.js';
import { topCode } from '../network/snapshot.js';
import { type CellBitmap, cellsOf, cellsWhere, countCells } from './cell-bitmap.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import { brokenMicrosiemens, conductsMicrosiemens, staircaseOf, usualStaircases } from './parameters.js';
import type { Effort } from './plan.js';
import { cellsIn, type Sweep, type SweepBench, type SweepParameters } from './sweep.js';

/** Pulses that move every cell all the way, and the ranges in which cells begin to move (MODEL.md §"SET and RESET"). */
const fullReset: Pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 };
const fullSet: Pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 50 };
const resetStairs = { firstMillivolts: 700, stepMillivolts: 50, lastMillivolts: 2200, widthNanoseconds: 1000, complianceMicroamperes: 0 };
const setStairs = { firstMillivolts: 700, stepMillivolts: 100, lastMillivolts: 2200, widthNanoseconds: 1000, complianceMicroamperes: 50 };

const once = (first: Pulse): Staircase => ({ first, stepMillivolts: 1, lastMillivolts: first.amplitudeMillivolts });
const stairs = (staircase: Staircase): Pulse[] =>
  Array.from({ length: stairCount(staircase) }, (_, step) =>
    ({ ...staircase.first, amplitudeMillivolts: staircase.first.amplitudeMillivolts + step * staircase.stepMillivolts }));

const effort = (kind: Effort['planned']['kind'], cells: CellBitmap, perCell: number, leastPerCell: number, staircase: Staircase, averages: number): Effort =>
  ({ planned: { kind, cells, leastPerCell, mostPerCell: perCell }, staircase, averages });

/** Cells that conduct as formed ones do: only they can be switched to and fro. */
const conductingCells = (array: MeteredArray, map: CellMap, region: Region) =>
  cellsIn(region, map, (code) => code >= array.codeOf(conductsMicrosiemens) && code < topCode);

const formingStairs = ({ staircase }: SweepParameters) => staircase ?? staircaseOf('forming', undefined, usualStaircases.forming);
const unformedOutcome = cellOutcomes.indexOf('unformed');

/** At which amplitude each cell broke down: the board counts its pulses, and each amplitude gave it one. */
function breakdowns({ array, cells }: SweepBench, before: Uint16Array, outcomes: Uint8Array, staircase: Staircase): number[] {
  const formed = cellsWhere(cells, (cell) => outcomes[cell] !== unformedOutcome);
  const { first, stepMillivolts } = staircase;
  return [...cellsOf(formed)].map((cell) => first.amplitudeMillivolts + (array.wear.forming[cell] - before[cell] - 1) * stepMillivolts);
}

/** Yield against amplitude: how many of the cells are formed after each step. */
const forming: Sweep = {
  cellsOf: (array, map, region) => cellsIn(region, map, (code, cell) => code < array.codeOf(conductsMicrosiemens) && isPristine(array, cell)),
  efforts: (cells, parameters) => [effort('forming', cells, stairCount(formingStairs(parameters)), 1, formingStairs(parameters), 1)],
  async run(bench, job) {
    const { array, cells, parameters } = bench;
    const staircase = formingStairs(parameters);
    const before = array.wear.forming.slice();
    const [formedCode, overFormedCode] = [array.codeOf(conductsMicrosiemens), array.codeOf(brokenMicrosiemens)];
    const { outcomes, overFormedCells } = await array.form(cells, { staircase, targetCells: countCells(cells), formedCode, overFormedCode });
    const amplitudes = breakdowns(bench, before, outcomes, staircase);
    for (const { amplitudeMillivolts } of stairs(staircase)) {
      const formedCells = amplitudes.filter((amplitude) => amplitude <= amplitudeMillivolts).length;
      if (formedCells > 0) job.row({ amplitudeMillivolts, formedCells, formedFraction: formedCells / countCells(cells) });
    }
    bench.point({ amplitudeMillivolts: staircase.lastMillivolts }, await bench.read());
    // A cell broke down somewhere below the step that it formed at: half a step is the mean of that.
    const mean = amplitudes.reduce((sum, amplitude) => sum + amplitude, 0) / amplitudes.length - staircase.stepMillivolts / 2;
    const variance = amplitudes.reduce((sum, amplitude) => sum + (amplitude - staircase.stepMillivolts / 2 - mean) ** 2, 0) / amplitudes.length;
    const isEmpty = amplitudes.length === 0;
    return {
      formedCells: amplitudes.length,
      overFormedCells,
      breakdownMeanMillivolts: isEmpty ? null : mean,
      breakdownSdMillivolts: isEmpty ? null : Math.sqrt(variance),
    };
  },
};

/** A cell that had no SET or RESET and does not conduct has never formed. */
const isPristine = ({ wear }: MeteredArray, cell: number) => wear.set[cell] === 0 && wear.reset[cell] === 0;

/** The first amplitude at which a curve has passed a level, going down or up. */
const firstWhere = (points: readonly { readonly amplitude: number; readonly median: number | null }[], passes: (median: number) => boolean) =>
  points.find(({ median }) => median !== null && passes(median))?.amplitude ?? null;

/** Conductance against amplitude while all cells are moved step by step in one direction. */
function switching(kind: 'reset' | 'set'): Sweep {
  const usual = kind === 'reset' ? resetStairs : setStairs;
  const staircaseFor = ({ staircase }: SweepParameters) => staircase ?? staircaseOf(kind, undefined, usual);
  return {
    cellsOf: conductingCells,
    efforts(cells, parameters) {
      const staircase = staircaseFor(parameters);
      const sweep = effort(kind, cells, stairCount(staircase), stairCount(staircase), staircase, parameters.averages);
      return kind === 'reset' ? [sweep] : [effort('reset', cells, 1, 1, once(fullReset), parameters.averages), sweep];
    },
    async run(bench) {
      const { array, cells, parameters } = bench;
      if (kind === 'set') await array.reset(cells, fullReset);
      const start = bench.point({ amplitudeMillivolts: 0 }, await bench.read()).medianMicrosiemens;
      const points: { amplitude: number; median: number | null }[] = [];
      for (const pulse of stairs(staircaseFor(parameters))) {
        if (kind === 'reset') await array.reset(cells, pulse);
        else await array.set(cells, pulse);
        const { medianMicrosiemens: median } = bench.point({ amplitudeMillivolts: pulse.amplitudeMillivolts }, await bench.read());
        points.push({ amplitude: pulse.amplitudeMillivolts, median });
      }
      const level = conductsMicrosiemens;
      const moved = (median: number) => start !== null && (kind === 'reset' ? median < 0.95 * start : median > start + 0.05 * level);
      return {
        firstMovedMillivolts: firstWhere(points, moved),
        switchedMillivolts: firstWhere(points, (median) => (kind === 'reset' ? median < level : median >= level)),
        startMedianMicrosiemens: start,
        endMedianMicrosiemens: points.at(-1)?.median ?? null,
      };
    },
  };
}

/** The same cells read again and again: how each strays from its own mean. No cell is pulsed. */
const noise: Sweep = {
  cellsOf: conductingCells,
  efforts: () => [],
  async run(bench, job) {
    const { array, cells, parameters } = bench;
    const chosen = [...cellsOf(cells)];
    const reads = new Uint16Array(parameters.reads * chosen.length);
    for (let read = 0; read < parameters.reads; read += 1) {
      const map = await array.read(parameters.region, 1);
      chosen.forEach((cell, index) => { reads[read * chosen.length + index] = map.codes[cell]; });
      bench.point({ read }, map);
    }
    job.keep('reads', writeNpy(reads, [parameters.reads, chosen.length]));
    job.keep('readCells', writeNpy(Int32Array.from(chosen), [chosen.length]));
    return noiseOf(reads, parameters.reads, chosen.length);
  },
};

function noiseOf(reads: Uint16Array, count: number, cells: number): Record<string, number | null> {
  if (cells === 0 || count < 2) return { noiseFraction: null, beyondFourSigmaFraction: null };
  let squares = 0;
  const deviations: number[] = [];
  for (let cell = 0; cell < cells; cell += 1) {
    let sum = 0;
    for (let read = 0; read < count; read += 1) sum += reads[read * cells + cell];
    const mean = sum / count;
    for (let read = 0; read < count; read += 1) {
      // A deviation from a mean that it is part of is too small by this factor.
      const deviation = (reads[read * cells + cell] / mean - 1) * Math.sqrt(count / (count - 1));
      squares += deviation ** 2;
      deviations.push(deviation);
    }
  }
  const sd = Math.sqrt(squares / deviations.length);
  return { noiseFraction: sd, beyondFourSigmaFraction: deviations.filter((value) => Math.abs(value) > 4 * sd).length / deviations.length };
}

/** RESET and SET in turn: whether both levels stay apart. */
const endurance: Sweep = {
  cellsOf: conductingCells,
  efforts: (cells, { cycles, averages }) => [
    effort('reset', cells, cycles, cycles, once(fullReset), averages), effort('set', cells, cycles, cycles, once(fullSet), averages),
  ],
  async run(bench) {
    const { array, cells, parameters } = bench;
    const window = { low: 0, high: 0 };
    for (let cycle = 1; cycle <= parameters.cycles; cycle += 1) {
      await array.reset(cells, fullReset);
      const off = await bench.read();
      bench.point({ cycle, isOn: 0 }, off);
      await array.set(cells, fullSet);
      const on = await bench.read();
      bench.point({ cycle, isOn: 1 }, on);
      window.low = countCells(cellsWhere(cells, (cell) => off.codes[cell] >= array.codeOf(conductsMicrosiemens)));
      window.high = countCells(cellsWhere(cells, (cell) => on.codes[cell] < array.codeOf(conductsMicrosiemens)));
    }
    return { cycles: parameters.cycles, failedResetCells: window.low, failedSetCells: window.high };
  },
};

export const sweeps = { forming, reset: switching('reset'), set: switching('set'), noise, endurance } as const satisfies Readonly<Record<string, Sweep>>;
export type SweepName = keyof typeof sweeps;
export const sweepNames = Object.keys(sweeps) as SweepName[];
