// Snapshots: every format gives back what was put in, hostile files are refused by name, a simulated chip starts from one, and the service keeps them.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { strToU8, unzipSync, zipSync } from 'fflate';
import t, { type Test } from 'tap';
import { cellCount } from '../firmware-protocol/limits.js';
import { main } from '../server/cli/main.js';
import { writeNpy } from '../server/network/npy.js';
import { logTimes } from '../server/array/retention.js';
import { snapshotFormats } from '../server/snapshot/format.js';
import { importSnapshot } from '../server/snapshot/import.js';
import { cellFlag, flagsOf, meanCodes, newSnapshot, type Snapshot } from '../server/snapshot/snapshot.js';
import { Chip } from '../sim/chip.js';
import { readSnapshotFile } from '../sim/process/snapshot-file.js';
import { profileNamed } from '../sim/profile.js';
import { bufferConsole } from './console.js';
import { call, serviceBench } from './service-bench.js';
import { TcpBoard } from './tcp-board.js';

const shape = [512, 512] as const;
const json = { 'content-type': 'application/json' };

function throwAwayFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-snapshot-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A snapshot with something in every part of it. */
function example(readCount = 2): Snapshot {
  const chip = Chip.formed(profileNamed('lab'), 5);
  const reads = Array.from({ length: readCount }, (_, read) => chip.codes.map((code, cell) => (code === 0 ? 0 : code + ((cell + read) % 3))));
  for (const read of reads) {
    read[7] = 65_535;
    read[9] = 3;
  }
  const codes = meanCodes(reads);
  return newSnapshot({
    chip: {
      chipId: 'wafer-3.die-7', lot: 'L1', wafer: '3', die: '7', package: 'QFN', socket: 'A', formedBy: 'Ada', formedAt: '2025-03-01', formedHow: '3.45 V',
      notes: 'µS, °C',
    },
    cellUnitNanosiemens: 4, codes, flags: flagsOf(codes, 4, 4), reads,
    conditions: {
      readVoltageMillivolts: 100, wordLineBiasMillivolts: 1800, settlingNanoseconds: 2000, averages: 4, linesDriven: 1, temperatureCelsius: 24.5,
      secondsSinceLastPulse: 3600, readSeconds: reads.map((_, read) => read * 6.5),
    },
    provenance: {
      deviceAddress: 'serial:/dev/ttyUSB0?baud=3000000', firmwareVersion: '1.2.0', profile: 'lab-half', seed: 5, takenAt: '2025-03-02T10:00:00Z', job: 'j1',
    },
  });
}

/** Deep comparison of a quarter of a million numbers takes minutes. */
const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Uint8Array) => Buffer.from(buffer, byteOffset, byteLength);
const sameBytes = (left: Uint16Array | Uint8Array, right: Uint16Array | Uint8Array) =>
  left.constructor === right.constructor && bytesOf(left).equals(bytesOf(right));

function holds(t: Test, read: Snapshot, written: Snapshot, name: string): void {
  t.strictSame({ ...read.chip }, written.chip, `${name}: passport`);
  t.strictSame({ ...read.conditions }, written.conditions, `${name}: conditions`);
  t.strictSame({ ...read.provenance }, written.provenance, `${name}: provenance`);
  t.equal(read.cellUnitNanosiemens, written.cellUnitNanosiemens);
  t.ok(sameBytes(read.codes, written.codes), `${name}: codes`);
  t.ok(sameBytes(read.flags, written.flags), `${name}: flags`);
  t.equal(read.reads.length, written.reads.length);
  t.ok(read.reads.every((codes, index) => sameBytes(codes, written.reads[index])), `${name}: kept reads`);
}

t.test('every format gives back what was put in', async (t) => {
  for (const readCount of [1, 2]) {
    const all = example(2);
    const written = readCount === 1 ? newSnapshot({ ...all, reads: [], conditions: { averages: 4 } }) : all;
    for (const [ending, { write }] of Object.entries(snapshotFormats)) {
      const bytes = await write(written);
      holds(t, await importSnapshot(bytes, `chip.${ending}`), written, ending);
      if (ending === 'npz') t.ok(Buffer.from(await write(written)).equals(Buffer.from(bytes)), `${ending}: the same snapshot is the same bytes`);
    }
  }
  const { codes, flags, provenance } = example();
  t.equal(codes[7], 65_535);
  t.strictSame([flags[7], flags[9] & cellFlag.unformed], [cellFlag.saturated, cellFlag.unformed], 'flagged');
  t.equal(provenance.digest, createHash('sha256').update(Buffer.from(codes.buffer)).digest('hex'));
});

