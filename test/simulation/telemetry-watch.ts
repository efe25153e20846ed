import type { Device, Subscription, SubscriptionOptions, Telemetry } from '../../driver/index.js';
import type { Chance } from './chance.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

/** One subscription: its sequence rises, and every gap in it is accounted for. */
export class TelemetryWatch {
  private received = 0;
  private inSession = 0;
  private last = -1;

  constructor(private readonly options: SubscriptionOptions, private readonly trace: Trace, private readonly verdict: Verdict) {}

  static draw(chance: Chance, trace: Trace, verdict: Verdict): TelemetryWatch {
    const stream = chance.pick(['status', 'timestep', 'link'] as const);
    const policy = chance.pick(['lossless', 'latest', 'decimate'] as const);
    return new TelemetryWatch({ stream, policy, decimation: chance.between(1, 5), intervalMilliseconds: chance.between(50, 1000) }, trace, verdict);
  }

  /** Subscribes. A device that cannot be reached refuses, which is its right. */
  begin(device: Device): void {
    let subscription: Subscription | undefined;
    const refused = (error: unknown) => this.trace.tell('telemetry', `refused: ${String(error)}`);
    device.subscribe(this.options, (sample) => this.take(sample, subscription)).then((begun) => {
      subscription = begun;
    }, refused);
  }

  private take({ sequence, dropped }: Telemetry, subscription: Subscription | undefined): void {
    const { policy, decimation = 1 } = this.options;
    const isNewSession = sequence <= this.last;
    this.trace.tell('telemetry', `${this.options.stream} ${sequence}, ${dropped} dropped`);
    this.last = sequence;
    this.received += 1;
    this.inSession = isNewSession ? 1 : this.inSession + 1;
    const due = policy === 'decimate' ? Math.floor(sequence / decimation) + 1 : sequence + 1;
    const isGapless = policy !== 'lossless' || due - this.inSession <= dropped;
    this.verdict.expect(isGapless, () => `of ${due} lossless samples ${this.inSession} came and ${dropped} were dropped: some are lost without a word`);
    if (subscription === undefined) return;
    const { account } = subscription;
    this.verdict.expect(account.received === this.received, () => `the driver counts ${account.received} samples, ${this.received} came`);
    this.verdict.expect(policy !== 'lossless' || account.lostOnLine === 0, () => `the driver lost ${account.lostOnLine} lossless samples`);
  }
}
