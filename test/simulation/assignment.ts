import type { SabotagePlan } from './sabotage.js';
import { type RunReport, sabotaged, simulate } from './script.js';

/** One run that is to be done: of a seed, or of the fixed script with an operation that fails. */
export type Assignment =
  | { readonly seed: number; readonly isCanary: boolean; readonly sabotage?: undefined }
  | { readonly sabotage: SabotagePlan };

export function carryOut(assignment: Assignment): Promise<RunReport> {
  return assignment.sabotage === undefined ? simulate(assignment.seed, assignment.isCanary) : sabotaged(assignment.sabotage);
}
