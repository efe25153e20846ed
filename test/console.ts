// A console for tests: what a command writes is kept.
import type { Console } from '../server/cli/console.js';

export function bufferConsole(environment: Record<string, string> = {}): Console & { stdout(): string; stderr(): string; stop(): void } {
  const stop = new AbortController();
  let [out, error] = ['', ''];
  return {
    environment,
    isTerminal: false,
    signal: stop.signal,
    out: (text) => void (out += text),
    error: (text) => void (error += text),
    stdout: () => out,
    stderr: () => error,
    stop: () => stop.abort(),
  };
}
