import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { MacroError } from '../proto/error.js';
import type { CaptureLimit } from './capture/capture-file.js';

export const defaultPort = 8600;
export const defaultHost = '127.0.0.1';
export const defaultConnectTimeoutMilliseconds = 10_000;
const minimumTokenCharacters = 16;

/** What a service is started with. Read and checked once, then only passed on. */
export interface Configuration {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Folder of the store; made if need be. */
  readonly homeFolder: string;
  /** Where frames are kept that were long in the making; no state, anybody may delete them. */
  readonly framesFolder: string;
  /** Secret that every route but /health asks for; absent: loopback only, and no secret. */
  readonly token?: string;
  readonly devices: readonly string[];
  readonly connectTimeoutMilliseconds: number;
  /** Pulses that one user may give to one chip; absent: any number. */
  readonly pulsesPerUser?: number;
  /** Where every byte of every line is recorded. */
  readonly capture?: { readonly path: string; readonly limit: CaptureLimit };
}

export type Environment = Readonly<Record<string, string | undefined>>;

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);

/** Where the service keeps its state: `PRIME_HOME`, or `~/.local/state/prime-hil`. */
export function homeFolderOf(environment: Environment): string {
  const given = environment['PRIME_HOME'];
  return given ? resolve(given) : join(homedir(), '.local', 'state', 'prime-hil');
}

export const framesFolderOf = (homeFolder: string): string => join(homeFolder, 'frames');

/**
 * The secret of service and client.
 *
 * @throws MacroError TOKEN_REQUIRED where `PRIME_TOKEN` is too short to be one
 */
export function tokenOf(environment: Environment): string | undefined {
  const token = environment['PRIME_TOKEN'];
  if (token === undefined || token === '') return undefined;
  if (token.length < minimumTokenCharacters) {
    throw new MacroError('TOKEN_REQUIRED', `PRIME_TOKEN has ${token.length} characters, at least ${minimumTokenCharacters} are needed`, {
      field: 'PRIME_TOKEN',
    });
  }
  return token;
}

export type ServiceOptions =
  Partial<Pick<Configuration, 'host' | 'port' | 'devices' | 'homeFolder' | 'framesFolder' | 'connectTimeoutMilliseconds' | 'pulsesPerUser' | 'capture'>>;

/**
 * Checks what a service is asked to be.
 *
 * @throws MacroError TOKEN_REQUIRED where other machines could reach it without a secret
 */
export function configurationOf(environment: Environment, options: ServiceOptions): Configuration {
  const token = tokenOf(environment);
  const host = options.host ?? defaultHost;
  if (token === undefined && !isLoopback(host)) {
    throw new MacroError('TOKEN_REQUIRED', `host ${host} is open to other machines and PRIME_TOKEN is not set`, { field: 'host' });
  }
  const homeFolder = options.homeFolder ?? homeFolderOf(environment);
  return {
    host,
    port: options.port ?? defaultPort,
    homeFolder,
    framesFolder: options.framesFolder ?? framesFolderOf(homeFolder),
    ...(token !== undefined && { token }),
    ...(options.capture !== undefined && { capture: options.capture }),
    ...(options.pulsesPerUser !== undefined && { pulsesPerUser: options.pulsesPerUser }),
    devices: options.devices ?? [],
    connectTimeoutMilliseconds: options.connectTimeoutMilliseconds ?? defaultConnectTimeoutMilliseconds,
  };
}