/** An archive with some of its files replaced. */
function changed(bytes: Uint8Array, files: Record<string, Uint8Array | undefined>): Uint8Array {
  const all = Object.entries({ ...unzipSync(bytes), ...files }).filter((entry): entry is [string, Uint8Array] => entry[1] !== undefined);
  return zipSync(Object.fromEntries(all), { level: 0 });
}

t.test('a damaged or foreign archive is refused, with file and field', async (t) => {
  const bytes = snapshotFormats.npz.write(example());
  const text = new TextDecoder().decode(unzipSync(bytes)['metadata.npy']);
  const header = JSON.parse(text.slice(text.indexOf('{"format"')));
  const metadata = (value: unknown) => {
    const json = strToU8(JSON.stringify(value));
    return { 'metadata.npy': writeNpy(json, [json.length]) };
  };
  const refused = async (files: Record<string, Uint8Array | undefined>, message: RegExp, field?: string) =>
    t.rejects(importSnapshot(changed(bytes, files), 'chip.npz'), { code: 'BAD_SNAPSHOT', message, ...(field && { field }) });
  await refused({ 'codes.npy': undefined }, /chip\.npz has no codes\.npy/, 'codes');
  await refused({ 'codes.npy': writeNpy(new Uint16Array(1024), [32, 32]) }, /codes\.npy has the shape \(32, 32\), expected \(512, 512\)/);
  await refused({ 'codes.npy': writeNpy(new Float32Array(cellCount), shape) }, /codes\.npy holds type f4, expected u2/);
  await refused({ 'flags.npy': writeNpy(new Uint8Array(cellCount), shape) }, /bit line 0, source line 7 and says that it is not saturated/, 'flags');
  await refused({ 'flags.npy': writeNpy(new Uint8Array(cellCount).fill(9), shape) }, /flags are 0 to 3/, 'flags');
  await refused({ 'read_codes.npy': writeNpy(new Uint16Array(cellCount), shape) }, /expected \(reads, 512, 512\)/, 'read_codes');
  await refused(metadata({ ...header, format: 'prime-snapshot/9' }), /format must be "prime-snapshot\/1"/, 'format');
  await refused(metadata({ ...header, chip: {} }), /chip\.chipId is missing/);
  await refused(metadata({ ...header, extra: 1 }), /extra is no known field/);
  await refused(metadata({ ...header, cellUnitNanosiemens: -4 }), /cellUnitNanosiemens must be a number above 0/);
  await refused(metadata({ ...header, provenance: { ...header.provenance, digest: '0'.repeat(64) } }), /states the digest 0000/, 'provenance.digest');
  await refused(metadata({ ...header, conditions: { readSeconds: [1] } }), /states 1 times and keeps 2 reads/, 'conditions.readSeconds');
  await refused({ 'metadata.npy': writeNpy(strToU8('{'), [1]) }, /metadata is not JSON/);
  for (const length of [0, 10, 1000, bytes.length - 30]) {
    await t.rejects(importSnapshot(bytes.slice(0, length), 'chip.npz'), { code: 'BAD_SNAPSHOT' }, `cut to ${length} bytes`);
  }
  const bomb = zipSync({ 'codes.npy': new Uint8Array(40 * 2 ** 20) });
  await t.rejects(importSnapshot(bomb, 'chip.npz'), { code: 'BAD_SNAPSHOT', message: /41943040 bytes, the limit is/ }, 'nothing that large is unpacked');
});

