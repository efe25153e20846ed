// Current against voltage of one cell: the laws that a sweep and a pulse share, what it counts as, what it refuses, and how the service runs it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress, type SweepRequest } from '../driver/index.js';
import { decodeSweep } from '../driver/sweep.js';
import { decodeSweepPoints, encodeSweepPoints, type SweepPoint, sweepSteps } from '../proto/cell-sweep.js';
import type { MethodRequests, Pulse, SweepCellResult } from '../proto/message.js';
import { main } from '../server/cli/main.js';
import { systemClock } from '../server/system-clock.js';
import { cellState, Chip, topCode } from '../sim/chip.js';
import { envelopeOf } from '../sim/envelope.js';
import { Refusal } from '../sim/task.js';
import { bufferConsole } from './console.js';
import { ArrayBench, countsOf, throwAwayDatabase } from './rig/array.js';
import { done, type Rig, rigOf, run } from './rig/board-task.js';
import { call, serviceBench } from './service-bench.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

type Sweep = MethodRequests['sweepCell'];

/** Converters that are all alike, cells without noise, and room for many pulses: what is left is the law. */
const exact = { channelGainSdFraction: 0, channelOffsetSdCodes: 0, readNoiseFraction: 0, stuckOnFraction: 0 };
const roomy = { setPulsesPerCellMaximum: 20_000, resetPulsesPerCellMaximum: 20_000 };
const settled = { driftMeanFractionPerDecade: 0, driftSdFractionPerDecade: 0 };

const branch = (lastMillivolts: number, complianceMicroamperes = 200, countedFromMillivolts = 0) =>
  ({ lastMillivolts, complianceMicroamperes, countedFromMillivolts });
const sweep = (cell: number, changes: Partial<Sweep>): Sweep =>
  ({ bitLine: cell >> 9, sourceLine: cell & 511, stepMillivolts: 50, dwellNanoseconds: 100_000, cycles: 1, ...changes });

interface Swept { readonly points: SweepPoint[]; readonly result: SweepCellResult }

function sweepOf(rig: Rig, request: Sweep): Swept {
  const result = done(run(rig, 'sweepCell', request));
  return { result, points: decodeSweepPoints(rig.bulk.get(result.pointsSha256) ?? new Uint8Array()) };
}

const resolutionOf = ({ ranges }: SweepCellResult, { range }: SweepPoint) => (ranges[range]?.resolutionPicoamperes ?? Number.NaN) / 1000;
/** nA: half a step of the converter, and half of the integer that it is told as. */
const errorOf = (result: SweepCellResult, point: SweepPoint) => resolutionOf(result, point) / 2 + 0.5;
const near = (value: number, wanted: number, tolerance: number) => Math.abs(value - wanted) <= tolerance;
const nanosiemens = ({ amplitudeMillivolts, currentNanoamperes }: SweepPoint) => (1000 * currentNanoamperes) / amplitudeMillivolts;

t.test('below the thresholds a sweep only measures: the cell stays as it was, and its currents are G · V', async (t) => {
  const rig = rigOf('formed', exact);
  const { chip } = rig;
  const { set, reset } = envelopeOf(chip.profile);
  const before = { codes: chip.codes.slice(), state: rig.arrayState(), conductance: chip.microsiemens(7) };
  const branches = { set: branch(set.movesFromMillivolts - 1, 200, set.movesFromMillivolts), reset: branch(500, 200, reset.movesFromMillivolts) };
  const { points, result } = sweepOf(rig, sweep(7, { ...branches, stepMillivolts: 10, cycles: 2 }));
  t.equal(points.length, 2 * (2 * 40 - 1 + 2 * 50 - 1));
  t.ok(points.every((point) => near(point.currentNanoamperes, before.conductance * point.amplitudeMillivolts, errorOf(result, point))));
  t.ok(points.some(({ amplitudeMillivolts }) => amplitudeMillivolts < 0) && points.every(({ isSaturated }) => !isSaturated));
  t.strictSame([result.setPulses, result.resetPulses, chip.pulses], [0, 0, 0]);
  t.equal(Buffer.compare(rig.arrayState(), before.state), 0, 'array state and epoch');
  t.ok(chip.codes.every((code, cell) => code === before.codes[cell]));
  t.ok(near(result.finalCode, before.codes[7] ?? 0, 1), 'as the converter of cells rounds it');
  t.ok(result.operationNanoseconds >= points.length * 102_000 && result.energyFemtojoules > 0);
});

