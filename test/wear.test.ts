// Wear: the ledger says what the board has counted, whose pulses they were, and outlasts the service; and nothing gets a pulse past the envelope.
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  bitmapOf, checkStaircase, type Device, hostEnvelope, openDevice, parseAddress, type Pulse, type PulseKind, strictestEnvelope, type SweepRequest,
} from '../driver/index.js';
import { MacroError } from '../proto/error.js';
import { voltageStepCount, voltageStepOf } from '../proto/voltage-step.js';
import { CellWindows } from '../server/array/cell-windows.js';
import { addCell, noCells } from '../server/array/cell-bitmap.js';
import { MeteredArray } from '../server/array/metered-array.js';
import { WearMeter } from '../server/array/wear-meter.js';
import { openDatabase } from '../server/store/database.js';
import { WearLedger } from '../server/store/wear-ledger.js';
import { systemClock } from '../server/system-clock.js';
import { Chip } from '../sim/chip.js';
import { envelopeOf } from '../sim/envelope.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';
import { ArrayBench, countsOf, throwAwayDatabase } from './rig/array.js';
import { throwAwayHome } from './service-bench.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const region = { firstBitLine: 3, bitLines: 2, firstSourceLine: 10, sourceLines: 2 };
const cells = bitmapOf(region);
const noPulses = () => new Uint16Array(512 * 512);
const noWear = () =>
  ({ forming: noPulses(), set: noPulses(), reset: noPulses(), drivenNanoseconds: new Float64Array(512 * voltageStepCount) });

async function deviceOn(t: Test, chip: Chip): Promise<Device> {
  const board = await TcpBoard.with(chip);
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  await device.whenReady(5000);
  return device;
}

const chipOf = (overrides: object, state: 'formed' | 'pristine' = 'formed') => Chip[state](overrideProfile(profileNamed('lab-full'), overrides), 1);
const isSame = (left: Uint16Array, right: Uint16Array) => Buffer.compare(Buffer.from(left.buffer), Buffer.from(right.buffer)) === 0;

t.test('the ledger is what the board has counted, by owner, and survives the service', async (t) => {
  const chip = chipOf({ stuckOnFraction: 0 });
  const device = await deviceOn(t, chip);
  const home = throwAwayHome(t);
  const first = openDatabase(home);
  const array = new ArrayBench(first);
  await device.resetCells(cells, { amplitudeMillivolts: 2000, widthNanoseconds: 1000 });
  await array.run(device, 'program', { region, microsiemens: 9, user: 'ada' });
  await array.run(device, 'program', { region: { ...region, firstBitLine: 7 }, microsiemens: 9, user: 'ada' });
  first.close();
  const second = openDatabase(home);
  t.teardown(() => second.close());
  const ledger = new WearLedger(second);
  const counts = ledger.counts(chip.chipId);
  for (const kind of ['forming', 'set', 'reset'] as const) t.ok(isSame(counts[kind], countsOf(chip)[kind]), kind);
  const shares = ledger.shares(chip.chipId);
  t.strictSame(shares.find(({ owner }) => owner === null)?.pulses, { forming: 0, set: 0, reset: 4 }, 'the pulses that no job gave are nobody\'s');
  t.strictSame(shares.flatMap(({ owner }) => owner?.user ?? []), ['ada', 'ada']);
  t.equal(shares.reduce((sum, { pulses: { set, reset } }) => sum + set + reset, 0), chip.pulses);
  const at = (bitLine: number, millivolts: number) => counts.drivenNanoseconds[bitLine * voltageStepCount + voltageStepOf(millivolts)];
  t.equal(at(3, 100), chip.drivenNanoseconds[3], 'reads are booked at the read voltage');
  t.ok(at(3, 2000) >= 2000 && at(4, 2000) >= 2000 && at(5, 2000) === 0, 'pulses at their own');
  const total = counts.drivenNanoseconds.reduce((sum, time) => sum + time, 0);
  t.equal(shares.reduce((sum, { drivenNanoseconds }) => sum + drivenNanoseconds, 0), total, 'and all of it is somebody\'s');
});

