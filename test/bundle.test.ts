// Aim: a bundle is what its files say, to the bit, and a wrong file is refused by name and field.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { MacroError } from '../proto/error.js';
import { type Bundle, bundleFromFiles, filesOfBundle, readBundle, writeBundle } from '../server/network/bundle.js';
import { parseNetwork } from '../server/network/network.js';
import { readNpy, readNpyArray, writeNpy } from '../server/network/npy.js';
import { placeNetwork } from '../server/network/placement.js';
import { fingerprintCellCount, fingerprintOf, snapshotDigest } from '../server/network/snapshot.js';
import { smallBundle, smallNetwork } from './small-bundle.js';

const data = process.env['PRIME_DATA'];
const geometry = { bitLines: 512, sourceLines: 512 };

function chipBundle(): Omit<Bundle, 'digest'> {
  const codes = Uint16Array.from({ length: 512 * 512 }, (_, cell) => (cell * 2654435761) % 4001);
  const { network, layers } = smallBundle();
  const chip = {
    format: 'prime-chip/1' as const,
    chipId: 'sim-lab-half-1',
    fingerprint: fingerprintOf(codes, geometry),
    snapshotDigest: snapshotDigest(codes),
    weightScale: network.weightScale,
    placements: placeNetwork(network, { geometry }),
  };
  return { network, layers: layers.map(({ name, mask }) => ({ name, mask, scores: new Float32Array(mask.length).fill(0.5) })), chip };
}

function refusal(files: ReadonlyMap<string, Uint8Array>): MacroError | undefined {
  try {
    bundleFromFiles(files);
  } catch (error) {
    return error as MacroError;
  }
  return undefined;
}

/** `network.json` with one field set to something else; undefined removes it. */
function changed(path: string, value: unknown): Uint8Array {
  const network = structuredClone(smallNetwork) as unknown as Record<string, unknown>;
  const parts = path.split('.');
  const last = parts.pop() as string;
  let at = network;
  for (const part of parts) at = at[part] as Record<string, unknown>;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return new TextEncoder().encode(JSON.stringify(network));
}

t.test('a bundle survives being written and read', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const bundle of [smallBundle(), chipBundle()]) {
    const written = writeBundle(join(folder, bundle.chip ? 'chip' : 'plain'), bundle);
    const read = readBundle(join(folder, bundle.chip ? 'chip' : 'plain'));
    t.equal(read.digest, written.digest);
    t.strictSame({ ...read, digest: '' }, { ...bundle, digest: '' });
  }
  writeFileSync(join(folder, 'plain', 'report.json'), '{}');
  const { digest } = bundleFromFiles(filesOfBundle(smallBundle()));
  t.equal(readBundle(join(folder, 'plain')).digest, digest, 'a file beside it changes nothing');
  t.throws(() => readBundle(join(folder, 'absent')), { code: 'MODEL_UNKNOWN' });
});

t.test('the digest is of contents, not of the order of files', async (t) => {
  const files = filesOfBundle(smallBundle());
  const backwards = new Map([...files].reverse());
  t.equal(bundleFromFiles(backwards).digest, bundleFromFiles(files).digest);
  const mask = Uint8Array.from(files.get('conv0.mask.npy') as Uint8Array);
  mask[mask.length - 1] ^= 1;
  t.not(bundleFromFiles(new Map([...files, ['conv0.mask.npy', mask]])).digest, bundleFromFiles(files).digest);
});

