import type { Clock } from '../firmware-protocol/clock.js';
import type { Priority } from '../firmware-protocol/link.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { hostMessageCodec } from '../proto/codec.js';
import { MacroError } from '../proto/error.js';
import type { Final, HelloAck, HostMessage, MethodName, MethodRequests, MethodResults, Progress } from '../proto/message.js';
import { alwaysThere, capabilityOf, protocolOf } from '../proto/method.js';
import type { ClockEstimate } from './clock-model.js';
import type { Reconciliation } from './reconciliation.js';
import { idText, newRequestId, PendingRequest, type RequestOptions } from './request.js';

/** What requests are sent over. */
export interface RequestLine {
  readonly isOpen: boolean;
  readonly identity: HelloAck | undefined;
  readonly leaseEpoch: number;
  readonly clockEstimate: ClockEstimate | undefined;
  send(message: HostMessage, priority: Priority): void;
}

/** Requests on their way at once, where the device allows more. */
const requestLimit = 32;
/** How long a device has to say what became of an effectful request whose time is over. */
const lastWordMicroseconds = 2_000_000;

/** A commit must not overtake the chunks that it closes; multiplies come in crowds. */
const bulkMethods: ReadonlySet<MethodName> = new Set<MethodName>(['multiply', 'bulkCommit']);

/** Requests from when they are made until they have an outcome: those that wait for their turn and those that the device has. */
export class RequestQueue {
  private readonly inFlight = new Map<string, PendingRequest>();
  private readonly waiting: PendingRequest[] = [];
  private made = 0;

  constructor(
    private readonly name: string, private readonly clock: Clock, private readonly prng: Prng, private readonly line: RequestLine,
    private readonly reconciliation: Reconciliation,
  ) {}

  /** Requests that were ever made. */
  get count(): number {
    return this.made;
  }

  get isBusy(): boolean {
    return this.inFlight.size > 0;
  }

  submit<Name extends MethodName>(
    method: Name, body: MethodRequests[Name], options: RequestOptions<MethodRequests[Name]>,
  ): Promise<MethodResults[Name]> {
    const expiresAt = this.clock.nowMicroseconds() + options.timeoutMilliseconds * 1000;
    const request = new PendingRequest(newRequestId(this.prng), method, body, options, expiresAt);
    if (options.signal?.aborted) request.fail(new MacroError('CANCELLED', `${method} was cancelled before it was sent`));
    else this.enqueue(request as unknown as PendingRequest);
    return request.result;
  }

  /** The line is there again. Nothing that was in flight on an earlier boot will be answered; on the same boot its journal decides. */
  opened(hasRestarted: boolean): void {
    for (const request of [...this.inFlight.values()]) {
      if (hasRestarted) this.give(request, request.lost('DEVICE_RESTARTED', `the controller of ${this.name} has restarted`));
      else if (request.isCancelled && !request.isEffectful) this.give(request, new MacroError('CANCELLED', `${request.method} was cancelled`));
      else this.transmit(request);
    }
    const { identity, leaseEpoch } = this.line;
    for (const question of this.reconciliation.questions(identity?.bootId ?? new Uint8Array(0), leaseEpoch)) this.line.send(question, 'control');
    this.startWaiting();
  }

  /** Ends every request for want of an answer. */
  failAll(code: 'DEVICE_LOST', detail: string): void {
    for (const request of this.waiting.splice(0)) request.fail(request.lost(code, detail));
    for (const request of [...this.inFlight.values()]) this.give(request, request.lost(code, detail));
  }

  progress(progress: Progress): void {
    this.inFlight.get(idText(progress.requestId))?.options.onProgress?.(progress);
  }

  final(final: Final): void {
    const id = idText(final.requestId);
    const request = this.inFlight.get(id);
    if (request === undefined) {
      this.reconciliation.take(final);
      return;
    }
    this.inFlight.delete(id);
    const outcome = request.finish(final);
    if (request.isEffectful) this.reconciliation.end(request.id, outcome);
    this.startWaiting();
  }

  /** Starts what waits for its turn. */
  startWaiting(): void {
    const limit = Math.min(requestLimit, this.line.identity?.limits.requestsInFlight || requestLimit);
    while (this.line.isOpen && this.waiting.length > 0 && this.inFlight.size < limit) {
      const request = this.waiting.shift() as PendingRequest;
      const refusal = this.refusalOf(request);
      if (refusal !== undefined) {
        request.fail(refusal);
        continue;
      }
      this.inFlight.set(idText(request.id), request);
      this.transmit(request);
    }
  }

  private enqueue(request: PendingRequest): void {
    this.made += 1;
    const { signal, timeoutMilliseconds } = request.options;
    if (signal !== undefined) {
      const abort = () => this.cancel(request);
      signal.addEventListener('abort', abort, { once: true });
      request.removeAbort = () => signal.removeEventListener('abort', abort);
    }
    request.timer = this.clock.after(timeoutMilliseconds * 1000, () => this.expire(request));
    this.waiting.push(request);
    this.startWaiting();
  }

