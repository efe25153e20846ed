import type { InferenceRow } from '../../server/inference/result.js';
import { SeededPrng } from '../rig/seeded-prng.js';
import { Chance } from './chance.js';
import { describePlan, drawFaultPlan, type FaultPlan, noFaultPlan } from './fault-plan.js';
import { wholeArray } from './observed-device.js';
import { asSubmitted, Operator } from './operator.js';
import { inferenceVariants, variantOf } from './recordings.js';
import type { SabotagePlan } from './sabotage.js';
import { type ProfileChoice, profileChoices } from './silicon.js';
import { Simulation, type SimulationOptions } from './simulation.js';
import { Halt, type RunFailure } from './verdict.js';
import type { Work } from './work.js';

export interface RunReport {
  readonly seed: number;
  readonly digest: string;
  readonly failure: RunFailure | undefined;
  readonly virtualMicroseconds: number;
  readonly events: number;
  /** What existed and what came of it, for people. */
  readonly plan: string;
  readonly jobs: string;
  /** The last events, where the run failed. */
  readonly lastEvents: readonly string[];
  /** Whether the operation that should fail was reached. */
  readonly hasStruck: boolean;
}

const shortestMicroseconds = 8_000_000;
const longestMicroseconds = 25_000_000;
/** Once all faults have ended, all work must be done and the device ready within this time. */
const livenessMicroseconds = 300_000_000;
const settlingMicroseconds = 10_000_000;

const references = new Map<ProfileChoice, Map<number, readonly string[]>>();

/** What the inferences of a bench without faults give, as JSON; made once a process. */
async function referenceRows(profile: ProfileChoice): Promise<Map<number, readonly string[]>> {
  const known = references.get(profile);
  if (known !== undefined) return known;
  const simulation = new Simulation({
    seed: 1, profile, plan: noFaultPlan, isSocket: true, pace: 'none', latencyMicroseconds: 100, byteMicroseconds: 0, isCanary: false,
  });
  const rows = new Map<number, readonly string[]>();
  try {
    const host = simulation.startHost();
    const ids = Array.from({ length: inferenceVariants }, (_, variant) =>
      simulation.submit(asSubmitted({ kind: 'inference', parameters: { variant, execution: 'device' } })) ?? '');
    await simulation.until(() => simulation.watch.unfinished.length === 0, livenessMicroseconds);
    ids.forEach((id, variant) => {
      if (host.store.get(id).state !== 'SUCCEEDED') throw new Error(`a bench without faults does not run inferences: ${JSON.stringify(host.store.get(id))}`);
      rows.set(variant, [...host.store.results(id)].map((row) => JSON.stringify(row)));
    });
    await finish(simulation);
  } finally {
    simulation.abandon();
  }
  references.set(profile, rows);
  return rows;
}

/** Closes everything and looks for what is left. */
async function finish(simulation: Simulation): Promise<void> {
  const { host, clock, verdict, controller } = simulation;
  if (host === undefined) return;
  let isClosed = false;
  void host.close().then(() => {
    isClosed = true;
  });
  await simulation.until(() => isClosed, settlingMicroseconds);
  controller.close();
  if (!isClosed) verdict.fail('liveness', 'the service did not close');
  await clock.advance(settlingMicroseconds);
  const { pending } = host.observer;
  if (pending.size > 0) verdict.fail('liveness', `never answered: ${[...pending.values()].join(', ')}`);
  if (clock.pendingTimers > 0) verdict.fail('liveness', `${clock.pendingTimers} timers are left`);
  simulation.host = undefined;
}

function checkRows(simulation: Simulation, reference: ReadonlyMap<number, readonly string[]>): void {
  const { host, verdict } = simulation;
  for (const job of host?.store.list({ limit: -1 }) ?? []) {
    if (job.kind !== 'inference') continue;
    const expected = reference.get(variantOf(job.parameters)) ?? [];
    const rows = [...(host?.store.results(job.id) ?? [])] as InferenceRow[];
    verdict.expect(rows.every((row, index) => JSON.stringify(row) === expected[index]), () => `${job.id} has rows that a run without faults does not give`);
    verdict.expect(job.state !== 'SUCCEEDED' || rows.length === expected.length, () => `${job.id} succeeded with ${rows.length} of ${expected.length} rows`);
  }
}

/** What must succeed on a bench without faults: the cells are read, then everything works. */
const lastEffects: readonly Work[] = [
  { kind: 'read', parameters: { region: wholeArray, averages: 1 } },
  { kind: 'count', parameters: { additions: 3, together: true, isCautious: false } },
  { kind: 'pulse', parameters: { pulses: 2, cells: 2, isCautious: false, isWild: true } },
];
const lastInference = asSubmitted({ kind: 'inference', parameters: { variant: 1, execution: 'device' } });

async function allEnd(simulation: Simulation, when: string): Promise<void> {
  const { watch, verdict } = simulation;
  if (await simulation.until(() => watch.unfinished.length === 0, livenessMicroseconds)) return;
  verdict.fail('liveness', `${livenessMicroseconds / 1e6} s after ${when} these have not ended: ${watch.unfinished.join(', ')}`);
  throw new Halt();
}

