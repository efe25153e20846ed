// A console for tests: what a command writes is kept.
import type { Console } from '../server/cli/console.js';

export interface BufferConsole extends Console {
  stdout(): string;
  stderr(): string;
  /** The first line on stdout, when it is there. */
  firstLine(): Promise<string>;
  /** What Ctrl-C does. */
  stop(): void;
}

export function bufferConsole(environment: Record<string, string> = {}): BufferConsole {
  const stop = new AbortController();
  let [out, error] = ['', ''];
  let isThere: (line: string) => void;
  const line = new Promise<string>((resolve) => {
    isThere = resolve;
  });
  return {
    environment,
    isTerminal: false,
    signal: stop.signal,
    out(text) {
      out += text;
      if (out.includes('\n')) isThere(out.slice(0, out.indexOf('\n')));
    },
    firstLine: () => line,
    error: (text) => void (error += text),
    stdout: () => out,
    stderr: () => error,
    stop: () => stop.abort(),
  };
}
