// The live stream: a snapshot, then events as they happen; a client that is too slow is told what it missed, and costs nobody else.
import t, { type Test } from 'tap';
import { call, digitForm, serviceBench } from './service-bench.js';
import { TcpBoard } from './tcp-board.js';
import { openTelemetry } from './telemetry-client.js';

async function bench(t: Test) {
  const board = await TcpBoard.start('ideal');
  t.teardown(() => board.close());
  return { board, bench: await serviceBench(t, { devices: [board.address] }) };
}

t.test('a client gets a snapshot, then every timestep before the decision', async (t) => {
  const { bench: b } = await bench(t);
  const telemetry = await openTelemetry(t, b);
  const snapshot = await telemetry.next(({ type }) => type === 'snapshot');
  t.equal(telemetry.messages[0], snapshot);
  t.equal(snapshot.devices?.length, 1);
  t.strictSame(snapshot.jobs, []);
  const { body } = await call(b, `/v1/inferences?model=${b.model}&earlyStop=false&wait=30`, { method: 'POST', body: digitForm(2) });
  const ended = await telemetry.next(({ topic, data }) => topic === 'job' && data?.['state'] === 'SUCCEEDED');
  t.equal(ended.jobId, body.job.id);
  const timesteps = telemetry.messages.filter(({ topic }) => topic === 'timestep');
  const expected = [0, 1].flatMap((index) => [0, 1, 2, 3].map((timestep) => [index, timestep]));
  t.strictSame(timesteps.map(({ data }) => [data?.['index'], data?.['timestep']]), expected);
  t.ok(timesteps.every(({ jobId, deviceId }) => jobId === body.job.id && deviceId === body.job.device));
  const lastOfFirst = timesteps[3].data ?? {};
  t.equal(lastOfFirst['confidence'], body.results[0].confidence);
  const order = telemetry.messages.filter(({ topic }) => topic === 'timestep' || topic === 'result').map(({ topic }) => topic);
  t.strictSame(order.slice(0, 5), ['timestep', 'timestep', 'timestep', 'timestep', 'result']);
  const sequences = telemetry.messages.flatMap(({ sequence }) => sequence ?? []);
  t.strictSame(sequences, [...sequences].sort((left, right) => left - right), 'sequences rise');
});

t.test('topics and job filter what is sent', async (t) => {
  const { bench: b } = await bench(t);
  const onlyResults = await openTelemetry(t, b, 'topics=result');
  const everything = await openTelemetry(t, b);
  await call(b, `/v1/inferences?model=${b.model}&wait=30`, { method: 'POST', body: digitForm(2) });
  await everything.next(({ topic, data }) => topic === 'job' && data?.['state'] === 'SUCCEEDED');
  await onlyResults.next(({ data }) => data?.['index'] === 1);
  t.ok(onlyResults.messages.slice(1).every(({ topic }) => topic === 'result'));
  const refused = await call(b, '/v1/telemetry?topics=weather');
  t.equal(refused.status, 400);
  t.equal(refused.body.field, 'topics');
});

t.test('a device that goes away and comes back is seen', async (t) => {
  const { board, bench: b } = await bench(t);
  const telemetry = await openTelemetry(t, b, 'topics=device');
  board.unplug();
  const lost = await telemetry.next(({ data }) => data?.['state'] === 'link-down');
  t.equal(lost.topic, 'device');
  await board.plug();
  const back = await telemetry.next(({ data, sequence }) => data?.['state'] === 'ready' && (sequence ?? 0) > (lost.sequence ?? 0));
  t.equal(back.deviceId, lost.deviceId);
});

t.test('a client that does not read is told of the gap, and holds up nobody', async (t) => {
  const { bench: b } = await bench(t);
  const slow = await openTelemetry(t, b);
  await slow.next(({ type }) => type === 'snapshot');
  slow.pause();
  // More than the buffers of two sockets hold: the rest must wait in the queue, which is bounded.
  for (let turn = 0; turn < 400; turn += 1) {
    for (let event = 0; event < 100; event += 1) b.service.parts.bus.publish({ topic: 'log', data: { text: 'x'.repeat(1000) } });
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { status, body } = await call(b, `/v1/inferences?model=${b.model}&wait=30`, { method: 'POST', body: digitForm(1) });
  t.equal(status, 200);
  t.equal(body.job.state, 'SUCCEEDED');
  slow.resume();
  const gap = await slow.next(({ type }) => type === 'gap');
  t.ok((gap.dropped ?? 0) > 0);
  await slow.next(({ topic, data }) => topic === 'job' && data?.['state'] === 'SUCCEEDED');
  const sequences = slow.messages.flatMap(({ sequence }) => sequence ?? []);
  t.strictSame(sequences, [...new Set(sequences)].sort((left, right) => left - right), 'nothing twice, nothing out of order');
});