t.test('pulses that a job gave before its service died are booked as that job\'s', async (t) => {
  const database = throwAwayDatabase(t);
  const ledger = new WearLedger(database);
  const counts = noWear();
  ledger.begin('chip', { jobId: 'killed', user: 'ada' });
  counts.reset[7] = 3;
  const next = new WearLedger(database);
  next.update('chip', counts, true);
  counts.reset[7] = 4;
  next.update('chip', counts, true);
  t.strictSame(next.shares('chip').map(({ owner, pulses }) => [owner?.jobId ?? null, pulses.reset]), [['killed', 3], [null, 1]]);
});

t.test('a board that has lost its memory does not make a cell younger', async (t) => {
  const ledger = new WearLedger(throwAwayDatabase(t));
  const counts = noWear();
  counts.reset[7] = 90;
  ledger.update('chip', counts, true);
  counts.reset[7] = 2;
  ledger.update('chip', counts, true);
  t.equal(ledger.counts('chip').reset[7], 92);
  ledger.update('chip', counts, true);
  t.equal(ledger.counts('chip').reset[7], 92);
});

t.test('time under voltage adds up line by line and voltage by voltage, over the lives of service and board, past 32 bits', async (t) => {
  const home = throwAwayHome(t);
  const booked = (at: number[], nanoseconds: number[]) => {
    const database = openDatabase(home);
    const ledger = new WearLedger(database);
    const counts = noWear();
    at.forEach((place, index) => { counts.drivenNanoseconds[place] = nanoseconds[index]; });
    ledger.update('chip', counts, true);
    const { drivenNanoseconds } = ledger.counts('chip');
    const [share] = ledger.shares('chip');
    database.close();
    return { times: at.map((place) => drivenNanoseconds[place]), all: drivenNanoseconds.reduce((sum, time) => sum + time, 0), share };
  };
  const [read, pulsed, last] = [3 * voltageStepCount + 1, 3 * voltageStepCount + 20, 511 * voltageStepCount + 50];
  const places = [read, pulsed, last];
  t.match(booked(places, [9e12, 1000, 7]), { times: [9e12, 1000, 7], all: 9e12 + 1007, share: { drivenNanoseconds: 9e12 + 1007 } });
  t.match(booked(places, [9e12 + 5, 1000, 8]), { times: [9e12 + 5, 1000, 8], share: { drivenNanoseconds: 9e12 + 1013 } });
  t.match(booked(places, [2, 1000, 8]), { times: [9e12 + 7, 1000, 8], share: { drivenNanoseconds: 9e12 + 1015 } }, 'a board that forgot began anew');
});

t.test('the stricter of host and board holds, limit by limit', async (t) => {
  const board = { ...hostEnvelope, reset: { ...hostEnvelope.reset, amplitudeMaximumMillivolts: 5000, pulsesPerCell: 7 } };
  t.match(strictestEnvelope(board).reset, { amplitudeMaximumMillivolts: 2500, pulsesPerCell: 7 });
  t.equal(strictestEnvelope({ reset: board.reset }).forming.amplitudeMaximumMillivolts, 0, 'what a board leaves out it lets not through');
  t.strictSame(strictestEnvelope(undefined), hostEnvelope);
  const temperature = { minimumCelsius: -60, maximumCelsius: 30 };
  t.strictSame(strictestEnvelope({ ...board, temperature }).temperature, { minimumCelsius: -40, maximumCelsius: 30 });
});

t.test('what the cells of a pulse may draw together is refused by the host, however little each of them may', async (t) => {
  const stairs = (complianceMicroamperes: number) =>
    ({ first: { amplitudeMillivolts: 1000, widthNanoseconds: 1000, complianceMicroamperes }, stepMillivolts: 10, lastMillivolts: 1500 });
  const several = strictestEnvelope({ ...hostEnvelope, set: { ...hostEnvelope.set, cellsAtOnce: 8, totalCurrentMaximumMicroamperes: 400 } });
  checkStaircase('set', stairs(50), several);
  t.throws(() => checkStaircase('set', stairs(51), several), {
    code: 'PULSE_REFUSED', field: 'totalCurrentMicroamperes', message: /totalCurrentMicroamperes of a set pulse is 408; it is an integer from 0 to 400/,
  });
});

