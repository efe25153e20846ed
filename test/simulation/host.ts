import { Device, type DeviceEvent } from '../../driver/index.js';
import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import { deviceGoneCodes, type ErrorCode } from '../../proto/error.js';
import type { Outcome } from '../../proto/outcome.js';
import { WearMeter } from '../../server/array/wear-meter.js';
import { type BusEvent, EventBus } from '../../server/event-bus.js';
import { inferenceJob } from '../../server/inference/job.js';
import { type JobKind, Scheduler } from '../../server/job/scheduler.js';
import type { Job } from '../../server/job/state.js';
import { JobStore } from '../../server/job/store.js';
import { type Database, openDatabase } from '../../server/store/database.js';
import { StoredRequestLog } from '../../server/store/request-log.js';
import { WearLedger } from '../../server/store/wear-ledger.js';
import type { Turn } from './cable.js';
import type { Chance } from './chance.js';
import { GuardedClock } from './guarded-clock.js';
import type { JobWatch } from './job-watch.js';
import { DeviceObserver, type Observers } from './observed-device.js';
import { inferenceSources } from './recordings.js';
import type { Sabotage } from './sabotage.js';
import { sabotagedDatabase } from './sabotaged-database.js';
import { TelemetryWatch } from './telemetry-watch.js';
import type { Trace } from './trace.js';
import { type Work, type Workshop, workKinds } from './work.js';

export interface HostOptions {
  readonly clock: Clock;
  readonly trace: Trace;
  readonly chance: Chance;
  readonly folder: string;
  readonly frameTimeMicroseconds: number;
  readonly sabotage: Sabotage;
  readonly watch: JobWatch;
  readonly observers: Observers;
  readonly shop: Workshop;
  readonly newJobId: () => string;
  readonly connect: (turn: Turn) => Promise<ByteChannel>;
}

/** Of what a call is told, the least grave first; one that was told nothing yet is unknown. */
const gravity: readonly Outcome[] = ['not-applied', 'applied', 'unknown'];

export const deviceId = 'macro-0';
const firstMilliseconds = 1_700_000_000_000;

/** The service without its HTTP door, in one of its lives. */
export class Host {
  readonly device: Device;
  readonly observer: DeviceObserver;
  readonly store: JobStore;
  private readonly clock: GuardedClock;
  private readonly database: Database;
  private readonly scheduler: Scheduler;

  constructor(private readonly options: HostOptions) {
    const { clock, chance, folder, frameTimeMicroseconds, sabotage, watch, observers, newJobId, connect } = options;
    this.clock = new GuardedClock(clock);
    this.database = openDatabase(folder);
    this.database.exec('PRAGMA synchronous = OFF'); // a process dies here, never the machine
    const failing = sabotagedDatabase(this.database, sabotage);
    this.store = new JobStore(failing, () => firstMilliseconds + Math.floor(clock.nowMicroseconds() / 1000), newJobId);
    watch.checkStore(this.store);
    const bus = new EventBus();
    const subscription = bus.subscribe({ notify: () => subscription.take().forEach(({ event }) => { this.happened(event); }) });
    this.device = new Device({
      name: deviceId, clock: this.clock, prng: chance.prng, requestLog: new StoredRequestLog(failing, deviceId), frameTimeMicroseconds,
      onEvent: (event) => this.heard(event), connect: () => connect((action) => this.clock.turn(action)),
    });
    this.observer = new DeviceObserver(this.device, observers);
    const device = this.observer.observed();
    this.scheduler = new Scheduler(this.store, { device: () => device, ids: () => [deviceId] }, this.kinds(), bus, this.clock);
    const wasRunning = watch.running();
    this.scheduler.start();
    watch.checkInterrupted(wasRunning, this.store);
    const { trace } = options;
    if (chance.happens(0.6)) TelemetryWatch.draw(chance, trace, observers.verdict).begin(device);
  }

  /** @returns undefined where the service refused */
  submit({ kind, parameters }: Work): Job | undefined {
    try {
      const job = this.scheduler.submit(kind, deviceId, parameters);
      this.options.watch.accepted(job);
      return job;
    } catch (error) {
      this.options.trace.tell('refused', `${kind}: ${String(error)}`);
      return undefined;
    }
  }

  stop(jobId: string): void {
    try {
      this.scheduler.stop(jobId);
    } catch (error) {
      this.options.trace.tell('refused', `stop of ${jobId}: ${String(error)}`);
    }
  }

  /** The process dies: nothing of it happens any more. */
  die(): void {
    if (!this.database.isOpen) return;
    this.options.trace.tell('host', 'dies');
    this.clock.kill();
    this.database.close();
    this.options.observers.trust.hostDied();
  }

  /** Ends as a service does that is asked to. */
  async close(): Promise<void> {
    await this.scheduler.close();
    await this.device.close();
    this.database.close();
  }

  private heard(event: DeviceEvent): void {
    this.options.trace.tell('device', JSON.stringify(event));
  }

  private happened(event: BusEvent | undefined): void {
    if (event === undefined) return;
    this.options.watch.heard(event);
    if (event.topic === 'job') this.checkOutcome(event.data as Pick<Job, 'id' | 'state' | 'failure'>);
  }

  /** What a job says of its effects is what its calls were told: one that was not done states the gravest of it, or worse. */
  private checkOutcome({ id, state, failure }: Pick<Job, 'id' | 'state' | 'failure'>): void {
    const { verdict } = this.options.observers;
    const told = this.observer.outcomes.map(({ outcome }) => outcome);
    const isWhole = told.every((outcome) => outcome === 'applied');
    verdict.expect(state !== 'SUCCEEDED' || isWhole, () => `job ${id} succeeded, and its calls were told ${told.join(', ')}`);
    const gravest = Math.max(0, ...told.map((outcome) => gravity.indexOf(outcome === 'open' ? 'unknown' : outcome)));
    const isHonest = failure === null || gravity.indexOf(failure.outcome) >= gravest;
    verdict.expect(isHonest, () => `job ${id} says ${failure?.outcome}, and its calls were told ${told.join(', ')}`);
    const isFailed = state === 'FAILED' && failure !== null && !deviceGoneCodes.has(failure.code as ErrorCode);
    verdict.expect(isFailed || state !== 'FAILED', () => `job ${id} is FAILED with ${failure?.code}, which interrupts`);
  }

  /** The kinds of the simulation and the service's own, each watched as it begins. */
  private kinds(): JobKind[] {
    const { shop, watch } = this.options;
    return [...workKinds(shop), inferenceJob(inferenceSources(this.store, new WearMeter(new WearLedger(this.database))))].map((kind) => ({
      name: kind.name,
      run: (context, parameters) => {
        watch.begins(context.job.id);
        this.observer.outcomes = [];
        return kind.run(context, parameters);
      },
    }));
  }
}