t.test('network.json is checked field by field', async (t) => {
  const cases: [string, unknown, RegExp][] = [
    ['format', 'prime-bundle/2', /format must be "prime-bundle\/1"/],
    ['weightscale', 0.01, /weightscale is no known field/],
    ['weightScale', undefined, /weightScale is missing/],
    ['weightScale', 0, /weightScale must be a number above 0 and below 1/],
    ['weightScale', '0.01', /weightScale must be a number/],
    ['timestepCount', 65, /timestepCount must be an integer from 1 to 64/],
    ['timestepCount', 1.5, /timestepCount must be an integer/],
    ['input.height', 28, /input\.height must be 34/],
    ['input.extra', 1, /input\.extra is no known field/],
    ['layers', [], /layers must be a list of 1 to 8 layers/],
    ['layers.0.type', 'pool', /layers\[0\]\.type must be "convolution" or "linear"/],
    ['layers.0.kernel', 0, /layers\[0\]\.kernel must be an integer from 1 to 15/],
    ['layers.0.kernel', undefined, /layers\[0\]\.kernel is missing/],
    ['layers.0.dilation', 1, /layers\[0\]\.dilation is no known field/],
    ['layers.0.name', '../../etc/passwd', /layers\[0\]\.name must be a name/],
    ['layers.1.name', 'conv0', /layers\[1\]\.name "conv0" is taken/],
    ['layers.0.pool.size', 4, /layers\[0\]\.pool\.size must be an integer from 2 to 3/],
    ['layers.0.pool.size', 3, /layers\[0\]\.pool\.size must divide the output of 32×32 pixels/],
    ['layers.0.neuron.threshold', -1, /layers\[0\]\.neuron\.threshold must be a number above 0/],
    ['layers.0.neuron.type', 'accumulate', /layers\[0\]\.neuron/],
    ['layers.1.inputChannels', 5, /layers\[1\]\.inputChannels must be 4/],
    ['layers.2.inputs', 587, /layers\[2\]\.inputs must be 588/],
    ['layers.2.neuron.type', 'lif', /layers\[2\]\.neuron\.type must be "accumulate"/],
    ['earlyStop.threshold', 1, /earlyStop\.threshold must be a number above 0 and below 1/],
    ['earlyStop.rule', 'margin', /earlyStop\.temperature is no known field/],
  ];
  for (const [path, value, message] of cases) {
    const error = refusal(new Map([...filesOfBundle(smallBundle()), ['network.json', changed(path, value)]]));
    t.equal(error?.code, 'BAD_BUNDLE', path);
    t.match(error?.message, message);
    t.match(error?.message, /network\.json/);
  }
  t.throws(() => parseNetwork('{"format":'), { code: 'BAD_BUNDLE', field: 'network.json' });
  t.throws(() => parseNetwork('[]'), { code: 'BAD_BUNDLE' });
});

t.test('array files are checked by type, shape and value', async (t) => {
  const good = filesOfBundle(smallBundle());
  const weight = new Float32Array(200).fill(1);
  const fortran = Uint8Array.from(good.get('conv0.weight.npy') as Uint8Array);
  const at = new TextDecoder('latin1').decode(fortran).indexOf('False');
  fortran.set(new TextEncoder().encode('True '), at);
  const cases: [string, string, Uint8Array | undefined, RegExp][] = [
    ['no mask', 'conv0.mask.npy', undefined, /conv0\.mask\.npy is missing/],
    ['no weight', 'conv1.weight.npy', undefined, /conv1\.weight\.npy is missing; only a bundle with chip\.json/],
    ['no .npy', 'conv0.mask.npy', new Uint8Array([1, 2, 3]), /conv0\.mask\.npy is not a readable \.npy file/],
    ['another type', 'conv0.mask.npy', writeNpy(new Int32Array(200), [4, 2, 5, 5]), /conv0\.mask\.npy holds type i4, expected u1/],
    ['another shape', 'conv0.weight.npy', writeNpy(weight, [4, 50]), /shape \(4, 50\), expected \(4, 2, 5, 5\)/],
    ['cut off', 'conv0.mask.npy', good.get('conv0.mask.npy')?.subarray(0, -1), /states 200 elements and holds 199/],
    ['Fortran order', 'conv0.weight.npy', fortran, /is in Fortran order/],
    ['no mask value', 'conv0.mask.npy', writeNpy(new Uint8Array(200).fill(2, 7, 8), [4, 2, 5, 5]), /holds 2 at element 7/],
    ['not a number', 'conv0.weight.npy', writeNpy(new Float32Array(200).fill(Number.NaN, 9), [4, 2, 5, 5]), /NaN at element 9, .* 65 µS/],
    ['too strong', 'conv0.weight.npy', writeNpy(new Float32Array(200).fill(-66), [4, 2, 5, 5]), /holds -66 at element 0/],
    ['a stranger', 'conv9.mask.npy', writeNpy(new Uint8Array(2), [2]), /conv9\.mask\.npy belongs to no layer/],
    ['too large', 'conv0.scores.npy', new Uint8Array(2 ** 22 + 1), /conv0\.scores\.npy has 4194305 bytes, the limit is 4194304/],
    ['no network', 'network.json', undefined, /network\.json is missing/],
  ];
  for (const [name, file, bytes, message] of cases) {
    const files = new Map(good);
    if (bytes) files.set(file, bytes);
    else files.delete(file);
    const error = refusal(files);
    t.equal(error?.code, 'BAD_BUNDLE', name);
    t.match(error?.message, message, name);
    t.equal(error?.field, file, name);
  }
});

