// Aim: every recording is read as it was written, and no file, however broken, does worse than a named error with its offset.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { MacroError } from '../proto/error.js';
import { readMnist } from '../server/dataset/mnist.js';
import { findRecordings } from '../server/dataset/nmnist.js';
import { encodeRecording, maximumRecordingBytes, parseRecording } from '../server/dataset/recording.js';

const data = process.env['PRIME_DATA'];

const event = fc.record({
  x: fc.integer({ min: 0, max: 33 }),
  y: fc.integer({ min: 0, max: 33 }),
  polarity: fc.integer({ min: 0, max: 1 }),
  time: fc.integer({ min: 0, max: 2 ** 23 - 1 }),
});

const recordings = fc.array(event, { minLength: 10, maxLength: 200 }).map((events) => {
  const sorted = events.sort((left, right) => left.time - right.time);
  return {
    name: 'r.bin',
    label: 3,
    x: Uint8Array.from(sorted, ({ x }) => x),
    y: Uint8Array.from(sorted, ({ y }) => y),
    polarity: Uint8Array.from(sorted, ({ polarity }) => polarity),
    timeMicroseconds: Uint32Array.from(sorted, ({ time }) => time),
  };
});

/** Ten events, one a millisecond, walking right. */
const plain = () => Uint8Array.from(Array.from({ length: 10 }, (_, x) => [x, 7, 0x80, (x * 1000) >> 8, (x * 1000) & 255]).flat());

const refusal = (bytes: Uint8Array) => {
  try {
    parseRecording(bytes, 'broken.bin');
  } catch (error) {
    return error as MacroError;
  }
  return undefined;
};

t.test('what is written is read again, event by event', async () => {
  fc.assert(fc.property(recordings, (recording) => {
    assert.deepEqual(parseRecording(encodeRecording(recording), recording.name, recording.label), recording);
  }), { numRuns: 200 });
});

t.test('an event is x, y, polarity in bit 7 and 23 bits of microseconds, big-endian', async (t) => {
  const bytes = plain();
  bytes.set([33, 0, 0x7f, 0xff, 0xfe], 45);
  const { x, y, polarity, timeMicroseconds } = parseRecording(bytes, 'r.bin');
  t.strictSame([x[9], y[9], polarity[9], timeMicroseconds[9]], [33, 0, 0, 2 ** 23 - 2]);
  t.equal(polarity[0], 1);
});

t.test('broken recordings are refused with file and offset', async (t) => {
  const set = (offset: number, ...values: number[]) => {
    const bytes = plain();
    bytes.set(values, offset);
    return bytes;
  };
  const cases: [string, Uint8Array, string, RegExp][] = [
    ['no byte', new Uint8Array(0), 'RECORDING_EMPTY', /offset 0 with 0 events/],
    ['nine events', plain().subarray(0, 45), 'RECORDING_EMPTY', /offset 45 with 9 events/],
    ['half an event', plain().subarray(0, 48), 'RECORDING_TRUNCATED', /offset 45 has 3 of 5 bytes/],
    ['x out of range', set(15, 34), 'RECORDING_INVALID', /event 3 at offset 15: x is 34, the range is 0 to 33/],
    ['y out of range', set(21, 255), 'RECORDING_INVALID', /event 4 at offset 20: y is 255/],
    ['time running backwards', set(27, 0, 0, 1), 'RECORDING_INVALID', /event 5 at offset 25: time runs backwards from 4000 to 1 µs/],
    ['too large', new Uint8Array(maximumRecordingBytes + 5), 'RECORDING_TOO_LARGE', /limit is 5242880/],
  ];
  for (const [name, bytes, code, detail] of cases) {
    const error = refusal(bytes);
    t.equal(error?.code, code, name);
    t.match(error?.message, detail, name);
    t.match(error?.message, /broken\.bin/, name);
  }
});

t.test('any bytes are either a recording or a named error', async () => {
  const broken = fc.tuple(recordings, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), fc.nat({ max: 4 }));
  const allowed = ['RECORDING_EMPTY', 'RECORDING_TRUNCATED', 'RECORDING_INVALID'];
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), broken.map(([recording, changes, cut]) => {
    const bytes = encodeRecording(recording);
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes.subarray(0, bytes.length - cut);
  })), (bytes) => {
    const error = refusal(bytes);
    if (error === undefined) assert.deepEqual(encodeRecording(parseRecording(bytes, 'r')), Uint8Array.from(bytes));
    else assert.ok(error instanceof MacroError && allowed.includes(error.code), error.message);
  }), { numRuns: 300 });
});

t.test('a time that does not fit 23 bits is not written', async (t) => {
  const recording = parseRecording(plain(), 'long.bin');
  recording.timeMicroseconds[9] = 2 ** 23;
  t.throws(() => encodeRecording(recording), { code: 'RECORDING_INVALID' });
});

t.test('recordings are found in folders by extension, sorted by path, labelled by their folder', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'recordings-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const folder of ['Test/7', 'Test/10', 'loose', 'none']) mkdirSync(join(root, folder), { recursive: true });
  const files = ['Test/7/2.bin', 'Test/7/1.bs2', 'Test/7/notes.txt', 'Test/10/3.BIN', 'loose/a.bin'];
  for (const file of files) writeFileSync(join(root, file), plain());
  const found = findRecordings([join(root, 'loose'), join(root, 'Test'), join(root, 'Test', '7', '2.bin')]);
  const expected = [['Test/10/3.BIN', 10], ['Test/7/1.bs2', 7], ['Test/7/2.bin', 7], ['loose/a.bin', null]];
  t.strictSame(found.map(({ input, label }) => [input, label]), expected);
  t.strictSame(findRecordings([join(root, 'Test/7/notes.txt')]).length, 1, 'a file that is named is taken');
  t.throws(() => findRecordings([join(root, 'none')]), { code: 'INPUT_NOT_FOUND' });
  t.throws(() => findRecordings([join(root, 'absent')]), { code: 'INPUT_NOT_FOUND' });
});

t.test('MNIST is read from its package', async (t) => {
  const test = readMnist('test');
  t.equal(test.count, 10_000);
  t.equal(test.images.length, 10_000 * 784);
  t.strictSame(Array.from(test.labels.subarray(0, 10)), [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
  t.equal(readMnist('train').count, 60_000);
});

t.test('every real recording is read and written back to the byte', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const files = findRecordings([join(data as string, 'nmnist')]);
  t.equal(files.length, 1000);
  const changed = files.filter(({ path, input, label }) => {
    const bytes = readFileSync(path);
    return bytes.compare(encodeRecording(parseRecording(bytes, input, label))) !== 0;
  });
  t.strictSame(changed, []);
});
