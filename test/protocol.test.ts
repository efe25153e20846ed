// Protocol 2 as a host meets it: driver, line and board in one process under virtual time.
import fc from 'fast-check';
import t from 'tap';
import { ClockModel } from '../driver/clock-model.js';
import { MemoryRequestLog, type RequestLog } from '../driver/index.js';
import { FrameDecoder, type FrameType } from '../firmware-protocol/frame.js';
import { MacroError } from '../proto/error.js';
import type { Program, Telemetry } from '../proto/message.js';
import { currentFirmware, firstFirmware, laterFirmware } from '../sim/firmware.js';
import { Rig, type RigOptions, sha256 } from './rig/bench.js';

const whole = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };
const oneLine = { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 8 };
const pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1_000_000 };
const everyCell = new Uint8Array(512 * 64).fill(255);
const errorOf = (promise: Promise<unknown>) => promise.then(() => 'resolved', (error: unknown) => MacroError.from(error));
const typesIn = (bytes: Uint8Array): FrameType[] => new FrameDecoder().push(bytes).flatMap(({ frame }) => frame?.type ?? []);

async function met(options: RigOptions = {}): Promise<Rig> {
  const rig = new Rig(options);
  await rig.ready();
  return rig;
}

async function ended(rig: Rig): Promise<void> {
  await rig.device.close();
  rig.board.close();
}

/** A board where every method of an earlier protocol is, and some are not. */
const without = (...names: string[]) => ({ ...currentFirmware, capabilities: currentFirmware.capabilities.filter((name) => !names.includes(name)) });

t.test('host and board agree on the highest version that both speak', async (t) => {
  const boards = [
    { firmware: firstFirmware, protocol: 1 },
    { firmware: currentFirmware, protocol: 3 },
    { firmware: laterFirmware(1), protocol: 3 },
    { firmware: laterFirmware(2), protocol: 3 },
  ];
  for (const { firmware, protocol } of boards) {
    const rig = await met({ firmware });
    t.equal(rig.device.statistics.protocol, protocol, firmware.version);
    t.equal((await rig.until(rig.device.scratch(3))).count, 3);
    const bytes = new Uint8Array(5000).fill(7);
    t.strictSame(await rig.until(rig.device.fetchBulk(await rig.until(rig.device.uploadBulk(bytes)), bytes.length)), bytes);
    await ended(rig);
  }
  const rig = new Rig({ firmware: laterFirmware(4) });
  const error = await rig.until(errorOf(rig.device.whenReady(3000)));
  t.match(error, { code: 'PROTOCOL_UNSUPPORTED', message: /the board speaks protocol 4 to 9, the host 1 to 3/ });
  await ended(rig);
});

t.test('what a board lacks is refused before a byte is sent', async (t) => {
  const cases = [
    { firmware: firstFirmware, pattern: /does not have Arithmetic/ },
    { firmware: without('Arithmetic'), pattern: /does not have Arithmetic/ },
    { firmware: { ...firstFirmware, capabilities: currentFirmware.capabilities }, pattern: /Arithmetic needs protocol 2; the session with rig speaks 1/ },
  ];
  for (const { firmware, pattern } of cases) {
    const rig = await met({ firmware });
    const sent = rig.line?.host.bytesWritten;
    const refused = await errorOf(rig.device.arithmetic({ scale: { by: { multiplier: 1, shift: 0 }, values: [1] } }));
    t.match(refused, { code: 'METHOD_UNSUPPORTED', message: pattern });
    t.equal(rig.line?.host.bytesWritten, sent, 'not a byte was sent');
    await ended(rig);
  }
});

