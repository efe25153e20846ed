// Aim: the camera makes recordings that a network trained on real ones takes for real. Method: the same digits, filmed and real, are
// compared in every figure that the network can see; and the published network reads filmed test digits.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { type CameraParameters, filmDigit, nmnistCamera } from '../server/dataset/camera.js';
import { binEvents, splits } from '../server/dataset/frames.js';
import { readMnist } from '../server/dataset/mnist.js';
import { findRecordings } from '../server/dataset/nmnist.js';
import { encodeRecording, parseRecording, type Recording } from '../server/dataset/recording.js';
import { readBundle } from '../server/network/bundle.js';
import { compile } from '../server/network/compile.js';
import { Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { NetworkRun } from '../sim/network-run.js';
import { profileNamed } from '../sim/profile.js';

const data = process.env['PRIME_DATA'];
const skip = data ? false : 'PRIME_DATA is not set';
const digits = readMnist('test');
const imageOf = (mnist: { images: Uint8Array }, index: number) => mnist.images.subarray(index * 784, (index + 1) * 784);

/** What the network can see of recordings, as means over them. */
function figuresOf(recordings: readonly Recording[]) {
  const sums = { events: 0, on: 0, x: 0, y: 0 };
  for (const { x, y, polarity } of recordings) {
    sums.events += x.length;
    for (let event = 0; event < x.length; event += 1) {
      sums.on += polarity[event];
      sums.x += x[event];
      sums.y += y[event];
    }
  }
  const perTimestep = splits.map((split) => {
    const counts = new Float64Array(10);
    for (const recording of recordings) {
      binEvents(recording, 10, split).codes.forEach((code, at) => { counts[Math.floor(at / 2312)] += code / recordings.length; });
    }
    return counts;
  });
  const slices = new Float64Array(32);
  for (const { timeMicroseconds } of recordings) {
    for (const time of timeMicroseconds) slices[Math.min(31, Math.floor(time / 10_000))] += 1 / recordings.length;
  }
  const { events, on, x, y } = sums;
  return { events: events / recordings.length, onFraction: on / events, x: x / events, y: y / events, perTimestep, slices };
}

t.test('one seed films one recording, to the byte, and another seed another', async (t) => {
  const film = (seed: number) => encodeRecording(filmDigit(imageOf(digits, 0), { seed }));
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  t.equal(digest(film(1)), digest(film(1)));
  t.not(digest(film(1)), digest(film(2)));
  // Whoever changes the camera changes what networks are trained on; a new digest here goes with a new training.
  t.equal(digest(film(1)), '910c1f8e795531e73ac6f4777f0a84aed0d937fcd98679801a79395c1e1fbc32', 'on every machine');
});

t.test('a film is a valid recording with three saccades', async (t) => {
  const films = Array.from({ length: 20 }, (_, index) =>
    filmDigit(imageOf(digits, index), { seed: index, name: `d${index}`, label: digits.labels[index] }));
  for (const film of films) assert.deepEqual(parseRecording(encodeRecording(film), film.name, film.label), film);
  const { events, onFraction, slices } = figuresOf(films);
  t.ok(events > 3000 && events < 5000, `${events} events`);
  t.ok(Math.abs(onFraction - 0.5) < 0.02, `${onFraction} ON`);
  const mean = (from: number, to: number) => slices.subarray(from, to).reduce((sum, count) => sum + count, 0) / (to - from);
  for (const [from, to] of [[3, 6], [13, 16], [24, 27]]) t.ok(mean(from, to) > 180, `a saccade from ${from}0 ms on`);
  for (const [from, to] of [[8, 10], [20, 22], [30, 31]]) t.ok(mean(from, to) < 70, `a rest from ${from}0 ms on`);
});

t.test('the edge that moves ahead is OFF, as in the recordings', async (t) => {
  const isInside = (pixel: number) => Math.hypot((pixel % 28) - 13.5, Math.floor(pixel / 28) - 13.5) < 6;
  const disc = Uint8Array.from({ length: 784 }, (_, pixel) => (isInside(pixel) ? 255 : 0));
  const { y, polarity, timeMicroseconds } = filmDigit(disc, { seed: 1, camera: { thresholdMismatch: 0, noiseHertz: 0, leakHertz: 0 } });
  // The first saccade moves the digit down.
  const below = Array.from(y.keys()).filter((event) => y[event] > 20 && timeMicroseconds[event] < 60_000);
  t.ok(below.length > 50);
  t.ok(below.filter((event) => polarity[event] === 0).length > 0.95 * below.length);
});

t.test('each parameter does what its name says', async (t) => {
  const film = (camera: Partial<CameraParameters>) => filmDigit(imageOf(digits, 0), { seed: 5, camera });
  const plain = film({});
  const count = (recording: Recording) => recording.x.length;
  t.ok(count(film({ onThreshold: 0.5, offThreshold: 0.5 })) < 0.7 * count(plain), 'higher thresholds, fewer events');
  t.ok(count(film({ inkLightFraction: 0.5 })) < 0.7 * count(plain), 'less contrast, fewer events');
  t.ok(count(film({ refractoryMicroseconds: 10_000 })) < 0.7 * count(plain), 'longer blindness, fewer events');
  t.ok(count(film({ photoreceptorMicroseconds: 100_000 })) < 0.7 * count(plain), 'a slow receptor smooths the edges away');
  t.ok(figuresOf([film({ onThreshold: 0.4 })]).onFraction < 0.45, 'a higher ON threshold, fewer ON events');
  const still = { pathPixels: [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0]] as const, noiseHertz: 0, leakHertz: 0 };
  t.equal(count(film(still)), 0, 'nothing moves, nothing is seen');
  const noise = figuresOf([film({ ...still, noiseHertz: 50 })]);
  t.ok(Math.abs(noise.events / (2 * 50 * 1156 * 0.04) - 1) < 0.05, `noise at its rate: ${noise.events} events`);
  const leak = film({ ...still, leakHertz: 25, thresholdMismatch: 0 });
  t.ok(Math.abs(count(leak) / (25 * 1156 * 0.04) - 1) < 0.1, `leak at its rate: ${count(leak)} events`);
  t.ok(leak.polarity.every((polarity) => polarity === 1), 'leak is ON');
  const fields = Object.keys(nmnistCamera).filter((field) => !['pathPixels', 'thresholdPattern'].includes(field));
  for (const field of fields) t.throws(() => film({ [field]: Number.NaN }), { code: 'BAD_REQUEST', field }, field);
  t.throws(() => film({ inkLightFraction: 0 }), { code: 'BAD_REQUEST', field: 'inkLightFraction' });
  const loud = new Float32Array(2 * 1156).fill(1);
  loud.fill(2, 0, 1156);
  t.ok(figuresOf([film({ thresholdPattern: loud })]).onFraction < 0.4, 'ON thresholds of a pattern come first');
  t.throws(() => film({ thresholdPattern: loud.subarray(1) }), { code: 'BAD_REQUEST', field: 'thresholdPattern' });
  t.throws(() => film({ thresholdPattern: loud.map(() => 0) }), { code: 'BAD_REQUEST', field: 'thresholdPattern' });
  t.throws(() => film({ noiseHertz: 1000, onThreshold: 0.01, offThreshold: 0.01, refractoryMicroseconds: 0 }), { code: 'BAD_REQUEST', field: 'camera' });
  t.throws(() => film({ pathPixels: [[0, 0], [7, 0]] }), { code: 'BAD_REQUEST', field: 'pathPixels' });
  t.throws(() => filmDigit(new Uint8Array(783), { seed: 1 }), { code: 'BAD_REQUEST', field: 'image' });
});