/** Numbers around limits, and such as no pulse has. */
const number = (limit: number) => fc.oneof(
  { weight: 12, arbitrary: fc.integer({ min: 10, max: Math.ceil(limit / 2) }) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: Math.ceil(limit * 1.3) }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, limit - 1, limit, limit + 1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32 + 100) },
);
const pulse: fc.Arbitrary<Pulse> = fc.record({ amplitudeMillivolts: number(2500), widthNanoseconds: number(1_000_000), complianceMicroamperes: number(200) });
const staircase = fc.record({ first: pulse, stepMillivolts: number(100), lastMillivolts: number(4000) });
const branch = fc.record({ lastMillivolts: number(2500), complianceMicroamperes: number(200), countedFromMillivolts: number(400) });
const forming = fc.record({ lastMillivolts: number(4500), complianceMicroamperes: number(200), countedFromMillivolts: number(2400) });
const wish = fc.oneof(
  fc.record({ verb: fc.constant('reset' as const), pulse }),
  fc.record({ verb: fc.constant('set' as const), pulse }),
  fc.record({ verb: fc.constant('form' as const), staircase, targetCells: fc.integer({ min: 0, max: 8 }) }),
  fc.record({
    verb: fc.constant('program' as const), reset: fc.option(staircase, { nil: undefined }), set: fc.option(staircase, { nil: undefined }),
    pulsesPerCell: number(20), lowest: fc.integer({ min: 0, max: 6000 }),
  }),
  fc.record({
    verb: fc.constant('sweep' as const), stepMillivolts: number(600), dwellNanoseconds: number(1_000_000),
    branches: fc.oneof(fc.record({ set: branch }), fc.record({ reset: branch }), fc.record({ set: branch, reset: branch }), fc.record({ forming })),
    cycles: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 3 }) }, fc.constantFrom(0, 101, 1.5)),
  }),
  fc.record({ verb: fc.constant('warm' as const), temperatureCelsius: fc.constantFrom(25, 25, 40, 9.9, 60), isTold: fc.boolean() }),
);
type Wish = typeof wish extends fc.Arbitrary<infer Value> ? Value : never;

function countOf({ pulseCounts, formingCounts, setCounts }: Chip, kind: PulseKind, cell: number): number {
  if (kind === 'reset') return pulseCounts[cell] - formingCounts[cell] - setCounts[cell];
  return kind === 'set' ? setCounts[cell] : formingCounts[cell];
}

/** Notes every pulse that reaches a cell outside of the limits. */
function watch(chip: Chip, limits: ReturnType<typeof strictestEnvelope>): string[] {
  const breaches: string[] = [];
  const note = (kind: PulseKind, cell: number, { amplitudeMillivolts, widthNanoseconds, complianceMicroamperes }: Pulse) => {
    const { amplitudeMaximumMillivolts, widthMaximumNanoseconds, complianceMaximumMicroamperes, pulsesPerCell, cellsAtOnce } = limits[kind];
    const isInside = amplitudeMillivolts >= 1 && amplitudeMillivolts <= amplitudeMaximumMillivolts && widthNanoseconds >= 1
      && widthNanoseconds <= widthMaximumNanoseconds && complianceMicroamperes <= complianceMaximumMicroamperes
      && chip.profile.temperatureCelsius >= (limits.temperature?.minimumCelsius ?? 0)
      && chip.profile.temperatureCelsius <= (limits.temperature?.maximumCelsius ?? 0)
      && complianceMicroamperes * cellsAtOnce <= limits[kind].totalCurrentMaximumMicroamperes && countOf(chip, kind, cell) < pulsesPerCell;
    if (!isInside) breaches.push(`${kind} of ${amplitudeMillivolts} mV, ${widthNanoseconds} ns, ${complianceMicroamperes} µA on cell ${cell}`);
  };
  const [form, set, reset] = [chip.form.bind(chip), chip.set.bind(chip), chip.reset.bind(chip)];
  chip.form = (cell, given) => { note('forming', cell, given); form(cell, given); };
  chip.set = (cell, given) => { note('set', cell, given); set(cell, given); };
  chip.reset = (cell, given) => { note('reset', cell, given); reset(cell, given); };
  return breaches;
}

const windowsFrom = (lowest: number) => {
  const windows = new CellWindows();
  for (const cell of [3 * 512 + 10, 4 * 512 + 11]) windows.select(cell, lowest, lowest + 50);
  return windows;
};

