import { MacroError } from '../../proto/error.js';
import { topCode } from '../network/snapshot.js';
import type { Matrix } from './matrix.js';
import { refuseSnapshot } from './refusal.js';

/** What numbers of a file may be in; codes are steps of the cell unit. */
const nanosiemensOf = { S: 1e9, mS: 1e6, uS: 1e3, nS: 1 } as const;
export const conductanceUnits = [...Object.keys(nanosiemensOf), 'codes'] as const;
export type ConductanceUnit = keyof typeof nanosiemensOf | 'codes';

/** @throws MacroError BAD_ARGUMENT */
export function parseUnit(text: string | undefined): ConductanceUnit | undefined {
  if (text === undefined || conductanceUnits.includes(text)) return text as ConductanceUnit | undefined;
  throw new MacroError('BAD_ARGUMENT', `the unit is "${text}"; it is ${conductanceUnits.join(', ')}`, { field: 'unit' });
}

/**
 * The numbers of a file as cell codes.
 * @throws MacroError BAD_SNAPSHOT naming row and column of a number that is none, below 0 or above what a code can say
 */
export function codesOf(matrix: Matrix, unit: ConductanceUnit | undefined, cellUnitNanosiemens: number, file: string): Uint16Array {
  const { values, columns, isCodes } = matrix;
  const chosen = unit ?? (isCodes ? 'codes' : undefined);
  if (chosen === undefined) return refuseSnapshot(file, `does not say in what its numbers are; state one of ${conductanceUnits.join(', ')}`, { field: 'unit' });
  const scale = chosen === 'codes' ? 1 : nanosiemensOf[chosen] / cellUnitNanosiemens;
  return Uint16Array.from({ length: values.length }, (_, index) => {
    const value = values[index];
    const code = Math.round(value * scale);
    if (code >= 0 && value >= 0 && code <= topCode && (chosen !== 'codes' || Number.isInteger(value))) return code;
    const place = `row ${Math.floor(index / columns)}, column ${index % columns}`;
    const range = `0 to ${chosen === 'codes' ? topCode : Number((topCode / scale).toPrecision(6))} ${chosen}`;
    return refuseSnapshot(file, `holds ${value} at ${place}, the range is ${range}`, { field: place });
  });
}
