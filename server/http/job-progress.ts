import type { EventBus, Subscription } from '../event-bus.js';

export interface Progress {
  readonly done: number;
  readonly total: number;
}

const jobsRemembered = 1000;

/** How far jobs are, from what they tell. Forgotten with the process: what was done is in the results. */
export class JobProgress {
  readonly #byJob = new Map<string, Progress>();
  readonly #subscription: Subscription;

  constructor(bus: EventBus) {
    this.#subscription = bus.subscribe({ accepts: ({ topic }) => topic === 'progress', notify: () => this.#note() });
  }

  #note(): void {
    for (const { event } of this.#subscription.take()) {
      if (event?.jobId === undefined) continue;
      const { done, total } = event.data as Progress;
      this.#byJob.delete(event.jobId);
      this.#byJob.set(event.jobId, { done, total });
      const [oldest] = this.#byJob.keys();
      if (this.#byJob.size > jobsRemembered) this.#byJob.delete(oldest);
    }
  }

  of(jobId: string): Progress | null {
    return this.#byJob.get(jobId) ?? null;
  }

  close(): void {
    this.#subscription.close();
  }
}