t.test('an ESTOP that is lost ten times still stops the board', async (t) => {
  const rig = await met();
  let swallowed = 0;
  rig.intercept = (from, bytes) => {
    if (from === 'board' || !typesIn(bytes).includes('ESTOP') || swallowed === 10) return bytes;
    swallowed += 1;
    return undefined;
  };
  const start = rig.clock.nowMicroseconds();
  t.equal(await rig.until(rig.device.emergencyStop()), true);
  t.equal(rig.clock.nowMicroseconds() - start, 10 * 10_000 + 200, 'every 10 ms');
  t.equal((await rig.until(rig.device.status())).stopped, true);
  t.match(await rig.until(errorOf(rig.device.scratch(1))), { code: 'DEVICE_STOPPED', outcome: 'not-applied' });
  t.equal((await rig.until(rig.device.restartController())).bootCount, 2);
  t.equal((await rig.until(rig.device.status())).stopped, false);
  t.equal((await rig.until(rig.device.scratch(1))).count, 1);
  await ended(rig);
});

t.test('an ESTOP that finds no line is the first frame of the next one', async (t) => {
  const rig = await met();
  rig.unplug();
  await rig.clock.advance(300_000);
  const stopped = rig.device.emergencyStop();
  const first: FrameType[] = [];
  rig.intercept = (from, bytes) => {
    if (from === 'host') first.push(...typesIn(bytes));
    return bytes;
  };
  rig.plug();
  t.equal(await rig.until(stopped), true);
  t.equal(first[0], 'ESTOP');
  await rig.ready();
  t.equal((await rig.until(rig.device.status())).stopped, true);
  await ended(rig);
});

t.test('a line that swallows a hundred ESTOPs is dropped, and the next one begins with it', async (t) => {
  const rig = await met();
  rig.intercept = (from, bytes) => (from === 'host' && rig.device.statistics.connections < 2 && typesIn(bytes).includes('ESTOP') ? undefined : bytes);
  const stopped = rig.device.emergencyStop();
  await rig.clock.advance(900_000);
  t.equal(rig.device.state, 'ready');
  await rig.clock.advance(150_000);
  t.equal(rig.device.state, 'link-down');
  rig.intercept = undefined;
  t.equal(await rig.until(stopped), true);
  await ended(rig);
});

t.test('a board of protocol 1 is sent ESTOP three times, and cannot confirm it', async (t) => {
  const rig = await met({ firmware: firstFirmware });
  let sent = 0;
  rig.intercept = (from, bytes) => {
    if (from === 'host') sent += typesIn(bytes).filter((type) => type === 'ESTOP').length;
    return bytes;
  };
  t.equal(await rig.until(rig.device.emergencyStop()), false);
  t.equal(sent, 3);
  t.equal((await rig.until(rig.device.status())).stopped, true);
  await ended(rig);
});

t.test('an ESTOP does not wait for a bulk upload that fills a slow port', async (t) => {
  const rig = await met({ baud: 921_600 });
  const upload = errorOf(rig.device.uploadBulk(new Uint8Array(100_000).fill(3)));
  await rig.clock.advance(300_000);
  const start = rig.clock.nowMicroseconds();
  t.equal(await rig.until(rig.device.emergencyStop()), true);
  const took = rig.clock.nowMicroseconds() - start;
  t.ok(took < 40_000, `${took} µs`);
  t.equal(await rig.until(upload), 'resolved');
  await ended(rig);
});

t.test('a restart is refused while the array changes, and drops what is pure', async (t) => {
  const rig = await met({ profile: 'lab', pace: 'real' });
  const reset = errorOf(rig.device.resetCells(everyCell, pulse));
  await rig.clock.advance(1_000_000);
  t.match(await rig.until(errorOf(rig.device.restartController())), { code: 'DEVICE_BUSY' });
  t.equal(await rig.until(reset), 'resolved');
  const read = errorOf(rig.device.readCells(whole, 1000));
  await rig.clock.advance(100_000);
  const identity = await rig.until(rig.device.restartController());
  t.match(identity, { bootCount: 2, resetReason: 1 });
  t.match(await rig.until(read), { code: 'DEVICE_RESTARTED' });
  await ended(rig);
});

