// Aim: a dataset is the same recordings, frames and split wherever it is opened, and what is kept of it is checked when it is read. Method: filmed
// digits in folders, archives and from their images; properties of packing and splitting; the commands as a person types them.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { zipSync } from 'fflate';
import t from 'tap';
import { main } from '../server/cli/main.js';
import { openDataset } from '../server/dataset/dataset.js';
import { splitManifest } from '../server/dataset/dataset-split.js';
import { digitAt, digitSource } from '../server/dataset/film.js';
import { FrameCache } from '../server/dataset/frame-cache.js';
import { FramePackBuilder, packFrames } from '../server/dataset/frame-pack.js';
import { binEvents } from '../server/dataset/frames.js';
import { differenceOf, type Manifest, manifestOf, parseManifest, writeManifest } from '../server/dataset/manifest.js';
import { encodeRecording, type Recording } from '../server/dataset/recording.js';
import { openSource } from '../server/dataset/source.js';
import { compareStatistics, StatisticsCollector } from '../server/dataset/statistics.js';
import { bufferConsole } from './console.js';

const data = process.env['PRIME_DATA'];
const home = mkdtempSync(join(tmpdir(), 'prime-hil-dataset-'));
t.teardown(() => rmSync(home, { recursive: true, force: true }));

async function prime(...argv: string[]) {
  const console = bufferConsole({ PRIME_HOME: join(home, 'state') });
  const exitCode = await main(['dataset', ...argv], console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr(), json: () => JSON.parse(console.stdout()) as Record<string, never> };
}

/** 40 filmed train digits in the published layout. */
const digits = join(home, 'digits');
t.before(async () => {
  const { exitCode, stderr } = await prime('film', '--count', '40', '--seed', '5', '--out', digits);
  assert.equal(exitCode, 0, stderr);
});

t.test('what is packed is unpacked, at every length of zeros', async () => {
  const counts = fc.array(fc.tuple(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 1, max: 15 })), { maxLength: 60 });
  fc.assert(fc.property(fc.array(counts, { minLength: 1, maxLength: 4 }), (recordings) => {
    const builder = new FramePackBuilder(10, recordings.length);
    const all = recordings.map((runs) => {
      const codes = new Uint8Array(10 * 2312);
      runs.reduce((at, [zeros, count]) => {
        if (at + zeros < codes.length) codes[at + zeros] = count;
        return at + zeros + 1;
      }, 0);
      builder.add(codes);
      return codes;
    });
    const pack = builder.build();
    const used = new Uint8Array(pack.frameBytes).fill(9);
    for (const [index, codes] of all.entries()) assert.equal(Buffer.compare(pack.frames(index, used), codes), 0);
    assert.throws(() => pack.frames(all.length), RangeError);
  }), { numRuns: 100 });
});

t.test('a folder, its archive and the images that it was filmed from are the same frames', async (t) => {
  const folder = await openDataset(digits);
  const archive = join(home, 'digits.zip');
  writeFileSync(archive, zipSync(Object.fromEntries(openSource(digits).entries.map(({ path, read }) => [path, read()]))));
  const packed = await openDataset(archive);
  const filmed = await openDataset('mnist:train?count=40&seed=5');
  t.strictSame([folder.count, [...folder.shape]], [40, [10, 2, 34, 34]]);
  const first = folder.manifest.recordings[0];
  t.strictSame([first.path, first.label, folder.labels[0]], ['Train/0/00002.bin', 0, 0]);
  for (const other of [packed, filmed]) {
    t.equal(other.manifest.digest, folder.manifest.digest);
    for (let index = 0; index < 40; index += 1) assert.equal(Buffer.compare(other.frames(index), folder.frames(index)), 0);
  }
  const [entry] = openSource(digits).entries;
  const recording = entry.parse(entry.read());
  assert.equal(Buffer.compare(folder.frames(0), binEvents(recording, 10, 'number').codes), 0);
  const byTime = await openDataset(digits, { split: 'time', timestepCount: 4 });
  assert.equal(Buffer.compare(byTime.frames(0), binEvents(recording, 4, 'time').codes), 0);
  const bytesOfRecording = folder.pack.parts.tokens.length / 40;
  t.ok(bytesOfRecording < 3500, `${bytesOfRecording} bytes a recording`);
  t.ok(folder.pack.parts.tokens.buffer instanceof SharedArrayBuffer, 'threads can share them');
});

