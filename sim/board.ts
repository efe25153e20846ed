import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Frame } from '../firmware-protocol/frame.js';
import { maximumBulkBytes, maximumJournalEntries, maximumRequestsInFlight, maximumWindowFrames, minimumWindowFrames } from '../firmware-protocol/limits.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { commonVersion, versionMismatch } from '../firmware-protocol/version.js';
import { type SpareSource, Wire } from '../firmware-protocol/wire.js';
import { deviceMessageCodec, helloCodec, hostMessageCodec } from '../proto/codec.js';
import type { ErrorCode } from '../proto/error.js';
import { type DeviceMessage, type Failure, type Final, type Hello, type MethodName, type Request, resetReasons, type Status } from '../proto/message.js';
import { alwaysThere, capabilityOf, energises, methodEffects, methodNames, protocolOf } from '../proto/method.js';
import type { Outcome } from '../proto/outcome.js';
import { calculate } from './arithmetic.js';
import { commitBulk, fetchBulk, offerBulk } from './bulk-methods.js';
import { BulkSender } from './bulk-sender.js';
import { BulkStore } from './bulk-store.js';
import type { Chip } from './chip.js';
import { DeadMan } from './dead-man.js';
import { currentFirmware, type Firmware } from './firmware.js';
import { creditBytes, encodeHelloAck } from './hello-ack.js';
import { Journal } from './journal.js';
import { LogBook } from './log-book.js';
import { Macro } from './macro.js';
import { taskOf } from './methods.js';
import { type Bench, Refusal } from './task.js';
import { type SampleBody, TelemetryStreams } from './telemetry.js';
import { WorkQueue } from './work-queue.js';

export interface BoardOptions {
  readonly chip: Chip;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** Called after each step that did something to the chip, before anybody hears of it; throws where that could not be noted. */
  readonly note?: (chip: Chip) => void;
  /** Called after each operation that changed the chip, before it is acknowledged; throws where the chip could not be saved. */
  readonly persist?: (chip: Chip) => void;
  /** `real`: an operation takes the time that the model accounts for it. */
  readonly pace?: 'none' | 'real';
  /** What it runs; by default what this house speaks today. */
  readonly firmware?: Firmware;
  /** Time of the longest frame on its line, where the line has a speed. */
  readonly frameTimeMicroseconds?: number;
  /** kernel.as.ts compiled, for speed. */
  readonly kernel?: WebAssembly.Module;
  /** Makes the journal of a boot. A simulation gives one that forgets, to show that it would be found out. */
  readonly journal?: () => Journal<Final>;
}

/** A session as the handshake agreed on it. */
interface OpenSession {
  readonly number: number;
  readonly protocol: number;
}

const failureTextCharacters = 300;
const restartDelayMicroseconds = 10_000;
/** A host that keeps on sending to a session that is gone is told so this often. */
const refusalIntervalMicroseconds = 100_000;
const outcomeNumbers: Readonly<Record<Outcome, number>> = { 'not-applied': 0, applied: 1, unknown: 2 };
/** Refusals that say nothing of the request: sent again under its id it may be taken. */
const passingRefusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['LEASE_STALE', 'DEVICE_BUSY']);
const requestIdBytes = 16;

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * The controller of a simulated macro: what a real board does with the bytes of a line. One host at a time; a new HELLO ends the session
 * before. Answers of effectful requests stay in a journal until the controller restarts.
 */
export class Board {
  private readonly macro: Macro;
  private readonly firmware: Firmware;
  private readonly spare: SpareSource;
  private wire: Wire | undefined;
  private session: OpenSession | undefined;
  private heardBeforeMicroseconds = 0;
  private readonly deadMan: DeadMan;
  private restartTimer: Timer | undefined;
  private refusedAtMicroseconds = Number.NEGATIVE_INFINITY;
  private bootId: Uint8Array;
  private bootCount = 1;
  private resetReason = 0;
  private startedAtMicroseconds: number;
  private leaseEpoch = 0;
  private isStopped = false;
  /** What Scratch has added up to since the start of the controller. */
  scratchCount = 0;
  private journal: Journal<Final>;
  private readonly bulkSender = new BulkSender();
  private readonly telemetry: TelemetryStreams;
  private log = new LogBook();
  private bench: Bench;
  private queue: WorkQueue;
  private state: { epoch: number; digest: Uint8Array } | undefined;

