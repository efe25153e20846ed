// A job runs, and the service or the device is killed at a seeded point of it. Whatever the point: the job is done, or INTERRUPTED with the truth, the ledger
// is what the board has counted, and the same job, submitted again, gives no cell a pulse that it did not need.
import t, { type Test } from 'tap';
import type { Job } from '../server/job/state.js';
import { Chip } from '../sim/chip.js';
import { countsOf } from './rig/array.js';
import { KillBench, type Victim, victims } from './rig/kill-bench.js';
import { maskedProfile, maskOn } from './rig/mask.js';
import { SeededPrng } from './rig/seeded-prng.js';

const points = Number(process.env['PRIME_KILLS'] ?? 20);
const mostTurns = 500_000;

/** What is wrong with how a job ended whose service or device was killed. */
function endProblems({ state, failure }: Job, victim: Victim, pulses: number): string[] {
  if (state === 'SUCCEEDED') return [];
  if (state !== 'INTERRUPTED') return [`the first job is ${state}: ${JSON.stringify(failure)}`];
  if (failure === null) return victim === 'service' ? [] : [`the first job does not say how it lost its ${victim}`];
  const isTrue = failure.outcome === 'unknown' || (failure.outcome === 'applied') === pulses > 0;
  return isTrue ? [] : [`the first job says ${failure.outcome}, and ${pulses} pulses were given`];
}

/** Where the ledger is not what the board has counted, or does not say whose doing it was. */
function ledgerProblems({ chip, life: { ledger } }: KillBench): string[] {
  const [counts, booked] = [countsOf(chip), ledger.counts(chip.chipId)];
  const apart = (['forming', 'set', 'reset'] as const).filter((kind) => counts[kind].some((count, cell) => count !== booked[kind][cell]));
  const isNobodys = ledger.shares(chip.chipId).some(({ owner, pulses }) => owner === null && pulses.forming + pulses.set + pulses.reset > 0);
  return [...apart.map((kind) => `the ledger is apart from the board in ${kind} pulses`), ...(isNobodys ? ['pulses of a job are booked as nobody\'s'] : [])];
}

function benchWithMask(test: Test, seed: number) {
  const bench = new KillBench(test, maskedProfile(), seed);
  const { bundle, conducting } = maskOn(bench.chip);
  bench.bundles.set(bundle.digest, bundle);
  return { bench, conducting, parameters: { model: bundle.digest } };
}

/** Kills at a turn of the first application, then applies the mask again. @returns what is wrong, and whether the mask was half applied */
async function killedAt(test: Test, seed: number, turn: number, victim: Victim): Promise<{ problems: string[]; wasPulsing: boolean }> {
  const { bench, conducting, parameters } = benchWithMask(test, seed);
  const first = bench.life.submit('apply-mask', parameters).id;
  await bench.turns(turn, first);
  const wasPulsing = bench.chip.pulses > 0 && bench.chip.pulses < conducting.size;
  bench.kill(victim);
  if (victim !== 'service') await bench.turns(mostTurns, first);
  const ended = endProblems(bench.life.store.get(first), victim, bench.chip.pulses);
  const second = bench.life.submit('apply-mask', parameters).id;
  await bench.turns(mostTurns, second);
  const end = bench.life.store.get(second);
  const { reset } = countsOf(bench.chip);
  const doubled = [...reset.keys()].filter((cell) => reset[cell] > (conducting.has(cell) ? 1 : 0));
  const missed = [...conducting].filter((cell) => reset[cell] === 0);
  const problems = [
    ...ended,
    ...(end.state === 'SUCCEEDED' ? [] : [`the second job is ${end.state}: ${JSON.stringify(end.failure)}`]),
    ...(doubled.length === 0 ? [] : [`${doubled.length} cells were pulsed that were low, or twice`]),
    ...(missed.length === 0 ? [] : [`${missed.length} cells were not pulsed`]),
    ...ledgerProblems(bench),
  ];
  bench.life.die();
  return { problems, wasPulsing };
}

t.test('killed at any point of apply-mask, nothing is lost, doubled or miscounted', async (t) => {
  const whole = benchWithMask(t, 1);
  const id = whole.bench.life.submit('apply-mask', whole.parameters).id;
  const turns = await whole.bench.turns(mostTurns, id);
  t.equal(whole.bench.life.store.get(id).state, 'SUCCEEDED');
  t.equal(whole.bench.chip.pulses, whole.conducting.size);
  whole.bench.life.die();
  const prng = new SeededPrng(4);
  let halves = 0;
  for (let point = 0; point < points; point += 1) {
    const [turn, victim] = [prng.nextUint32() % turns, victims[point % victims.length]];
    const { problems, wasPulsing } = await killedAt(t, point + 2, turn, victim);
    halves += wasPulsing ? 1 : 0;
    t.strictSame(problems, [], `seed ${point}: the ${victim} was killed at turn ${turn} of ${turns}`);
  }
  t.ok(halves >= points / 5, `${halves} of ${points} points lie between the first and the last pulse`);
});

const region = { firstBitLine: 100, bitLines: 4, firstSourceLine: 40, sourceLines: 8 };
const formedChip = Chip.formed(maskedProfile(), 1);
const formedCell = formedChip.codes.findIndex((_, cell) => formedChip.microsiemens(cell) > 10);
const works = [
  { kind: 'form', state: 'pristine', given: { region } },
  { kind: 'program', state: 'formed', given: { region, microsiemens: 14 } },
  { kind: 'iv-sweep', state: 'formed', given: { bitLine: Math.floor(formedCell / 512), sourceLine: formedCell % 512, stepMillivolts: 400 } },
  { kind: 'read', state: 'formed', given: { region } },
] as const;

t.test('killed at any point of any job, the device interrupts it, and the ledger has its pulses', async (t) => {
  const prng = new SeededPrng(5);
  let interrupted = 0;
  for (const { kind, state, given } of works) {
    const whole = new KillBench(t, maskedProfile(), 1, state);
    const turns = await whole.turns(mostTurns, whole.life.submit(kind, given).id);
    whole.life.die();
    for (const victim of ['simulator', 'board', 'simulator', 'board'] as const) {
      const turn = prng.nextUint32() % turns;
      const bench = new KillBench(t, maskedProfile(), turn, state);
      const first = bench.life.submit(kind, given).id;
      await bench.turns(turn, first);
      bench.kill(victim);
      await bench.turns(mostTurns, first);
      const end = bench.life.store.get(first);
      interrupted += end.state === 'INTERRUPTED' ? 1 : 0;
      const problems = endProblems(end, victim, bench.chip.pulses);
      const second = bench.life.submit(kind, given).id;
      await bench.turns(mostTurns, second);
      t.match(bench.life.store.get(second), { state: 'SUCCEEDED', failure: null });
      t.strictSame([...problems, ...ledgerProblems(bench)], [], `${kind}: the ${victim} was killed at turn ${turn} of ${turns}`);
      bench.life.die();
    }
  }
  t.ok(interrupted >= 2 * works.length, `${interrupted} jobs were interrupted`);
});
