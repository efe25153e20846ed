// The link alone: two state machines and a line that loses, doubles and reorders, under virtual time.
import fc from 'fast-check';
import t from 'tap';
import type { ByteChannelEvents } from '../firmware-protocol/byte-channel.js';
import { encodeFrame, type Frame, FrameDecoder } from '../firmware-protocol/frame.js';
import { maximumPayloadBytes } from '../firmware-protocol/limits.js';
import { Link } from '../firmware-protocol/link.js';
import { RoundTrip } from '../firmware-protocol/round-trip.js';
import { Wire, type WireEvents } from '../firmware-protocol/wire.js';
import { Line, type LineFaults, noFaults } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';

const options = { session: 1, windowFrames: 32, receiveBytes: 60_000, peerCreditBytes: 60_000 };
const numbered = (number: number) => Uint8Array.of(number & 0xff, number >> 8);
const numberOf = (payload: Uint8Array) => (payload[0] ?? 0) | ((payload[1] ?? 0) << 8);

interface EndOfWire {
  readonly wire: Wire;
  readonly received: number[];
  readonly downs: string[];
}

function wireOn(channel: ConstructorParameters<typeof Wire>[0], clock: VirtualClock, windowFrames = 32): EndOfWire {
  const received: number[] = [];
  const downs: string[] = [];
  const events: WireEvents = {
    frame: () => undefined,
    message: (payload) => received.push(numberOf(payload)),
    room: () => undefined,
    down: (reason) => downs.push(reason),
    discarded: () => undefined,
  };
  const wire = new Wire(channel, clock, events);
  wire.open({ ...options, windowFrames });
  return { wire, received, downs };
}

function joined(seed: number, faults: LineFaults) {
  const clock = new VirtualClock();
  const line = new Line(clock, new SeededPrng(seed));
  line.faults = faults;
  return { clock, line, host: wireOn(line.host, clock), board: wireOn(line.board, clock) };
}

const dataFrame = (sequence: number): Frame => ({
  version: 1, type: 'DATA', flags: 0, session: 1, sequence, acknowledge: 0, selective: 0, credit: 60_000, payload: numbered(sequence),
});

t.test('a frame is acknowledged by the next one that leaves, or after a millisecond; half a window, a gap and a duplicate at once', async () => {
  const taking = (...sequences: number[]) => {
    const link = new Link(options);
    for (const sequence of sequences) link.receive(dataFrame(sequence), 0);
    return link;
  };
  const lone = taking(0);
  t.equal(lone.transmit(999), undefined);
  t.equal(lone.nextTimeoutMicroseconds(999), 1_000);
  t.equal(lone.nextTimeoutMicroseconds(1_000), undefined, 'what is due and cannot leave waits for room, not for time');
  t.match(lone.transmit(1_000), { type: 'ACK', acknowledge: 1 });
  t.equal(lone.transmit(1_001), undefined);
  t.equal(lone.nextTimeoutMicroseconds(1_001), undefined);

  const answered = taking(0);
  answered.send(numbered(7), 'control');
  t.match(answered.transmit(10), { type: 'DATA', acknowledge: 1 });
  t.equal(answered.transmit(1_000), undefined, 'the word is out');

  t.equal(taking(...Array(15).keys()).transmit(0), undefined);
  t.match(taking(...Array(16).keys()).transmit(0), { type: 'ACK', acknowledge: 16 });
  t.match(taking(1).transmit(0), { type: 'ACK', acknowledge: 0, selective: 1 });
  const repeated = taking(0);
  repeated.transmit(1_000);
  repeated.receive(dataFrame(0), 2_000);
  t.match(repeated.transmit(2_000), { type: 'ACK', acknowledge: 1 });
});

