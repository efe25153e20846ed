// Calibrations and thresholds as clients meet them: over HTTP and on the command line, and what an inference makes of a stored threshold.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { main } from '../server/cli/main.js';
import { type Bundle, filesOfBundle } from '../server/network/bundle.js';
import { readNpyArray } from '../server/network/npy.js';
import { bufferConsole } from './console.js';
import { filmedDigits } from './digits.js';
import { madeOn } from './rig/made-on.js';
import { startMeter } from './rig/meter.js';
import { call, digitForm, type ServiceBench, serviceBench } from './service-bench.js';
import { TcpBoard } from './tcp-board.js';

const body = (method: string, value: object): RequestInit => ({ method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) });
const post = (value: object) => body('POST', value);

async function bench(t: Test, profile: string, overrides: object = {}): Promise<ServiceBench & { board: TcpBoard }> {
  const board = await TcpBoard.start(profile, 3, { stuckOnFraction: 0, ...overrides });
  t.teardown(() => board.close());
  return { board, ...(await serviceBench(t, { devices: [board.address] })) };
}

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-calibration-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function write(t: Test, bundle: Bundle): string {
  const folder = folderOf(t);
  for (const [name, bytes] of filesOfBundle(bundle)) writeFileSync(join(folder, name), bytes);
  return folder;
}

