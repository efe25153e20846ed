import { MacroError } from '../../../proto/error.js';

/** @throws MacroError BAD_MODEL, naming the file, and the tensor, node or field where one is to blame */
export function refuseModel(file: string, problem: string, details: { field?: string; cause?: unknown } = {}): never {
  throw new MacroError('BAD_MODEL', `${file}${/^[:,]/.test(problem) ? '' : ' '}${problem}`, { field: details.field ?? file, cause: details.cause });
}

/** Runs a reader that is shared with bundles or snapshots; what it refuses of a file is then refused as a model. */
export function asModel<Result>(file: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MacroError) || (error.code !== 'BAD_BUNDLE' && error.code !== 'BAD_SNAPSHOT')) throw error;
    const problem = error.detail.startsWith(file) ? error.detail.slice(file.length).trimStart() : error.detail;
    return refuseModel(file, problem === error.detail ? `: ${problem}` : problem, { ...(error.field !== undefined && { field: error.field }), cause: error });
  }
}
