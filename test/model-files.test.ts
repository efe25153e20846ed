// Aim: tensors of other programs' files are read to the bit, and a file can do no more than be refused. Method: small files that PyTorch, safetensors and
// NumPy wrote (test/model-files/write.py); hostile pickles put together by hand; and every file cut, turned and mixed at random.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import fc from 'fast-check';
import t from 'tap';
import { MacroError } from '../proto/error.js';
import { readBundle } from '../server/network/bundle.js';
import { layersOfTensors, type MatchOptions, usualMatch } from '../server/network/exchange/layer-tensors.js';
import { maskOfScores } from '../server/network/score-mask.js';
import { readNpzModel } from '../server/network/exchange/npz.js';
import { pickleLimits, type PickleGuests, readPickle } from '../server/network/exchange/pickle.js';
import { readSafetensors } from '../server/network/exchange/safetensors.js';
import { denseStrides, elementCount, type Tensor } from '../server/network/exchange/tensor.js';
import { readTorch } from '../server/network/exchange/torch.js';
import { weightShape } from '../server/network/network.js';
import { writeNpy } from '../server/network/npy.js';
import { writeArchive } from '../server/snapshot/archive.js';
import { smallBundle, smallNetwork } from './small-bundle.js';

const data = process.env['PRIME_DATA'];
const fileNamed = (name: string) => new Uint8Array(readFileSync(join(import.meta.dirname, 'model-files', name)));

const ramp = (count: number, start: number, step: number) => Array.from({ length: count }, (_, index) => start + index * step);
const typed: Readonly<Record<string, { type: string; shape: number[]; values: number[] }>> = {
  double: { type: 'f8', shape: [2, 3], values: ramp(6, -1, 0.5) },
  float: { type: 'f4', shape: [2, 3], values: ramp(6, -1, 0.5) },
  half: { type: 'f2', shape: [2, 3], values: ramp(6, -1, 0.5) },
  bfloat: { type: 'bf2', shape: [2, 3], values: ramp(6, -1, 0.5) },
  long: { type: 'i8', shape: [4], values: ramp(4, -2, 1) },
  int: { type: 'i4', shape: [4], values: ramp(4, -2, 1) },
  short: { type: 'i2', shape: [4], values: ramp(4, -2, 1) },
  char: { type: 'i1', shape: [4], values: ramp(4, -2, 1) },
  byte: { type: 'u1', shape: [4], values: ramp(4, 0, 1) },
  bool: { type: 'b1', shape: [3], values: [1, 0, 1] },
};

const read = (tensors: readonly Tensor[]) =>
  Object.fromEntries(tensors.map(({ name, type, shape, values }) => [name, { type, shape: [...shape], values: [...values()] }]));

function refusal(work: () => unknown): MacroError {
  try {
    work();
  } catch (error) {
    if (error instanceof MacroError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

/** Reads what may be damaged: either it is read whole or refused by one of two codes. */
function readsOrRefuses(work: () => readonly Tensor[]): void {
  try {
    for (const tensor of work()) tensor.values();
  } catch (error) {
    assert.ok(error instanceof MacroError && (error.code === 'BAD_MODEL' || error.code === 'UNSAFE_PICKLE'), String((error as Error).stack));
  }
}

t.test('every element type of PyTorch, safetensors and NumPy is read to the bit', async (t) => {
  t.strictSame(read(readTorch(fileNamed('types.pt'), 'types.pt')), typed);
  const view = { type: 'f4', shape: [2, 2], values: [1, 2, 3, 4] };
  t.strictSame(read(readSafetensors(fileNamed('types.safetensors'), 'types.safetensors')), { ...typed, view });
  const { bfloat: _, ...ofNumpy } = typed;
  const fortran = { type: 'f4', shape: [2, 3], values: ramp(6, 0, 1) };
  t.strictSame(read(readNpzModel(fileNamed('types.npz'), 'types.npz').tensors), { ...ofNumpy, fortran }, 'also in Fortran order');
});

t.test('views, shared storages, parameters and nested dictionaries of PyTorch are what they were', async (t) => {
  const tensors = read(readTorch(fileNamed('views.pt'), 'views.pt'));
  const values = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, [tensor.shape, tensor.values]]));
  t.strictSame(values, {
    transposed: [[6, 4], ramp(24, 0, 1).map((_, index) => 6 * (index % 4) + Math.floor(index / 4))],
    part: [[2, 3], [6, 8, 10, 12, 14, 16]],
    shared: [[6], ramp(6, 12, 1)],
    expanded: [[4, 3], [0, 0, 0, 6, 6, 6, 12, 12, 12, 18, 18, 18]],
    scalar: [[], [7.5]],
    empty: [[0, 3], []],
    parameter: [[3], [1, 2, 3]],
    'nested.weight': [[2], [5, 6]],
    'nested.7': [[1], [9]],
  });
});

