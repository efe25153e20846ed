import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import { protocolVersion, type Frame } from '../firmware-protocol/frame.js';
import {
  bitLineCount, maximumBulkBytes, maximumJournalEntries, maximumPayloadBytes, maximumRequestsInFlight, maximumWindowFrames, minimumWindowFrames,
  sourceLineCount,
} from '../firmware-protocol/limits.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { Wire } from '../firmware-protocol/wire.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec } from '../proto/codec.js';
import type { ErrorCode } from '../proto/error.js';
import type { DeviceMessage, Failure, Final, Hello, MethodName, Request, Status } from '../proto/message.js';
import { methodEffects, methodNames } from '../proto/method.js';
import { BulkStore } from './bulk-store.js';
import type { Chip } from './chip.js';
import { Journal } from './journal.js';
import { Macro } from './macro.js';
import { type Bench, loadProgram, loadSnapshot, multiply, readCells, Refusal, resetCells, runNetwork, type Task } from './methods.js';

export interface BoardOptions {
  readonly chip: Chip;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** Called after each operation that changed the chip, before it is acknowledged; throws where the chip could not be saved. */
  readonly persist?: (chip: Chip) => void;
  /** `real`: an operation takes the time that the model accounts for it. */
  readonly pace?: 'none' | 'real';
  /** Makes the journal of a boot. A simulation gives one that forgets, to show that it would be found out. */
  readonly journal?: () => Journal<Final>;
}

/** A request that is being worked on, or waits for the array. */
interface Job {
  readonly id: string;
  readonly request: Request;
  readonly method: MethodName;
  readonly task: Task;
  hasStarted: boolean;
  startedAtNanoseconds: number;
}

const creditBytes = 60_000;
const firmwareVersion = 'sim 0.1.0';
/** What each method is called in HELLO_ACK: the name of its message. */
const capabilities = methodNames.map((name) => name[0].toUpperCase() + name.slice(1));
const fetchChunkBytes = 584;
const outcomeNumbers = { 'not-applied': 0, applied: 1, unknown: 2 } as const;

/** Methods that change nothing and put bias on the array all the same. */
const arrayReads: ReadonlySet<MethodName> = new Set<MethodName>(['runNetwork', 'multiply', 'readCells']);

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * The controller of a simulated macro: what a real board does with the bytes of a line. One host at a time; a new HELLO ends the session
 * before. Answers of effectful requests stay in a journal until the controller restarts.
 */
export class Board {
  private readonly macro: Macro;
  private wire: Wire | undefined;
  private session: number | undefined;
  private bootId: Uint8Array;
  private bootCount = 1;
  private resetReason = 0;
  private startedAtMicroseconds: number;
  private leaseEpoch = 0;
  private isStopped = false;
  /** What Scratch has added up to since the start of the controller. */
  scratchCount = 0;
  private journal: Journal<Final>;
  private bulk: BulkStore;
  private bench: Bench;
  private jobs: Job[] = [];
  private timer: Timer | undefined;
  private state: { epoch: number; digest: Uint8Array } | undefined;

  constructor(private readonly options: BoardOptions) {
    this.macro = new Macro(options.chip);
    this.journal = this.newJournal();
    this.bootId = this.newBootId();
    this.startedAtMicroseconds = options.clock.nowMicroseconds();
    this.bulk = new BulkStore(maximumBulkBytes, options.sha256);
    this.bench = this.newBench();
  }

  /** Takes over a line. The one before is closed: a board has one connector. */
  attach(channel: ByteChannel): void {
    this.wire?.close();
    this.endSession();
    const wire = new Wire(channel, this.options.clock, {
      frame: (frame) => this.takeFrame(frame),
      message: (payload) => this.takeMessage(payload),
      room: () => undefined,
      down: () => {
        if (this.wire !== wire) return;
        this.wire = undefined;
        this.endSession();
      },
      discarded: () => undefined,
    });
    this.wire = wire;
  }

  /** What the reset button does: everything but the chip is forgotten. */
  restart(): void {
    this.jobs = [];
    this.timer?.cancel();
    this.timer = undefined;
    this.session = undefined;
    this.bootId = this.newBootId();
    this.bootCount += 1;
    this.resetReason = 1;
    this.startedAtMicroseconds = this.options.clock.nowMicroseconds();
    this.isStopped = false;
    this.scratchCount = 0;
    this.journal = this.newJournal();
    this.bulk = new BulkStore(maximumBulkBytes, this.options.sha256);
    this.bench = this.newBench();
  }