const withoutUndefined = <Value extends object>(value: Value) => Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Value;

const resetOf = ({ amplitudeMillivolts, widthNanoseconds }: { amplitudeMillivolts: number; widthNanoseconds: number }) =>
  ({ amplitudeMillivolts, widthNanoseconds });

/** Of one of the cells. */
const sweepOf = ({ verb: _, branches, ...asked }: Extract<Wish, { verb: 'sweep' }>): SweepRequest => ({ bitLine: 3, sourceLine: 10, ...branches, ...asked });

/** Warms the chip up or cools it down, and lets the host know or not. */
async function warm(device: Device, chip: Chip, { temperatureCelsius, isTold }: Extract<Wish, { verb: 'warm' }>): Promise<void> {
  Object.assign(chip, { profile: { ...chip.profile, temperatureCelsius } });
  if (isTold) await device.status();
}

/** Asks the driver itself, past the ledger. */
function askDevice(device: Device, chip: Chip, asked: Wish): Promise<unknown> {
  if (asked.verb === 'warm') return warm(device, chip, asked);
  if (asked.verb === 'reset') return device.resetCells(cells, resetOf(asked.pulse));
  if (asked.verb === 'set') return device.setCells(cells, asked.pulse);
  if (asked.verb === 'form') {
    return device.formCells(cells, { staircase: asked.staircase, targetCells: asked.targetCells, formedCode: 1000, overFormedCode: 12_500 });
  }
  if (asked.verb === 'sweep') return device.sweepCell(sweepOf(asked));
  const { reset, set, pulsesPerCell, lowest } = asked;
  return device.programCells(windowsFrom(lowest).bytes, withoutUndefined({ reset, set, pulsesPerCell, averages: 1 }) as never);
}

function askArray(array: MeteredArray, chip: Chip, asked: Wish): Promise<unknown> {
  if (asked.verb === 'warm') return warm(array.device, chip, asked);
  if (asked.verb === 'reset') return array.reset(cells, resetOf(asked.pulse));
  if (asked.verb === 'set') return array.set(cells, asked.pulse);
  if (asked.verb === 'form') {
    return array.form(cells, { staircase: asked.staircase, targetCells: asked.targetCells, formedCode: 1000, overFormedCode: 12_500 });
  }
  if (asked.verb === 'sweep') return array.sweep(sweepOf(asked));
  const { reset, set, pulsesPerCell, lowest } = asked;
  return array.program(windowsFrom(lowest), withoutUndefined({ reset, set, pulsesPerCell, averages: 1 }) as never);
}

/** Boards that let more through than this host, and such that let less. */
const boards = [
  { resetAmplitudeMaximumMillivolts: 5000, setAmplitudeMaximumMillivolts: 5000, formingAmplitudeMaximumMillivolts: 10_000,
    complianceMaximumMicroamperes: 10_000, resetWidthMaximumNanoseconds: 1e9, setPulsesPerCellMaximum: 20_000, resetPulsesPerCellMaximum: 20_000,
    formingPulsesPerCellMaximum: 20_000 },
  { resetAmplitudeMaximumMillivolts: 1500, setAmplitudeMaximumMillivolts: 1200, formingAmplitudeMaximumMillivolts: 2500, complianceMaximumMicroamperes: 90,
    totalCurrentMaximumMicroamperes: 60, setWidthMaximumNanoseconds: 5000,
    setPulsesPerCellMaximum: 6, resetPulsesPerCellMaximum: 9, formingPulsesPerCellMaximum: 30 },
];

async function refusals(ask: () => Promise<unknown>): Promise<boolean> {
  try {
    await ask();
    return false;
  } catch (error) {
    if (error instanceof MacroError && error.outcome === 'not-applied') return true;
    throw error;
  }
}

