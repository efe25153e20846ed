// The file of a simulated chip: whenever its process is killed, every pulse that anybody has heard of is in it.
import { spawn } from 'node:child_process';
import fs, { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { Chip } from '../sim/chip.js';
import { ChipFile, readChipFile } from '../sim/process/chip-file.js';
import { profileNamed } from '../sim/profile.js';
import { Rig } from './rig/bench.js';
import { Child } from './rig/child.js';

const profile = profileNamed('lab');
const pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 };
const cells = Array.from({ length: 4000 }, (_, index) => index * 65);

function throwAwayPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-chip-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'chip.bin');
}

/** A quarter of a million elements, where a comparison that explains itself takes minutes. */
const isEqual = (left: Chip | undefined, right: Chip) => left !== undefined && Buffer.compare(left.serialise(), right.serialise()) === 0;

/** Pulses some cells as an operation would. */
function strike(chip: Chip, first: number, count: number): void {
  chip.beginOperation();
  for (const cell of cells.slice(first, first + count)) {
    chip.operationNanoseconds += 3000;
    chip.drivenNanoseconds[cell >> 9] += 1000;
    chip.drivePulse(cell, pulse);
    chip.reset(cell, pulse);
  }
}

t.test('a pulse that the host hears of is in the file already', async (t) => {
  const path = throwAwayPath(t);
  let file: ChipFile | undefined;
  // At the pace of the model the board is about a millisecond, some 333 pulses, ahead of what the host has heard.
  const rig = new Rig({ profile: 'lab', pace: 'real', note: (chip) => file?.note(chip), persist: (chip) => file?.persist(chip) });
  file = new ChipFile(path, rig.chip);
  await rig.ready();
  const bitmap = new Uint8Array(2 ** 15);
  for (const cell of cells) bitmap[cell >> 3] |= 1 << (cell & 7);
  const heard: { readonly told: number; readonly kept: number }[] = [];
  const onProgress = ({ pulses: told }: { pulses: number }) => {
    if (heard.length < 5) heard.push({ told, kept: readChipFile(path, profile, 1)?.pulses ?? 0 });
  };
  await rig.until(rig.device.resetCells(bitmap, pulse, onProgress));
  t.equal(heard.length, 5);
  for (const { told, kept } of heard) t.ok(told > 0 && kept >= told && kept < told + 700, `${kept} pulses are kept, ${told} were told`);
  t.ok(isEqual(readChipFile(path, profile, 1), rig.chip), 'at the end the file is the chip, bit for bit');
  await rig.until(rig.device.readCells({ firstBitLine: 3, bitLines: 2, firstSourceLine: 0, sourceLines: 512 }, 4));
  t.ok(isEqual(readChipFile(path, profile, 1), rig.chip), 'and knows how long reads have driven its lines');
});

t.test('a file that was cut anywhere in its last block is the chip as it was before', async (t) => {
  const path = throwAwayPath(t);
  const chip = Chip.formed(profile, 1);
  const file = new ChipFile(path, chip);
  strike(chip, 0, 100);
  file.note(chip);
  const before = Chip.deserialise(chip.serialise(), profile) as Chip;
  const { size } = statSync(path);
  strike(chip, 50, 20);
  file.note(chip);
  const whole = readFileSync(path);
  for (const end of [size, size + 1, size + 8, size + 9, whole.length - 1]) {
    truncateSync(path, end);
    t.ok(isEqual(readChipFile(path, profile, 1), before), `${end - size} bytes of the block`);
    writeFileSync(path, whole);
  }
  t.ok(isEqual(readChipFile(path, profile, 1), chip));
  whole[whole.length - 3] ^= 1;
  writeFileSync(path, whole);
  t.ok(isEqual(readChipFile(path, profile, 1), before), 'a damaged block is none');
  const again = readChipFile(path, profile, 1) as Chip;
  strike(again, 70, 5);
  new ChipFile(path, again).note(again);
  t.ok(isEqual(readChipFile(path, profile, 1), again), 'who goes on with such a file does not write behind its damage');
  whole[100] ^= 1;
  writeFileSync(path, whole);
  t.throws(() => readChipFile(path, profile, 1), { code: 'BAD_PROFILE' });
});