t.test('the board’s arithmetic is that of the host', async (t) => {
  const rig = await met();
  const { device } = rig;
  t.strictSame((await rig.until(device.arithmetic({ scale: { by: { multiplier: 3, shift: 1 }, values: [1, -1, 2, -3, 2 ** 50] } }))).values,
    [2, -2, 3, -5, 2 ** 50 * 1.5]);
  const converted = await rig.until(device.arithmetic({ convert: { gainQ20: 2 ** 19, offset: 5, sums: [3, -3], noise_256: [0, 256] } }));
  t.strictSame(converted.values, [7, 4]);
  const neuron = { kind: 0, threshold: 10, leak: { multiplier: 1, shift: 1 }, negativeSlope: { multiplier: 1, shift: 2 } };
  const stepped = await rig.until(device.arithmetic({
    neuron: { neuron, membranes: [8, 8, -9], spikes: Uint8Array.of(0, 1, 0), currents: [7, 7, 0] },
  }));
  t.strictSame(stepped.membranes, [11, 7, -1]);
  t.strictSame([...(stepped.spikes ?? [])], [1, 0, 0]);
  const gate = { confidence: { multiplier: 262_143, shift: 31 }, outputs: 2, membranes: [2 ** 31 - 1, -(2 ** 31), 5, 5], rule: 0 };
  const decided = await rig.until(device.arithmetic({ gate }));
  t.equal(decided.prediction, 0);
  t.equal(decided.confidenceQ24?.length, 2);
  const long = device.arithmetic({ scale: { by: { multiplier: 1, shift: 0 }, values: Array.from({ length: 65 }, () => 1) } });
  t.match(await rig.until(errorOf(long)), { code: 'REQUEST_INVALID', message: /scale.values.length is 65; the range is 1 to 64/ });
  t.match(await rig.until(errorOf(device.arithmetic({ scale: { by: { multiplier: 4, shift: 0 }, values: [2 ** 50] } }))), { code: 'REQUEST_INVALID' });
  await ended(rig);
});

/** Lets nothing of the host through for a while. */
async function silence(rig: Rig, microseconds: number): Promise<void> {
  rig.intercept = (from, bytes) => (from === 'host' ? undefined : bytes);
  await rig.clock.advance(microseconds);
  rig.intercept = undefined;
}

t.test('bias does not outlast a silent host: pure work ends, an effectful one at its next safe point', async (t) => {
  const rig = await met({ profile: 'lab', pace: 'real' });
  t.equal(rig.device.identity?.deadManMilliseconds, 2000);
  const reset = errorOf(rig.device.resetCells(everyCell, pulse));
  await rig.clock.advance(400_000);
  const waiting = errorOf(rig.device.resetCells(everyCell, pulse));
  const read = errorOf(rig.device.readCells(whole, 1));
  await rig.clock.advance(100_000);
  await silence(rig, 2_150_000);
  t.match(await rig.until(read), { code: 'HOST_SILENT', outcome: 'not-applied' });
  t.match(await rig.until(reset), { code: 'HOST_SILENT', outcome: 'applied' });
  t.match(await rig.until(waiting), { code: 'HOST_SILENT', outcome: 'not-applied' });
  t.ok(rig.chip.pulses > 0 && rig.chip.pulses < 512 * 512, `${rig.chip.pulses} pulses were given`);
  t.equal(rig.device.statistics.connections, 1, 'the session stays open');
  t.ok(rig.events.some((event) => event.kind === 'log' && event.level === 'warning' && /dead-man/.test(event.text)));
  t.equal((await rig.until(rig.device.scratch(1))).count, 1, 'its outcome is known: nothing blocks');
  await ended(rig);
});

t.test('a host that waits is not a silent one, also on a slow line', async (t) => {
  for (const baud of [undefined, 9600]) {
    const rig = await met({ profile: 'lab', pace: 'real', ...(baud && { baud }) });
    const read = errorOf(rig.device.readCells({ ...oneLine, bitLines: 32, sourceLines: 512 }, 200));
    await rig.clock.advance(30_000_000);
    t.equal(await rig.until(read), 'resolved', `baud ${baud}`);
    t.equal(rig.device.statistics.connections, 1);
    await ended(rig);
  }
});

