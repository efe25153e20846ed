import { type StopRule, stopRules } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { type Split, splits } from '../dataset/frames.js';
import { checkThreshold, choosePolicy, type Threshold } from '../early-stop/policy.js';
import type { Network } from '../network/network.js';

/** Who steps the neurons. `auto`: the device where it can, otherwise the host. */
export const executions = ['auto', 'device', 'host'] as const;
export type Execution = (typeof executions)[number];

/**
 * What a user may choose for a run. `threshold`: confidence to stop at, or one for each timestep; null: no early stop; absent: as it was stored for chip and
 * bundle, otherwise the bundle's. `rule`: absent: the bundle's.
 */
export interface InferenceOptions {
  readonly split: Split;
  readonly threshold?: Threshold | null;
  readonly rule?: StopRule;
  readonly execution: Execution;
  /** Each row also tells the outputs after each timestep. */
  readonly timesteps?: boolean;
  /** Part of the recordings, drawn at random, that is run to the last timestep wherever it stops. */
  readonly audit?: number;
}

/** What users may write, as text or already read by a schema. */
export interface GivenOptions {
  readonly split?: string | undefined;
  /** A number, or several with commas between them. */
  readonly threshold?: string | number | undefined;
  readonly rule?: string | undefined;
  readonly earlyStop?: boolean | undefined;
  readonly execution?: string | undefined;
  readonly timesteps?: boolean | undefined;
  readonly audit?: string | number | undefined;
}

function oneOf<Choice extends string>(field: string, choices: readonly Choice[], given: string | undefined): Choice {
  const choice = choices.find((name) => name === (given ?? choices[0]));
  if (choice === undefined) throw new MacroError('BAD_REQUEST', `${field} is "${given}", the choices are ${choices.join(', ')}`, { field });
  return choice;
}

function thresholdOf(given: string | number): Threshold {
  const numbers = String(given).split(',').map((text) => (text.trim() === '' ? Number.NaN : Number(text)));
  if (numbers.some(Number.isNaN)) {
    throw new MacroError('BAD_THRESHOLD', `threshold is ${given}; it is a number, or one a timestep: 0.5,0.4`, { field: 'threshold' });
  }
  return numbers.length === 1 ? numbers[0] : numbers;
}

function auditOf(given: string | number, hasEarlyStop: boolean): number {
  const fraction = typeof given === 'string' && given.trim() === '' ? Number.NaN : Number(given);
  if (!(fraction > 0 && fraction <= 1)) throw new MacroError('BAD_REQUEST', `audit is ${given}, a part above 0 to 1`, { field: 'audit' });
  if (!hasEarlyStop) throw new MacroError('BAD_REQUEST', 'an audit without an early stop has nothing to compare', { field: 'audit' });
  return fraction;
}

/**
 * Checks a user's choices for a run of a network.
 *
 * @throws MacroError BAD_THRESHOLD, BAD_REQUEST, naming the field and its range
 */
export function inferenceOptions(given: GivenOptions, { earlyStop: ofBundle, timestepCount }: Pick<Network, 'earlyStop' | 'timestepCount'>): InferenceOptions {
  const { earlyStop = true } = given;
  if (!earlyStop && (given.threshold !== undefined || given.rule !== undefined)) {
    throw new MacroError('BAD_REQUEST', 'a threshold or rule and no early stop exclude one another', { field: 'threshold' });
  }
  const rule = given.rule === undefined ? undefined : oneOf('rule', stopRules, given.rule);
  const chosen = { ...(rule && { rule }), ...(given.threshold !== undefined && { threshold: thresholdOf(given.threshold) }) };
  const policy = choosePolicy(ofBundle, chosen);
  checkThreshold(policy.rule, policy.threshold, timestepCount);
  const audit = given.audit === undefined ? undefined : auditOf(given.audit, earlyStop);
  return {
    split: oneOf('split', splits, given.split), execution: oneOf('execution', executions, given.execution), ...(earlyStop ? chosen : { threshold: null }),
    ...(given.timesteps && { timesteps: true }), ...(audit !== undefined && { audit }),
  };
}