t.test('changes do not pile up without bound, and nothing is written where nothing was done', async (t) => {
  const path = throwAwayPath(t);
  const chip = Chip.formed(profile, 1);
  const file = new ChipFile(path, chip, 20_000);
  const { size } = statSync(path);
  file.note(chip);
  t.equal(statSync(path).size, size);
  const sizes = Array.from({ length: 12 }, (_, step) => {
    strike(chip, 10 * step, 30);
    file.persist(chip);
    return statSync(path).size - size;
  });
  t.ok(Math.max(...sizes) > 20_000 && Math.max(...sizes) < 40_000, `${sizes}`);
  t.ok(sizes.includes(0), 'the chip was written whole again');
  t.ok(isEqual(readChipFile(path, profile, 1), chip));
});

t.test('time under voltage is in the file though nothing was pulsed by it, and costs an entry a bit line and voltage', async (t) => {
  const path = throwAwayPath(t);
  const chip = Chip.formed(profile, 1);
  const file = new ChipFile(path, chip);
  const grown = (...amplitudes: number[]) => {
    const { size } = statSync(path);
    for (const amplitudeMillivolts of amplitudes) chip.drivePulse(cells[0], { ...pulse, amplitudeMillivolts });
    file.note(chip);
    return statSync(path).size - size;
  };
  const once = grown(200);
  t.equal(grown(200, 210, 290) - once, 0, 'one step of voltage');
  t.equal(grown(200, 300, 6000) - once, 2 * (4 + 8), 'three of them: a number and a time each');
  const again = readChipFile(path, profile, 1);
  t.ok(isEqual(again, chip));
  t.strictSame([2, 3, 50].map((step) => again?.pulsedNanoseconds[step]), [5000, 1000, 1000]);
});

t.test('a block that did not fit on the disk is made good as soon as there is room', async (t) => {
  const path = throwAwayPath(t);
  let isFull = false;
  const write: typeof writeFileSync = (file, data, options) => {
    if (!isFull) return writeFileSync(file, data, options);
    writeFileSync(file, (data as Uint8Array).subarray(0, 100));
    throw new Error('ENOSPC: no space left on device');
  };
  const mocks = { 'node:fs': { ...fs, writeFileSync: write } };
  const { ChipFile: Mocked } = await t.mockImport<typeof import('../sim/process/chip-file.js')>('../sim/process/chip-file.js', mocks);
  const chip = Chip.formed(profile, 1);
  const file = new Mocked(path, chip);
  strike(chip, 0, 10);
  isFull = true;
  t.throws(() => file.note(chip), /ENOSPC/);
  t.throws(() => file.note(chip), /ENOSPC/, 'it is not forgotten that something is missing');
  t.equal(readChipFile(path, profile, 1)?.pulses, 0);
  isFull = false;
  file.note(chip);
  t.ok(isEqual(readChipFile(path, profile, 1), chip));
});

const program = join(import.meta.dirname, '..', 'dist', 'sim', 'process', 'main.js');
const wordsOf = (path: string) => ['--profile', 'lab', '--chip', path, '--listen', 'tcp://127.0.0.1:0'];

async function simulator(t: Test, path: string): Promise<Child> {
  const child = await Child.start(program, [...wordsOf(path), '--exit-with-parent']);
  t.teardown(() => child.kill());
  return child;
}

t.test('a file belongs to one simulator, the others hear to whom; who was killed holds nothing', async (t) => {
  const path = throwAwayPath(t);
  const first = await simulator(t, path);
  await t.rejects(simulator(t, path), { message: new RegExp(`CHIP_LOCKED: process ${first.processId} holds ${path}\\. End the other simulator`) });
  await first.kill();
  const second = await simulator(t, path);
  const waiting = simulator(t, path);
  await second.kill();
  await (await waiting).kill();
  const ends = await Promise.allSettled([simulator(t, path), simulator(t, path)]);
  t.strictSame(ends.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'of two at once one has it');
});

t.test('a simulator that was killed holds nothing even while its parent does not ask for it', async (t) => {
  const path = throwAwayPath(t);
  const parent = spawn('sh', ['-c', '"$@" & echo $!; exec tail -f /dev/null', 'sh', process.execPath, program, ...wordsOf(path)]);
  t.teardown(() => parent.kill());
  const lines = createInterface({ input: parent.stdout })[Symbol.asyncIterator]();
  const processId = Number((await lines.next()).value);
  t.match((await lines.next()).value, 'address');
  process.kill(processId, 'SIGKILL');
  await simulator(t, path);
});