t.test('damaged HDF5 and CSV files are refused', async (t) => {
  const h5 = await snapshotFormats.h5.write(example());
  await t.rejects(importSnapshot(h5.slice(0, 5000), 'chip.h5'), { code: 'BAD_SNAPSHOT', message: /chip\.h5 is not a readable HDF5 file/ });
  await t.rejects(importSnapshot(new Uint8Array(9000), 'chip.h5'), { code: 'BAD_SNAPSHOT' });
  holds(t, await importSnapshot(h5, 'again.h5'), example(), 'after a bad file a good one is read');
  const lines = new TextDecoder().decode(snapshotFormats.csv.write(example(1))).split('\n');
  const refused = (at: number, line: string, message: RegExp) =>
    t.rejects(importSnapshot(strToU8(lines.with(at, line).join('\n')), 'chip.csv'), { code: 'BAD_SNAPSHOT', message });
  await refused(1, 'bit_line,source_line', /line 2 is no heading/);
  await refused(2, '0,1,0,0,0,2,0', /line 3 is not the next cell/);
  await refused(3, '0,1,70000,0,0,0,0', /line 4: code is "70000", it is an integer from 0 to 65535/);
  await refused(3, '0,1,3', /line 4 has 3 fields/);
  await t.rejects(importSnapshot(strToU8(lines.slice(0, 100).join('\n')), 'chip.csv'), { code: 'BAD_SNAPSHOT', message: /rows of cells/ });
});

const chip = { chipId: 'c1' };
const floats = Float32Array.from({ length: cellCount }, (_, cell) => (cell % 2 === 0 ? 0 : 8 + (cell % 900) * 0.012));

/** The smallest workbook that Excel would open, with rows of numbers. */
function workbook(rows: readonly (readonly (number | string)[])[], sheetExtra = ''): Uint8Array {
  const name = (column: number): string => (column < 26 ? '' : name(Math.floor(column / 26) - 1)) + String.fromCharCode(65 + (column % 26));
  const cell = (value: number | string, row: number, column: number) => {
    const reference = `${name(column)}${row + 1}`;
    return typeof value === 'number' ? `<c r="${reference}" s="1"><v>${value}</v></c>` : `<c r="${reference}" t="inlineStr"><is><t>${value}</t></is></c>`;
  };
  const line = (row: readonly (number | string)[], at: number) => `${row.map((value, column) => cell(value, at, column)).join('')}<c r="ZZ${at + 1}" s="2"/>`;
  const data = rows.map((row, at) => `<row r="${at + 1}">${line(row, at)}</row>`).join('');
  const sheet = `<?xml version="1.0"?>${sheetExtra}<worksheet><cols><col min="1"/></cols><sheetData>${data}</sheetData></worksheet>`;
  return zipSync({ 'xl/worksheets/sheet1.xml': strToU8(sheet) });
}

t.test('maps of others are imported, in the unit that is stated', async (t) => {
  const npy = await importSnapshot(writeNpy(floats, shape), 'map.npy', { chip, unit: 'uS' });
  t.equal(npy.codes[1], Math.round((floats[1] * 1000) / 4));
  t.strictSame([npy.flags[0], npy.flags[1]], [cellFlag.unformed, 0], 'unformed where it conducts nothing');
  t.strictSame(npy.provenance.importedFrom, 'map.npy');
  const nano = await importSnapshot(writeNpy(floats.map((value) => value * 1000), shape), 'map.npy', { chip, unit: 'nS' });
  t.ok(sameBytes(nano.codes, npy.codes));
  const codes = await importSnapshot(writeNpy(npy.codes, shape), 'codes.npy', { chip, cellUnitNanosiemens: 4 });
  t.ok(sameBytes(codes.codes, npy.codes), 'codes say themselves what they are');
  const reads = new Uint16Array(2 * cellCount);
  reads.set(npy.codes);
  reads.set(npy.codes.map((code) => (code === 0 ? 0 : code + 2)), cellCount);
  const twice = await importSnapshot(writeNpy(reads, [2, cellCount]), 'reads.npy', { chip });
  t.equal(twice.reads.length, 2);
  t.equal(twice.codes[1], npy.codes[1] + 1, 'the mean of both');
  const rows = Array.from({ length: 512 }, (_, bitLine) => [...floats.subarray(bitLine * 512, (bitLine + 1) * 512)]);
  const heading = Array.from({ length: 512 }, (_, line) => `sl${line}`);
  const csv = await importSnapshot(strToU8([heading, ...rows].map((row) => `${row.join(',')}\n`).join('')), 'map.csv', { chip, unit: 'uS' });
  t.ok(sameBytes(csv.codes, npy.codes), 'CSV with a heading');
  const xlsx = await importSnapshot(workbook(rows), 'map.xlsx', { chip, unit: 'uS' });
  t.ok(sameBytes(xlsx.codes, npy.codes), 'a worksheet');
  const turned = await importSnapshot(workbook(rows[0].map((_, line) => rows.map((row) => row[line]))), 'map.xlsx', { chip, unit: 'uS', isTransposed: true });
  t.ok(sameBytes(turned.codes, npy.codes), 'and one with rows and columns exchanged');
});