t.test('an abort ends the reading between two recordings', async (t) => {
  const stop = new AbortController();
  const onProgress = () => stop.abort();
  await t.rejects(openDataset('mnist:test?count=2000', { signal: stop.signal, onProgress }), { code: 'CANCELLED' });
});

const content = fc.tuple(fc.stringMatching(/^[0-9a-f]{64}$/), fc.option(fc.nat({ max: 3 })));
const contents = fc.uniqueArray(content, { selector: ([sha256]) => sha256, maxLength: 80 });
const manifestFor = (list: readonly (readonly [string, number | null])[]): Manifest =>
  manifestOf(list.map(([sha256, label], index) => ({ path: `${index}.bin`, label, bytes: 50, sha256, events: 10 })));

t.test('a split takes its fraction of each label, every recording once, whatever the order of files', async () => {
  const fractions = fc.tuple(fc.integer({ min: 0, max: 49 }), fc.integer({ min: 0, max: 49 }));
  fc.assert(fc.property(contents, fractions, fc.nat({ max: 1000 }), (list, [validation, test], seed) => {
    const rule = { seed, validationFraction: validation / 100, testFraction: test / 100 };
    const sets = splitManifest(manifestFor(list), rule);
    assert.deepEqual([...sets.train, ...sets.validation, ...sets.test].sort((left, right) => left - right), list.map((_, index) => index));
    for (const label of new Set(list.map(([, of]) => of))) {
      const all = list.filter(([, of]) => of === label).length;
      const inSet = (set: Uint32Array) => [...set].filter((index) => list[index][1] === label).length;
      assert.equal(inSet(sets.validation), Math.round(all * rule.validationFraction));
      assert.equal(inSet(sets.test), Math.round(all * rule.testFraction));
    }
    const reversed = list.toReversed();
    const again = splitManifest(manifestFor(reversed), rule);
    assert.deepEqual([...again.validation].map((index) => reversed[index][0]).sort(), [...sets.validation].map((index) => list[index][0]).sort());
  }), { numRuns: 100 });
});

t.test('another seed is another split; a rule out of range is refused', async (t) => {
  const manifest = manifestFor(Array.from({ length: 50 }, (_, index) => [index.toString(16).padStart(64, '0'), 0] as const));
  const validation = (seed: number) => [...splitManifest(manifest, { seed, validationFraction: 0.5 }).validation];
  t.strictSame(validation(1), validation(1));
  t.notSame(validation(1), validation(2));
  for (const rule of [{ seed: -1, validationFraction: 0.1 }, { seed: 1, validationFraction: 1 }, { seed: 1, validationFraction: 0.6, testFraction: 0.4 }]) {
    t.throws(() => splitManifest(manifest, rule), { code: 'BAD_REQUEST' });
  }
});

