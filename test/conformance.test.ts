// The suite that laboratories run against their own boards: green on ours, and red, naming the right item, on boards that are broken on purpose.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { conformanceItems, type ConformanceOptions, describeTotals, junitOf, parsePulseRegion, parseVectors, type Report, runConformance } from '../driver/index.js';
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import { encodeFrame, type Frame } from '../firmware-protocol/frame.js';
import { headerAndPayload, wrap } from '../driver/conformance/raw-host.js';
import { frameTypes } from '../firmware-protocol/frame.js';
import { errorTable, MacroError } from '../proto/error.js';
import type { Final } from '../proto/message.js';
import { Board } from '../sim/board.js';
import { Chip } from '../sim/chip.js';
import { Journal } from '../sim/journal.js';
import { profileNamed } from '../sim/profile.js';
import { sha256 } from './rig/bench.js';
import { FilteredChannel } from './rig/filtered-channel.js';
import { Line } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';

const vectorsFolder = join(import.meta.dirname, '..', 'firmware-protocol', 'vectors');
const read = (name: string) => readFileSync(join(vectorsFolder, name), 'utf8');
const vectors = parseVectors(read('frames.json'), read('numerics.json'));

interface Device {
  readonly board: Board;
  readonly chip: Chip;
  readonly clock: VirtualClock;
}

/** What a broken device does to its line; by default nothing. */
type Fault = (channel: ByteChannel, device: Device) => ByteChannel;

const sound: Fault = (channel) => channel;

/** Runs the suite against a simulated board of this process, under virtual time. */
async function hold(options: Partial<ConformanceOptions> = {}, fault: Fault = sound, profile = 'ideal'): Promise<Report & Device> {
  const clock = new VirtualClock();
  const prng = new SeededPrng(7);
  const chip = Chip.formed(profileNamed(profile), 1);
  const board = new Board({ chip, clock, prng, sha256, pace: 'real' });
  const device = { board, chip, clock };
  const connect = async () => {
    const line = new Line(clock, prng);
    board.attach(fault(line.board, device));
    return line.host;
  };
  // Items that are not run take no time at all: something must always be left to wait for.
  const beat = () => void clock.after(1e6, beat);
  beat();
  const report = await clock.until(runConformance({
    name: 'rig', connect, clock, prng, vectors, frameTimeMicroseconds: 0, allowedPulses: undefined, allowsRestart: false, isThrowAway: true, only: [],
    connectTimeoutMilliseconds: 2000, ...options,
  }));
  return { ...report, ...device };
}

const failed = ({ results }: Report) => results.filter(({ outcome }) => outcome === 'failed');
const describeFailures = (report: Report) => failed(report).map(({ name, expected, came }) => `${name}: expected ${expected}; came ${came}`);

t.test('the simulator passes', async (t) => {
  const report = await hold({ allowedPulses: parsePulseRegion('bl 0-3, sl 0-3'), allowsRestart: true });
  t.strictSame(describeFailures(report), []);
  const notRun = report.results.filter(({ outcome }) => outcome === 'not run').map(({ name, reason }) => `${name}: ${reason}`);
  t.comment(notRun);
});

t.test('a device that never finds back after garbage fails at resync', async (t) => {
  let isDeaf = false;
  const report = await hold({}, (channel) => new FilteredChannel(channel, ({ frame, discarded }) => {
    isDeaf ||= discarded !== undefined;
    return isDeaf || frame === undefined ? undefined : encodeFrame(frame);
  }, ({ frame }) => frame && encodeFrame(frame)));
  t.match(failed(report).map(({ name }) => name), ['resync-cut-frames']);
  t.equal(failed(report).length, 1);
  t.match(report.results.at(-1)?.reason, /has not answered since resync-cut-frames/);
});

t.test('a device without a check for duplicates fails at the journal', async (t) => {
  class ForgetfulJournal extends Journal<Final> {
    override find() {
      return undefined;
    }
  }
  const report = await hold({}, (channel, { board }) => {
    Object.assign(board, { journal: new ForgetfulJournal(256) });
    return channel;
  });
  const names = failed(report).map(({ name }) => name);
  t.ok(names.includes('journal-repeat'));
  t.ok(names.every((name) => name.startsWith('journal-')), names.join(', '));
  t.match(failed(report).find(({ name }) => name === 'journal-repeat')?.expected, /count \d+, repeated_from_journal/);
});

function crc32(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ ((remainder & 1) === 1 ? 0xedb88320 : 0);
  }
  return (remainder ^ 0xffffffff) >>> 0;
}

t.test('a device with the checksum of Ethernet is told so', async (t) => {
  const wrong = (frame: Frame) => wrap(headerAndPayload(frame, frameTypes.indexOf(frame.type)), crc32);
  const sends = await hold({}, (channel) => new FilteredChannel(channel, ({ frame }) => frame && encodeFrame(frame), ({ frame }) => frame && wrong(frame)));
  t.strictSame(failed(sends).map(({ name }) => name), ['framing-checksum']);
  t.match(failed(sends)[0]?.came, /crc/);
  t.equal(describeTotals(sends.results), `0 passed, 1 failed, ${conformanceItems.length - 1} not run`);
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

t.test('a region is read as people write it', async (t) => {
  t.strictSame(parsePulseRegion('bl 0-3, sl 8'), { firstBitLine: 0, bitLines: 4, firstSourceLine: 8, sourceLines: 1 });
  for (const wrong of ['', 'bl 3-0, sl 0', 'bl 0-512, sl 0', 'bl 0', 'sl 0, bl 0', 'bl -1, sl 0']) {
    t.throws(() => parsePulseRegion(wrong), MacroError, wrong);
  }
  t.ok(errorTable.BAD_ARGUMENT);
});

t.test('JUnit XML is escaped', async (t) => {
  const result = { name: 'a-b', group: 'a', section: 'PROTOCOL.md §Framing', title: 't', milliseconds: 1500, outcome: 'failed' as const };
  const xml = junitOf({ name: '<&">', identity: undefined, results: [{ ...result, expected: 'a < "b"\u0001', came: "]]>'", trace: ['x & y'] }] });
  t.match(xml, 'failures="1"');
  t.match(xml, 'expected a &lt; &quot;b&quot;\ufffd; came ]]&gt;&apos;');
  t.match(xml, 'name="conformance of &lt;&amp;&quot;&gt;"');
  t.notMatch(xml, '\u0001');
});