t.test('half precision is IEEE 754 in every pattern', async (t) => {
  const bits = Uint16Array.from({ length: 65_536 }, (_, pattern) => pattern);
  const header = JSON.stringify({ all: { dtype: 'F16', shape: [65_536], data_offsets: [0, 131_072] } });
  const values = readSafetensors(safetensors(header, new Uint8Array(bits.buffer)), 'half').at(0)?.values() as Float64Array;
  const expected = (pattern: number) => {
    const [sign, exponent, fraction] = [pattern >> 15 === 0 ? 1 : -1, (pattern >> 10) & 31, pattern & 1023];
    if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (exponent === 0 ? fraction / 1024 : 1 + fraction / 1024) * 2 ** (Math.max(1, exponent) - 15);
  };
  t.equal(values.findIndex((value, pattern) => !Object.is(value, expected(pattern))), -1);
});

const latin = (text: string) => new TextEncoder().encode(text);
const bytesOf = (...parts: (number | string | Uint8Array)[]) =>
  new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === 'number' ? Uint8Array.of(part) : typeof part === 'string' ? latin(part) : part))));
const little = (value: number) => Uint8Array.of(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);
/** Pieces of a pickle of protocol 2. */
const piece = {
  begin: Uint8Array.of(0x80, 2),
  global: (module: string, name: string) => bytesOf('c', module, '\n', name, '\n'),
  text: (text: string) => bytesOf('X', little(latin(text).length), text),
  integer: (value: number) => bytesOf('J', little(value)),
  long: (value: bigint) => bytesOf(0x8a, 8, Uint8Array.from({ length: 8 }, (_, byte) => Number((BigInt.asUintN(64, value) >> BigInt(8 * byte)) & 255n))),
  tuple: (...items: Uint8Array[]) => bytesOf('(', ...items, 't'),
  end: Uint8Array.of(0x2e),
};

const archive = (pickle: Uint8Array, more: Record<string, Uint8Array> = {}) =>
  zipSync({ 'model/data.pkl': pickle, 'model/data/0': new Uint8Array(24), ...more }, { level: 0 });

interface RebuiltTensor { type?: string; key?: string; count?: number; offset?: Uint8Array; shape?: Uint8Array[]; strides?: Uint8Array[] }

/** A state dict with one tensor, of which everything can be made wrong. */
function oneTensor({
  type = 'FloatStorage', key = '0', count = 6, offset = piece.integer(0), shape = [2, 3].map(piece.integer), strides = [3, 1].map(piece.integer),
}: RebuiltTensor = {}): Uint8Array {
  const storage = piece.tuple(piece.text('storage'), piece.global('torch', type), piece.text(key), piece.text('cpu'), piece.integer(count));
  const hooks = bytesOf(piece.global('collections', 'OrderedDict'), ')R');
  const given = piece.tuple(bytesOf(storage, 'Q'), offset, piece.tuple(...shape), piece.tuple(...strides), Uint8Array.of(0x89), hooks);
  return bytesOf(piece.begin, '}', piece.text('weight'), piece.global('torch._utils', '_rebuild_tensor_v2'), given, 'Rs', piece.end);
}

t.test('what torch.save writes beside state dicts is refused: whole modules, and files before PyTorch 1.6', async (t) => {
  const whole = refusal(() => readTorch(fileNamed('whole-module.pt'), 'whole-module.pt'));
  t.equal(whole.code, 'UNSAFE_PICKLE');
  t.match(whole.message, /whole-module\.pt: data\.pkl, offset 2: the pickle asks for torch\.nn\.modules\.linear\.Linear, which is no part of a tensor/);
  const legacy = refusal(() => readTorch(fileNamed('legacy.pt'), 'legacy.pt'));
  t.match(legacy.message, /BAD_MODEL: legacy\.pt is no zip archive, as torch\.save has written since PyTorch 1\.6/);
});

