import { MacroError } from '../../proto/error.js';
import { watchParent } from '../../proto/process/parent.js';
import { configurationOf } from '../config.js';
import { startService } from '../service.js';
import { type Console, exitDone } from './console.js';
import { captureOf, connectTimeoutMilliseconds } from './service-choice.js';

export interface ServeArguments {
  readonly host: string;
  readonly port: string;
  readonly device?: readonly string[];
  readonly connectTimeout: string;
  readonly pulsesPerUser?: string;
  readonly exitWithParent: boolean;
  readonly capture?: string;
  readonly captureLimit?: string;
}

/** @throws MacroError BAD_ARGUMENT */
export function portOf(text: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new MacroError('BAD_ARGUMENT', `--port is "${text}", the range is 0 to 65535`, { field: 'port' });
  return port;
}

/** @throws MacroError BAD_ARGUMENT */
function pulsesPerUserOf(text: string): number {
  const pulses = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(pulses)) return pulses;
  throw new MacroError('BAD_ARGUMENT', `--pulses-per-user is "${text}", the range is 0 to ${Number.MAX_SAFE_INTEGER}`, { field: 'pulses-per-user' });
}

/** Resolves when the user asks to stop. */
export const stopped = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** `prime serve`: the service until somebody stops it, or nobody is there any more who would; its URL is the first line on stdout. */
export async function serve(given: ServeArguments, console: Console): Promise<number> {
  const timeout = connectTimeoutMilliseconds(given.connectTimeout);
  const configuration = configurationOf(console.environment, {
    host: given.host,
    port: portOf(given.port),
    devices: given.device ?? [],
    ...captureOf(given),
    ...(given.pulsesPerUser !== undefined && { pulsesPerUser: pulsesPerUserOf(given.pulsesPerUser) }),
    ...(timeout !== undefined && { connectTimeoutMilliseconds: timeout }),
  });
  const service = await startService(configuration, { logLevel: console.environment['PRIME_LOG'] ?? 'info' });
  const orphaned = new AbortController();
  const unwatch = given.exitWithParent ? watchParent(() => orphaned.abort()) : undefined;
  try {
    console.out(`${JSON.stringify({ url: service.url })}\n`);
    await Promise.race([stopped(console.signal), stopped(orphaned.signal)]);
  } finally {
    unwatch?.();
    await service.close();
  }
  return exitDone;
}
