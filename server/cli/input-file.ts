import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { MacroError } from '../../proto/error.js';
import type { RecordingFile } from '../dataset/nmnist.js';
import { checkRecordingSize } from '../dataset/recording.js';
import type { SentRecording } from '../dataset/recording-pack.js';
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

/** @throws MacroError INPUT_NOT_FOUND, RECORDING_TOO_LARGE */
export function readRecording({ path, input, label }: RecordingFile): SentRecording {
  try {
    checkRecordingSize(statSync(path).size, input);
    return { input, label, bytes: new Uint8Array(readFileSync(path)) };
  } catch (error) {
    throw error instanceof MacroError ? error : new MacroError('INPUT_NOT_FOUND', `${path} cannot be read`, { field: input, cause: error });
  }
}

function orRefuse(path: string, write: () => void, option = 'out'): void {
  try {
    write();
  } catch (error) {
    throw new MacroError('BAD_ARGUMENT', `--${option} ${path} cannot be written: ${(error as Error).message}`, { field: option, cause: error });
  }
}

/** Called before work that could not be repeated. @throws MacroError BAD_ARGUMENT where nothing can be written there */
export const checkOutput = (path: string, option = 'out'): void =>
  orRefuse(path, () => accessSync(existsSync(path) ? path : dirname(path), constants.W_OK), option);

/**
 * Called before work that could not be repeated: makes a folder for a bundle.
 * @param mark a file that shows the folder to be of the same work as well
 * @throws MacroError BAD_ARGUMENT where nothing can be written there, or something else than a bundle is there
 */
export function checkOutputFolder(path: string, mark = 'network.json'): void {
  orRefuse(path, () => {
    mkdirSync(path, { recursive: true });
    accessSync(path, constants.W_OK);
    const names = readdirSync(path);
    if (names.length > 0 && !names.includes('network.json') && !names.includes(mark)) throw new Error('the folder holds something else than a bundle');
  });
}

/** @throws MacroError BAD_ARGUMENT where nothing can be written there */
export const writeOutput = (path: string, bytes: Uint8Array | string, option = 'out'): void => orRefuse(path, () => writeFileSync(path, bytes), option);

/** A number of the command line. @throws MacroError BAD_ARGUMENT naming the option and its range */
export function numberOption(name: string, text: string, minimum: number, maximum: number, isInteger = false): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value >= minimum && value <= maximum && (!isInteger || Number.isInteger(value))) return value;
  throw new MacroError('BAD_ARGUMENT', `--${name} is "${text}"; it is ${isInteger ? 'an integer' : 'a number'} from ${minimum} to ${maximum}`, { field: name });
}