  /** Why a request may not be sent to the board that is there now. */
  private refusalOf(request: PendingRequest): MacroError | undefined {
    const { method } = request;
    if (request.isEffectful && this.reconciliation.isDue) {
      const detail = `the outcome of an earlier command on ${this.name} is unknown and its cells have not been read`;
      return new MacroError('OUTCOME_UNKNOWN', detail, { outcome: 'not-applied' });
    }
    const { identity } = this.line;
    if (identity === undefined || alwaysThere.has(method)) return undefined;
    const capability = capabilityOf(method);
    if (!identity.capabilities.includes(capability)) {
      return new MacroError('METHOD_UNSUPPORTED', `${this.name} (firmware ${identity.firmwareVersion || 'unnamed'}) does not have ${capability}`);
    }
    if (identity.protocol >= protocolOf(method)) return undefined;
    const detail = `${capability} needs protocol ${protocolOf(method)}; the session with ${this.name} speaks ${identity.protocol}`;
    return new MacroError('METHOD_UNSUPPORTED', detail);
  }

  private transmit(request: PendingRequest): void {
    const { id: requestId, method, options } = request;
    const body = (request.isSent ? options.renewed?.() : undefined) ?? request.body;
    const message = { request: { requestId, deadlineMicroseconds: this.deadlineOf(request), leaseEpoch: this.line.leaseEpoch, [method]: body } };
    if (!request.isSent && request.isEffectful && !this.makeDurable(request, message)) return;
    request.isSent = true;
    this.line.send(message, bulkMethods.has(method) ? 'bulk' : 'control');
    if (request.isCancelled || request.isExpired) this.line.send({ cancel: { requestId } }, 'control');
  }

  /** A deadline in the board's link time, late by what our knowledge of its clock may be wrong. */
  private deadlineOf({ expiresAtMicroseconds, options }: PendingRequest): number {
    const clock = this.line.clockEstimate;
    if (clock === undefined || options.activeAtMicroseconds !== undefined) return 0;
    return Math.max(1, Math.ceil(expiresAtMicroseconds + clock.offsetMicroseconds + clock.uncertaintyMicroseconds));
  }

  private makeDurable(request: PendingRequest, message: HostMessage): boolean {
    try {
      const bootId = this.line.identity?.bootId ?? new Uint8Array(0);
      this.reconciliation.begin({ id: request.id, method: request.method, bootId, request: hostMessageCodec.encode(message) });
      return true;
    } catch (error) {
      this.inFlight.delete(idText(request.id));
      const why = error instanceof Error ? error.message : String(error);
      request.fail(new MacroError('INTERNAL_ERROR', `${request.method} was not sent, because it could not be logged: ${why}`, { cause: error }));
      return false;
    }
  }

  private cancel(request: PendingRequest): void {
    request.isCancelled = true;
    const waitingAt = this.waiting.indexOf(request);
    if (waitingAt >= 0) this.waiting.splice(waitingAt, 1);
    // The device answers with what became of the request; that answer ends it.
    if (waitingAt < 0 && this.line.isOpen) this.line.send({ cancel: { requestId: request.id } }, 'control');
    else this.give(request, request.lost('CANCELLED', `${request.method} was cancelled`));
  }

  private expire(request: PendingRequest): void {
    const left = this.activityLeft(request);
    if (left > 0) {
      request.timer = this.clock.after(left, () => this.expire(request));
      return;
    }
    const waitingAt = this.waiting.indexOf(request);
    if (waitingAt >= 0) this.waiting.splice(waitingAt, 1);
    if (waitingAt < 0 && this.line.isOpen) this.line.send({ cancel: { requestId: request.id } }, 'control');
    if (request.isEffectful && request.isSent && this.line.isOpen) {
      // It may go on over there: only the device knows what it has done, and it has been asked to end it.
      request.isExpired = true;
      request.timer = this.clock.after(lastWordMicroseconds, () => this.give(request, this.expired(request)));
    } else this.give(request, this.expired(request));
  }

  private activityLeft({ options }: PendingRequest): number {
    const activeAt = options.activeAtMicroseconds?.();
    return activeAt === undefined ? 0 : activeAt + options.timeoutMilliseconds * 1000 - this.clock.nowMicroseconds();
  }

  private expired(request: PendingRequest): MacroError {
    return request.lost('DEADLINE_EXCEEDED', `${request.method} took longer than ${request.options.timeoutMilliseconds} ms`);
  }

  /** Ends a request without an answer of the device. */
  private give(request: PendingRequest, error: MacroError): void {
    this.inFlight.delete(idText(request.id));
    request.fail(error);
    if (request.isEffectful) this.reconciliation.end(request.id, error.outcome);
    this.startWaiting();
  }
}
