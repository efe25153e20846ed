// The driver over a simulated line to a simulated board, in one process under virtual time: what becomes of requests when things go wrong.
import t from 'tap';
import { helloAckCodec, helloCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import { formatAddress, parseAddress } from '../driver/index.js';
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import { Wire } from '../firmware-protocol/wire.js';
import { Device } from '../driver/index.js';
import { bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { compile } from '../server/network/compile.js';
import { Rig } from './rig/bench.js';
import { Line, noFaults } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';
import { smallBundle } from './small-bundle.js';

const whole = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };
const oneCell = (cell: number) => {
  const bitmap = new Uint8Array(512 * 64);
  bitmap[cell >> 3] = 1 << (cell & 7);
  return bitmap;
};
const pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000 };
const codeOf = (promise: Promise<unknown>) => promise.then(() => 'resolved', (error: unknown) => MacroError.from(error));

t.test('addresses are read strictly and written back', async (t) => {
  for (const text of ['serial:/dev/ttyUSB0?baud=921600', 'tcp://127.0.0.1:7700', 'tcp://[::1]:7700']) t.equal(formatAddress(parseAddress(text)), text);
  t.strictSame(parseAddress('serial:/dev/ttyUSB0'), { kind: 'serial', path: '/dev/ttyUSB0', baud: 3_000_000 });
  const wrong = [
    '', 'usb:1', 'tcp://host', 'tcp://host:0', 'tcp://host:70000', 'serial:ttyUSB0', 'serial:/dev/x?baud=1', 'serial:/dev/x?speed=9600', 'sim:lab',
  ];
  for (const text of wrong) t.throws(() => parseAddress(text), { code: 'BAD_ADDRESS' }, text);
});

t.test('a board is met, answers, and takes objects both ways', async (t) => {
  const rig = new Rig();
  const identity = await rig.ready();
  t.equal(identity.chipId, 'sim-ideal-1');
  t.equal(rig.device.state, 'ready');
  t.equal((await rig.until(rig.device.noOperation())).roundTripMicroseconds, 200, 'two ways of 100 µs');
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index * 7);
  const digest = await rig.until(rig.device.uploadBulk(bytes));
  t.strictSame(await rig.until(rig.device.fetchBulk(digest, bytes.length)), bytes);
  const sent = rig.line?.host.bytesWritten ?? 0;
  await rig.until(rig.device.uploadBulk(bytes));
  t.ok((rig.line?.host.bytesWritten ?? 0) - sent < 1000, 'what is there already is not sent again');
  await rig.device.close();
});

t.test('a noisy line is slow and right', async (t) => {
  const rig = new Rig({ seed: 5, faults: { flip: 0.05, drop: 0.05, duplicate: 0.05, jitterMicroseconds: 200 } });
  await rig.ready();
  const bytes = Uint8Array.from({ length: 60_000 }, (_, index) => index * 13);
  const digest = await rig.until(rig.device.uploadBulk(bytes));
  t.strictSame(await rig.until(rig.device.fetchBulk(digest, bytes.length)), bytes);
  for (let count = 1; count <= 50; count += 1) t.equal((await rig.until(rig.device.scratch(1))).count, count);
  t.ok((rig.device.statistics.link?.retransmissions ?? 0) > 0);
  await rig.device.close();
});

t.test('a cable that is pulled and put back applies an effectful request once', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const answer = rig.device.scratch(5);
  await rig.clock.advance(150); // the request has arrived, its answer has not
  rig.unplug();
  await rig.clock.advance(300_000);
  t.equal(rig.device.state, 'link-down');
  rig.plug();
  t.equal((await rig.until(answer)).count, 5);
  t.equal((await rig.until(rig.device.status())).scratchCount, 5, 'the journal answered');
  t.equal(rig.device.state, 'ready');
  await rig.device.close();
});

