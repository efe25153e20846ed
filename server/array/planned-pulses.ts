import {
  type Envelope, isTemperate, type PulseKind, type PulseLimits, type Staircase, type SweepRequest, totalMicroamperes, type WearCounts,
} from '../../driver/index.js';
import { countedPulses, sweptKinds } from '../../proto/cell-sweep.js';
import { MacroError } from '../../proto/error.js';
import { sourceLineCount } from '../../firmware-protocol/limits.js';
import { addCell, type CellBitmap, cellsOf, countCells, noCells } from './cell-bitmap.js';

/** Pulses that an operation may give: so many of a kind, at least and at most, to each cell of a set. */
export interface PlannedPulses {
  readonly kind: PulseKind;
  readonly cells: CellBitmap;
  readonly leastPerCell: number;
  readonly mostPerCell: number;
}

/** What a sweep counts as: exactly, but for a forming, which ends where the cell forms. */
export function plannedSweep(asked: SweepRequest): PlannedPulses[] {
  const cells = noCells();
  addCell(cells, asked.bitLine * sourceLineCount + asked.sourceLine);
  const counted = countedPulses(asked);
  return sweptKinds(asked).map((kind) =>
    ({ kind, cells, leastPerCell: kind === 'forming' ? Math.min(1, counted.forming) : counted[kind], mostPerCell: counted[kind] }));
}

/** A limit that a plan could break, and where first. */
export interface BrokenLimit {
  readonly field:
    'pulsesPerCell' | PulseBudget['field'] | 'amplitudeMillivolts' | 'widthNanoseconds' | 'complianceMicroamperes' | 'totalCurrentMicroamperes'
    | 'temperatureCelsius';
  readonly kind: PulseKind | null;
  readonly limit: number;
  /** What a cell, the job, or a pulse could come to, as the field counts. */
  readonly reached: number;
  /** How many cells are affected; 0 where the limit is not of cells. */
  readonly cells: number;
  readonly detail: string;
}

export type PulseNumbers = Record<PulseKind, number>;

const sumOf = (planned: readonly PlannedPulses[], perCell: (pulses: PlannedPulses) => number): PulseNumbers => {
  const sums = { forming: 0, set: 0, reset: 0 };
  for (const pulses of planned) sums[pulses.kind] += countCells(pulses.cells) * perCell(pulses);
  return sums;
};

export const leastPulses = (planned: readonly PlannedPulses[]): PulseNumbers => sumOf(planned, ({ leastPerCell }) => leastPerCell);
export const mostPulses = (planned: readonly PlannedPulses[]): PulseNumbers => sumOf(planned, ({ mostPerCell }) => mostPerCell);

const nameOf = (cell: number) => `bit line ${Math.floor(cell / sourceLineCount)}, source line ${cell % sourceLineCount}`;

/** What cells come to in the worst case, by kind: pulses they had and all that are planned. */
function worstCounts(planned: readonly PlannedPulses[], wear: WearCounts): Map<PulseKind, Map<number, number>> {
  const worst = new Map<PulseKind, Map<number, number>>();
  for (const { kind, cells, mostPerCell } of planned) {
    const counts = worst.get(kind) ?? new Map<number, number>();
    worst.set(kind, counts);
    for (const cell of cellsOf(cells)) counts.set(cell, (counts.get(cell) ?? wear[kind][cell]) + mostPerCell);
  }
  return worst;
}

/** Where each kind stands after a plan in its worst case: the most pulsed of the cells that it touches. */
export function wearAfter(planned: readonly PlannedPulses[], wear: WearCounts, envelope: Envelope) {
  return [...worstCounts(planned, wear)].map(([kind, counts]) => {
    let largest = 0;
    for (const count of counts.values()) largest = Math.max(largest, count);
    return { kind, largestPulsesPerCell: largest, limitPulsesPerCell: envelope[kind].pulsesPerCell };
  });
}

