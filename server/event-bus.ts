/** Something that happened. `sequence` rises by one with each event of the bus, so that a reader can see what it missed. */
export interface BusEvent {
  readonly sequence: number;
  readonly topic: Topic;
  readonly deviceId?: string;
  readonly jobId?: string;
  readonly data: unknown;
}

export const topics = ['device', 'job', 'progress', 'timestep', 'result', 'link', 'log'] as const;
export type Topic = (typeof topics)[number];

export type Published = Omit<BusEvent, 'sequence'>;

/** A place in the stream where a slow reader lost events. */
export interface Gap {
  readonly missed: number;
}

export type Delivery = { readonly event: BusEvent; readonly gap?: undefined } | { readonly gap: Gap; readonly event?: undefined };

/** One reader's queue: bounded, and where it overflowed it says so instead of hiding it. */
export class Subscription {
  private readonly queue: BusEvent[] = [];
  private missed = 0;

  constructor(
    private readonly accepts: (event: BusEvent) => boolean,
    private readonly limit: number,
    private readonly notify: () => void,
    private readonly leave: (subscription: Subscription) => void,
  ) {}

  /** Events since the last call, oldest first; a gap stands where some were dropped. */
  take(limit = Number.POSITIVE_INFINITY): Delivery[] {
    const deliveries: Delivery[] = this.queue.splice(0, limit).map((event) => ({ event }));
    if (this.missed > 0) {
      deliveries.unshift({ gap: { missed: this.missed } });
      this.missed = 0;
    }
    return deliveries;
  }

  get length(): number {
    return this.queue.length;
  }

  close(): void {
    this.queue.length = 0;
    this.leave(this);
  }

  offer(event: BusEvent): void {
    if (!this.accepts(event)) return;
    if (this.queue.length >= this.limit) {
      this.queue.shift();
      this.missed += 1;
    }
    this.queue.push(event);
    this.notify();
  }
}

export interface SubscriptionOptions {
  /** Which events; all where it is left out. */
  readonly accepts?: (event: BusEvent) => boolean;
  /** Events that wait for this reader before the oldest are dropped. */
  readonly limit?: number;
  /** Called when there is something to take; it may be called more often than there is. */
  readonly notify: () => void;
}

const defaultLimit = 1024;

/** Tells every part of the service what happens, without anybody waiting for a slow reader. */
export class EventBus {
  private sequence = 0;
  private readonly subscriptions = new Set<Subscription>();

  publish(published: Published): void {
    this.sequence += 1;
    const event = { ...published, sequence: this.sequence };
    for (const subscription of this.subscriptions) subscription.offer(event);
  }

  subscribe({ accepts = () => true, limit = defaultLimit, notify }: SubscriptionOptions): Subscription {
    const subscription = new Subscription(accepts, limit, notify, (gone) => this.subscriptions.delete(gone));
    this.subscriptions.add(subscription);
    return subscription;
  }

  get lastSequence(): number {
    return this.sequence;
  }
}