  constructor(private readonly options: BoardOptions) {
    this.macro = new Macro(options.chip, options.kernel);
    this.journal = this.newJournal();
    this.firmware = options.firmware ?? currentFirmware;
    this.bootId = this.newBootId();
    this.startedAtMicroseconds = options.clock.nowMicroseconds();
    this.telemetry = new TelemetryStreams(options.clock, () => this.linkTimeMicroseconds, () => this.wire?.wake());
    this.spare = { message: () => this.telemetry.message(), frame: () => this.spareFrame() };
    this.bench = this.newBench();
    this.queue = this.newQueue();
    const watched = { heardAtMicroseconds: () => this.heardAtMicroseconds, energises: () => this.queue.energises };
    this.deadMan = new DeadMan(options.clock, watched, (detail) => this.hostIsSilent(detail));
    this.say('info', 'the controller has started: power-on');
  }

  /** Takes over a line. The one before is closed: a board has one connector. */
  attach(channel: ByteChannel): void {
    this.endSession();
    this.wire?.close();
    const wire = new Wire(channel, this.options.clock, {
      frame: (frame) => this.takeFrame(frame),
      message: (payload) => this.takeMessage(payload),
      room: () => this.pumpBulk(),
      down: () => {
        if (this.wire !== wire) return;
        this.endSession();
        this.wire = undefined;
      },
      discarded: () => undefined,
      // A host that was away for long finds the board at its connector all the same.
      dead: () => this.endSession(),
    });
    this.wire = wire;
  }

  /** What the reset button does: everything but the chip is forgotten. */
  restart(reason: (typeof resetReasons)[number] = 'requested'): void {
    this.endSession();
    this.halt();
    this.bootId = this.newBootId();
    this.bootCount += 1;
    this.resetReason = resetReasons.indexOf(reason);
    this.startedAtMicroseconds = this.options.clock.nowMicroseconds();
    this.isStopped = false;
    this.scratchCount = 0;
    this.journal = this.newJournal();
    this.log = new LogBook();
    this.bench = this.newBench();
    this.queue = this.newQueue();
    this.say('info', `the controller has started: ${reason}`);
  }

  /** Gives the line back. */
  close(): void {
    this.endSession();
    this.halt();
    this.wire?.close();
    this.wire = undefined;
  }

  private halt(): void {
    this.queue.clear();
    this.deadMan.stop();
    this.restartTimer?.cancel();
    this.restartTimer = undefined;
  }

  private newBench(): Bench {
    const { chip, note, persist, sha256 } = this.options;
    const bulk = new BulkStore(maximumBulkBytes, sha256);
    const settled = (save?: (chip: Chip) => void) => () => {
      if (save === undefined) return;
      this.macro.settleDrives();
      save(chip);
    };
    return { chip, macro: this.macro, bulk, programs: new Map(), arrayState: () => this.arrayState(), note: settled(note), persist: settled(persist) };
  }

  private newQueue(): WorkQueue {
    const { clock, pace = 'none' } = this.options;
    return new WorkQueue(this.bench, { clock, pace, linkTimeMicroseconds: () => this.linkTimeMicroseconds }, {
      progress: ({ request }, body) => {
        this.send({ progress: { requestId: request.requestId, ...body } });
        if (body.timestep) this.telemetry.sample('timestep', { timestep: body.timestep });
      },
      finished: ({ request }, result) => this.finish(request, result),
      failed: ({ request }, code, detail, outcome) => this.fail(request, code, detail, outcome),
    });
  }

  private newJournal(): Journal<Final> {
    return this.options.journal?.() ?? new Journal(maximumJournalEntries);
  }

  private newBootId(): Uint8Array {
    const bootId = new Uint8Array(8);
    const view = new DataView(bootId.buffer);
    view.setUint32(0, this.options.prng.nextUint32());
    view.setUint32(4, this.options.prng.nextUint32());
    return bootId;
  }

  /** The digest is kept for an epoch, except while an operation of that epoch goes on. */
  private arrayState(): Uint8Array {
    const { chip, sha256 } = this.options;
    if (this.queue.hasEffectful) {
      this.state = undefined;
      return sha256(chip.stateBytes());
    }
    if (this.state?.epoch !== chip.arrayEpoch) this.state = { epoch: chip.arrayEpoch, digest: sha256(chip.stateBytes()) };
    return this.state.digest;
  }

  private get linkTimeMicroseconds(): number {
    return this.options.clock.nowMicroseconds() - this.startedAtMicroseconds;
  }

