// A whole service on a throw-away home for one test: real store, real HTTP, real driver, and the devices that the test names.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { ServiceClient } from '../server/cli/client.js';
import { configurationOf } from '../server/config.js';
import { type Bundle, bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { type Service, startService } from '../server/service.js';
import { filmedDigits } from './digits.js';
import { smallBundle } from './small-bundle.js';

export interface ServiceBench {
  readonly service: Service;
  readonly client: ServiceClient;
  readonly bundle: Bundle;
  /** Id of the small bundle, uploaded. */
  readonly model: string;
}

export interface BenchOptions {
  readonly devices?: readonly string[];
  readonly token?: string;
  readonly homeFolder?: string;
  readonly connectTimeoutMilliseconds?: number;
}

export function throwAwayHome(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-home-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function serviceBench(t: Test, options: BenchOptions = {}): Promise<ServiceBench> {
  const { devices = [], homeFolder = throwAwayHome(t), connectTimeoutMilliseconds = 5000, token } = options;
  const environment = token === undefined ? {} : { PRIME_TOKEN: token };
  const configuration = configurationOf(environment, { port: 0, devices, homeFolder, connectTimeoutMilliseconds });
  const service = await startService(configuration, { logLevel: 'silent' });
  t.teardown(() => service.close());
  const client = new ServiceClient(service.url, token);
  const files = filesOfBundle(smallBundle());
  return { service, client, bundle: bundleFromFiles(files), model: await client.uploadModel(files) };
}

/** A multipart form with filmed digits, as a browser or curl sends it. */
export function digitForm(count: number): FormData {
  const form = new FormData();
  for (const { input, bytes } of filmedDigits(count)) form.append('recording', new Blob([bytes as Uint8Array<ArrayBuffer>]), input);
  return form;
}

/** Calls a route over HTTP. `body` is parsed where it is JSON. */
export async function call(bench: ServiceBench, path: string, init?: RequestInit) {
  const response = await fetch(`${bench.service.url}${path}`, init);
  const text = await response.text();
  const isJson = /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
}
