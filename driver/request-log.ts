import type { MethodName } from '../proto/message.js';
import type { Outcome } from '../proto/outcome.js';

/** An effectful request as it was before its first byte was sent. */
export interface LoggedRequest {
  readonly id: Uint8Array;
  readonly method: MethodName;
  /** The boot of the board that it was meant for: only that one can answer for it. */
  readonly bootId: Uint8Array;
  /** The encoded message, so that a later run of this program can ask the board's journal with the same bytes. */
  readonly request: Uint8Array;
}

/**
 * Where effectful requests leave a trace that outlasts this process. What was begun and has no end has an unknown outcome: the board is asked, or
 * the cells are read. Synchronous: `begin` has made the request durable when it returns.
 */
export interface RequestLog {
  begin(request: LoggedRequest): void;
  /** `unknown` ends a request whose cells were read since. */
  end(id: Uint8Array, outcome: Outcome): void;
  /** What was begun and not ended, the oldest first. */
  unended(): readonly LoggedRequest[];
}

const keyOf = (id: Uint8Array) => Buffer.from(id).toString('hex');

/** A log that lasts as long as the process: for tools that have no home, and tests. */
export class MemoryRequestLog implements RequestLog {
  private readonly open = new Map<string, LoggedRequest>();

  begin(request: LoggedRequest): void {
    this.open.set(keyOf(request.id), request);
  }

  end(id: Uint8Array, _outcome: Outcome): void {
    this.open.delete(keyOf(id));
  }

  unended(): readonly LoggedRequest[] {
    return [...this.open.values()];
  }
}
