// Aim: every form of a dataset's files is read as its publisher wrote it, and what is damaged is refused by name and offset. Method: files are made
// here byte by byte, or by libraries that share no code with the readers.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { zipSync } from 'fflate';
import t from 'tap';
import { MacroError } from '../proto/error.js';
import { parseEventArray } from '../server/dataset/event-array.js';
import { readIdx } from '../server/dataset/idx.js';
import { labelsBeside, readDigits } from '../server/dataset/mnist.js';
import { openSource, parseEvents } from '../server/dataset/source.js';
import { ZipArchive } from '../server/dataset/zip-archive.js';
import { writeNpy } from '../server/network/npy.js';

const folder = mkdtempSync(join(tmpdir(), 'prime-hil-event-files-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const errorOf = (work: () => unknown): MacroError => {
  try {
    work();
  } catch (error) {
    if (error instanceof MacroError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

function written(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

/** Twelve events, one a millisecond, walking right; polarities in turn. */
const events = Array.from({ length: 12 }, (_, event) => ({ x: event, y: 2 * event, p: event & 1, t: 1000 * event }));
const atis = Uint8Array.from(events.flatMap(({ x, y, p, t: time }) => [x, y, (p << 7) | (time >> 16), (time >> 8) & 255, time & 255]));
const expected = { name: 'a', label: 3, x: Uint8Array.from(events, ({ x }) => x), y: Uint8Array.from(events, ({ y }) => y),
  polarity: Uint8Array.from(events, ({ p }) => p), timeMicroseconds: Uint32Array.from(events, (event) => event.t) };

function idx(type: number, sizes: readonly number[], bytes: Uint8Array): Uint8Array {
  const header = Buffer.alloc(4 + 4 * sizes.length);
  header.set([0, 0, type, sizes.length]);
  sizes.forEach((size, axis) => { header.writeUInt32BE(size, 4 + 4 * axis); });
  return Buffer.concat([header, bytes]);
}

const ramp = (length: number) => Uint8Array.from({ length }, (_, at) => at & 255);

t.test('idx files are read, plain and packed; labels are found beside images', async (t) => {
  const images = written('train-images-idx3-ubyte.gz', gzipSync(idx(8, [3, 28, 28], ramp(3 * 784))));
  written('train-labels-idx1-ubyte', idx(8, [3], Uint8Array.of(4, 0, 9)));
  const { count, labels, images: pixels } = readDigits(images, labelsBeside(images));
  t.strictSame([count, [...labels], pixels[784 + 5]], [3, [4, 0, 9], 789 & 255]);
  const cases: [Uint8Array, number, RegExp][] = [
    [Uint8Array.of(0, 0, 8), 1, /ends at offset 3, inside its header of 8 bytes/],
    [idx(13, [2], ramp(2)), 1, /offset 2: elements of type 13, expected 8/],
    [idx(8, [2], ramp(2)), 3, /(offset 3: 1 dimensions, expected 3)|inside its header/],
    [idx(8, [4], ramp(3)), 1, /states 4 = 4 bytes from offset 8 on and holds 3/],
    [Uint8Array.of(1, 0, 8, 1, 0, 0, 0, 0), 1, /offset 0: 256 where an idx file has 0/],
    [gzipSync(idx(8, [400], ramp(400))).subarray(0, 40), 1, /is no whole gzip file/],
  ];
  for (const [bytes, dimensions, detail] of cases) {
    const error = errorOf(() => readIdx(written('broken-idx', bytes), dimensions));
    t.equal(error.code, 'BAD_DATASET');
    t.match(error.message, detail);
    t.match(error.message, /broken-idx/);
  }
  t.match(errorOf(() => readIdx(join(folder, 'nowhere'), 1)).code, 'INPUT_NOT_FOUND');
  const small = written('test-images-idx3-ubyte', idx(8, [1, 2, 2], ramp(4)));
  written('test-labels-idx1-ubyte', idx(8, [1], ramp(1)));
  t.match(errorOf(() => readDigits(small, labelsBeside(small))).message, /offset 8: images of 2×2 pixels, expected 28×28/);
  const labels2 = written('two-labels', idx(8, [2], ramp(2)));
  t.match(errorOf(() => readDigits(images, labels2)).message, /offset 4: 2 labels for 3 images/);
  t.match(errorOf(() => labelsBeside(join(folder, 'pictures'))).message, /has no name as train-images-idx3-ubyte/);
});

/** A .npy file, its header as NumPy writes it. */
function npy(descr: string, shape: string, data: Uint8Array, { fortran = false, version = 1 } = {}): Uint8Array {
  const text = `{'descr': ${descr}, 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${shape}, }`;
  const prefix = version === 1 ? 10 : 12;
  const header = Buffer.from(`${text.padEnd(Math.ceil((prefix + text.length + 1) / 64) * 64 - prefix - 1)}\n`, 'latin1');
  const start = Buffer.alloc(prefix);
  start.write('\x93NUMPY', 'latin1');
  start[6] = version;
  if (version === 1) start.writeUInt16LE(header.length, 8);
  else start.writeUInt32LE(header.length, 8);
  return Buffer.concat([start, header, data]);
}

const parsed = (bytes: Uint8Array, order?: string) => parseEventArray(bytes, 'a', 3, order);

t.test('structures of any order, width and byte order', async (t) => {
  const packed = Buffer.concat(events.map(({ x, y, p, t: time }) => {
    const event = Buffer.alloc(8 + 2 + 2 + 1);
    event.writeBigInt64LE(BigInt(time), 0);
    event.writeUInt16BE(x, 8);
    event.writeInt16LE(y, 10);
    event[12] = p;
    return event;
  }));
  const descr = "[('timestamp', '<i8'), ('x', '>u2'), ('y', '<i2'), ('polarity', '?')]";
  assert.deepEqual(parsed(npy(descr, '(12,)', packed)), expected);
  assert.deepEqual(parsed(npy(descr, '(12,)', packed, { version: 2 })), expected);
  const aligned = Buffer.concat(events.map(({ x, y, p, t: time }) => {
    const event = Buffer.alloc(16);
    event.set([x, y, p]);
    event.writeDoubleLE(time, 8);
    return event;
  }));
  assert.deepEqual(parsed(npy("[('x', 'u1'), ('y', '|u1'), ('p', '|i1'), ('', '|V5'), ('t', '<f8')]", '(12,)', aligned)), expected);
  t.match(errorOf(() => parsed(npy("[('x', 'u1'), ('y', 'u1')]", '(1,)', ramp(2)))).message, /has no field p, pol, polarity; it has x, y/);
  t.match(errorOf(() => parsed(npy("[('x', '<c8')]", '(1,)', ramp(8)))).message, /elements of type <c8/);
  t.match(errorOf(() => parsed(npy("[('x', '<i4', (2,))]", '(1,)', ramp(8)))).message, /structure that is not read/);
});

t.test('numbers by event or by column, in C and Fortran order, in a stated order of columns', async (t) => {
  const byEvent = Int32Array.from(events.flatMap(({ x, y, p, t: time }) => [x, y, p, time]));
  const byColumn = Float64Array.from([...events.map(({ t: time }) => time), ...events.map(({ x }) => x), ...events.map(({ y }) => y),
    ...events.map(({ p }) => 2 * p - 1)]);
  assert.deepEqual(parsed(writeNpy(byEvent, [12, 4])), expected);
  assert.deepEqual(parsed(writeNpy(byColumn, [4, 12]), 'txyp'), expected);
  assert.deepEqual(parsed(npy("'<f8'", '(12, 4)', new Uint8Array(byColumn.buffer), { fortran: true }), 'txyp'), expected);
  const error = errorOf(() => parsed(writeNpy(byEvent, [12, 4]), 'txyp'));
  t.equal(error.code, 'RECORDING_INVALID', 'columns of another order are not taken for events');
  t.match(errorOf(() => parsed(writeNpy(byEvent, [16, 3]))).message, /has the shape \(16, 3\), expected \(N, 4\) or \(4, N\)/);
  t.equal(errorOf(() => parsed(writeNpy(byEvent.subarray(0, 36), [9, 4]))).code, 'RECORDING_EMPTY');
});

t.test('an archive of four arrays, or of one', async (t) => {
  const arrays = { 'x.npy': writeNpy(expected.x, [12]), 'y.npy': writeNpy(Int32Array.from(expected.y), [12]), 'p.npy': writeNpy(expected.polarity, [12]) };
  const times = writeNpy(Float64Array.from(expected.timeMicroseconds), [12]);
  assert.deepEqual(parsed(zipSync({ ...arrays, 'ts.npy': times })), expected);
  const one = writeNpy(Int32Array.from(events.flatMap(({ x, y, p, t: time }) => [x, y, p, time])), [12, 4]);
  assert.deepEqual(parsed(zipSync({ 'arr_0.npy': [one, { level: 0 }] })), expected);
  t.match(errorOf(() => parsed(zipSync(arrays))).message, /has no array t, ts, time, timestamp; it has x, y, p/);
  t.match(errorOf(() => parsed(zipSync({ ...arrays, 't.npy': writeNpy(new Float64Array(11), [11]) }))).message, /has 12 numbers in x and 11 in t/);
});

t.test('what is no event is refused with its number and offset', async (t) => {
  const numbers = (change: (rows: number[][]) => void) => {
    const rows = events.map(({ x, y, p, t: time }) => [x, y, p, time]);
    change(rows);
    return writeNpy(Float64Array.from(rows.flat()), [12, 4]);
  };
  const dataOffset = numbers(() => undefined).length - 12 * 32;
  const cases: [string, (rows: number[][]) => void, RegExp][] = [
    ['x', (rows) => { rows[3][0] = 34; }, new RegExp(`event 3 at offset ${dataOffset + 96}: x is 34, the range is the integers 0 to 33`)],
    ['y', (rows) => { rows[4][1] = -1; }, new RegExp(`event 4 at offset ${dataOffset + 136}: y is -1`)],
    ['half a pixel', (rows) => { rows[0][0] = 0.5; }, /event 0 at offset \d+: x is 0.5/],
    ['p', (rows) => { rows[2][2] = 2; }, /event 2 at offset \d+: p is 2, the range is the integers -1 to 1/],
    ['seconds', (rows) => { rows[5][3] = 0.005; }, /event 5 at offset \d+: t is 0.005/],
    ['NaN', (rows) => { rows[5][3] = Number.NaN; }, /event 5 at offset \d+: t is NaN/],
    ['backwards', (rows) => { rows[5][3] = 10; }, /event 5 at offset \d+: time runs backwards from 4000 to 10 µs/],
  ];
  for (const [name, change, detail] of cases) {
    const error = errorOf(() => parsed(numbers(change)));
    t.equal(error.code, 'RECORDING_INVALID', name);
    t.match(error.message, detail, name);
  }
  const late = parsed(numbers((rows) => { for (const row of rows) row[3] += 1.7e15; }));
  assert.deepEqual(late, expected, 'a clock of another day counts from the first event');
});

t.test('any bytes are events or a named error', async () => {
  const good = [npy("[('x', 'u1'), ('y', 'u1'), ('p', 'u1'), ('t', '<u4')]", '(2,)', ramp(14)), zipSync({ 'x.npy': writeNpy(expected.x, [12]) }), atis];
  const codes = ['BAD_DATASET', 'RECORDING_EMPTY', 'RECORDING_INVALID', 'RECORDING_TOO_LARGE', 'RECORDING_TRUNCATED'];
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 6 });
  fc.assert(fc.property(fc.constantFrom(...good), changes, fc.nat(), (bytes, places, cut) => {
    const changed = Uint8Array.from(bytes);
    for (const [at, value] of places) changed[at % changed.length] = value;
    const rest = changed.subarray(0, changed.length - (cut % 3 === 0 ? cut % changed.length : 0));
    try {
      parseEvents(rest, 'a', null);
    } catch (error) {
      assert.ok(error instanceof MacroError && codes.includes(error.code), String((error as Error).stack));
    }
  }), { numRuns: 1500 });
});

t.test('an AEDAT file is named as what it is', async (t) => {
  const error = errorOf(() => parseEvents(Buffer.from('#!AER-DAT3.1\r\n'), 'x.bin', null));
  t.equal(error.code, 'BAD_DATASET');
  t.match(error.message, /x.bin, offset 0: is an AEDAT file, which is not read/);
});

t.test('a zip archive gives its files, one by one, each held to its checksum', async (t) => {
  const files = { 'Train/7/1.bin': atis, 'Train/note.txt': [ramp(300), { level: 0 }] as const, 'Train/empty': new Uint8Array() };
  const bytes = zipSync({ ...files, 'Train/note.txt': [ramp(300), { level: 0 }] }, { comment: 'x'.repeat(70) });
  const archive = ZipArchive.open(written('a.zip', bytes));
  t.teardown(() => archive.close());
  t.strictSame(archive.entries.map(({ path, bytes: size }) => [path, size]), [['Train/7/1.bin', 60], ['Train/note.txt', 300], ['Train/empty', 0]]);
  for (const [index, content] of [atis, ramp(300), new Uint8Array()].entries()) assert.deepEqual([...archive.read(archive.entries[index], 300)], [...content]);
  t.match(errorOf(() => archive.read(archive.entries[1], 299)).message, /a.zip, Train\/note.txt at offset \d+: has 300 bytes, the limit is 299/);
  const damage = (at: number) => {
    const changed = Uint8Array.from(bytes);
    changed[at] ^= 0x55;
    return ZipArchive.of(changed, 'b.zip');
  };
  const stored = damage(archive.entries[1].offset + 60);
  t.match(errorOf(() => stored.read(stored.entries[1], 300)).message, /b.zip, Train\/note.txt at offset \d+: is damaged: its CRC-32 is wrong/);
  assert.deepEqual([...stored.read(stored.entries[0], 300)], [...atis], 'the others are as they were');
  t.match(errorOf(() => ZipArchive.of(bytes.subarray(0, bytes.length - 80), 'b.zip')).message, /no zip archive, or was cut off/);
  t.match(errorOf(() => ZipArchive.of(atis, 'b.zip')).message, /no zip archive/);
});

/** The archive with its directory's numbers in 64 bits, as archives of more than 65 535 files or 4 GB have them. */
function asZip64(bytes: Uint8Array): Uint8Array {
  const file = Buffer.from(bytes);
  const end = file.length - 22;
  const [count, size, offset] = [file.readUInt16LE(end + 10), file.readUInt32LE(end + 12), file.readUInt32LE(end + 16)];
  const central = file.subarray(offset, offset + size);
  const [nameBytes] = [central.readUInt16LE(28)];
  const extra = Buffer.alloc(4 + 24);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  for (const [index, at] of [24, 20, 42].entries()) {
    extra.writeBigUInt64LE(BigInt(central.readUInt32LE(at)), 4 + 8 * index);
    central.writeUInt32LE(0xffffffff, at);
  }
  central.writeUInt16LE(extra.length, 30);
  const directory = Buffer.concat([central.subarray(0, 46 + nameBytes), extra]);
  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  [[32, count], [40, directory.length], [48, offset]].forEach(([at, value]) => { end64.writeBigUInt64LE(BigInt(value), at); });
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + directory.length), 8);
  const last = Buffer.from(file.subarray(end));
  last.fill(0xff, 8, 20);
  return Buffer.concat([file.subarray(0, offset), directory, end64, locator, last]);
}

t.test('zip64 archives are read', async (t) => {
  const archive = ZipArchive.of(asZip64(zipSync({ 'Test/1/60003.bin': atis })), 'large.zip');
  t.strictSame(archive.entries.map(({ path }) => path), ['Test/1/60003.bin']);
  assert.deepEqual([...archive.read(archive.entries[0], 100)], [...atis]);
});

t.test('any damage of an archive is a named error, or none that can be seen', async () => {
  const bytes = zipSync({ 'Train/7/1.bin': atis, 'Train/8/2.bin': atis });
  fc.assert(fc.property(fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }), (places) => {
    const changed = Uint8Array.from(bytes);
    for (const [at, value] of places) changed[at] = value;
    try {
      const archive = ZipArchive.of(changed, 'a.zip');
      for (const entry of archive.entries) assert.deepEqual([...archive.read(entry, 1000)], [...atis]);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      assert.ok(error instanceof MacroError && error.code === 'BAD_DATASET', String((error as Error).stack));
    }
  }), { numRuns: 1500 });
});