  private say(level: 'info' | 'warning' | 'error', text: string): void {
    this.log.append(level, text, this.linkTimeMicroseconds);
    this.wire?.wake();
  }

  private spareFrame(): ReturnType<SpareSource['frame']> {
    const record = this.log.next(this.session?.protocol ?? 1);
    if (record !== undefined) return { type: 'LOG', payload: record };
    const sample = this.telemetry.datagram();
    return sample && { type: 'DATAGRAM', payload: sample };
  }

  private takeFrame(frame: Frame): void {
    if (frame.type === 'HELLO') this.takeHello(frame);
    else if (frame.type === 'ESTOP') this.takeEmergencyStop(frame.session);
    else if (frame.type === 'DATA') this.refuseUnknownSession(frame.session);
  }

  private refuseUnknownSession(session: number): void {
    const now = this.options.clock.nowMicroseconds();
    if (now - this.refusedAtMicroseconds < refusalIntervalMicroseconds) return;
    this.refusedAtMicroseconds = now;
    this.refuseSession(session, 'DEVICE_LOST the board does not know this session');
  }

  private refuseSession(session: number, why: string): void {
    this.wire?.sendFrame('RESET', session, new TextEncoder().encode(why));
  }

  private takeHello(frame: Frame): void {
    const hello = helloCodec.decode(frame.payload);
    if (!hello.ok) return;
    const host = { minimum: hello.value.protocolMinimum, maximum: hello.value.protocolMaximum };
    const protocol = commonVersion(this.firmware.protocol, host);
    if (protocol === undefined) {
      this.refuseSession(frame.session, `PROTOCOL_UNSUPPORTED ${versionMismatch(this.firmware.protocol, host)}`);
      return;
    }
    // A HELLO that is repeated because its answer was late must not cut the session that it opened.
    if (this.session?.number !== frame.session) this.openSession(frame.session, protocol, hello.value);
    this.wire?.sendFrame('HELLO_ACK', frame.session, this.helloAck(protocol));
    this.wire?.wake();
  }

  private openSession(number: number, protocol: number, hello: Hello): void {
    this.endSession();
    this.session = { number, protocol };
    this.leaseEpoch = Math.max(this.leaseEpoch, hello.leaseEpoch);
    const windowFrames = Math.max(minimumWindowFrames, Math.min(maximumWindowFrames, hello.windowFrames));
    const { frameTimeMicroseconds = 0 } = this.options;
    const link = { session: number, windowFrames, receiveBytes: creditBytes, peerCreditBytes: hello.creditBytes, frameTimeMicroseconds };
    this.wire?.open(link, this.spare);
    this.deadMan.begin(protocol, hello.deadManMilliseconds);
  }

  /** Pure work of a session that is over is dropped: the host asks again. What changes the array is finished and journaled. */
  private endSession(): void {
    if (this.session !== undefined) this.heardBeforeMicroseconds = this.heardAtMicroseconds;
    this.session = undefined;
    this.wire?.abandon();
    this.bulkSender.clear();
    this.telemetry.clear();
    this.queue.dropPure();
  }

  private helloAck(protocol: number): Uint8Array {
    const { bootId, bootCount, resetReason, leaseEpoch, linkTimeMicroseconds } = this;
    const now = { protocol, bootId, bootCount, resetReason, leaseEpoch, linkTimeMicroseconds };
    const circumstances = { ...now, arrayState: this.arrayState(), deadManMilliseconds: this.deadMan.milliseconds };
    return encodeHelloAck(this.firmware, this.options.chip, this.macro, circumstances);
  }

  private get heardAtMicroseconds(): number {
    return this.session === undefined || this.wire === undefined ? this.heardBeforeMicroseconds : this.wire.heardAtMicroseconds;
  }

  /** Bias off: what energises the array ends. The session stays open. */
  private hostIsSilent(detail: string): void {
    this.say('warning', `dead-man: ${detail}; bias is off`);
    this.queue.endEnergising('HOST_SILENT', detail);
  }

  /** ESTOP: bias off, and no method may energise the array until the controller restarts. What runs ends here. */
  private takeEmergencyStop(session: number): void {
    if (this.firmware.protocol.maximum > 1) this.wire?.sendFrame('ESTOP', session, new Uint8Array(0));
    const wasStopped = this.isStopped;
    this.isStopped = true;
    const cut = this.queue.stop('DEVICE_STOPPED', 'ESTOP came while the request was waiting or running');
    const last = cut === undefined ? '' : `; word lines first, ${cut.drivenNanoseconds} ns into a pulse of ${cut.widthNanoseconds} ns`;
    if (!wasStopped) this.say('warning', `ESTOP: bias is off until the controller restarts${last}`);
  }