t.test('a board that restarts makes pure requests fail and effectful ones unknown, and the cells are read first', async (t) => {
  const rig = new Rig({ profile: 'lab' });
  await rig.ready();
  const cell = rig.chip.codes.findIndex((code) => code > 0);
  const reset = codeOf(rig.device.resetCells(oneCell(cell), pulse));
  const read = codeOf(rig.device.readCells(whole, 1));
  await rig.clock.advance(450); // past the upload: the pulse is asked for
  rig.unplug();
  rig.board.restart();
  rig.plug();
  const [resetError, readError] = await rig.until(Promise.all([reset, read]));
  t.match(readError, { code: 'DEVICE_RESTARTED', outcome: 'not-applied' });
  t.ok(resetError instanceof MacroError);
  if (resetError instanceof MacroError && resetError.code === 'OUTCOME_UNKNOWN') {
    t.equal(resetError.outcome, 'unknown');
    t.equal(rig.device.state, 'needs-reconcile');
    t.match(await rig.until(codeOf(rig.device.resetCells(oneCell(cell), pulse))), { code: 'OUTCOME_UNKNOWN', outcome: 'not-applied' });
    await rig.until(rig.device.readCells(whole, 1));
  }
  t.equal(rig.device.state, 'ready');
  t.ok(rig.chip.pulses <= 1, 'never two pulses for one request');
  t.ok(rig.events.some(({ kind }) => kind === 'restarted'));
  await rig.device.close();
});

t.test('an effectful request that was in flight over a restart is unknown, never repeated', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const answer = codeOf(rig.device.scratch(1));
  await rig.clock.advance(150);
  rig.unplug();
  rig.board.restart();
  rig.plug();
  t.match(await rig.until(answer), { code: 'OUTCOME_UNKNOWN', outcome: 'unknown', cause: { code: 'DEVICE_RESTARTED' }, isDeviceGone: true });
  t.equal(rig.device.state, 'needs-reconcile');
  t.match(await rig.until(codeOf(rig.device.scratch(1))), { code: 'OUTCOME_UNKNOWN', outcome: 'not-applied', isDeviceGone: false });
  await rig.until(rig.device.readCells(whole, 1));
  t.equal((await rig.until(rig.device.scratch(1))).count, 1);
  await rig.device.close();
});

t.test('a program that went with a restart, while no request was under way, is missed as that', async (t) => {
  const rig = new Rig();
  const { geometry, converter } = await rig.ready();
  const { program } = compile(bundleFromFiles(filesOfBundle(smallBundle())), { geometry, converter });
  const programSha256 = await rig.until(rig.device.loadProgram(program));
  rig.unplug();
  rig.board.restart();
  rig.plug();
  const run = { programSha256, frames: new Uint8Array(program.timestepCount * 2 * 34 * 34), inferenceNumber: 0 };
  t.match(await rig.until(codeOf(rig.device.runNetwork(run, () => undefined))), { code: 'DEVICE_RESTARTED', outcome: 'not-applied' });
  await rig.until(rig.device.loadProgram(program));
  t.equal((await rig.until(rig.device.runNetwork(run, () => undefined))).timesteps, program.timestepCount);
  await rig.device.close();
});