t.test('an acknowledgement that a full port holds up takes no turns', async (t) => {
  const clock = new VirtualClock();
  const written: Uint8Array[] = [];
  let events: ByteChannelEvents | undefined;
  const channel = {
    queuedBytes: 0,
    attach: (its: ByteChannelEvents) => { events = its; },
    write: (bytes: Uint8Array) => written.push(bytes),
    close: () => undefined,
  };
  wireOn(channel, clock);
  channel.queuedBytes = 1e6;
  for (let sequence = 0; sequence < 16; sequence += 1) events?.data(encodeFrame(dataFrame(sequence)));
  await clock.advance(10_000);
  t.equal(clock.pendingTimers, 0);
  t.equal(written.length, 0);
  channel.queuedBytes = 0;
  events?.drain();
  t.equal(written.length, 1);
});

t.test('every message arrives once and in order, both ways, on a line that loses, doubles, reorders and flips', async () => {
  const faults = fc.record({
    flip: fc.double({ min: 0, max: 0.15, noNaN: true }),
    drop: fc.double({ min: 0, max: 0.15, noNaN: true }),
    duplicate: fc.double({ min: 0, max: 0.15, noNaN: true }),
    jitterMicroseconds: fc.constantFrom(0, 300, 3000),
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 1e6 }), faults, fc.integer({ min: 1, max: 200 }), async (seed, chosen, count) => {
      const { clock, host, board } = joined(seed, chosen);
      for (let number = 0; number < count; number += 1) {
        host.wire.send(numbered(number), 'control');
        board.wire.send(numbered(number), 'bulk');
      }
      await clock.advance(120_000_000);
      const all = Array.from({ length: count }, (_, number) => number);
      const isWhole = (numbers: readonly number[]) => numbers.length === count && numbers.every((number, index) => number === all[index]);
      if (host.downs.length > 0 || board.downs.length > 0) return isPrefix(host.received) && isPrefix(board.received);
      return isWhole(host.received) && isWhole(board.received);
    }),
    { numRuns: 40 },
  );
});

const isPrefix = (numbers: readonly number[]) => numbers.every((number, index) => number === index);

t.test('sequence numbers wrap without a seam', async (t) => {
  const { clock, host, board } = joined(1, noFaults);
  const count = 66_000;
  const batch = 600;
  for (let first = 0; first < count; first += batch) {
    host.wire.together(() => {
      for (let number = first; number < first + batch; number += 1) host.wire.send(numbered(number & 0xffff), 'bulk');
    });
    await clock.advance(20_000);
  }
  t.equal(board.received.length, count);
  t.ok(board.received.every((number, index) => number === (index & 0xffff)));
});

t.test('a dead line is found out after nine timeouts, and said once', async (t) => {
  const { clock, line, host } = joined(1, noFaults);
  line.isDead = true;
  host.wire.send(numbered(1), 'control');
  await clock.advance(5_000_000);
  t.strictSame(host.downs, []);
  await clock.advance(60_000_000);
  t.strictSame(host.downs, ['no answer to retransmissions']);
  t.equal(clock.pendingTimers, 0, 'no timer is left');
});

t.test('a port that takes no more bytes is a dead line, and nobody asks it all the time', async (t) => {
  const clock = new VirtualClock();
  let isStuck = false;
  let questions = 0;
  const port = {
    attach: () => undefined,
    write: () => { isStuck = true; },
    get queuedBytes() {
      questions += 1;
      if (questions > 1000) throw new Error('the port is asked again and again');
      return isStuck ? 1_000_000 : 0;
    },
    close: () => undefined,
  };
  const { wire, downs } = wireOn(port, clock);
  wire.send(numbered(1), 'control');
  await clock.advance(60_000_000);
  t.strictSame(downs, ['no answer to retransmissions']);
  t.equal(clock.pendingTimers, 0, 'no timer is left');
});

/** Takes every frame that a link has to send now. */
function drain(link: Link, now: number): Frame[] {
  const frames: Frame[] = [];
  for (let frame = link.transmit(now); frame !== undefined; frame = link.transmit(now)) frames.push(frame);
  return frames;
}

