import { Worker } from 'node:worker_threads';
import { type Assignment, carryOut } from './assignment.js';
import type { RunReport } from './script.js';

/** Carries assignments out, each alone; with several threads, several at once. */
export class Crew {
  private readonly workers: Worker[];
  private readonly idle: Worker[];
  private readonly waiting: ((worker: Worker) => void)[] = [];

  /** @param threads 1: this one */
  constructor(threads: number) {
    this.workers = threads < 2 ? [] : Array.from({ length: threads }, () => new Worker(new URL('./worker.js', import.meta.url)));
    this.idle = [...this.workers];
  }

  async carryOut(assignment: Assignment): Promise<RunReport> {
    if (this.workers.length === 0) return carryOut(assignment);
    const worker = this.idle.pop() ?? (await new Promise<Worker>((resolve) => this.waiting.push(resolve)));
    try {
      return await new Promise((resolve, reject) => {
        worker.once('error', reject);
        worker.once('message', (report: RunReport) => {
          worker.off('error', reject);
          resolve(report);
        });
        worker.postMessage(assignment);
      });
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.idle.push(worker);
      else next(worker);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}
