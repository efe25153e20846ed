import { type MethodRequests, type Policy, policies, type Stream, streams, type Telemetry } from '../proto/message.js';

export interface SubscriptionOptions {
  readonly stream: Stream;
  readonly policy: Exclude<Policy, 'off'>;
  /** `decimate`: one sample of so many, 1 to 1000. */
  readonly decimation?: number;
  /** `status` and `link`: time between samples, 10 to 60 000. */
  readonly intervalMilliseconds?: number;
}

/** Where the samples of a subscription went. */
export interface TelemetryAccount {
  readonly received: number;
  /** The board had no room for them. */
  readonly droppedByBoard: number;
  /** They left the board and did not arrive. */
  readonly lostOnLine: number;
}

const usualIntervalMilliseconds = 100;

/** What comes of one subscription. It outlives sessions: on a new one the board is asked again, and counts from 0 again. */
export class Subscription {
  private earlier: TelemetryAccount = { received: 0, droppedByBoard: 0, lostOnLine: 0 };
  private received = 0;
  private dropped = 0;
  private lost = 0;
  private lastSequence = -1;

  constructor(
    readonly options: SubscriptionOptions, private readonly onSample: (sample: Telemetry) => void, private readonly end: (self: Subscription) => Promise<void>,
  ) {}

  get account(): TelemetryAccount {
    const { received, droppedByBoard, lostOnLine } = this.earlier;
    return { received: received + this.received, droppedByBoard: droppedByBoard + this.dropped, lostOnLine: lostOnLine + this.lost };
  }

  /** Ends it, here and on the board. */
  close(): Promise<void> {
    return this.end(this);
  }

  /** The request that begins it; the board counts from 0 after it. */
  begin(): MethodRequests['subscribe'] {
    this.earlier = this.account;
    this.received = 0;
    this.dropped = 0;
    this.lost = 0;
    this.lastSequence = -1;
    const { stream, policy, decimation = 1, intervalMilliseconds = usualIntervalMilliseconds } = this.options;
    return { stream: streams.indexOf(stream), policy: policies.indexOf(policy), decimation, intervalMilliseconds };
  }

  take(sample: Telemetry): void {
    const { sequence, dropped } = sample;
    if (sequence <= this.lastSequence) return; // a datagram that comes twice, or late
    this.lastSequence = sequence;
    this.received += 1;
    this.dropped = Math.max(this.dropped, dropped);
    const due = Math.floor(sequence / (this.options.decimation ?? 1)) + 1;
    this.lost = Math.max(this.lost, due - this.received - this.dropped);
    this.onSample(sample);
  }
}