t.test('a pickle that asks for code is refused where it does', async (t) => {
  const call = bytesOf(piece.tuple(piece.text('id')), 'R', piece.end);
  const ordered = piece.global('collections', 'OrderedDict');
  const cases: [string, Uint8Array, number][] = [
    ['os.system', bytesOf(piece.begin, piece.global('os', 'system'), call), 2],
    ['posix.system', bytesOf(piece.begin, piece.global('posix', 'system'), call), 2],
    ['builtins.eval', bytesOf(piece.begin, '}', piece.text('weight'), piece.global('builtins', 'eval'), call), 14],
    ['torch.load', bytesOf(piece.begin, piece.global('torch', 'load'), call), 2],
    ['collections.OrderedDict.__class__', bytesOf(piece.begin, piece.global('collections', 'OrderedDict.__class__'), call), 2],
    ['calls collections.OrderedDict as no tensor', bytesOf(piece.begin, ordered, call), 2 + ordered.length + piece.tuple(piece.text('id')).length],
    ['calls torch.FloatStorage', bytesOf(piece.begin, piece.global('torch', 'FloatStorage'), ')R', piece.end), 2 + 'ctorch\nFloatStorage\n'.length + 1],
    ['calls what is no function', bytesOf(piece.begin, piece.text('os.system'), ')R', piece.end), 17],
    ['sets the state of', bytesOf(piece.begin, piece.text('x'), '}b', piece.end), 9],
  ];
  for (const [name, pickle, offset] of cases) {
    const error = refusal(() => readTorch(archive(pickle), 'evil.pt'));
    t.equal(error.code, 'UNSAFE_PICKLE', name);
    t.ok(error.message.includes(`evil.pt: data.pkl, offset ${offset}: the pickle `), `${name}: ${error.message}`);
    t.ok(error.message.includes(name), error.message);
  }
});

t.test('every instruction that no tensor needs is refused by its number', async (t) => {
  const known = [...'.(NGJKMXt)]ae}surhjcRQbq'].map((letter) => letter.charCodeAt(0)).concat([0x80, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a]);
  for (let code = 0; code < 256; code += 1) {
    const error = refusal(() => readTorch(archive(bytesOf(piece.begin, code)), 'a.pt'));
    t.equal(error.code, known.includes(code) ? 'BAD_MODEL' : 'UNSAFE_PICKLE', `0x${code.toString(16)}`);
    if (!known.includes(code)) t.match(error.message, new RegExp(`UNSAFE_PICKLE: a\\.pt: data\\.pkl, offset 2: .* 0x${code.toString(16).padStart(2, '0')}`));
  }
});

