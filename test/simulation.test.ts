// The simulation itself: seeds that pass, the same seed twice, a canary that must be found out, operations that fail one by one.
import t from 'tap';
import { exitCodes, runCommand } from './simulation/command.js';
import { operations } from './simulation/sabotage.js';
import { simulate } from './simulation/script.js';
import { ForgetfulJournal } from './simulation/forgetful-journal.js';

/** Runs the command in this thread. */
async function run(...words: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCommand([...words, '--threads', '1'], (text) => out.push(text), (text) => err.push(text));
  return { code, out: out.join(''), err: err.join('') };
}

t.test('seeds pass, the seed stands first and last, and the last line is the hash of the trace', async (t) => {
  const { code, out } = await run('--seed', '3', '--runs', '2');
  t.equal(code, exitCodes.passed, out);
  const lines = out.trimEnd().split('\n');
  t.equal(lines.length, 5);
  t.strictSame([lines[0], lines[3]], ['seed 3', 'seed 3']);
  t.match(lines[1], /^run 1 seed 3: passed, /);
  t.match(lines[4], /^trace [0-9a-f]{64}$/);
});

t.test('the same seed is the same run, event for event; another seed is another', async (t) => {
  const [once, again, other] = [await simulate(7), await simulate(7), await simulate(17)];
  t.equal(once.failure, undefined);
  t.strictSame(again, once);
  t.not(other.digest, once.digest);
});

t.test('a board that forgets its journal is found out, with the promise that it breaks and what led to it', async (t) => {
  const { code, out } = await run('--seed', '5', '--canary');
  t.equal(code, exitCodes.safety);
  t.match(out, /failed at [\d.]+ s of virtual time \(safety\): .* was applied 2 times/);
  t.match(out, /Replay: npm run simulate -- --seed 5 --canary/);
  t.match(out, /host → board +DATA /);
  const canary = new ForgetfulJournal(1);
  canary.record('id', { requestId: new Uint8Array(16), repeatedFromJournal: false });
  t.equal(canary.find(), undefined);
});

t.test('whichever operation fails, once or from then on, no promise breaks', async (t) => {
  for (const operation of operations.filter((name) => name !== 'write')) {
    const { code, out } = await run('--sweep', operation);
    t.equal(code, exitCodes.passed, out);
    t.match(out, new RegExp(`${operation} 1 fails: passed`));
    t.match(out, /which the script does not reach: passed/, `${operation}: to the end of the script`);
  }
});

t.test('the command says what it does, and what was wrong with its words', async (t) => {
  const help = await run('--help');
  t.equal(help.code, exitCodes.passed);
  for (const [name, code] of Object.entries(exitCodes)) t.match(help.out, new RegExp(`\\b${code} `), name);
  t.equal(new Set(Object.values(exitCodes)).size, Object.keys(exitCodes).length, 'each end has a code of its own');
  const wrong = [
    [], ['--seed'], ['--seed', '-1'], ['--seed', '4294967296'], ['--seed', '1', '--runs', '0'], ['--sweep', 'luck'], ['--speed', '1'],
    ['--sweep', 'all', '--canary'],
  ];
  for (const words of wrong) {
    const { code, out, err } = await run(...words);
    t.equal(code, exitCodes.usage, words.join(' '));
    t.equal(out, '');
    t.match(err, /^BAD_ARGUMENT: .+\. See npm run simulate -- --help\.\n$/);
  }
});
