import Type, { type Static } from 'typebox';
import { type PulseKind, type Region, type Staircase, wholeArray } from '../../driver/index.js';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { integerFrom, strict, textUpTo } from '../network/network.js';

export const averagesMaximum = 1024;
const microsiemensMaximum = 262;

export const microsiemens = Type.Number({ exclusiveMinimum: 0, maximum: microsiemensMaximum, description: `above 0 to ${microsiemensMaximum} µS` });
export const averages = integerFrom(1, averagesMaximum);
export const fraction = Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' });

export const regionSchema = strict({
  firstBitLine: integerFrom(0, bitLineCount - 1),
  bitLines: integerFrom(1, bitLineCount),
  firstSourceLine: integerFrom(0, sourceLineCount - 1),
  sourceLines: integerFrom(1, sourceLineCount),
});

/** Ranges are those of numbers; what a chip stands is the envelope's to say. */
const millivolts = integerFrom(1, 10_000);
export const staircaseSchema = strict({
  firstMillivolts: Type.Optional(millivolts),
  stepMillivolts: Type.Optional(millivolts),
  lastMillivolts: Type.Optional(millivolts),
  widthNanoseconds: Type.Optional(integerFrom(1, 1_000_000_000)),
  complianceMicroamperes: Type.Optional(integerFrom(0, 10_000)),
});
export type StaircaseChoice = Static<typeof staircaseSchema>;

/** What every job that pulses cells takes. */
export const pulsingFields = {
  maximumPulses: Type.Optional(Type.Integer({ minimum: 0, description: 'pulses that the whole job may give; more in the worst case is refused' })),
  user: Type.Optional(textUpTo(64)),
};
export const pulsesPerCell = integerFrom(1, 1000);

/** @throws MacroError BAD_REQUEST where it leaves the array */
export function regionOf(given: Region = wholeArray): Region {
  if (given.firstBitLine + given.bitLines > bitLineCount) {
    const problem = `region: bitLines is ${given.bitLines}, the range is 1 to ${bitLineCount - given.firstBitLine}`;
    throw new MacroError('BAD_REQUEST', problem, { field: 'region.bitLines' });
  }
  if (given.firstSourceLine + given.sourceLines > sourceLineCount) {
    const problem = `region: sourceLines is ${given.sourceLines}, the range is 1 to ${sourceLineCount - given.firstSourceLine}`;
    throw new MacroError('BAD_REQUEST', problem, { field: 'region.sourceLines' });
  }
  return given;
}

/**
 * Staircases for chips like that of PRIME §6. Forming: from below the first breakdown to above the last (3.14–3.70 V measured). RESET and SET of a mask
 * move a cell all the way with their first pulse and reach for those that do not follow; program-and-verify begins where cells begin to move.
 */
export const usualStaircases = {
  forming: { firstMillivolts: 2900, stepMillivolts: 5, lastMillivolts: 3900, widthNanoseconds: 1000, complianceMicroamperes: 50 },
  maskReset: { firstMillivolts: 2000, stepMillivolts: 125, lastMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 0 },
  regrow: { firstMillivolts: 2000, stepMillivolts: 125, lastMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 50 },
  programReset: { firstMillivolts: 900, stepMillivolts: 20, lastMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 0 },
  programSet: { firstMillivolts: 900, stepMillivolts: 20, lastMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 50 },
} as const;

/** @throws MacroError BAD_REQUEST where it does not rise */
export function staircaseOf(kind: PulseKind, given: StaircaseChoice | undefined, usual: Required<StaircaseChoice>): Staircase {
  const { firstMillivolts, stepMillivolts, lastMillivolts, widthNanoseconds, complianceMicroamperes } = { ...usual, ...given };
  if (lastMillivolts < firstMillivolts) {
    const problem = `the ${kind} staircase ends at ${lastMillivolts} mV, below its first ${firstMillivolts} mV`;
    throw new MacroError('BAD_REQUEST', problem, { field: 'lastMillivolts' });
  }
  return { first: { amplitudeMillivolts: firstMillivolts, widthNanoseconds, complianceMicroamperes }, stepMillivolts, lastMillivolts };
}

/** From here on a cell conducts: pristine ones are at 0.1 µS, reset ones below 2 µS, formed ones at 8 µS and more (PRIME §6). */
export const conductsMicrosiemens = 4;
/** Below 20 kΩ a cell counts as broken down (PRIME §6). */
export const brokenMicrosiemens = 50;