t.test('ranges: small currents are told apart by less than a nanoampere, and each point says by how much', async (t) => {
  const rig = rigOf('formed', exact);
  rig.chip.reset(7, { amplitudeMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 0 });
  const { points: low, result } = sweepOf(rig, sweep(7, { set: branch(400, 200, 400) }));
  const [fine, coarse] = result.ranges;
  t.strictSame(fine, { fullScaleNanoamperes: 10_239, resolutionPicoamperes: 625 });
  t.strictSame(coarse, { fullScaleNanoamperes: 249_985, resolutionPicoamperes: 15_259 });
  t.ok(low.every(({ range }) => range === 0));
  const { points } = sweepOf(rig, sweep(8, { reset: branch(1200) }));
  t.ok(points.some(({ range }) => range === 0) && points.some(({ range }) => range === 1));
  t.ok(points.every(({ range, currentNanoamperes }) => (range === 0) === (Math.abs(currentNanoamperes) < 10_239)), 'the finest that holds it');
});

t.test('read noise is that of a read, at every voltage', async (t) => {
  const rig = rigOf('formed', { ...exact, readNoiseFraction: 0.02, readNoiseSpread: 0 });
  const conductance = rig.chip.microsiemens(7);
  const { points } = sweepOf(rig, sweep(7, { set: branch(400, 200, 401), cycles: 100 }));
  const ratios = points.map(({ amplitudeMillivolts, currentNanoamperes }) => currentNanoamperes / (conductance * amplitudeMillivolts));
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
  const sd = Math.sqrt(ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / ratios.length);
  t.ok(near(mean, 1, 0.002) && near(sd, 0.02, 0.001), `${mean} ± ${sd} over ${ratios.length} points`);
});

t.test('a double sweep shows SET and then RESET, and is those pulses: a chip that gets them one by one ends the same', async (t) => {
  const rig = rigOf('formed', { ...exact, ...roomy, ...settled });
  const twin = Chip.formed(rig.chip.profile, rig.chip.seed);
  const off: Pulse = { amplitudeMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 0 };
  for (const cell of [3, 700, 100_000]) {
    rig.chip.reset(cell, off);
    twin.reset(cell, off);
    const request = sweep(cell, { set: branch(1700, 50, 401), reset: branch(1800, 200, 501), cycles: 2 });
    const { points } = sweepOf(rig, request);
    const at = (amplitude: number) => points.filter(({ amplitudeMillivolts }) => amplitudeMillivolts === amplitude).map(nanosiemens);
    const [up = 0, down = 0, upAgain = 0, downAgain = 0] = at(500);
    const [before = 0, after = 0] = at(-500);
    const [low, high] = [[up, after, upAgain], [down, before, downAgain]];
    t.ok(low.every((value) => value < 2000) && high.every((value) => value > 7000), `${low} and ${high} nS`);
    for (const { kind, amplitudeMillivolts, isCounted } of sweepSteps(request)) {
      const pulse = { amplitudeMillivolts, widthNanoseconds: 100_000, complianceMicroamperes: kind === 'set' ? 50 : 200 };
      if (isCounted && kind === 'set') twin.set(cell, pulse);
      if (isCounted && kind === 'reset') twin.reset(cell, pulse);
    }
    t.equal(rig.chip.codes[cell], twin.codes[cell]);
    t.strictSame([rig.chip.setCounts[cell], rig.chip.pulseCounts[cell]], [twin.setCounts[cell], twin.pulseCounts[cell]]);
  }
});

/** Of a standard normal law, by the error function of Abramowitz and Stegun, 7.1.26: to 2e-7. */
function normalBelow(z: number): number {
  const u = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
  const tail = u * (0.254829592 + u * (-0.284496736 + u * (1.421413741 + u * (-1.453152027 + u * 1.061405429)))) * Math.exp((-z * z) / 2);
  return z < 0 ? tail / 2 : 1 - tail / 2;
}

/** The first amplitude at which the current is another one than the conductance before it says. */
function switchedAt(result: SweepCellResult, points: readonly SweepPoint[]): number {
  const still = points.find(({ amplitudeMillivolts }) => Math.abs(amplitudeMillivolts) === 500) as SweepPoint;
  const moved = points.find((point) => {
    const expected = (nanosiemens(still) * point.amplitudeMillivolts) / 1000;
    return Math.abs(point.amplitudeMillivolts) > 500 && !near(point.currentNanoamperes, expected, 4 * resolutionOf(result, point));
  });
  return Math.abs((moved as SweepPoint).amplitudeMillivolts);
}