function brokenByCells(kind: PulseKind, counts: ReadonlyMap<number, number>, limit: number): BrokenLimit[] {
  const over = [...counts].filter(([, count]) => count > limit);
  if (over.length === 0) return [];
  const [cell, reached] = over.reduce((worst, next) => (next[1] > worst[1] ? next : worst));
  const detail = `${over.length} cells could come to more than ${limit} ${kind} pulses, that of ${nameOf(cell)} to ${reached}`;
  return [{ field: 'pulsesPerCell', kind, limit, reached, cells: over.length, detail }];
}

/** The limits that the strongest pulse of a staircase would break. */
export function brokenByStrength(kind: PulseKind, { first, lastMillivolts }: Staircase, limits: PulseLimits): BrokenLimit[] {
  const total = totalMicroamperes(first.complianceMicroamperes, limits);
  const strengths = [
    ['amplitudeMillivolts', lastMillivolts, limits.amplitudeMaximumMillivolts, `of ${lastMillivolts} mV`],
    ['widthNanoseconds', first.widthNanoseconds, limits.widthMaximumNanoseconds, `of ${first.widthNanoseconds} ns`],
    ['complianceMicroamperes', first.complianceMicroamperes, limits.complianceMaximumMicroamperes, `of ${first.complianceMicroamperes} µA`],
    ['totalCurrentMicroamperes', total, limits.totalCurrentMaximumMicroamperes, `of ${total} µA through all cells that it reaches`],
  ] as const;
  return strengths.filter(([, reached, limit]) => reached > limit).map(([field, reached, limit, strength]) =>
    ({ field, kind, limit, reached, cells: 0, detail: `there would be ${kind} pulses ${strength}; the limit is ${limit}` }));
}

/** Pulses that whoever asks may still give. */
export interface PulseBudget {
  readonly field: 'maximumPulses' | 'pulsesPerUser';
  readonly left: number;
  /** For people, behind "the job could give so many pulses". */
  readonly means: string;
}

/** The limits that a plan would break in its worst case: those of each cell over its whole life, and the budgets of the job and its user. */
export function brokenLimits(
  planned: readonly PlannedPulses[], wear: WearCounts, envelope: Envelope, budgets: readonly PulseBudget[],
): BrokenLimit[] {
  const ofCells = [...worstCounts(planned, wear)].flatMap(([kind, counts]) => brokenByCells(kind, counts, envelope[kind].pulsesPerCell));
  const { forming, set, reset } = mostPulses(planned);
  const total = forming + set + reset;
  const overdrawn = budgets.filter(({ left }) => total > Math.max(0, left));
  return [...ofCells, ...overdrawn.map(({ field, left, means }) =>
    ({ field, kind: null, limit: Math.max(0, left), reached: total, cells: 0, detail: `the job could give ${total} pulses; ${means}` }))];
}

/** Whether the chip is too cold, or too warm, for pulses: where there are any. */
export function brokenByTemperature(planned: readonly PlannedPulses[], celsius: number | undefined, envelope: Envelope): BrokenLimit[] {
  const { forming, set, reset } = mostPulses(planned);
  const { temperature } = envelope;
  if (celsius === undefined || !temperature || forming + set + reset === 0 || isTemperate(celsius, envelope)) return [];
  const limit = celsius < temperature.minimumCelsius ? temperature.minimumCelsius : temperature.maximumCelsius;
  const detail = `the chip is at ${celsius} °C; pulses are given from ${temperature.minimumCelsius} to ${temperature.maximumCelsius}`;
  return [{ field: 'temperatureCelsius', kind: null, limit, reached: celsius, cells: 0, detail }];
}

/** @throws MacroError PULSE_REFUSED for the first limit that would break */
export function refuseBroken([first]: readonly BrokenLimit[]): void {
  if (first !== undefined) throw new MacroError('PULSE_REFUSED', first.detail, { field: first.field });
}
