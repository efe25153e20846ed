// The search as a job and a command: on the conductances of the chip that is there, to the bit again after whatever stopped it, and without a pulse.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress } from '../driver/index.js';
import { main } from '../server/cli/main.js';
import { openDataset } from '../server/dataset/dataset.js';
import { type ChipRecord, readBundle } from '../server/network/bundle.js';
import { topCode, weightCells } from '../server/network/snapshot.js';
import { systemClock } from '../server/system-clock.js';
import type { EpochRow } from '../server/training/checkpoint.js';
import { brokenFromCode, chipDevices } from '../server/training/chip-devices.js';
import { formingFigures } from '../server/training/forming-advice.js';
import { GradientPool } from '../server/training/gradient-pool.js';
import { TopologySearch } from '../server/training/search.js';
import { shuffled } from '../server/training/shuffle.js';
import { trainingSet } from '../server/training/training-set.js';
import { Chip } from '../sim/chip.js';
import { profileNamed } from '../sim/profile.js';
import { bufferConsole } from './console.js';
import { digitFolder, filmedDigits } from './digits.js';
import { ArrayBench, throwAwayDatabase } from './rig/array.js';
import { call, serviceBench } from './service-bench.js';
import { smallNetwork } from './small-bundle.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const post = (body: object) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const geometry = { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: 4 };
const asked = { films: 'mnist:train?count=24', network: smallNetwork, epochs: 2, batchSize: 8, averages: 1, validationFraction: 0.25 };

interface Bench { readonly board: TcpBoard; readonly device: Device; readonly array: ArrayBench }

async function on(t: Test, profile: string, seed = 3): Promise<Bench> {
  const board = await TcpBoard.start(profile, seed);
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  return { board, device, array: new ArrayBench(throwAwayDatabase(t)) };
}

t.test('a search reads the chip, pulses nothing, and leaves a bundle of that chip', async (t) => {
  const { board, device, array } = await on(t, 'lab-half');
  const { figures, mostPulses } = await array.plan(device, 'train', asked);
  t.strictSame([figures, mostPulses], [{ recordings: 24, steps: 6 }, { forming: 0, set: 0, reset: 0 }]);
  const { summary, rows, progress } = await array.run(device, 'train', asked);
  t.equal(board.chip.pulses, 0);
  t.match(summary, { recordings: 24, validated: 6, epochs: 2, validationAccuracy: Number });
  t.match(rows, [{ epoch: 1, meanLoss: Number, accuracy: Number, changedPairs: Number }, { epoch: 2 }]);
  t.match(progress.filter((step) => 'loss' in ((step as { detail?: object }).detail ?? {})).at(-1), { done: 6, total: 6, detail: { epoch: 2 } });

  const bundle = array.bundles.get(String(summary['model']));
  const [codes] = [...array.objects.values()].filter(({ length }) => length === 2 * 512 * 512).map((bytes) => new Uint16Array(bytes.slice().buffer));
  t.match(bundle?.chip, { chipId: board.chip.chipId, snapshotDigest: summary['snapshot'] });
  bundle?.layers.forEach(({ mask, scores }, layer) => {
    const { plus, minus } = weightCells((bundle.chip as ChipRecord).placements[layer], 512);
    const isFormed = (weight: number) => codes[plus[weight]] >= 1000 || codes[minus[weight]] >= 1000;
    const healthy = Array.from(mask, (_, weight) => weight).filter(isFormed);
    const kept = mask.reduce((sum, bit) => sum + bit, 0);
    t.ok(mask.every((bit, weight) => bit === 0 || isFormed(weight)), 'no pair is kept that has no device');
    const half = (healthy.length - 1) / 2;
    t.equal(kept, healthy.length - (Number.isInteger(half) ? half : 2 * Math.round(half / 2)), 'half of them, rounded to even');
    t.equal(scores?.length, mask.length);
  });
});

t.test('a search that was stopped goes on to the bit, on the map that it began with', async (t) => {
  const { device, array } = await on(t, 'lab-half');
  const whole = await array.run(device, 'train', { ...asked, noise: {} });
  const stop = new AbortController();
  const { sources } = array;
  const save = array.checkpoints.set.bind(array.checkpoints);
  array.checkpoints.set = (name, data) => {
    stop.abort(); // behind the first epoch
    return save(name, JSON.parse(JSON.stringify(data)));
  };
  const digest = String(whole.summary['snapshot']);
  const named = { ...asked, noise: {}, snapshot: digest };
  await t.rejects(array.run(device, 'train', named, stop.signal), { code: 'CANCELLED' });
  t.equal((sources.earlierCheckpoint({} as never, 'search') as { stepCount: number }).stepCount, 3);
  const again = await array.run(device, 'train', named);
  const rowsOf = ({ rows }: { rows: unknown[] }) => rows as EpochRow[];
  t.strictSame(rowsOf(again), rowsOf(whole));
  t.equal(again.summary['model'], whole.summary['model']);
});