  private takeMessage(payload: Uint8Array): void {
    const message = hostMessageCodec.decode(payload);
    if (!message.ok) return;
    const { request, cancel, bulkChunk } = message.value;
    if (bulkChunk) this.bench.bulk.take(bulkChunk.sha256, bulkChunk.offsetBytes, bulkChunk.data);
    if (request) this.takeRequest(request);
    if (cancel) this.cancel(hex(cancel.requestId));
  }

  private takeRequest(request: Request): void {
    const id = hex(request.requestId);
    const method = methodNames.find((name) => request[name]);
    const answer = this.journal.find(id);
    if (request.requestId.length !== requestIdBytes) {
      this.send({ final: { requestId: request.requestId, repeatedFromJournal: false, failure: malformedId(request.requestId.length) } });
    } else if (answer !== undefined) this.send({ final: { ...answer, repeatedFromJournal: true } });
    else if (method === undefined || !this.offers(method)) {
      this.fail(request, 'METHOD_UNSUPPORTED', `the request names no method that this board has${method === undefined ? '' : `; ${method} is none`}`);
    }
    else if (!this.queue.has(id) && !this.bulkSender.has(id)) this.admit(request, method, id); // what is under way will be answered
  }

  private offers(method: MethodName): boolean {
    if (alwaysThere.has(method)) return true;
    return this.firmware.capabilities.includes(capabilityOf(method)) && protocolOf(method) <= (this.session?.protocol ?? 1);
  }

  private admit(request: Request, method: MethodName, id: string): void {
    const { deadlineMicroseconds, leaseEpoch } = request;
    if (leaseEpoch < this.leaseEpoch) {
      this.fail(request, 'LEASE_STALE', `lease epoch ${leaseEpoch}; ${this.leaseEpoch} is in force`);
    } else if (deadlineMicroseconds > 0 && this.linkTimeMicroseconds > deadlineMicroseconds) {
      this.fail(request, 'DEADLINE_EXCEEDED', `the deadline of ${method} has passed`);
    } else if (this.isStopped && energises(method)) {
      this.fail(request, 'DEVICE_STOPPED', 'ESTOP is in force');
    } else if (this.queue.length >= maximumRequestsInFlight) {
      this.fail(request, 'DEVICE_BUSY', `${this.queue.length} requests are under way; the limit is ${maximumRequestsInFlight}`);
    } else if (!this.answerAtOnce(request, method)) {
      this.send({ accepted: { requestId: request.requestId } });
      this.queue.add({ id, request, method, task: taskOf(this.bench, request, method) });
      this.deadMan.watch();
    }
  }

  /** Methods that do not wait for the array. */
  private answerAtOnce(request: Request, method: MethodName): boolean {
    if (method === 'noOperation') this.finish(request, { noOperation: { linkTimeMicroseconds: this.linkTimeMicroseconds } });
    else if (method === 'getStatus') this.finish(request, { getStatus: this.status() });
    else if (method === 'scratch') this.finish(request, { scratch: { count: this.addScratch(request.scratch?.add ?? 0) } });
    else if (method === 'bulkOffer') this.answer(request, method, offerBulk(this.bench.bulk, bodyOf(request, method)));
    else if (method === 'bulkCommit') this.answer(request, method, commitBulk(this.bench.bulk, bodyOf(request, method)));
    else if (method === 'bulkFetch') this.fetch(request);
    else if (method === 'subscribe') this.subscribe(request);
    else if (method === 'arithmetic') this.answer(request, method, calculate(request.arithmetic ?? {}));
    else if (method === 'restart') this.restartSoon(request);
    else return false;
    return true;
  }

  private answer(request: Request, method: MethodName, result: object): void {
    if (result instanceof Refusal) this.fail(request, result.code, result.detail);
    else this.finish(request, { [method]: result });
  }

