import Type, { type Static } from 'typebox';
import { checkShape, integerFrom, strict, textUpTo } from '../network/network.js';
import { asSnapshot, problemOf, refuseSnapshot } from './refusal.js';

const numberFrom = (minimum: number, maximum: number, unit: string) =>
  Type.Number({ minimum, maximum, description: `a number from ${minimum} to ${maximum} ${unit}` });
const name = Type.Optional(textUpTo(128));
const time = Type.Optional(Type.String({ maxLength: 40, pattern: '^\\d{4}-\\d\\d-\\d\\d', description: 'a date as 2025-07-01 or 2025-07-01T12:00:00Z' }));

/** Chips are named by people and by firmware; the name is part of addresses. */
export const chipIdSchema = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$', description: 'a chip id of 1 to 128 letters, digits and . _ : -' });

export const passportSchema = strict({
  chipId: chipIdSchema,
  lot: name, wafer: name, die: name, package: name, socket: name,
  formedBy: name, formedAt: time, formedHow: Type.Optional(textUpTo(1000)),
  notes: Type.Optional(textUpTo(4000)),
});
/** What people know of a chip. */
export type ChipPassport = Static<typeof passportSchema>;

export const conditionsSchema = strict({
  readVoltageMillivolts: Type.Optional(numberFrom(0, 5000, 'mV')),
  wordLineBiasMillivolts: Type.Optional(numberFrom(0, 10_000, 'mV')),
  settlingNanoseconds: Type.Optional(numberFrom(0, 1e9, 'ns')),
  averages: Type.Optional(integerFrom(1, 65_535)),
  linesDriven: Type.Optional(integerFrom(1, 512)),
  temperatureCelsius: Type.Optional(numberFrom(-273.15, 400, '°C')),
  secondsSinceLastPulse: Type.Optional(numberFrom(0, 1e10, 's')),
  /** When each of the kept reads was made, after the first. */
  readSeconds: Type.Optional(Type.Array(numberFrom(0, 1e10, 's'), { maxItems: 4096, description: 'a list of seconds, one a kept read' })),
});
/** Under what the cells were read. What is not known is left out, never guessed. */
export type ReadConditions = Static<typeof conditionsSchema>;

export const provenanceSchema = strict({
  digest: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'the SHA-256 of the codes, 64 small hexadecimal digits' }),
  deviceAddress: Type.Optional(textUpTo(512)),
  firmwareVersion: name,
  profile: name,
  seed: Type.Optional(integerFrom(0, 0xffffffff)),
  takenAt: time,
  job: name,
  importedFrom: Type.Optional(textUpTo(512)),
});
/** Where the numbers come from. */
export type Provenance = Static<typeof provenanceSchema>;

export const snapshotFormat = 'prime-snapshot/1';

export const headerSchema = strict({
  format: Type.Literal(snapshotFormat, { description: `"${snapshotFormat}"` }),
  chip: passportSchema,
  cellUnitNanosiemens: Type.Number({ exclusiveMinimum: 0, maximum: 1000, description: 'a number above 0 to 1000 nS' }),
  conditions: conditionsSchema,
  provenance: provenanceSchema,
});
/** Everything of a snapshot that is not an array. */
export type SnapshotHeader = Static<typeof headerSchema>;

/** @throws MacroError BAD_SNAPSHOT naming file and field */
export function checkHeader(value: unknown, file: string): SnapshotHeader {
  return asSnapshot(() => checkShape(headerSchema, value, file));
}

/** @throws MacroError BAD_SNAPSHOT */
export function parseHeader(text: string, file: string): SnapshotHeader {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuseSnapshot(file, `is not JSON: ${problemOf(error)}`, { cause: error });
  }
  return checkHeader(value, file);
}