t.test('the dead-man time is what both agree on', async (t) => {
  for (const [asked, stated] of [[0, 2000], [50, 100], [700, 700], [90_000, 60_000]] as const) {
    const rig = await met({ deadManMilliseconds: asked });
    t.equal(rig.device.identity?.deadManMilliseconds, stated);
    await ended(rig);
  }
  const old = await met({ firmware: firstFirmware });
  t.equal(old.device.identity?.deadManMilliseconds, 0);
  await ended(old);
});

t.test('an idle line that dies without a word is found out', async (t) => {
  const rig = await met();
  if (rig.line) rig.line.isDead = true;
  await rig.clock.advance(20_000_000);
  t.equal(rig.device.statistics.connections, 2);
  t.equal(rig.device.state, 'ready');
  await ended(rig);
});

const layer = {
  name: 'only', kind: 1, inputChannels: 4, inputHeight: 1, inputWidth: 1, outputChannels: 2, outputHeight: 1, outputWidth: 1, kernel: 1, stride: 1,
  padding: 0, driveBits: 4, range: 0, current: { multiplier: 1, shift: 0 }, poolSize: 1,
  neuron: { kind: 1, threshold: 0, leak: { multiplier: 1, shift: 0 }, negativeSlope: { multiplier: 1, shift: 0 } },
  tiles: [{ firstInput: 0, inputCount: 4, firstBitLine: 0, plusLines: [0, 1], minusLines: [2, 3] }],
};
const program: Program = { timestepCount: 64, inputChannels: 4, inputHeight: 1, inputWidth: 1, layers: [layer] };

async function infer(rig: Rig, runs: number): Promise<void> {
  const programSha256 = await rig.until(rig.device.loadProgram(program));
  const frames = new Uint8Array(64 * 4).fill(1);
  await rig.until(Promise.all(Array.from({ length: runs }, (_, inferenceNumber) =>
    rig.device.runNetwork({ programSha256, frames, inferenceNumber }, () => undefined))));
}

t.test('telemetry: every timestep, the latest, or one of so many, and an account of the rest', async (t) => {
  for (const policy of ['lossless', 'latest', 'decimate'] as const) {
    const rig = await met({ baud: 921_600 });
    const samples: Telemetry[] = [];
    const decimation = 10;
    const options = { stream: 'timestep', policy, ...(policy === 'decimate' && { decimation }) } as const;
    const subscription = await rig.until(rig.device.subscribe(options, (sample) => samples.push(sample)));
    await infer(rig, 6);
    await rig.clock.advance(500_000);
    const { received, droppedByBoard, lostOnLine } = subscription.account;
    const due = policy === 'decimate' ? Math.ceil((6 * 64) / decimation) : 6 * 64;
    t.equal(received, samples.length);
    t.equal(lostOnLine, 0);
    t.ok(received + droppedByBoard <= due && received > 0, `${policy}: ${received} received, ${droppedByBoard} dropped of ${due}`);
    if (policy === 'lossless') t.ok(droppedByBoard > 0, 'a bounded queue on a slow line overflows');
    t.ok(samples.every(({ sequence, timestep }, index) => Boolean(timestep) && (index === 0 || sequence > (samples[index - 1]?.sequence ?? 0))));
    if (policy === 'decimate') t.ok(samples.every(({ sequence }) => sequence % decimation === 0));
    await rig.until(subscription.close());
    const before = samples.length;
    await infer(rig, 1);
    t.equal(samples.length, before, 'OFF ends it');
    await ended(rig);
  }
});

