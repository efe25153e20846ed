// Captures: what passes on a line comes back frame by frame, from a file that was cut, damaged, turned over or never finished.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { headerAndPayload, wrap } from '../driver/conformance/raw-host.js';
import { CaptureDecoder, capturedChannel, CaptureReader, type CaptureRecord, captureHeader, encodeCaptureRecord } from '../driver/index.js';
import type { ByteChannelEvents } from '../firmware-protocol/byte-channel.js';
import { encodeFrame, type Frame } from '../firmware-protocol/frame.js';
import { hostMessageCodec } from '../proto/codec.js';
import { CaptureFile, parseCaptureLimit } from '../server/capture/capture-file.js';
import { main } from '../server/cli/main.js';
import { systemClock } from '../server/system-clock.js';
import { bufferConsole } from './console.js';
import { VirtualClock } from './rig/virtual-clock.js';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'prime-hil-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const wallMilliseconds = () => Date.UTC(2026, 0, 2, 3, 4, 5, 6);
const header = captureHeader({ hostVersion: '0' });
const data = (payload: Uint8Array, sequence = 0): Frame =>
  ({ version: 1, type: 'DATA', flags: 0, session: 77, sequence, acknowledge: 0, selective: 0, credit: 60_000, payload });
const scratch = hostMessageCodec.encode({
  request: { requestId: new Uint8Array(16).fill(9), deadlineMicroseconds: 0, leaseEpoch: 0, scratch: { add: 3 } },
});

/** A line whose far end is the test, with a tap on it. */
function tappedLine() {
  const clock = new VirtualClock();
  const records: Uint8Array[] = [];
  let far: ByteChannelEvents | undefined;
  const sent: Uint8Array[] = [];
  const bare = { attach: (events: ByteChannelEvents) => void (far = events), write: (bytes: Uint8Array) => void sent.push(bytes), queuedBytes: 0, close() {} };
  const put = (record: Uint8Array) => void records.push(record);
  const sink = { append: put, open: (_line: number, record: Uint8Array) => put(record), close: (_line: number, record: Uint8Array) => put(record) };
  const line = { number: 1, name: 'macro-0 tcp://board:1', clock, wallMilliseconds, clockOffsetMicroseconds: () => 42 };
  const channel = capturedChannel(bare, line, sink);
  const heard: Uint8Array[] = [];
  channel.attach({ data: (bytes) => void heard.push(bytes), drain: () => undefined, close: () => undefined });
  return { clock, channel, sent, heard, receive: (bytes: Uint8Array) => far?.data(bytes), file: () => Buffer.concat([header, ...records]) };
}

function recordsOf(bytes: Uint8Array): CaptureRecord[] {
  const reader = new CaptureReader();
  const records = reader.push(bytes);
  reader.end();
  return records;
}

const textsOf = (bytes: Uint8Array) => {
  const decoder = new CaptureDecoder();
  return recordsOf(bytes).flatMap((record) => decoder.take(record)).map(({ text }) => text);
};

async function prime(...argv: string[]) {
  const console = bufferConsole();
  const exitCode = await main(argv, console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('frames of both ends, what was discarded and why, and the end of the line', async (t) => {
  const { clock, channel, sent, heard, receive, file } = tappedLine();
  channel.write(encodeFrame(data(scratch)));
  await clock.advance(1500);
  receive(encodeFrame({ ...data(new Uint8Array()), type: 'ACK', acknowledge: 1 }));
  receive(wrap(headerAndPayload(data(scratch, 1), 3), () => 0x01020304));
  receive(Uint8Array.of(1, 2, 3));
  channel.close();
  t.equal(sent.length, 1);
  t.equal(heard.length, 3);
  t.match(textsOf(file()), [
    '· the line was opened: macro-0 tcp://board:1',
    /^→ DATA {6}0000004d seq 0 .* 24 bytes {2}Request (09){16} .*scratch \{add 3\}/,
    /^← ACK {7}0000004d ack 1/,
    /^← \d+ bytes discarded: wrong checksum \(crc\)/,
    '← 3 bytes discarded: the line ended before their 00',
    '· the line was closed: closed here',
  ]);
  const [, first, second] = recordsOf(file());
  t.match(first, { hostMicroseconds: 0, wallMilliseconds: wallMilliseconds(), linkTimeMicroseconds: 42, isComplete: true });
  t.equal(second?.hostMicroseconds, 1500);
});

t.test('whatever the chunks, the capture holds the bytes of the line', async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 8 }), fc.nat(50), async (chunks, size) => {
    const { channel, file, receive } = tappedLine();
    for (const chunk of chunks) receive(chunk);
    channel.close();
    const whole = Buffer.concat(chunks);
    const segments = whole.toString('latin1').split('\0').filter((segment) => segment !== '');
    const reader = new CaptureReader();
    const records: CaptureRecord[] = [];
    const bytes = file();
    for (let at = 0; at < bytes.length; at += size + 1) records.push(...reader.push(bytes.subarray(at, at + size + 1)));
    const ofBoard = records.filter(({ kind }) => kind === 'board');
    const kept = ofBoard.map(({ data: piece, isComplete }) => Buffer.from(piece).toString('latin1') + (isComplete ? '\0' : ''));
    return reader.end() === undefined && kept.join('').replace(/\0$/, '') === segments.join('\0');
  }), { numRuns: 60 });
});

