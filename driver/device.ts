import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import type { Priority } from '../firmware-protocol/link.js';
import { packNibbles } from '../firmware-protocol/numerics/index.js';
import type { Prng } from '../firmware-protocol/prng.js';
import type { WireStatistics } from '../firmware-protocol/wire.js';
import { programCodec, snapshotCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import type {
  CellProgress, DeviceMessage, EarlyStop, HelloAck, MethodName, MethodRequests, MethodResults, MultiplyResult, Program, Region, ResetCellsResult,
  RunResult, Snapshot, Status, TimestepResult,
} from '../proto/message.js';
import { BulkReceiver, chunkBytes, chunkNameBytes, sha256 } from './bulk.js';
import { checkReset, type ResetPulse } from './envelope.js';
import { idText, newRequestId, PendingRequest, type RequestOptions } from './request.js';
import { Session } from './session.js';

export type DeviceState = 'connecting' | 'ready' | 'needs-reconcile' | 'link-down' | 'closed';

export type DeviceEvent =
  | { readonly kind: 'state'; readonly state: DeviceState; readonly reason: string }
  | { readonly kind: 'restarted'; readonly resetReason: number; readonly bootCount: number }
  | { readonly kind: 'noise'; readonly detail: string };

export interface DeviceOptions {
  /** Opens the line. Called again, with backoff, for as long as the device is not closed. */
  readonly connect: () => Promise<ByteChannel>;
  /** How people shall call it. */
  readonly name: string;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly onEvent: (event: DeviceEvent) => void;
  readonly hostVersion?: string;
  readonly leaseEpoch?: number;
  readonly frameTimeMicroseconds?: number;
  /** How long requests wait for a line that went away before they fail. */
  readonly patienceMilliseconds?: number;
}

export interface DeviceStatistics extends WireStatistics {
  readonly connections: number;
  readonly requests: number;
  readonly roundTripMicroseconds: number | undefined;
}

const backoffMilliseconds = [50, 100, 200, 500, 1000, 2000] as const;
const defaultPatienceMilliseconds = 5_000;
const quickMilliseconds = 30_000;
const longMilliseconds = 3_600_000;
const uploadAttempts = 3;
/** Requests on their way at once, where the device allows more. */
const requestLimit = 32;

interface ReadyWaiter {
  resolve(identity: HelloAck): void;
  reject(error: MacroError): void;
}

/**
 * A macro at the other end of a line, as verbs. It reconnects by itself for ever; what was in flight is sent again under its old id to a board
 * that has not restarted, and has the outcome that DESIGN §4 states where it has.
 */
export class Device {
  private current: DeviceState = 'connecting';
  private session: Session | undefined;
  private known: HelloAck | undefined;
  private openedAtMicroseconds = 0;
  private lastError: MacroError | undefined;
  private readonly inFlight = new Map<string, PendingRequest>();
  private readonly waiting: PendingRequest[] = [];
  private readonly waiters = new Set<ReadyWaiter>();
  private readonly receivers = new Map<string, BulkReceiver>();
  private roomWaiters: (() => void)[] = [];
  private retryTimer: Timer | undefined;
  private patienceTimer: Timer | undefined;
  private attempt = 0;
  private connections = 0;
  private requests = 0;
  private lastRoundTripMicroseconds: number | undefined;
  private connecting: Promise<void> = Promise.resolve();
  /** Unknown outcomes so far, and how many of them the cells have been read after. */
  private doubts = 0;
  private doubtsSettled = 0;

  constructor(private readonly options: DeviceOptions) {
    this.connect();
  }

  get state(): DeviceState {
    return this.current;
  }

  /** What HELLO_ACK said, of this session or the last one. */
  get identity(): HelloAck | undefined {
    return this.known;
  }

  get statistics(): DeviceStatistics {
    const wire = this.session?.statistics ?? { link: undefined, discardedFrames: 0, discardedBytes: 0 };
    return { ...wire, connections: this.connections, requests: this.requests, roundTripMicroseconds: this.lastRoundTripMicroseconds };
  }

  /**
   * Resolves when the device answers, at once if it does already.
   * @throws MacroError DEVICE_UNREACHABLE after the time, or why the board was refused
   */
  whenReady(timeoutMilliseconds: number): Promise<HelloAck> {
    if (this.isOpen && this.known !== undefined) return Promise.resolve(this.known);
    if (this.current === 'closed') return Promise.reject(new MacroError('DEVICE_UNREACHABLE', `${this.options.name} is closed`));
    return new Promise((resolve, reject) => {
      const timer = this.options.clock.after(timeoutMilliseconds * 1000, () => {
        this.waiters.delete(waiter);
        const why = this.lastError === undefined ? '' : ` (${this.lastError.detail})`;
        const isRefused = this.lastError?.code === 'PROTOCOL_UNSUPPORTED';
        reject(isRefused ? this.lastError : new MacroError('DEVICE_UNREACHABLE', `${this.options.name} did not answer within ${timeoutMilliseconds} ms${why}`));
      });
      const waiter: ReadyWaiter = {
        resolve: (identity) => { timer.cancel(); resolve(identity); },
        reject: (error) => { timer.cancel(); reject(error); },
      };
      this.waiters.add(waiter);
    });
  }

  async noOperation(timeoutMilliseconds = quickMilliseconds): Promise<{ roundTripMicroseconds: number }> {
    const start = this.options.clock.nowMicroseconds();
    await this.request('noOperation', {}, { timeoutMilliseconds });
    this.lastRoundTripMicroseconds = this.options.clock.nowMicroseconds() - start;
    return { roundTripMicroseconds: this.lastRoundTripMicroseconds };
  }

  status(): Promise<Status> {
    return this.request('getStatus', {}, { timeoutMilliseconds: quickMilliseconds });
  }

  /** Adds to a counter of the device: an effect that touches no cell. */
  scratch(add: number): Promise<{ count: number }> {
    return this.request('scratch', { add }, { timeoutMilliseconds: quickMilliseconds });
  }

  /** Brings an object to the device; one that is there already is not sent again. @returns its SHA-256 */
  async uploadBulk(bytes: Uint8Array): Promise<Uint8Array> {
    const digest = sha256(bytes);
    for (let attempt = 1; ; attempt += 1) {
      const state = await this.request('bulkOffer', { sha256: digest, sizeBytes: bytes.length }, { timeoutMilliseconds: quickMilliseconds });
      if (state.committed) return digest;
      await this.sendChunks(bytes, digest, state.offsetBytes);
      try {
        await this.request('bulkCommit', { sha256: digest }, { timeoutMilliseconds: quickMilliseconds });
        return digest;
      } catch (error) {
        const isIncomplete = error instanceof MacroError && (error.code === 'BULK_UNKNOWN' || error.code === 'BULK_DIGEST_MISMATCH');
        if (!isIncomplete || attempt === uploadAttempts) throw error;
      }
    }
  }

  /** Takes an object from the device. */
  async fetchBulk(digest: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
    const receiver = new BulkReceiver(digest, sizeBytes);
    const name = chunkName(digest);
    this.receivers.set(name, receiver);
    try {
      await this.request('bulkFetch', { sha256: digest, offsetBytes: 0 }, { timeoutMilliseconds: quickMilliseconds });
      if (!receiver.isComplete) throw new MacroError('BULK_DIGEST_MISMATCH', 'an object from the device does not have its digest');
      return receiver.bytes;
    } finally {
      this.receivers.delete(name);
    }
  }

  /** Brings a program to the device and has it checked. @returns its SHA-256, by which runs name it */
  async loadProgram(program: Program): Promise<Uint8Array> {
    const digest = await this.uploadBulk(programCodec.encode(program));
    await this.request('loadProgram', { sha256: digest }, { timeoutMilliseconds: quickMilliseconds });
    return digest;
  }

  /** Gives a simulated chip the pairs of a network. Effectful. */
  async loadSnapshot(snapshot: Snapshot): Promise<{ arrayState: Uint8Array; pairs: number }> {
    const digest = await this.uploadBulk(snapshotCodec.encode(snapshot));
    return this.request('loadSnapshot', { sha256: digest }, { timeoutMilliseconds: longMilliseconds });
  }

  /**
   * Runs a program on the device.
   * @param run frames: T × C × H × W drive codes, one a byte
   * @param onTimestep called once for each timestep, in order, as it is done
   */
  async runNetwork(
    run: { programSha256: Uint8Array; frames: Uint8Array; inferenceNumber: number; earlyStop?: EarlyStop },
    onTimestep: (result: TimestepResult) => void,
    signal?: AbortSignal,
  ): Promise<RunResult> {
    const framesSha256 = await this.uploadBulk(packNibbles(run.frames));
    let next = 0;
    const { programSha256, inferenceNumber, earlyStop } = run;
    return this.request('runNetwork', { programSha256, framesSha256, inferenceNumber, ...(earlyStop && { earlyStop }) }, {
      timeoutMilliseconds: longMilliseconds,
      ...(signal && { signal }),
      onProgress: ({ timestep }) => {
        // After a cut the same run begins again and gives the same results; each is passed on once.
        if (!timestep || timestep.timestep !== next) return;
        next += 1;
        onTimestep(timestep);
      },
    });
  }

  /** Raw binary multiplies of one tile, for boards without neuron firmware. */
  multiply(request: MethodRequests['multiply'], signal?: AbortSignal): Promise<MultiplyResult> {
    return this.request('multiply', request, { timeoutMilliseconds: quickMilliseconds, ...(signal && { signal }) });
  }

  /** Reads cells. @returns cell codes, bit line by bit line; 65535 means "at or above" */
  async readCells(
    region: Region, averages: number, onProgress?: (progress: CellProgress) => void,
  ): Promise<{ codes: Uint16Array; saturatedCells: number; operationNanoseconds: number }> {
    const { doubts } = this;
    const options = { timeoutMilliseconds: longMilliseconds, onProgress: cellProgress(onProgress) };
    const { sha256: digest, sizeBytes, saturatedCells, operationNanoseconds } = await this.request('readCells', { region, averages }, options);
    const bytes = await this.fetchBulk(digest, sizeBytes);
    const codes = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    if (this.isWholeArray(region)) this.doubtsSettled = Math.max(this.doubtsSettled, doubts);
    if (this.current === 'needs-reconcile' && !this.isReconcileDue) this.setState('ready', 'the cells were read');
    return { codes, saturatedCells, operationNanoseconds };
  }

  /** One RESET pulse on every cell whose bit is set. Effectful; refused outside the envelope before a byte is sent. */
  async resetCells(cells: Uint8Array, pulse: ResetPulse, onProgress?: (progress: CellProgress) => void): Promise<ResetCellsResult> {
    checkReset(cells, pulse);
    const cellsSha256 = await this.uploadBulk(cells);
    return this.request('resetCells', { cellsSha256, ...pulse }, { timeoutMilliseconds: longMilliseconds, onProgress: cellProgress(onProgress) });
  }

  /** Bias off, now. The device refuses effectful methods until its controller is restarted. */
  emergencyStop(): void {
    this.session?.emergencyStop();
  }

  /** Ends the connection for good. Requests that are under way fail with their outcome. */
  async close(): Promise<void> {
    if (this.current !== 'closed') {
      this.setState('closed', 'closed here');
      this.retryTimer?.cancel();
      this.patienceTimer?.cancel();
      this.session?.close();
      this.failAll((request) => request.lost('DEVICE_LOST', `${this.options.name} was closed`));
      for (const waiter of this.waiters) waiter.reject(new MacroError('DEVICE_UNREACHABLE', `${this.options.name} was closed`));
      this.waiters.clear();
      this.wakeSenders();
    }
    await this.connecting;
  }

  private get isOpen(): boolean {
    return this.current === 'ready' || this.current === 'needs-reconcile';
  }

  private isWholeArray(region: Region): boolean {
    return region.bitLines === this.known?.geometry.bitLines && region.sourceLines === this.known.geometry.sourceLines;
  }

  private setState(state: DeviceState, reason: string): void {
    if (this.current === state) return;
    this.current = state;
    this.options.onEvent({ kind: 'state', state, reason });
  }

  private connect(): void {
    this.connecting = this.options.connect().then(
      (channel) => this.open(channel),
      (error: unknown) => this.lose(new MacroError('DEVICE_UNREACHABLE', error instanceof Error ? error.message : String(error), { cause: error })),
    );
  }

  private open(channel: ByteChannel): void {
    if (this.current === 'closed') {
      channel.attach({ data: () => undefined, drain: () => undefined, close: () => undefined });
      channel.close();
      return;
    }
    const { clock, prng, hostVersion = '', leaseEpoch = 0, frameTimeMicroseconds = 0 } = this.options;
    this.session = new Session(channel, clock, { number: prng.nextUint32(), leaseEpoch, hostVersion, frameTimeMicroseconds }, {
      opened: (identity) => this.opened(identity),
      message: (message) => this.take(message),
      room: () => this.wakeSenders(),
      ended: (error) => this.lose(error),
      noise: (detail) => this.options.onEvent({ kind: 'noise', detail }),
    });
  }

  private opened(identity: HelloAck): void {
    const before = this.known;
    this.known = identity;
    this.openedAtMicroseconds = this.options.clock.nowMicroseconds();
    this.connections += 1;
    this.attempt = 0;
    this.lastError = undefined;
    this.patienceTimer?.cancel();
    this.patienceTimer = undefined;
    if (before !== undefined && Buffer.compare(before.bootId, identity.bootId) !== 0) this.afterRestart(identity);
    this.setState(this.isReconcileDue ? 'needs-reconcile' : 'ready', 'the board answered');
    for (const waiter of this.waiters) waiter.resolve(identity);
    this.waiters.clear();
    for (const request of this.inFlight.values()) this.transmit(request);
    this.wakeSenders();
    this.startWaiting();
  }

  /** Nothing that was in flight on the old boot will be answered. */
  private afterRestart({ resetReason, bootCount }: HelloAck): void {
    this.options.onEvent({ kind: 'restarted', resetReason, bootCount });
    for (const [id, request] of [...this.inFlight]) {
      if (!request.isSent) continue;
      this.inFlight.delete(id);
      request.fail(request.lost('DEVICE_RESTARTED', `the controller of ${this.options.name} has restarted`));
    }
  }

  private get isReconcileDue(): boolean {
    return this.doubts > this.doubtsSettled;
  }

  /** Nobody knows whether a request was applied: until the cells are read nothing changes them, not even what waits already. */
  private doubt(): void {
    this.doubts += 1;
    if (this.current === 'ready') this.setState('needs-reconcile', 'the outcome of a command is unknown');
    for (const request of this.waiting.filter(({ isEffectful }) => isEffectful)) {
      this.waiting.splice(this.waiting.indexOf(request), 1);
      request.fail(this.unread());
    }
  }

  private unread(): MacroError {
    const detail = `the outcome of an earlier command on ${this.options.name} is unknown and its cells have not been read`;
    return new MacroError('OUTCOME_UNKNOWN', detail, { outcome: 'not-applied' });
  }

  private lose(error: MacroError): void {
    if (this.current === 'closed') return;
    this.session = undefined;
    this.lastError = error;
    if (this.isOpen) this.setState('link-down', error.detail);
    this.wakeSenders();
    this.startPatience();
    const delay = backoffMilliseconds[Math.min(this.attempt, backoffMilliseconds.length - 1)];
    this.attempt += 1;
    this.retryTimer = this.options.clock.after(delay * 1000, () => this.connect());
  }

  /** Requests wait so long for a line that went away. */
  private startPatience(): void {
    const { clock, patienceMilliseconds = defaultPatienceMilliseconds } = this.options;
    this.patienceTimer ??= clock.after(patienceMilliseconds * 1000, () => this.losePatience());
  }

  private losePatience(): void {
    if (this.isOpen) return;
    const why = this.lastError?.detail ?? 'the line is down';
    this.failAll((request) => request.lost('DEVICE_LOST', `${this.options.name} went away: ${why}`));
  }

  private failAll(errorOf: (request: PendingRequest) => MacroError): void {
    const lost = [...this.inFlight.values(), ...this.waiting];
    this.inFlight.clear();
    this.waiting.length = 0;
    for (const request of lost) request.fail(errorOf(request));
  }

  private request<Name extends MethodName>(method: Name, body: MethodRequests[Name], options: RequestOptions): Promise<MethodResults[Name]> {
    const request = new PendingRequest(newRequestId(this.options.prng), method, body, options);
    if (this.current === 'closed') request.fail(new MacroError('DEVICE_LOST', `${this.options.name} is closed`));
    else if (options.signal?.aborted) request.fail(new MacroError('CANCELLED', `${method} was cancelled before it was sent`));
    else if (this.isReconcileDue && request.isEffectful) request.fail(this.unread());
    else this.enqueue(request as unknown as PendingRequest);
    return request.result;
  }

  private enqueue(request: PendingRequest): void {
    this.requests += 1;
    request.onUnknown = () => this.doubt();
    const { signal, timeoutMilliseconds } = request.options;
    if (signal !== undefined) {
      const abort = () => this.cancel(request);
      signal.addEventListener('abort', abort, { once: true });
      request.removeAbort = () => signal.removeEventListener('abort', abort);
    }
    request.timer = this.options.clock.after(timeoutMilliseconds * 1000, () => this.expire(request));
    if (!this.isOpen) this.startPatience();
    this.waiting.push(request);
    this.startWaiting();
  }

  private startWaiting(): void {
    const limit = Math.min(requestLimit, this.known?.limits.requestsInFlight ?? requestLimit);
    while (this.isOpen && this.waiting.length > 0 && this.inFlight.size < limit) {
      const request = this.waiting.shift() as PendingRequest;
      this.inFlight.set(idText(request.id), request);
      this.transmit(request);
    }
  }

  private transmit(request: PendingRequest): void {
    request.isSent = true;
    const linkTime = this.known === undefined ? 0 : this.known.linkTimeMicroseconds + this.options.clock.nowMicroseconds() - this.openedAtMicroseconds;
    const deadlineMicroseconds = linkTime + request.options.timeoutMilliseconds * 1000;
    const { id: requestId, method, body } = request;
    // A commit must not overtake the chunks that it closes.
    const priority: Priority = method === 'multiply' || method === 'bulkCommit' ? 'bulk' : 'control';
    this.session?.send({ request: { requestId, deadlineMicroseconds, leaseEpoch: this.options.leaseEpoch ?? 0, [method]: body } }, priority);
  }

  private cancel(request: PendingRequest): void {
    const id = idText(request.id);
    const waitingAt = this.waiting.indexOf(request);
    if (waitingAt >= 0) this.waiting.splice(waitingAt, 1);
    if (waitingAt >= 0 || !this.isOpen) {
      this.inFlight.delete(id);
      const isUnknown = request.isEffectful && request.isSent;
      request.fail(new MacroError('CANCELLED', `${request.method} was cancelled`, { outcome: isUnknown ? 'unknown' : 'not-applied' }));
      return;
    }
    // The device answers with what became of the request; that answer ends it.
    this.session?.send({ cancel: { requestId: request.id } }, 'control');
  }

  private expire(request: PendingRequest): void {
    const waitingAt = this.waiting.indexOf(request);
    if (waitingAt >= 0) this.waiting.splice(waitingAt, 1);
    this.inFlight.delete(idText(request.id));
    request.fail(request.lost('DEADLINE_EXCEEDED', `${request.method} took longer than ${request.options.timeoutMilliseconds} ms`));
    this.startWaiting();
  }

  private take({ progress, final, bulkChunk }: DeviceMessage): void {
    if (bulkChunk) this.receivers.get(idText(bulkChunk.sha256))?.take(bulkChunk.offsetBytes, bulkChunk.data);
    if (progress) this.inFlight.get(idText(progress.requestId))?.options.onProgress?.(progress);
    if (!final) return;
    const id = idText(final.requestId);
    const request = this.inFlight.get(id);
    this.inFlight.delete(id);
    request?.finish(final);
    this.startWaiting();
  }

  private async sendChunks(bytes: Uint8Array, digest: Uint8Array, fromBytes: number): Promise<void> {
    const name = digest.slice(0, chunkNameBytes);
    let at = fromBytes;
    while (at < bytes.length) {
      const { session } = this;
      if (session === undefined || !this.isOpen) return; // the commit that follows says what is missing
      session.together(() => {
        for (; at < bytes.length && session.hasRoom; at += chunkBytes) {
          session.send({ bulkChunk: { sha256: name, offsetBytes: at, data: bytes.subarray(at, at + chunkBytes) } }, 'bulk');
        }
      });
      if (at < bytes.length && !session.hasRoom) await new Promise<void>((resolve) => this.roomWaiters.push(resolve));
    }
  }

  private wakeSenders(): void {
    const senders = this.roomWaiters;
    this.roomWaiters = [];
    for (const wake of senders) wake();
  }
}

const chunkName = (digest: Uint8Array) => idText(digest.slice(0, chunkNameBytes));

const cellProgress = (onProgress?: (progress: CellProgress) => void) => ({ cells }: { cells?: CellProgress | null }) => {
  if (cells) onProgress?.(cells);
};
