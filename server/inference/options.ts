import { MacroError } from '../../proto/error.js';
import { type Split, splits } from '../dataset/frames.js';

/** Who steps the neurons. `auto`: the device where it can, otherwise the host. */
export const executions = ['auto', 'device', 'host'] as const;
export type Execution = (typeof executions)[number];

/** What a user may choose for a run. `threshold`: confidence in (0, 1); null: no early stop; absent: as the bundle says. */
export interface InferenceOptions {
  readonly split: Split;
  readonly threshold?: number | null;
  readonly execution: Execution;
}

/** What users may write, as text or already read by a schema. */
export interface GivenOptions {
  readonly split?: string | undefined;
  readonly threshold?: string | number | undefined;
  readonly earlyStop?: boolean | undefined;
  readonly execution?: string | undefined;
}

function oneOf<Choice extends string>(field: string, choices: readonly Choice[], given: string | undefined): Choice {
  const choice = choices.find((name) => name === (given ?? choices[0]));
  if (choice === undefined) throw new MacroError('BAD_REQUEST', `${field} is "${given}", the choices are ${choices.join(', ')}`, { field });
  return choice;
}

function thresholdOf(given: string | number): number {
  const threshold = typeof given === 'number' ? given : given.trim() === '' ? Number.NaN : Number(given);
  if (!(threshold > 0 && threshold < 1)) {
    throw new MacroError('BAD_THRESHOLD', `threshold is ${given}, it lies above 0 and below 1`, { field: 'threshold' });
  }
  return threshold;
}

/**
 * Checks a user's choices for a run.
 *
 * @throws MacroError BAD_THRESHOLD, BAD_REQUEST, naming the field and its range
 */
export function inferenceOptions(given: GivenOptions): InferenceOptions {
  const { threshold, earlyStop = true } = given;
  if (!earlyStop && threshold !== undefined) {
    throw new MacroError('BAD_REQUEST', 'threshold and no early stop exclude one another', { field: 'threshold' });
  }
  const chosen = threshold === undefined ? undefined : thresholdOf(threshold);
  return {
    split: oneOf('split', splits, given.split),
    execution: oneOf('execution', executions, given.execution),
    ...(!earlyStop ? { threshold: null } : chosen !== undefined && { threshold: chosen }),
  };
}