t.test('folders and archives are the same dataset; a damaged recording names itself', async (t) => {
  const good = { 'Train/7/1.bin': atis, 'Train/7/2.npy': writeNpy(Int32Array.from(events.flatMap(({ x, y, p, t: time }) => [x, y, p, time])), [12, 4]),
    'Test/0/60001.bs2': atis, 'Train/7/notes.txt': ramp(5), 'Train/.hidden/3.bin': ramp(5), '__MACOSX/Train/7/._1.bin': ramp(5) };
  const root = join(folder, 'set');
  for (const [path, bytes] of Object.entries(good)) if (!path.startsWith('__')) written(join('set', path), bytes);
  const archive = written('set.zip', zipSync(good));
  const describe = (spec: string, set?: 'train' | 'test') => {
    const source = openSource(spec, set && { set });
    const found = source.entries.map((entry) => [entry.path, entry.label, entry.parse(entry.read()).x.length]);
    source.close();
    return found;
  };
  const all = [['Test/0/60001.bs2', 0, 12], ['Train/7/1.bin', 7, 12], ['Train/7/2.npy', 7, 12]];
  t.strictSame(describe(root), all);
  t.strictSame(describe(archive), all);
  t.strictSame(describe(root, 'train'), all.slice(1));
  t.strictSame(describe(archive, 'test'), all.slice(0, 1));
  t.strictSame(describe(join(root, 'Train'), 'train').length, 2, 'the root itself names the set');
  t.equal(errorOf(() => openSource(join(root, 'Train'), { set: 'test' })).code, 'INPUT_NOT_FOUND');
  t.equal(errorOf(() => openSource(join(root, 'nowhere'))).code, 'INPUT_NOT_FOUND');
  const damaged = Uint8Array.from(atis);
  damaged[20] = 40;
  const [entry] = openSource(written('bad.zip', zipSync({ 'Train/7/00042.bin': damaged }))).entries;
  t.match(errorOf(() => entry.parse(entry.read())).message, /bad.zip, Train\/7\/00042.bin, event 4 at offset 20: x is 40/);
});