t.test('a damaged or oversized tensor is refused with what is wrong', async (t) => {
  const integers = (...values: number[]) => values.map(piece.integer);
  const cases: [RegExp, Uint8Array][] = [
    [/weight reaches to element 8 of a storage of 6/, oneTensor({ shape: integers(3, 3) })],
    [/weight reaches to element 6 of a storage of 6/, oneTensor({ offset: piece.integer(1) })],
    [/weight has the shape \(65536, 65536\), the limit is 16777216 elements/, oneTensor({ shape: integers(65_536, 65_536), strides: integers(0, 0) })],
    [/states the shape \(1125899906842624, 1125899906842624\)/, oneTensor({ shape: [piece.long(2n ** 50n), piece.long(2n ** 50n)], strides: integers(-1, 0) })],
    [/states the shape \(2, 3\), strides \(-3, 1\)/, oneTensor({ strides: integers(-3, 1) })],
    [/has 2 dimensions and 1 strides/, oneTensor({ strides: integers(3) })],
    [/has 9 dimensions, the limit is 8/, oneTensor({ shape: integers(1, 1, 1, 1, 1, 1, 1, 1, 1), strides: integers(1, 1, 1, 1, 1, 1, 1, 1, 1) })],
    [/data\/0 has 24 bytes, its 7 elements need 28/, oneTensor({ count: 7 })],
    [/data\/0 has 24 bytes, its -1 elements need -4/, oneTensor({ count: -1 })],
    [/points to an object that is not in the file/, oneTensor({ key: '1' })],
    [/points to an object that is not in the file/, oneTensor({ key: '../../etc/passwd' })],
    [/an integer of 200 bytes, the limit is 8/, bytesOf(piece.begin, 0x8a, 200, new Uint8Array(200), piece.end)],
    [/the integer 4611686018427387904, beyond ±2\^53/, bytesOf(piece.begin, piece.long(2n ** 62n), piece.end)],
    [/needs 4294967295 more bytes and has 1/, bytesOf(piece.begin, 'X', little(-1), piece.end)],
    [/has protocol 4, expected 2/, bytesOf(0x80, 4, '}', piece.end)],
    [/states its protocol in the middle/, bytesOf(piece.begin, piece.begin, '}', piece.end)],
    [/recalls value 5, which it has not remembered/, bytesOf(piece.begin, 'h', 5, piece.end)],
    [/takes a value that is not there/, bytesOf(piece.begin, 'a', piece.end)],
    [/takes a mark that is not there/, bytesOf(piece.begin, 't', piece.end)],
    [/ends with 2 values and 0 marks/, bytesOf(piece.begin, '}}', piece.end)],
    [/is followed by more bytes/, bytesOf(piece.begin, '}', piece.end, 0)],
    [/has a key that is neither text nor number/, bytesOf(piece.begin, '}N}s', piece.end)],
    [/has a text that is not UTF-8/, bytesOf(piece.begin, 'X', little(1), 255, piece.end)],
    [/more than 256 characters/, bytesOf(piece.begin, 'c', 'x'.repeat(300), '\n\n', piece.end)],
    [/holds no dictionary of tensors/, bytesOf(piece.begin, piece.text('x'), piece.end)],
  ];
  t.strictSame(read(readTorch(archive(oneTensor()), 'good.pt')), { weight: { type: 'f4', shape: [2, 3], values: [0, 0, 0, 0, 0, 0] } });
  for (const [message, pickle] of cases) {
    const error = refusal(() => readTorch(archive(pickle), 'bad.pt'));
    t.equal(error.code, 'BAD_MODEL', error.message);
    t.match(error.message, message);
    t.match(error.message, /bad\.pt/);
  }
});

t.test('what a pickle can grow into has limits', async (t) => {
  const remembered = Array.from({ length: pickleLimits.memo + 1 }, (_, index) => bytesOf('r', little(index)));
  t.match(refusal(() => readTorch(archive(bytesOf(piece.begin, '}', ...remembered, piece.end)), 'memo.pt')).message, /remembers more than 65536 values/);
  t.match(refusal(() => readTorch(archive(bytesOf(piece.begin, '('.repeat(70_000))), 'marks.pt')).message, /more than 65536 values at once/);
  t.match(refusal(() => readTorch(archive(bytesOf(piece.begin, '}'.repeat(70_000))), 'stack.pt')).message, /more than 65536 values at once/);
  const big = new Uint8Array(pickleLimits.bytes + 1);
  t.match(refusal(() => readTorch(archive(big), 'big.pt')).message, /has a pickle of 4194305 bytes, the limit is 4194304/);
  // Each of twelve tuples names the one before it three times: half a million ways to the first.
  const tripled = Array.from({ length: 12 }, (_, level) => bytesOf('h', level, 'h', level, 'h', level, 0x87, 'q', level + 1));
  const bomb = bytesOf(piece.begin, '}', piece.text('a'), '()q', 0, ...tripled, 'ts', piece.end);
  t.match(refusal(() => readTorch(archive(bomb), 'bomb.pt')).message, /BAD_MODEL: bomb\.pt holds more than 65536 values/);
  const nested = bytesOf(piece.begin, '}q', 0, piece.text('a'), 'h', 0, 's', piece.end);
  t.match(refusal(() => readTorch(archive(nested), 'loop.pt')).message, /nests dictionaries deeper than 16/, 'a dictionary that holds itself');
});

