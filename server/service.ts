import { randomBytes, randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { Prng } from '../firmware-protocol/prng.js';
import { MacroError } from '../proto/error.js';
import { type AppOptions, buildApp } from './app.js';
import { snapshotCodes } from './array/apply-mask.js';
import { type ArraySources, arrayJob, arrayOperations } from './array/job.js';
import { WearMeter } from './array/wear-meter.js';
import { LineCapture } from './capture/line-capture.js';
import type { Configuration } from './config.js';
import { Registry } from './device/registry.js';
import { EventBus } from './event-bus.js';
import type { App } from './http/fastify.js';
import { JobProgress } from './http/job-progress.js';
import type { ServiceParts } from './http/parts.js';
import { inferenceJob } from './inference/job.js';
import type { InferenceRow } from './inference/result.js';
import { Scheduler } from './job/scheduler.js';
import type { JobFailure } from './job/state.js';
import { JobStore } from './job/store.js';
import { bundleFromFiles } from './network/bundle.js';
import { type DeviceFigures, Metrics, type MetricSources } from './metrics.js';
import { CalibrationStore } from './store/calibrations.js';
import { ChipStore } from './store/chips.js';
import { type Database, openDatabase } from './store/database.js';
import { DatasetStore } from './store/datasets.js';
import { FrameCache } from './dataset/frame-cache.js';
import { lockHome } from './store/home-lock.js';
import { ModelStore } from './store/models.js';
import { ObjectStore } from './store/objects.js';
import { StoredRequestLog } from './store/request-log.js';
import { StaleSnapshots } from './store/stale-snapshots.js';
import { ThresholdStore } from './store/thresholds.js';
import { WearLedger } from './store/wear-ledger.js';
import { systemClock } from './system-clock.js';
import { version } from './version.js';

/** A running service. */
export interface Service {
  /** `http://host:port`, as it was bound. */
  readonly url: string;
  readonly app: App;
  readonly parts: ServiceParts;
  /** Ends in order: no new requests, running jobs at their next safe point, lines, store. Every step is tried. */
  close(): Promise<void>;
}

const systemPrng: Prng = { nextUint32: () => randomBytes(4).readUInt32LE() };

/** What was opened, in order; closing goes backwards and tries every step, whatever happens to another. */
class Opened {
  readonly #steps: (() => unknown)[] = [];

  add(close: () => unknown): void {
    this.#steps.push(close);
  }

  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, 'the service did not end cleanly');
  }
}

function figuresOf(registry: Registry): DeviceFigures[] {
  return registry.views().map(({ id, state, statistics }) => {
    const { link, discardedFrames, lineBytesSent, lineBytesReceived } = statistics;
    const microseconds = link?.roundTripMicroseconds ?? statistics.roundTripMicroseconds;
    return {
      device: id,
      ready: state === 'ready',
      link: {
        roundTripSeconds: microseconds === undefined ? undefined : microseconds / 1e6,
        retransmissions: link?.retransmissions ?? 0,
        discardedFrames,
        bytesSent: lineBytesSent,
        bytesReceived: lineBytesReceived,
      },
    };
  });
}

/** Counts the codes of jobs that failed; what requests are refused with is counted where they are answered. */
function countFailures(bus: EventBus, metrics: Metrics): () => void {
  const subscription = bus.subscribe({
    accepts: ({ topic }) => topic === 'job',
    notify: () => {
      for (const { event } of subscription.take()) {
        const { failure } = (event?.data ?? {}) as { failure?: JobFailure | null };
        if (failure) metrics.countErrorCode(failure.code);
      }
    },
  });
  return () => subscription.close();
}

/** The tap on every line, where one is asked for. */
function openCapture({ capture }: Configuration, opened: Opened): LineCapture | undefined {
  if (capture === undefined) return undefined;
  const lines = new LineCapture({ ...capture, clock: systemClock, wallMilliseconds: () => Date.now(), hostVersion: version() });
  opened.add(() => lines.end());
  return lines;
}

interface Core {
  readonly database: Database;
  readonly registry: Registry;
  readonly bus: EventBus;
}

type Stores = Pick<ServiceParts, 'store' | 'objects' | 'models' | 'chips' | 'datasets' | 'staleSnapshots' | 'calibrations' | 'thresholds'>;

function openStores({ homeFolder }: Configuration, database: Database): Stores {
  const objects = new ObjectStore(homeFolder);
  return {
    objects, models: new ModelStore(database, objects), chips: new ChipStore(database, objects), datasets: new DatasetStore(database, objects),
    staleSnapshots: new StaleSnapshots(database), calibrations: new CalibrationStore(database), thresholds: new ThresholdStore(database),
    store: new JobStore(database, () => Date.now(), () => randomUUID()),
  };
}