t.test('status by time; datagrams that a line loses are counted, and a new session subscribes again', async (t) => {
  const rig = await met();
  const samples: Telemetry[] = [];
  const options = { stream: 'status', policy: 'latest', intervalMilliseconds: 20 } as const;
  const subscription = await rig.until(rig.device.subscribe(options, (sample) => samples.push(sample)));
  await rig.clock.advance(1_000_100);
  t.equal(samples.length, 50);
  t.equal(samples.at(-1)?.status?.stopped, false);
  let dropped = 0;
  rig.intercept = (from, bytes) => {
    if (from === 'host' || !typesIn(bytes).includes('DATAGRAM') || dropped === 5) return bytes;
    dropped += 1;
    return undefined;
  };
  await rig.clock.advance(1_000_000);
  t.match(subscription.account, { received: 95, droppedByBoard: 0, lostOnLine: 5 });
  rig.unplug();
  rig.plug();
  await rig.ready();
  await rig.clock.advance(1_000_000);
  t.ok(subscription.account.received > 130, 'it lasts over sessions');
  t.equal(subscription.account.lostOnLine, 5);
  const link: Telemetry[] = [];
  await rig.until(rig.device.subscribe({ stream: 'link', policy: 'lossless', intervalMilliseconds: 100 }, (sample) => link.push(sample)));
  await rig.clock.advance(1_000_000);
  t.ok((link.at(-1)?.link?.framesReceived ?? 0) > 0);
  for (const wrong of [{ intervalMilliseconds: 9 }, { intervalMilliseconds: 60_001 }]) {
    const refused = await rig.until(errorOf(rig.device.subscribe({ ...options, ...wrong }, () => undefined)));
    t.match(refused, { code: 'REQUEST_INVALID', message: /intervalMilliseconds is \d+; the range is 10 to 60000/ });
  }
  const decimated = rig.device.subscribe({ stream: 'timestep', policy: 'decimate', decimation: 1001 }, () => undefined);
  t.match(await rig.until(errorOf(decimated)), { code: 'REQUEST_INVALID', message: /decimation is 1001; the range is 1 to 1000/ });
  await ended(rig);
});

t.test('the board’s log reaches the host', async (t) => {
  for (const firmware of [firstFirmware, currentFirmware]) {
    const rig = await met({ firmware });
    await rig.clock.advance(1000);
    t.match(rig.events.filter(({ kind }) => kind === 'log'), [{ kind: 'log', level: 'info', text: 'the controller has started: power-on' }]);
    await ended(rig);
  }
});

t.test('the clock model is never wrong by more than it says, whichever way is the slow one', async () => {
  const asks = fc.array(fc.record({
    waitMicroseconds: fc.integer({ min: 0, max: 30_000_000 }), thereMicroseconds: fc.integer({ min: 0, max: 50_000 }),
    backMicroseconds: fc.integer({ min: 0, max: 50_000 }),
  }), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(asks, fc.double({ min: -99e-6, max: 99e-6, noNaN: true }), fc.integer({ min: -1e9, max: 1e9 }), (questions, drift, offset) => {
    const model = new ClockModel();
    const boardTime = (host: number) => offset + host * (1 + drift);
    let now = 0;
    return questions.every(({ waitMicroseconds, thereMicroseconds, backMicroseconds }) => {
      now += waitMicroseconds;
      const sent = now;
      now += thereMicroseconds + backMicroseconds;
      model.add(sent, boardTime(sent + thereMicroseconds), now);
      const later = now + waitMicroseconds / 2;
      const estimate = model.estimate(later);
      return estimate !== undefined && Math.abs(boardTime(later) - later - estimate.offsetMicroseconds) <= estimate.uncertaintyMicroseconds + 0.01;
    });
  }));
});

t.test('the device states where the board’s clock stands', async (t) => {
  const rig = await met({ shape: { delayMicroseconds: 5000, returnDelayMicroseconds: 200 } });
  await rig.until(rig.device.noOperation());
  const { clock } = rig.device.statistics;
  t.ok(clock && Math.abs(clock.offsetMicroseconds) <= clock.uncertaintyMicroseconds, 'both clocks began together here');
  t.ok(clock && clock.uncertaintyMicroseconds < 2700);
  await ended(rig);
});

/** A log that notes how many bytes were on the line when it was asked to begin. */
class WatchedLog extends MemoryRequestLog {
  readonly begunAt: (number | undefined)[] = [];
  rig: Rig | undefined;

  override begin(request: Parameters<RequestLog['begin']>[0]): void {
    this.begunAt.push(this.rig?.line?.host.bytesWritten);
    super.begin(request);
  }
}