t.test('no pulse gets past the envelope, whatever is asked of the driver', async (t) => {
  for (const [index, overrides] of boards.entries()) {
    for (const state of ['formed', 'pristine'] as const) {
      const chip = chipOf(overrides, state);
      const limits = strictestEnvelope(envelopeOf(chip.profile));
      const host = { ...limits };
      // How often a cell may be pulsed in its life is the ledger's to know; of one request the driver knows it, of the others the board.
      for (const kind of ['forming', 'set', 'reset'] as const) host[kind] = { ...limits[kind], pulsesPerCell: envelopeOf(chip.profile)[kind].pulsesPerCell };
      const breaches = watch(chip, host);
      const device = await deviceOn(t, chip);
      let refused = 0;
      await fc.assert(fc.asyncProperty(wish, async (asked) => {
        const before = chip.pulses;
        if (await refusals(() => askDevice(device, chip, asked))) {
          refused += 1;
          return chip.pulses === before && breaches.length === 0;
        }
        return breaches.length === 0;
      }), { numRuns: 80, seed: 17 + index });
      t.strictSame(breaches, []);
      t.ok(refused > 10 && (chip.pulses > 0 || state === 'pristine'), `${refused} of 80 were refused, ${chip.pulses} pulses were given`);
    }
  }
});

t.test('no user gives more pulses to a chip than their budget, in however many jobs', async (t) => {
  const chip = chipOf(boards[0]);
  const device = await deviceOn(t, chip);
  const meter = new WearMeter(new WearLedger(throwAwayDatabase(t)), 5);
  const identity = await device.whenReady(1000);
  const pulse = { amplitudeMillivolts: 1600, widthNanoseconds: 1000 };
  const job = (jobId: string, user: string | null) => MeteredArray.open(device, identity, meter, { owner: { jobId, user } });
  const cells = (count: number) => {
    const bitmap = noCells();
    for (let cell = 0; cell < count; cell += 1) addCell(bitmap, cell);
    return bitmap;
  };
  const refused = (message: RegExp) => ({ code: 'PULSE_REFUSED', field: 'pulsesPerUser', message });
  const tooMany = (await job('too-many', 'ada')).reset(cells(6), pulse);
  await t.rejects(tooMany, refused(/could give 6 pulses; user "ada" may give 5 to this chip, of which 5 are left/));
  await (await job('first', 'ada')).reset(cells(3), pulse);
  const second = await job('second', 'ada');
  await t.rejects(second.reset(cells(3), pulse), refused(/of which 2 are left/));
  await second.reset(cells(2), pulse);
  await t.rejects(second.reset(cells(1), pulse), refused(/of which 0 are left/));
  await (await job('third', 'grace')).reset(cells(5), pulse);
  await (await job('fourth', null)).reset(cells(5), pulse);
  await t.rejects((await job('fifth', null)).reset(cells(1), pulse), refused(/jobs without a user/));
  t.equal(chip.pulses, 15);
  const plan = await MeteredArray.open(device, identity, meter, { user: 'ada' });
  t.match(plan.brokenBy([{ kind: 'reset', cells: cells(1), leastPerCell: 1, mostPerCell: 1 }]), [{ field: 'pulsesPerUser', limit: 0, reached: 1 }]);
});

t.test('no cell gets more pulses in its life than its limits, and no job more than its budget', async (t) => {
  const chip = chipOf(boards[0]);
  const limits = strictestEnvelope(envelopeOf(chip.profile));
  const breaches = watch(chip, limits);
  const device = await deviceOn(t, chip);
  const meter = new WearMeter(new WearLedger(throwAwayDatabase(t)));
  const identity = await device.whenReady(1000);
  let given = 0;
  for (let job = 0; job < 8; job += 1) {
    const maximumPulses = 30 + job * 40;
    const array = await MeteredArray.open(device, identity, meter, { owner: { jobId: `job-${job}`, user: null }, maximumPulses });
    const before = chip.pulses;
    await fc.assert(fc.asyncProperty(wish, async (asked) => {
      await refusals(() => askArray(array, chip, asked));
      return breaches.length === 0 && chip.pulses - before <= maximumPulses;
    }), { numRuns: 12, seed: job });
    given += chip.pulses - before;
  }
  t.strictSame(breaches, []);
  t.ok(given > 50, `${given} pulses were given`);
  const { set, reset } = meter.ledger.counts(chip.chipId);
  t.ok(isSame(reset, countsOf(chip).reset) && isSame(set, countsOf(chip).set));
  t.ok(Math.max(...set.filter((count) => count > 0)) <= limits.set.pulsesPerCell);
});
