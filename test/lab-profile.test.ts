// What the noise of the lab does to the published network on real recordings: the figures of PRIME.md §7. Most are taken on
// 150 of the thousand, in bands that are wider by the sampling error of a smaller set; seeds are fixed, so nothing flickers.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { main } from '../server/cli/main.js';
import { findRecordings } from '../server/dataset/nmnist.js';
import type { Decision, Summary } from '../server/inference/result.js';
import { bufferConsole } from './console.js';

const data = process.env['PRIME_DATA'] ?? '';
const skip = data === '' ? { skip: 'needs PRIME_DATA' } : {};
/** Every so many-th recording of the thousand. */
const fewOf = 6;
const all = 1;

interface Answer {
  readonly text: string;
  readonly decisions: readonly Decision[];
  readonly summary: Summary;
}

async function infer(address: string, choices: readonly string[], every = fewOf): Promise<Answer> {
  const inputs = findRecordings([join(data, 'nmnist')]).filter((_, index) => index % every === 0).map(({ path }) => path);
  const console = bufferConsole();
  const argv = ['infer', '--local', address, '--model', join(data, 'prime-bundle'), '--json', ...choices, '--input', ...inputs];
  if ((await main(argv, console)) !== 0) throw new Error(console.stderr());
  const text = console.stdout();
  const rows = text.trimEnd().split('\n').map((line) => JSON.parse(line));
  return { text, decisions: rows.slice(0, -1) as Decision[], summary: (rows.at(-1) as { summary: Summary }).summary };
}

/** A profile file, removed after the test, as an option of an address. */
function overridden(t: Test, overrides: object): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-profile-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'profile.json'), JSON.stringify(overrides));
  return `sim:lab-paper?profile=${join(folder, 'profile.json')}`;
}

const stopAtHalf = ['--threshold', '0.5'];

function rmsDeviation(left: Answer, right: Answer): number {
  const squares = left.decisions.flatMap(({ outputMean }, row) => outputMean.map((mean, output) => (mean - right.decisions[row].outputMean[output]) ** 2));
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
}

t.test('the mean outputs deviate from the ideal network by 0.29', skip, async (t) => {
  const deviation = rmsDeviation(await infer('sim:lab-paper', ['--no-early-stop']), await infer('sim:ideal', ['--no-early-stop']));
  t.ok(Math.abs(deviation / 0.29 - 1) <= 0.2, `rms ${deviation}`);
});

t.test('one seed repeats, another differs; accuracy and timesteps are those of the full chain', skip, async (t) => {
  const first = await infer('sim:lab-paper', stopAtHalf);
  t.equal((await infer('sim:lab-paper?seed=1', stopAtHalf)).text, first.text);
  t.not((await infer('sim:lab-paper?seed=2', stopAtHalf)).text, first.text);
  t.ok((first.summary.accuracy ?? 0) >= 0.955, `accuracy ${first.summary.accuracy}`);
  t.ok(Math.abs(first.summary.meanTimesteps - 4.18) <= 0.4, `${first.summary.meanTimesteps} timesteps`);
});

t.test('noise of 30 % costs accuracy, a full scale of 400 µS saturates the output layer', skip, async (t) => {
  const noisy = await infer(overridden(t, { readNoiseFraction: 0.3 }), stopAtHalf, all);
  t.ok((noisy.summary.accuracy ?? 1) < 0.94, `accuracy ${noisy.summary.accuracy}`);
  const narrow = await infer(overridden(t, { multiplyFullScaleMicrosiemens: 400 }), stopAtHalf);
  t.ok(narrow.summary.saturatedFractionByLayer['linear0'] > 0.1, `saturated ${narrow.summary.saturatedFractionByLayer['linear0']}`);
});