t.test('an effectful request is logged before its first byte, and not sent where it cannot be', async (t) => {
  const log = new WatchedLog();
  const rig = await met({ requestLog: log });
  log.rig = rig;
  const before = rig.line?.host.bytesWritten;
  const scratch = rig.device.scratch(1);
  t.strictSame(log.begunAt, [before]);
  t.equal(log.unended().length, 1);
  await rig.until(scratch);
  t.equal(log.unended().length, 0);
  await rig.until(rig.device.status());
  t.equal(log.begunAt.length, 1, 'pure requests leave no trace');
  log.begin = () => { throw new Error('disk full'); };
  const sent = rig.line?.host.bytesWritten;
  t.match(await errorOf(rig.device.scratch(1)), { code: 'INTERNAL_ERROR', outcome: 'not-applied', message: /disk full/ });
  t.equal(rig.line?.host.bytesWritten, sent);
  t.equal((await rig.until(rig.device.status())).scratchCount, 1);
  await ended(rig);
});

/** A host that dies 50 µs after it has sent a request, and the next one with the same log. */
async function hostDies({ isLost, restarts }: { isLost: boolean; restarts: boolean }) {
  const log = new MemoryRequestLog();
  const rig = await met({ requestLog: log });
  if (isLost && rig.line) rig.line.isDead = true;
  const scratch = errorOf(rig.device.scratch(5));
  await rig.clock.advance(150);
  await rig.device.close();
  const error = await scratch;
  if (restarts) rig.board.restart();
  const next = rig.newHost({ requestLog: log });
  await rig.until(next.whenReady(5000));
  return { rig, next, log, error };
}