t.test('chip.json is checked against the network and the array', async (t) => {
  const good = chipBundle();
  const chip = good.chip as NonNullable<Bundle['chip']>;
  const [first, ...others] = chip.placements;
  const tile = first.tiles[0];
  const withTile = (change: object) => ({ placements: [{ ...first, tiles: [{ ...tile, ...change }] }, ...others] });
  const cases: [string, object, RegExp][] = [
    ['unknown field', { chipID: 'x' }, /chip\.json: chipID is no known field/],
    ['short fingerprint', { fingerprint: [1, 2] }, new RegExp(`fingerprint must be a list of ${fingerprintCellCount} cell codes`)],
    ['digest', { snapshotDigest: 'abc' }, /snapshotDigest must be a SHA-256/],
    ['scale', { weightScale: 0.02 }, /weightScale must be 0\.01, as in network\.json/],
    ['a layer short', { placements: others }, /placements must hold 3 layers/],
    ['another layer', { placements: [{ ...first, layer: 'convx' }, ...others] }, /placements\[0\]\.layer must be "conv0"/],
    ['a line short', withTile({ plusLines: tile.plusLines.slice(1) }), /plusLines must hold 4 lines/],
    ['inputs missing', withTile({ inputCount: 49 }), /placements\[0\]\.tiles hold 49 inputs, the layer has 50/],
    ['inputs shifted', withTile({ firstInput: 1 }), /firstInput must be 0/],
    ['outside', withTile({ firstBitLine: 480 }), /inputCount leaves the 512 bit lines/],
    ['a cell twice', withTile({ minusLines: tile.plusLines }), /uses the cell of bit line 0 and source line 0 twice/],
    ['no line', withTile({ plusLines: [0, 2, 4, 512] }), /plusLines\[3\] must be an integer from 0 to 511/],
  ];
  for (const [name, change, message] of cases) {
    const text = new TextEncoder().encode(JSON.stringify({ ...chip, ...change }));
    const error = refusal(new Map([...filesOfBundle(good), ['chip.json', text]]));
    t.equal(error?.code, 'BAD_BUNDLE', name);
    t.match(error?.message, message, name);
  }
  t.equal(refusal(filesOfBundle(good)), undefined, 'the unchanged one is good');
});

t.test('arrays of any shape survive .npy', async (t) => {
  const real = Float32Array.of(1.5, -2, 3, 4, 5, 6);
  const bytes = Buffer.from(writeNpy(real, [2, 3]));
  t.strictSame(readNpyArray(bytes, 'a.npy', 'f4'), { shape: [2, 3], data: real });
  t.strictSame(readNpy(bytes, 'a.npy', 'f4', [2, 3]), real);
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  t.strictSame(readNpy(shifted.subarray(3), 'a.npy', 'f4', [2, 3]), real, 'whatever the offset in its buffer');
});

t.test('the published bundle is read as it is', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const { network, layers } = readBundle(join(data as string, 'prime-bundle'));
  t.equal(network.name, 'prime-nmnist');
  const kept = layers.map(({ mask }) => [mask.length, mask.reduce((sum, one) => sum + one, 0)]);
  t.strictSame(kept, [[600, 300], [19_200, 9600], [23_040, 11_520]]);
  const weights = layers[1].weight as Float32Array;
  const sd = Math.sqrt(weights.reduce((sum, weight) => sum + weight ** 2, 0) / weights.length);
  t.ok(Math.abs(sd - 6.352) < 0.1, `weights are N(0, 6.352) µS, found ${sd}`);
});
