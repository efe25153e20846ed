// The scheduler alone, with a store that fails: no job is lost, none is told what is not so, and the process lives on.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Device } from '../driver/index.js';
import { deviceGoneCodes, type ErrorCode, errorTable, MacroError } from '../proto/error.js';
import { EventBus } from '../server/event-bus.js';
import { type JobKind, Scheduler } from '../server/job/scheduler.js';
import { JobStore } from '../server/job/store.js';
import { openDatabase } from '../server/store/database.js';
import { VirtualClock } from './rig/virtual-clock.js';
import { Sabotage, type SabotagePlan } from './simulation/sabotage.js';
import { sabotagedDatabase } from './simulation/sabotaged-database.js';

/** A scheduler whose store fails as planned. Submitting is the first transaction of a job, starting it the second, its end the third. */
function bench(t: Test, plan: Omit<SabotagePlan, 'operation'> | undefined, run: JobKind['run'] = async () => 'done') {
  const effects = { 'not-applied': 1, applied: 2, unknown: 1 }; // of jobs before

  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-scheduler-'));
  const database = openDatabase(folder);
  const sabotage = new Sabotage(plan && { ...plan, operation: 'transaction' });
  const clock = new VirtualClock();
  let jobs = 0;
  const store = new JobStore(sabotagedDatabase(database, sabotage), () => clock.nowMicroseconds() / 1000, () => `job-${(jobs += 1)}`);
  const devices = { device: () => ({ get effects() { return { ...effects }; } }) as Device, ids: () => ['macro-0'] };
  const scheduler = new Scheduler(store, devices, [{ name: 'work', run }], new EventBus(), clock);
  t.teardown(async () => {
    await scheduler.close();
    database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { store, sabotage, clock, scheduler, effects, submit: () => scheduler.submit('work', 'macro-0', null).id };
}

t.test('a job whose start or end the store did not take at once ends as it did', async (t) => {
  for (const number of [2, 3]) {
    const { clock, store, submit } = bench(t, { number, isLasting: false });
    const first = submit();
    await clock.advance(100);
    t.equal(store.get(first).state, number === 2 ? 'QUEUED' : 'RUNNING');
    const second = submit();
    await clock.advance(5_000_000);
    t.equal(store.get(first).state, 'SUCCEEDED', `transaction ${number}`);
    t.equal(store.get(second).state, 'SUCCEEDED', `transaction ${number}`);
    t.equal(clock.pendingTimers, 0);
  }
});

t.test('while the store takes nothing a job counts as running, no other begins, and none is accepted', async (t) => {
  const { clock, store, submit, sabotage } = bench(t, { number: 4, isLasting: true });
  const [first, second] = [submit(), submit()];
  await clock.advance(5_000_000);
  t.equal(store.get(first).state, 'RUNNING');
  t.equal(store.get(second).state, 'QUEUED');
  t.throws(submit, /full/);
  sabotage.end();
  await clock.advance(2_000_000);
  t.equal(store.get(first).state, 'SUCCEEDED');
  t.equal(store.get(second).state, 'SUCCEEDED');
});

t.test('a scheduler that is closed while its store fails leaves the job as running, for the next start to interrupt', async (t) => {
  const { clock, store, submit, scheduler } = bench(t, { number: 3, isLasting: true });
  const job = submit();
  await clock.advance(100);
  await scheduler.close();
  t.equal(store.get(job).state, 'RUNNING');
  t.equal(clock.pendingTimers, 0);
});

t.test('of an error that nobody foresaw the outcome is unknown', async (t) => {
  const { clock, store, submit } = bench(t, undefined, async () => { throw new Error('the disk went away behind a pulse'); });
  const job = submit();
  await clock.advance(100);
  t.match(store.get(job), { state: 'FAILED', failure: { code: 'INTERNAL_ERROR', outcome: 'unknown' } });
});

t.test('a device that went away interrupts a job, whatever is known of its outcome; every other error fails it', async (t) => {
  const endOf = async (error: MacroError) => {
    const { clock, store, submit } = bench(t, undefined, async () => { throw error; });
    const job = submit();
    await clock.advance(100);
    return store.get(job);
  };
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const end = await endOf(new MacroError(code, 'why'));
    t.match(end, { state: deviceGoneCodes.has(code) ? 'INTERRUPTED' : 'FAILED', failure: { code, detail: 'why', outcome: 'not-applied' } }, code);
  }
  for (const code of ['DEVICE_LOST', 'DEADLINE_EXCEEDED'] as const) {
    const cause = new MacroError(code, 'why');
    const end = await endOf(new MacroError('OUTCOME_UNKNOWN', 'a pulse was under way', { outcome: 'unknown', cause }));
    t.match(end, { state: code === 'DEVICE_LOST' ? 'INTERRUPTED' : 'FAILED', failure: { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' } }, code);
  }
});

t.test('a job that is stopped while its device goes away is stopped where nothing is unknown, and interrupted where something is', async (t) => {
  for (const outcome of ['applied', 'unknown'] as const) {
    const { clock, store, scheduler, submit } = bench(t, undefined, ({ signal }) =>
      new Promise((_, reject) => { signal.addEventListener('abort', () => reject(new MacroError('DEVICE_LOST', 'why', { outcome }))); }));
    const job = submit();
    await clock.advance(100);
    scheduler.stop(job);
    await clock.advance(100);
    t.equal(store.get(job).state, outcome === 'unknown' ? 'INTERRUPTED' : 'STOPPED');
  }
});

t.test('a job that was not done states the gravest outcome of all its effectful requests, whatever request it failed at', async (t) => {
  const cases = [
    { requests: [], last: 'not-applied', stated: 'not-applied' },
    { requests: ['not-applied'], last: 'not-applied', stated: 'not-applied' },
    { requests: ['applied'], last: 'not-applied', stated: 'applied' },
    { requests: ['applied', 'unknown', 'not-applied'], last: 'not-applied', stated: 'unknown' },
    { requests: [], last: 'unknown', stated: 'unknown' },
  ] as const;
  for (const { requests, last, stated } of cases) {
    const rig = bench(t, undefined, async () => {
      for (const outcome of requests) rig.effects[outcome] += 1;
      throw new MacroError('DEVICE_LOST', 'the line is down', { outcome: last });
    });
    const job = rig.submit();
    await rig.clock.advance(100);
    t.match(rig.store.get(job), { state: 'INTERRUPTED', failure: { code: 'DEVICE_LOST', outcome: stated } }, requests.join(', '));
  }
});