t.test('a capture that is cut anywhere is read up to the cut, and the error says where', async (t) => {
  const { channel, file } = tappedLine();
  for (let sequence = 0; sequence < 3; sequence += 1) channel.write(encodeFrame(data(scratch, sequence)));
  const bytes = file();
  const whole = recordsOf(bytes).length;
  const ends = [header.length];
  for (const record of recordsOf(bytes)) ends.push((ends.at(-1) ?? 0) + encodeCaptureRecord(record).length);
  for (let cut = 0; cut < bytes.length; cut += 1) {
    const reader = new CaptureReader();
    const records = reader.push(bytes.subarray(0, cut));
    const isClean = ends.includes(cut);
    t.equal(reader.end() === undefined, isClean, `cut at ${cut}`);
    if (!isClean) t.equal(reader.fault?.offset, cut < header.length ? 0 : Math.max(...ends.filter((end) => end <= cut)));
    t.ok(records.length <= whole);
  }
});

t.test('a flipped bit is found, and what stands before it is printed', async (t) => {
  const { channel, file } = tappedLine();
  for (let sequence = 0; sequence < 3; sequence += 1) channel.write(encodeFrame(data(scratch, sequence)));
  const bytes = file();
  const path = join(folder(t), 'line.capture');
  bytes[bytes.length - 5] ^= 1;
  writeFileSync(path, bytes);
  const { exitCode, stdout, stderr } = await prime('decode', path);
  t.equal(exitCode, 2);
  t.equal(stdout.match(/→ DATA/g)?.length, 2);
  t.match(stderr, /^CAPTURE_INVALID: .*line\.capture, offset \d+: a record whose checksum is wrong\. /);
});

t.test('decode: JSON, hexadecimal, stdin-less errors, plain bytes', async (t) => {
  const { clock, channel, receive, file } = tappedLine();
  channel.write(encodeFrame(data(scratch)));
  await clock.advance(2_000_000);
  receive(Uint8Array.of(7, 7, 0));
  const path = join(folder(t), 'line.capture');
  writeFileSync(path, file());
  const people = await prime('decode', path, '--hex');
  t.equal(people.exitCode, 0, people.stderr);
  t.match(people.stdout, /2026-01-02T03:04:05\.006Z +0\.000000 +0\.000042 macro-0 → DATA/);
  t.match(people.stdout, / 2\.000000 .*← 2 bytes discarded/);
  t.match(people.stdout, /\n {6}0000 {2}03 01 03 /);
  const json = (await prime('decode', path, '--json', '--hex')).stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
  t.match(json[1], {
    kind: 'host', sender: 'host', line: 'macro-0 tcp://board:1', linkTimeMicroseconds: 42, frame: { type: 'DATA', session: 77, payloadBytes: 24 },
    message: { request: { requestId: '09'.repeat(16), scratch: { add: 3 } } },
  });
  t.match(json[2], { discarded: { bytes: 2 }, bytes: '0707' });
  const raw = join(folder(t), 'bytes');
  writeFileSync(raw, Buffer.concat([Uint8Array.of(1, 2, 3), encodeFrame(data(scratch)), encodeFrame({ ...data(new Uint8Array()), type: 'HELLO' })]));
  const plain = await prime('decode', raw, '--raw');
  t.equal(plain.exitCode, 0, plain.stderr);
  t.match(plain.stdout, /^← 3 bytes discarded: shorter than a header \(too-short\)\n→ DATA .*scratch \{add 3\}\n→ HELLO/);
  appendFileSync(raw, 'rest');
  const cut = await prime('decode', raw, '--raw', '--sender', 'host');
  t.equal(cut.exitCode, 2);
  t.match(cut.stderr, /offset \d+: 4 bytes without a 00/);
  const refusals: [string, string[]][] = [
    ['INPUT_NOT_FOUND', [join(raw, 'nowhere')]], ['CAPTURE_INVALID', [raw]], ['BAD_ARGUMENT', [raw, '--raw', '--sender', 'nobody']],
    ['BAD_ARGUMENT', [path, '--sender', 'host']], ['BAD_ARGUMENT', []],
  ];
  for (const [code, argv] of refusals) {
    const { exitCode, stderr } = await prime('decode', ...argv);
    t.equal(exitCode, 2);
    t.ok(stderr.startsWith(`${code}: `), stderr);
  }
});

