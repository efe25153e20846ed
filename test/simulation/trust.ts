import type { Frame } from '../../firmware-protocol/frame.js';
import { deviceMessageCodec, hostMessageCodec } from '../../proto/codec.js';
import type { Request } from '../../proto/message.js';
import { methodEffects, methodNames } from '../../proto/method.js';
import type { Profile } from '../../sim/profile.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/**
 * Whether the host may change the array: after an outcome that nobody knows, no effectful request leaves it before the cells were read. Looks
 * at what leaves the host on the line, not at what the driver believes.
 */
export class Trust {
  private doubt: string | undefined;
  private doubts = 0;
  private readonly seen = new Set<string>();
  /** Effectful requests that have left and have no answer. */
  private readonly unanswered = new Set<string>();

  constructor(private readonly trace: Trace, private readonly verdict: Verdict, private readonly profile: Profile) {}

  lose(why: string): void {
    this.trace.tell('trust', `lost: ${why}`);
    this.doubt = why;
    this.doubts += 1;
  }

  /** The host died: what it had sent and had no answer to is known to nobody. */
  hostDied(): void {
    if (this.unanswered.size > 0) this.lose('the host died with an effectful request under way');
  }

  /** Begins to read the whole array. @returns what ends it: call it when the cells are there */
  beginRead(): () => void {
    const { doubts } = this;
    return () => {
      if (this.doubt === undefined || doubts !== this.doubts) return;
      this.trace.tell('trust', 'regained: the cells were read');
      this.doubt = undefined;
      this.unanswered.clear();
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
    if (message.ok && message.value.final) this.unanswered.delete(hex(message.value.final.requestId));
  }

  private leftRequest(request: Request): void {
    const method = methodNames.find((name) => request[name]);
    const id = hex(request.requestId);
    if (method === undefined || methodEffects[method] !== 'effectful' || this.seen.has(id)) return;
    this.seen.add(id);
    this.unanswered.add(id);
    this.verdict.expect(this.doubt === undefined, () => `${method} ${id.slice(0, 8)} left the host, which must read the cells first: ${this.doubt}`);
    const { resetCells } = request;
    if (resetCells) this.checkEnvelope(resetCells);
  }

  private checkEnvelope({ amplitudeMillivolts, widthNanoseconds }: { amplitudeMillivolts: number; widthNanoseconds: number }): void {
    const { resetAmplitudeMaximumMillivolts, resetWidthMaximumNanoseconds } = this.profile;
    const isInside = amplitudeMillivolts <= resetAmplitudeMaximumMillivolts && widthNanoseconds <= resetWidthMaximumNanoseconds;
    const isPulse = amplitudeMillivolts > 0 && widthNanoseconds > 0;
    this.verdict.expect(isInside && isPulse, () => `a pulse of ${amplitudeMillivolts} mV and ${widthNanoseconds} ns left the host`);
  }
}