t.test('the voltages at which cells switch are distributed as their thresholds are', async (t) => {
  const cells = Array.from({ length: 400 }, (_, index) => index * 641);
  const rig = rigOf('formed', { ...exact, ...roomy, ...settled, switchingJitterMillivolts: 0 });
  for (const [kind, meanMillivolts] of [['reset', 1000], ['set', 900]] as const) {
    const voltages = cells.map((cell) => {
      // A RESET that went all the way: what a sweep finds is one level.
      if (kind === 'set') rig.chip.reset(cell, { amplitudeMillivolts: 2500, widthNanoseconds: 1000, complianceMicroamperes: 0 });
      const { result, points } = sweepOf(rig, sweep(cell, { [kind]: branch(1250, 200, 500), stepMillivolts: 5 }));
      return switchedAt(result, points);
    });
    // A step of 5 mV shows a threshold behind it, by half a step on average.
    const largest = voltages.sort((a, b) => a - b).reduce((most, voltage, index) => {
      const law = normalBelow((voltage - 2.5 - meanMillivolts) / 60);
      return Math.max(most, Math.abs(law - index / voltages.length), Math.abs(law - (index + 1) / voltages.length));
    }, 0);
    // Kolmogorov and Smirnov: 1.63 / √n at one in a hundred, and half a step of the staircase.
    t.ok(largest < 1.63 / Math.sqrt(voltages.length) + (2.5 / 60) * 0.4, `${kind}: ${largest} from N(${meanMillivolts}, 60)`);
  }
});

t.test('compliance limits the current, of a broken cell as well; what a range cannot hold is flagged', async (t) => {
  const rig = rigOf('formed', { ...exact, complianceMaximumMicroamperes: 1000 });
  const conductance = rig.chip.microsiemens(7);
  const { points, result } = sweepOf(rig, sweep(7, { set: branch(400, 3, 401) }));
  const wanted = ({ amplitudeMillivolts }: SweepPoint) => Math.min(3000, conductance * amplitudeMillivolts);
  t.ok(points.every((point) => near(point.currentNanoamperes, wanted(point), errorOf(result, point))));
  t.ok(points.some((point) => wanted(point) === 3000) && points.some((point) => wanted(point) < 3000));
  rig.chip.codes[9] = topCode;
  const limited = sweepOf(rig, sweep(9, { set: branch(400, 150, 401) }));
  t.ok(limited.points.every((point) => near(point.currentNanoamperes, 150_000, errorOf(limited.result, point)) && !point.isSaturated));
  const saturated = sweepOf(rig, sweep(9, { reset: branch(400, 1000, 401) }));
  t.ok(saturated.points.every(({ currentNanoamperes, isSaturated, range }) => isSaturated && range === 1 && currentNanoamperes === -249_985));
  t.equal(saturated.result.finalCode, topCode);
  t.ok(Number.isFinite(saturated.result.energyFemtojoules));
});

t.test('current and voltage may be a hyperbolic sine: it goes through what a read says, and switches no cell elsewhere', async (t) => {
  const curved = rigOf('formed', { ...exact, ...settled, ivNonlinearityMillivolts: 400 });
  const ohmic = rigOf('formed', { ...exact, ...settled });
  const request = sweep(7, { reset: branch(1500, 200, 501) });
  const { points, result } = sweepOf(curved, request);
  const conductance = ohmic.chip.microsiemens(7);
  const law = (millivolts: number) => conductance * 100 * (Math.sinh(millivolts / 400) / Math.sinh(0.25));
  const weak = points.filter(({ amplitudeMillivolts }, index) => index < 20 && amplitudeMillivolts >= -500);
  t.ok(weak.length === 10 && weak.every((point) => near(-point.currentNanoamperes, law(-point.amplitudeMillivolts), errorOf(result, point))));
  t.ok(near(-(weak[1]?.currentNanoamperes ?? 0), conductance * 100, 1), 'at the read voltage');
  t.equal(sweepOf(ohmic, request).result.finalCode, result.finalCode);
});

