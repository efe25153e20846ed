import cliProgress from 'cli-progress';
import type { Console } from './console.js';

/** A progress bar for people; where nobody watches, nothing is printed. */
export class ProgressLine {
  readonly #bar: cliProgress.SingleBar | undefined;

  constructor(console: Console, total: number) {
    if (!console.isTerminal) return;
    const format = '{bar} {value}/{total} recordings, {eta} s left';
    const options = { format, clearOnComplete: true, hideCursor: true, stream: process.stderr };
    this.#bar = new cliProgress.SingleBar(options, cliProgress.Presets.shades_classic);
    this.#bar.start(total, 0);
  }

  step(): void {
    this.#bar?.increment();
  }

  end(): void {
    this.#bar?.stop();
  }
}
