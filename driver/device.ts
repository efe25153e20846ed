import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Clock, Timer } from '../firmware-protocol/clock.js';
import { type EarlyStopRule, packNibbles, stopRules } from '../firmware-protocol/numerics/index.js';
import type { Prng } from '../firmware-protocol/prng.js';
import type { WireStatistics } from '../firmware-protocol/wire.js';
import { programCodec, snapshotCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import type {
  Arithmetic, ArithmeticResult, CellProgress, CurrentRange, DeviceMessage, EarlyStop, Envelope, HelloAck, MethodName, MethodRequests, MethodResults,
  MultiplyResult, Program, Pulse, Region, ResetCellsResult, RunResult, Snapshot, Status, Stream, Telemetry, Temperature, TimestepResult,
} from '../proto/message.js';
import { policies, streams } from '../proto/message.js';
import type { Outcome } from '../proto/outcome.js';
import type { FormRequest, FormResult, ProgramCellsRequest, ProgramResult, SetResult, SweepRequest, SweepResult } from './array-request.js';
import { BulkTransfers } from './bulk.js';
import type { ClockEstimate } from './clock-model.js';
import { Connection } from './connection.js';
import {
  checkCells, checkForming, checkProgram, checkPulse, checkReset, checkSweep, checkTemperature, type ResetPulse, strictestEnvelope,
} from './envelope.js';
import { Reconciliation } from './reconciliation.js';
import { idText, type RequestOptions } from './request.js';
import { MemoryRequestLog, type RequestLog } from './request-log.js';
import { RequestQueue } from './request-queue.js';
import type { BoardLog } from './session.js';
import { Subscription, type SubscriptionOptions } from './subscription.js';
import { decodeSweep } from './sweep.js';
import { decodeWear, type WearCounts } from './wear.js';

const stopMessage = ({ rule, confidence, thresholdsQ24 }: EarlyStopRule): EarlyStop => ({
  thresholdQ24: thresholdsQ24[0], confidence, rule: stopRules.indexOf(rule), thresholdsQ24: thresholdsQ24.length === 1 ? [] : [...thresholdsQ24],
});

export type DeviceState = 'connecting' | 'ready' | 'needs-reconcile' | 'link-down' | 'closed';

export type DeviceEvent =
  | { readonly kind: 'state'; readonly state: DeviceState; readonly reason: string }
  | { readonly kind: 'restarted'; readonly resetReason: number; readonly bootCount: number }
  /** An outcome that was unknown is settled: the board's journal told, or the cells were read. */
  | { readonly kind: 'settled'; readonly method: MethodName; readonly outcome: Outcome }
  | { readonly kind: 'log'; readonly level: BoardLog['level']; readonly text: string; readonly droppedRecords: number }
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
  /** Where effectful requests leave a trace before their first byte; by default only in memory. */
  readonly requestLog?: RequestLog;
  /** How long the board keeps bias on without a frame of ours; by default as the board likes. */
  readonly deadManMilliseconds?: number;
}

export interface DeviceStatistics extends WireStatistics {
  readonly connections: number;
  readonly requests: number;
  readonly roundTripMicroseconds: number | undefined;
  /** What the session speaks. */
  readonly protocol: number | undefined;
  readonly clock: ClockEstimate | undefined;
  readonly logRecordsDropped: number;
}

