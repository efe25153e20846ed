import type { Timer } from '../firmware-protocol/clock.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { isErrorCode, MacroError } from '../proto/error.js';
import type { Failure, Final, MethodName, MethodRequests, MethodResults, Progress } from '../proto/message.js';
import { methodEffects } from '../proto/method.js';
import type { Outcome } from '../proto/outcome.js';

/** In the order of their numbers on the wire. */
const outcomes: readonly Outcome[] = ['not-applied', 'applied', 'unknown'];

const requestIdBytes = 16;

/** A new request id. It exists before the first byte of the request does, so that a repetition can be told from a second request. */
export function newRequestId(prng: Prng): Uint8Array {
  const id = new Uint8Array(requestIdBytes);
  const view = new DataView(id.buffer);
  for (let at = 0; at < requestIdBytes; at += 4) view.setUint32(at, prng.nextUint32());
  return id;
}

export const idText = (id: Uint8Array): string => Buffer.from(id).toString('hex');

/** What an answer says of the state that its request would have changed. */
export const outcomeOf = ({ failure }: Final): Outcome => (failure ? (outcomes[failure.outcome] ?? 'unknown') : 'applied');

export interface RequestOptions<Body = unknown> {
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
  readonly timeoutMilliseconds: number;
  /** When something last came that belongs to the request: its time runs from there. */
  readonly activeAtMicroseconds?: () => number;
  /** What to ask for when the request is sent again, where part of it has been done. */
  readonly renewed?: () => Body;
}

/** One request from the moment that it has an id until it has an outcome. */
export class PendingRequest<Name extends MethodName = MethodName> {
  isSent = false;
  isCancelled = false;
  /** Its time is over, and the device has been asked to end it. */
  isExpired = false;
  timer: Timer | undefined;
  removeAbort: (() => void) | undefined;
  readonly result: Promise<MethodResults[Name]>;
  private resolve!: (result: MethodResults[Name]) => void;
  private reject!: (error: MacroError) => void;

  constructor(
    readonly id: Uint8Array, readonly method: Name, readonly body: MethodRequests[Name], readonly options: RequestOptions<MethodRequests[Name]>,
    readonly expiresAtMicroseconds: number,
  ) {
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  get isEffectful(): boolean {
    return methodEffects[this.method] === 'effectful';
  }

  /** Ends the request with what the device said. @returns what is known of its effect */
  finish(final: Final): Outcome {
    this.release();
    const answer = final[this.method];
    if (final.failure) {
      this.reject(this.isExpired ? this.late(final.failure) : errorOf(final.failure));
      return outcomeOf(final);
    }
    if (answer === undefined || answer === null) {
      const error = this.lost('PROTOCOL_VIOLATION', `the answer to ${this.method} holds none`);
      this.reject(error);
      return error.outcome;
    }
    this.resolve(answer as unknown as MethodResults[Name]);
    return 'applied';
  }

  /** Ends the request without an answer. Where it may have been applied, that is what the error says. */
  fail(error: MacroError): void {
    this.release();
    this.reject(error);
  }

  /** The error of a request whose answer will not come: a pure one changed nothing, an effectful one that was sent is unknown, and the cause says why. */
  lost(code: 'DEVICE_LOST' | 'DEVICE_RESTARTED' | 'DEADLINE_EXCEEDED' | 'PROTOCOL_VIOLATION' | 'CANCELLED', detail: string): MacroError {
    const cause = new MacroError(code, detail);
    if (!this.isEffectful || !this.isSent) return cause;
    return new MacroError('OUTCOME_UNKNOWN', `${detail} while ${this.method} was under way`, { outcome: 'unknown', cause });
  }

  /** A request that the device has ended because we asked it to when its time was over. */
  private late({ code, detail, outcome }: Failure): MacroError {
    if (code !== 'CANCELLED') return errorOf({ code, detail, outcome });
    const why = `${this.method} took longer than ${this.options.timeoutMilliseconds} ms`;
    return new MacroError('DEADLINE_EXCEEDED', why, { outcome: outcomes[outcome] ?? 'unknown' });
  }

  private release(): void {
    this.timer?.cancel();
    this.removeAbort?.();
  }
}

function errorOf({ code, detail, outcome }: Failure): MacroError {
  const details = { outcome: outcomes[outcome] ?? 'unknown' };
  if (isErrorCode(code)) return new MacroError(code, detail, details);
  return new MacroError('PROTOCOL_VIOLATION', `the device failed with the unknown code "${code}": ${detail}`, details);
}
