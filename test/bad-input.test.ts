// Whatever comes in or falls out: a clear error with a code, the service stays up, and the next job works.
import t, { type Test } from 'tap';
import type { ErrorCode } from '../proto/error.js';
import { exitCodeOf } from '../server/cli/console.js';
import { filmedDigits } from './digits.js';
import { call, type ServiceBench, serviceBench } from './service-bench.js';
import { TcpBoard } from './tcp-board.js';
import { openTelemetry } from './telemetry-client.js';

const octets = { 'content-type': 'application/octet-stream' };
const [digit] = filmedDigits(1);
const bodyOf = (bytes: Uint8Array) => bytes as Uint8Array<ArrayBuffer>;

function post(bench: ServiceBench, bytes: Uint8Array, query = '') {
  return call(bench, `/v1/inferences?model=${bench.model}&wait=60${query}`, { method: 'POST', headers: octets, body: bodyOf(bytes) });
}

/** The service is up, and a good recording is answered. */
async function nextJobWorks(t: Test, bench: ServiceBench): Promise<void> {
  t.equal((await call(bench, '/health/live')).status, 200);
  const { status, body, text } = await post(bench, digit.bytes);
  t.equal(status, 200, text);
  t.equal(body?.job.state, 'SUCCEEDED');
}

function refused(t: Test, answer: Awaited<ReturnType<typeof post>>, code: ErrorCode): void {
  t.equal(answer.body?.code, code, answer.text);
  t.ok(answer.status >= 400);
  t.ok(answer.body?.detail.length > 10 && answer.body?.remedy.length > 10);
}

async function boardBench(t: Test, devices: readonly string[] = []): Promise<{ board: TcpBoard; bench: ServiceBench }> {
  const board = await TcpBoard.start('ideal');
  t.teardown(() => board.close());
  return { board, bench: await serviceBench(t, { devices: [board.address, ...devices], connectTimeoutMilliseconds: 1500 }) };
}

t.test('damaged recordings and wrong choices', async (t) => {
  const { bench } = await boardBench(t);
  const outside = digit.bytes.slice();
  outside[0] = 34;
  const backwards = digit.bytes.slice();
  backwards.set([0x7f, 0xff, 0xff], 2);
  refused(t, await post(bench, digit.bytes.slice(0, 52)), 'RECORDING_TRUNCATED');
  refused(t, await post(bench, new Uint8Array(0)), 'RECORDING_EMPTY');
  refused(t, await post(bench, digit.bytes.slice(0, 5)), 'RECORDING_EMPTY');
  refused(t, await post(bench, outside), 'RECORDING_INVALID');
  refused(t, await post(bench, backwards), 'RECORDING_INVALID');
  refused(t, await post(bench, new Uint8Array(6 * 2 ** 20)), 'RECORDING_TOO_LARGE');
  refused(t, await post(bench, new Uint8Array(20 * 2 ** 20)), 'REQUEST_TOO_LARGE');
  refused(t, await post(bench, digit.bytes, '&threshold=NaN'), 'BAD_THRESHOLD');
  refused(t, await post({ ...bench, model: 'a'.repeat(64) }, digit.bytes), 'MODEL_UNKNOWN');
  await nextJobWorks(t, bench);
});

t.test('a device that is absent', async (t) => {
  const gone = await TcpBoard.start('ideal');
  gone.close();
  const { bench } = await boardBench(t, [gone.address]);
  const devices = (await call(bench, '/v1/devices')).body.devices as { id: string; address: string }[];
  const [here, absent] = devices.map(({ id }) => id);
  refused(t, await post(bench, digit.bytes), 'BAD_REQUEST');
  refused(t, await post(bench, digit.bytes, `&device=${absent}`), 'DEVICE_UNREACHABLE');
  t.equal((await call(bench, '/health/ready')).status, 503);
  t.equal((await post(bench, digit.bytes, `&device=${here}`)).status, 200);
});

/** A long job; resolves when its first timestep has been told, so that the cut falls into the run. */
async function startLongJob(t: Test, bench: ServiceBench): Promise<string> {
  const telemetry = await openTelemetry(t, bench, 'topics=timestep');
  const form = new FormData();
  for (let copy = 0; copy < 400; copy += 1) form.append('recording', new Blob([bodyOf(digit.bytes)]), `Test/7/${copy}.bin`);
  const { status, body } = await call(bench, `/v1/inferences?model=${bench.model}&earlyStop=false`, { method: 'POST', body: form });
  t.equal(status, 202);
  await telemetry.next((message) => message.topic === 'timestep');
  telemetry.close();
  return body.job.id;
}

async function endOf(bench: ServiceBench, job: string) {
  await call(bench, `/v1/jobs/${job}/results?follow=true`);
  return (await call(bench, `/v1/jobs/${job}`)).body;
}

t.test('a device that is unplugged in the middle of a run, and put back', async (t) => {
  const { board, bench } = await boardBench(t);
  const id = await startLongJob(t, bench);
  board.unplug();
  const job = await endOf(bench, id);
  t.equal(job.state, 'INTERRUPTED');
  t.equal(job.failure.code, 'DEVICE_LOST');
  t.equal(job.failure.outcome, 'applied', 'the weights of the bundle were on the chip by then');
  t.ok(job.progress.done < 400);
  const told = await bench.client.ended(id).catch((error: unknown) => error);
  t.match(told, { message: new RegExp(`^DEVICE_LOST: job ${id} is INTERRUPTED: .* submit the job again\\.$`) });
  t.equal(exitCodeOf(told), 1);
  await board.plug();
  await nextJobWorks(t, bench);
});

t.test('a cable that comes back in time costs nothing', async (t) => {
  const { board, bench } = await boardBench(t);
  const id = await startLongJob(t, bench);
  board.unplug();
  await board.plug();
  const job = await endOf(bench, id);
  t.equal(job.state, 'SUCCEEDED');
  t.equal(job.summary.recordings, 400);
});

t.test('a device that restarts in the middle of a run', async (t) => {
  const { board, bench } = await boardBench(t);
  const id = await startLongJob(t, bench);
  await board.powerCycle();
  const job = await endOf(bench, id);
  t.equal(job.state, 'INTERRUPTED');
  t.equal(job.failure.code, 'DEVICE_RESTARTED');
  await nextJobWorks(t, bench);
});