t.test('window and credit are never overrun', async (t) => {
  const small = new Link({ ...options, windowFrames: 8 });
  for (let number = 0; number < 100; number += 1) small.send(numbered(number), 'bulk');
  t.equal(drain(small, 0).length, 8);
  const poor = new Link({ ...options, peerCreditBytes: 2500 });
  for (let number = 0; number < 100; number += 1) poor.send(new Uint8Array(maximumPayloadBytes), 'bulk');
  t.equal(drain(poor, 0).reduce((sum, { payload }) => sum + payload.length, 0), 4 * maximumPayloadBytes);
  const broke = new Link({ ...options, peerCreditBytes: 0 });
  for (let number = 0; number < 3; number += 1) broke.send(numbered(number), 'bulk');
  t.equal(drain(broke, 0).length, 1, 'one frame probes for credit');
});

t.test('control overtakes bulk, bulk overtakes telemetry', async (t) => {
  const link = new Link(options);
  link.send(numbered(3), 'telemetry');
  link.send(numbered(2), 'bulk');
  link.send(numbered(1), 'control');
  t.strictSame(drain(link, 0).map(({ payload }) => numberOf(payload)), [1, 2, 3]);
});

t.test('a gap is repaired at once, and once a round trip', async (t) => {
  const [sender, receiver] = [new Link(options), new Link(options)];
  for (let number = 0; number < 6; number += 1) sender.send(numbered(number), 'bulk');
  const frames = drain(sender, 0);
  for (const frame of frames.slice(1)) receiver.receive(frame, 1000);
  const [acknowledgement] = drain(receiver, 1000);
  t.ok(acknowledgement);
  if (acknowledgement === undefined) return;
  t.equal(acknowledgement.acknowledge, 0);
  t.equal(acknowledgement.selective, 0b11111);
  sender.receive(acknowledgement, 1100);
  const again = drain(sender, 1100);
  t.strictSame(again.map(({ sequence }) => sequence), [0]);
  sender.receive(acknowledgement, 1200);
  t.strictSame(drain(sender, 1200), [], 'not a second time in the same round trip');
  t.equal(receiver.receive(again[0] as Frame, 1200).length, 6);
  t.equal(sender.statistics.fastRetransmissions, 1);
});

t.test('timeouts follow RFC 6298, and bear a millisecond in which an acknowledgement may wait', async (t) => {
  const roundTrip = new RoundTrip(0);
  t.equal(roundTrip.timeoutMicroseconds, 200_000);
  roundTrip.sample(40_000);
  t.equal(roundTrip.timeoutMicroseconds, 40_000 + 4 * 20_000 + 1_000);
  roundTrip.backOff();
  t.equal(roundTrip.timeoutMicroseconds, 242_000);
  roundTrip.sample(40_000);
  t.equal(roundTrip.timeoutMicroseconds, 40_000 + 4 * 15_000 + 1_000);
  for (let sample = 0; sample < 200; sample += 1) roundTrip.sample(100);
  t.equal(roundTrip.timeoutMicroseconds, 5000, 'the floor');
  t.equal(new RoundTrip(60_000).timeoutMicroseconds, 240_000, 'a slow line raises the floor');
});

t.test('an acknowledgement that comes late says nothing of credit', async (t) => {
  const [sender, receiver] = [new Link(options), new Link({ ...options, receiveBytes: 3000 })];
  for (let number = 0; number < 8; number += 1) sender.send(new Uint8Array(600), 'bulk');
  const frames = drain(sender, 0);
  for (const frame of frames.slice(1, 4)) receiver.receive(frame, 100);
  const [poor] = drain(receiver, 100);
  receiver.receive(frames[0] as Frame, 200);
  const [rich] = drain(receiver, 200);
  t.equal(poor?.credit, 1200, 'three frames are held');
  t.equal(rich?.credit, 3000);
  sender.receive(rich as Frame, 300);
  sender.receive(poor as Frame, 400);
  sender.send(new Uint8Array(500), 'bulk');
  t.equal(drain(sender, 400).length, 1, 'four frames of 600 and one of 500 fit 3000');
});

