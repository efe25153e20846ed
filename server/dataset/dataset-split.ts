import { createHash } from 'node:crypto';
import { MacroError } from '../../proto/error.js';
import type { Manifest } from './manifest.js';

/** How recordings are shared out over sets, by their place in the manifest. */
export interface DatasetSplit {
  readonly train: Uint32Array;
  readonly validation: Uint32Array;
  readonly test: Uint32Array;
}

export interface SplitRule {
  /** 0 to 2^32 − 1. */
  readonly seed: number;
  /** Of each label, 0 to below 1. */
  readonly validationFraction: number;
  readonly testFraction?: number;
}

const rankOf = (seed: number, sha256: string) => createHash('sha256').update(`${seed} ${sha256}`).digest('hex');

function checkRule({ seed, validationFraction, testFraction = 0 }: SplitRule): void {
  const refuse = (field: string, problem: string) => {
    throw new MacroError('BAD_REQUEST', `${field} is ${problem}`, { field });
  };
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) refuse('seed', `${seed}, the range is 0 to ${0xffffffff}`);
  for (const [field, fraction] of Object.entries({ validationFraction, testFraction })) {
    if (!(fraction >= 0 && fraction < 1)) refuse(field, `${fraction}, the range is 0 to below 1`);
  }
  if (validationFraction + testFraction >= 1) refuse('validationFraction', `${validationFraction}, with ${testFraction} for test none is left to train on`);
}

/**
 * Shares recordings out, label by label: of the n of a label, round(n · fraction) each. Which ones is decided by SHA-256 of seed and content, so that
 * neither the order nor the names of files matter, and a recording that is added moves few others.
 *
 * @throws MacroError BAD_REQUEST naming the field and its range
 */
export function splitManifest({ recordings }: Manifest, rule: SplitRule): DatasetSplit {
  checkRule(rule);
  const byLabel = new Map<number | null, number[]>();
  for (const [place, { label }] of recordings.entries()) {
    const places = byLabel.get(label);
    if (places === undefined) byLabel.set(label, [place]);
    else places.push(place);
  }
  const sets: Record<keyof DatasetSplit, number[]> = { train: [], validation: [], test: [] };
  for (const places of byLabel.values()) {
    const ranks = new Map(places.map((place) => [place, rankOf(rule.seed, recordings[place].sha256)]));
    const rank = (place: number) => ranks.get(place) ?? '';
    const order = places.toSorted((left, right) => (rank(left) < rank(right) ? -1 : rank(left) > rank(right) ? 1 : left - right));
    const validation = Math.round(places.length * rule.validationFraction);
    const test = Math.round(places.length * (rule.testFraction ?? 0));
    sets.validation.push(...order.slice(0, validation));
    sets.test.push(...order.slice(validation, validation + test));
    sets.train.push(...order.slice(validation + test));
  }
  const inOrder = (places: readonly number[]) => Uint32Array.from(places).sort();
  return { train: inOrder(sets.train), validation: inOrder(sets.validation), test: inOrder(sets.test) };
}
