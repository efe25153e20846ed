import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Device, WearCounts } from '../../driver/index.js';
import { snapshotCodes } from '../../server/array/apply-mask.js';
import { type ArraySources, arrayJob, arrayOperations, planOperation } from '../../server/array/job.js';
import type { Plan } from '../../server/array/plan.js';
import { WearMeter } from '../../server/array/wear-meter.js';
import type { SentRecording } from '../../server/dataset/recording-pack.js';
import type { CalibrationRecord } from '../../server/calibration/record.js';
import type { JobContext } from '../../server/job/scheduler.js';
import type { Job } from '../../server/job/state.js';
import { type Bundle, bundleFromFiles } from '../../server/network/bundle.js';
import { type Database, openDatabase } from '../../server/store/database.js';
import type { Staleness } from '../../server/store/stale-snapshots.js';
import { WearLedger } from '../../server/store/wear-ledger.js';
import type { Chip } from '../../sim/chip.js';
import { sha256 } from './bench.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A store of its own for one test. */
export function throwAwayDatabase(t: Test): Database {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-array-'));
  const database = openDatabase(folder);
  database.exec('PRAGMA synchronous = OFF'); // a test dies here, never the machine
  t.teardown(() => {
    if (database.isOpen) database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return database;
}

/** What a board counts, as it is in its chip. */
export function countsOf({ pulseCounts, formingCounts, setCounts }: Chip): Pick<WearCounts, 'forming' | 'set' | 'reset'> {
  return { forming: formingCounts.slice(), set: setCounts.slice(), reset: pulseCounts.map((count, cell) => count - formingCounts[cell] - setCounts[cell]) };
}

export interface Ran {
  // biome-ignore lint/suspicious/noExplicitAny: each operation has a summary of its own
  readonly summary: any;
  readonly rows: unknown[];
  readonly progress: unknown[];
}

/** Operations on arrays as the service runs them, without its HTTP door. */
export class ArrayBench {
  readonly ledger: WearLedger;
  readonly meter: WearMeter;
  readonly objects = new Map<string, Uint8Array>();
  readonly bundles = new Map<string, Bundle>();
  readonly snapshots = new Map<string, Uint16Array>();
  readonly datasets = new Map<string, readonly SentRecording[]>();
  readonly stale = new Map<string, Staleness | null>();
  readonly checkpoints = new Map<string, unknown>();
  readonly calibrations: CalibrationRecord[] = [];
  readonly sources: ArraySources;
  jobs = 0;

  constructor(database: Database) {
    this.ledger = new WearLedger(database);
    this.meter = new WearMeter(this.ledger);
    this.sources = {
      connectTimeoutMilliseconds: 5000,
      meter: this.meter,
      model: (id) => this.bundles.get(id) as Bundle,
      models: () => [...this.bundles.keys()],
      snapshot: (digest) => {
        const kept = this.objects.get(digest);
        return this.snapshots.get(digest) ?? (kept && snapshotCodes(kept));
      },
      dataset: (id) => this.datasets.get(id) ?? [],
      staleness: (digest) => this.stale.get(digest) ?? null,
      markStale: (digest, staleness) => this.stale.set(digest, staleness),
      keep: (bytes) => {
        const digest = hex(sha256(bytes));
        this.objects.set(digest, bytes);
        return digest;
      },
      keepModel: (files) => {
        const bundle = bundleFromFiles(files);
        this.bundles.set(bundle.digest, bundle);
        return bundle;
      },
      calibrations: { newest: () => this.calibrations.at(-1), add: (record) => void this.calibrations.push(record) },
      now: () => '2025-07-01T12:00:00.000Z',
      earlierCheckpoint: (_job, name) => this.checkpoints.get(name),
    };
  }

  async plan(device: Device, name: string, given: object): Promise<Plan> {
    const operation = this.operation(name);
    return planOperation(operation, device, operation.parametersOf(given), this.sources);
  }

  /** Runs a job to its end. */
  async run(device: Device, name: string, given: object, signal = new AbortController().signal): Promise<Ran> {
    const operation = this.operation(name);
    const parameters = operation.parametersOf(given);
    const [rows, progress]: unknown[][] = [[], []];
    this.jobs += 1;
    const job = { id: `job-${this.jobs}`, kind: name, device: 'macro-0', parameters } as Job;
    const context = {
      job, device, signal, result: (index: number, row: unknown) => { rows[index] = row; },
      checkpoint: (checkpoint: string, data: unknown) => void this.checkpoints.set(checkpoint, data),
      progress: (done: number, total: number, detail: unknown) => void progress.push({ done, total, detail }), event: () => undefined,
    } as unknown as JobContext;
    const summary = await arrayJob(operation, this.sources).run(context, parameters);
    this.checkpoints.clear(); // it succeeded
    return { summary, rows, progress };
  }

  private operation(name: string) {
    const operation = arrayOperations(this.sources).find((candidate) => candidate.name === name);
    if (operation === undefined) throw new Error(`there is no operation "${name}"`);
    return operation;
  }
}