t.test('a manifest is read as it was written, and says what has changed', async (t) => {
  const { manifest } = await openDataset(digits);
  const text = writeManifest(manifest);
  t.strictSame(parseManifest(text, 'm'), manifest);
  const [first, second, ...rest] = manifest.recordings;
  const later = manifestOf([{ ...first, sha256: 'f'.repeat(64) }, ...rest, { ...second, path: 'Train/9/new.bin' }]);
  t.strictSame(differenceOf(manifest, later), { missing: [second.path], added: ['Train/9/new.bin'], changed: [first.path] });
  const lines = text.split('\n');
  const broken: [string, RegExp][] = [
    ['{"format":"other/1"}\n', /m, line 1: format is "other\/1", expected prime-dataset\/1/],
    [lines.slice(0, 5).join('\n'), /m, line 1: states 40 recordings, 4 follow/],
    [text.replace(first.sha256, '0'.repeat(64)), /m, line 1: the digest is not that of its lines/],
    [text.replace(/"events":\d+/, '"events":-1'), /m, line 2: events is -1, expected an integer of 0 or more/],
    [`${lines[0]}\nnonsense${lines.slice(1).join('\n')}`, /m, line 2: is no JSON object/],
  ];
  for (const [changed, detail] of broken) t.throws(() => parseManifest(changed, 'm'), { code: 'BAD_DATASET', message: detail });
});

t.test('frames are kept: found again, thrown away when damaged, and the unused make room', async (t) => {
  const folder = join(home, 'cache');
  const cache = new FrameCache(folder);
  const dataset = await openDataset(digits, { cache });
  const [file] = readdirSync(folder);
  const written = readFileSync(join(folder, file));
  const again = await openDataset(digits, { cache });
  t.strictSame(again.manifest, dataset.manifest);
  assert.equal(Buffer.compare(again.frames(39), dataset.frames(39)), 0);
  t.strictSame(readdirSync(folder), [file], 'no second file');
  for (const at of [0, 10, Math.floor(written.length / 2), written.length - 1]) {
    const changed = Buffer.from(written);
    changed[at] ^= 1;
    writeFileSync(join(folder, file), changed);
    const mended = await openDataset(digits, { cache });
    assert.equal(Buffer.compare(mended.frames(7), dataset.frames(7)), 0, `byte ${at}`);
    assert.equal(Buffer.compare(readFileSync(join(folder, file)), written), 0, 'written anew');
  }
  await openDataset(digits, { cache, timestepCount: 5 });
  t.equal(readdirSync(folder).length, 2, 'other frames are another file');
  const old = new Date(1e9);
  utimesSync(join(folder, file), old, old);
  const small = new FrameCache(folder, 1.5 * written.length + readdirSync(folder).length);
  await openDataset(digits, { cache: small, split: 'time' });
  t.notOk(existsSync(join(folder, file)), 'what was not used for longest goes first');
  const before = readdirSync(folder);
  t.notOk(new FrameCache(folder, 100).keep('key', dataset), 'what alone is too large is not kept');
  t.strictSame(readdirSync(folder), before);
});

t.test('films under the names of recordings', async (t) => {
  t.strictSame(['Train/5/00001.bin', 'Test/7/60001.bin', 'a/b.bin'].map(digitAt), [{ set: 'train', index: 0 }, { set: 'test', index: 0 }, undefined]);
  const films = digitSource(openSource(digits), 'mnist', 5);
  const originals = openSource(digits);
  for (const [index, { path, read }] of films.entries.entries()) {
    assert.equal(path, originals.entries[index].path);
    assert.equal(Buffer.compare(read(), originals.entries[index].read()), 0);
  }
  const wrong = join(home, 'wrong', 'Train', '3');
  mkdirSync(wrong, { recursive: true });
  writeFileSync(join(wrong, '00001.bin'), originals.entries[0].read());
  const message = /is of digit 0 of the train set, whose label is 5/;
  t.throws(() => digitSource(openSource(join(home, 'wrong')), 'mnist', 1), { code: 'BAD_DATASET', message });
});

/** Events that are counted in the head. */
function recordingOf(label: number | null, list: readonly (readonly [x: number, y: number, polarity: number, time: number])[]): Recording {
  const column = (place: 0 | 1 | 2 | 3) => list.map((event) => event[place]);
  const [x, y, polarity] = ([0, 1, 2] as const).map((place) => Uint8Array.from(column(place)));
  return { name: 'r', label, x, y, polarity, timeMicroseconds: Uint32Array.from(column(3)) };
}

