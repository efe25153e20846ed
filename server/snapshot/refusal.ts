import { MacroError } from '../../proto/error.js';

/** @throws MacroError BAD_SNAPSHOT, naming the file, and the field where one is to blame */
export function refuseSnapshot(file: string, problem: string, details: { field?: string; cause?: unknown } = {}): never {
  throw new MacroError('BAD_SNAPSHOT', `${file}${problem.startsWith(':') ? '' : ' '}${problem}`, { field: details.field ?? file, cause: details.cause });
}

/** Runs a reader that is shared with bundles; what it refuses is then refused as a snapshot. */
export function asSnapshot<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MacroError) || error.code !== 'BAD_BUNDLE') throw error;
    throw new MacroError('BAD_SNAPSHOT', error.detail, { ...(error.field !== undefined && { field: error.field }), cause: error.cause });
  }
}

/** What somebody else's code has thrown. */
export const problemOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
