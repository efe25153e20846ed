import type { Chance } from './chance.js';

/** What can happen to one write on the line, as the probability for a write. */
export const writeFaults = ['drop', 'duplicate', 'reorder', 'delay', 'split', 'join', 'flip', 'garbage', 'answer-loss'] as const;
export type WriteFault = (typeof writeFaults)[number];

/** What happens now and then, as how often a minute. */
export const happenings = [
  'port-close', 'half-open', 'slow', 'restart', 'power-cut', 'hang', 'refuse', 'host-crash', 'emergency-stop',
] as const;
export type Happening = (typeof happenings)[number];

/** Which faults exist in a run, and how much of each. What is 0 does not exist. */
export interface FaultPlan {
  readonly writes: Readonly<Record<WriteFault, number>>;
  readonly perMinute: Readonly<Record<Happening, number>>;
  /** Probability that the power fails in the middle of a pulse, and that what the pulse did was saved by then. */
  readonly powerCutInPulse: number;
  readonly savedBeforePowerCut: number;
}

const most: Readonly<Record<WriteFault | Happening, number>> = {
  drop: 0.15, duplicate: 0.15, reorder: 0.15, delay: 0.1, split: 0.5, join: 0.3, flip: 0.15, garbage: 0.15, 'answer-loss': 0.5,
  'port-close': 30, 'half-open': 10, slow: 20, restart: 12, 'power-cut': 12, hang: 20, refuse: 10, 'host-crash': 12, 'emergency-stop': 6,
};

const existence = 0.35;

function table<Name extends WriteFault | Happening>(names: readonly Name[], rate: (name: Name) => number): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, rate(name)])) as Record<Name, number>;
}

export const noFaultPlan: FaultPlan = {
  writes: table(writeFaults, () => 0), perMinute: table(happenings, () => 0), powerCutInPulse: 0, savedBeforePowerCut: 0.5,
};

/** The seed decides which faults a run has: with all of them at once nothing would get far. */
export function drawFaultPlan(chance: Chance): FaultPlan {
  const rate = (name: WriteFault | Happening) => (chance.happens(existence) ? most[name] / 2 ** chance.below(5) : 0);
  return {
    writes: table(writeFaults, rate),
    perMinute: table(happenings, rate),
    powerCutInPulse: chance.happens(existence) ? 0.3 : 0,
    savedBeforePowerCut: 0.5,
  };
}

/** For people: the faults that exist. */
export function describePlan({ writes, perMinute, powerCutInPulse }: FaultPlan): string {
  const named = [...Object.entries(writes), ...Object.entries(perMinute), ['power-cut-in-pulse', powerCutInPulse] as const];
  const present = named.filter(([, rate]) => rate > 0);
  return present.length === 0 ? 'no faults' : present.map(([name, rate]) => `${name} ${Number(rate.toPrecision(2))}`).join(', ');
}
