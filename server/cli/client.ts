import { setTimeout as delay } from 'node:timers/promises';
import { MacroError } from '../../proto/error.js';
import type { Static } from 'typebox';
import type { Plan } from '../array/plan.js';
import type { CalibrationList } from '../http/calibrations.js';
import { errorOf } from '../http/problem.js';
import type { wearSchema } from '../http/schemas.js';
import type { ThresholdEntry } from '../http/thresholds.js';
import type { GivenOptions } from '../inference/options.js';
import type { InferenceRow, RunSummary } from '../inference/result.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import type { ChipPassport } from '../snapshot/header.js';
import type { SnapshotEntry } from '../store/chips.js';

/** What the service tells of a job. */
export interface JobView {
  readonly id: string;
  readonly kind: string;
  readonly device: string;
  readonly state: string;
  readonly createdAt: string;
  readonly parameters: unknown;
  readonly progress: { readonly done: number; readonly total: number } | null;
  readonly summary: unknown;
  readonly failure: { readonly code: string; readonly detail: string; readonly outcome: string } | null;
}

export interface DeviceView {
  readonly id: string;
  readonly address: string;
  readonly state: string;
  readonly chipId: string | null;
  readonly temperatureCelsius: number | null;
}

export type WearView = Static<typeof wearSchema>;
export const wearKinds = ['forming', 'set', 'reset'] as const;

const endedStates = new Set(['SUCCEEDED', 'FAILED', 'STOPPED', 'INTERRUPTED']);
const restMilliseconds = 200;

function recordingsForm(recordings: readonly SentRecording[]): FormData {
  const form = new FormData();
  for (const { input, bytes } of recordings) form.append('recording', new Blob([bytes as Uint8Array<ArrayBuffer>]), input);
  return form;
}

/** Why a job was not done; of one that was interrupted also that it was, for then it is submitted again. */
export function endError({ id, state, failure }: JobView): MacroError {
  if (state === 'INTERRUPTED' && failure === null) return new MacroError('JOB_INTERRUPTED', `the service ended while job ${id} was running`);
  if (failure === null) return new MacroError('CANCELLED', `job ${id} is ${state}`);
  const detail = state === 'INTERRUPTED' ? `job ${id} is INTERRUPTED: ${failure.detail}` : failure.detail;
  return errorOf({ ...failure, detail }, 500);
}

/** The HTTP API as verbs. Every refusal comes as the MacroError that the service sent. */
export class ServiceClient {
  readonly #base: string;
  readonly #headers: Record<string, string>;
  readonly #signal: AbortSignal | undefined;

  /** @param url of the service, as `http://127.0.0.1:8600` */
  constructor(url: string, token: string | undefined, signal?: AbortSignal) {
    this.#base = url.replace(/\/+$/, '');
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    this.#signal = signal;
  }