t.test('what is no conductance is refused with row and column', async (t) => {
  const refused = (bytes: Uint8Array, file: string, message: RegExp, options = {}) =>
    t.rejects(importSnapshot(bytes, file, { chip, unit: 'uS', ...options }), { code: 'BAD_SNAPSHOT', message });
  const wrong: [value: number, message: RegExp][] = [
    [Number.NaN, /NaN at row 2, column 3/], [-0.5, /-0\.5 at row 2, column 3/], [Infinity, /Infinity/],
    [300, /300 at row 2, column 3, the range is 0 to 262\.14 uS/],
  ];
  for (const [value, message] of wrong) {
    await refused(writeNpy(floats.with(2 * 512 + 3, value), shape), 'map.npy', message);
  }
  await refused(writeNpy(new Float32Array(100), [10, 10]), 'map.npy', /holds 10 × 10 numbers, a snapshot has 512 × 512, or reads × 262144 cells/);
  await refused(writeNpy(floats, shape), 'map.npy', /does not say in what its numbers are/, { unit: undefined });
  await refused(writeNpy(floats, shape), 'map.npy', /does not say of which chip it is/, { chip: undefined });
  await refused(writeNpy(floats, shape), 'map.txt', /of no known kind: numbers come as \.npy, \.csv, \.xlsx/);
  await refused(strToU8('1,2\n3,x\n'), 'map.csv', /row 1, column 1 holds "x", no number/);
  await refused(strToU8('1,2\n3\n'), 'map.csv', /row 1 has 1 fields, the first has 2/);
  await refused(workbook([[1, 2], [3, 'n/a']]), 'map.xlsx', /row 1, column 1 holds a text, no number/);
  await refused(workbook([[1, 2], [3]]), 'map.xlsx', /holds 2 × 2|NaN at row 1, column 1/);
  await refused(workbook([[1]], '<!DOCTYPE x [<!ENTITY a "aaaa">]>'), 'map.xlsx', /declares a document type/);
  await refused(zipSync({ 'xl/worksheets/sheet1.xml': strToU8(`<worksheet>${'<c r="A1">'.repeat(50_000)}`) }), 'map.xlsx', /ends within a cell/);
  await refused(zipSync({ 'a.txt': strToU8('') }), 'map.xlsx', /no \.xlsx workbook/);
  await refused(strToU8('PK'), 'map.xlsx', /not a readable zip archive/);
});

t.test('a simulated chip starts from a snapshot with the very codes, and its unformed cells are pristine', async (t) => {
  const folder = throwAwayFolder(t);
  const path = join(folder, 'chip.npz');
  const snapshot = example();
  writeFileSync(path, snapshotFormats.npz.write(snapshot));
  const { microsiemens, unformed } = readSnapshotFile(path, shape);
  const simulated = Chip.pristine(profileNamed('lab'), 1);
  simulated.setConductances(microsiemens, unformed);
  t.ok(sameBytes(simulated.codes, snapshot.codes));
  t.equal(simulated.codes[9], 3, 'also of a cell that was never formed');
  t.ok(simulated.states.every((state, cell) => (state === 0) === ((snapshot.flags[cell] & cellFlag.unformed) !== 0)));
  const refused = (bytes: Uint8Array, message: RegExp) => {
    writeFileSync(path, bytes);
    t.throws(() => readSnapshotFile(path, shape), { code: 'BAD_PROFILE', message });
  };
  const bytes = snapshotFormats.npz.write(snapshot);
  refused(bytes.slice(0, 100), /invalid zip data/);
  refused(changed(bytes, { 'flags.npy': undefined }), /holds no flags\.npy/);
  refused(changed(bytes, { 'codes.npy': writeNpy(new Uint16Array(cellCount), shape) }), /not the digest that it states/);
  refused(changed(bytes, { 'codes.npy': writeNpy(new Uint16Array(4), [2, 2]) }), /codes\.npy is not as docs/);
  refused(zipSync({ 'codes.npy': new Uint8Array(9 * 2 ** 20) }), /9437184 bytes, the limit/);
});

