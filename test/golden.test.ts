// The published network on real recordings against a float64 reference: decisions and mean outputs, for both splits and every threshold, by
// the command line, over TCP and a pty, with the neurons stepped on the device and on the host. Bars: decisions agree on 98 % (a spike that
// sits on its threshold may flip), mean output within 0.05 on 95 %, its median error at most 0.001.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { main } from '../server/cli/main.js';
import { findRecordings } from '../server/dataset/nmnist.js';
import type { Decision } from '../server/inference/result.js';
import { bufferConsole } from './console.js';

const data = process.env['PRIME_DATA'];
const skip = data === undefined ? { skip: 'needs PRIME_DATA' } : {};
const folder = data ?? '';
const hostSteppedRecordings = 8;

const splits = ['number', 'time'] as const;
type Split = (typeof splits)[number];
type Threshold = '0.3' | '0.5' | '0.8' | 'none';
const thresholds: readonly Threshold[] = ['0.3', '0.5', '0.8', 'none'];

interface Reference {
  readonly id: number;
  readonly pred_full: number;
  readonly [stop: `stop_${string}`]: { readonly step: number; readonly pred: number };
}

/** The numbers of an .npy file of format 1.0, which is all that the reference uses. */
function numbersOf(name: string): { shape: number[]; values: ArrayLike<number> } {
  const bytes = readFileSync(join(folder, 'golden', name));
  const headerLength = bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, 10 + headerLength);
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? '').split(',').filter((size) => size.trim() !== '').map(Number);
  const body = bytes.buffer.slice(bytes.byteOffset + 10 + headerLength, bytes.byteOffset + bytes.length);
  const type = /'descr': '([^']+)'/.exec(header)?.[1];
  if (type === '<i8') return { shape, values: Array.from(new BigInt64Array(body), Number) };
  if (type === '<i4') return { shape, values: new Int32Array(body) };
  if (type === '<f8') return { shape, values: new Float64Array(body) };
  if (type === '<f4') return { shape, values: new Float32Array(body) };
  throw new Error(`${name} holds ${type}`);
}

async function infer(address: string, inputs: readonly string[], split: Split, threshold: Threshold, ...more: string[]): Promise<string> {
  const console = bufferConsole();
  const stop = threshold === 'none' ? ['--no-early-stop'] : ['--threshold', threshold];
  const choices = ['--local', address, '--model', join(folder, 'prime-bundle'), '--split', split, ...stop, '--json', ...more];
  const exitCode = await main(['infer', ...choices, '--input', ...inputs], console);
  if (exitCode !== 0) throw new Error(console.stderr());
  return console.stdout();
}

const idOf = (input: string) => Number(basename(input).replace(/\D+/g, ''));

/** The recordings that the reference knows. */
function referenceInputs(ids: readonly number[]): string[] {
  const files = findRecordings([join(folder, 'nmnist', 'Test'), join(folder, 'nmnist', 'Train')]);
  return files.map(({ path }) => path).filter((path) => ids.includes(idOf(path)));
}

function compare(t: Test, ids: readonly number[], ndjson: string, split: Split, threshold: Threshold): void {
  const means = numbersOf(`outmean_${split}.npy`);
  const [, timestepCount] = means.shape;
  const decisions = JSON.parse(readFileSync(join(folder, 'golden', `decisions_${split}.json`), 'utf8')) as Reference[];
  const references = new Map(decisions.map((decision) => [decision.id, decision]));
  const rows = ndjson.split('\n').filter((line) => line.startsWith('{"input"')).map((line) => JSON.parse(line) as Decision);
  t.equal(rows.length, ids.length, 'every recording is answered');
  let agreeing = 0;
  const errors = rows.map((row) => {
    const id = idOf(row.input);
    const reference = references.get(id);
    if (reference === undefined) throw new Error(`${row.input} has no reference`);
    const stop = threshold === 'none' ? { step: timestepCount, pred: reference.pred_full } : reference[`stop_${threshold}`];
    if (row.prediction === stop.pred && row.stoppedAtTimestep === stop.step) agreeing += 1;
    const first = (ids.indexOf(id) * timestepCount + row.stoppedAtTimestep - 1) * 10;
    return Math.max(...row.outputMean.map((mean, output) => Math.abs(mean - means.values[first + output])));
  });
  errors.sort((left, right) => left - right);
  t.ok(agreeing >= 0.98 * rows.length, `${agreeing} of ${rows.length} decisions agree`);
  t.ok(errors[errors.length >> 1] <= 0.001, `median error ${errors[errors.length >> 1]}`);
  t.ok(errors.filter((error) => error <= 0.05).length >= 0.95 * rows.length, 'mean outputs are within 0.05');
}

t.test('sim:ideal decides as the reference does', skip, async (t) => {
  const ids = Array.from(numbersOf('ids.npy').values);
  const inputs = referenceInputs(ids);
  for (const split of splits) {
    for (const threshold of thresholds) {
      await t.test(`split ${split}, threshold ${threshold}`, async (t) => {
        compare(t, ids, await infer('sim:ideal', inputs, split, threshold), split, threshold);
      });
    }
  }
});

t.test('a pty through serialport gives the same bytes as TCP', skip, async (t) => {
  for (const split of splits) {
    const digit = [join(folder, 'nmnist', 'Test', '7')];
    t.equal(await infer('sim:ideal?transport=pty', digit, split, '0.5'), await infer('sim:ideal', digit, split, '0.5'), split);
  }
});

t.test('host-stepped execution gives the same bytes as execution on the device, noise and all', skip, async (t) => {
  const folderOfDigit = join(folder, 'nmnist', 'Test', '3');
  const inputs = readdirSync(folderOfDigit).sort().slice(0, hostSteppedRecordings).map((name) => join(folderOfDigit, name));
  for (const address of ['sim:ideal', 'sim:lab-paper?seed=2']) {
    const onDevice = await infer(address, inputs, 'number', '0.5', '--execution', 'device');
    t.equal(await infer(address, inputs, 'number', '0.5', '--execution', 'host'), onDevice, address);
  }
});