t.test('no cell moves below what the envelope states', async (t) => {
  const rig = rigOf('formed', { stuckOnFraction: 0, switchingJitterMillivolts: 60 });
  const { chip } = rig;
  const { set, reset, forming } = envelopeOf(chip.profile);
  t.ok(set.movesFromMillivolts > 100 && reset.movesFromMillivolts > 200, `${set.movesFromMillivolts}, ${reset.movesFromMillivolts} mV`);
  const codes = chip.codes.slice();
  for (let cell = 0; cell < codes.length; cell += 1) {
    chip.set(cell, { amplitudeMillivolts: set.movesFromMillivolts, widthNanoseconds: 1000, complianceMicroamperes: 50 });
    chip.reset(cell, { amplitudeMillivolts: reset.movesFromMillivolts, widthNanoseconds: 1000, complianceMicroamperes: 0 });
  }
  t.ok(chip.codes.every((code, cell) => code === codes[cell]));
  const pristine = rigOf('pristine').chip;
  for (let cell = 0; cell < 65_536; cell += 1) {
    pristine.form(cell, { amplitudeMillivolts: forming.movesFromMillivolts - 1, widthNanoseconds: 1_000_000, complianceMicroamperes: 50 });
  }
  t.ok(pristine.states.every((state) => state === cellState.pristine));
});

t.test('a pristine cell is formed where that is asked for, at its breakdown voltage, and the sweep ends there', async (t) => {
  const rig = rigOf('pristine', exact);
  const { chip } = rig;
  const refused = run(rig, 'sweepCell', sweep(5, { set: branch(400) })).result;
  t.match(refused, { code: 'PULSE_REFUSED', detail: /never formed/ });
  const forming = branch(3900, 50, envelopeOf(chip.profile).forming.movesFromMillivolts);
  const request = sweep(5, { forming, stepMillivolts: 20, dwellNanoseconds: 100_000 });
  const { points, result } = sweepOf(rig, request);
  t.equal(chip.states[5], cellState.formed);
  const twin = rigOf('pristine', exact).chip;
  const reached = points.at(-1)?.amplitudeMillivolts ?? 0;
  twin.form(5, { amplitudeMillivolts: reached - 20, widthNanoseconds: 100_000, complianceMicroamperes: 50 });
  t.equal(twin.states[5], cellState.pristine, 'one step below it does not form');
  const rising = sweepSteps(request).slice(0, points.length);
  t.strictSame(points.map(({ amplitudeMillivolts }) => amplitudeMillivolts), rising.map(({ amplitudeMillivolts }) => amplitudeMillivolts));
  t.ok(points.slice(0, -1).every(({ currentNanoamperes }) => currentNanoamperes === 0) && (points.at(-1)?.currentNanoamperes ?? 0) > 20_000);
  t.equal(result.formingPulses, chip.formingCounts[5]);
  t.equal(result.formingPulses, points.filter(({ amplitudeMillivolts }) => amplitudeMillivolts >= forming.countedFromMillivolts).length);
  t.match(run(rig, 'sweepCell', request).result, { code: 'PULSE_REFUSED', detail: /was formed before/ });
});

t.test('a sweep can be ended between any two steps, and the counts are those of the steps before', async (t) => {
  const request = sweep(7, { set: branch(900, 200, 401), reset: branch(900, 200, 501) });
  const steps = sweepSteps(request);
  for (const taken of [1, 8, 9, 20, 35, 50, steps.length - 1]) {
    const rig = rigOf('formed');
    const epoch = rig.chip.arrayEpoch;
    const { progress } = run(rig, 'sweepCell', request, taken);
    const counted = steps.slice(0, taken).filter(({ isCounted }) => isCounted);
    t.equal(rig.chip.setCounts[7], counted.filter(({ kind }) => kind === 'set').length);
    t.equal(rig.chip.pulses, counted.length);
    t.equal(rig.chip.arrayEpoch, epoch + (counted.length > 0 ? 1 : 0), 'an outcome is told by it');
    t.match(progress.at(-1), { done: taken, total: steps.length, pulses: counted.length });
  }
});