t.test('the service keeps passports and snapshots', async (t) => {
  const bench = await serviceBench(t);
  const snapshot = example();
  const { digest } = snapshot.provenance;
  const put = (body: object) => call(bench, '/v1/chips/wafer-3.die-7', { method: 'PUT', headers: json, body: JSON.stringify(body) });
  t.match(await call(bench, '/v1/chips/wafer-3.die-7'), { status: 404, body: { code: 'CHIP_UNKNOWN' } });
  t.match(await put({ chipId: 'wafer-3.die-7', notes: 'ours' }), { status: 200, body: { notes: 'ours' } });
  t.match(await put({ chipId: 'another' }), { status: 400, body: { field: 'chipId' } });
  t.match(await put({ chipId: 'wafer-3.die-7', colour: 'red' }), { status: 400 });
  const sent = await bench.client.importSnapshot(snapshotFormats.npz.write(snapshot), { name: 'chip.npz' });
  t.equal(sent, digest);
  t.match(await call(bench, '/v1/chips'), { body: { chips: [{ chipId: 'wafer-3.die-7', notes: 'ours' }] } });
  const { body } = await call(bench, '/v1/chips/wafer-3.die-7/snapshots');
  t.match(body.snapshots, [{ provenance: { digest, takenAt: '2025-03-02T10:00:00Z' }, chip: { notes: 'ours' }, keptReads: 2 }], 'what people wrote wins');
  t.match((await call(bench, `/v1/snapshots/${digest}`)).body, { conditions: { temperatureCelsius: 24.5 }, keptReads: 2 });
  for (const ending of Object.keys(snapshotFormats)) {
    const again = await importSnapshot(await bench.client.snapshotFile(digest, ending), `chip.${ending}`);
    holds(t, again, { ...snapshot, chip: { chipId: 'wafer-3.die-7', notes: 'ours' } }, ending);
  }
  t.match(await call(bench, `/v1/snapshots/${'0'.repeat(64)}`), { status: 404, body: { code: 'SNAPSHOT_UNKNOWN' } });
  t.match(await call(bench, `/v1/snapshots/${digest}.exe`), { status: 400 });
  const map = writeNpy(snapshot.codes, shape);
  const others = bench.client.importSnapshot(map, { name: 'map.npy', chip: 'other' });
  await t.rejects(others, { code: 'BAD_SNAPSHOT', message: /stored as a snapshot of chip wafer-3\.die-7/ });
  t.match((await call(bench, '/v1/chips')).body.chips.length, 1, 'what was refused has left nothing');
  await t.rejects(bench.client.importSnapshot(writeNpy(floats, shape), { name: 'map.npy', chip: 'other' }), { code: 'BAD_SNAPSHOT', field: 'unit' });
  t.equal(await bench.client.importSnapshot(map, {}), digest, 'bare codes, for bundles');
});

t.test('a device is read into a snapshot, and cells again and again at log-spaced times', { timeout: 120_000 }, async (t) => {
  const board = await TcpBoard.start('lab-quiet', 3);
  t.teardown(() => board.close());
  const bench = await serviceBench(t, { devices: [board.address] });
  const taken = await bench.client.submitOperation('/v1/snapshot-takings', { reads: 2, averages: 1, conditions: { readVoltageMillivolts: 100 } });
  const summary = (await bench.client.ended(taken.id)).summary as unknown as { digest: string; chipId: string };
  const snapshot = await importSnapshot(await bench.client.snapshotFile(summary.digest, 'npz'), 'chip.npz');
  t.match(snapshot, { chip: { chipId: board.chip.chipId }, conditions: { averages: 1, readVoltageMillivolts: 100 } });
  t.equal(snapshot.conditions.temperatureCelsius, 25, 'as the board tells it');
  t.match(snapshot.provenance, { profile: 'lab-half-quiet', job: taken.id, deviceAddress: board.address });
  t.ok((snapshot.conditions.readSeconds?.[1] ?? 0) > 5, 'operation time of the second read');
  t.ok(snapshot.flags.every((flag, cell) => (flag !== 0) === (board.chip.codes[cell] === 0)), 'unformed cells are flagged');
  const region = { firstBitLine: 2, bitLines: 2, firstSourceLine: 0, sourceLines: 64 };
  const asked = await bench.client.submitOperation('/v1/retentions', { region, averages: 2, firstSeconds: 1, lastSeconds: 100, pointsPerDecade: 2 });
  await bench.client.ended(asked.id);
  const { text } = await call(bench, `/v1/jobs/${asked.id}/results`);
  const points = text.trim().split('\n').map((line) => JSON.parse(line) as { seconds: number; cells: number; meanChangeFraction: number });
  t.equal(points.length, 6, 'the first read and five more');
  const wanted = [0, ...logTimes(1, 100, 2)];
  t.ok(points.every(({ seconds }, index) => seconds >= wanted[index] && seconds < wanted[index] + 12), JSON.stringify(points.map(({ seconds }) => seconds)));
  t.ok(points.every(({ cells, meanChangeFraction }) => cells > 30 && Math.abs(meanChangeFraction) < 1e-3), 'a settled chip without noise stays');
  const backwards = { method: 'POST', headers: json, body: '{"firstSeconds":10,"lastSeconds":1}' };
  t.match(await call(bench, '/v1/retentions', backwards), { status: 400, body: { field: 'lastSeconds' } });
});

