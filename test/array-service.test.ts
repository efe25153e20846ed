// Operations on an array as clients meet them: over HTTP, and on the command line with a simulator of its own.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { filesOfBundle } from '../server/network/bundle.js';
import { main } from '../server/cli/main.js';
import { readNpyArray } from '../server/network/npy.js';
import { placeNetwork } from '../server/network/placement.js';
import { fingerprintOf } from '../server/network/snapshot.js';
import { bufferConsole } from './console.js';
import { filmedDigits } from './digits.js';
import { call, serviceBench } from './service-bench.js';
import { smallBundle } from './small-bundle.js';
import { TcpBoard } from './tcp-board.js';

async function bench(t: Parameters<typeof serviceBench>[0], state: 'formed' | 'pristine') {
  const board = await TcpBoard.start('lab', 3, {}, state);
  t.teardown(() => board.close());
  return { board, ...(await serviceBench(t, { devices: [board.address] })) };
}

const post = (body: object): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const geometry = { bitLines: 512, sourceLines: 512 };
const region = { firstBitLine: 0, bitLines: 10, firstSourceLine: 0, sourceLines: 10 };

t.test('a dry run answers with the plan; a job with its rows, its objects, and its wear by user', async (t) => {
  const b = await bench(t, 'pristine');
  const dry = await call(b, '/v1/formings', post({ region, targetYield: 0.5, dryRun: true }));
  t.equal(dry.status, 200);
  t.match(dry.body.plan, { cells: 100, mostPulses: { forming: 20_100, set: 0, reset: 0 }, brokenLimits: [] });
  t.match(dry.body.plan, { wearAfter: [{ kind: 'forming', limitPulsesPerCell: 201 }] });
  t.equal(b.board.chip.pulses, 0);
  const { status, body } = await call(b, '/v1/formings', post({ region, targetYield: 0.5, user: 'ada', wait: 60 }));
  t.equal(status, 200);
  t.equal(body.summary.formedCells, 50);
  const object = await fetch(`${b.service.url}/v1/jobs/${body.job.id}/objects/outcomes`);
  const { shape, data } = readNpyArray(new Uint8Array(await object.arrayBuffer()), 'outcomes', 'u1');
  t.strictSame(shape, [10, 10]);
  t.equal(data.filter((outcome) => outcome === 2 || outcome === 3).length, 50);
  const wear = (await call(b, '/v1/devices/macro-0/wear?cells=true')).body;
  t.equal(wear.pulses.forming, b.board.chip.pulses);
  t.match(wear.users, [{ user: 'ada', pulses: { forming: b.board.chip.pulses } }]);
  t.equal(wear.worstCells.length, 10);
  t.equal(wear.drivenMilliseconds.length, 512);
  const [reads, ...pulses] = wear.drivenByVoltage;
  t.match(reads, { fromMillivolts: 100, toMillivolts: 200, longest: { drivenMilliseconds: Math.max(...reads.bitLines) } });
  t.ok(pulses.every(({ fromMillivolts }: { fromMillivolts: number }) => fromMillivolts >= 2400), 'forming begins far above a read');
  const steps = wear.drivenByVoltage.map(({ drivenMilliseconds }: { drivenMilliseconds: number }) => drivenMilliseconds);
  const sum = (times: number[]) => Math.round(1e6 * times.reduce((total, time) => total + time, 0));
  t.equal(sum(steps), sum(wear.drivenMilliseconds), 'both ways to add it up are the same');
  t.equal(sum(steps), sum(wear.jobs.map((job: { drivenMilliseconds: number }) => job.drivenMilliseconds)) + sum([wear.unattributed.drivenMilliseconds]));
  t.notOk('bitLines' in (await call(b, '/v1/devices/macro-0/wear')).body.drivenByVoltage[0], 'bit line by bit line only where it is asked for');
  const console = bufferConsole({});
  t.equal(await main(['wear', '--server', b.service.url], console), 0);
  t.match(console.stdout(), /bit lines driven at, mV +ms in all +ms of the longest +bit line\n.*\n100 to below 200 .*\n2\d00 to below \d\d00 /);
  t.equal(Buffer.from(wear.cells.forming, 'base64').length, 512 * 512 * 2);
  const late = await call(b, '/v1/formings', post({ region, targetYield: 1 }));
  t.equal(late.status, 202);
  t.equal(late.headers.get('location'), `/v1/jobs/${late.body.job.id}`);
});

