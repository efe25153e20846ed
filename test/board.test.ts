// The device end of the wire, spoken to without the driver: what a board must do whatever a host does.
import fc from 'fast-check';
import t from 'tap';
import type { Frame } from '../firmware-protocol/frame.js';
import { Wire } from '../firmware-protocol/wire.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec, programCodec } from '../proto/codec.js';
import type { DeviceMessage, Final, HelloAck, MethodName, MethodRequests } from '../proto/message.js';
import { Board } from '../sim/board.js';
import { Chip } from '../sim/chip.js';
import { profileNamed } from '../sim/profile.js';
import { sha256 } from './rig/bench.js';
import { Line } from './rig/line.js';
import { SeededPrng } from './rig/seeded-prng.js';
import { VirtualClock } from './rig/virtual-clock.js';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const idOf = (number: number) => new Uint8Array(16).fill(number);

/** A host that does exactly what a test says. */
class RawHost {
  readonly frames: Frame[] = [];
  readonly messages: DeviceMessage[] = [];
  identity: HelloAck | undefined;
  readonly line: Line;
  private readonly wire: Wire;
  private requests = 0;

  constructor(private readonly clock: VirtualClock, readonly board: Board) {
    this.line = new Line(clock, new SeededPrng(2));
    board.attach(this.line.board);
    this.wire = new Wire(this.line.host, clock, {
      frame: (frame) => this.frames.push(frame),
      message: (payload) => {
        const message = deviceMessageCodec.decode(payload);
        if (message.ok) this.messages.push(message.value);
      },
      room: () => undefined, down: () => undefined, discarded: () => undefined, dead: () => undefined,
    });
  }

  async hello(session: number, changes: object = {}): Promise<HelloAck | undefined> {
    const offer = { protocolMinimum: 1, protocolMaximum: 2, hostVersion: '', windowFrames: 32, creditBytes: 60_000, leaseEpoch: 0, deadManMilliseconds: 0 };
    const hello = { ...offer, capabilities: [], ...changes };
    this.wire.sendFrame('HELLO', session, helloCodec.encode(hello));
    await this.clock.advance(1000);
    const answer = this.frames.filter(({ type }) => type === 'HELLO_ACK').at(-1);
    const identity = answer && helloAckCodec.decode(answer.payload);
    this.identity = identity?.ok ? identity.value : undefined;
    this.wire.open({ session, windowFrames: 32, receiveBytes: 60_000, peerCreditBytes: 60_000 });
    return this.identity;
  }

  send(bytes: Uint8Array): void {
    this.wire.send(bytes, 'control');
  }

  frame(type: 'ESTOP' | 'DATA', session: number): void {
    this.wire.sendFrame(type, session, new Uint8Array());
  }

  /** Sends a request and lets it end. */
  async request<Name extends MethodName>(
    method: Name, body: MethodRequests[Name], { id = idOf((this.requests += 1)), leaseEpoch = 0, deadlineMicroseconds = 0 } = {},
  ): Promise<Final | undefined> {
    const before = this.messages.length;
    this.send(hostMessageCodec.encode({ request: { requestId: id, deadlineMicroseconds, leaseEpoch, [method]: body } }));
    await this.clock.advance(10_000);
    return this.messages.slice(before).map(({ final }) => final).find((final) => final) ?? undefined;
  }

  async upload(bytes: Uint8Array): Promise<Uint8Array> {
    const digest = sha256(bytes);
    await this.request('bulkOffer', { sha256: digest, sizeBytes: bytes.length });
    for (let at = 0; at < bytes.length; at += 500) {
      this.send(hostMessageCodec.encode({ bulkChunk: { sha256: digest.slice(0, 8), offsetBytes: at, data: bytes.subarray(at, at + 500) } }));
    }
    await this.clock.advance(500_000);
    await this.request('bulkCommit', { sha256: digest });
    return digest;
  }
}

function boardOn(clock: VirtualClock, profile = 'lab', persist?: (chip: Chip) => void) {
  const chip = Chip.formed(profileNamed(profile), 1);
  const board = new Board({ chip, clock, prng: new SeededPrng(1), sha256, ...(persist && { persist }) });
  return { chip, board };
}

