// The HTTP API over a real simulated device: what is accepted, what is answered, and what is refused with which code.
import t from 'tap';
import { errorTable, type ErrorCode } from '../proto/error.js';
import { filesOfBundle } from '../server/network/bundle.js';
import { filmedDigits } from './digits.js';
import { call, digitForm, serviceBench } from './service-bench.js';
import { smallBundle } from './small-bundle.js';
import { TcpBoard } from './tcp-board.js';

async function bench(t: Parameters<typeof serviceBench>[0]) {
  const board = await TcpBoard.start('ideal');
  t.teardown(() => board.close());
  return serviceBench(t, { devices: [board.address] });
}

const octets = { 'content-type': 'application/octet-stream' };
const [digit] = filmedDigits(1);
const bodyOf = (bytes: Uint8Array) => bytes as Uint8Array<ArrayBuffer>;

t.test('one recording in the body and a wait: the answer inline', async (t) => {
  const b = await bench(t);
  const query = `model=${b.model}&wait=30&input=Test/7/00000.bin`;
  const { status, body } = await call(b, `/v1/inferences?${query}`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) });
  t.equal(status, 200);
  t.equal(body.job.state, 'SUCCEEDED');
  t.equal(body.results.length, 1);
  const [row] = body.results;
  t.equal(row.label, 7, 'the label is the parent folder');
  t.equal(row.input, 'Test/7/00000.bin');
  t.equal(row.layers.length, 3);
  t.equal(body.summary.recordings, 1);
  t.equal(body.summary.meanTimesteps, row.stoppedAtTimestep);
});

t.test('many recordings in a form: 202 and a Location that leads to the job and its rows', async (t) => {
  const b = await bench(t);
  const path = `/v1/inferences?model=${b.model}&earlyStop=false`;
  const { status, headers, body } = await call(b, path, { method: 'POST', body: digitForm(4) });
  t.equal(status, 202);
  const location = headers.get('location') ?? '';
  t.equal(location, `/v1/jobs/${body.job.id}`);
  const { text } = await call(b, `${location}/results?follow=true`);
  const rows = text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
  t.strictSame(rows.map(({ input }) => input), filmedDigits(4).map(({ input }) => input), 'in the order in which they were sent');
  t.ok(rows.every(({ stoppedAtTimestep }) => stoppedAtTimestep === 4));
  const job = (await call(b, location)).body;
  t.equal(job.state, 'SUCCEEDED');
  t.equal(job.summary.recordings, 4);
  t.equal(job.parameters.threshold, null);
  t.strictSame((await call(b, `${location}/results?from=3`)).text.trim(), JSON.stringify(rows[3]));
  const { jobs } = (await call(b, '/v1/jobs?state=SUCCEEDED')).body;
  t.strictSame(jobs.map(({ id }: { id: string }) => id), [job.id]);
});