t.test('the command line takes, edits, exports and imports, and a twin starts from the file', { timeout: 180_000 }, async (t) => {
  const folder = throwAwayFolder(t);
  const run = async (...argv: string[]) => {
    const console = bufferConsole({ PRIME_HOME: join(folder, 'home') });
    return { code: await main(argv, console), out: console.stdout(), error: console.stderr() };
  };
  const path = join(folder, 'chip.npz');
  const taken = await run('chip', 'snapshot', '--local', 'sim:lab?seed=3', '--reads', '3', '--averages', '1', '--read-voltage', '100', '--out', path, '--json');
  t.equal(taken.code, 0, taken.error);
  const { digest } = JSON.parse(taken.out);
  const source = await importSnapshot(new Uint8Array(readFileSync(path)), path);
  t.equal(source.provenance.digest, digest);
  t.equal(source.conditions.readVoltageMillivolts, 100);
  const again = join(folder, 'again.h5');
  const twin = await run('chip', 'snapshot', '--local', `sim:ideal?snapshot=${encodeURIComponent(path)}`, '--averages', '1', '--out', again, '--json');
  t.equal(twin.code, 0, twin.error);
  const read = await importSnapshot(new Uint8Array(readFileSync(again)), again);
  t.ok(read.codes.every((code, cell) => code === Math.min(65_535, source.codes[cell] * 4)), 'ideal reads the very conductances back, in its own unit');
  const out = join(folder, 'profile.json');
  const fit = await run('twin', 'fit', '--reads', path, '--out', out, '--json');
  t.equal(fit.code, 0, fit.error);
  const { match, profile } = JSON.parse(fit.out);
  t.ok(match.cells.correlation > 0.99 && match.cells.deviations.distance < 0.02 && match.cells.conductances.distance < 0.02, JSON.stringify(match));
  t.ok(match.law.conductances.distance < 0.02 && Math.abs(match.law.correlation) < 0.05);
  t.strictSame(JSON.parse(readFileSync(out, 'utf8')), profile);
  t.ok(Math.abs(profile.readNoiseFraction - 0.02) < 0.0005);
  const bench = await serviceBench(t);
  const server = ['--server', bench.service.url];
  const imported = await run('chip', 'import', path, ...server);
  t.equal(imported.out, `${digest}\n`, imported.error);
  t.match(await run('chip', 'edit', 'sim-lab-half-3', '--lot', 'L9', '--notes', 'twin', ...server), { code: 0, out: /lot +L9/ });
  t.match(await run('chip', 'show', 'sim-lab-half-3', ...server), { code: 0, out: new RegExp(digest.slice(0, 12)) });
  t.match(await run('chip', 'show', ...server), { code: 0, out: /sim-lab-half-3 +L9/ });
  const csv = join(folder, 'chip.csv');
  t.match(await run('chip', 'export', `sim-lab-half-3@${digest.slice(0, 8)}`, '--out', csv, ...server), { code: 0 });
  t.match((await importSnapshot(new Uint8Array(readFileSync(csv)), csv)).chip, { lot: 'L9', notes: 'twin' });
  t.match(await run('chip', 'export', 'sim-lab-half-3', '--out', join(folder, 'chip.doc'), ...server), { code: 2, error: /BAD_ARGUMENT/ });
  t.match(await run('chip', 'import', join(folder, 'none.npy'), ...server), { code: 2, error: /INPUT_NOT_FOUND/ });
  t.match(await run('chip'), { code: 2 });
});
