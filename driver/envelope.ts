import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { MacroError } from '../proto/error.js';
import { countedPulses, countSweepSteps, maximumSweepCycles, maximumSweepPoints, sweptKinds } from '../proto/cell-sweep.js';
import type { Envelope, Pulse, PulseKind, PulseLimits, Staircase, SweepBranch, TemperatureLimits } from '../proto/message.js';
import type { SweepRequest } from './array-request.js';

/** Amplitudes of the one forming staircase that a cell may have: 2.9 V to 3.9 V by 5 mV. */
const formingStairs = 201;

/** Between which the parts of the board work (the least of them: ADS8324, -40 to 85 degC). What the chip bears beyond that its board has to state. */
const temperature = { minimumCelsius: -40, maximumCelsius: 85 };

const common = {
  widthMaximumNanoseconds: 1_000_000, complianceMaximumMicroamperes: 200, cellsAtOnce: bitLineCount * sourceLineCount, totalCurrentMaximumMicroamperes: 1000,
};

/**
 * What this host sends to a chip that nobody has characterised, whatever its board would let through. Of steps that a board says move no cell it believes
 * only those that lie well below where cells of this kind begin to (PRIME: first breakdown at 3.14 V; read voltages of 0.1 to 0.3 V disturb nothing).
 */
export const hostEnvelope: Envelope = {
  forming: { ...common, amplitudeMaximumMillivolts: 4000, pulsesPerCell: formingStairs, movesFromMillivolts: 2400 },
  set: { ...common, amplitudeMaximumMillivolts: 2500, pulsesPerCell: 20, movesFromMillivolts: 400 },
  reset: { ...common, amplitudeMaximumMillivolts: 2500, pulsesPerCell: 100, movesFromMillivolts: 400 },
  temperature,
};

/** A RESET of `ResetCells`, which limits no current. */
export type ResetPulse = Pick<Pulse, 'amplitudeMillivolts' | 'widthNanoseconds'>;

export interface ProgramStaircases {
  readonly reset?: Staircase;
  readonly set?: Staircase;
}

const minimumWidthNanoseconds = 10;
const bitmapBytes = (bitLineCount * sourceLineCount) / 8;
const windowsBytes = bitLineCount * sourceLineCount * 4;
const limitNames = Object.keys(hostEnvelope.reset) as (keyof PulseLimits)[];

/** The stricter of what this host and a board let through, limit by limit. A board that states limits and leaves out a kind lets none of it through. */
export function strictestEnvelope(board: Partial<Envelope> | null | undefined): Envelope {
  if (!board) return hostEnvelope;
  const strictest = (kind: PulseKind) =>
    Object.fromEntries(limitNames.map((name) => [name, Math.min(hostEnvelope[kind][name], board[kind]?.[name] ?? 0)])) as unknown as PulseLimits;
  return { forming: strictest('forming'), set: strictest('set'), reset: strictest('reset'), temperature: strictestTemperature(board.temperature) };
}

const strictestTemperature = (board: TemperatureLimits | null | undefined): TemperatureLimits => ({
  minimumCelsius: Math.max(temperature.minimumCelsius, board?.minimumCelsius ?? temperature.minimumCelsius),
  maximumCelsius: Math.min(temperature.maximumCelsius, board?.maximumCelsius ?? temperature.maximumCelsius),
});

/** Whether pulses may be given at a temperature; one that nobody has told is for the board to judge. */
export function isTemperate(celsius: number | undefined, { temperature: limits }: Envelope): boolean {
  return celsius === undefined || !limits || (celsius >= limits.minimumCelsius && celsius <= limits.maximumCelsius);
}

/** @throws MacroError PULSE_REFUSED where the chip is too cold or too warm for any pulse */
export function checkTemperature(celsius: number | undefined, envelope: Envelope): void {
  if (isTemperate(celsius, envelope)) return;
  const { minimumCelsius, maximumCelsius } = envelope.temperature as TemperatureLimits;
  throw refuse(`temperatureCelsius of the chip is ${celsius}; pulses are given from ${minimumCelsius} to ${maximumCelsius}`, 'temperatureCelsius');
}

const refuse = (problem: string, field: string) => new MacroError('PULSE_REFUSED', problem, { field });

function checkRange(kind: PulseKind, field: string, value: number, minimum: number, maximum: number): void {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return;
  throw refuse(`${field} of a ${kind} pulse is ${value}; it is an integer from ${minimum} to ${maximum}`, field);
}

/** What all cells that one pulse may reach could draw together; 0 where no compliance limits them, and the board's driver does. */
export const totalMicroamperes = (complianceMicroamperes: number, { cellsAtOnce }: PulseLimits): number => complianceMicroamperes * cellsAtOnce;

/**
 * Refuses a pulse outside the envelope before a byte of it is sent.
 * @throws MacroError PULSE_REFUSED, naming the field and its range
 */
export function checkPulse(kind: PulseKind, pulse: Pulse, envelope: Envelope): void {
  const limits = envelope[kind];
  checkRange(kind, 'amplitudeMillivolts', pulse.amplitudeMillivolts, 1, limits.amplitudeMaximumMillivolts);
  checkRange(kind, 'widthNanoseconds', pulse.widthNanoseconds, minimumWidthNanoseconds, limits.widthMaximumNanoseconds);
  // Without a limit of current a cell that forms or is SET would run away; a RESET is limited by the cell itself.
  checkRange(kind, 'complianceMicroamperes', pulse.complianceMicroamperes, kind === 'reset' ? 0 : 1, limits.complianceMaximumMicroamperes);
  checkRange(kind, 'totalCurrentMicroamperes', totalMicroamperes(pulse.complianceMicroamperes, limits), 0, limits.totalCurrentMaximumMicroamperes);
}