t.test('what is wrong is refused with a problem that names code and field', async (t) => {
  const b = await bench(t);
  const good = `model=${b.model}`;
  const wrong: [ErrorCode, string | undefined, string, RequestInit][] = [
    ['MODEL_UNKNOWN', 'model', `/v1/inferences?model=${'0'.repeat(64)}`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_REQUEST', 'model', '/v1/inferences', { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_THRESHOLD', 'threshold', `/v1/inferences?${good}&threshold=NaN`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_THRESHOLD', 'threshold', `/v1/inferences?${good}&threshold=1`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_REQUEST', 'split', `/v1/inferences?${good}&split=halves`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_REQUEST', 'treshold', `/v1/inferences?${good}&treshold=0.5`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['BAD_REQUEST', 'wait', `/v1/inferences?${good}&wait=100000`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['DEVICE_UNKNOWN', 'device', `/v1/inferences?${good}&device=nowhere`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) }],
    ['MEDIA_UNSUPPORTED', undefined, `/v1/inferences?${good}`, { method: 'POST', headers: { 'content-type': 'image/png' }, body: 'x' }],
    ['JOB_UNKNOWN', 'id', '/v1/jobs/nowhere', {}],
    ['JOB_UNKNOWN', 'id', '/v1/jobs/nowhere/results', {}],
    ['JOB_UNKNOWN', 'id', '/v1/jobs/nowhere/stop', { method: 'POST' }],
    ['DEVICE_UNKNOWN', 'device', '/v1/devices/nowhere', {}],
    ['MODEL_UNKNOWN', 'model', '/v1/models/nowhere', {}],
    ['ROUTE_UNKNOWN', undefined, '/v1/nowhere', {}],
    ['BAD_REQUEST', 'state', '/v1/jobs?state=DONE', {}],
    ['BAD_REQUEST', 'limit', '/v1/jobs?limit=0', {}],
  ];
  for (const [code, field, path, init] of wrong) {
    const { status, headers, body, text } = await call(b, path, init);
    t.match(headers.get('content-type') ?? '', /^application\/problem\+json/, path);
    t.equal(body?.code, code, `${path}: ${text}`);
    t.equal(status, errorTable[code].httpStatus, path);
    t.equal(body?.field, field, `${path}: ${text}`);
    t.equal(body?.outcome, 'not-applied');
    t.equal(body?.remedy, errorTable[code].remedy);
  }
  t.strictSame((await call(b, '/v1/jobs')).body.jobs, [], 'no job was made');
});

t.test('a form is refused as a whole where one recording is damaged, or a part is not known', async (t) => {
  const b = await bench(t);
  const cut = digitForm(2);
  cut.append('recording', new Blob([bodyOf(digit.bytes.slice(0, 52))]), 'Test/7/cut.bin');
  const refused = await call(b, `/v1/inferences?model=${b.model}`, { method: 'POST', body: cut });
  t.equal(refused.body.code, 'RECORDING_TRUNCATED');
  t.equal(refused.body.field, 'Test/7/cut.bin');
  const strange = digitForm(1);
  strange.append('weights', new Blob(['x']), 'weights.bin');
  const unknown = await call(b, `/v1/inferences?model=${b.model}`, { method: 'POST', body: strange });
  t.equal(unknown.body.code, 'BAD_REQUEST');
  t.equal(unknown.body.field, 'weights');
  const empty = await call(b, `/v1/inferences?model=${b.model}`, { method: 'POST', body: new FormData() });
  t.equal(empty.status, 400);
  const big = new FormData();
  big.append('recording', new Blob([new Uint8Array(5 * 2 ** 20 + 5)]), 'Test/7/big.bin');
  t.equal((await call(b, `/v1/inferences?model=${b.model}`, { method: 'POST', body: big })).status, 413);
});

t.test('models are stored under the digest of their files and checked first', async (t) => {
  const b = await bench(t);
  const { models } = (await call(b, '/v1/models')).body;
  t.strictSame(models.map(({ id }: { id: string }) => id), [b.bundle.digest]);
  const one = (await call(b, `/v1/models/${b.model}`)).body;
  t.strictSame(one.layers.map(({ name }: { name: string }) => name), ['conv0', 'conv1', 'linear0']);
  t.equal(one.chipId, null);
  const files = filesOfBundle(smallBundle());
  files.delete('conv1.mask.npy');
  const form = new FormData();
  for (const [name, bytes] of files) form.append('file', new Blob([bodyOf(bytes)]), name);
  const refused = await call(b, '/v1/models', { method: 'POST', body: form });
  t.equal(refused.status, 400);
  t.equal(refused.body.code, 'BAD_BUNDLE');
  t.equal(refused.body.field, 'conv1.mask.npy');
});

t.test('devices say what they are; ready means that a no-op came back', async (t) => {
  const board = await TcpBoard.start('ideal');
  t.teardown(() => board.close());
  const b = await serviceBench(t, { devices: [board.address] });
  await call(b, `/v1/inferences?model=${b.model}&wait=30`, { method: 'POST', headers: octets, body: bodyOf(digit.bytes) });
  const { devices } = (await call(b, '/v1/devices')).body;
  t.equal(devices.length, 1);
  t.equal(devices[0].chipId, 'sim-ideal-1');
  t.equal(devices[0].state, 'ready');
  t.equal(devices[0].temperatureCelsius, 25);
  t.ok(devices[0].capabilities.includes('RunNetwork'));
  t.strictSame((await call(b, `/v1/devices/${devices[0].id}`)).body, devices[0]);
  t.equal((await call(b, '/health/ready')).status, 200);
  board.unplug();
  const unready = await call(b, '/health/ready');
  t.equal(unready.status, 503);
  t.equal(unready.body.ready, false);
  t.equal((await call(b, '/health/live')).status, 200);
});

t.test('/docs describes every route', async (t) => {
  const b = await bench(t);
  const document = (await call(b, '/docs/json')).body;
  t.match(document.openapi, /^3\.1/);
  const routes = [
    '/v1/inferences', '/v1/jobs', '/v1/jobs/{id}', '/v1/jobs/{id}/results', '/v1/jobs/{id}/stop', '/v1/devices', '/v1/devices/{id}',
    '/v1/models', '/v1/models/{id}', '/v1/telemetry', '/metrics', '/health/live', '/health/ready',
  ];
  for (const path of routes) t.ok(path in document.paths, path);
  t.equal((await call(b, '/docs')).status, 200);
});

t.test('with a token set, every route but /health asks for it', async (t) => {
  const token = 'a-secret-of-this-test';
  const b = await serviceBench(t, { token });
  for (const path of ['/v1/jobs', '/metrics', '/docs', '/v1/nowhere']) {
    const { status, body } = await call(b, path);
    t.equal(status, 401, path);
    t.equal(body.code, 'TOKEN_REQUIRED');
  }
  t.equal((await call(b, '/v1/jobs', { headers: { authorization: `Bearer ${token}x` } })).status, 401);
  t.equal((await call(b, '/v1/jobs', { headers: { authorization: `Bearer ${token}` } })).status, 200);
  t.equal((await call(b, '/health/live')).status, 200);
});

t.test('a page of another origin may not use the service', async (t) => {
  const b = await bench(t);
  t.equal((await call(b, '/v1/jobs', { headers: { origin: 'http://elsewhere.example' } })).status, 400);
  t.equal((await call(b, '/v1/jobs', { headers: { origin: b.service.url } })).status, 200);
});

t.test('a job can be stopped, and its end is final', async (t) => {
  const b = await bench(t);
  const many = new FormData();
  for (let copy = 0; copy < 200; copy += 1) many.append('recording', new Blob([bodyOf(digit.bytes)]), `Test/7/${copy}.bin`);
  const { job } = (await call(b, `/v1/inferences?model=${b.model}&earlyStop=false`, { method: 'POST', body: many })).body;
  t.equal((await call(b, `/v1/jobs/${job.id}/stop`, { method: 'POST' })).status, 200);
  await call(b, `/v1/jobs/${job.id}/results?follow=true`);
  t.equal((await call(b, `/v1/jobs/${job.id}`)).body.state, 'STOPPED');
  t.equal((await call(b, `/v1/jobs/${job.id}/stop`, { method: 'POST' })).body.code, 'JOB_STATE_CONFLICT');
});