t.test('statistics count what is there', async (t) => {
  const collector = new StatisticsCollector();
  collector.add(recordingOf(1, [[0, 0, 1, 0], [0, 0, 1, 9_999], [1, 0, 0, 10_000], [33, 33, 1, 25_000]]));
  collector.add(recordingOf(2, [[0, 0, 0, 5], [0, 0, 1, 20_000]]));
  const statistics = collector.statistics();
  const { recordings, labels, events, eventsByLabel, onPerOff, eventsPerActivePixel, pixelEvents, pixelsByCount, timeProfile } = statistics;
  t.strictSame({ recordings, labels, eventsByLabel }, { recordings: 2, labels: { 1: 1, 2: 1 }, eventsByLabel: { 1: 4, 2: 2 } });
  t.strictSame(events, { mean: 3, sd: 1, minimum: 2, maximum: 4 });
  t.strictSame([onPerOff, eventsPerActivePixel], [2, 6 / 5]);
  t.strictSame([pixelEvents.on[0], pixelEvents.on[1155], pixelEvents.off[0], pixelEvents.off[1]], [1.5, 0.5, 0.5, 0.5]);
  t.strictSame(pixelsByCount.slice(0, 4), [2312 - 2.5, 2, 0.5, 0]);
  t.strictSame(timeProfile, [1.5, 0.5, 1]);
  for (const { figure, difference } of compareStatistics(statistics, statistics)) t.equal(difference, 0, figure);
  const other = new StatisticsCollector();
  other.add(recordingOf(1, [[0, 0, 1, 0], [0, 0, 1, 9_999], [1, 0, 0, 10_000], [33, 32, 1, 25_000]]));
  const differences = new Map(compareStatistics(other.statistics(), statistics).map(({ figure, difference }) => [figure, difference]));
  t.equal(differences.get('events a recording'), 4 / 3 - 1);
  t.equal(differences.get('ON events of each pixel'), (0.5 + 1 + 0.5) / 2);
  t.equal(differences.get('events of each 10 ms'), (0.5 + 0.5 + 0) / 3);
});

t.test('prime dataset check names what is damaged, missing, added and changed', async (t) => {
  const folder = join(home, 'checked');
  const file = join(home, 'checked.jsonl');
  t.equal((await prime('convert', digits, '--out', folder)).exitCode, 0);
  t.equal((await prime('manifest', folder, '--out', file)).exitCode, 0);
  t.strictSame((await prime('check', folder, '--manifest', file)).exitCode, 0);
  const paths = openSource(folder).entries.map(({ path }) => path);
  const bytesOf = (index: number) => readFileSync(join(folder, paths[index]));
  const damaged = bytesOf(1);
  damaged[10] = 77;
  const swapped = bytesOf(2);
  swapped[2] ^= 0x80;
  writeFileSync(join(folder, paths[1]), damaged);
  writeFileSync(join(folder, paths[2]), swapped);
  writeFileSync(join(folder, 'Train', 'more.bin'), bytesOf(0));
  rmSync(join(folder, paths[3]));
  const { exitCode, json } = await prime('check', folder, '--manifest', file, '--json');
  t.equal(exitCode, 1);
  const { damaged: [first], missing, added, changed } = json() as unknown as Record<string, (string & { path: string; code: string; message: string })[]>;
  t.strictSame([first.path, first.code], [paths[1], 'RECORDING_INVALID']);
  t.match(first.message, new RegExp(`${paths[1]}, event 2 at offset 10: x is 77`));
  t.strictSame([missing, added, changed], [[paths[3]], ['Train/more.bin'], [paths[2]]]);
  const text = (await prime('check', folder, '--manifest', file)).stdout;
  t.match(text, new RegExp(`missing: ${paths[3]}\n`));
  t.equal((await prime('check', folder)).exitCode, 1, 'damage needs no manifest to be seen');
});