t.test('what is no sweep, or outside the envelope, is refused by the board before the first step, naming field and range', async (t) => {
  const ok = { set: branch(1000), reset: branch(1000) };
  const wrong: [RegExp, Partial<Sweep>][] = [
    [/bitLine is 512; the range is 0 to 511/, { ...ok, bitLine: 512 }],
    [/sourceLine is 512; the range is 0 to 511/, { ...ok, sourceLine: 512 }],
    [/no branch/, {}],
    [/forming branch has no other/, { ...ok, forming: branch(3000) }],
    [/cycles is 0; the range is 1 to 100/, { ...ok, cycles: 0 }],
    [/cycles is 2; the range is 1 to 1/, { forming: branch(3000), cycles: 2 }],
    [/stepMillivolts is 0; the range is 1 to/, { ...ok, stepMillivolts: 0 }],
    [/the number of steps is 7996; the range is 1 to 4096/, { ...ok, stepMillivolts: 1, cycles: 2 }],
    [/set.lastMillivolts is 2501; the range is 1 to 2500/, { set: branch(2501) }],
    [/reset.lastMillivolts is 0; the range is 1 to 2500/, { reset: branch(0) }],
    [/forming.lastMillivolts is 4001; the range is 1 to 4000/, { forming: branch(4001) }],
    [/reset.complianceMicroamperes is 0; the range is 1 to 200/, { reset: branch(1000, 0) }],
    [/set.countedFromMillivolts is 402; the range is 0 to 401/, { set: branch(1000, 50, 402) }],
    [/dwellNanoseconds is 41999; the range is 42000 to 1000000/, { ...ok, dwellNanoseconds: 41_999 }],
    [/dwellNanoseconds is 1000001; the range is 42000 to 1000000/, { ...ok, dwellNanoseconds: 1_000_001 }],
    [/cell 7 has had 0 set pulses and would get 39 more; the limit is 20/, ok],
  ];
  for (const [message, changes] of wrong) {
    const rig = rigOf('formed');
    const { result } = run(rig, 'sweepCell', sweep(7, changes));
    t.match(result instanceof Refusal && result.detail, message);
    t.strictSame([rig.chip.pulses, rig.saves, rig.chip.operationNanoseconds], [0, 0, 0]);
  }
});

const around = (limit: number) => fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 1, max: limit }) }, fc.constantFrom(0, limit, limit + 1, 2 ** 32 - 1));
const anyBranch = (last: number, counted: number) =>
  fc.record({ lastMillivolts: around(last), complianceMicroamperes: around(200), countedFromMillivolts: around(counted) });
const anySweep = fc.record({
  cell: fc.integer({ min: 0, max: 7 }), stepMillivolts: fc.integer({ min: 20, max: 400 }), cycles: around(2),
  dwellNanoseconds: fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 42_000, max: 1_000_000 }) }, around(1_000_000)),
  branches: fc.oneof(
    fc.record({ set: anyBranch(2500, 401), reset: anyBranch(2500, 501) }), fc.record({ set: anyBranch(2500, 401) }),
    fc.record({ reset: anyBranch(2500, 501) }), fc.record({ forming: anyBranch(4000, 2422) }),
  ),
});

t.test('no sweep puts a cell under more than the envelope lets through, and what does not count can move nothing', async (t) => {
  const [formed, pristine] = [rigOf('formed', { stuckOnFraction: 0 }), rigOf('pristine')];
  let [inside, refused] = [0, 0];
  for (const rig of [formed, pristine]) {
    const { chip, macro } = rig;
    const limits = envelopeOf(chip.profile);
    const biases: Pulse[] = [];
    const account = macro.accountPulse.bind(macro);
    Object.assign(macro, { accountPulse: (cell: number, pulse: Pulse) => { biases.push(pulse); account(cell, pulse); } });
    await fc.assert(fc.property(anySweep, ({ cell, branches, ...rest }) => {
      biases.length = 0;
      const before = { pulses: chip.pulseCounts[cell] ?? 0, code: chip.codes[cell] };
      const { result } = run(rig, 'sweepCell', sweep(cell, { ...rest, ...branches }));
      if (result instanceof Refusal) {
        refused += 1;
        return biases.length === 0 && chip.pulseCounts[cell] === before.pulses;
      }
      inside += 1;
      const steps = sweepSteps({ ...rest, ...branches });
      const isInside = biases.every(({ amplitudeMillivolts, widthNanoseconds, complianceMicroamperes }, index) => {
        const { kind, isCounted } = steps[index] as (typeof steps)[number];
        return amplitudeMillivolts <= limits[kind].amplitudeMaximumMillivolts && (isCounted || amplitudeMillivolts < limits[kind].movesFromMillivolts + 1)
          && widthNanoseconds <= limits[kind].widthMaximumNanoseconds && complianceMicroamperes >= 1 && complianceMicroamperes <= 200;
      });
      const given = (chip.pulseCounts[cell] ?? 0) - before.pulses;
      const [forming, sets] = [chip.formingCounts[cell] ?? 0, chip.setCounts[cell] ?? 0];
      return isInside && given === steps.slice(0, biases.length).filter(({ isCounted }) => isCounted).length && (given > 0 || chip.codes[cell] === before.code)
        && forming <= 256 && sets <= 20 && (chip.pulseCounts[cell] ?? 0) - forming - sets <= 100;
    }), { numRuns: 300, seed: 11 });
  }
  t.ok(inside > 40 && refused > 100, `${inside} were done, ${refused} refused`);
  t.ok(formed.chip.pulses > 100 && pristine.chip.pulses > 100);
});