t.test('archives are held to their limits, their order and their one folder', async (t) => {
  const good = oneTensor();
  const order = (text: string) => archive(good, { 'model/byteorder': latin(text) });
  t.equal(readTorch(order('little'), 'a.pt').length, 1);
  t.match(refusal(() => readTorch(order('big'), 'a.pt')).message, /a\.pt has the byte order "big", expected little/);
  t.match(refusal(() => readTorch(archive(good, { 'other/data.pkl': good }), 'a.pt')).message, /holds 2 folders, one is expected/);
  t.match(refusal(() => readTorch(zipSync({ 'model/version': latin('3') }), 'a.pt')).message, /has no data\.pkl: torch\.save did not write it/);
  t.match(refusal(() => readTorch(latin('PK nonsense'), 'a.pt')).message, /BAD_MODEL: a\.pt is not a readable zip archive/);
  t.match(refusal(() => readTorch(new Uint8Array(), 'a.pt')).message, /is no zip archive/);
  // The size unpacked stands 24 bytes behind the beginning of an entry of the directory.
  const bomb = zipSync({ 'model/data.pkl': good, 'model/data/0': new Uint8Array(2 ** 16) }, { level: 9 });
  bomb.set(little(2 ** 27 + 1), Buffer.from(bomb).lastIndexOf(latin('PK\x01\x02')) + 24);
  t.match(refusal(() => readTorch(bomb, 'a.pt')).message, /holds model\/data\/0 with 134217729 bytes, the limit is 134217728/);
});

const guests: PickleGuests = { globals: new Set(), call: () => undefined, object: () => undefined };

t.test('pickles that are cut anywhere, or are noise, are refused and nothing else', async () => {
  const pickle = oneTensor();
  for (let length = 0; length < pickle.length; length += 1) {
    assert.equal(refusal(() => readTorch(archive(pickle.subarray(0, length)), 'cut.pt')).code, 'BAD_MODEL');
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
    try {
      readPickle(bytesOf(piece.begin, noise), 'noise', guests);
    } catch (error) {
      assert.ok(error instanceof MacroError && ['BAD_MODEL', 'UNSAFE_PICKLE'].includes(error.code), String(error));
    }
  }), { numRuns: 3000 });
});

t.test('files with any bytes changed are read or refused', async () => {
  const subjects: [string, (bytes: Uint8Array) => readonly Tensor[]][] = [
    ['types.pt', (bytes) => readTorch(bytes, 'x.pt')],
    ['views.pt', (bytes) => readTorch(bytes, 'x.pt')],
    ['types.safetensors', (bytes) => readSafetensors(bytes, 'x.safetensors')],
    ['types.npz', (bytes) => readNpzModel(bytes, 'x.npz').tensors],
  ];
  for (const [name, reader] of subjects) {
    const good = fileNamed(name);
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 });
    fc.assert(fc.property(changes, fc.integer({ min: 1, max: good.length }), fc.boolean(), (turned, length, isCut) => {
      const bytes = good.slice(0, isCut ? length : good.length);
      for (const [at, bits] of turned) if (at < bytes.length) bytes[at] ^= bits;
      readsOrRefuses(() => reader(bytes));
    }), { numRuns: 400 });
  }
});

function safetensors(header: string, body: Uint8Array): Uint8Array {
  const bytes = latin(header);
  return bytesOf(little(bytes.length), little(0), bytes, body);
}

t.test('a safetensors file is held to its format', async (t) => {
  const good = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const huge = { dtype: 'BOOL', shape: [2 ** 22, 8], data_offsets: [0, 2 ** 25] };
  const cases: [RegExp, Uint8Array][] = [
    [/has 7 bytes, a safetensors file has at least 8/, new Uint8Array(7)],
    [/states a header of 18446744073709551615 bytes; the file has 8/, new Uint8Array(8).fill(255)],
    [/has a header that is not JSON/, safetensors('{"a":', new Uint8Array())],
    [/has a header that is no object/, safetensors('[]', new Uint8Array())],
    [/a is described by no dtype, shape and data_offsets/, safetensors('{"a":{"dtype":"F32"}}', new Uint8Array())],
    [/a has the type F8_E4M3, expected one of F64, F32/, safetensors(JSON.stringify({ a: { ...good, dtype: 'F8_E4M3' } }), new Uint8Array(8))],
    [/a of shape \(3,\) has 8 bytes, expected 12/, safetensors(JSON.stringify({ a: { ...good, shape: [3] } }), new Uint8Array(8))],
    [/a is described by no dtype/, safetensors(JSON.stringify({ a: { ...good, shape: [-2] } }), new Uint8Array(8))],
    [/b begins at byte 12 of the data, expected 8/, safetensors(JSON.stringify({ a: good, b: { ...good, data_offsets: [12, 20] } }), new Uint8Array(20))],
    [/b begins at byte 4 of the data, expected 8/, safetensors(JSON.stringify({ a: good, b: { ...good, data_offsets: [4, 12] } }), new Uint8Array(12))],
    [/has 9 bytes of data, its tensors 8/, safetensors(JSON.stringify({ a: good }), new Uint8Array(9))],
    [/a has the shape \(4194304, 8\), the limit is/, safetensors(JSON.stringify({ a: huge }), new Uint8Array(2 ** 25))],
  ];
  for (const [message, bytes] of cases) {
    const error = refusal(() => readSafetensors(bytes, 'a.safetensors'));
    t.equal(error.code, 'BAD_MODEL');
    t.match(error.message, message);
  }
});