t.test('every operation has its route, and what is wrong is refused with code and field', async (t) => {
  const b = await bench(t, 'formed');
  t.match((await call(b, '/v1/reads', post({ region, wait: 30 }))).body.summary, { cells: 100 });
  t.match((await call(b, '/v1/self-tests', post({ wait: 60 }))).body.summary, { failed: 0 });
  t.match((await call(b, '/v1/programmings', post({ region, microsiemens: 9, dryRun: true }))).body.plan, { cells: 100, brokenLimits: [] });
  const wrong: [string, string | undefined, string, object][] = [
    ['BAD_REQUEST', 'frobnicate', '/v1/formings', { frobnicate: 1 }],
    ['BAD_REQUEST', 'region.bitLines', '/v1/reads', { region: { ...region, firstBitLine: 510 } }],
    ['BAD_REQUEST', 'microsiemens', '/v1/programmings', { region }],
    ['BAD_REQUEST', 'wait', '/v1/reads', { dryRun: true, wait: 1 }],
    ['MODEL_UNKNOWN', 'model', '/v1/mask-applications', { model: 'nothing' }],
    ['BAD_BUNDLE', 'model', '/v1/mask-applications', { model: b.model }],
    ['DEVICE_UNKNOWN', 'device', '/v1/reads', { device: 'macro-7' }],
    ['PULSE_REFUSED', 'maximumPulses', '/v1/programmings', { region, microsiemens: 9, maximumPulses: 1, wait: 30 }],
    ['PULSE_REFUSED', 'lastMillivolts', '/v1/programmings', { region, microsiemens: 9, set: { lastMillivolts: 2600 }, wait: 30 }],
  ];
  for (const [code, field, path, body] of wrong) {
    const answer = await call(b, path, post(body));
    t.match(answer.body, { code, outcome: 'not-applied', ...(field !== undefined && { field }) }, `${path} ${JSON.stringify(body)}: ${answer.text}`);
  }
  t.equal(b.board.chip.pulses, 0);
});

t.test('a snapshot that was uploaded is known by the digest of its codes', async (t) => {
  const b = await bench(t, 'formed');
  const { body } = await call(b, '/v1/reads', post({ wait: 30 }));
  const npy = await (await fetch(`${b.service.url}/v1/jobs/${body.job.id}/objects/codes`)).arrayBuffer();
  const answer = await call(b, '/v1/snapshots', { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: npy });
  t.equal(answer.status, 201);
  t.equal(answer.body.id, body.summary.objects.snapshot);
});

t.test('a redraw predicts the accuracy before and after, and marks the bundles of that map stale', async (t) => {
  const b = await bench(t, 'formed');
  const read = await call(b, '/v1/reads', post({ wait: 30 }));
  const { snapshot, codes: npy } = read.body.summary.objects;
  const codes = readNpyArray(new Uint8Array(await (await fetch(`${b.service.url}/v1/jobs/${read.body.job.id}/objects/codes`)).arrayBuffer()), npy, 'u2').data;
  const { network, layers } = smallBundle();
  const chip = {
    format: 'prime-chip/1' as const, chipId: b.board.chip.chipId, fingerprint: fingerprintOf(codes, geometry), snapshotDigest: snapshot,
    weightScale: network.weightScale, placements: placeNetwork(network, { geometry }),
  };
  const upload = (keep: (weight: number, kept: number) => number) => b.client.uploadModel(
    filesOfBundle({ network, chip, layers: layers.map(({ name, mask }) => ({ name, mask: mask.map((kept, weight) => keep(weight, kept)) })) }));
  const [sparse, model] = [await upload((_, kept) => kept), await upload((weight, kept) => (weight % 100 === 0 ? 1 : kept))];
  const dataset = await b.client.uploadDataset(filmedDigits(3));
  t.match((await call(b, '/v1/datasets')).body, { datasets: [{ id: dataset, recordings: 3, labelled: 3 }] });
  t.equal((await call(b, '/v1/mask-applications', post({ model: sparse, wait: 60 }))).body.summary.staleSnapshot, null);
  const refused = await call(b, '/v1/mask-applications', post({ model, wait: 60 }));
  t.match(refused.body, { code: 'MASK_REGROWS', detail: /pairs that the mask keeps were RESET before/ });
  const unknown = await call(b, '/v1/mask-applications', post({ model, regrow: 'redraw', dataset: 'f'.repeat(64) }));
  t.match(unknown.body, { code: 'DATASET_UNKNOWN', field: 'dataset' });
  const [{ input, label, bytes }] = filmedDigits(1);
  await t.rejects(b.client.uploadDataset([{ input, label, bytes: bytes.slice(0, 15) }]), { code: 'RECORDING_EMPTY' });
  const { body: { summary, job } } = await call(b, '/v1/mask-applications', post({ model, regrow: 'redraw', dataset, wait: 60 }));
  t.match(summary, { staleSnapshot: snapshot, predictedBefore: { recordings: 3 }, predictedAfter: { recordings: 3 } });
  t.same(new Set(summary.staleModels), new Set([sparse, model]));
  t.match((await call(b, `/v1/models/${sparse}`)).body.stale, { job: job.id, changedPairs: summary.regrownPairs });
  t.equal((await call(b, `/v1/models/${b.model}`)).body.stale, null, 'a bundle with weights of its own hangs on no chip');
  const inference = await b.client.submitInference(model, filmedDigits(1), {});
  const ended = await b.client.ended(inference.id);
  t.match(ended.summary.warnings[0], new RegExp(`^the bundle is stale: job ${job.id}`));
});