t.test('a host that comes back asks the journal what became of its requests', async (t) => {
  const applied = await hostDies({ isLost: false, restarts: false });
  t.match(applied.error, { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  t.equal(applied.next.state, 'needs-reconcile');
  await applied.rig.clock.advance(10_000);
  t.equal(applied.next.state, 'ready');
  t.ok(applied.rig.events.some((event) => event.kind === 'settled' && event.outcome === 'applied'));
  t.equal((await applied.rig.until(applied.next.status())).scratchCount, 5, 'it was not applied a second time');
  t.equal(applied.log.unended().length, 0);
  await applied.next.close();

  const never = await hostDies({ isLost: true, restarts: false });
  await never.rig.clock.advance(10_000);
  t.equal(never.next.state, 'ready');
  t.ok(never.rig.events.some((event) => event.kind === 'settled' && event.outcome === 'not-applied'));
  t.equal((await never.rig.until(never.next.status())).scratchCount, 0, 'asking does not apply it');
  await never.next.close();
});

t.test('a new boot has no journal: the outcome stays unknown until the cells are read, over host restarts too', async (t) => {
  const { rig, next, log } = await hostDies({ isLost: false, restarts: true });
  await rig.clock.advance(1_000_000);
  t.equal(next.state, 'needs-reconcile');
  t.match(await rig.until(errorOf(next.scratch(1))), { code: 'OUTCOME_UNKNOWN', outcome: 'not-applied' });
  await next.close();
  const third = rig.newHost({ requestLog: log });
  await rig.until(third.whenReady(5000));
  t.equal(third.state, 'needs-reconcile');
  await rig.until(third.readCells(oneLine, 1));
  t.equal(third.state, 'needs-reconcile', 'a part of the cells is not enough');
  await rig.until(third.readCells(whole, 1));
  t.equal(third.state, 'ready');
  t.equal(log.unended().length, 0);
  t.equal((await rig.until(third.scratch(1))).count, 1);
  await third.close();
});

t.test('requests that wait behind an unknown outcome are not sent', async (t) => {
  const rig = await met();
  const answers = Array.from({ length: 60 }, () => errorOf(rig.device.scratch(1)));
  await rig.clock.advance(50);
  rig.unplug();
  rig.board.restart();
  rig.plug();
  const errors = await rig.until(Promise.all(answers));
  t.equal(errors.filter((error) => error instanceof MacroError && error.outcome === 'unknown').length, 32);
  t.equal(errors.filter((error) => error instanceof MacroError && error.code === 'OUTCOME_UNKNOWN' && error.outcome === 'not-applied').length, 28);
  await ended(rig);
});

t.test('ESTOP closes the gates within a pulse: it counts, and does what its shorter width does', async (t) => {
  // At this amplitude a cell forms from 316 µs on; a pulse begins with 1 µs of settling.
  const staircase = { first: { amplitudeMillivolts: 3183, widthNanoseconds: 1_000_000, complianceMicroamperes: 50 }, stepMillivolts: 5, lastMillivolts: 3183 };
  const asked = { staircase, targetCells: 10, formedCode: 1000, overFormedCode: 20_000 };
  const overrides = { formingYieldFraction: 0, breakdownSdMillivolts: 0 };
  for (const [microseconds, formed, given] of [[200, 0, 1], [700, 1, 1], [1200, 1, 2]] as const) {
    const rig = await met({ profile: 'lab', pace: 'real', overrides });
    const first = rig.clock.until(new Promise<number>((resolve) => {
      const account = rig.chip.beginOperation.bind(rig.chip);
      rig.chip.beginOperation = () => { account(); resolve(rig.clock.nowMicroseconds()); };
    }));
    const forming = errorOf(rig.device.formCells(everyCell, asked));
    const began = await first;
    await rig.clock.advance(microseconds - (rig.clock.nowMicroseconds() - began));
    const stop = rig.device.emergencyStop();
    t.match(await rig.until(forming), { code: 'DEVICE_STOPPED', outcome: 'applied' });
    await rig.until(stop);
    const states = rig.chip.states.subarray(0, 3);
    t.strictSame([states.filter((state) => state === 1).length, rig.chip.pulses], [formed, given], `${microseconds} µs`);
    const [text] = rig.events.flatMap((event) => (event.kind === 'log' && event.text.startsWith('ESTOP') ? [event.text] : []));
    const driven = Number(/word lines first, (\d+) ns into a pulse of 1000000 ns$/.exec(text ?? '')?.[1]);
    t.ok(driven > 0 && driven < 1_000_000, text);
    const whole = (given - 1) * (1_002_000 + 22_000);
    t.equal(rig.chip.operationNanoseconds, whole + driven + 2000, 'operation time knows the width that was driven');
    t.equal(rig.chip.pulsedNanoseconds[31], (given - 1) * 1_000_000 + driven, 'and so does the time of the line at 3.1 V');
    await ended(rig);
  }
});

t.test('ESTOP before the gates of the first pulse have opened: no pulse was given', async (t) => {
  const rig = await met({ profile: 'lab', pace: 'real', overrides: { settlingNanoseconds: 10_000_000 } });
  const running = errorOf(rig.device.resetCells(everyCell, pulse));
  await rig.clock.advance(4000);
  const stop = rig.device.emergencyStop();
  t.match(await rig.until(running), { code: 'DEVICE_STOPPED', outcome: 'not-applied' });
  await rig.until(stop);
  t.equal(rig.chip.pulses, 0);
  await ended(rig);
});

t.test('a cancelled request that changes the array ends at a safe point and says what it did', async (t) => {
  const rig = await met({ profile: 'lab', pace: 'real' });
  const [first, second] = [new AbortController(), new AbortController()];
  const running = errorOf(rig.device.resetCells(everyCell, pulse, undefined, first.signal));
  await rig.clock.advance(500_000);
  const waiting = errorOf(rig.device.resetCells(everyCell, pulse, undefined, second.signal));
  await rig.clock.advance(500_000);
  second.abort();
  first.abort();
  t.match(await rig.until(waiting), { code: 'CANCELLED', outcome: 'not-applied' });
  t.match(await rig.until(running), { code: 'CANCELLED', outcome: 'applied' });
  t.equal(rig.chip.pulses, 998, 'of 1.002 ms each: the one at hand was the last');
  t.strictSame((await rig.until(rig.device.status())).arrayState, sha256(rig.chip.stateBytes()), 'and the array state says so');
  await ended(rig);
});

t.test('a session that ends does not end what changes the array, and it is applied once', async (t) => {
  const rig = await met({ profile: 'lab', pace: 'real' });
  const reset = errorOf(rig.device.resetCells(everyCell, { ...pulse, widthNanoseconds: 10_000 }));
  await rig.clock.advance(1_000_000);
  rig.unplug();
  await rig.clock.advance(100_000);
  rig.plug();
  t.equal(await rig.until(reset), 'resolved');
  t.equal(rig.chip.pulses, 512 * 512);
  await ended(rig);
});

t.test('an effectful request whose time is over is ended over there, or blocks the next one', async (t) => {
  const rig = await met();
  // Frames are acknowledged, answers do not come: the board is hung.
  const take = rig.board as unknown as { takeMessage(payload: Uint8Array): void };
  take.takeMessage = () => undefined;
  const scratch = errorOf(rig.device.scratch(1));
  await rig.clock.advance(31_000_000);
  t.ok(rig.device.statistics.connections > 1, 'a hung board is dropped and tried again');
  t.match(await rig.until(scratch), { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  Reflect.deleteProperty(take, 'takeMessage');
  await rig.clock.advance(20_000_000);
  t.equal(rig.device.state, 'ready', 'the journal has told that it never came');
  t.ok(rig.events.some((event) => event.kind === 'settled' && event.outcome === 'not-applied'));
  t.ok(rig.events.some((event) => event.kind === 'state' && event.state === 'needs-reconcile'));
  t.equal((await rig.until(rig.device.scratch(1))).count, 1);
  await ended(rig);
});

t.test('a fetch and an upload go on where a drop has stopped them', async (t) => {
  const rig = await met({ baud: 921_600 });
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index * 31);
  const upload = rig.device.uploadBulk(bytes);
  await rig.clock.advance(600_000);
  const sentBefore = rig.line?.host.bytesWritten ?? 0;
  rig.unplug();
  rig.plug();
  const digest = await rig.until(upload);
  const sent = sentBefore + (rig.line?.host.bytesWritten ?? 0);
  t.ok(sent < 1.25 * bytes.length, `${sent} bytes went out`);
  const fetched = rig.device.fetchBulk(digest, bytes.length);
  await rig.clock.advance(600_000);
  const receivedBefore = rig.line?.board.bytesWritten ?? 0;
  rig.unplug();
  rig.plug();
  t.strictSame(await rig.until(fetched), bytes);
  const received = receivedBefore + (rig.line?.board.bytesWritten ?? 0);
  t.ok(received < 1.25 * bytes.length, `${received} bytes came in`);
  await ended(rig);
});

t.test('a slow line is not flooded with repetitions, whatever its port hides', async (t) => {
  for (const [baud, hiddenBytes] of [[921_600, 0], [921_600, 4096], [115_200, 4096], [9600, 4096]] as const) {
    const rig = await met({ baud, shape: { hiddenBytes } });
    const bytes = Uint8Array.from({ length: baud > 10_000 ? 40_000 : 8_000 }, (_, index) => index * 17);
    const digest = await rig.until(rig.device.uploadBulk(bytes));
    t.strictSame(await rig.until(rig.device.fetchBulk(digest, bytes.length)), bytes);
    const { link } = rig.device.statistics;
    // An acknowledgement may stand behind what the board's port hides, longer than any timeout should be: 44 ms at 921 600 baud, 4 s at 9600.
    const limit = hiddenBytes === 0 ? 0 : baud > 10_000 ? 1 : 3;
    t.ok((link?.retransmissions ?? 0) <= limit, `baud ${baud}, ${hiddenBytes} hidden: ${link?.retransmissions} repetitions`);
    const ideal = (2 * bytes.length * 10 * 1e6) / baud;
    t.ok(rig.clock.nowMicroseconds() < 1.35 * ideal + 1e6, `${rig.clock.nowMicroseconds()} µs; the bytes alone take ${ideal}`);
    t.equal(rig.device.statistics.connections, 1);
    await ended(rig);
  }
});