t.test('decode --follow prints what is appended, also when the file has turned over, until it is told to stop', async (t) => {
  const path = join(folder(t), 'line.capture');
  const limit = { bytes: 64 * 1024, files: 2 };
  const file = new CaptureFile({ path, limit, clock: systemClock, wallMilliseconds, hostVersion: '0' });
  const console = bufferConsole();
  const followed = main(['decode', path, '--follow'], console);
  const frame = (sequence: number) => encodeCaptureRecord({
    kind: 'host', isComplete: true, line: 1, hostMicroseconds: sequence, wallMilliseconds: 0, linkTimeMicroseconds: Number.NaN,
    data: encodeFrame(data(new Uint8Array(600), sequence)).slice(1, -1),
  });
  const isPrinted = async (sequence: number) => {
    for (let wait = 0; wait < 100 && !console.stdout().includes(`seq ${sequence} `); wait += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    t.match(console.stdout(), `seq ${sequence} `);
  };
  file.append(frame(1));
  await isPrinted(1);
  for (let sequence = 2; sequence <= 150; sequence += 1) file.append(frame(sequence));
  await isPrinted(150);
  console.stop();
  t.equal(await followed, 0, console.stderr());
  await file.end();
});

t.test('a capture turns over, gives up the oldest, and each file says which lines are open', async (t) => {
  const path = join(folder(t), 'line.capture');
  const limit = parseCaptureLimit('64Kx3');
  const file = new CaptureFile({ path, limit, clock: systemClock, wallMilliseconds, hostVersion: '0' });
  const record = (kind: CaptureRecord['kind'], content: Uint8Array) => encodeCaptureRecord({
    kind, isComplete: true, line: 5, hostMicroseconds: 0, wallMilliseconds: 0, linkTimeMicroseconds: 0, data: content,
  });
  file.open(5, record('opened', new TextEncoder().encode('left')));
  for (let count = 0; count < 200; count += 1) {
    file.append(record('board', new Uint8Array(2000).fill(1 + (count % 200))));
    if (count % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await file.end();
  t.equal(file.dropped, 0);
  for (const name of [path, `${path}.1`, `${path}.2`]) {
    t.ok(statSync(name).size <= limit.bytes, name);
    const records = recordsOf(readFileSync(name));
    t.equal(records[0]?.kind, 'opened', name);
    t.ok(records.length > 2 || name === path);
  }
  t.notOk(existsSync(`${path}.3`));
  const again = new CaptureFile({ path, limit, clock: systemClock, wallMilliseconds, hostVersion: '0' });
  await again.end();
  t.ok(statSync(`${path}.1`).size > 2000, 'an old capture is turned over, not written over');
});

t.test('what the disk cannot take is counted in the file', async (t) => {
  const path = join(folder(t), 'line.capture');
  const file = new CaptureFile({ path, limit: { bytes: 2 ** 30, files: 2 }, clock: systemClock, wallMilliseconds, hostVersion: '0' });
  const big = encodeCaptureRecord({
    kind: 'board', isComplete: true, line: 1, hostMicroseconds: 0, wallMilliseconds: 0, linkTimeMicroseconds: 0, data: new Uint8Array(4096).fill(1),
  });
  for (let count = 0; count < 5000; count += 1) file.append(big); // 20 MB in one go, before the disk has its turn
  const { dropped } = file;
  t.ok(dropped > 1000 && dropped < 5000);
  await file.end();
  const records = recordsOf(readFileSync(path));
  const told = records.filter(({ kind }) => kind === 'dropped').map(({ data: count }) => new DataView(count.buffer, count.byteOffset).getUint32(0, true));
  t.equal(told.reduce((sum, count) => sum + count, 0), dropped);
  t.equal(records.filter(({ kind }) => kind === 'board').length, 5000 - dropped);
});

t.test('a command of its own service records its line, and the capture is decoded', async (t) => {
  const path = join(folder(t), 'line.capture');
  const answer = await prime('devices', '--local', 'sim:ideal', '--capture', path);
  t.equal(answer.exitCode, 0, answer.stderr);
  const { exitCode, stdout, stderr } = await prime('decode', path);
  t.equal(exitCode, 0, stderr);
  t.match(stdout, /the line was opened: macro-0 sim:ideal/);
  t.match(stdout, /→ HELLO .*protocolMinimum 1/);
  t.match(stdout, /← HELLO_ACK .*chipId "sim-ideal-1"/);
  t.match(stdout, /→ DATA .*Request [0-9a-f]{32} .*noOperation/);
  t.match(stdout, /← DATA .*Final [0-9a-f]{32} .*noOperation \{linkTimeMicroseconds/);
  t.match(stdout, /the line was closed/);
});

t.test('wrong limits and places are refused before anything is opened', async (t) => {
  t.strictSame(parseCaptureLimit('64M'), { bytes: 64 * 2 ** 20, files: 4 });
  const refused = [
    ['--capture', join(folder(t), 'no', 'folder', 'file')], ['--capture-limit', '64M'], ['--capture', 'file', '--capture-limit', '1K'],
    ['--capture', 'file', '--capture-limit', '64Mx0'], ['--capture', 'file', '--capture-limit', 'much'],
  ];
  for (const argv of refused) {
    const { exitCode, stderr } = await prime('devices', '--local', 'sim:ideal', ...argv);
    t.equal(exitCode, 2, argv.join(' '));
    t.match(stderr, /^BAD_ARGUMENT: --capture/, argv.join(' '));
  }
  t.match((await prime('devices', '--server', 'http://127.0.0.1:1', '--capture', 'file')).stderr, /^BAD_ARGUMENT: --capture needs --local/);
});