  async #request(path: string, init: RequestInit = {}): Promise<Response> {
    const signal = this.#signal ? { signal: this.#signal } : {};
    let response: Response;
    try {
      response = await fetch(`${this.#base}${path}`, { ...init, ...signal, headers: { ...this.#headers, ...init.headers } });
    } catch (error) {
      if (this.#signal?.aborted) throw new MacroError('CANCELLED', 'the command was interrupted', { cause: error });
      throw new MacroError('SERVICE_UNREACHABLE', `no service answers at ${this.#base}`, { cause: error });
    }
    if (!response.ok) throw errorOf(await response.json().catch(() => undefined), response.status);
    return response;
  }

  async #json<Answer>(path: string, init?: RequestInit): Promise<Answer> {
    return (await (await this.#request(path, init)).json()) as Answer;
  }

  /** Stores a bundle. Returns its id, the same for the same files. */
  async uploadModel(files: ReadonlyMap<string, Uint8Array>): Promise<string> {
    const form = new FormData();
    for (const [name, bytes] of files) form.append('file', new Blob([bytes as Uint8Array<ArrayBuffer>]), name);
    return (await this.#json<{ id: string }>('/v1/models', { method: 'POST', body: form })).id;
  }

  /** The files of a bundle by name. */
  async modelFiles(id: string): Promise<Map<string, Uint8Array>> {
    const path = `/v1/models/${encodeURIComponent(id)}`;
    const { files } = await this.#json<{ files: string[] }>(path);
    const contents = files.map(async (name) => {
      const response = await this.#request(`${path}/files/${encodeURIComponent(name)}`);
      return [name, new Uint8Array(await response.arrayBuffer())] as const;
    });
    return new Map(await Promise.all(contents));
  }

  /** Stores recordings. Returns their id, the same for the same recordings. */
  async uploadDataset(recordings: readonly SentRecording[]): Promise<string> {
    return (await this.#json<{ id: string }>('/v1/datasets', { method: 'POST', body: recordingsForm(recordings) })).id;
  }

  /** Submits recordings as one job. */
  async submitInference(
    model: string, recordings: readonly SentRecording[], options: GivenOptions & { readonly device?: string },
  ): Promise<JobView> {
    const query = new URLSearchParams({ model });
    for (const [name, value] of Object.entries(options)) if (value !== undefined) query.set(name, String(value));
    return (await this.#json<{ job: JobView }>(`/v1/inferences?${query}`, { method: 'POST', body: recordingsForm(recordings) })).job;
  }

  /** What an operation on an array would do. @param path of its collection */
  async planOperation(path: string, body: object): Promise<Plan> {
    return (await this.#post<{ plan: Plan }>(path, { ...body, dryRun: true })).plan;
  }

  /** @param path of its collection, as /v1/formings */
  async submitOperation(path: string, body: object): Promise<JobView> {
    return (await this.#post<{ job: JobView }>(path, body)).job;
  }

  #post<Answer>(path: string, body: object): Promise<Answer> {
    return this.#json(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  }

  /** Stores a map of cell codes, a .npy file. */
  async uploadSnapshot(npy: Uint8Array): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream' };
    await this.#request('/v1/snapshots', { method: 'POST', headers, body: npy as Uint8Array<ArrayBuffer> });
  }

  /** An object that a job has left. */
  async jobObject(jobId: string, name: string): Promise<Uint8Array> {
    const response = await this.#request(`/v1/jobs/${encodeURIComponent(jobId)}/objects/${encodeURIComponent(name)}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  wear(device: string): Promise<WearView> {
    return this.#json(`/v1/devices/${encodeURIComponent(device)}/wear`);
  }

  job(id: string): Promise<JobView> {
    return this.#json(`/v1/jobs/${encodeURIComponent(id)}`);
  }

  async jobs(state?: string): Promise<JobView[]> {
    return (await this.#json<{ jobs: JobView[] }>(state ? `/v1/jobs?state=${encodeURIComponent(state)}` : '/v1/jobs')).jobs;
  }

  stopJob(id: string): Promise<JobView> {
    return this.#json(`/v1/jobs/${encodeURIComponent(id)}/stop`, { method: 'POST' });
  }

  /** Whether a no-op request has just reached every device. */
  async isReady(): Promise<boolean> {
    try {
      await this.#request('/health/ready');
      return true;
    } catch (error) {
      if (error instanceof MacroError && error.code === 'SERVICE_UNREACHABLE') throw error;
      return false;
    }
  }

  async devices(): Promise<DeviceView[]> {
    return (await this.#json<{ devices: DeviceView[] }>('/v1/devices')).devices;
  }

  async chips(): Promise<ChipPassport[]> {
    return (await this.#json<{ chips: ChipPassport[] }>('/v1/chips')).chips;
  }

  passport(chipId: string): Promise<ChipPassport> {
    return this.#json(`/v1/chips/${encodeURIComponent(chipId)}`);
  }

  writePassport(passport: ChipPassport): Promise<ChipPassport> {
    return this.#put(`/v1/chips/${encodeURIComponent(passport.chipId)}`, passport);
  }

  async snapshots(chipId: string): Promise<SnapshotEntry[]> {
    return (await this.#json<{ snapshots: SnapshotEntry[] }>(`/v1/chips/${encodeURIComponent(chipId)}/snapshots`)).snapshots;
  }

  /** @param temperatureCelsius that the chip has now; left out: as it was last stated */
  calibrations(chipId: string, temperatureCelsius?: number): Promise<CalibrationList> {
    const query = temperatureCelsius === undefined ? '' : `?temperatureCelsius=${temperatureCelsius}`;
    return this.#json(`/v1/chips/${encodeURIComponent(chipId)}/calibrations${query}`);
  }

  async thresholds(chipId: string): Promise<ThresholdEntry[]> {
    return (await this.#json<{ thresholds: ThresholdEntry[] }>(`/v1/chips/${encodeURIComponent(chipId)}/thresholds`)).thresholds;
  }

  writeThreshold(
    chipId: string, threshold: Pick<ThresholdEntry, 'model' | 'threshold'> & Partial<Pick<ThresholdEntry, 'rule'>> & { readonly source?: string },
  ): Promise<ThresholdEntry> {
    return this.#put(`/v1/chips/${encodeURIComponent(chipId)}/thresholds`, threshold);
  }

  #put<Answer>(path: string, body: object): Promise<Answer> {
    return this.#json(path, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  }

  /** Stores a snapshot or imports a map. @param query as of POST /v1/snapshots; its name says what the bytes are @returns its digest */
  async importSnapshot(bytes: Uint8Array, query: Readonly<Record<string, string>>): Promise<string> {
    const init = { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: bytes as Uint8Array<ArrayBuffer> };
    return (await this.#json<{ id: string }>(`/v1/snapshots?${new URLSearchParams(query)}`, init)).id;
  }

  /** @param format npz, h5 or csv */
  async snapshotFile(digest: string, format: string): Promise<Uint8Array> {
    const response = await this.#request(`/v1/snapshots/${encodeURIComponent(digest)}.${format}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Rows of a job as they come, until it has ended. */
  async *results<Row = InferenceRow>(jobId: string): AsyncGenerator<Row> {
    const response = await this.#request(`/v1/jobs/${encodeURIComponent(jobId)}/results?follow=true`);
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      // The service keeps a quiet line open with empty lines.
      for (const line of lines) if (line !== '') yield JSON.parse(line) as Row;
    }
  }

  /** Waits until a job has ended. Throws what it failed with. @param onLook called with what the job is until then */
  async ended(jobId: string, onLook?: (view: JobView) => void): Promise<JobView & { summary: RunSummary }> {
    for (;;) {
      const job = await this.job(jobId);
      if (!endedStates.has(job.state)) {
        onLook?.(job);
        await delay(restMilliseconds);
        continue;
      }
      if (job.state === 'SUCCEEDED') return job as JobView & { summary: RunSummary };
      throw endError(job);
    }
  }
}
