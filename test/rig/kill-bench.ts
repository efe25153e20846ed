import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Device } from '../../driver/index.js';
import { snapshotCodes } from '../../server/array/apply-mask.js';
import { type ArraySources, arrayJob, arrayOperations } from '../../server/array/job.js';
import type { Operation } from '../../server/array/operation.js';
import { WearMeter } from '../../server/array/wear-meter.js';
import { EventBus } from '../../server/event-bus.js';
import { Scheduler } from '../../server/job/scheduler.js';
import type { Job } from '../../server/job/state.js';
import { JobStore } from '../../server/job/store.js';
import { type Bundle, bundleFromFiles } from '../../server/network/bundle.js';
import { type Database, openDatabase } from '../../server/store/database.js';
import { StoredRequestLog } from '../../server/store/request-log.js';
import { WearLedger } from '../../server/store/wear-ledger.js';
import { Board } from '../../sim/board.js';
import { Chip } from '../../sim/chip.js';
import type { Profile } from '../../sim/profile.js';
import { GuardedClock } from '../simulation/guarded-clock.js';
import { sha256 } from './bench.js';
import { Line } from './line.js';
import { SeededPrng } from './seeded-prng.js';
import { VirtualClock } from './virtual-clock.js';

/** Who is killed: the process of the service; that of a simulator with a chip file; the power of a board whose cells keep what was done to them. */
export const victims = ['service', 'simulator', 'board'] as const;
export type Victim = (typeof victims)[number];

const deviceId = 'macro-0';

/** The service without its HTTP door, in one of its lives. */
class Life {
  readonly device: Device;
  readonly store: JobStore;
  readonly ledger: WearLedger;
  readonly scheduler: Scheduler;
  private readonly clock: GuardedClock;
  private readonly database: Database;
  private readonly operations: readonly Operation<unknown>[];

  constructor(bench: KillBench, folder: string, newJobId: () => string) {
    this.clock = new GuardedClock(bench.clock);
    this.database = openDatabase(folder);
    this.database.exec('PRAGMA synchronous = OFF'); // a process dies here, never the machine
    this.store = new JobStore(this.database, () => 0, newJobId);
    this.ledger = new WearLedger(this.database);
    this.device = new Device({
      name: deviceId, clock: this.clock, prng: bench.prng, requestLog: new StoredRequestLog(this.database, deviceId), onEvent: () => undefined,
      connect: () => bench.connect(),
    });
    const sources: ArraySources = {
      connectTimeoutMilliseconds: 60_000, meter: new WearMeter(this.ledger), model: (id) => bench.bundles.get(id) as Bundle, models: () => [],
      snapshot: () => snapshotCodes(new Uint8Array(0)), keep: () => '', keepModel: bundleFromFiles,
      earlierCheckpoint: (job, name) => this.store.earlierCheckpoint(job, name),
      dataset: () => [], staleness: () => null, markStale: () => undefined, now: () => new Date(0).toISOString(),
    };
    this.operations = arrayOperations(sources);
    const kinds = this.operations.map((operation) => arrayJob(operation, sources));
    this.scheduler = new Scheduler(this.store, { device: () => this.device, ids: () => [deviceId] }, kinds, new EventBus(), this.clock);
    this.scheduler.start();
  }

  /** @param given as a client writes it */
  submit(kind: string, given: object): Job {
    const operation = this.operations.find(({ name }) => name === kind);
    return this.scheduler.submit(kind, deviceId, operation?.parametersOf(given));
  }

  /** Nothing of it happens any more. */
  die(): void {
    this.clock.kill();
    if (this.database.isOpen) this.database.close();
  }
}

/** A service and a board in one process under one clock; either can be killed between any two of their turns. */
export class KillBench {
  readonly clock = new VirtualClock();
  readonly prng: SeededPrng;
  readonly bundles = new Map<string, Bundle>();
  chip: Chip;
  life: Life;
  private board: Board;
  private boardClock: GuardedClock;
  /** What the file of the simulator holds: the chip, and what was done to it since. */
  private readonly saved: { readonly chip: Uint8Array; readonly changes: Uint8Array[] };
  private line: Line | undefined;
  private jobs = 0;
  private readonly folder: string;

  constructor(t: Test, private readonly profile: Profile, seed: number, state: 'formed' | 'pristine' = 'formed') {
    this.prng = new SeededPrng(seed);
    this.folder = mkdtempSync(join(tmpdir(), 'prime-hil-kill-'));
    this.chip = Chip[state](profile, 1);
    this.saved = { chip: this.chip.serialise(), changes: [] };
    this.chip.takeChanges();
    this.boardClock = new GuardedClock(this.clock);
    this.board = this.newBoard();
    this.life = this.newLife();
    t.teardown(() => {
      this.life.die();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  connect() {
    const line = new Line(this.clock, this.prng);
    this.line = line;
    this.board.attach(line.board);
    return Promise.resolve(line.host);
  }

  kill(victim: Victim): void {
    if (victim === 'service') {
      this.life.die();
      this.line?.cut();
      this.life = this.newLife();
      return;
    }
    // A simulator that is killed loses what it has not put into its file; silicon keeps what was done to it.
    if (victim === 'simulator') {
      this.chip = Chip.deserialise(this.saved.chip, this.profile) as Chip;
      this.chip.replay(this.saved.changes);
    }
    this.boardClock.kill();
    this.boardClock = new GuardedClock(this.clock);
    this.board = this.newBoard();
    this.line?.cut();
  }

  /** Lets the bench do so many turns, or until a job has ended. @returns turns done */
  async turns(limit: number, jobId: string): Promise<number> {
    for (let turn = 0; turn < limit; turn += 1) {
      if (!['QUEUED', 'RUNNING'].includes(this.life.store.get(jobId).state)) return turn;
      await this.clock.step();
    }
    return limit;
  }

  private newLife(): Life {
    return new Life(this, this.folder, () => `job-${(this.jobs += 1)}`);
  }

  private newBoard(): Board {
    const note = (chip: Chip) => {
      const changes = chip.takeChanges();
      if (changes !== undefined) this.saved.changes.push(changes);
    };
    return new Board({ chip: this.chip, clock: this.boardClock, prng: this.prng, sha256, note });
  }
}
