// A mask is applied, and the service or the device is killed at a seeded point of it. Whatever the point: the job ends with the truth, the ledger is what the
// board has counted, and no cell gets a pulse that it did not need.
import t, { type Test } from 'tap';
import { usualMaskChoice } from '../server/array/mask-application.js';
import { countsOf } from './rig/array.js';
import { KillBench, type Victim, victims } from './rig/kill-bench.js';
import { maskedProfile, maskOn } from './rig/mask.js';
import { SeededPrng } from './rig/seeded-prng.js';

const points = Number(process.env['PRIME_KILLS'] ?? 20);
const mostTurns = 500_000;

function benchWithMask(test: Test, seed: number) {
  const bench = new KillBench(test, maskedProfile(), seed);
  const { bundle, conducting } = maskOn(bench.chip);
  bench.bundles.set(bundle.digest, bundle);
  return { bench, conducting, parameters: { ...usualMaskChoice, model: bundle.digest } };
}

/** Kills at a turn of the first application, then applies the mask again. @returns what is wrong, and whether the mask was half applied */
async function killedAt(test: Test, seed: number, turn: number, victim: Victim): Promise<{ problems: string[]; wasPulsing: boolean }> {
  const { bench, conducting, parameters } = benchWithMask(test, seed);
  const first = bench.life.submit('apply-mask', parameters).id;
  await bench.turns(turn, first);
  const wasPulsing = bench.chip.pulses > 0 && bench.chip.pulses < conducting.size;
  bench.kill(victim);
  if (victim !== 'service') await bench.turns(mostTurns, first);
  const { state } = bench.life.store.get(first);
  const second = bench.life.submit('apply-mask', parameters).id;
  await bench.turns(mostTurns, second);
  const end = bench.life.store.get(second);
  const { reset } = countsOf(bench.chip);
  const ledger = bench.life.ledger.counts(bench.chip.chipId).reset;
  const doubled = [...reset.keys()].filter((cell) => reset[cell] > (conducting.has(cell) ? 1 : 0));
  const missed = [...conducting].filter((cell) => reset[cell] === 0);
  const apart = [...reset.keys()].filter((cell) => reset[cell] !== ledger[cell]);
  bench.life.die();
  const problems = [
    ...(['INTERRUPTED', 'SUCCEEDED', 'FAILED'].includes(state) ? [] : [`the first job is ${state}`]),
    ...(end.state === 'SUCCEEDED' ? [] : [`the second job is ${end.state}: ${JSON.stringify(end.failure)}`]),
    ...(doubled.length === 0 ? [] : [`${doubled.length} cells were pulsed that were low, or twice`]),
    ...(missed.length === 0 ? [] : [`${missed.length} cells were not pulsed`]),
    ...(apart.length === 0 ? [] : [`the ledger is apart from the board at ${apart.length} cells`]),
  ];
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
