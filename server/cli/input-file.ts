import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { MacroError } from '../../proto/error.js';
import { fileBytesMaximum } from '../snapshot/import.js';

/**
 * The bytes of a file that a user has named.
 * @throws MacroError INPUT_NOT_FOUND, REQUEST_TOO_LARGE
 */
export function readInput(path: string): Uint8Array {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status?.isFile()) throw new MacroError('INPUT_NOT_FOUND', `${path} is no file`, { field: path });
  const { size } = status;
  if (size > fileBytesMaximum) throw new MacroError('REQUEST_TOO_LARGE', `${path} has ${size} bytes, the limit is ${fileBytesMaximum}`, { field: path });
  return new Uint8Array(readFileSync(path));
}

/** @throws MacroError BAD_ARGUMENT where nothing can be written there */
export function writeOutput(path: string, bytes: Uint8Array | string): void {
  try {
    writeFileSync(path, bytes);
  } catch (error) {
    throw new MacroError('BAD_ARGUMENT', `--out ${path} cannot be written: ${(error as Error).message}`, { field: 'out', cause: error });
  }
}

/** A number of the command line. @throws MacroError BAD_ARGUMENT naming the option and its range */
export function numberOption(name: string, text: string, minimum: number, maximum: number, isInteger = false): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value >= minimum && value <= maximum && (!isInteger || Number.isInteger(value))) return value;
  throw new MacroError('BAD_ARGUMENT', `--${name} is "${text}"; it is ${isInteger ? 'an integer' : 'a number'} from ${minimum} to ${maximum}`, { field: name });
}