t.test('what cannot be done is refused before anything is read', async (t) => {
  const { device, array } = await on(t, 'lab-half');
  const problems: readonly (readonly [object, { code: string; field?: string; message?: RegExp }])[] = [
    [{ ...asked, films: undefined }, { code: 'BAD_REQUEST', field: 'dataset' }],
    [{ ...asked, films: 'mnist?count=0' }, { code: 'BAD_ARGUMENT', field: 'count' }],
    [{ ...asked, sparsity: [0.5, 0.5] }, { code: 'BAD_REQUEST', message: /sparsity has 2 numbers, the network has 3 layers/ }],
    [{ ...asked, network: { ...smallNetwork, timestepCount: 0 } }, { code: 'BAD_BUNDLE', field: 'timestepCount' }],
    [{ ...asked, validationFraction: 0.99 }, { code: 'BAD_REQUEST', field: 'validationFraction' }],
    [{ ...asked, snapshot: '0'.repeat(64) }, { code: 'BAD_REQUEST', field: 'snapshot' }],
  ];
  for (const [given, problem] of problems) await t.rejects(async () => array.run(device, 'train', given), problem);
  const [digit] = filmedDigits(1);
  array.datasets.set('unlabelled', [{ ...digit, label: null }]);
  await t.rejects(async () => array.run(device, 'train', { ...asked, films: undefined, dataset: 'unlabelled' }), { message: /has no label/ });
});

t.test('a search on a chip that carries a mask only prunes', async (t) => {
  const { device, array } = await on(t, 'lab-full');
  const first = await array.run(device, 'train', asked);
  await array.run(device, 'apply-mask', { model: first.summary['model'], calibrate: false });
  const second = await array.run(device, 'train', asked);
  const [before, after] = [first, second].map(({ summary }) => array.bundles.get(String(summary['model'])));
  after?.layers.forEach(({ mask }, layer) => {
    t.ok(mask.every((bit, weight) => bit === 0 || before?.layers[layer].mask[weight] === 1));
    t.ok(mask.includes(1));
  });
});

t.test('broken cells are no devices, and their lines are passed over', async (t) => {
  const { codes } = Chip.formed(profileNamed('lab-half'), 5);
  const limit = brokenFromCode(codes, 1000);
  t.ok(codes.every((code) => code < limit), 'of a sound chip no cell is broken');
  codes[40 * 512 + 9] = 25_000;
  codes[41 * 512 + 11] = topCode;
  t.ok(brokenFromCode(codes, 1000) < 25_000, '100 µS is broken');
  const { placements, weightScale } = chipDevices(codes, geometry, smallNetwork);
  const used = placements.flatMap(({ tiles }) => tiles.flatMap(({ plusLines, minusLines }) => [...plusLines, ...minusLines]));
  t.notOk(used.includes(9) || used.includes(11));
  t.ok(Math.abs(weightScale * 8.9 - 0.0635) < 0.02, `${weightScale}: 0.0635 over the spread of the pairs`);
});

t.test('forming is advised by how many pairs have a device', async (t) => {
  const figuresAt = (share: number) => {
    const isHealthy = Uint8Array.from({ length: 1000 }, (_, pair) => (pair < 1000 * share ? 1 : 0));
    return formingFigures({ layers: [{ isHealthy }] } as never);
  };
  t.match(figuresAt(0.28), { pairsWithDeviceFraction: 0.28, advice: /^few pairs/ });
  t.match(figuresAt(0.75), { formedCellsFraction: 0.5, advice: /^the forming yield suits/ });
  t.match(figuresAt(0.98), { advice: /two RESET pulses/ });
});

t.test('an order is a permutation of its seed and turn', async (t) => {
  const first = shuffled(500, 1, 0);
  t.strictSame([...first].sort((a, b) => a - b), Array.from({ length: 500 }, (_, index) => index));
  t.notSame(first, shuffled(500, 1, 1));
  t.notSame(first, shuffled(500, 2, 0));
  t.strictSame(shuffled(500, 1, 0), first);
});