t.test('an npz file is held to its format', async (t) => {
  const npy = writeNpy(Float32Array.of(1, 2), [2]);
  const cases: [RegExp, Record<string, Uint8Array>][] = [
    [/a\.npy is not a readable \.npy file/, { 'a.npy': latin('x') }],
    [/a states the shape \(2,\) and holds 4 bytes/, { 'a.npy': npy.subarray(0, npy.length - 4) }],
    [/a holds type u2/, { 'a.npy': writeNpy(Uint16Array.of(1), [1]) }],
    [/network is of type f4 and shape \(2,\), expected at most 4194304 bytes of text/, { 'network.npy': npy }],
  ];
  for (const [message, files] of cases) t.match(refusal(() => readNpzModel(writeArchive(files), 'a.npz')).message, message);
  t.match(refusal(() => readNpzModel(latin('no zip'), 'a.npz')).message, /BAD_MODEL: a\.npz is not a readable zip archive/);
});

/** Tensors of the small bundle by names that somebody chose. */
function tensorsOf(entries: Readonly<Record<string, { shape: readonly number[]; values: ArrayLike<number> }>>): Tensor[] {
  return Object.entries(entries).map(([name, { shape, values }]) => ({ name, shape, type: 'f4' as const, values: () => Float64Array.from(values) }));
}

const bundle = smallBundle();
const layerEntry = (index: number, values: ArrayLike<number>) => ({ shape: weightShape(smallNetwork.layers[index]), values });
const weightEntries = (prefix: string) =>
  Object.fromEntries(bundle.layers.map(({ name, weight }, index) => [`${prefix}${name}.weight`, layerEntry(index, weight as Float32Array)]));
const layersOf = (entries: Parameters<typeof tensorsOf>[0], options: Partial<MatchOptions> = {}) =>
  layersOfTensors(tensorsOf(entries), smallNetwork, 'net.pt', { ...usualMatch, ...options });

t.test('tensors find their layers by published, pruned and given names', async (t) => {
  const masks = Object.fromEntries(bundle.layers.map(({ name, mask }, index) => [`features.${name}.mask`, layerEntry(index, mask)]));
  t.strictSame(layersOf({ ...weightEntries('features.'), ...masks }), bundle.layers, 'with the path of a module before it');
  const { 'conv0.weight': first, ...others } = weightEntries('');
  const pruned = layersOf({ 'conv0.weight_orig': first, 'conv0.weight_mask': layerEntry(0, bundle.layers[0].mask), ...others });
  t.strictSame(pruned[0], bundle.layers[0], 'as torch.nn.utils.prune writes it');
  t.strictSame([...pruned[1].mask].every((kept) => kept === 1), true, 'without mask and scores all but zeros are kept');
  const holed = Float32Array.from(bundle.layers[0].weight as Float32Array, (weight, index) => (index < 7 ? 0 : weight));
  const zeros = layersOf({ ...weightEntries(''), 'conv0.weight': layerEntry(0, holed) });
  t.equal(zeros[0].mask.indexOf(1), 7, 'zeros are pruned');
  const strangers = { step: { shape: [], values: [3] }, 'head.a': first };
  const mapped = layersOf({ W1: first, ...others, ...strangers }, { map: new Map([['conv0.weight', 'W1']]), ignore: ['step', 'head.*'] });
  t.strictSame(mapped[0].weight, bundle.layers[0].weight);
  const scaled = layersOf({ ...weightEntries(''), 'conv0.bias': { shape: [4], values: [0, 0, 0, 0] } }, { weightUnit: 'network' });
  t.equal(scaled[0].weight?.[3], Math.fround((bundle.layers[0].weight?.[3] as number) / 0.01), 'weights of the network become µS; a bias of zero is none');
});