const defaultPatienceMilliseconds = 5_000;
const quickMilliseconds = 30_000;
const longMilliseconds = 3_600_000;
const restartMilliseconds = 10_000;

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
  private reason = '';
  private lastError: MacroError | undefined;
  private readonly connection: Connection;
  private readonly reconciliation: Reconciliation;
  private readonly queue: RequestQueue;
  private readonly bulk: BulkTransfers;
  private readonly subscriptions = new Map<Stream, Subscription>();
  /** Programs that were loaded, and the boot of the board that has each. */
  private readonly programs = new Map<string, string>();
  private readonly waiters = new Set<ReadyWaiter>();
  private patienceTimer: Timer | undefined;
  private lastRoundTripMicroseconds: number | undefined;
  private logRecordsDropped = 0;
  private toldCelsius: number | undefined;

  constructor(private readonly options: DeviceOptions) {
    const { clock, prng, connect, name, hostVersion = '', leaseEpoch = 0, frameTimeMicroseconds = 0, deadManMilliseconds = 0 } = options;
    const { requestLog = new MemoryRequestLog() } = options;
    this.reconciliation = new Reconciliation(requestLog, {
      changed: () => this.settleState('an outcome is unknown', 'every outcome is known'),
      resolved: ({ method }, outcome) => options.onEvent({ kind: 'settled', method, outcome }),
    });
    this.connection = new Connection({ connect, clock, prng, hostVersion, leaseEpoch, frameTimeMicroseconds, deadManMilliseconds }, {
      opened: (identity, hasRestarted) => this.opened(identity, hasRestarted),
      lost: (error) => this.lost(error),
      message: (message) => this.take(message),
      telemetry: (sample) => this.takeSample(sample),
      room: () => this.bulk.wake(),
      log: (log) => this.takeLog(log),
      noise: (detail) => options.onEvent({ kind: 'noise', detail }),
      isBusy: () => this.queue.isBusy,
    });
    this.queue = new RequestQueue(name, clock, prng, this.connection, this.reconciliation);
    this.bulk = new BulkTransfers(this.connection, () => clock.nowMicroseconds(), (method, body, request) => this.request(method, body, request));
  }

  /** How people call it: its address, where it was opened by one. */
  get name(): string {
    return this.options.name;
  }

  get state(): DeviceState {
    return this.current;
  }

  /** What HELLO_ACK said, of this session or the last one. */
  get identity(): HelloAck | undefined {
    return this.connection.identity;
  }

  /** Effectful requests of this run so far, by what became of them. */
  get effects(): Readonly<Record<Outcome, number>> {
    return this.reconciliation.effects;
  }

  get statistics(): DeviceStatistics {
    return {
      ...this.connection.statistics,
      connections: this.connection.sessions,
      requests: this.queue.count,
      roundTripMicroseconds: this.lastRoundTripMicroseconds,
      protocol: this.connection.identity?.protocol,
      clock: this.connection.clockEstimate,
      logRecordsDropped: this.logRecordsDropped,
    };
  }

  /**
   * Resolves when the device answers, at once if it does already.
   * @throws MacroError DEVICE_UNREACHABLE after the time, or why the board was refused
   */
  whenReady(timeoutMilliseconds: number): Promise<HelloAck> {
    const { identity } = this.connection;
    if (this.isOpen && identity !== undefined) return Promise.resolve(identity);
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
    const { sessions } = this.connection;
    const { linkTimeMicroseconds } = await this.request('noOperation', {}, { timeoutMilliseconds });
    if (sessions === this.connection.sessions) this.connection.clockSample(start, linkTimeMicroseconds);
    this.lastRoundTripMicroseconds = this.options.clock.nowMicroseconds() - start;
    return { roundTripMicroseconds: this.lastRoundTripMicroseconds };
  }

  async status(): Promise<Status> {
    const status = await this.request('getStatus', {}, { timeoutMilliseconds: quickMilliseconds });
    this.hearTemperature(status);
    return status;
  }

  /** Of the chip, as the board has last told it: when the session opened, with its status, or in a sample of it; undefined where it measures none. */
  get temperatureCelsius(): number | undefined {
    return this.toldCelsius;
  }

  /** Adds to a counter of the device: an effect that touches no cell. */
  scratch(add: number): Promise<{ count: number }> {
    return this.request('scratch', { add }, { timeoutMilliseconds: quickMilliseconds });
  }

  /** Brings an object to the device; one that is there already is not sent again. @returns its SHA-256 */
  uploadBulk(bytes: Uint8Array): Promise<Uint8Array> {
    return this.bulk.upload(bytes);
  }

  /** Takes an object from the device; after a drop it goes on where it stopped. */
  fetchBulk(digest: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
    return this.bulk.fetch(digest, sizeBytes);
  }

  /** Brings a program to the device and has it checked. @returns its SHA-256, by which runs name it */
  async loadProgram(program: Program): Promise<Uint8Array> {
    const digest = await this.uploadBulk(programCodec.encode(program));
    await this.request('loadProgram', { sha256: digest }, { timeoutMilliseconds: quickMilliseconds });
    this.programs.set(idText(digest), this.boot);
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
    run: { programSha256: Uint8Array; frames: Uint8Array; inferenceNumber: number; earlyStop?: EarlyStopRule },
    onTimestep: (result: TimestepResult) => void,
    signal?: AbortSignal,
  ): Promise<RunResult> {
    const framesSha256 = await this.uploadBulk(packNibbles(run.frames));
    let next = 0;
    const { programSha256, inferenceNumber, earlyStop } = run;
    // While frames travel no request is under way that a restart would end, and the board would only say that it knows no such program.
    const boot = this.programs.get(idText(programSha256)) ?? this.boot;
    if (boot !== this.boot) throw new MacroError('DEVICE_RESTARTED', `the controller of ${this.options.name} has restarted, and with it went the program`);
    return this.request('runNetwork', { programSha256, framesSha256, inferenceNumber, ...(earlyStop && { earlyStop: stopMessage(earlyStop) }) }, {
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
    const unknown = this.reconciliation.ids();
    const options = { timeoutMilliseconds: longMilliseconds, onProgress: cellProgress(onProgress) };
    const { sha256: digest, sizeBytes, saturatedCells, operationNanoseconds } = await this.request('readCells', { region, averages }, options);
    const bytes = await this.fetchBulk(digest, sizeBytes);
    const codes = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    if (this.isWholeArray(region)) this.reconciliation.cellsRead(unknown);
    return { codes, saturatedCells, operationNanoseconds };
  }

  /**
   * One RESET pulse on every cell whose bit is set. Effectful; refused outside the envelope before a byte is sent.
   * @param signal ends it at its next safe point; the error says whether pulses were given
   */
  async resetCells(
    cells: Uint8Array, pulse: ResetPulse, onProgress?: (progress: CellProgress) => void, signal?: AbortSignal,
  ): Promise<ResetCellsResult> {
    const cellsSha256 = await this.uploadChecked(cells, (envelope) => checkReset(cells, pulse, envelope));
    return this.request('resetCells', { cellsSha256, ...pulse }, cellOptions(onProgress, signal));
  }

  /**
   * Forms cells by a staircase until as many as are asked for are formed; none that was formed, SET or RESET before is pulsed. Effectful; refused
   * outside the envelope before a byte is sent.
   * @param signal as of `resetCells`
   */
  async formCells(
    cells: Uint8Array, asked: FormRequest, onProgress?: (progress: CellProgress) => void, signal?: AbortSignal,
  ): Promise<FormResult> {
    const cellsSha256 = await this.uploadChecked(cells, (envelope) => checkForming(cells, asked.staircase, envelope));
    const answer = await this.request('formCells', { cellsSha256, ...asked }, cellOptions(onProgress, signal));
    // Decoded messages hold what the sender left out in their prototype, where a spread does not look.
    const { pulses, formedCells, overFormedCells, lastMillivolts, arrayState, operationNanoseconds, energyFemtojoules } = answer;
    const outcomes = await this.fetchMade('the map of their outcomes', answer.outcomesSha256, answer.sizeBytes);
    return { outcomes, pulses, formedCells, overFormedCells, lastMillivolts, arrayState, operationNanoseconds, energyFemtojoules };
  }

  /** One SET pulse on every cell whose bit is set; the device refuses a cell that never formed. Effectful; refused outside the envelope. */
  async setCells(cells: Uint8Array, pulse: Pulse, onProgress?: (progress: CellProgress) => void, signal?: AbortSignal): Promise<SetResult> {
    const cellsSha256 = await this.uploadChecked(cells, (envelope) => {
      checkCells(cells);
      checkPulse('set', pulse, envelope);
    });
    return this.request('setCells', { cellsSha256, pulse }, cellOptions(onProgress, signal));
  }

  /**
   * Program-and-verify on the device: RESET where a cell reads above its window, SET where below, each only where its staircase is given. Effectful;
   * refused outside the envelope before a byte is sent.
   * @param windows two u16 a cell, lowest and highest code, little-endian; 65535 and 0 where it is not selected
   * @param signal as of `resetCells`
   */
  async programCells(
    windows: Uint8Array, asked: ProgramCellsRequest, onProgress?: (progress: CellProgress) => void, signal?: AbortSignal,
  ): Promise<ProgramResult> {
    const windowsSha256 = await this.uploadChecked(windows, (envelope) => checkProgram(windows, asked, asked.pulsesPerCell, envelope));
    const answer = await this.request('programCells', { windowsSha256, ...asked }, cellOptions(onProgress, signal));
    const { resetPulses, setPulses, insideCells, stubbornCells, arrayState, operationNanoseconds, energyFemtojoules } = answer;
    const outcomes = await this.fetchMade('the map of their outcomes', answer.outcomesSha256, answer.sizeBytes);
    return { outcomes, resetPulses, setPulses, insideCells, stubbornCells, arrayState, operationNanoseconds, energyFemtojoules };
  }

  /**
   * Steps the voltage across one cell up and down, and converts its current at each step. Effectful: steps that can move a cell count as pulses; refused
   * outside the envelope before a byte is sent.
   * @param signal as of `resetCells`
   */
  async sweepCell(asked: SweepRequest, onProgress?: (progress: CellProgress) => void, signal?: AbortSignal): Promise<SweepResult> {
    const check = (envelope: Envelope) => checkSweep(asked, envelope);
    this.check(check);
    // A board that may be stricter has answered by then, as it has where an object goes ahead.
    await this.noOperation();
    this.check(check);
    const answer = await this.request('sweepCell', asked, cellOptions(onProgress, signal));
    const { ranges, formingPulses, setPulses, resetPulses, finalCode, arrayState, operationNanoseconds, energyFemtojoules } = answer;
    const points = decodeSweep(await this.fetchMade('the points of the sweep', answer.pointsSha256, answer.sizeBytes), ranges);
    return { points, ranges: ranges.map(plainRange), formingPulses, setPulses, resetPulses, finalCode, arrayState, operationNanoseconds, energyFemtojoules };
  }

  /** Every pulse that each cell has ever had, and how long each bit line was driven at which voltage, as the board counts them. */
  async readWear(): Promise<WearCounts> {
    const answer = await this.request('readWear', {}, { timeoutMilliseconds: quickMilliseconds });
    const bytes = await this.fetchBulk(answer.sha256, answer.sizeBytes);
    const geometry = this.connection.identity?.geometry;
    if (geometry === undefined) throw new MacroError('DEVICE_LOST', `${this.options.name} has not said how large its array is`);
    return decodeWear(bytes, answer, geometry);
  }

  /**
   * Bias off, now, past everything that waits; where there is no line, first thing when there is one. The device refuses what energises the array until
   * its controller is restarted.
   * @returns whether the board has answered; one of protocol 1 never does
   */
  emergencyStop(): Promise<boolean> {
    return this.connection.emergencyStop();
  }

  /**
   * Starts the controller anew, which ends an ESTOP. Everything but the chip is forgotten over there.
   * @throws MacroError DEVICE_BUSY while a request that changes the array is under way
   */
  async restartController(): Promise<HelloAck> {
    const before = this.connection.identity?.bootId;
    await this.request('restart', {}, { timeoutMilliseconds: quickMilliseconds });
    const deadline = this.options.clock.nowMicroseconds() + restartMilliseconds * 1000;
    this.connection.drop(new MacroError('DEVICE_LOST', 'the controller restarts'));
    for (;;) {
      const left = (deadline - this.options.clock.nowMicroseconds()) / 1000;
      if (left <= 0) throw new MacroError('DEVICE_UNREACHABLE', `${this.options.name} has not restarted within ${restartMilliseconds} ms`);
      const identity = await this.whenReady(left);
      if (before === undefined || Buffer.compare(identity.bootId, before) !== 0) return identity;
      // It was quicker to answer than to restart.
      this.connection.drop(new MacroError('DEVICE_LOST', 'the controller has not restarted yet'));
    }
  }

  /** The board's own integer arithmetic on numbers of ours: shows that it rounds as NUMERICS.md says. Touches no cell. */
  arithmetic(operation: Arithmetic): Promise<Partial<ArithmeticResult>> {
    return this.request('arithmetic', operation, { timeoutMilliseconds: quickMilliseconds });
  }

  /** Subscribes to a stream of telemetry; a subscription to the same stream ends. It lasts over reconnects, until it or the device is closed. */
  async subscribe(options: SubscriptionOptions, onSample: (sample: Telemetry) => void): Promise<Subscription> {
    await this.subscriptions.get(options.stream)?.close();
    const subscription = new Subscription(options, onSample, (ended) => this.unsubscribe(ended));
    this.subscriptions.set(options.stream, subscription);
    try {
      await this.request('subscribe', subscription.begin(), { timeoutMilliseconds: quickMilliseconds });
      return subscription;
    } catch (error) {
      if (this.subscriptions.get(options.stream) === subscription) this.subscriptions.delete(options.stream);
      throw error;
    }
  }

  /** Ends the connection for good. Requests that are under way fail with their outcome. */
  async close(): Promise<void> {
    if (this.current !== 'closed') {
      this.setState('closed', 'closed here');
      this.patienceTimer?.cancel();
      this.queue.failAll('DEVICE_LOST', `${this.options.name} was closed`);
      for (const waiter of this.waiters) waiter.reject(new MacroError('DEVICE_UNREACHABLE', `${this.options.name} was closed`));
      this.waiters.clear();
    }
    const closed = this.connection.close();
    this.bulk.wake();
    await closed;
  }

  /** What this host and the board of this session, or of the last one, let through to a cell: the stricter of both. */
  get envelope(): Envelope {
    return strictestEnvelope(this.connection.identity?.envelope);
  }

  /** Brings an object that asks for pulses to the device. Checked before, and again when a board that may be stricter has answered. */
  private async uploadChecked(bytes: Uint8Array, check: (envelope: Envelope) => void): Promise<Uint8Array> {
    this.check(check);
    const digest = await this.uploadBulk(bytes);
    this.check(check);
    return digest;
  }

  /** What is asked for, and whether pulses may be given at all. The board judges both for itself: what it has told of its chip may have changed since. */
  private check(check: (envelope: Envelope) => void): void {
    const { envelope } = this;
    check(envelope);
    checkTemperature(this.toldCelsius, envelope);
  }

  private hearTemperature({ temperatureCelsius }: Temperature): void {
    this.toldCelsius = temperatureCelsius ?? undefined;
  }

  /** What a request has made on the board. The pulses were given, whatever becomes of it. */
  private async fetchMade(what: string, digest: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
    try {
      return await this.fetchBulk(digest, sizeBytes);
    } catch (error) {
      const { code, detail } = MacroError.from(error);
      throw new MacroError(code, `the pulses were given, ${what} did not come: ${detail}`, { outcome: 'applied', cause: error });
    }
  }

  private get boot(): string {
    return idText(this.connection.identity?.bootId ?? new Uint8Array(0));
  }

  private get isOpen(): boolean {
    return this.current === 'ready' || this.current === 'needs-reconcile';
  }

  private isWholeArray(region: Region): boolean {
    const geometry = this.connection.identity?.geometry;
    return region.bitLines === geometry?.bitLines && region.sourceLines === geometry.sourceLines;
  }

  /** Each attempt on a line may fail for another reason: the newest is what people want to read. */
  private setState(state: DeviceState, reason: string): void {
    if (this.current === state && this.reason === reason) return;
    this.current = state;
    this.reason = reason;
    this.options.onEvent({ kind: 'state', state, reason });
  }

  /** Of an open line: ready, or first to be reconciled. */
  private settleState(whyUncertain: string, whyReady: string): void {
    if (this.current === 'closed' || !this.connection.isOpen) return;
    if (this.reconciliation.isDue) this.setState('needs-reconcile', whyUncertain);
    else this.setState('ready', whyReady);
  }

  private opened(identity: HelloAck, hasRestarted: boolean): void {
    this.lastError = undefined;
    this.patienceTimer?.cancel();
    this.patienceTimer = undefined;
    this.hearTemperature(identity);
    const { resetReason, bootCount } = identity;
    if (hasRestarted) this.options.onEvent({ kind: 'restarted', resetReason, bootCount });
    this.queue.opened(hasRestarted);
    this.settleState('the board answered, and an outcome is unknown', 'the board answered');
    for (const waiter of this.waiters) waiter.resolve(identity);
    this.waiters.clear();
    for (const subscription of this.subscriptions.values()) this.renew(subscription);
    this.bulk.wake();
  }

  private lost(error: MacroError): void {
    this.lastError = error;
    this.setState(this.isOpen ? 'link-down' : this.current, error.detail);
    this.bulk.wake();
    this.startPatience();
  }

  /** Requests wait so long for a line that went away. */
  private startPatience(): void {
    const { clock, patienceMilliseconds = defaultPatienceMilliseconds } = this.options;
    this.patienceTimer ??= clock.after(patienceMilliseconds * 1000, () => this.losePatience());
  }

  private losePatience(): void {
    if (this.isOpen) return;
    this.queue.failAll('DEVICE_LOST', `${this.options.name} went away: ${this.lastError?.detail ?? 'the line is down'}`);
    this.patienceTimer = undefined;
  }

  private request<Name extends MethodName>(
    method: Name, body: MethodRequests[Name], options: RequestOptions<MethodRequests[Name]>,
  ): Promise<MethodResults[Name]> {
    if (this.current === 'closed') return Promise.reject(new MacroError('DEVICE_LOST', `${this.options.name} is closed`));
    if (!this.isOpen) this.startPatience();
    return this.queue.submit(method, body, options);
  }

  private take({ progress, final, bulkChunk, telemetry }: DeviceMessage): void {
    if (bulkChunk) this.bulk.take(bulkChunk);
    if (progress) this.queue.progress(progress);
    if (telemetry) this.takeSample(telemetry);
    if (final) this.queue.final(final);
  }

  private takeSample(sample: Telemetry): void {
    if (sample.status) this.hearTemperature(sample.status);
    const stream = streams[sample.stream];
    if (stream !== undefined) this.subscriptions.get(stream)?.take(sample);
  }

  private takeLog({ level, text, record }: BoardLog): void {
    this.logRecordsDropped = record?.dropped ?? this.logRecordsDropped;
    this.options.onEvent({ kind: 'log', level, text, droppedRecords: this.logRecordsDropped });
  }

  private renew(subscription: Subscription): void {
    this.request('subscribe', subscription.begin(), { timeoutMilliseconds: quickMilliseconds }).catch((error: unknown) => {
      this.options.onEvent({ kind: 'noise', detail: `telemetry was not renewed: ${MacroError.from(error).message}` });
    });
  }

  private async unsubscribe(subscription: Subscription): Promise<void> {
    const { stream } = subscription.options;
    if (this.subscriptions.get(stream) !== subscription) return;
    const off = { stream: streams.indexOf(stream), policy: policies.indexOf('off'), decimation: 0, intervalMilliseconds: 0 };
    if (this.isOpen) await this.request('subscribe', off, { timeoutMilliseconds: quickMilliseconds });
    if (this.subscriptions.get(stream) === subscription) this.subscriptions.delete(stream);
  }
}

const plainRange = ({ fullScaleNanoamperes, resolutionPicoamperes }: CurrentRange): CurrentRange => ({ fullScaleNanoamperes, resolutionPicoamperes });

/** Of a request that pulses cells. */
const cellOptions = (onProgress?: (progress: CellProgress) => void, signal?: AbortSignal) =>
  ({ timeoutMilliseconds: longMilliseconds, onProgress: cellProgress(onProgress), ...(signal && { signal }) });

const cellProgress = (onProgress?: (progress: CellProgress) => void) => ({ cells }: { cells?: CellProgress | null }) => {
  if (cells) onProgress?.(cells);
};