t.test('filmed digits have the figures of the real recordings of the same digits', { skip }, async (t) => {
  const train = readMnist('train');
  const files = findRecordings([join(data as string, 'nmnist', 'Train')]).filter((_, index) => index % 4 === 0);
  const pairs = files.map(({ path, input, label }) => {
    const digit = Number.parseInt(basename(path), 10) - 1;
    assert.equal(train.labels[digit], label);
    return [parseRecording(readFileSync(path), input), filmDigit(imageOf(train, digit), { seed: digit })] as const;
  });
  const real = figuresOf(pairs.map(([recording]) => recording));
  const filmed = figuresOf(pairs.map(([, film]) => film));
  t.ok(Math.abs(filmed.events / real.events - 1) < 0.05, `events: ${filmed.events} for ${real.events}`);
  t.ok(Math.abs(filmed.onFraction - real.onFraction) < 0.01, `ON: ${filmed.onFraction} for ${real.onFraction}`);
  t.ok(Math.hypot(filmed.x - real.x, filmed.y - real.y) < 0.2, `centre: ${filmed.x}, ${filmed.y} for ${real.x}, ${real.y}`);
  splits.forEach((split, index) => {
    const others = filmed.perTimestep[index];
    const distance = real.perTimestep[index].reduce((sum, count, step) => sum + Math.abs(count - others[step]), 0) / real.events;
    t.ok(distance < 0.1, `events of each timestep by ${split}: ${distance} of them elsewhere`);
  });
  const distance = real.slices.reduce((sum, count, slice) => sum + Math.abs(count - filmed.slices[slice]), 0) / real.events;
  t.ok(distance < 0.12, `events of each 10 ms: ${distance} of them elsewhere`);
});

t.test('the published network reads at least 90 % of 1 000 filmed test digits', { skip }, async (t) => {
  const bundle = readBundle(join(data as string, 'prime-bundle'));
  const chip = Chip.formed(profileNamed('ideal'), 1);
  const macro = new Macro(chip);
  const converter = { bits: 32, signedCodes: false, differential: false, ranges: [...macro.ranges] };
  const { program, snapshot } = compile(bundle, { geometry: { bitLines: 512, sourceLines: 512 }, converter });
  chip.loadSnapshot(snapshot?.tiles ?? []);
  let correct = 0;
  for (let index = 0; index < 1000; index += 1) {
    const { codes } = binEvents(filmDigit(imageOf(digits, index), { seed: index }), 10, 'number');
    const run = new NetworkRun(macro, program, codes, index);
    while (run.step() !== undefined);
    if (run.prediction === digits.labels[index]) correct += 1;
  }
  t.comment(`${correct} of 1 000`);
  t.ok(correct >= 900, `${correct} of 1 000 are read`);
});