async function bench(profile = 'lab', persist?: (chip: Chip) => void) {
  const clock = new VirtualClock();
  const { chip, board } = boardOn(clock, profile, persist);
  const host = new RawHost(clock, board);
  await host.hello(77);
  return { clock, chip, board, host };
}

const bitmap = (...cells: number[]) => {
  const bits = new Uint8Array(512 * 64);
  for (const cell of cells) bits[cell >> 3] = (bits[cell >> 3] ?? 0) | (1 << (cell & 7));
  return bits;
};

t.test('HELLO_ACK says what the board is', async (t) => {
  const { host, chip } = await bench();
  t.match(host.identity, {
    protocol: 2, protocolMinimum: 1, protocolMaximum: 3, deadManMilliseconds: 2000, chipId: 'sim-lab-half-1', bootCount: 1,
    profile: 'lab-half', geometry: { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: 4 },
    converter: { bits: 14 }, limits: { journalEntries: 256 },
  });
  t.strictSame([...(host.identity?.arrayState ?? [])], [...sha256(chip.stateBytes())]);
  t.ok(['RunNetwork', 'Multiply', 'ReadCells', 'ResetCells', 'LoadSnapshot'].every((name) => host.identity?.capabilities.includes(name)));
});

t.test('a repeated HELLO does not cut its own session; a new one ends it', async (t) => {
  const { clock, host } = await bench();
  t.ok((await host.request('noOperation', {}))?.noOperation);
  const boot = host.identity?.bootId;
  host.frame('DATA', 99);
  await clock.advance(1000);
  t.match(text(host.frames.at(-1)?.payload ?? new Uint8Array()), /does not know this session/);
  t.equal(host.frames.at(-1)?.type, 'RESET');
  await host.hello(78);
  t.strictSame(host.identity?.bootId, boot);
  t.ok((await host.request('noOperation', {}))?.noOperation);
});

t.test('a host of another protocol is refused with both versions', async (t) => {
  const clock = new VirtualClock();
  const host = new RawHost(clock, boardOn(clock).board);
  await host.hello(1, { protocolMinimum: 4, protocolMaximum: 5 });
  t.match(text(host.frames.find(({ type }) => type === 'RESET')?.payload ?? new Uint8Array()), /^PROTOCOL_UNSUPPORTED .*protocol 1 to 3, the host 4 to 5/);
});

t.test('an effectful id is applied once, and answered from the journal after that', async (t) => {
  const { host } = await bench();
  const id = idOf(200);
  t.match(await host.request('scratch', { add: 4 }, { id }), { repeatedFromJournal: false, scratch: { count: 4 } });
  t.match(await host.request('scratch', { add: 4 }, { id }), { repeatedFromJournal: true, scratch: { count: 4 } });
  await host.hello(79);
  t.match(await host.request('scratch', { add: 4 }, { id }), { repeatedFromJournal: true, scratch: { count: 4 } }, 'also in another session');
  host.board.restart();
  await host.hello(80);
  t.match(await host.request('scratch', { add: 4 }, { id }), { repeatedFromJournal: false }, 'the journal lives as long as a boot');
});

t.test('pulses are applied once, persisted before they are acknowledged, and refused outside the envelope', async (t) => {
  const saved: number[] = [];
  const { host, chip } = await bench('lab', ({ pulses }) => saved.push(pulses));
  const [first, second] = [...chip.codes.keys()].filter((cell) => (chip.codes[cell] ?? 0) > 0);
  const cellsSha256 = await host.upload(bitmap(first ?? 0, second ?? 0));
  const pulse = { cellsSha256, amplitudeMillivolts: 2000, widthNanoseconds: 1000 };
  const id = idOf(201);
  t.match(await host.request('resetCells', pulse, { id }), { resetCells: { pulses: 2, cells: 2 } });
  t.match(await host.request('resetCells', pulse, { id }), { repeatedFromJournal: true });
  t.equal(chip.pulses, 2);
  t.strictSame(saved, [2]);
  t.match(await host.request('resetCells', { ...pulse, amplitudeMillivolts: 2501 }), { failure: { code: 'PULSE_REFUSED', outcome: 0 } });
  t.match(await host.request('resetCells', { ...pulse, widthNanoseconds: 0 }), { failure: { code: 'PULSE_REFUSED' } });
  t.match(await host.request('resetCells', { ...pulse, cellsSha256: new Uint8Array(32) }), { failure: { code: 'BULK_UNKNOWN' } });
  t.equal(chip.pulses, 2);
});

