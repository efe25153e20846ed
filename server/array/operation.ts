import type { TSchema } from 'typebox';
import type { MeteredArray } from './metered-array.js';
import type { Plan } from './plan.js';

/** What a running operation may use beside its array. */
export interface OperationJob {
  readonly id: string;
  /** Keeps bytes under a name that the result will show. */
  keep(name: string, bytes: Uint8Array): void;
  row(row: unknown): void;
  /** For work that no cell tells of. */
  progress(done: number, total: number, detail: unknown): void;
  checkpoint(name: string, data: unknown): void;
  /** A checkpoint of an earlier job that asked for the same of the same device and did not end, whatever stopped it. */
  earlierCheckpoint(name: string): unknown;
}

/** One kind of work on an array. */
export interface Operation<Parameters> {
  readonly name: string;
  /** What users may write; `parametersOf` has read it then. */
  readonly schema: TSchema;
  /**
   * Completes what a user wrote.
   * @throws MacroError BAD_REQUEST, naming the field
   */
  parametersOf(given: unknown): Parameters;
  /** What it would do. Reads the array and changes nothing. */
  plan(array: MeteredArray, parameters: Parameters): Promise<Plan>;
  /** Does it. @returns the summary */
  run(array: MeteredArray, parameters: Parameters, job: OperationJob): Promise<object>;
}
