// After an outcome that nobody knows, no command leaves the host before the cells were read, however it became unknown.
import t, { type Test } from 'tap';
import { Device, type LoggedRequest } from '../driver/index.js';
import { Wire } from '../firmware-protocol/wire.js';
import { helloAckCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import { Board } from '../sim/board.js';
import { Chip } from '../sim/chip.js';
import { profileNamed } from '../sim/profile.js';
import { Rig, sha256 } from './rig/bench.js';
import { Line } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';

const whole = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };
const pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000 };
const oneCell = () => Uint8Array.from({ length: 512 * 64 }, (_, byte) => (byte === 0 ? 1 : 0));
const errorOf = (promise: Promise<unknown>) => promise.then(() => 'resolved', (error: unknown) => MacroError.from(error));
const readFirst = { code: 'OUTCOME_UNKNOWN', outcome: 'not-applied', message: /have not been read/ };

/** A command is refused, the cells are read, and then it is done. */
async function reconciles(t: Test, rig: Rig): Promise<void> {
  await rig.ready();
  t.equal(rig.device.state, 'needs-reconcile');
  t.match(await rig.until(errorOf(rig.device.scratch(1))), readFirst);
  await rig.until(rig.device.readCells({ ...whole, bitLines: 1 }, 1));
  t.equal(rig.device.state, 'needs-reconcile', 'a part of the cells is not enough');
  await rig.until(rig.device.readCells(whole, 1));
  t.equal(rig.device.state, 'ready');
  await rig.until(rig.device.scratch(1));
  await rig.device.close();
}

t.test('the line stayed away, and the board had restarted when it came back', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const answer = errorOf(rig.device.scratch(1));
  rig.unplug();
  await rig.clock.advance(6_000_000);
  t.match(await answer, { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  rig.board.restart();
  rig.plug();
  await reconciles(t, rig);
});

t.test('the board could not save its chip', async (t) => {
  const rig = new Rig({ persist: () => { throw new Error('no space'); } });
  await rig.ready();
  t.match(await rig.until(errorOf(rig.device.resetCells(oneCell(), pulse))), { code: 'INTERNAL_ERROR', outcome: 'unknown' });
  await reconciles(t, rig);
});

t.test('the board restarted twice', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const answer = errorOf(rig.device.scratch(1));
  await rig.clock.advance(150);
  for (let restart = 0; restart < 2; restart += 1) {
    rig.unplug();
    rig.board.restart();
    rig.plug();
    await rig.clock.advance(1_000_000);
  }
  t.match(await answer, { outcome: 'unknown' });
  await reconciles(t, rig);
});

t.test('commands that wait when an outcome becomes unknown do not leave the host', async (t) => {
  const rig = new Rig();
  await rig.ready();
  const sent = errorOf(rig.device.scratch(1));
  await rig.clock.advance(150);
  rig.unplug();
  rig.board.restart();
  const waiting = errorOf(rig.device.scratch(2));
  rig.plug();
  t.match(await rig.until(sent), { outcome: 'unknown' });
  t.match(await rig.until(waiting), readFirst);
  await reconciles(t, rig);
});

t.test('a log that does not take an outcome hides it from nobody, and gets it later', async (t) => {
  const clock = new VirtualClock();
  const prng = new SeededPrng(3);
  const open = new Set<string>();
  let isFull = true;
  const name = (id: Uint8Array) => Buffer.from(id).toString('hex');
  const requestLog = {
    begin: ({ id }: LoggedRequest) => { open.add(name(id)); },
    end: (id: Uint8Array) => {
      if (isFull) throw new Error('disk full');
      open.delete(name(id));
    },
    unended: () => [],
  };
  const board = new Board({ chip: Chip.pristine(profileNamed('ideal'), 1), clock, prng, sha256 });
  const line = new Line(clock, prng);
  board.attach(line.board);
  const device = new Device({ name: 'logged', clock, prng, requestLog, onEvent: () => undefined, connect: async () => line.host });
  t.equal((await clock.until(device.scratch(1))).count, 1);
  t.equal(open.size, 1);
  isFull = false;
  t.equal((await clock.until(device.scratch(1))).count, 2);
  t.equal(open.size, 0);
  await device.close();
  board.close();
});

t.test('a board that takes a command and never answers', async (t) => {
  const clock = new VirtualClock();
  const prng = new SeededPrng(3);
  const ack = helloAckCodec.encode({
    protocol: 1, chipId: 'mute', bootId: new Uint8Array(8), bootCount: 1, resetReason: 0, firmwareVersion: '', windowFrames: 32, creditBytes: 60_000,
    capabilities: ['Scratch'], geometry: { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: 1 }, arrayState: new Uint8Array(32), leaseEpoch: 0,
    limits: { messageBytes: 623, bulkBytes: 1, programs: 1, journalEntries: 1, requestsInFlight: 1 }, profile: '', linkTimeMicroseconds: 0,
    converter: { bits: 14, signedCodes: false, differential: false, ranges: [] },
  } as unknown as Parameters<typeof helloAckCodec.encode>[0]);
  const line = new Line(clock, prng);
  const wire: Wire = new Wire(line.board, clock, {
    frame: ({ session }) => {
      wire.sendFrame('HELLO_ACK', session, ack);
      wire.open({ session, windowFrames: 32, receiveBytes: 60_000, peerCreditBytes: 60_000 });
    },
    message: () => undefined, room: () => undefined, down: () => undefined, discarded: () => undefined,
  });
  const device = new Device({ name: 'mute', clock, prng, onEvent: () => undefined, connect: async () => line.host });
  await clock.until(device.whenReady(1000));
  const [sent, waiting] = [errorOf(device.scratch(1)), errorOf(device.scratch(2))];
  t.match(await clock.until(sent), { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  t.match(await waiting, { outcome: 'not-applied' }, 'the board takes one at a time, so it had not been sent');
  t.match(await clock.until(errorOf(device.scratch(1))), { outcome: 'not-applied' });
  await device.close();
});
