import { MacroError } from '../../proto/error.js';
import type { Environment } from '../config.js';

/** Where a command reads and writes; tests hand in their own. */
export interface Console {
  readonly environment: Environment;
  /** Results, for programs. */
  out(text: string): void;
  /** Progress, warnings and errors, for people. */
  error(text: string): void;
  /** Whether a person watches `error`. */
  readonly isTerminal: boolean;
  /** Aborts when the user asks to stop. */
  readonly signal: AbortSignal;
}

export const exitDone = 0;
export const exitFailed = 1;
export const exitUsage = 2;

/** 2 where the caller can mend it by writing something else, 1 where the work failed. */
export const exitCodeOf = (error: unknown): number => (MacroError.from(error).category === 'usage' ? exitUsage : exitFailed);

/** `CODE: message. Remedy.`, and where it came from only for those who ask. */
export function describeError(error: unknown, withStack: boolean): string {
  const known = MacroError.from(error);
  if (!withStack) return `${known.message}\n`;
  const cause = known.cause instanceof Error ? `caused by ${known.cause.stack}\n` : '';
  return `${known.message}\n${known.stack ?? ''}\n${cause}`;
}

/** The streams of this process. A reader that went away, as `head` does, ends the command quietly. */
export function processConsole(): Console & { dispose(): void } {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  const onGone = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    stop.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  process.stdout.on('error', onGone);
  return {
    environment: process.env,
    out: (text) => void process.stdout.write(text),
    error: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY === true,
    signal: stop.signal,
    dispose() {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      process.stdout.off('error', onGone);
    },
  };
}

/** Rows of text in columns as wide as their widest cell; numbers stand to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map(String));
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((row) => row[column].length)));
  const isNumeric = head.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => (isNumeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join('  ').trimEnd();
  return `${[line(head), line(widths.map((width) => '─'.repeat(width))), ...cells.map(line)].join('\n')}\n`;
}
