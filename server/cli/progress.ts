import cliProgress from 'cli-progress';
import type { Console } from './console.js';

/** A progress bar for people; where nobody watches, nothing is printed. */
export class ProgressLine {
  readonly #bar: cliProgress.SingleBar | undefined;

  /** @param things what is counted */
  constructor(console: Console, total: number, things = 'recordings') {
    if (!console.isTerminal) return;
    const format = `{bar} {value}/{total} ${things}, {eta} s left`;
    const options = { format, clearOnComplete: true, hideCursor: true, stream: process.stderr };
    this.#bar = new cliProgress.SingleBar(options, cliProgress.Presets.shades_classic);
    this.#bar.start(total, 0);
  }

  step(): void {
    this.#bar?.increment();
  }

  /** Where the whole is known only on the way. */
  show(done: number, total: number): void {
    this.#bar?.setTotal(total);
    this.#bar?.update(done);
  }

  end(): void {
    this.#bar?.stop();
  }
}