async function on(t: Test, started: Promise<TcpBoard>): Promise<{ board: TcpBoard; device: Device; array: ArrayBench }> {
  const board = await started;
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  await device.whenReady(5000);
  return { board, device, array: new ArrayBench(throwAwayDatabase(t)) };
}

const cell = { bitLine: 3, sourceLine: 7 };
const cellNumber = 3 * 512 + 7;

t.test('the driver refuses before a byte is sent, naming field and range', async (t) => {
  const { board, device } = await on(t, TcpBoard.start('lab-full', 1));
  const ok: SweepRequest = { ...cell, set: branch(1300, 50, 400), stepMillivolts: 100, dwellNanoseconds: 100_000, cycles: 1 };
  const wrong: [string, RegExp, Partial<SweepRequest>][] = [
    ['set.lastMillivolts', /is an integer from 1 to 2500/, { set: branch(2501, 50, 400) }],
    ['reset.lastMillivolts', /is an integer from 1 to 2500/, { reset: branch(-100) }],
    ['set.complianceMicroamperes', /is an integer from 1 to 200/, { set: branch(1300, 201, 400) }],
    ['set.countedFromMillivolts', /is an integer from 0 to 400/, { set: branch(1300, 50, 401) }],
    ['stepMillivolts', /is an integer from 1 to 2500/, { stepMillivolts: 0.5 }],
    ['dwellNanoseconds', /is an integer from 10 to 1000000/, { dwellNanoseconds: 2e6 }],
    ['cycles', /is an integer from 1 to 100/, { cycles: Number.NaN }],
    ['cycles', /counts as 38 set pulses; a cell may have 20/, { cycles: 2 }],
    ['bitLine', /is an integer from 0 to 511/, { bitLine: 512 }],
    ['forming', /no other beside it/, { forming: branch(3000, 50, 2400) }],
    ['the number of steps', /is an integer from 1 to 4096/, { set: branch(400, 50, 0), stepMillivolts: 1, cycles: 100 }],
  ];
  const requests = device.statistics.requests;
  for (const [field, message, changes] of wrong) {
    await t.rejects(device.sweepCell({ ...ok, ...changes }), { code: 'PULSE_REFUSED', outcome: 'not-applied', field, message });
  }
  t.equal(device.statistics.requests, requests);
  await t.rejects(device.sweepCell({ ...ok, dwellNanoseconds: 1000 }), { code: 'PULSE_REFUSED', message: /42000/ }, 'what only the board can know');
  t.equal(board.chip.pulses, 0);
});

t.test('points come back as they were written; an answer that makes no sense is a violation, and the pulses were given', async (t) => {
  const ranges = [{ fullScaleNanoamperes: 10_239, resolutionPicoamperes: 625 }];
  const points = [
    { amplitudeMillivolts: 1300, currentNanoamperes: 2 ** 31 - 1, range: 0, isSaturated: true },
    { amplitudeMillivolts: -2500, currentNanoamperes: -10_239, range: 0, isSaturated: false },
  ];
  t.strictSame(decodeSweep(encodeSweepPoints(points), ranges), points);
  for (const [bytes, message] of [[new Uint8Array(9), /9 bytes/], [encodeSweepPoints([{ ...points[0], range: 1 }]), /range 1/]] as const) {
    t.throws(() => decodeSweep(bytes, ranges), { code: 'PROTOCOL_VIOLATION', outcome: 'applied', message });
  }
});

