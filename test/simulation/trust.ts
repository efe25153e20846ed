import type { Frame } from '../../firmware-protocol/frame.js';
import { deviceMessageCodec, hostMessageCodec } from '../../proto/codec.js';
import type { Final, Request } from '../../proto/message.js';
import { methodEffects, methodNames } from '../../proto/method.js';
import type { Profile } from '../../sim/profile.js';
import type { Ledger } from './ledger.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** An effectful request that has left the host and whose outcome has not come back. */
interface Outstanding {
  /** What it asks for; the call that it belongs to has the same. */
  readonly wish: string;
  readonly effects: readonly string[];
  /** Why nobody waits for its answer any more, and which doubt of the run that is. */
  doubt: { readonly number: number; readonly why: string; readonly isReported: boolean } | undefined;
}

/** Answers that leave open what becomes of the request. */
const evasions: ReadonlySet<string> = new Set(['LEASE_STALE', 'DEVICE_BUSY', 'METHOD_UNSUPPORTED']);
const unknown = 2;

const isDecisive = ({ failure }: Final) => !failure || (failure.outcome !== unknown && !evasions.has(failure.code));

/** What a decisive answer says of all that was asked for; undefined where a part of it was done. */
const outcomeOf = ({ failure }: Final) => (!failure ? 'applied' : failure.outcome === 0 ? 'not-applied' : undefined);

/**
 * Whether the host may change the array: after an outcome that nobody knows, no effectful request leaves it before the board's journal has
 * answered or the cells were read. Looks at what leaves the host on the line, not at what the driver believes.
 */
export class Trust {
  private doubts = 0;
  private readonly seen = new Set<string>();
  private readonly outstanding = new Map<string, Outstanding>();
  private readonly effectsOf = new Map<string, readonly string[]>();

  constructor(private readonly trace: Trace, private readonly verdict: Verdict, private readonly ledger: Ledger, private readonly profile: Profile) {}

  /** A call is about to ask for effects; its request will say the wish. */
  asks(wish: string, effects: readonly string[]): void {
    this.effectsOf.set(wish, effects);
  }

  /** A call was told that its outcome is unknown. */
  lose(wish: string, why: string): void {
    for (const request of this.outstanding.values()) if (request.wish === wish) this.giveUp(request, why, true);
  }

  /** What the host had sent and had no answer to is known to nobody. */
  hostDied(): void {
    for (const request of this.outstanding.values()) this.giveUp(request, 'the host died while it was under way', false);
  }

  /** Begins to read the whole array. @returns what ends it: call it when the cells are there */
  beginRead(): () => void {
    const { doubts } = this;
    return () => {
      for (const [id, { doubt }] of this.outstanding) if (doubt !== undefined && doubt.number <= doubts) this.outstanding.delete(id);
    };
  }

  /** A frame of the host has left it. */
  left(frame: Frame): void {
    if (frame.type !== 'DATA') return;
    const message = hostMessageCodec.decode(frame.payload);
    if (message.ok && message.value.request) this.leftRequest(message.value.request);
  }

  /** A frame of the board has reached the host. */
  arrived(frame: Frame): void {
    if (frame.type !== 'DATA') return;
    const message = deviceMessageCodec.decode(frame.payload);
    if (!message.ok || !message.value.final || !isDecisive(message.value.final)) return;
    const id = hex(message.value.final.requestId);
    const request = this.outstanding.get(id);
    const outcome = outcomeOf(message.value.final);
    this.outstanding.delete(id);
    if (request?.doubt !== undefined && outcome !== undefined) this.ledger.settled(request.effects, outcome, request.doubt.isReported);
  }

  private giveUp(request: Outstanding, why: string, isReported: boolean): void {
    if (request.doubt !== undefined) return;
    this.doubts += 1;
    request.doubt = { number: this.doubts, why, isReported };
    this.trace.tell('doubt', `${request.wish.slice(0, 24)}: ${why}`);
  }

  private leftRequest(request: Request): void {
    const method = methodNames.find((name) => request[name]);
    const id = hex(request.requestId);
    if (method === undefined || methodEffects[method] !== 'effectful' || this.seen.has(id)) return;
    this.seen.add(id);
    const doubt = [...this.outstanding.values()].find((other) => other.doubt !== undefined);
    this.verdict.expect(doubt === undefined, () => `${method} ${id.slice(0, 8)} left the host, and nobody knows of ${doubt?.wish}: ${doubt?.doubt?.why}`);
    const wish = wishOf(request);
    this.outstanding.set(id, { wish, effects: this.effectsOf.get(wish) ?? [], doubt: undefined });
    if (request.resetCells) this.checkEnvelope(request.resetCells);
  }

  private checkEnvelope({ amplitudeMillivolts, widthNanoseconds }: { amplitudeMillivolts: number; widthNanoseconds: number }): void {
    const { resetAmplitudeMaximumMillivolts, resetWidthMaximumNanoseconds } = this.profile;
    const isInside = amplitudeMillivolts <= resetAmplitudeMaximumMillivolts && widthNanoseconds <= resetWidthMaximumNanoseconds;
    const isPulse = amplitudeMillivolts > 0 && widthNanoseconds > 0;
    this.verdict.expect(isInside && isPulse, () => `a pulse of ${amplitudeMillivolts} mV and ${widthNanoseconds} ns left the host`);
  }
}

/** What an effectful request asks for: the number that it adds, or the digest of the object that it names. */
function wishOf({ scratch, resetCells, loadSnapshot }: Request): string {
  if (scratch) return `scratch ${scratch.add}`;
  return hex(resetCells?.cellsSha256 ?? loadSnapshot?.sha256 ?? new Uint8Array(0));
}
