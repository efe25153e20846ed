import type { Frame } from '../../../firmware-protocol/frame.js';
import { deviceMessageCodec, logRecordCodec, programCodec } from '../../../proto/codec.js';
import { type MethodRequests, policies, streams, type Telemetry } from '../../../proto/message.js';
import type { Bench } from '../bench.js';
import { type Conversation, expectFailure, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { wrap } from '../raw-host.js';
import { expectAnswer } from './framing.js';
import { smallProgram } from './method.js';

const section = 'PROTOCOL.md §Log and telemetry (2)';
const capabilities = ['Subscribe'];
const intervalMilliseconds = 40;

type Subscription = { stream: (typeof streams)[number]; policy: (typeof policies)[number]; decimation?: number; interval?: number };

const bodyOf = ({ stream, policy, decimation = 0, interval = intervalMilliseconds }: Subscription): MethodRequests['subscribe'] => ({
  stream: streams.indexOf(stream), policy: policies.indexOf(policy), decimation, intervalMilliseconds: stream === 'timestep' ? 0 : interval,
});

async function subscribe(conversation: Conversation, subscription: Subscription): Promise<void> {
  const body = bodyOf(subscription);
  const result = expectResult(await conversation.request('subscribe', body), 'subscribe');
  expectEqual('stream and policy of the answer:', [result.stream, result.policy], [body.stream, body.policy]);
}

const ofStream = (stream: Subscription['stream'], samples: readonly Telemetry[]) => samples.filter((sample) => sample.stream === streams.indexOf(stream));

const samplesOf = ({ messages }: Conversation) => messages.flatMap(({ telemetry }) => telemetry ?? []);

/** Samples that came in DATAGRAM frames of the session. */
function datagramsOf({ host, session }: Conversation): { frame: Frame; sample: Telemetry }[] {
  return host.frames.flatMap(({ frame }) => {
    if (frame.type !== 'DATAGRAM' || frame.session !== session) return [];
    const message = deviceMessageCodec.decode(frame.payload);
    return message.ok && message.value.telemetry ? [{ frame, sample: message.value.telemetry }] : [];
  });
}

/** Sequence numbers rise, link times do, and what is missing was counted. */
function expectSound(samples: readonly Telemetry[], step: number): void {
  for (const [index, sample] of samples.entries()) {
    const before = samples[index - 1];
    if (before === undefined) continue;
    const times = [before.linkTimeMicroseconds, sample.linkTimeMicroseconds];
    expect(times[1] >= times[0], 'link times that rise', times.join(', '));
    const missing = (sample.sequence - before.sequence) / step - 1;
    expect(missing >= 0 && Number.isInteger(missing), `sequence numbers that rise by ${step}`, `${before.sequence}, ${sample.sequence}`);
    expect(sample.dropped >= before.dropped, 'a count of dropped samples that does not fall', `${before.dropped}, ${sample.dropped}`);
  }
}

async function lossless(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await subscribe(conversation, { stream: 'status', policy: 'lossless' });
  await conversation.host.until(() => (samplesOf(conversation).length >= 5 ? true : undefined), 3000);
  const samples = ofStream('status', samplesOf(conversation));
  expect(samples.length >= 5, `five samples of STATUS at ${intervalMilliseconds} ms within 3 s`, `${samples.length}`);
  expectEqual('sequence numbers:', samples.slice(0, 5).map(({ sequence }) => sequence), [0, 1, 2, 3, 4].map((index) => index + samples[0].sequence));
  expect(samples[0].sequence <= 1, 'a first sample of sequence 0', String(samples[0].sequence));
  expectEqual('dropped samples:', samples[4].dropped, 0);
  expectSound(samples, 1);
  const { status } = samples[0];
  expect(Boolean(status), 'a Status in samples of STATUS', JSON.stringify(Object.keys(samples[0])));
  expectEqual('boot id in a sample:', status?.bootId, conversation.identity.bootId);
  expectEqual('samples in DATAGRAM frames under LOSSLESS:', datagramsOf(conversation).length, 0);
  const elapsed = (samples[4].linkTimeMicroseconds - samples[0].linkTimeMicroseconds) / 1000;
  const isInTime = elapsed >= 3 * intervalMilliseconds && elapsed <= 20 * intervalMilliseconds;
  expect(isInTime, `four intervals of ${intervalMilliseconds} ms`, `${elapsed.toFixed(1)} ms`);
}

/** The host acknowledges ten frames a second where a hundred samples are made: the queue of the board is bounded, and what it cannot hold is counted. */
async function overflow(bench: Bench): Promise<void> {
  const conversation = await bench.open({ windowFrames: 8 });
  await subscribe(conversation, { stream: 'status', policy: 'lossless', interval: 10 });
  await conversation.host.until(() => samplesOf(conversation)[0], 1000);
  const next = (conversation.dataFrames.at(-1)?.frame.sequence ?? 0) + 1;
  conversation.acknowledges = false;
  for (let frame = 0; frame < 15; frame += 1) {
    await conversation.host.rest(100);
    conversation.sendAcknowledgement({ acknowledge: next + frame });
  }
  conversation.acknowledges = true;
  conversation.sendAcknowledgement();
  const isCounted = () => samplesOf(conversation).find(({ dropped }) => dropped > 0);
  await conversation.host.until(isCounted, 3000);
  const samples = samplesOf(conversation);
  expectSound(samples, 1);
  const last = samples.at(-1);
  expect((last?.dropped ?? 0) > 0, 'dropped samples after 1.5 s of a host that is too slow', String(last?.dropped));
}

async function latest(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await subscribe(conversation, { stream: 'status', policy: 'latest' });
  await conversation.host.until(() => (datagramsOf(conversation).length >= 5 ? true : undefined), 3000);
  const got = datagramsOf(conversation);
  expect(got.length >= 5, 'five samples in DATAGRAM frames within 3 s', `${got.length}`);
  expectSound(got.map(({ sample }) => sample), 1);
  for (const { frame } of got) expectEqual('sequence of a DATAGRAM frame:', frame.sequence, 0);
  expectEqual('samples in DATA frames under LATEST:', samplesOf(conversation).length, 0);
}

async function decimate(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await subscribe(conversation, { stream: 'status', policy: 'decimate', decimation: 3, interval: 20 });
  await conversation.host.until(() => (datagramsOf(conversation).length >= 4 ? true : undefined), 3000);
  const samples = datagramsOf(conversation).map(({ sample }) => sample);
  expect(samples.length >= 4, 'four samples within 3 s', `${samples.length}`);
  expectSound(samples, 3);
  expectEqual('place of a sample in its group of three:', samples[0].sequence % 3, 0);
}

async function ends(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const count = () => samplesOf(conversation).length;
  const isQuiet = async (what: string) => {
    await expectAnswer(conversation);
    const before = count();
    await conversation.host.rest(5 * intervalMilliseconds);
    expectEqual(`samples after ${what}:`, count() - before, 0);
  };
  await subscribe(conversation, { stream: 'status', policy: 'lossless' });
  await conversation.host.until(() => samplesOf(conversation)[0], 1000);
  await subscribe(conversation, { stream: 'status', policy: 'off' });
  await isQuiet('OFF');
  await subscribe(conversation, { stream: 'status', policy: 'lossless' });
  const next = await bench.open();
  await next.host.rest(5 * intervalMilliseconds);
  await expectAnswer(next);
  expectEqual('samples of a subscription of the session before:', samplesOf(next).length + datagramsOf(next).length, 0);
}

async function ranges(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const wrong: MethodRequests['subscribe'][] = [
    bodyOf({ stream: 'status', policy: 'lossless', interval: 9 }),
    bodyOf({ stream: 'link', policy: 'latest', interval: 60_001 }),
    bodyOf({ stream: 'status', policy: 'decimate', decimation: 0 }),
    bodyOf({ stream: 'status', policy: 'decimate', decimation: 1001 }),
    { ...bodyOf({ stream: 'status', policy: 'latest' }), stream: 77 },
    { ...bodyOf({ stream: 'status', policy: 'latest' }), policy: 77 },
  ];
  for (const body of wrong) expectFailure(await conversation.request('subscribe', body), 'REQUEST_INVALID', 'NOT_APPLIED', /[a-z]+.*\d/i);
}

async function timesteps(bench: Bench): Promise<void> {
  bench.need('LoadProgram', 'RunNetwork');
  const conversation = await bench.open();
  await subscribe(conversation, { stream: 'timestep', policy: 'lossless' });
  const programSha256 = await conversation.upload(programCodec.encode(smallProgram()));
  expectResult(await conversation.request('loadProgram', { sha256: programSha256 }), 'loadProgram');
  const framesSha256 = await conversation.upload(Uint8Array.of(0x21, 0x43, 0x65, 0x87));
  const id = bench.newId();
  expectResult(await conversation.request('runNetwork', { programSha256, framesSha256, inferenceNumber: 1 }, { id }), 'runNetwork');
  await conversation.host.until(() => (samplesOf(conversation).length >= 2 ? true : undefined), 1000);
  const samples = ofStream('timestep', samplesOf(conversation)).map(({ timestep }) => timestep);
  const progress = conversation.progressOf(id).map(({ timestep }) => timestep);
  const plain = (steps: typeof samples) => steps.map((step) => [step?.timestep ?? 0, ...(step?.membranes ?? [])]);
  expectEqual('samples of a run of two timesteps:', plain(samples), plain(progress));
}

async function linkReports(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await subscribe(conversation, { stream: 'link', policy: 'lossless' });
  const reports = () => ofStream('link', samplesOf(conversation)).flatMap(({ link }) => link ?? []);
  const first = await conversation.host.until(() => reports()[0], 2000);
  expect(first !== undefined, 'a sample of LINK within 2 s', 'none');
  conversation.host.write(wrap(new Uint8Array(30).fill(1), () => 0xdeadbeef));
  const isCounted = () => reports().find(({ discardedChecksum }) => discardedChecksum === first.discardedChecksum + 1);
  const counted = await conversation.host.until(isCounted, 2000);
  const last = String(reports().at(-1)?.discardedChecksum);
  expect(counted !== undefined, `discarded_checksum ${first.discardedChecksum + 1} after a frame with a wrong checksum`, last);
  expect(counted.framesReceived > first.framesReceived, 'frames_received that rises', `${first.framesReceived}, ${counted.framesReceived}`);
  expect(counted.framesSent > first.framesSent, 'frames_sent that rises', `${first.framesSent}, ${counted.framesSent}`);
}

/** What the board has logged since the suite began: a controller that has started says so in its first session. */
async function logs(bench: Bench): Promise<void> {
  if (bench.logs.length === 0 && bench.options.allowsRestart && bench.declares('Restart')) await bench.restart();
  const conversation = await bench.open({ protocolMinimum: 2 });
  await conversation.host.rest(100);
  const sequences = new Map<number, number>();
  for (const { session, payload } of bench.logs) {
    const record = logRecordCodec.decode(payload);
    expect(record.ok, 'LOG with a LogRecord', `${payload.length} bytes that are none`);
    const { sequence, level, text } = record.value;
    const before = sequences.get(session) ?? -1;
    expect(sequence > before, `a sequence above ${before}`, String(sequence));
    expect(level <= 3, 'a level from 0 to 3', String(level));
    const bytes = new TextEncoder().encode(text).length;
    expect(bytes > 0 && bytes <= 400, 'a text of 1 to 400 bytes', `${bytes}`);
    sequences.set(session, sequence);
  }
  if (sequences.size === 0) throw new NotRun('the board has logged nothing since the suite began');
}

const two = { protocol: 2, capabilities } as const;

export const telemetryItems: readonly Item[] = [
  { name: 'telemetry-lossless', section, title: 'LOSSLESS comes in DATA frames, each sample once', ...two, run: lossless },
  { name: 'telemetry-overflow', section, title: 'what a bounded queue cannot hold is counted', ...two, run: overflow },
  { name: 'telemetry-latest', section, title: 'LATEST comes in DATAGRAM frames', ...two, run: latest },
  { name: 'telemetry-decimate', section, title: 'DECIMATE sends the first of each group', ...two, run: decimate },
  { name: 'telemetry-ends', section, title: 'OFF ends a stream, and so does the session', ...two, run: ends },
  { name: 'telemetry-ranges', section, title: 'values out of range are refused', ...two, run: ranges },
  { name: 'telemetry-timesteps', section, title: 'TIMESTEP says what Progress says', ...two, run: timesteps },
  { name: 'telemetry-link', section, title: 'LINK counts frames and what was discarded', ...two, run: linkReports },
  { name: 'log-record', section, title: 'LOG frames carry a LogRecord', protocol: 2, run: logs },
];