t.test('a chip that cannot be saved is not acknowledged', async (t) => {
  const { host } = await bench('lab', () => { throw new Error('disk full'); });
  const cellsSha256 = await host.upload(bitmap(1));
  const answer = await host.request('resetCells', { cellsSha256, amplitudeMillivolts: 2000, widthNanoseconds: 1000 });
  t.match(answer, { failure: { code: 'INTERNAL_ERROR', detail: 'disk full', outcome: 2 } });
});

t.test('an older lease is fenced off', async (t) => {
  const { host } = await bench();
  await host.hello(90, { leaseEpoch: 5 });
  t.match(await host.request('scratch', { add: 1 }, { leaseEpoch: 4 }), { failure: { code: 'LEASE_STALE' } });
  t.match(await host.request('scratch', { add: 1 }, { leaseEpoch: 5 }), { scratch: { count: 1 } });
});

t.test('ESTOP refuses everything that energises the array until the controller restarts', async (t) => {
  const { clock, host } = await bench();
  host.frame('ESTOP', 77);
  await clock.advance(1000);
  t.match(await host.request('getStatus', {}), { getStatus: { stopped: true } });
  t.match(await host.request('scratch', { add: 1 }), { failure: { code: 'DEVICE_STOPPED', outcome: 0 } });
  const region = { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 1 };
  t.match(await host.request('readCells', { region, averages: 1 }), { failure: { code: 'DEVICE_STOPPED' } });
  host.board.restart();
  await host.hello(91);
  t.match(await host.request('scratch', { add: 1 }), { scratch: { count: 1 } });
});

t.test('a board whose host was away for long is still at its connector', async (t) => {
  const { clock, host } = await bench();
  host.line.intercept = () => undefined;
  host.send(hostMessageCodec.encode({ request: { requestId: idOf(7), deadlineMicroseconds: 0, leaseEpoch: 0, noOperation: {} } }));
  await clock.advance(1_000);
  host.line.intercept = (from, bytes) => (from === 'host' ? bytes : undefined); // the request arrives, no answer does
  await clock.advance(20_000);
  host.line.intercept = () => undefined;
  await clock.advance(20_000_000);
  host.line.intercept = undefined;
  host.frames.length = 0;
  t.ok(await host.hello(300));
  t.ok((await host.request('noOperation', {}))?.noOperation);
});

t.test('failures of effectful requests are journaled, except those that say nothing of them', async (t) => {
  const { host } = await bench();
  const pulse = { cellsSha256: new Uint8Array(32), amplitudeMillivolts: 9000, widthNanoseconds: 1 };
  const id = idOf(210);
  t.match(await host.request('resetCells', pulse, { id }), { repeatedFromJournal: false, failure: { code: 'BULK_UNKNOWN', outcome: 0 } });
  t.match(await host.request('resetCells', pulse, { id }), { repeatedFromJournal: true, failure: { code: 'BULK_UNKNOWN', outcome: 0 } });
  const late = idOf(211);
  t.match(await host.request('scratch', { add: 1 }, { id: late, deadlineMicroseconds: 1 }), { failure: { code: 'DEADLINE_EXCEEDED' } });
  t.match(await host.request('scratch', { add: 1 }, { id: late }), { repeatedFromJournal: true, failure: { code: 'DEADLINE_EXCEEDED' } });
  await host.hello(301, { leaseEpoch: 2 });
  const stale = idOf(212);
  t.match(await host.request('scratch', { add: 1 }, { id: stale, leaseEpoch: 1 }), { failure: { code: 'LEASE_STALE' } });
  t.match(await host.request('scratch', { add: 1 }, { id: stale, leaseEpoch: 2 }), { repeatedFromJournal: false, scratch: { count: 1 } });
  const pure = idOf(213);
  t.match(await host.request('multiply', { ...multiplyOf(1, 1), timestep: 64 }, { id: pure, leaseEpoch: 2 }), { failure: { code: 'REQUEST_INVALID' } });
  t.match(await host.request('multiply', multiplyOf(1, 1), { id: pure, leaseEpoch: 2 }), { repeatedFromJournal: false }, 'pure requests are not');
});