function arraySourcesOf({ connectTimeoutMilliseconds, pulsesPerUser, framesFolder }: Configuration, database: Database, stores: Stores): ArraySources {
  const { objects, models, store, chips, datasets, staleSnapshots, calibrations } = stores;
  return {
    connectTimeoutMilliseconds,
    meter: new WearMeter(new WearLedger(database), pulsesPerUser),
    model: (id) => models.read(id),
    models: () => models.list(),
    snapshot: (digest) => {
      const bytes = objects.find(digest);
      return bytes && snapshotCodes(bytes);
    },
    keep: (bytes) => objects.put(bytes),
    keepModel(files) {
      const bundle = bundleFromFiles(files);
      models.add(bundle.digest, files);
      return bundle;
    },
    earlierCheckpoint: (job, name) => store.earlierCheckpoint(job, name),
    frames: new FrameCache(framesFolder),
    keepSnapshot: (snapshot) => chips.add(snapshot),
    dataset: (id) => datasets.read(id),
    staleness: (digest) => staleSnapshots.of(digest),
    markStale: (digest, staleness) => staleSnapshots.mark(digest, staleness),
    calibrations: {
      newest: (chipId) => calibrations.newest(chipId),
      add(record) {
        chips.meet(record.chipId);
        calibrations.add(record);
      },
    },
    now: () => new Date().toISOString(),
  };
}

function assemble(configuration: Configuration, { database, registry, bus }: Core, opened: Opened): ServiceParts {
  const stores = openStores(configuration, database);
  const { store, objects, staleSnapshots, thresholds } = stores;
  const sources: MetricSources = { devices: () => figuresOf(registry), jobsByState: () => store.counts() };
  const metrics = new Metrics(sources);
  opened.add(countFailures(bus, metrics));
  const progress = new JobProgress(bus);
  opened.add(() => progress.close());
  const arraySources = arraySourcesOf(configuration, database, stores);
  const { connectTimeoutMilliseconds, meter, snapshot, model, keep, calibrations, now } = arraySources;
  const inference = inferenceJob({
    connectTimeoutMilliseconds,
    meter,
    snapshot,
    model,
    keep,
    ...(calibrations && { calibrations }),
    now,
    object: (digest) => objects.get(digest),
    staleness: (digest) => staleSnapshots.of(digest),
    storedThresholds: (chipId, digest) => thresholds.list(chipId, digest),
    rows: (id) => store.results(id) as Iterable<InferenceRow>,
    answered: (device, row) => metrics.countInference(device, row),
  });
  const scheduler = new Scheduler(store, registry, [inference, ...arrayOperations(arraySources).map((kind) => arrayJob(kind, arraySources))], bus, systemClock);
  opened.add(() => scheduler.close());
  return { ...stores, configuration, registry, scheduler, bus, metrics, progress, arraySources };
}

async function listen(app: App, { host, port }: Configuration): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE' || code === 'EACCES') {
      throw new MacroError('PORT_TAKEN', `port ${port} of ${host} cannot be had`, { field: 'port', cause: error });
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
      throw new MacroError('BAD_ARGUMENT', `${host} is no address of this machine`, { field: 'host', cause: error });
    }
    throw error;
  }
  const { address, family, port: bound } = app.server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`;
}

/**
 * Starts a service: takes the home folder for itself, opens its devices and listens. It does not wait for the devices: they connect, and
 * reconnect, by themselves.
 *
 * @throws MacroError STORE_LOCKED, BAD_ADDRESS, BAD_PROFILE, PORT_TAKEN; nothing is left open then
 */
export async function startService(configuration: Configuration, options: AppOptions): Promise<Service> {
  const opened = new Opened();
  try {
    opened.add(lockHome(configuration.homeFolder));
    const database = openDatabase(configuration.homeFolder);
    opened.add(() => database.close());
    const bus = new EventBus();
    const capture = openCapture(configuration, opened);
    const requestLog = (device: string) => new StoredRequestLog(database, device);
    const registry = new Registry({
      clock: systemClock, prng: systemPrng, bus, hostVersion: version(), requestLog, ...(capture && { capture }),
    });
    opened.add(() => registry.close());
    for (const device of configuration.devices) await registry.add(device);
    const parts = assemble(configuration, { database, registry, bus }, opened);
    const app = await buildApp(parts, options);
    opened.add(() => app.close());
    const url = await listen(app, configuration);
    parts.scheduler.start();
    return { url, app, parts, close: () => opened.close() };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
