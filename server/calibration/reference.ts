import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { conductsMicrosiemens, microsiemens } from '../array/parameters.js';
import type { MeteredArray } from '../array/metered-array.js';
import { measureResistance, meterAddress } from '../instrument/source-meter.js';
import { strict, textUpTo } from '../network/network.js';
import { topCode } from '../network/snapshot.js';

const referencesMaximum = 64;
/** Reads of each, from whose scatter comes the standard error of their mean. */
const referenceReads = 16;

/** Beyond them the value or the place is wrong. Multiplexers alone can take three quarters of a voltage (PRIME.md §7), nothing doubles it. */
const leastGain = 0.2;
const mostGain = 2;

/** Lines are held against the array by `checkReferences`, whose message gives the range. */
const place = { name: textUpTo(64), bitLine: Type.Integer(), sourceLine: Type.Integer() };
const referenceSchema = strict({ ...place, microsiemens: Type.Optional(microsiemens), meter: Type.Optional(textUpTo(256)) });
export const referencesSchema = Type.Array(referenceSchema, { maxItems: referencesMaximum, description: `a list of up to ${referencesMaximum} references` });
/** A resistor in the place of a cell: of a known conductance, or at the terminals of a source meter that measures it. */
export type Reference = Static<typeof referenceSchema>;

export const measuredReferenceSchema = strict({
  ...place,
  /** What it is. */
  microsiemens: Type.Number(),
  /** Address of the source meter that said so; null: a person did. */
  meter: Type.Union([Type.String(), Type.Null()]),
  /** Who said so: the identification of the meter, or the user. */
  measuredBy: Type.String(),
  /** What the array reads of it, offset included. */
  readMicrosiemens: Type.Number(),
  readStandardErrorMicrosiemens: Type.Number(),
});
export type MeasuredReference = Static<typeof measuredReferenceSchema>;

const refuse = (index: number, field: string, problem: string): never => {
  throw new MacroError('BAD_REQUEST', `references.${index}: ${problem}`, { field: `references.${index}.${field}` });
};

/**
 * What can be said of references before anything is asked.
 * @throws MacroError BAD_REQUEST naming field and range, BAD_ADDRESS
 */
export function checkReferences(references: readonly Reference[]): readonly Reference[] {
  references.forEach(({ name, meter, ...reference }, index) => {
    for (const [field, count] of [['bitLine', bitLineCount], ['sourceLine', sourceLineCount]] as const) {
      const line = reference[field];
      if (line < 0 || line >= count) refuse(index, field, `${field} of "${name}" is ${line}, the range is 0 to ${count - 1}`);
    }
    const isStated = reference.microsiemens !== undefined;
    if (isStated === (meter !== undefined)) refuse(index, 'microsiemens', `"${name}" has either microsiemens or a meter`);
    if (meter !== undefined) meterAddress(meter);
    const earlier = references.slice(0, index);
    if (earlier.some((other) => other.name === name)) refuse(index, 'name', `another reference is called "${name}"`);
    // A meter has one pair of terminals: two references that it measures would be one element.
    if (meter !== undefined && earlier.some((other) => other.meter === meter)) refuse(index, 'meter', `"${name}" has the meter of another reference`);
  });
  return references;
}

/** What it is, and not yet what it reads. */
type KnownReference = Omit<MeasuredReference, 'readMicrosiemens' | 'readStandardErrorMicrosiemens'>;

async function known(
  { name, bitLine, sourceLine, microsiemens: stated, meter }: Reference, user: string | undefined, signal: AbortSignal | undefined,
): Promise<KnownReference> {
  if (meter === undefined) return { name, bitLine, sourceLine, microsiemens: stated ?? 0, meter: null, measuredBy: user ?? 'not stated' };
  const { identification, ohms } = await measureResistance(meter, signal);
  return { name, bitLine, sourceLine, microsiemens: 1e6 / ohms, meter, measuredBy: identification };
}

/** @throws MacroError REFERENCE_UNFIT where it does not conduct, saturates, or cannot be what it is said to be */
async function readOf(array: MeteredArray, reference: KnownReference, averages: number): Promise<MeasuredReference> {
  const { name, bitLine, sourceLine, microsiemens: truth } = reference;
  const unfit = (problem: string): never => {
    const where = `reference "${name}" at bit line ${bitLine}, source line ${sourceLine}`;
    throw new MacroError('REFERENCE_UNFIT', `${where} ${problem}`, { field: 'references' });
  };
  const region = { firstBitLine: bitLine, bitLines: 1, firstSourceLine: sourceLine, sourceLines: 1 };
  const values: number[] = [];
  for (let read = 0; read < referenceReads; read += 1) {
    const code = (await array.read(region, averages)).codes[bitLine * sourceLineCount + sourceLine];
    if (code >= topCode) unfit('reads as saturated');
    values.push(array.microsiemensOf(code));
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / referenceReads;
  const said = `reads ${mean.toFixed(3)} µS`;
  if (mean < conductsMicrosiemens) unfit(`${said}, near zero: a reference conducts ${conductsMicrosiemens} µS or more`);
  if (mean < truth * leastGain || mean > truth * mostGain) unfit(`${said} and is said to be ${truth.toFixed(3)} µS: no channel is that far off`);
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (referenceReads - 1);
  // Without noise every read falls on the same step: then the mean is known to a part of it.
  const stepVariance = quantumMicrosiemens(array) ** 2 / 12;
  return { ...reference, readMicrosiemens: mean, readStandardErrorMicrosiemens: Math.sqrt(variance / referenceReads + stepVariance) };
}

/** The coarser of the steps of a cell's code and of the converter behind it, µS. */
function quantumMicrosiemens({ cellUnitNanosiemens, identity }: MeteredArray): number {
  const { stepNumeratorNanosiemens = 0, stepDenominator = 1 } = identity.converter.ranges.find(({ name }) => name === 'cell') ?? {};
  return Math.max(cellUnitNanosiemens, stepNumeratorNanosiemens / stepDenominator) / 1000;
}

/**
 * Has every reference measured and read: all of them, or none.
 * @throws MacroError METER_UNREACHABLE, METER_INVALID, METER_OVERLOAD, REFERENCE_UNFIT, CANCELLED
 */
export async function measureReferences(
  array: MeteredArray, references: readonly Reference[], averages: number, user: string | undefined,
): Promise<MeasuredReference[]> {
  const truths: KnownReference[] = [];
  for (const reference of references) truths.push(await known(reference, user, array.signal));
  const measured: MeasuredReference[] = [];
  for (const truth of truths) measured.push(await readOf(array, truth, averages));
  return measured;
}