t.test('what does not match is told at once, with what the file holds', async (t) => {
  const { 'a.conv1.weight': conv1, ...others } = weightEntries('a.');
  const wrong = { 'a.linear0.weight': { shape: [10, 500], values: [] }, 'a.fc.weight': conv1, 'a.conv0.bias': { shape: [4], values: [0, 1, 0, 0] } };
  const error = refusal(() => layersOf({ ...others, ...wrong }));
  t.equal(error.code, 'BAD_MODEL');
  for (const part of [
    'conv1.weight (12, 4, 3, 3) is missing', 'a.linear0.weight for linear0.weight has the shape (10, 500), expected (10, 588)', 'a.conv0.bias is not zero',
    'a.fc.weight has no place', 'It holds a.conv0.weight (4, 2, 5, 5) f4, a.linear0.weight (10, 500) f4, a.fc.weight (12, 4, 3, 3) f4, a.conv0.bias (4,) f4',
  ]) t.ok(error.message.includes(part), `${part}: ${error.message}`);
  const twice = refusal(() => layersOf({ ...weightEntries(''), ...weightEntries('ema.') }));
  t.match(twice.message, /conv0\.weight and ema\.conv0\.weight could both be conv0\.weight: name one by --map/);
  t.match(refusal(() => layersOf(weightEntries(''), { map: new Map([['conv0.weight', 'W9']]) })).message, /W9 of --map conv0\.weight=W9 is missing/);
  t.equal(refusal(() => layersOf(weightEntries(''), { map: new Map([['conv7.weight', 'W9']]) })).code, 'BAD_ARGUMENT');
  const half = { ...weightEntries(''), 'conv0.mask': layerEntry(0, new Float32Array(200).fill(0.5)) };
  t.match(refusal(() => layersOf(half)).message, /conv0\.mask holds 0\.5 at element 0, a mask holds 0 and 1/);
});

t.test('masks of scores keep what is at least the k-th smallest, k rounded as Python does', async (t) => {
  const scores = (count: number) => Float32Array.from({ length: count }, (_, index) => (index % 2 === 0 ? 1 : -1) * (index + 1));
  const kept = (count: number, sparsity: number) => maskOfScores(scores(count), sparsity).reduce((sum, one) => sum + one, 0);
  t.strictSame([kept(600, 0.5), kept(602, 0.5), kept(600, 0), kept(600, 1), kept(1, 0.5)], [300, 302, 600, 1, 1], '0.5 · 601 = 300.5 rounds to 300');
  t.strictSame([...maskOfScores(Float32Array.of(0.1, -0.9, 0.5, -0.2), 0.5)], [0, 1, 1, 0]);
  const [layer] = layersOf({ ...weightEntries(''), 'conv0.scores': layerEntry(0, scores(200)) }, { sparsity: 0.75 });
  t.equal(layer.mask.reduce((sum, one) => sum + one, 0), 51);
});

t.test('strides that a file states address what NumPy says', async () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 }), (shape) => {
    const [c, fortran] = [denseStrides(shape), denseStrides(shape, true)];
    assert.deepEqual(denseStrides([...shape].reverse()).reverse(), fortran);
    assert.equal(shape.reduce((last, size, axis) => last + (size - 1) * c[axis], 0), elementCount(shape) - 1);
  }), { numRuns: 50 });
});

t.test('the published checkpoint holds the nine arrays of the published bundle', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const { network, layers } = readBundle(join(data as string, 'prime-bundle'));
  const file = new Uint8Array(readFileSync(join(data as string, 'prime-checkpoint', 'classification.pt')));
  const imported = layersOfTensors(readTorch(file, 'classification.pt'), network, 'classification.pt');
  layers.forEach((layer, index) => {
    for (const role of ['weight', 'mask', 'scores'] as const) {
      const bytes = (array = new Uint8Array() as Float32Array | Uint8Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
      const [expected, found] = [bytes(layer[role]), bytes(imported[index][role])];
      t.ok(expected.length > 0 && expected.equals(found), `${layer.name}.${role}`);
    }
  });
});