  /** Gives the line back. */
  close(): void {
    this.timer?.cancel();
    this.jobs = [];
    this.wire?.close();
    this.wire = undefined;
  }

  private newBench(): Bench {
    const { chip, persist } = this.options;
    return { chip, macro: this.macro, bulk: this.bulk, programs: new Map(), arrayState: () => this.arrayState(), persist: () => persist?.(chip) };
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

  private arrayState(): Uint8Array {
    const { chip, sha256 } = this.options;
    if (this.state?.epoch !== chip.arrayEpoch) this.state = { epoch: chip.arrayEpoch, digest: sha256(chip.stateBytes()) };
    return this.state.digest;
  }

  private get linkTimeMicroseconds(): number {
    return this.options.clock.nowMicroseconds() - this.startedAtMicroseconds;
  }

  private takeFrame(frame: Frame): void {
    if (frame.type === 'HELLO') this.takeHello(frame);
    else if (frame.type === 'ESTOP') this.stop();
    else if (frame.type === 'DATA') this.refuseSession(frame.session, 'the board does not know this session');
  }

  private refuseSession(session: number, why: string): void {
    this.wire?.sendFrame('RESET', session, new TextEncoder().encode(why));
  }

  private takeHello(frame: Frame): void {
    const hello = helloCodec.decode(frame.payload);
    if (!hello.ok) return;
    const { protocolMinimum, protocolMaximum } = hello.value;
    if (protocolMinimum > protocolVersion || protocolMaximum < protocolVersion) {
      this.refuseSession(frame.session, `PROTOCOL_UNSUPPORTED the board speaks protocol ${protocolVersion}, the host ${protocolMinimum} to ${protocolMaximum}`);
      return;
    }
    // A HELLO that is repeated because its answer was late must not cut the session that it opened.
    if (this.session !== frame.session) this.openSession(frame.session, hello.value);
    this.wire?.sendFrame('HELLO_ACK', frame.session, this.helloAck());
  }

  private openSession(session: number, hello: Hello): void {
    this.endSession();
    this.session = session;
    this.leaseEpoch = Math.max(this.leaseEpoch, hello.leaseEpoch);
    const windowFrames = Math.max(minimumWindowFrames, Math.min(maximumWindowFrames, hello.windowFrames));
    this.wire?.open({ session, windowFrames, receiveBytes: creditBytes, peerCreditBytes: hello.creditBytes });
  }

  /** Pure work of a session that is over is dropped: the host asks again. What changes the array is finished and journaled. */
  private endSession(): void {
    this.session = undefined;
    this.jobs = this.jobs.filter(({ method }) => methodEffects[method] === 'effectful');
  }

  private helloAck(): Uint8Array {
    const { chip } = this.options;
    const { profile } = chip;
    return helloAckCodec.encode({
      protocol: protocolVersion,
      chipId: chip.chipId,
      bootId: this.bootId,
      bootCount: this.bootCount,
      resetReason: this.resetReason,
      firmwareVersion,
      windowFrames: maximumWindowFrames,
      creditBytes,
      capabilities,
      geometry: { bitLines: bitLineCount, sourceLines: sourceLineCount, cellUnitNanosiemens: profile.cellUnitNanosiemens },
      limits: {
        messageBytes: maximumPayloadBytes, bulkBytes: maximumBulkBytes, programs: 4, journalEntries: maximumJournalEntries,
        requestsInFlight: maximumRequestsInFlight,
      },
      arrayState: this.arrayState(),
      converter: { bits: profile.converterBits, signedCodes: false, differential: false, ranges: [...this.macro.ranges] },
      leaseEpoch: this.leaseEpoch,
      profile: profile.name,
      linkTimeMicroseconds: this.linkTimeMicroseconds,
    });
  }

  /** ESTOP: bias off, and no method may energise the array until the controller restarts. What runs ends here. */
  private stop(): void {
    this.isStopped = true;
    const jobs = this.jobs;
    this.jobs = [];
    for (const job of jobs) this.fail(job.request, 'DEVICE_STOPPED', 'ESTOP came while the request was waiting or running');
  }

  private takeMessage(payload: Uint8Array): void {
    const message = hostMessageCodec.decode(payload);
    if (!message.ok) return;
    const { request, cancel, bulkChunk } = message.value;
    if (bulkChunk) this.bulk.take(bulkChunk.sha256, bulkChunk.offsetBytes, bulkChunk.data);
    if (request) this.takeRequest(request);
    if (cancel) this.cancel(hex(cancel.requestId));
  }

  private takeRequest(request: Request): void {
    const id = hex(request.requestId);
    const method = methodNames.find((name) => request[name]);
    if (request.requestId.length !== 16) this.fail(request, 'REQUEST_INVALID', `requestId has ${request.requestId.length} bytes; it has 16`);
    else if (method === undefined) this.fail(request, 'METHOD_UNSUPPORTED', 'the request names no method that this board knows');
    else if (this.journal.find(id) !== undefined) this.send({ final: { ...(this.journal.find(id) as Final), repeatedFromJournal: true } });
    else if (this.jobs.some((job) => job.id === id)) return; // it is under way; its answer will come
    else this.admit(request, method, id);
  }

  private admit(request: Request, method: MethodName, id: string): void {
    const energises = methodEffects[method] === 'effectful' || arrayReads.has(method);
    if (request.leaseEpoch < this.leaseEpoch) {
      this.fail(request, 'LEASE_STALE', `lease epoch ${request.leaseEpoch}; ${this.leaseEpoch} is in force`);
    } else if (this.isStopped && energises) {
      this.fail(request, 'DEVICE_STOPPED', 'ESTOP is in force');
    } else if (this.jobs.length >= maximumRequestsInFlight) {
      this.fail(request, 'DEVICE_BUSY', `${this.jobs.length} requests are under way; the limit is ${maximumRequestsInFlight}`);
    } else if (!this.answerAtOnce(request, method)) {
      this.jobs.push({ id, request, method, task: this.taskOf(request, method), hasStarted: false, startedAtNanoseconds: this.macro.operationNanoseconds });
      if (this.jobs.length === 1) this.work();
    }
  }

  /** Methods that do not wait for the array. */
  private answerAtOnce(request: Request, method: MethodName): boolean {
    if (method === 'noOperation') this.finish(request, { noOperation: { linkTimeMicroseconds: this.linkTimeMicroseconds } });
    else if (method === 'getStatus') this.finish(request, { getStatus: this.status() });
    else if (method === 'scratch') this.finish(request, { scratch: { count: this.addScratch(request.scratch?.add ?? 0) } });
    else if (method === 'bulkOffer') this.offerBulk(request);
    else if (method === 'bulkCommit') this.commitBulk(request);
    else if (method === 'bulkFetch') this.fetchBulk(request);
    else return false;
    return true;
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
    };
  }