t.test('a dry run says exactly what the job gives, the ledger what the board counts, and a life that is spent is spent', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 1, { stuckOnFraction: 0 }));
  const asked = { ...cell, user: 'ada' };
  const plan = await array.plan(device, 'iv-sweep', asked);
  t.match(plan, { cells: 1, brokenLimits: [], mostPulses: { forming: 0, set: 19, reset: 25 }, leastPulses: { forming: 0, set: 19, reset: 25 } });
  t.match(plan.wearAfter, [{ kind: 'set', largestPulsesPerCell: 19, limitPulsesPerCell: 20 }, { kind: 'reset', largestPulsesPerCell: 25 }]);
  t.match(plan.figures, { points: 25 + 31, setCountedFromMillivolts: 400, resetCountedFromMillivolts: 400 });
  t.equal(board.chip.pulses, 0, 'a dry run touches nothing');
  const { summary, rows, progress } = await array.run(device, 'iv-sweep', asked);
  t.match(summary, { ...cell, points: 56, saturatedPoints: 0, pulses: plan.mostPulses });
  t.ok(near(summary.finalCode, board.chip.codeNow(cellNumber), 8), `${summary.finalCode}`);
  t.equal(rows.length, 56);
  t.ok(progress.length > 10);
  t.ok(plan.seconds >= summary.operationSeconds && plan.energyNanojoules > 0, `${plan.seconds} s said, ${summary.operationSeconds} s taken`);
  const counts = countsOf(board.chip);
  t.strictSame([counts.set[cellNumber], counts.reset[cellNumber], board.chip.pulses], [19, 25, 44]);
  const ledger = array.ledger.counts(board.chip.chipId);
  t.strictSame([ledger.set[cellNumber], ledger.reset[cellNumber]], [19, 25]);
  t.match(array.ledger.shares(board.chip.chipId), [{ owner: { user: 'ada' }, pulses: { set: 19, reset: 25 } }]);
  const table = new TextDecoder().decode(array.objects.get(summary.objects.curve)).trimEnd().split('\n');
  t.equal(table[0], 'amplitudeMillivolts,currentNanoamperes,resolutionPicoamperes,isSaturated');
  t.strictSame(table.slice(1).map((line) => line.split(',').map(Number)), (rows as Record<string, number>[]).map((row) => Object.values(row)));
  t.match((await array.plan(device, 'iv-sweep', asked)).brokenLimits, [{ field: 'pulsesPerCell', kind: 'set', reached: 38 }]);
  await t.rejects(array.run(device, 'iv-sweep', asked), { code: 'PULSE_REFUSED', field: 'pulsesPerCell' });
  await t.rejects(array.run(device, 'iv-sweep', { ...asked, reset: {}, maximumPulses: 24 }), { code: 'PULSE_REFUSED', field: 'maximumPulses' });
  t.equal(board.chip.pulses, 44);
  const weak = await array.run(device, 'iv-sweep', { ...asked, set: { lastMillivolts: 390 }, stepMillivolts: 10, cycles: 5 });
  t.match(weak.summary, { pulses: { set: 0, reset: 0 }, points: 5 * 77 });
  t.equal(board.chip.pulses, 44, 'a sweep that can move nothing is free');
});

t.test('a sweep that is stopped says whether it pulsed the cell, and the ledger has what it gave', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 1));
  /** Stops a job as soon as its request is so far. */
  const stopped = async (asked: object, isSoFar: () => boolean) => {
    const stop = new AbortController();
    const running = array.run(device, 'iv-sweep', asked, stop.signal);
    const ended = running.then(() => new Error('it was not stopped'), (error: unknown) => error);
    while (!isSoFar()) await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    return ended;
  };
  const long = { ...cell, stepMillivolts: 1 };
  const nanoseconds = board.chip.operationNanoseconds;
  const weak = await stopped({ ...long, reset: { lastMillivolts: 399 }, cycles: 5 }, () => board.chip.operationNanoseconds > nanoseconds + 50e6);
  t.match(weak, { code: 'CANCELLED', outcome: 'not-applied' });
  t.equal(board.chip.pulses, 0);
  const strong = await stopped({ ...long, reset: { lastMillivolts: 440 } }, () => board.chip.pulseCounts[cellNumber] > 0);
  t.match(strong, { code: 'CANCELLED', outcome: 'applied' });
  const given = board.chip.pulses;
  t.ok(given > 0 && given < 81, `${given} of 81 pulses`);
  t.equal(array.ledger.counts(board.chip.chipId).reset[cellNumber], given);
});