/** How many amplitudes a staircase has, its last included. */
export const stairCount = ({ first, stepMillivolts, lastMillivolts }: Staircase): number =>
  Math.floor((lastMillivolts - first.amplitudeMillivolts) / stepMillivolts) + 1;

/** As `checkPulse`, for every amplitude of a staircase up to its last. */
export function checkStaircase(kind: PulseKind, { first, stepMillivolts, lastMillivolts }: Staircase, envelope: Envelope): void {
  const { amplitudeMaximumMillivolts } = envelope[kind];
  checkPulse(kind, first, envelope);
  checkRange(kind, 'stepMillivolts', stepMillivolts, 1, amplitudeMaximumMillivolts);
  checkRange(kind, 'lastMillivolts', lastMillivolts, first.amplitudeMillivolts, amplitudeMaximumMillivolts);
}

/** @throws MacroError PULSE_REFUSED where a bitmap of cells (1 bit a cell, bit line × 512 + source line) has another size */
export function checkCells(cells: Uint8Array): void {
  if (cells.length !== bitmapBytes) throw refuse(`the bitmap of cells has ${cells.length} bytes; it has ${bitmapBytes}`, 'cells');
}

export function checkReset(cells: Uint8Array, pulse: ResetPulse, envelope: Envelope): void {
  checkCells(cells);
  checkPulse('reset', { ...pulse, complianceMicroamperes: 0 }, envelope);
}

export function checkForming(cells: Uint8Array, staircase: Staircase, envelope: Envelope): void {
  checkCells(cells);
  checkStaircase('forming', staircase, envelope);
  const stairs = stairCount(staircase);
  const { pulsesPerCell } = envelope.forming;
  if (stairs > pulsesPerCell) throw refuse(`the forming staircase has ${stairs} amplitudes; a cell may have ${pulsesPerCell} forming pulses`, 'stepMillivolts');
}

/** A cell that only ever reads too much, or too little, gets all its pulses of one kind. */
export function checkProgram(windows: Uint8Array, staircases: ProgramStaircases, pulsesPerCell: number, envelope: Envelope): void {
  if (windows.length !== windowsBytes) throw refuse(`the windows have ${windows.length} bytes; they have ${windowsBytes}`, 'windows');
  for (const kind of ['reset', 'set'] as const) {
    const staircase = staircases[kind];
    if (staircase === undefined) continue;
    checkStaircase(kind, staircase, envelope);
    checkRange(kind, 'pulsesPerCell', pulsesPerCell, 1, envelope[kind].pulsesPerCell);
  }
  if (!staircases.reset && !staircases.set) throw refuse('neither a RESET nor a SET staircase is given', 'reset');
}

function checkInteger(field: string, value: number, minimum: number, maximum: number): void {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return;
  throw refuse(`${field} of a sweep is ${value}; it is an integer from ${minimum} to ${maximum}`, field);
}

function checkBranch(kind: PulseKind, branch: SweepBranch, dwellNanoseconds: number, envelope: Envelope): void {
  const limits = envelope[kind];
  checkInteger(`${kind}.lastMillivolts`, branch.lastMillivolts, 1, limits.amplitudeMaximumMillivolts);
  // A current that is measured is limited, of a RESET as well.
  checkInteger(`${kind}.complianceMicroamperes`, branch.complianceMicroamperes, 1, limits.complianceMaximumMicroamperes);
  checkInteger('totalCurrentMicroamperes', totalMicroamperes(branch.complianceMicroamperes, limits), 1, limits.totalCurrentMaximumMicroamperes);
  checkInteger(`${kind}.countedFromMillivolts`, branch.countedFromMillivolts, 0, limits.movesFromMillivolts);
  checkInteger('dwellNanoseconds', dwellNanoseconds, minimumWidthNanoseconds, limits.widthMaximumNanoseconds);
}

/**
 * Refuses a sweep outside the envelope, or that counts as more pulses than a cell may have in its life, before a byte of it is sent.
 * @throws MacroError PULSE_REFUSED, naming the field and its range
 */
export function checkSweep(asked: SweepRequest, envelope: Envelope): void {
  const kinds = sweptKinds(asked);
  if (kinds.length === 0) throw refuse('the sweep has no branch; it has forming, or set, or reset, or set and reset', 'set');
  if (kinds.includes('forming') && kinds.length > 1) throw refuse('a forming branch has no other beside it', 'forming');
  checkInteger('bitLine', asked.bitLine, 0, bitLineCount - 1);
  checkInteger('sourceLine', asked.sourceLine, 0, sourceLineCount - 1);
  checkInteger('cycles', asked.cycles, 1, kinds.includes('forming') ? 1 : maximumSweepCycles);
  for (const kind of kinds) {
    checkInteger('stepMillivolts', asked.stepMillivolts, 1, envelope[kind].amplitudeMaximumMillivolts);
    checkBranch(kind, asked[kind] as SweepBranch, asked.dwellNanoseconds, envelope);
  }
  checkInteger('the number of steps', countSweepSteps(asked), 1, maximumSweepPoints);
  const pulses = countedPulses(asked);
  for (const kind of kinds) {
    const { pulsesPerCell } = envelope[kind];
    if (pulses[kind] > pulsesPerCell) throw refuse(`the sweep counts as ${pulses[kind]} ${kind} pulses; a cell may have ${pulsesPerCell}`, 'cycles');
  }
}