t.test('the journal holds 256 answers, and forgets the oldest first', async (t) => {
  const { host } = await bench();
  const numbered = (number: number) => Uint8Array.from({ length: 16 }, (_, index) => (index < 2 ? (number >> (8 * index)) & 255 : 99));
  for (let number = 0; number <= 256; number += 1) await host.request('scratch', { add: 1 }, { id: numbered(number) });
  t.match(await host.request('scratch', { add: 1 }, { id: numbered(1) }), { repeatedFromJournal: true, scratch: { count: 2 } });
  t.match(await host.request('scratch', { add: 1 }, { id: numbered(0) }), { repeatedFromJournal: false, scratch: { count: 258 } });
});

const multiplyOf = (drives: number, lines: number) => ({
  firstBitLine: 0, bitLineCount: 8, sourceLines: Array.from({ length: lines }, (_, line) => line), range: 0, inferenceNumber: 0, timestep: 0, tile: 0,
  drives: Array.from({ length: drives }, (_, position) => ({ position, plane: 0, lines: Uint8Array.of(255) })),
});

t.test('a request whose answer would not fit a message is refused, not answered by a crash', async (t) => {
  const { clock, host } = await bench();
  const many = { ...multiplyOf(2, 200) };
  t.match(await host.request('multiply', many), { failure: { code: 'REQUEST_INVALID', detail: /sourceLines.length is 400; the range is 1 to 280/ } });
  t.ok((await host.request('multiply', multiplyOf(2, 140)))?.multiply);
  const wide = (outputs: number) => ({
    name: '', kind: 1, inputChannels: 1, inputHeight: 1, inputWidth: 1, outputChannels: outputs, outputHeight: 1, outputWidth: 1, kernel: 1, stride: 1,
    padding: 0, driveBits: 4, range: 0, current: { multiplier: 2 ** 20, shift: 0 }, poolSize: 1,
    neuron: { kind: 1, threshold: 0, leak: { multiplier: 1, shift: 0 }, negativeSlope: { multiplier: 2 ** 20, shift: 20 } },
    tiles: [{
      firstInput: 0, inputCount: 1, firstBitLine: 0, plusLines: [...Array(outputs).keys()], minusLines: [...Array(outputs).keys()].map((k) => k + 256),
    }],
  });
  const load = async (outputs: number) => {
    const program = { timestepCount: 2, inputChannels: 1, inputHeight: 1, inputWidth: 1, layers: [wide(outputs)] };
    const sha = await host.upload(programCodec.encode(program));
    return { sha, answer: await host.request('loadProgram', { sha256: sha }) };
  };
  t.match((await load(81)).answer, { failure: { code: 'REQUEST_INVALID', detail: /outputs is 81; the range is 1 to 80/ } });
  const { sha } = await load(80);
  const frames = await host.upload(Uint8Array.of(0x11));
  t.match(await host.request('runNetwork', { programSha256: sha, framesSha256: frames, inferenceNumber: 0 }), { runNetwork: { timesteps: 2 } });
  await clock.advance(1000);
});

t.test('ESTOP is answered, whatever its session, and whether there is one or not', async (t) => {
  const clock = new VirtualClock();
  const host = new RawHost(clock, boardOn(clock).board);
  for (const session of [0, 5, 0xffffffff]) {
    host.frame('ESTOP', session);
    await clock.advance(1000);
    t.match(host.frames.at(-1), { type: 'ESTOP', session });
    t.equal(host.frames.at(-1)?.payload.length, 0);
  }
});

t.test('a host that keeps on talking to a session that is gone is told so ten times a second', async (t) => {
  const { clock, host } = await bench();
  host.frames.length = 0;
  for (let number = 0; number < 100; number += 1) {
    host.frame('DATA', 99);
    await clock.advance(10_000);
  }
  const resets = host.frames.filter(({ type }) => type === 'RESET');
  t.equal(resets.length, 10);
  t.match(text(resets[0]?.payload ?? new Uint8Array()), /^DEVICE_LOST the board does not know this session/);
});

t.test('a board that restarts forgets its session at once', async (t) => {
  const { clock, host } = await bench();
  t.match(await host.request('restart', {}), { restart: {} });
  await clock.advance(20_000);
  host.frames.length = 0;
  host.send(hostMessageCodec.encode({ request: { requestId: idOf(8), deadlineMicroseconds: 0, leaseEpoch: 0, scratch: { add: 1 } } }));
  await clock.advance(1000);
  t.equal(host.frames.at(-1)?.type, 'RESET');
  t.match(await host.hello(302), { bootCount: 2, resetReason: 1 });
  t.match(await host.request('getStatus', {}), { getStatus: { scratchCount: 0 } });
});