t.test('noise is drawn anew for each group, as far as a read and a residual spread, and no more', async (t) => {
  const set = trainingSet(await openDataset('mnist:train?count=16', { timestepCount: 4 }));
  const pool = new GradientPool(smallNetwork, set, { seed: 1, timestepLossFraction: 0, isNoisy: true, workerCount: 0 });
  const layers = smallNetwork.layers.map((_, layer) => [[200, 432, 5880][layer]].map((count) => ({
    differences: new Float32Array(count).fill(5), magnitudes: new Float32Array(count).fill(17), isHealthy: new Uint8Array(count).fill(1),
  }))[0]);
  const options = { seed: 1, epochs: 1, batchSize: 16, learningRate: 1e-3, weightDecay: 0, sparsities: [0.5, 0.5, 0.5] };
  const recordings = Uint32Array.from({ length: 16 }, (_, index) => index);
  const noise = { readFraction: 0.02, residualSdMicrosiemens: 0.3 };
  const search = new TopologySearch(smallNetwork, layers, { ...options, noise }, pool, recordings);
  await search.courses(recordings);
  const kept = search.layers.flatMap(({ mask }) => Array.from(mask));
  const near = (left: number, right: number) => Math.abs(left - right) < 1e-7;
  t.ok(kept.every((bit, at) => near(pool.weights[at], bit * 0.05) && near(pool.spreads?.[at] ?? 0, 0.01 * (bit === 1 ? 0.02 * 17 : Math.SQRT2 * 0.3))));
  const noisy = await pool.learn(recordings, 0);
  const quiet = new GradientPool(smallNetwork, set, { seed: 1, timestepLossFraction: 0, isNoisy: false, workerCount: 0 });
  quiet.weights.set(pool.weights);
  const { loss } = await quiet.learn(recordings, 0);
  t.not(noisy.loss, loss);
  t.ok(Math.abs(noisy.loss / loss - 1) < 0.2, `${noisy.loss} of ${loss}`);
  t.not((await pool.learn(recordings, 1)).loss, noisy.loss, 'another step, another draw');
  t.equal((await pool.learn(recordings, 0)).loss, noisy.loss);
});

t.test('over REST and from the command line: train, download, infer', async (t) => {
  const board = await TcpBoard.start('lab-full', 4);
  t.teardown(() => board.close());
  const b = await serviceBench(t, { devices: [board.address] });
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-train-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [network, out, data] = [join(folder, 'small.json'), join(folder, 'found'), digitFolder(t, 12)];
  writeFileSync(network, JSON.stringify(smallNetwork));
  const prime = async (...words: string[]) => {
    const console = bufferConsole({});
    const exitCode = await main([...words, '--server', b.service.url], console);
    return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
  };
  const few = ['--network', network, '--epochs', '2', '--batch', '4', '--averages', '1'];
  const trained = await prime('train', '--data', data, '--out', out, ...few);
  t.match(trained, { exitCode: 0, stderr: /epoch 2 · loss \d.* pairs changed/, stdout: /recordings +12\n[\s\S]*advice/ }, trained.stderr);
  const { chip } = readBundle(out);
  t.equal(chip?.chipId, board.chip.chipId);
  const report = JSON.parse(readFileSync(join(out, 'training.json'), 'utf8'));
  t.match(report, { parameters: { seed: 1, epochs: 2 }, summary: { recordings: 12, snapshot: chip?.snapshotDigest }, epochs: [{ epoch: 1 }, { epoch: 2 }] });
  t.match(await prime('infer', '--model', out, '--input', data), { exitCode: 0, stdout: /12 recordings · accuracy/ });

  const eight = ['train', '--data', 'mnist:train?count=8'];
  const json = await prime(...eight, '--out', out, '--json', '--noise', '--timestep-loss', '0.5', '--sparsity', '0.4,0.5,0.6', ...few);
  const lines = json.stdout.trim().split('\n').map((line) => JSON.parse(line));
  t.match(lines, [{ epoch: 1 }, { epoch: 2 }, { summary: { recordings: 8 } }], json.stderr);
  const dry = await prime(...eight, '--dry-run', ...few);
  t.match(dry, { exitCode: 0, stdout: /dry run of train on sim-lab-full-4: nothing was pulsed[\s\S]*steps +4/ });
  t.match(await prime(...eight, ...few), { exitCode: 2, stderr: /^BAD_ARGUMENT: --out must name a folder/ });
  t.match(await prime(...eight, '--out', data, ...few), { exitCode: 2, stderr: /holds something else than a bundle/ });
  t.match(await prime(...eight, '--out', out, '--network', join(folder, 'none.json')), { exitCode: 2, stderr: /^INPUT_NOT_FOUND/ });

  const refused = await call(b, '/v1/trainings', post({ films: 'mnist', epochs: 0 }));
  t.match(refused.body, { status: 400, code: 'BAD_REQUEST' });
  const { body: { models } } = await call(b, '/v1/models');
  const { id, files } = models.find((model: { id: string }) => model.id === report.summary.model);
  t.ok(files.includes('chip.json'), files.join(' '));
  t.match((await call(b, `/v1/models/${id}/files/other.npy`)).body, { code: 'MODEL_UNKNOWN' });
});
