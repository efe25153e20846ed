import type { Clock, Timer } from '../firmware-protocol/clock.js';
import { deviceMessageCodec } from '../proto/codec.js';
import { type MethodRequests, policies, type Stream, streams, type Telemetry } from '../proto/message.js';
import { Refusal } from './task.js';

/** What a sample says, beside what every sample says. */
export type SampleBody = Pick<Telemetry, 'status' | 'timestep' | 'link'>;

interface Sample {
  readonly sequence: number;
  readonly linkTimeMicroseconds: number;
  readonly body: SampleBody;
}

interface Subscription {
  readonly policy: (typeof policies)[number];
  readonly decimation: number;
  readonly waiting: Sample[];
  made: number;
  dropped: number;
  timer: Timer | undefined;
}

const waitingLimits = { off: 0, lossless: 64, latest: 1, decimate: 8 } as const;
const decimationRange = { minimum: 1, maximum: 1000 } as const;
const intervalRange = { minimum: 10, maximum: 60_000 } as const;

/** The streams that a host has subscribed to. Samples wait here, bounded by their policy, until the line asks for them. */
export class TelemetryStreams {
  private readonly subscriptions = new Map<Stream, Subscription>();

  /**
   * @param linkTime stamps samples
   * @param wake is called when a sample waits
   */
  constructor(private readonly clock: Clock, private readonly linkTime: () => number, private readonly wake: () => void) {}

  /** @param make makes the body of a sample of a stream that is sampled by time */
  subscribe(request: MethodRequests['subscribe'], make: (stream: Stream) => SampleBody): Refusal | undefined {
    const problem = subscriptionProblem(request);
    if (problem !== undefined) return problem;
    const stream = streams[request.stream];
    this.subscriptions.get(stream)?.timer?.cancel();
    this.subscriptions.delete(stream);
    const policy = policies[request.policy];
    if (policy === 'off') return undefined;
    const decimation = policy === 'decimate' ? request.decimation : 1;
    const subscription: Subscription = { policy, decimation, waiting: [], made: 0, dropped: 0, timer: undefined };
    this.subscriptions.set(stream, subscription);
    if (stream !== 'timestep') this.sampleByTime(stream, subscription, request.intervalMilliseconds * 1000, make);
    return undefined;
  }

  /** Makes a sample of a stream, where somebody has subscribed to it. */
  sample(stream: Stream, body: SampleBody): void {
    const subscription = this.subscriptions.get(stream);
    if (subscription === undefined) return;
    const sequence = subscription.made;
    subscription.made += 1;
    if (sequence % subscription.decimation !== 0) return;
    const { waiting, policy } = subscription;
    if (waiting.length === waitingLimits[policy]) subscription.dropped += 1;
    if (policy === 'latest') waiting.length = 0;
    if (waiting.length < waitingLimits[policy]) waiting.push({ sequence, linkTimeMicroseconds: this.linkTime(), body });
    this.wake();
  }

  /** The next sample that goes over the reliable link. */
  message(): Uint8Array | undefined {
    return this.next((policy) => policy === 'lossless');
  }

  /** The next sample that may be lost. */
  datagram(): Uint8Array | undefined {
    return this.next((policy) => policy !== 'lossless');
  }

  /** Ends every subscription. */
  clear(): void {
    for (const { timer } of this.subscriptions.values()) timer?.cancel();
    this.subscriptions.clear();
  }

  private next(isMeant: (policy: Subscription['policy']) => boolean): Uint8Array | undefined {
    for (const [stream, { policy, waiting, dropped }] of this.subscriptions) {
      const sample = isMeant(policy) ? waiting.shift() : undefined;
      if (sample === undefined) continue;
      const { sequence, linkTimeMicroseconds, body } = sample;
      return deviceMessageCodec.encode({ telemetry: { stream: streams.indexOf(stream), sequence, linkTimeMicroseconds, dropped, ...body } });
    }
    return undefined;
  }

  private sampleByTime(stream: Stream, subscription: Subscription, intervalMicroseconds: number, make: (stream: Stream) => SampleBody): void {
    subscription.timer = this.clock.after(intervalMicroseconds, () => {
      this.sampleByTime(stream, subscription, intervalMicroseconds, make);
      this.sample(stream, make(stream));
    });
  }
}

function subscriptionProblem({ stream, policy, decimation, intervalMilliseconds }: MethodRequests['subscribe']): Refusal | undefined {
  const outside = (field: string, value: number, { minimum, maximum }: { minimum: number; maximum: number }) =>
    value >= minimum && value <= maximum ? undefined : new Refusal('REQUEST_INVALID', `${field} is ${value}; the range is ${minimum} to ${maximum}`);
  const isEnded = policies[policy] === 'off';
  return outside('stream', stream, { minimum: 0, maximum: streams.length - 1 })
    ?? outside('policy', policy, { minimum: 0, maximum: policies.length - 1 })
    ?? (policies[policy] === 'decimate' ? outside('decimation', decimation, decimationRange) : undefined)
    ?? (isEnded || streams[stream] === 'timestep' ? undefined : outside('intervalMilliseconds', intervalMilliseconds, intervalRange));
}