t.test('a device that is absent, or stays away, is said so in time', async (t) => {
  const rig = new Rig();
  rig.unplug();
  t.match(await rig.until(codeOf(rig.device.whenReady(5000))), { code: 'DEVICE_UNREACHABLE', message: /nobody is at the other end/ });
  rig.plug();
  await rig.ready();
  const pure = codeOf(rig.device.noOperation());
  const effectful = codeOf(rig.device.scratch(1));
  rig.unplug();
  t.match(await rig.until(pure), { code: 'DEVICE_LOST', outcome: 'not-applied' });
  t.match(await rig.until(effectful), { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  rig.plug();
  await rig.ready();
  await rig.device.close();
  t.match(await codeOf(rig.device.noOperation()), { code: 'DEVICE_LOST' });
});

t.test('an attempt to connect that never ends is given up, tried again, and what it opens after all is closed', async (t) => {
  const clock = new VirtualClock();
  const attempts: ((channel: ByteChannel) => void)[] = [];
  const device = new Device({
    name: 'a board behind a firewall', clock, prng: new SeededPrng(1), onEvent: () => undefined,
    connect: () => new Promise((resolve) => attempts.push(resolve)),
  });
  t.match(await clock.until(codeOf(device.whenReady(11_000))), { code: 'DEVICE_UNREACHABLE', message: /the line has not opened within 10 s/ });
  t.equal(attempts.length, 2);
  let closes = 0;
  const channel = { queuedBytes: 0, attach: () => undefined, write: () => t.fail('nothing is said on it'), close: () => void (closes += 1) };
  attempts[0]?.(channel);
  await clock.advance(1000);
  t.equal(closes, 1);
  await clock.until(device.close());
  attempts[1]?.(channel);
  await clock.advance(1000);
  t.equal(closes, 2);
  t.equal(clock.pendingTimers, 0);
});

t.test('closing with requests in flight leaves nothing behind', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const answers = Promise.all(Array.from({ length: 80 }, () => codeOf(rig.device.noOperation())));
  await rig.clock.advance(50);
  await rig.device.close();
  rig.board.close();
  const errors = await answers;
  t.ok(errors.every((error) => error instanceof MacroError && error.code === 'DEVICE_LOST'));
  await rig.clock.advance(1_000_000);
  t.equal(rig.clock.pendingTimers, 0, 'no timer is left');
});

t.test('more requests than the device takes at once wait for their turn', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const counts = await rig.until(Promise.all(Array.from({ length: 200 }, () => rig.device.scratch(1))));
  t.strictSame(counts.map(({ count }) => count), Array.from({ length: 200 }, (_, index) => index + 1));
  await rig.device.close();
});

t.test('a request can be cancelled, before and after it was sent', async (t) => {
  const rig = new Rig({ profile: 'lab', pace: 'real' });
  await rig.ready();
  const abort = new AbortController();
  const tile = { firstBitLine: 0, bitLineCount: 8, sourceLines: [0, 1], range: 0, inferenceNumber: 0, timestep: 0, tile: 0 };
  const drives = Array.from({ length: 40 }, (_, position) => ({ position, plane: 0, lines: Uint8Array.of(255) }));
  const long = rig.device.readCells(whole, 64);
  const cancelled = codeOf(rig.device.multiply({ ...tile, drives }, abort.signal));
  await rig.clock.advance(120);
  abort.abort();
  t.match(await rig.until(cancelled), { code: 'CANCELLED', outcome: 'not-applied' });
  await rig.until(long);
  t.match(await codeOf(rig.device.multiply({ ...tile, drives }, abort.signal)), { code: 'CANCELLED' });
  await rig.device.close();
});

t.test('no pulse outside the envelope leaves the host', async (t) => {
  const rig = new Rig({ profile: 'lab' });
  await rig.ready();
  const sent = rig.line?.host.bytesWritten;
  for (const wrong of [{ amplitudeMillivolts: 2501 }, { amplitudeMillivolts: 0 }, { widthNanoseconds: 1e7 }, { widthNanoseconds: Number.NaN }]) {
    t.match(await codeOf(rig.device.resetCells(oneCell(0), { ...pulse, ...wrong })), { code: 'PULSE_REFUSED' });
  }
  t.match(await codeOf(rig.device.resetCells(new Uint8Array(5), pulse)), { code: 'PULSE_REFUSED' });
  t.equal(rig.line?.host.bytesWritten, sent, 'not a byte was sent');
  await rig.device.close();
});