t.test('a deadline that has passed is not begun', async (t) => {
  const { clock, host } = await bench();
  await clock.advance(1_000_000);
  const region = { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 1 };
  t.match(await host.request('readCells', { region, averages: 1 }, { deadlineMicroseconds: 5 }), { failure: { code: 'DEADLINE_EXCEEDED', outcome: 0 } });
});

t.test('bulk: too large, unknown, incomplete, wrong digest, resumed', async (t) => {
  const { clock, host } = await bench();
  t.match(await host.request('bulkOffer', { sha256: new Uint8Array(32), sizeBytes: 17 * 2 ** 20 }), { failure: { code: 'BULK_TOO_LARGE' } });
  t.match(await host.request('bulkOffer', { sha256: new Uint8Array(3), sizeBytes: 1 }), { failure: { code: 'REQUEST_INVALID' } });
  t.match(await host.request('bulkCommit', { sha256: new Uint8Array(32) }), { failure: { code: 'BULK_UNKNOWN' } });
  const digest = sha256(Uint8Array.of(1, 2, 3));
  const chunk = (offsetBytes: number, ...data: number[]) => {
    host.send(hostMessageCodec.encode({ bulkChunk: { sha256: digest.slice(0, 8), offsetBytes, data: Uint8Array.from(data) } }));
    return clock.advance(1000);
  };
  await host.request('bulkOffer', { sha256: digest, sizeBytes: 3 });
  await chunk(0, 1);
  t.match(await host.request('bulkCommit', { sha256: digest }), { failure: { code: 'BULK_UNKNOWN', detail: /incomplete/ } });
  t.match(await host.request('bulkOffer', { sha256: digest, sizeBytes: 3 }), { bulkOffer: { offsetBytes: 1, committed: false } });
  await chunk(1, 9, 9);
  t.match(await host.request('bulkCommit', { sha256: digest }), { failure: { code: 'BULK_DIGEST_MISMATCH' } });
  await chunk(0, 1, 2, 3);
  t.match(await host.request('bulkCommit', { sha256: digest }), { bulkCommit: { committed: true } });
});

t.test('requests with wrong fields name the field and its range', async (t) => {
  const { host } = await bench();
  const region = { firstBitLine: 0, bitLines: 513, firstSourceLine: 0, sourceLines: 1 };
  t.match(await host.request('readCells', { region, averages: 1 }), { failure: { code: 'REQUEST_INVALID', detail: /bitLines is 513; the range is 1 to 512/ } });
  const multiply = { firstBitLine: 0, bitLineCount: 8, sourceLines: [512], range: 0, inferenceNumber: 0, timestep: 0, tile: 0, drives: [] };
  t.match(await host.request('multiply', multiply), { failure: { code: 'REQUEST_INVALID', detail: /sourceLines is 512/ } });
  const program = await host.upload(programCodec.encode({ timestepCount: 0, inputChannels: 1, inputHeight: 1, inputWidth: 1, layers: [] }));
  t.match(await host.request('loadProgram', { sha256: program }), { failure: { code: 'REQUEST_INVALID', detail: /timestepCount is 0; the range is 1 to 64/ } });
  t.match(await host.request('runNetwork', { programSha256: program, framesSha256: program, inferenceNumber: 0 }), { failure: { code: 'PROGRAM_UNKNOWN' } });
  t.match(await host.request('noOperation', {}, { id: new Uint8Array(3) }), { failure: { code: 'REQUEST_INVALID', detail: /requestId/ } });
});

t.test('whatever a host sends, the board answers the next request', async () => {
  const { clock, host } = await bench();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), fc.uint8Array({ maxLength: 900 }), async (message, noise) => {
      host.send(message);
      host.line.host.write(noise);
      host.line.host.write(Uint8Array.of(0));
      await clock.advance(300_000);
      const answer = await host.request('getStatus', {}, { id: idOf(250) });
      return answer?.getStatus?.pulses === 0;
    }),
    { numRuns: 200 },
  );
});
