// The suite that laboratories run against their own boards: green on ours, and red, naming the right item, on boards that are broken on purpose.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { headerAndPayload, wrap } from '../driver/conformance/raw-host.js';
import {
  conformanceItems, type ConformanceOptions, describeTotals, junitOf, parseRegion, parseVectors, type Report, runConformance,
} from '../driver/index.js';
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import { decodeCobs } from '../firmware-protocol/cobs.js';
import { encodeFrame, type Frame, frameTypes } from '../firmware-protocol/frame.js';
import { deviceMessageCodec, hostMessageCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import type { Final } from '../proto/message.js';
import { main } from '../server/cli/main.js';
import { lockHome } from '../server/store/home-lock.js';
import { Board, type BoardOptions } from '../sim/board.js';
import { Chip } from '../sim/chip.js';
import { firstFirmware } from '../sim/firmware.js';
import { Journal } from '../sim/journal.js';
import { profileNamed } from '../sim/profile.js';
import { bufferConsole } from './console.js';
import { sha256 } from './rig/bench.js';
import { changeFrames, decodedOf, FilteredChannel, passAll } from './rig/filtered-channel.js';
import { Line } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';
import { TcpBoard } from './tcp-board.js';

const vectorsFolder = join(import.meta.dirname, '..', 'firmware-protocol', 'vectors');
const read = (name: string) => readFileSync(join(vectorsFolder, name), 'utf8');
const vectors = parseVectors(read('frames.json'), read('numerics.json'));

/** What a broken device does to its line. */
type Fault = (channel: ByteChannel, board: Board) => ByteChannel;

/** Runs the suite against a simulated board of this process, under virtual time. */
async function hold(
  options: Partial<ConformanceOptions> = {}, fault: Fault = (channel) => channel, profile = 'ideal', boardOptions: Partial<BoardOptions> = {},
): Promise<Report & { chip: Chip }> {
  const clock = new VirtualClock();
  const prng = new SeededPrng(7);
  const chip = Chip.formed(profileNamed(profile), 1);
  const board = new Board({ chip, clock, prng, sha256, pace: 'real', ...boardOptions });
  const connect = async () => {
    const line = new Line(clock, prng);
    board.attach(fault(line.board, board));
    return line.host;
  };
  // Items that are not run take no time at all: something must always be left to wait for.
  const beat = () => void clock.after(1e6, beat);
  beat();
  const report = await clock.until(runConformance({
    name: 'rig', connect, clock, prng, vectors, frameTimeMicroseconds: 0, allowedPulses: undefined, allowsRestart: false, isThrowAway: true, only: [],
    connectTimeoutMilliseconds: 2000, ...options,
  }));
  return { ...report, chip };
}

const failed = ({ results }: Report) => results.filter(({ outcome }) => outcome === 'failed');
const namesOf = (report: Report) => failed(report).map(({ name }) => name);
const describeFailures = (report: Report) => failed(report).map(({ name, expected, came }) => `${name}: expected ${expected}; came ${came}`);
const notRun = ({ results }: Report) => results.filter(({ outcome }) => outcome === 'not run').map(({ name }) => name);

t.test('the simulator passes, and every item is run', async (t) => {
  const report = await hold({ allowedPulses: parseRegion('bl 0-3, sl 0-3', 'allow-pulses'), allowsRestart: true });
  t.strictSame(describeFailures(report), []);
  t.strictSame(notRun(report), ['forming-set'], 'every cell of this chip is formed');
  const { pulses } = report.chip;
  t.ok(pulses >= 49 && pulses <= 65, `${pulses} pulses: four RESETs of 16 cells at most, one of them may be cancelled, and one step of a sweep`);
});

t.test('a noisy chip passes as well; only what rounds away cannot be compared', async (t) => {
  const report = await hold({ only: ['method', 'numerics', 'safety'] }, undefined, 'lab');
  t.strictSame(describeFailures(report), []);
  t.strictSame(notRun(report), ['numerics-snapshot', 'safety-envelope-cells']);
});

t.test('a chip that is half formed passes the items of forming, and no cell of it is formed or SET by them', async (t) => {
  const allowedPulses = parseRegion('bl 0-1, sl 0-7', 'allow-pulses');
  const report = await hold({ only: ['envelope', 'forming', 'program', 'wear', 'sweep'], allowedPulses }, undefined, 'lab');
  t.strictSame(describeFailures(report), []);
  t.strictSame(notRun(report), []);
  t.equal(report.chip.pulses, 17, 'one RESET of each cell, and one step of a sweep');
  t.ok(report.chip.formingCounts.every((count) => count === 0) && report.chip.setCounts.every((count) => count === 0));
});

t.test('a board of protocol 1 passes what protocol 1 says', async (t) => {
  const report = await hold({ allowsRestart: true }, undefined, 'ideal', { firmware: firstFirmware });
  t.strictSame(describeFailures(report), []);
  const later = conformanceItems.filter(({ protocol = 1 }) => protocol > 1).map(({ name }) => name);
  t.strictSame(notRun(report).sort(), [...later, 'safety-envelope-cells', 'pulse-reset'].sort());
});

t.test('nothing is pulsed, stopped or restarted that was not allowed', async (t) => {
  const report = await hold({ only: ['safety', 'pulse', 'estop', 'restart'], isThrowAway: false });
  t.strictSame(describeFailures(report), []);
  t.equal(report.chip.pulses, 0);
  t.equal(report.identity?.bootCount, 1);
  for (const { name, outcome } of report.results) if (/^(pulse|estop|restart)-/.test(name)) t.equal(outcome, 'not run', name);
});

t.test('a device that never finds back after garbage fails at resync', async (t) => {
  let isDeaf = false;
  const report = await hold({}, (channel) => new FilteredChannel(channel, (segment) => {
    isDeaf ||= decodedOf(segment).discarded !== undefined;
    return isDeaf ? undefined : passAll(segment);
  }, passAll));
  t.strictSame(namesOf(report), ['resync-cut-frames']);
  t.match(report.results.at(-1)?.reason, /has not answered since resync-cut-frames/);
});

t.test('a device without a check for duplicates fails at the journal', async (t) => {
  class ForgetfulJournal extends Journal<Final> {
    override find() {
      return undefined;
    }
  }
  const report = await hold({ only: ['framing', 'request', 'journal'] }, (channel, board) => {
    Object.assign(board, { journal: new ForgetfulJournal(256) });
    return channel;
  });
  const names = namesOf(report);
  t.ok(names.includes('journal-repeat'));
  t.ok(names.every((name) => name.startsWith('journal-')), names.join(', '));
  t.match(failed(report).find(({ name }) => name === 'journal-repeat')?.expected, /count \d+, repeated_from_journal/);
});

t.test('a device with the checksum of Ethernet is told so', async (t) => {
  const wrong = changeFrames((frame: Frame) => wrap(headerAndPayload(frame, frameTypes.indexOf(frame.type)), crc32));
  /** The frame of a device that checks CRC-32, as our board takes it. */
  const checked = (segment: Uint8Array) => {
    const raw = new Uint8Array(1000);
    const length = decodeCobs(segment, segment.length, raw) - 4;
    const isRight = length > 0 && crc32(raw.subarray(0, length)) === new DataView(raw.buffer).getUint32(length, true);
    return isRight ? wrap(raw.slice(0, length)) : undefined;
  };
  const sends = await hold({}, (channel) => new FilteredChannel(channel, passAll, wrong));
  t.strictSame(namesOf(sends), ['framing-checksum']);
  t.match(failed(sends)[0]?.came, /crc/);
  t.equal(describeTotals(sends.results), `0 passed, 1 failed, ${conformanceItems.length - 1} not run`);
  const both = await hold({}, (channel) => new FilteredChannel(channel, checked, wrong));
  t.strictSame(namesOf(both), ['framing-checksum']);
  t.match(failed(both)[0]?.came, /CRC-32 \(polynomial edb88320\)/);
});

t.test('a device that ignores ESTOP fails at ESTOP', async (t) => {
  const deaf = changeFrames((frame) => (frame.type === 'ESTOP' ? undefined : encodeFrame(frame)));
  const only = ['session', 'request', 'restart', 'estop'];
  const report = await hold({ allowsRestart: true, only }, (channel) => new FilteredChannel(channel, deaf, passAll));
  const names = namesOf(report);
  t.ok(names.includes('estop-answered'));
  t.ok(names.every((name) => name.startsWith('estop-')), names.join(', '));
});

t.test('a device that cuts where it should round fails at rounding', async (t) => {
  const asked = new Map<string, { multiplier: number; shift: number; values: readonly number[] }>();
  const listen = changeFrames((frame) => {
    const message = frame.type === 'DATA' ? hostMessageCodec.decode(frame.payload) : undefined;
    const request = message?.ok ? message.value.request : undefined;
    const scale = request?.arithmetic?.scale;
    if (request && scale) asked.set(Buffer.from(request.requestId).toString('hex'), { ...scale.by, values: scale.values });
    return encodeFrame(frame);
  });
  const answer = changeFrames((frame) => {
    const message = frame.type === 'DATA' ? deviceMessageCodec.decode(frame.payload) : undefined;
    const final = message?.ok ? message.value.final : undefined;
    const question = final && asked.get(Buffer.from(final.requestId).toString('hex'));
    if (!final || !question) return encodeFrame(frame);
    const values = question.values.map((value) => Math.trunc((value * question.multiplier) / 2 ** question.shift));
    return encodeFrame({ ...frame, payload: deviceMessageCodec.encode({ final: { ...final, arithmetic: { values } } }) });
  });
  const report = await hold({ only: ['request', 'numerics'] }, (channel) => new FilteredChannel(channel, listen, answer));
  t.strictSame(namesOf(report), ['numerics-rounding', 'numerics-halves']);
  t.match(failed(report)[0]?.expected, /round\(5 · 1 \/ 2\^1\) = 3/);
});

t.test('a device that counts the time of a pulse at another voltage, or a part of it, fails at the RESET that shows it', async (t) => {
  const allowedPulses = parseRegion('bl 4-5, sl 0-2', 'allow-pulses');
  for (const [wrong, came] of [
    [{ amplitudeMillivolts: 100 }, '300 ns after 0 ns at bit line 4, step 1'], [{ widthNanoseconds: 50 }, '150 ns after 0 ns at bit line 4, step 10'],
  ] as const) {
    const chip = Chip.formed(profileNamed('ideal'), 1);
    const drive = chip.drivePulse.bind(chip);
    chip.drivePulse = (cell, pulse) => drive(cell, { ...pulse, ...wrong });
    const report = await hold({ only: ['wear'], allowedPulses }, undefined, 'ideal', { chip });
    t.strictSame(namesOf(report), ['wear-reset']);
    t.equal(failed(report)[0]?.came, came);
  }
});

t.test('a device that is not there is unreachable', async (t) => {
  await t.rejects(hold({ connect: () => Promise.reject(new Error('ECONNREFUSED')) }), { code: 'DEVICE_UNREACHABLE' });
  await t.rejects(hold({}, (channel) => new FilteredChannel(channel, () => undefined, () => undefined)), { code: 'DEVICE_UNREACHABLE' });
});

t.test('items have one name each, a place in the specification, and can be chosen by name or group', async (t) => {
  const names = conformanceItems.map(({ name }) => name);
  t.equal(new Set(names).size, names.length);
  for (const { name, section } of conformanceItems) {
    t.match(name, /^[a-z]+(-[a-z0-9]+)+$/);
    const [file = '', heading = ''] = section.split(' §');
    t.ok(read(join('..', file)).includes(`\n## ${heading}\n`), `${name}: ${section}`);
  }
  const report = await hold({ only: ['bulk', 'journal-repeat'] });
  t.ok(report.results.every(({ name }) => name.startsWith('bulk-') || name === 'journal-repeat'));
  await t.rejects(hold({ only: ['bulks'] }), { code: 'BAD_ARGUMENT' });
});

t.test('the guide lists every item', async (t) => {
  const guide = readFileSync(join(import.meta.dirname, '..', 'docs', 'conformance.md'), 'utf8');
  const rows = guide.split('\n').filter((line) => /^\| `[a-z]/.test(line)).map((line) => line.split('`')[1] ?? '');
  t.strictSame(rows, conformanceItems.map(({ name }) => name));
  for (const { name, title } of conformanceItems) t.ok(guide.includes(`| \`${name}\` | ${title} |`), name);
});

t.test('a region is read as people write it', async (t) => {
  t.strictSame(parseRegion('bl 0-3, sl 8', 'allow-pulses'), { firstBitLine: 0, bitLines: 4, firstSourceLine: 8, sourceLines: 1 });
  for (const wrong of ['', 'bl 3-0, sl 0', 'bl 0-512, sl 0', 'bl 0', 'sl 0, bl 0', 'bl -1, sl 0']) {
    t.throws(() => parseRegion(wrong, 'allow-pulses'), MacroError, wrong);
  }
});

t.test('JUnit XML is escaped', async (t) => {
  const result = { name: 'a-b', group: 'a', section: 'PROTOCOL.md §Framing', title: 't', milliseconds: 1500, outcome: 'failed' as const };
  const xml = junitOf({ name: '<&">', identity: undefined, results: [{ ...result, expected: 'a < "b"\u0001', came: "]]>'", trace: ['x & y'] }] });
  t.match(xml, 'failures="1"');
  t.match(xml, 'expected a &lt; &quot;b&quot;\ufffd; came ]]&gt;&apos;');
  t.match(xml, 'name="conformance of &lt;&amp;&quot;&gt;"');
  t.notMatch(xml, '\u0001');
});

async function prime(environment: Record<string, string>, ...argv: string[]) {
  const console = bufferConsole(environment);
  const exitCode = await main(['conformance', ...argv], console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('the simulator as a process passes by the command line, with a report for people and one for CI', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const junit = join(folder, 'report.xml');
  const { exitCode, stdout, stderr } = await prime({}, 'sim:ideal', '--allow-restart', '--allow-pulses', 'bl 0-1, sl 0-1', '--junit', junit);
  t.equal(exitCode, 0, `${stdout}\n${stderr}`);
  t.match(stdout, /\n\d+ passed, 0 failed, \d+ not run\n$/);
  t.match(stdout, / {2}✓ framing-golden/);
  const xml = readFileSync(junit, 'utf8');
  t.equal(xml.match(/<testcase /g)?.length, conformanceItems.length);
  t.match(xml, /<testsuite name="journal" tests="9" failures="0"/);
});

t.test('a real address is held under the lock of its store; a dead one is unreachable; wrong usage exits 2', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const environment = { PRIME_HOME: folder };
  const board = await TcpBoard.start('ideal');
  t.teardown(() => board.close());
  const answer = await prime(environment, board.address, '--only', 'journal-repeat', 'request-lease', '--json');
  t.equal(answer.exitCode, 0, answer.stderr);
  const lines = answer.stdout.trimEnd().split('\n');
  t.equal(lines.at(-1), '1 passed, 0 failed, 1 not run');
  t.match(JSON.parse(lines[0] ?? ''), { name: 'request-lease', outcome: 'not run' });
  t.match(JSON.parse(lines[1] ?? ''), { name: 'journal-repeat', outcome: 'passed', group: 'journal', section: 'PROTOCOL.md §Requests and outcomes' });
  const unlock = lockHome(folder);
  t.match(await prime(environment, board.address), { exitCode: 2, stderr: /^STORE_LOCKED/ });
  unlock();
  t.match(await prime(environment, 'tcp://127.0.0.1:1', '--connect-timeout', '0.3'), { exitCode: 1, stderr: /^DEVICE_UNREACHABLE/ });
  for (const argv of [['usb:1'], ['sim:ideal', '--only', 'nothing'], ['sim:ideal', '--allow-pulses', 'all'], []]) {
    t.match(await prime(environment, ...argv), { exitCode: 2, stdout: '', stderr: /^BAD_A/ }, argv.join(' '));
  }
});
