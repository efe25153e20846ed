import { hostMessageCodec } from '../proto/codec.js';
import type { Final, HostMessage } from '../proto/message.js';
import type { Outcome } from '../proto/outcome.js';
import { idText, outcomeOf } from './request.js';
import type { LoggedRequest, RequestLog } from './request-log.js';

/** Answers that are about the question and not about the request: they leave its outcome as unknown as it was. */
const evasions: ReadonlySet<string> = new Set(['LEASE_STALE', 'DEVICE_BUSY', 'METHOD_UNSUPPORTED']);

/** A link time that has passed on every board: a request that begins only now is refused. */
const pastMicroseconds = 1;

export interface ReconciliationEvents {
  /** Some outcome has become unknown, or the last unknown one has become known. */
  changed(): void;
  /** What became of a request whose outcome was unknown. */
  resolved(request: LoggedRequest, outcome: Outcome): void;
}

/**
 * Effectful requests whose outcome is not known. Until each is known, from the board's journal or because the cells were read, nothing may change the
 * array. It survives this process in the request log.
 */
export class Reconciliation {
  private readonly begun = new Map<string, LoggedRequest>();
  private readonly unknown = new Map<string, LoggedRequest>();
  /** Ends that the log did not take. Until it does they are open in it, and a later run of this program asks the board once more: that does no harm. */
  private readonly ended: Record<Outcome, number> = { 'not-applied': 0, applied: 0, unknown: 0 };
  private readonly unlogged = new Map<string, { readonly id: Uint8Array; readonly outcome: Outcome }>();

  constructor(private readonly log: RequestLog, private readonly events: ReconciliationEvents) {
    for (const request of log.unended()) this.unknown.set(idText(request.id), request);
  }

  /** Effectful requests so far, by what their callers were told; `unknown` are also those that are under way. */
  get effects(): Readonly<Record<Outcome, number>> {
    return { ...this.ended, unknown: this.ended.unknown + this.begun.size };
  }

  get isDue(): boolean {
    return this.unknown.size > 0;
  }

  /** Ids of unknown outcomes. */
  ids(): readonly string[] {
    return [...this.unknown.keys()];
  }

  /** An effectful request is about to be sent for the first time. Throws where that cannot be made durable: then it may not be sent. */
  begin(request: LoggedRequest): void {
    this.log.begin(request);
    this.begun.set(idText(request.id), request);
  }

  /** A request that was begun has ended. */
  end(id: Uint8Array, outcome: Outcome): void {
    const key = idText(id);
    const request = this.begun.get(key);
    if (request === undefined) return;
    this.begun.delete(key);
    this.ended[outcome] += 1;
    if (outcome !== 'unknown') this.logEnd(id, outcome);
    else {
      this.unknown.set(key, request);
      this.events.changed();
    }
  }

  /** Messages that ask the board's journal what became of requests of this boot. What it does not remember was never begun, and is not begun now. */
  questions(bootId: Uint8Array, leaseEpoch: number): HostMessage[] {
    return [...this.unknown.values()].flatMap((logged) => {
      const message = hostMessageCodec.decode(logged.request);
      if (Buffer.compare(logged.bootId, bootId) !== 0 || !message.ok || !message.value.request) return [];
      return [{ request: { ...message.value.request, deadlineMicroseconds: pastMicroseconds, leaseEpoch } }];
    });
  }

  /** Takes in an answer to such a question, or one that comes late. */
  take(final: Final): void {
    const key = idText(final.requestId);
    const request = this.unknown.get(key);
    const outcome = outcomeOf(final);
    if (request === undefined || outcome === 'unknown' || evasions.has(final.failure?.code ?? '')) return;
    this.settle(key, request, outcome);
  }

  /** The cells were read after these outcomes had become unknown: whatever happened is seen. */
  cellsRead(ids: readonly string[]): void {
    for (const id of ids) {
      const request = this.unknown.get(id);
      if (request !== undefined) this.settle(id, request, 'unknown');
    }
  }

  private settle(key: string, request: LoggedRequest, outcome: Outcome): void {
    this.unknown.delete(key);
    this.logEnd(request.id, outcome);
    this.events.resolved(request, outcome);
    if (!this.isDue) this.events.changed();
  }

  /** The outcome is known whether the log takes it or not: a full disk must not hide it from those who wait for it. */
  private logEnd(id: Uint8Array, outcome: Outcome): void {
    this.unlogged.set(idText(id), { id, outcome });
    try {
      for (const [key, end] of this.unlogged) {
        this.log.end(end.id, end.outcome);
        this.unlogged.delete(key);
      }
    } catch {
      // Offered again with the next one.
    }
  }
}
