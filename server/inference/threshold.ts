import type { EarlyStopPolicy } from '../early-stop/policy.js';
import type { StoredThreshold } from '../store/thresholds.js';

/** The rule and confidence that a run stops at, and what is to be said of it. */
export interface ThresholdChoice extends Pick<EarlyStopPolicy, 'rule'> {
  /** null: no early stop. */
  readonly threshold: EarlyStopPolicy['threshold'] | null;
  readonly warnings: readonly string[];
}

/**
 * The threshold of a run that names none: the one that was stored for its chip and bundle, if the array is still as it was then. A threshold that fits
 * another array stops too early or too late (PRIME.md §7), so that the bundle's own is used instead, and the run says so.
 * @param stored for the chip and bundle, the newest first
 * @param arrayState of the device, with the mask applied
 */
export function chooseThreshold({ rule, threshold }: EarlyStopPolicy, stored: readonly StoredThreshold[], arrayState: string): ThresholdChoice {
  const fitting = stored.find((candidate) => candidate.arrayState === arrayState);
  if (fitting !== undefined) return { rule: fitting.rule, threshold: fitting.threshold, warnings: [] };
  if (stored.length === 0) return { rule, threshold, warnings: [] };
  const [{ threshold: late, storedAt }] = stored;
  const why = `threshold ${late} of ${storedAt} was stored for another array state`;
  return { rule, threshold, warnings: [`${why}; the bundle's ${threshold} is used`] };
}