t.test('no pulse leaves the host for a chip that is too cold or too warm; a board that has told nothing of it yet refuses by itself', async (t) => {
  const rig = new Rig({ profile: 'lab' });
  await rig.ready();
  const warm = (temperatureCelsius: number) => Object.assign(rig.chip, { profile: { ...rig.chip.profile, temperatureCelsius } });
  const resetOne = () => codeOf(rig.device.resetCells(oneCell(0), pulse));
  t.equal(rig.device.temperatureCelsius, 25, 'told when the session opened');
  for (const celsius of [9.9, 40.1]) {
    warm(25);
    await rig.until(rig.device.status());
    warm(celsius);
    const byBoard = { code: 'PULSE_REFUSED', outcome: 'not-applied', message: `temperatureCelsius is ${celsius}; the range is 10 to 40` };
    t.match(await rig.until(resetOne()), byBoard);
    t.equal((await rig.until(rig.device.status())).temperatureCelsius, celsius);
    const sent = rig.line?.host.bytesWritten;
    t.match(await resetOne(), { code: 'PULSE_REFUSED', field: 'temperatureCelsius', message: `${celsius}; pulses are given from 10 to 40` });
    t.equal(rig.line?.host.bytesWritten, sent, 'not a byte was sent');
    await rig.until(rig.device.readCells({ firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 1 }, 1));
  }
  t.equal(rig.chip.pulses, 0);
  warm(40);
  await rig.until(new Promise<void>((resolve) => void rig.device.subscribe({ stream: 'status', policy: 'latest' }, () => resolve())));
  t.equal(rig.device.temperatureCelsius, 40, 'told by telemetry');
  await rig.until(rig.device.resetCells(oneCell(0), pulse));
  t.equal(rig.chip.pulses, 1);
  await rig.device.close();
});

/** A board of another time: it answers HELLO its own way. */
function strangeBoard(answer: (wire: Wire, session: number) => void) {
  const clock = new VirtualClock();
  const prng = new SeededPrng(3);
  const device = new Device({
    name: 'strange', clock, prng, onEvent: () => undefined,
    connect: async () => {
      const line = new Line(clock, prng);
      line.faults = noFaults;
      const wire: Wire = new Wire(line.board, clock, {
        frame: ({ type, session, payload }) => {
          if (type === 'HELLO' && helloCodec.decode(payload).ok) answer(wire, session);
        },
        message: () => undefined, room: () => undefined, down: () => undefined, discarded: () => undefined,
      });
      return line.host;
    },
  });
  return { clock, device };
}

t.test('a board that speaks another protocol is refused with both versions', async (t) => {
  const text = 'PROTOCOL_UNSUPPORTED the board speaks protocol 9 to 9, the host 1 to 3';
  const refusing = strangeBoard((wire, session) => wire.sendFrame('RESET', session, new TextEncoder().encode(text)));
  t.match(await refusing.clock.until(codeOf(refusing.device.whenReady(3000))), { code: 'PROTOCOL_UNSUPPORTED', message: /protocol 9/ });
  await refusing.device.close();
  const geometry = { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: 1 };
  const newer = strangeBoard((wire, session) => wire.sendFrame('HELLO_ACK', session, helloAckCodec.encode({
    protocolMinimum: 0, protocolMaximum: 0, deadManMilliseconds: 0,
    protocol: 9, chipId: 'x', bootId: new Uint8Array(8), bootCount: 1, resetReason: 0, firmwareVersion: '', windowFrames: 32,
    creditBytes: 1000, capabilities: [],
    geometry, limits: { messageBytes: 1, bulkBytes: 1, programs: 1, journalEntries: 1, requestsInFlight: 1 }, arrayState: new Uint8Array(32),
    converter: { bits: 14, signedCodes: false, differential: false, ranges: [] }, leaseEpoch: 0, profile: '', linkTimeMicroseconds: 0,
  })));
  t.match(await newer.clock.until(codeOf(newer.device.whenReady(3000))), { code: 'PROTOCOL_UNSUPPORTED', message: /protocol 9 to 9, the host 1 to 3/ });
  await newer.device.close();
});

t.test('a line on which nobody answers is unreachable', async (t) => {
  const { clock, device } = strangeBoard(() => undefined);
  t.match(await clock.until(codeOf(device.whenReady(5000))), { code: 'DEVICE_UNREACHABLE', message: /nobody answers HELLO/ });
  await device.close();
});
