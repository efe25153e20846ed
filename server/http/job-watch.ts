import type { BusEvent, EventBus, Subscription } from '../event-bus.js';
import { isEnded, type Job } from '../job/state.js';
import type { JobStore } from '../job/store.js';

/** Wakes whoever waits for one job: when its state changes or a row is added. */
export class JobWatch {
  readonly #subscription: Subscription;
  #wake: (() => void) | undefined;
  #hasNews = false;
  #isClosed = false;

  constructor(bus: EventBus, jobId: string) {
    const accepts = (event: BusEvent) => event.jobId === jobId && (event.topic === 'job' || event.topic === 'result');
    this.#subscription = bus.subscribe({ accepts, limit: 1, notify: () => this.#notice() });
  }

  #notice(): void {
    this.#subscription.take();
    this.#hasNews = true;
    this.#wake?.();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when something happened since the last call, when the time is over, or when the watch is closed. */
  async next(milliseconds: number): Promise<void> {
    if (!this.#hasNews && !this.#isClosed) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, milliseconds);
      });
      clearTimeout(timer);
      this.#wake = undefined;
    }
    this.#hasNews = false;
  }

  close(): void {
    this.#isClosed = true;
    this.#subscription.close();
    this.#wake?.();
  }
}

/** The job when it has ended, or as it is after so many seconds, or when nobody listens any more. */
export async function jobEnd(bus: EventBus, store: JobStore, jobId: string, waitSeconds: number, signal: AbortSignal): Promise<Job> {
  const watch = new JobWatch(bus, jobId);
  const close = () => watch.close();
  signal.addEventListener('abort', close);
  const deadline = performance.now() + waitSeconds * 1000;
  try {
    for (;;) {
      const job = store.get(jobId);
      const left = deadline - performance.now();
      if (isEnded(job.state) || left <= 0 || watch.isClosed) return job;
      await watch.next(left);
    }
  } finally {
    signal.removeEventListener('abort', close);
    watch.close();
  }
}

const quietMilliseconds = 15_000;

/** Rows as lines of JSON while they come, until the job has ended; an empty line where the job is quiet keeps the connection open. */
export async function* followedRows(store: JobStore, watch: JobWatch, jobId: string, from: number): AsyncGenerator<string> {
  let next = from;
  try {
    while (!watch.isClosed) {
      const hasEnded = isEnded(store.get(jobId).state);
      let lines = '';
      for (const row of store.results(jobId, next)) {
        lines += `${JSON.stringify(row)}\n`;
        next += 1;
      }
      if (lines !== '') yield lines;
      else if (!hasEnded) yield '\n';
      if (hasEnded) return;
      await watch.next(quietMilliseconds);
    }
  } finally {
    watch.close();
  }
}
