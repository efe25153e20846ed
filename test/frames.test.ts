// Aim: events are counted into timesteps exactly as the published code does, at every border.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { binEvents, type Split, splits } from '../server/dataset/frames.js';
import { findRecordings } from '../server/dataset/nmnist.js';
import { parseRecording, type Recording } from '../server/dataset/recording.js';
import { readNpyArray } from '../server/network/npy.js';

const data = process.env['PRIME_DATA'];
const frameCodes = 2 * 34 * 34;

function recordingOf(times: readonly number[], pixel = (event: number) => event % 34): Recording {
  return {
    name: 'r.bin',
    label: null,
    x: Uint8Array.from(times, (_, event) => pixel(event)),
    y: Uint8Array.from(times, (_, event) => (event * 7) % 34),
    polarity: Uint8Array.from(times, (_, event) => event & 1),
    timeMicroseconds: Uint32Array.from(times),
  };
}

const eventsOf = (codes: Uint8Array) => Array.from({ length: codes.length / frameCodes }, (_, step) =>
  codes.subarray(step * frameCodes, (step + 1) * frameCodes).reduce((sum, code) => sum + code, 0));

/** The rule of the published code, event by event. */
function stepOf(recording: Recording, event: number, timestepCount: number, split: Split): number {
  const times = recording.timeMicroseconds;
  const slice = split === 'number'
    ? Math.floor(times.length / timestepCount)
    : Math.floor((times[times.length - 1] - times[0]) / timestepCount);
  if (slice === 0) return timestepCount - 1;
  return Math.min(timestepCount - 1, Math.floor((split === 'number' ? event : times[event] - times[0]) / slice));
}

t.test('each event is counted once, where the rule puts it', async () => {
  const times = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 16, maxLength: 300 }).map((list) => list.sort((a, b) => a - b));
  fc.assert(fc.property(times, fc.integer({ min: 1, max: 16 }), fc.constantFrom(...splits), (list, timestepCount, split) => {
    const recording = recordingOf(list);
    const expected = new Uint8Array(timestepCount * frameCodes);
    list.forEach((_, event) => {
      const pixel = (recording.polarity[event] * 34 + recording.y[event]) * 34 + recording.x[event];
      expected[stepOf(recording, event, timestepCount, split) * frameCodes + pixel] += 1;
    });
    const { codes, clippedEvents } = binEvents(recording, timestepCount, split);
    assert.equal(Buffer.compare(codes, expected.map((count) => Math.min(15, count))), 0);
    assert.equal(clippedEvents + codes.reduce((sum, code) => sum + code, 0), list.length);
  }), { numRuns: 150 });
});

t.test('the last timestep takes the rest, an empty slice is an empty frame', async (t) => {
  const number = binEvents(recordingOf(Array.from({ length: 29 }, (_, event) => event)), 10, 'number');
  t.strictSame(eventsOf(number.codes), [2, 2, 2, 2, 2, 2, 2, 2, 2, 11]);
  const time = binEvents(recordingOf([100, 101, 102, 103, 104, 105, 106, 107, 108, 1099]), 10, 'time');
  t.strictSame(eventsOf(time.codes), [9, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  const together = binEvents(recordingOf(new Array(12).fill(5)), 10, 'time');
  t.strictSame(eventsOf(together.codes), [0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
});

t.test('a pixel counts to 15; what is beyond is reported', async (t) => {
  const walking = recordingOf(Array.from({ length: 40 }, (_, event) => event));
  const same = { ...walking, x: new Uint8Array(40), y: new Uint8Array(40), polarity: new Uint8Array(40) };
  const { codes, clippedEvents } = binEvents(same, 2, 'number');
  t.strictSame([codes[0], codes[frameCodes], clippedEvents], [15, 15, 10]);
});

t.test('what cannot be shared out is refused', async (t) => {
  t.throws(() => binEvents(recordingOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), 11, 'number'), { code: 'RECORDING_EMPTY' });
  for (const count of [0, 65, 2.5, Number.NaN]) {
    t.throws(() => binEvents(recordingOf([1, 2, 3]), count, 'time'), { code: 'BAD_REQUEST', field: 'timestepCount' });
  }
});

t.test('all reference frames, bit for bit, in both splits', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const folder = data as string;
  const files = new Map(findRecordings([join(folder, 'nmnist')]).map((file) => [Number.parseInt(basename(file.path), 10), file]));
  const ids = readNpyArray(readFileSync(join(folder, 'golden', 'ids.npy')), 'ids.npy', 'i4').data;
  for (const split of splits) {
    const name = `frames_${split}.npy`;
    const { shape, data: golden } = readNpyArray(readFileSync(join(folder, 'golden', name)), name, 'u1');
    t.strictSame(shape, [75, 10, 2, 34, 34]);
    const wrong = Array.from(ids).filter((id, index) => {
      const { path = '', input = '', label = null } = files.get(id) ?? {};
      const { codes } = binEvents(parseRecording(readFileSync(path), input, label), 10, split);
      return Buffer.compare(codes, golden.subarray(index * 10 * frameCodes, (index + 1) * 10 * frameCodes)) !== 0;
    });
    t.strictSame(wrong, [], `${split}: recordings whose frames differ`);
  }
});