  private status(): Status {
    const { chip } = this.options;
    return {
      bootId: this.bootId,
      arrayState: this.arrayState(),
      arrayEpoch: chip.arrayEpoch,
      operationNanoseconds: chip.operationNanoseconds,
      scratchCount: this.scratchCount,
      pulses: chip.pulses,
      stopped: this.isStopped,
      leaseEpoch: this.leaseEpoch,
      ...(this.firmware.protocol.maximum > 2 && { temperatureCelsius: chip.profile.temperatureCelsius }),
    };
  }

  private addScratch(add: number): number {
    this.scratchCount = (this.scratchCount + add) >>> 0;
    return this.scratchCount;
  }

  private fetch(request: Request): void {
    const { sha256, offsetBytes } = bodyOf(request, 'bulkFetch');
    const bytes = fetchBulk(this.bench.bulk, { sha256, offsetBytes });
    if (bytes instanceof Refusal) {
      this.fail(request, bytes.code, bytes.detail);
      return;
    }
    this.bulkSender.add({ id: hex(request.requestId), requestId: request.requestId, sha256, bytes, offsetBytes });
    this.pumpBulk();
  }

  private pumpBulk(): void {
    const { wire } = this;
    wire?.together(() => this.bulkSender.pump(wire));
  }

  private subscribe(request: Request): void {
    const subscription = bodyOf(request, 'subscribe');
    const { stream, policy } = subscription;
    const problem = this.telemetry.subscribe(subscription, (name) => this.sampleOf(name));
    if (problem !== undefined) this.fail(request, problem.code, problem.detail);
    else this.finish(request, { subscribe: { stream, policy } });
  }

  private sampleOf(stream: string): SampleBody {
    if (stream === 'status') return { status: this.status() };
    const { link, discarded, lineFramesSent, lineFramesReceived } = (this.wire as Wire).statistics;
    return {
      link: {
        framesSent: lineFramesSent,
        framesReceived: lineFramesReceived,
        retransmissions: link?.retransmissions ?? 0,
        duplicates: link?.duplicates ?? 0,
        discardedChecksum: discarded.crc,
        discardedCobs: discarded.cobs,
        discardedLength: discarded['too-long'] + discarded['too-short'],
        discardedKind: discarded.version + discarded.type,
        roundTripMicroseconds: Math.round(link?.roundTripMicroseconds ?? 0),
        queuedBytes: Object.values(link?.queued ?? {}).reduce((sum, { bytes }) => sum + bytes, 0),
      },
    };
  }

  /** The answer has to leave before the controller does. */
  private restartSoon(request: Request): void {
    if (this.queue.hasEffectful) {
      this.fail(request, 'DEVICE_BUSY', 'a request that changes the array is under way');
      return;
    }
    this.finish(request, { restart: {} });
    this.restartTimer ??= this.options.clock.after(restartDelayMicroseconds, () => this.restart());
  }

  private cancel(id: string): void {
    if (this.bulkSender.cancel(id)) this.send({ final: { requestId: fromHex(id), repeatedFromJournal: false, failure: cancelledFetch } });
    else this.queue.cancel(id); // what is done has been answered
  }

  private fail(request: Request, code: ErrorCode, detail: string, outcome: Outcome = 'not-applied'): void {
    const failure: Failure = { code, detail: detail.slice(0, failureTextCharacters), outcome: outcomeNumbers[outcome] };
    this.conclude(request, { failure }, !passingRefusals.has(code));
  }

  private finish(request: Request, result: Partial<Final>): void {
    this.conclude(request, result, true);
  }

  private conclude(request: Request, result: Partial<Final>, isLasting: boolean): void {
    const final: Final = { requestId: request.requestId.slice(), repeatedFromJournal: false, ...result };
    const method = methodNames.find((name) => request[name]);
    if (isLasting && method !== undefined && methodEffects[method] === 'effectful') this.journal.record(hex(request.requestId), final);
    this.send({ final });
  }

  private send(message: DeviceMessage): void {
    if (this.session !== undefined) this.wire?.send(deviceMessageCodec.encode(message), 'control');
  }
}

/** The body of a request, which is there: the method was found by it. */
const bodyOf = <Name extends MethodName>(request: Request, method: Name) => request[method] as NonNullable<Request[Name]>;
const fromHex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const cancelledFetch: Failure = { code: 'CANCELLED', detail: 'bulkFetch was cancelled', outcome: outcomeNumbers['not-applied'] };
const malformedId = (bytes: number): Failure =>
  ({ code: 'REQUEST_INVALID', detail: `requestId has ${bytes} bytes; it has ${requestIdBytes}`, outcome: outcomeNumbers['not-applied'] });