t.test('credit is never negative and never more than 16 bits hold', async (t) => {
  const [sender, receiver, rich] = [new Link(options), new Link({ ...options, receiveBytes: 700 }), new Link({ ...options, receiveBytes: 1e6 })];
  for (let number = 0; number < 8; number += 1) sender.send(new Uint8Array(600), 'bulk');
  for (const frame of drain(sender, 0).slice(1)) {
    receiver.receive(frame, 100);
    rich.receive(frame, 100);
  }
  t.equal(drain(receiver, 100)[0]?.credit, 0);
  t.equal(drain(rich, 100)[0]?.credit, 65_535);
});

t.test('several gaps of one window are repaired in one round trip, and a repetition that is lost is seen', async (t) => {
  const [sender, receiver] = [new Link(options), new Link(options)];
  for (let number = 0; number < 12; number += 1) sender.send(numbered(number), 'bulk');
  const frames = drain(sender, 0);
  for (const frame of frames.filter(({ sequence }) => ![0, 3, 6].includes(sequence))) receiver.receive(frame, 1000);
  sender.receive(drain(receiver, 1000)[0] as Frame, 1100);
  t.strictSame(drain(sender, 1100).map(({ sequence }) => sequence), [0, 3, 6]);
  for (let number = 12; number < 15; number += 1) sender.send(numbered(number), 'bulk');
  for (const frame of drain(sender, 1200)) receiver.receive(frame, 2200);
  sender.receive(drain(receiver, 2200)[0] as Frame, 2300);
  t.strictSame(drain(sender, 2300).map(({ sequence }) => sequence), [0, 3, 6], 'later frames have overtaken the repetitions');
});

t.test('a timeout runs from when a frame leaves', async (t) => {
  const frameTimeMicroseconds = 6950; // 921 600 baud
  const link = new Link({ ...options, frameTimeMicroseconds });
  for (let number = 0; number < 32; number += 1) link.send(new Uint8Array(maximumPayloadBytes), 'bulk');
  t.equal(drain(link, 0).length, 32);
  t.equal(drain(link, 200_000).length, 0, 'a window takes 222 ms to leave');
  t.ok((link.nextTimeoutMicroseconds(0) ?? 0) > 206_000);
  const fast = new Link({ ...options, frameTimeMicroseconds });
  for (let number = 0; number < 32; number += 1) fast.send(new Uint8Array(maximumPayloadBytes), 'bulk');
  const receiver = new Link(options);
  for (const frame of drain(fast, 0).slice(0, 31)) receiver.receive(frame, 500);
  fast.receive(drain(receiver, 500)[0] as Frame, 1000);
  t.ok((fast.nextTimeoutMicroseconds(0) ?? 0) < 40_000, 'an answer that comes too early shows that the line is faster than its baud');
});

t.test('statistics state queues by priority and what is in flight', async (t) => {
  const link = new Link({ ...options, windowFrames: 8 });
  for (let number = 0; number < 10; number += 1) link.send(numbered(number), 'bulk');
  link.send(numbered(1), 'control');
  link.send(new Uint8Array(5), 'telemetry');
  drain(link, 0);
  t.match(link.statistics, {
    framesSent: 8, inFlightFrames: 8, inFlightBytes: 16,
    queued: { control: { messages: 0, bytes: 0 }, bulk: { messages: 3, bytes: 6 }, telemetry: { messages: 1, bytes: 5 } },
  });
});

t.test('bytes that nobody framed change nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), async (noise) => {
      const { clock, line, board, host } = joined(1, noFaults);
      line.host.write(noise);
      line.host.write(Uint8Array.of(0));
      host.wire.send(numbered(9), 'control');
      await clock.advance(1_000_000);
      return board.received.length === 1 && board.received[0] === 9;
    }),
    { numRuns: 50 },
  );
});

t.test('an encoded frame of the link is a frame of the wire', async (t) => {
  const link = new Link(options);
  link.send(numbered(5), 'control');
  const [frame] = drain(link, 0);
  t.ok(frame && new FrameDecoder().push(encodeFrame(frame))[0]?.frame?.sequence === 0);
});