  private addScratch(add: number): number {
    this.scratchCount = (this.scratchCount + add) >>> 0;
    return this.scratchCount;
  }

  private offerBulk(request: Request): void {
    const { sha256, sizeBytes } = request.bulkOffer as NonNullable<Request['bulkOffer']>;
    if (sha256.length !== 32) {
      this.fail(request, 'REQUEST_INVALID', `sha256 has ${sha256.length} bytes; it has 32`);
      return;
    }
    const state = this.bulk.offer(sha256, sizeBytes);
    if (state === undefined) this.fail(request, 'BULK_TOO_LARGE', `an object of ${sizeBytes} bytes; the limit is ${maximumBulkBytes}`);
    else this.finish(request, { bulkOffer: { sha256, ...state } });
  }

  private commitBulk(request: Request): void {
    const { sha256 } = request.bulkCommit as NonNullable<Request['bulkCommit']>;
    const state = this.bulk.commit(sha256);
    if (state === 'mismatch') this.fail(request, 'BULK_DIGEST_MISMATCH', 'the bytes do not have the digest of the offer');
    else if (typeof state === 'string') this.fail(request, 'BULK_UNKNOWN', `the object is ${state}`);
    else this.finish(request, { bulkCommit: { sha256, ...state } });
  }

  private fetchBulk(request: Request): void {
    const { sha256, offsetBytes } = request.bulkFetch as NonNullable<Request['bulkFetch']>;
    const bytes = this.bulk.get(sha256);
    if (bytes === undefined) {
      this.fail(request, 'BULK_UNKNOWN', 'the object is not here');
      return;
    }
    const name = sha256.slice(0, 8);
    this.wire?.together(() => {
      for (let at = offsetBytes; at < bytes.length; at += fetchChunkBytes) {
        this.wire?.send(deviceMessageCodec.encode({ bulkChunk: { sha256: name, offsetBytes: at, data: bytes.subarray(at, at + fetchChunkBytes) } }), 'bulk');
      }
      // Behind its chunks, so that the answer means that they have arrived.
      const bulkFetch = { sha256, offsetBytes: bytes.length, sizeBytes: bytes.length, committed: true };
      this.wire?.send(deviceMessageCodec.encode({ final: { requestId: request.requestId, repeatedFromJournal: false, bulkFetch } }), 'bulk');
    });
  }