async function prime(...argv: string[]) {
  const console = bufferConsole();
  const exitCode = await main(argv, console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('the command line prints tables for people and JSON for programs, and keeps what was read', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-out-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const dry = await prime('form', '--local', 'sim:lab?state=pristine', '--region', 'bl 0-3, sl 0-3', '--dry-run');
  t.equal(dry.exitCode, 0, dry.stderr);
  t.match(dry.stdout, /pulses, at most +3216 forming, 0 SET, 0 RESET/);
  const out = join(folder, 'chip.csv');
  const read = await prime('read', '--local', 'sim:lab', '--region', 'bl 0-3, sl 0-7', '--out', out, '--json');
  t.equal(read.exitCode, 0, read.stderr);
  t.equal(JSON.parse(read.stdout).summary.cells, 32);
  t.strictSame(readFileSync(out, 'utf8').trim().split('\n').map((line) => line.split(',').length), [8, 8, 8, 8]);
  const whole = join(folder, 'chip.npz');
  t.equal((await prime('read', '--local', 'sim:lab', '--out', whole)).exitCode, 0);
  const again = await prime('read', '--local', `sim:lab?seed=2&snapshot=${whole}`, '--region', 'bl 0-3, sl 0-7', '--averages', '1024', '--json');
  const [before, after] = [read, again].map(({ stdout }) => JSON.parse(stdout).summary.meanMicrosiemens);
  t.ok(Math.abs(after / before - 1) < 0.02, `a chip that starts from what was read conducts ${after}, as ${before}`);
  const reads = join(folder, 'reads.npy');
  const retention = await prime('retention', '--local', 'sim:lab', '--region', 'bl 0-3, sl 0-7', '--last-seconds', '10', '--out', reads, '--json');
  t.equal(retention.exitCode, 0, retention.stderr);
  t.equal(readNpyArray(readFileSync(join(folder, 'reads.seconds.npy')), 'seconds', 'f8').data.length, JSON.parse(retention.stdout).summary.reads);
  t.equal(readNpyArray(readFileSync(reads), 'reads', 'u2').shape[1], 32);
  const lost = await prime('characterise', '--local', 'sim:lab', '--sweep', 'reset', '--out', join(folder, 'none', 'curve.csv'));
  t.match(lost, { exitCode: 2, stderr: /^BAD_ARGUMENT: --out .* cannot be written/ }, 'before a cell is worn for it');
  const broken = await prime('form', '--local', 'sim:lab?state=pristine', '--region', 'bl 0, sl 0', '--step', '1', '--json');
  t.equal(broken.exitCode, 1);
  t.match(broken.stderr, /^PULSE_REFUSED: /);
  for (const argv of [['read', '--out', 'chip.xlsx'], ['form', '--region', 'everything'], ['program', '--target', 'high'], ['apply-mask', '--model', folder]]) {
    const { exitCode, stderr } = await prime(...argv, '--local', 'sim:lab');
    t.equal(exitCode, 2, `${argv.join(' ')}: ${stderr}`);
  }
});
