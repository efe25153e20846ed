import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { MacroError } from '../../proto/error.js';
import { defaultCaptureLimit, parseCaptureLimit } from '../capture/capture-file.js';
import { type Configuration, configurationOf, defaultHost, defaultPort, framesFolderOf, homeFolderOf, tokenOf } from '../config.js';
import { startService } from '../service.js';
import { ServiceClient } from './client.js';
import type { Console } from './console.js';

/** Which service a command talks to: one that runs, or one of its own for this command alone. */
export interface ServiceChoice {
  readonly local?: string;
  readonly server?: string;
  /** Seconds, as written. */
  readonly connectTimeout?: string;
  readonly capture?: string;
  readonly captureLimit?: string;
}

/**
 * Where the lines are recorded, if anywhere.
 * @throws MacroError BAD_ARGUMENT where the limit is none, or limits nothing
 */
export function captureOf({ capture, captureLimit }: Pick<ServiceChoice, 'capture' | 'captureLimit'>): { capture?: Configuration['capture'] & object } {
  if (capture === undefined && captureLimit !== undefined) {
    throw new MacroError('BAD_ARGUMENT', '--capture-limit needs --capture', { field: 'capture-limit' });
  }
  if (capture === undefined) return {};
  return { capture: { path: resolve(capture), limit: captureLimit === undefined ? defaultCaptureLimit : parseCaptureLimit(captureLimit) } };
}

const defaultUrl = `http://${defaultHost}:${defaultPort}`;
const largestConnectTimeoutSeconds = 3600;

export function connectTimeoutMilliseconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = text.trim() === '' ? Number.NaN : Number(text);
  if (!(seconds > 0 && seconds <= largestConnectTimeoutSeconds)) {
    const problem = `--connect-timeout is "${text}", the range is above 0 to ${largestConnectTimeoutSeconds} seconds`;
    throw new MacroError('BAD_ARGUMENT', problem, { field: 'connect-timeout' });
  }
  return seconds * 1000;
}

/** A simulated device keeps nothing between commands; a real one has a ledger that no command may go around. */
function homeFor(address: string, console: Console): { folder: string; remove(): void } {
  if (!address.startsWith('sim:')) return { folder: homeFolderOf(console.environment), remove: () => undefined };
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

async function withLocalService<Result>(
  address: string, choice: ServiceChoice, console: Console, action: (client: ServiceClient) => Promise<Result>,
): Promise<Result> {
  const timeout = connectTimeoutMilliseconds(choice.connectTimeout);
  const home = homeFor(address, console);
  try {
    // The port is open to everybody on this machine, the secret is not.
    const token = randomBytes(16).toString('hex');
    const framesFolder = framesFolderOf(homeFolderOf(console.environment));
    const options = { port: 0, devices: [address], homeFolder: home.folder, framesFolder, ...captureOf(choice) };
    const patience = timeout === undefined ? {} : { connectTimeoutMilliseconds: timeout };
    const service = await startService({ ...configurationOf({}, { ...options, ...patience }), token }, { logLevel: 'silent' });
    try {
      return await action(new ServiceClient(service.url, token, console.signal));
    } finally {
      await service.close();
    }
  } finally {
    home.remove();
  }
}

/**
 * Calls an action with a client of the chosen service; a local one is closed after it, and its store with it where the device is simulated.
 *
 * @throws MacroError BAD_ARGUMENT where both are named, STORE_LOCKED where a service of this user runs already
 */
export async function withService<Result>(
  choice: ServiceChoice, console: Console, action: (client: ServiceClient) => Promise<Result>,
): Promise<Result> {
  const { local, server } = choice;
  if (local !== undefined && server !== undefined) {
    throw new MacroError('BAD_ARGUMENT', '--local and --server exclude one another', { field: 'local' });
  }
  if (local === undefined && choice.capture !== undefined) {
    throw new MacroError('BAD_ARGUMENT', '--capture needs --local: a service that runs already records with prime serve --capture', { field: 'capture' });
  }
  if (local !== undefined) return withLocalService(local, choice, console, action);
  const { environment, signal } = console;
  return action(new ServiceClient(server ?? environment['PRIME_SERVER'] ?? defaultUrl, tokenOf(environment), signal));
}