  private taskOf(request: Request, method: MethodName): Task {
    const { bench } = this;
    if (method === 'loadProgram' && request.loadProgram) return loadProgram(bench, request.loadProgram);
    if (method === 'loadSnapshot' && request.loadSnapshot) return loadSnapshot(bench, request.loadSnapshot);
    if (method === 'runNetwork' && request.runNetwork) return runNetwork(bench, request.runNetwork);
    if (method === 'multiply' && request.multiply) return multiply(bench, request.multiply);
    if (method === 'readCells' && request.readCells) return readCells(bench, request.readCells);
    if (method === 'resetCells' && request.resetCells) return resetCells(bench, request.resetCells);
    throw new RangeError(`no task for ${method}`);
  }

  /** Does one step of the first job, then lets the line have its turn. */
  private work(): void {
    this.timer = undefined;
    const job = this.jobs[0];
    if (job === undefined) return;
    const isLate = job.request.deadlineMicroseconds > 0 && this.linkTimeMicroseconds > job.request.deadlineMicroseconds;
    if (isLate && !(job.hasStarted && methodEffects[job.method] === 'effectful')) {
      this.jobs.shift();
      this.fail(job.request, 'DEADLINE_EXCEEDED', `the deadline of ${job.method} has passed`);
    } else this.step(job);
    if (this.jobs.length > 0) this.timer = this.options.clock.after(this.delayMicroseconds(job), () => this.work());
  }

  private delayMicroseconds(job: Job): number {
    if (this.options.pace !== 'real') return 0;
    const spent = this.macro.operationNanoseconds - job.startedAtNanoseconds;
    job.startedAtNanoseconds = this.macro.operationNanoseconds;
    return spent / 1000;
  }

  private step(job: Job): void {
    const { request, method } = job;
    job.hasStarted = true;
    const step = this.nextStep(job);
    if (step === undefined) return;
    if (step.done !== true) {
      this.send({ progress: { requestId: request.requestId, ...step.value } });
      return;
    }
    this.jobs.shift();
    if (step.value instanceof Refusal) this.fail(request, step.value.code, step.value.detail);
    else this.finish(request, { [method]: step.value });
  }

  /** A chip that cannot be saved has been changed all the same: nobody may believe that nothing happened, nor that all is well. */
  private nextStep(job: Job): ReturnType<Task['next']> | undefined {
    try {
      return job.task.next();
    } catch (error) {
      this.jobs.shift();
      const { requestId } = job.request;
      const detail = (error instanceof Error ? error.message : String(error)).slice(0, 300);
      const final: Final = { requestId, repeatedFromJournal: false, failure: { code: 'INTERNAL_ERROR', detail, outcome: outcomeNumbers.unknown } };
      if (methodEffects[job.method] === 'effectful') this.journal.record(job.id, final);
      this.send({ final });
      return undefined;
    }
  }

  private cancel(id: string): void {
    const index = this.jobs.findIndex((job) => job.id === id);
    if (index < 0) return; // it is done; its answer has been sent
    const [job] = this.jobs.splice(index, 1);
    this.fail(job.request, 'CANCELLED', `${job.method} was cancelled`);
  }

  private fail(request: Request, code: ErrorCode, detail: string): void {
    const failure: Failure = { code, detail: detail.slice(0, 300), outcome: outcomeNumbers['not-applied'] };
    this.send({ final: { requestId: request.requestId, repeatedFromJournal: false, failure } });
  }

  private finish(request: Request, result: Partial<Final>): void {
    const final: Final = { requestId: request.requestId, repeatedFromJournal: false, ...result };
    const method = methodNames.find((name) => request[name]);
    if (method !== undefined && methodEffects[method] === 'effectful') this.journal.record(hex(request.requestId), final);
    this.send({ final });
  }

  private send(message: DeviceMessage): void {
    if (this.session !== undefined) this.wire?.send(deviceMessageCodec.encode(message), 'control');
  }
}