t.test('prime dataset split, statistics and frames', async (t) => {
  const split = (await prime('split', digits, '--validation', '0.25', '--seed', '3', '--json')).json() as unknown as Record<string, string[]>;
  const places = (await openDataset(digits)).split({ seed: 3, validationFraction: 0.25 });
  t.strictSame([split['train'].length, split['validation'].length, split['test'].length], [places.train.length, places.validation.length, 0]);
  t.match((await prime('split', digits, '--validation', '0.25')).stdout, /^label +train +validation +test\n/);
  t.equal((await prime('statistics', digits, '--against', digits, '--within', '0')).exitCode, 0);
  const against = await prime('statistics', 'mnist:test?count=20', '--against', digits, '--within', '0.001');
  t.equal(against.exitCode, 1);
  t.match(against.stdout, /events a recording +[\d.]+ +[\d.]+ +-?[\d.]+ %/);
  const frames = (await prime('frames', digits, '--json')).json() as unknown as Record<string, number>;
  t.equal(frames['recordings'], 40);
  t.equal(readdirSync(join(home, 'state', 'frames')).length, 1, 'kept in the home of the service');
});

t.test('wrong usage is refused before anything is written', async (t) => {
  const out = join(home, 'unwritten');
  const cases: [string, string[]][] = [
    ['BAD_ARGUMENT', ['film', '--out', digits]],
    ['BAD_ARGUMENT', ['film', '--out', out, '--count', 'many']],
    ['BAD_ARGUMENT', ['film', '--out', out, '--like', digits, '--count', '3']],
    ['INPUT_NOT_FOUND', ['film', '--out', out, '--from', join(home, 'train-images-idx3-ubyte')]],
    ['BAD_ARGUMENT', ['convert', digits, '--out', out, '--columns', 'xyzt']],
    ['BAD_ARGUMENT', ['manifest', digits, '--set', 'validation']],
    ['BAD_ARGUMENT', ['manifest', 'mnist:train?frames=3']],
    ['BAD_REQUEST', ['split', digits, '--validation', '0.6', '--test', '0.5']],
    ['BAD_ARGUMENT', ['statistics', digits, '--within', '0.1']],
    ['INPUT_NOT_FOUND', ['frames', join(home, 'nowhere')]],
    ['BAD_ARGUMENT', ['frames', digits, '--split', 'halves']],
  ];
  for (const [code, argv] of cases) {
    const { exitCode, stdout, stderr } = await prime(...argv);
    t.match(stderr, new RegExp(`^${code}: `), argv.join(' '));
    t.strictSame([exitCode, stdout], [2, '']);
  }
  const damaged = join(home, 'damaged', 'Train', '1');
  mkdirSync(damaged, { recursive: true });
  const { entries: [entry] } = openSource(digits);
  writeFileSync(join(damaged, '00004.bin'), encodeRecording(entry.parse(entry.read())).subarray(0, 101));
  const { exitCode, stderr } = await prime('convert', join(home, 'damaged'), '--out', out);
  t.match(stderr, /^RECORDING_TRUNCATED: .*00004.bin has 101 bytes, its last event at offset 100/);
  t.equal(exitCode, 2);
  t.strictSame(readdirSync(home).filter((name) => name.startsWith('unwritten')), [], 'nothing is left behind');
});

t.test('films are like the recordings of the same digits', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const recordings = join(data as string, 'nmnist');
  const films = join(home, 'films');
  t.equal((await prime('film', '--like', recordings, '--out', films)).exitCode, 0);
  const { exitCode, stdout } = await prime('statistics', films, '--against', recordings, '--within', '0.1');
  t.comment(stdout);
  t.equal(exitCode, 0, 'every figure within 10 %');
});

t.test('packing is as dense as it is said to be', async (t) => {
  t.strictSame([...packFrames(Uint8Array.of(0, 0, 3, 1))], [0x32, 0x10]);
  const far = new Uint8Array(2312);
  far[600] = 15;
  t.strictSame([...packFrames(far)], [15, 15, 4, 0xf8]);
});