t.test('a chip that is pristine is formed by a sweep of its own; the plan says at most', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab', 3, {}, 'pristine'));
  await t.rejects(array.run(device, 'iv-sweep', { ...cell, set: { lastMillivolts: 300 } }), { code: 'PULSE_REFUSED', outcome: 'not-applied' });
  const asked = { ...cell, forming: {} };
  const plan = await array.plan(device, 'iv-sweep', asked);
  t.match(plan, { mostPulses: { forming: 76, set: 0, reset: 0 }, leastPulses: { forming: 1 }, brokenLimits: [] });
  const { summary } = await array.run(device, 'iv-sweep', asked);
  t.ok(summary.pulses.forming >= 1 && summary.pulses.forming < 76 && summary.formingSwitchedMillivolts > 3000, JSON.stringify(summary));
  t.equal(board.chip.states[cellNumber], cellState.formed);
  t.equal(array.ledger.counts(board.chip.chipId).forming[cellNumber], summary.pulses.forming);
  await t.rejects(array.run(device, 'iv-sweep', { ...asked, set: {} }), { code: 'BAD_REQUEST', field: 'forming' });
});

t.test('over HTTP: a dry run, a job with its rows and its curve, refusals with code and field', async (t) => {
  const board = await TcpBoard.start('lab-full', 3);
  t.teardown(() => board.close());
  const bench = await serviceBench(t, { devices: [board.address] });
  const post = (body: object): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const dry = await call(bench, '/v1/iv-sweeps', post({ ...cell, dryRun: true }));
  t.match(dry, { status: 200, body: { plan: { kind: 'iv-sweep', mostPulses: { set: 19, reset: 25 } } } });
  const { body } = await call(bench, '/v1/iv-sweeps', post({ ...cell, wait: 60 }));
  t.match(body.summary, { points: 56, pulses: { set: 19, reset: 25 } });
  const curve = await fetch(`${bench.service.url}/v1/jobs/${body.job.id}/objects/curve`);
  t.equal((await curve.text()).trimEnd().split('\n').length, 57);
  const wrong: [string, string, object][] = [
    ['BAD_REQUEST', 'bitLine', { sourceLine: 7 }],
    ['BAD_REQUEST', 'forming', { ...cell, forming: {}, reset: {} }],
    ['PULSE_REFUSED', 'set.lastMillivolts', { ...cell, set: { lastMillivolts: 2600 }, dryRun: true }],
    ['PULSE_REFUSED', 'set.lastMillivolts', { ...cell, set: { lastMillivolts: 2600 }, wait: 30 }],
  ];
  for (const [code, field, asked] of wrong) {
    const answer = await call(bench, '/v1/iv-sweeps', post(asked));
    t.match(answer.body, { code, field, outcome: 'not-applied' }, answer.text);
  }
  t.equal(board.chip.pulses, 44);
});

async function prime(...argv: string[]) {
  const console = bufferConsole();
  const exitCode = await main(argv, console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('on the command line: dry run, curve in a file, wrong usage before a cell is worn', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-curve-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const asked = ['iv-sweep', '--local', 'sim:lab-full', '--cell', 'bl 3, sl 7'];
  const dry = await prime(...asked, '--dry-run');
  t.match(dry, { exitCode: 0, stdout: /pulses, exactly +0 forming, 19 SET, 25 RESET/ }, dry.stderr);
  const out = join(folder, 'curve.csv');
  const swept = await prime(...asked, '--reset', '1200', '--compliance', '150', '--step', '50', '--cycles', '2', '--out', out, '--json');
  t.equal(swept.exitCode, 0, swept.stderr);
  t.match(JSON.parse(swept.stdout).summary, { cycles: 2, points: 2 * 47, pulses: { set: 0 } });
  t.equal(readFileSync(out, 'utf8').trimEnd().split('\n').length, 1 + 2 * 47);
  const people = await prime(...asked, '--set', '300');
  t.match(people, { exitCode: 0, stdout: /full scale nanoamperes/ }, people.stderr);
  for (const wrong of [['--cell', 'bl 3-4, sl 7'], ['--set', 'high'], ['--out', join(folder, 'none', 'curve.csv')]]) {
    t.match(await prime(...asked, ...wrong), { exitCode: 2, stderr: /^BAD_ARGUMENT: --/ }, wrong.join(' '));
  }
});