/** After the faults: all that was accepted ends, and what is asked for then is done. */
async function recover(simulation: Simulation, lastWork: readonly Work[]): Promise<void> {
  const { verdict, controller } = simulation;
  simulation.heal();
  if (simulation.host === undefined) simulation.startHost();
  await simulation.until(() => !controller.isOff, settlingMicroseconds);
  // The first job may still meet what the last fault has left behind, and an ESTOP that was not answered arrives with the next session.
  do {
    if (controller.isStopped) controller.restart();
    simulation.submit({ kind: 'carry', parameters: { bytes: 1, seed: 1 } });
    await allEnd(simulation, 'the last fault');
  } while (controller.isStopped);
  const ids = lastWork.map((work) => simulation.submit(work));
  await allEnd(simulation, 'the last jobs were submitted');
  for (const id of ids) {
    const job = id === undefined ? undefined : simulation.host?.store.get(id);
    if (job?.state === 'SUCCEEDED') continue;
    verdict.fail('liveness', `${job?.kind} on a bench without faults: ${job?.state ?? 'refused'} ${JSON.stringify(job?.failure)}`);
  }
  const state = simulation.host?.device.state;
  if (state !== 'ready') verdict.fail('liveness', `the device is ${state} after the faults have ended`);
}

async function safetyPhase(simulation: Simulation, chance: Chance): Promise<void> {
  const operator = new Operator(simulation, chance);
  const microseconds = chance.between(shortestMicroseconds, longestMicroseconds);
  operator.begin(chance.between(4, 16), microseconds);
  simulation.startHost();
  await simulation.until(() => false, microseconds);
  operator.end();
}

/** The canary must meet a request that comes again: its answer is lost, and the board does not restart meanwhile. */
function canaryPlan(plan: FaultPlan): FaultPlan {
  const writes = { ...noFaultPlan.writes, 'answer-loss': 0.5 };
  return { ...plan, writes, perMinute: noFaultPlan.perMinute, powerCutInPulse: 0 };
}

function optionsOf(seed: number, chance: Chance, isCanary: boolean): SimulationOptions {
  const profile = chance.pick(profileChoices);
  const plan = drawFaultPlan(chance);
  return {
    seed, profile, isCanary, plan: isCanary ? canaryPlan(plan) : plan, isSocket: chance.happens(0.5), pace: chance.pick(['none', 'real']),
    latencyMicroseconds: chance.pick([50, 500, 5000]), byteMicroseconds: chance.pick([0, 3.3]),
  };
}

/** Moves a simulation through a script and says what came of it. */
async function judged(simulation: Simulation, script: () => Promise<void>): Promise<RunReport> {
  const { verdict, trace, clock, watch, options } = simulation;
  const crash = (error: unknown) => verdict.fail('crash', error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.on('unhandledRejection', crash);
  try {
    await script();
  } catch (error) {
    if (!(error instanceof Halt)) crash(error);
  }
  process.off('unhandledRejection', crash);
  const { failure } = verdict;
  const report = {
    seed: options.seed, failure, virtualMicroseconds: clock.nowMicroseconds(), events: trace.length, plan: describePlan(options.plan),
    jobs: watch.counts, lastEvents: failure === undefined ? [] : trace.lines(), hasStruck: simulation.sabotage.hasStruck, digest: trace.digest(),
  };
  simulation.abandon();
  return report;
}

/** One run: a time with the faults that its seed has chosen, then a time without. */
export async function simulate(seed: number, isCanary = false): Promise<RunReport> {
  const chance = new Chance(new SeededPrng(seed)).branch();
  const simulation = new Simulation(optionsOf(seed, chance, isCanary));
  const reference = await referenceRows(simulation.options.profile);
  return judged(simulation, async () => {
    await safetyPhase(simulation, chance);
    await recover(simulation, [...lastEffects, lastInference]);
    checkRows(simulation, reference);
    await finish(simulation);
  });
}

/** One run of a fixed script in which one operation fails, or that one and all later ones until somebody mends it. */
export async function sabotaged(sabotage: SabotagePlan): Promise<RunReport> {
  const simulation = new Simulation({
    seed: 1, profile: 'ideal', plan: noFaultPlan, isSocket: true, pace: 'none', latencyMicroseconds: 100, byteMicroseconds: 0, isCanary: false, sabotage,
  });
  return judged(simulation, async () => {
    tryStart(simulation);
    for (const work of sweepScript) simulation.submit(work);
    await simulation.until(() => simulation.watch.unfinished.length === 0, longestMicroseconds);
    await recover(simulation, lastEffects);
    await finish(simulation);
  });
}

/** A service whose disk fails while it starts says so and ends; somebody starts it again when the disk is mended. */
function tryStart(simulation: Simulation): void {
  try {
    simulation.startHost();
  } catch (error) {
    if (!simulation.sabotage.hasStruck) throw error;
    simulation.trace.tell('host', `cannot start: ${String(error)}`);
  }
}

const sweepScript = [
  { kind: 'count', parameters: { additions: 2, together: false, isCautious: true } },
  { kind: 'pulse', parameters: { pulses: 2, cells: 1, isCautious: true, isWild: false } },
  { kind: 'snapshot', parameters: { isCautious: true } },
  { kind: 'carry', parameters: { bytes: 600, seed: 1 } },
  { kind: 'count', parameters: { additions: 1, together: false, isCautious: false } },
];