async function prime(...argv: string[]) {
  const console = bufferConsole();
  const exitCode = await main(argv, console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('calibrations are kept by chip, and each says why it is due', async (t) => {
  const b = await bench(t, 'lab-full');
  const path = `/v1/chips/${b.board.chip.chipId}/calibrations`;
  t.match((await call(b, path)).body, { code: 'CHIP_UNKNOWN' });
  b.board.chip.codes[7 * 512 + 5] = 2500;
  const meter = await startMeter(t);
  const references = [{ name: 'r1', bitLine: 7, sourceLine: 5, meter: meter.address }];
  const first = await call(b, '/v1/calibrations', post({ averages: 4, temperatureCelsius: 21, wait: 120 }));
  t.match(first.body.summary, { gain: 'relative', previous: null }, first.text);
  const second = await call(b, '/v1/calibrations', post({ averages: 4, references, wait: 120 }));
  t.match(second.body.summary, { gain: 'absolute', previous: { job: first.body.job.id } });
  t.equal(second.body.results.length, 8);
  const { body: list } = await call(b, path);
  t.match(list, { arrayState: second.body.summary.arrayState, temperatureCelsius: 25, calibrations: { length: 2 } });
  const [newest] = list.calibrations;
  t.match(newest, { job: second.body.job.id, gain: 'absolute', references: [{ name: 'r1', microsiemens: 10 }], temperatureCelsius: 25, due: [] });
  t.match(list.calibrations[1], { job: first.body.job.id, gain: 'relative', references: [], temperatureCelsius: 21, due: [] });
  t.strictSame(list.calibrations[0].channels, second.body.results);
  t.strictSame((await call(b, `${path}?temperatureCelsius=26`)).body.calibrations.map(({ due }: { due: string[] }) => due), [[], ['temperature']]);
  const pulse = { region: { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 1 }, microsiemens: 9, wait: 60 };
  t.equal((await call(b, '/v1/programmings', post(pulse))).status, 200);
  t.strictSame((await call(b, path)).body.calibrations.map(({ due }: { due: string[] }) => due), [['mask'], ['mask']]);
  b.board.unplug();
  await b.service.parts.registry.device('macro-0').close();
  t.match((await call(b, path)).body, { arrayState: null, calibrations: [{ due: [] }, { due: [] }] }, 'of a chip that does not answer nothing is claimed');
});

t.test('what is wrong with a reference is refused before a job, and a meter that fails ends it with its code', async (t) => {
  const b = await bench(t, 'lab-full');
  const meter = await startMeter(t, { resistance: 'on fire' });
  const wrong: [string, string, object][] = [
    ['BAD_REQUEST', 'references.0.sourceLine', { references: [{ name: 'r1', bitLine: 7, sourceLine: 700, microsiemens: 10 }] }],
    ['BAD_REQUEST', 'references.0.microsiemens', { references: [{ name: 'r1', bitLine: 7, sourceLine: 7 }] }],
    ['BAD_REQUEST', 'references.0.ohms', { references: [{ name: 'r1', bitLine: 7, sourceLine: 7, ohms: 10 }] }],
    ['BAD_REQUEST', 'temperatureCelsius', { temperatureCelsius: 1000 }],
    ['METER_INVALID', 'meter', { references: [{ name: 'r1', bitLine: 7, sourceLine: 7, meter: meter.address }], wait: 60 }],
  ];
  for (const [code, field, value] of wrong) {
    const answer = await call(b, '/v1/calibrations', post(value));
    t.match(answer.body, { code, field, outcome: 'not-applied' }, answer.text);
  }
  t.match((await call(b, '/v1/calibrations', post({ references: [{ name: 'r1', bitLine: 7, sourceLine: 7, meter: meter.address }], dryRun: true }))).body.plan,
    { mostPulses: { reset: 0 }, figures: { gain: 'absolute', references: 1 } });
  t.equal(meter.asked.length, 2, 'a dry run asks no meter');
  t.match((await call(b, `/v1/chips/${b.board.chip.chipId}/calibrations`)).body, { code: 'CHIP_UNKNOWN' }, 'nothing was kept');
});

/** Digits without a threshold of their own. */
const infer = (b: ServiceBench, query = '') => call(b, `/v1/inferences?model=${b.model}&wait=60${query}`, { method: 'POST', body: digitForm(12) });

t.test('a run without a threshold uses the one that was stored for chip, bundle and array state', async (t) => {
  const b = await bench(t, 'ideal');
  const path = `/v1/chips/${b.board.chip.chipId}/thresholds`;
  const bundles = b.bundle.network.earlyStop.threshold;
  t.match((await infer(b)).body.summary, { threshold: bundles, warnings: [] });
  t.match((await call(b, path)).body, { code: 'CHIP_UNKNOWN' });
  const stored = await call(b, path, body('PUT', { model: b.model, threshold: 0.95, source: '500 recordings' }));
  t.match(stored, { status: 200, body: { model: b.model, threshold: 0.95, source: '500 recordings', isCurrent: true } }, stored.text);
  const { results, summary } = (await infer(b)).body;
  t.match(summary, { threshold: 0.95, warnings: [] });
  t.strictSame(results, (await infer(b, '&threshold=0.95')).body.results, 'and stops where it would with that one');
  t.not(summary.meanTimesteps, (await infer(b, `&threshold=${bundles}`)).body.summary.meanTimesteps, 'which is not where the bundle stops');
  t.equal((await infer(b, '&earlyStop=false')).body.summary.threshold, null);
  await call(b, path, body('PUT', { model: b.model, threshold: 0.9 }));
  t.equal((await infer(b)).body.summary.threshold, 0.9, 'the newest');
  b.board.chip.beginOperation(); // as a pulse of somebody else would
  const late = (await infer(b)).body;
  t.match(late.summary, { threshold: bundles, warnings: [/^threshold 0\.9 of .* was stored for another array state; the bundle's 0\.5 is used$/] });
  const { thresholds } = (await call(b, path)).body;
  t.match(thresholds, [{ threshold: 0.9, source: null, isCurrent: false }, { threshold: 0.95, isCurrent: false }]);
});

t.test('a threshold is refused for an unknown model, another chip, and a chip that does not answer', async (t) => {
  const b = await bench(t, 'ideal');
  const path = `/v1/chips/${b.board.chip.chipId}/thresholds`;
  await infer(b);
  t.match((await call(b, path, body('PUT', { model: 'none', threshold: 0.4 }))).body, { code: 'MODEL_UNKNOWN', field: 'model' });
  t.match((await call(b, path, body('PUT', { model: b.model, threshold: 1 }))).body, { code: 'BAD_THRESHOLD', field: 'threshold' });
  t.match((await call(b, '/v1/chips/other/thresholds', body('PUT', { model: b.model, threshold: 0.4 }))).body, { code: 'DEVICE_UNREACHABLE' });
});

t.test('the command line: calibrate says by what and how far from before, chip lists it', async (t) => {
  const b = await bench(t, 'lab-full');
  const { url } = b.service;
  const folder = folderOf(t);
  b.board.chip.codes[7 * 512 + 5] = 2500;
  const out = join(folder, 'noise.npy');
  const first = await prime('calibrate', '--server', url, '--averages', '4', '--reference', 'r1,7,5,10', '--temperature', '20', '--user', 'ada', '--out', out);
  t.equal(first.exitCode, 0, first.stderr);
  t.match(first.stdout, /gain absolute, by r1\n[\s\S]*r1 +7 +5 +10\.000 +(9\.9|10\.0)\d\d +ada[\s\S]*medians[\s\S]*first calibration/);
  t.strictSame(readNpyArray(new Uint8Array(readFileSync(out)), 'noise', 'f4').shape, [8, 512]);
  const second = await prime('calibrate', '--server', url, '--averages', '4');
  t.match(second.stdout, /gain relative, no reference[\s\S]*previous calibration .*: this one agrees with it to 2 % \(largest change of a gain 0\.\d\d %\)/);
  b.board.chip.codes.forEach((code, cell) => { if (cell % 8 === 2) b.board.chip.codes[cell] = Math.round(code * 1.05); });
  const moved = await prime('calibrate', '--server', url, '--averages', '4');
  t.match(moved.stdout, /this one DIFFERS from it by 2 % or more \(largest change of a gain [45]\.\d\d %\)/);
  const { chipId } = b.board.chip;
  const list = await prime('chip', 'calibrations', chipId, '--server', url, '--temperature', '28');
  t.match(list.stdout.split('\n').slice(2), [/asked +relative .* gain /, /asked +relative .* no /, /asked +absolute +r1 +20 +temperature /]);
  t.match((await prime('chip', 'show', chipId, '--server', url)).stdout, /no snapshots[\s\S]*asked +absolute +r1/);
  t.equal(JSON.parse((await prime('chip', 'show', chipId, '--server', url, '--json')).stdout).calibrations.length, 3);
  for (const reference of ['r1,7,5', 'r1,7,5,ten', 'r1,7.5,5,10', ',7,5,10', 'r1,7,5,10,1', 'r1,,5,10']) {
    t.match(await prime('calibrate', '--server', url, '--reference', reference), { exitCode: 2, stderr: /^BAD_ARGUMENT: --reference/ }, reference);
  }
  t.match(await prime('calibrate', '--server', url, '--reference', 'r1,700,5,10'), { exitCode: 2, stderr: /^BAD_REQUEST: .*the range is 0 to 511/ });
  t.match(await prime('calibrate', '--server', url, '--out', 'noise.csv'), { exitCode: 2, stderr: /npy/ });
});

t.test('the command line: a mask is followed by the calibration, unless it shall not be', async (t) => {
  const b = await bench(t, 'lab-full');
  const { url } = b.service;
  const { chip } = b.board;
  const [first, second, third] = [[], [50], [40, 50]].map((parts) => write(t, madeOn(chip, (weight) => parts.some((part) => weight % part === 0))));
  t.equal((await prime('calibrate', '--server', url, '--averages', '4')).exitCode, 0);
  t.match(await prime('apply-mask', '--server', url, '--model', first, '--no-calibrate'), { exitCode: 0, stdout: /^calibration +none$/m });
  const due = async () => (await b.client.calibrations(chip.chipId)).calibrations.map(({ reason, due: reasons }) => [reason, ...reasons]);
  t.strictSame(await due(), [['asked', 'mask']]);
  const planned = async (...more: string[]) => (await prime('apply-mask', '--server', url, '--model', second, '--dry-run', '--json', ...more)).stdout;
  const [whole, without] = [JSON.parse(await planned()).plan, JSON.parse(await planned('--no-calibrate')).plan];
  t.equal(without.figures.calibrationSeconds, 0);
  t.ok(whole.figures.calibrationSeconds > 1 && Math.abs(whole.seconds - without.seconds - whole.figures.calibrationSeconds) < 1e-6, 'the dry run counts it');
  t.match(await prime('apply-mask', '--server', url, '--model', second), { exitCode: 0, stdout: /^calibration: state +repeated$/m });
  t.strictSame(await due(), [['mask'], ['asked', 'mask']]);

  const recording = join(third, 'digit.bin');
  writeFileSync(recording, filmedDigits(1)[0].bytes);
  const inferred = await prime('infer', '--server', url, '--model', third, '--input', recording, '--json');
  const { summary } = JSON.parse(inferred.stdout.trim().split('\n').at(-1) ?? '');
  t.match(summary, { calibration: { state: 'repeated', gain: 'relative' }, objects: { noiseMap: /^[0-9a-f]{64}$/ } }, inferred.stderr);
  t.strictSame(await due(), [['mask'], ['mask', 'mask'], ['asked', 'mask']]);
});

t.test('the command line: a threshold is stored, used by infer, and warned of when it no longer fits', async (t) => {
  const b = await bench(t, 'ideal');
  const { url } = b.service;
  const folder = write(t, b.bundle);
  const recording = join(folder, 'digit.bin');
  writeFileSync(recording, filmedDigits(1)[0].bytes);
  const run = () => prime('infer', '--server', url, '--model', folder, '--input', recording, '--json');
  t.equal((await run()).exitCode, 0);
  const { chipId } = b.board.chip;
  const stored = await prime('chip', 'threshold', chipId, '0.95', '--model', folder, '--source', 'ada, 500 recordings', '--server', url);
  t.match(stored, { exitCode: 0, stdout: /0\.95 .* yes +ada, 500 recordings/ });
  const used = await run();
  t.equal(JSON.parse(used.stdout.trim().split('\n').at(-1) ?? '').summary.threshold, 0.95);
  t.notMatch(used.stderr, /warning/);
  b.board.chip.beginOperation();
  t.match((await run()).stderr, /warning: threshold 0\.95 of .* was stored for another array state; the bundle's 0\.5 is used/);
  t.match((await prime('chip', 'threshold', chipId, '--server', url)).stdout, /0\.95 .* no +ada/);
  t.match(await prime('chip', 'threshold', chipId, '2', '--model', folder, '--server', url), { exitCode: 2, stderr: /^BAD_THRESHOLD/ });
  t.match(await prime('chip', 'threshold', chipId, '0.5', '--server', url), { exitCode: 2, stderr: /^BAD_ARGUMENT: .*--model/ });
});
