import { MacroError } from '../../proto/error.js';

/** Refuses a file of a dataset that is not a recording. @param problem what is wrong, with the offset or field */
export function refuseDataset(file: string, problem: string, cause?: unknown): never {
  throw new MacroError('BAD_DATASET', `${file}${problem.startsWith(',') ? '' : ' '}${problem}`, { field: file, cause });
}

/** @throws MacroError INPUT_NOT_FOUND */
export function refuseMissing(path: string, cause?: unknown): never {
  throw new MacroError('INPUT_NOT_FOUND', `${path} cannot be read`, { field: 'input', cause });
}
