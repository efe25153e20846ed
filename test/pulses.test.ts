// The board's own loops of pulses: what each does to the cells, what it counts, what it refuses, and where it can be ended.
import fc from 'fast-check';
import t from 'tap';
import { cellOutcomes } from '../proto/message.js';
import { Chance } from '../sim/chance.js';
import { cellState } from '../sim/chip.js';
import { FormingLaw } from '../sim/forming.js';
import { Refusal } from '../sim/task.js';
import { done, put, type Rig, rigOf, run } from './rig/board-task.js';

const cells = 512 * 512;
const outcomeOf = (name: (typeof cellOutcomes)[number]) => cellOutcomes.indexOf(name);
const bitmapOf = (chosen: Iterable<number>) => {
  const bits = new Uint8Array(cells / 8);
  for (const cell of chosen) bits[cell >> 3] = (bits[cell >> 3] ?? 0) | (1 << (cell & 7));
  return bits;
};
const count = (values: Iterable<number>, wanted: number) => [...values].filter((value) => value === wanted).length;

const first = (amplitudeMillivolts: number) => ({ amplitudeMillivolts, widthNanoseconds: 1000, complianceMicroamperes: 50 });
const forming = { first: first(2900), stepMillivolts: 5, lastMillivolts: 3900 };
const reset = { first: { ...first(1000), complianceMicroamperes: 0 }, stepMillivolts: 20, lastMillivolts: 2400 };
const set = { first: first(1000), stepMillivolts: 20, lastMillivolts: 2400 };
const microsiemens = (value: number) => Math.round(value * 250);
const formRequest = (cellsSha256: Uint8Array, targetCells: number) => ({
  cellsSha256, staircase: forming, targetCells, formedCode: microsiemens(4), overFormedCode: microsiemens(60),
});
const block = Array.from({ length: 64 * 64 }, (_, index) => (index >> 6) * 512 + (index & 63));

t.test('forming reaches its target on chips whose breakdown voltage nobody knows, and pulses no formed cell again', async (t) => {
  for (const [shift, spread, target] of [[-80, 114, 0.5], [80, 114, 0.5], [0, 60, 0.87], [80, 180, 0.15], [-80, 150, 0.95]] as const) {
    const rig = rigOf('pristine', { breakdownMeanMillivolts: 3433 + shift, breakdownSdMillivolts: spread });
    const { result, progress } = run(rig, 'formCells', formRequest(put(rig, bitmapOf(block)), Math.round(target * block.length)));
    if (result instanceof Refusal) throw new Error(result.detail);
    t.ok(Math.abs(result.formedCells / block.length - target) < 0.02, `${shift} mV, ${spread} mV: ${result.formedCells / block.length} of ${target}`);
    const { chip } = rig;
    t.equal(result.pulses, chip.pulses);
    t.equal(result.overFormedCells, 0);
    t.equal(progress.at(-1)?.amplitudeMillivolts, result.lastMillivolts);
    t.ok(progress.every(({ done: formed }, index) => formed >= (progress[index - 1]?.done ?? 0)));
    t.equal(rig.saves, 1, 'saved once, before it was answered');
    const outcomes = rig.bulk.get(result.outcomesSha256) ?? new Uint8Array();
    t.equal(count(outcomes, outcomeOf('formed')), result.formedCells);
    t.equal(count(outcomes, outcomeOf('not-selected')), cells - block.length);
    const law = new FormingLaw(chip.profile, new Chance(chip.seed));
    const isExact = block.filter((cell) => chip.states[cell] === cellState.formed)
      .every((cell) => chip.formingCounts[cell] === Math.max(1, 1 + Math.ceil((law.breakdownMillivolts(cell) - 2900) / 5)));
    t.ok(isExact, 'each cell was pulsed up to its breakdown voltage and not once more');
  }
});

t.test('a forming that was ended goes on without repeating what was applied; formed cells are left alone', async (t) => {
  const rig = rigOf('pristine');
  const cellsSha256 = put(rig, bitmapOf(block));
  run(rig, 'formCells', formRequest(cellsSha256, 2000), 700);
  const { chip } = rig;
  const formed = block.filter((cell) => chip.states[cell] === cellState.formed);
  t.ok(formed.length > 50 && formed.length < 2000, `${formed.length} had formed when it was ended`);
  const [codes, counts] = [chip.codes.slice(), chip.formingCounts.slice()];
  const result = done(run(rig, 'formCells', formRequest(cellsSha256, 2000)));
  t.equal(result.formedCells, 2000);
  t.ok(formed.every((cell) => chip.codes[cell] === codes[cell] && chip.formingCounts[cell] === counts[cell]));
  const outcomes = rig.bulk.get(result.outcomesSha256) ?? new Uint8Array();
  t.equal(count(outcomes, outcomeOf('was-formed')), formed.length);
  const again = done(run(rig, 'formCells', formRequest(cellsSha256, 2000)));
  t.equal(again.pulses, 0);
  t.equal(again.lastMillivolts, 0);
});

t.test('over-formed cells are told apart and counted', async (t) => {
  const rig = rigOf('pristine', { overFormingMillivolts: 50 });
  const staircase = { ...forming, stepMillivolts: 100 };
  const result = done(run(rig, 'formCells', { ...formRequest(put(rig, bitmapOf(block)), block.length), staircase }));
  const broken = block.filter((cell) => rig.chip.codes[cell] === 65_535).length;
  t.ok(broken > block.length / 3, `${broken} of ${block.length} met a step of more than 50 mV above their breakdown voltage`);
  t.equal(result.overFormedCells, broken);
  t.equal(result.formedCells, block.length);
});

t.test('programming to ±5 % ends inside, and the true conductance stays near it for a second and an hour', async (t) => {
  const rig = rigOf('formed', { stuckOnFraction: 0 });
  const { chip } = rig;
  const targets = new Map(block.map((cell) => [cell, 8 + (cell % 7)] as const));
  const windows = windowsOf(targets, 0.03);
  const result = done(run(rig, 'programCells', { windowsSha256: put(rig, windows), reset, set, pulsesPerCell: 60, averages: 16 }));
  t.equal(result.insideCells + result.stubbornCells, block.length);
  t.ok(result.insideCells / block.length > 0.95, `${result.insideCells} inside`);
  t.equal(result.resetPulses + result.setPulses, chip.pulses);
  const outcomes = rig.bulk.get(result.outcomesSha256) ?? new Uint8Array();
  const inside = block.filter((cell) => outcomes[cell] === outcomeOf('inside'));
  const within = () => inside.filter((cell) => Math.abs(chip.microsiemens(cell) / (targets.get(cell) ?? 1) - 1) <= 0.05).length / inside.length;
  const now = chip.operationNanoseconds;
  chip.operationNanoseconds = now + 1e9;
  const second = within();
  chip.operationNanoseconds = now + 3600e9;
  const hour = within();
  t.ok(second > 0.93 && hour > 0.85 && hour <= second + 0.01, `${second} after 1 s, ${hour} after 1 h`);
});

function windowsOf(targets: ReadonlyMap<number, number>, tolerance: number): Uint8Array {
  const bytes = new Uint8Array(cells * 4);
  const view = new DataView(bytes.buffer);
  for (let cell = 0; cell < cells; cell += 1) {
    const target = targets.get(cell);
    view.setUint16(cell * 4, target === undefined ? 65_535 : microsiemens(target * (1 - tolerance)), true);
    view.setUint16(cell * 4 + 2, target === undefined ? 0 : microsiemens(target * (1 + tolerance)), true);
  }
  return bytes;
}

t.test('a mask: cells that conduct are reset and verified, unformed ones are not pulsed, stuck ones are told', async (t) => {
  const rig = rigOf('formed', { stuckOnFraction: 0.01 }, 'lab-half');
  const { chip } = rig;
  const bytes = new Uint8Array(cells * 4);
  const view = new DataView(bytes.buffer);
  for (let cell = 0; cell < cells; cell += 1) view.setUint16(cell * 4, block.includes(cell) ? 0 : 65_535, true);
  for (const cell of block) view.setUint16(cell * 4 + 2, microsiemens(4), true);
  const strong = { ...reset, first: { ...reset.first, amplitudeMillivolts: 2000 } };
  const request = { windowsSha256: put(rig, bytes), reset: strong, pulsesPerCell: 5, averages: 4 };
  const formed = block.filter((cell) => chip.states[cell] === cellState.formed);
  const result = done(run(rig, 'programCells', request));
  t.equal(result.setPulses, 0);
  t.equal(result.insideCells + result.stubbornCells, formed.length);
  t.ok(result.stubbornCells > 5 && result.stubbornCells < 50, `${result.stubbornCells} stubborn`);
  t.ok(block.every((cell) => formed.includes(cell) || chip.pulseCounts[cell] === 0));
  t.equal(result.resetPulses, formed.length + 4 * result.stubbornCells, 'one pulse each, five for those that did not move');
  const again = done(run(rig, 'programCells', request));
  t.equal(again.resetPulses, 5 * result.stubbornCells, 'what is reset is not pulsed again');
});

t.test('wear: the counts are those of the chip, by kind, and reads drive lines', async (t) => {
  const rig = rigOf('formed', {}, 'lab-half');
  const { chip, macro } = rig;
  const formed = [...chip.states.keys()].filter((cell) => chip.states[cell] === cellState.formed).slice(0, 300);
  done(run(rig, 'resetCells', { cellsSha256: put(rig, bitmapOf(formed)), amplitudeMillivolts: 2000, widthNanoseconds: 1000 }));
  done(run(rig, 'setCells', { cellsSha256: put(rig, bitmapOf(formed.slice(0, 100))), pulse: first(2000) }));
  macro.readCells({ firstBitLine: 3, bitLines: 1, firstSourceLine: 0, sourceLines: 512 }, 100);
  const { sha256: digest, sizeBytes, pulses } = done(run(rig, 'readWear', {}));
  const bytes = rig.bulk.get(digest) ?? new Uint8Array();
  t.equal(bytes.length, sizeBytes);
  t.equal(pulses, 400);
  const counts = new Uint16Array(bytes.slice(0, 6 * cells).buffer);
  const sum = (from: number) => counts.subarray(from, from + cells).reduce((total, value) => total + value, 0);
  t.strictSame([sum(0), sum(cells), sum(2 * cells)], [0, 100, 300]);
});

/** What ReadWear tells of the time of bit lines, where it is not 0, as [bit line, step of 100 mV, ns]. */
function drivenOf(rig: Rig): number[][] {
  const { sha256: digest, voltageStepMillivolts, voltageSteps } = done(run(rig, 'readWear', {}));
  t.strictSame([voltageStepMillivolts, voltageSteps], [100, 51]);
  const times = new BigUint64Array((rig.bulk.get(digest) ?? new Uint8Array()).slice(6 * cells).buffer);
  t.equal(times.length, 512 * 51);
  return [...times.entries()].filter(([, time]) => time > 0n).map(([place, time]) => [Math.floor(place / 51), place % 51, Number(time)]);
}

t.test('bit lines are driven for reads at the read voltage, for pulses at their amplitude: to the nanosecond', async (t) => {
  const rig = rigOf('formed', { stuckOnFraction: 0, readVoltageMillivolts: 150 });
  const { macro } = rig;
  const cellsSha256 = put(rig, bitmapOf([3 * 512 + 7, 3 * 512 + 8, 9 * 512]));
  t.strictSame(drivenOf(rig), []);
  macro.readCells({ firstBitLine: 3, bitLines: 1, firstSourceLine: 0, sourceLines: 512 }, 100);
  const read = [3, 1, 512 * (2000 + Math.ceil(100 / 8) * 20_000)];
  t.strictSame(drivenOf(rig), [read], 'every cell of the line is read');
  const multiply = { firstBitLine: 5, bitLineCount: 2, sourceLines: [0, 1], range: 0, inferenceNumber: 1, timestep: 0, tile: 0 };
  done(run(rig, 'multiply', { ...multiply, drives: [{ position: 0, plane: 0, lines: Uint8Array.of(0b10) }] }));
  const multiplied = [6, 1, 22_000];
  t.strictSame(drivenOf(rig), [read, multiplied], 'a grounded line is not driven');
  done(run(rig, 'resetCells', { cellsSha256, amplitudeMillivolts: 1999, widthNanoseconds: 700 }));
  t.strictSame(drivenOf(rig), [read, [3, 19, 1400], multiplied, [9, 19, 700]], 'two cells share a line');
  done(run(rig, 'setCells', { cellsSha256, pulse: first(2000) }));
  t.strictSame(drivenOf(rig), [read, [3, 19, 1400], [3, 20, 2000], multiplied, [9, 19, 700], [9, 20, 1000]]);
});

t.test('the line of a forming is driven at every amplitude it took, and what is above 5 V is in one step', async (t) => {
  const rig = rigOf('pristine', { breakdownMeanMillivolts: 5060, breakdownSdMillivolts: 0, formingAmplitudeMaximumMillivolts: 6000 });
  const staircase = { first: first(4850), stepMillivolts: 50, lastMillivolts: 6000 };
  done(run(rig, 'formCells', { ...formRequest(put(rig, bitmapOf([2 * 512])), 1), staircase }));
  // 4850, 4900, 4950, 5000, 5050 and 5100 mV, and a read behind each.
  t.strictSame(drivenOf(rig), [[2, 1, 6 * 22_000], [2, 48, 1000], [2, 49, 2000], [2, 50, 3000]]);
});

t.test('a sweep drives its line at every step, whether it counts as a pulse or not', async (t) => {
  const rig = rigOf('formed', { stuckOnFraction: 0 });
  const branch = { lastMillivolts: 600, complianceMicroamperes: 50, countedFromMillivolts: 500 };
  done(run(rig, 'sweepCell', { bitLine: 8, sourceLine: 1, reset: branch, stepMillivolts: 200, dwellNanoseconds: 50_000, cycles: 2 }));
  const read = 22_000;
  t.strictSame(drivenOf(rig), [[8, 1, read], [8, 2, 200_000], [8, 4, 200_000], [8, 6, 100_000]]);
});

t.test('what the cells of a pulse may draw together is a limit of its own', async (t) => {
  const rig = rigOf('formed', { totalCurrentMaximumMicroamperes: 40 });
  const cellsSha256 = put(rig, bitmapOf([0]));
  const windowsSha256 = put(rig, windowsOf(new Map([[0, 9]]), 0.1));
  const branches = { set: { lastMillivolts: 1000, complianceMicroamperes: 50, countedFromMillivolts: 400 } };
  const sweep = { bitLine: 0, sourceLine: 0, stepMillivolts: 1000, dwellNanoseconds: 100_000, cycles: 1 };
  for (const { result } of [
    run(rig, 'setCells', { cellsSha256, pulse: first(1500) }), run(rig, 'formCells', formRequest(cellsSha256, 1)),
    run(rig, 'programCells', { windowsSha256, reset, set, pulsesPerCell: 8, averages: 1 }), run(rig, 'sweepCell', { ...sweep, ...branches }),
  ]) t.match(result, { code: 'PULSE_REFUSED', detail: 'totalCurrentMicroamperes is 50; the range is 0 to 40' });
  t.equal(rig.chip.pulses, 0);
  done(run(rig, 'setCells', { cellsSha256, pulse: { ...first(1500), complianceMicroamperes: 40 } }));
  rig.macro.energyFemtojoules = 0;
  rig.chip.codes[0] = microsiemens(250);
  rig.macro.accountPulse(0, { ...first(2000), complianceMicroamperes: 0 });
  t.equal(rig.macro.energyFemtojoules, 2 * 40 * 1000, 'what no compliance limits the driver of the line does: V · µA · ns');
});

/** Mostly what a board takes, and often enough what it must not. */
const around = (limit: number) => fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: limit }) }, fc.constantFrom(0, limit, limit + 1, 2 * limit));
const whole = fc.oneof(around(2500), around(4000));
const pulseOf = fc.record({ amplitudeMillivolts: whole, widthNanoseconds: around(1_000_000), complianceMicroamperes: around(200) });
const stairs = fc.record({ first: pulseOf, stepMillivolts: whole, lastMillivolts: whole });
type Stairs = typeof stairs extends fc.Arbitrary<infer Value> ? Value : never;
const chosen = fc.array(fc.integer({ min: 0, max: 2047 }), { maxLength: 20 });

const asked = fc.tuple(fc.constantFrom('formCells', 'setCells', 'resetCells', 'programCells', 'sweepCell'), chosen, stairs, stairs);

/** A sweep of one cell of a choice: a staircase is a branch, and of what its steps count as it may lie. */
function sweepOf([cell = 0, kinds = 0, counted = 0]: number[], a: Stairs, b: Stairs) {
  const branchOf = ({ lastMillivolts, first: { complianceMicroamperes } }: Stairs) =>
    ({ lastMillivolts, complianceMicroamperes, countedFromMillivolts: counted % 3 === 0 ? 0 : counted });
  const branches = [{ forming: branchOf(a) }, { set: branchOf(a) }, { reset: branchOf(b) }, { set: branchOf(a), reset: branchOf(b) }][kinds % 4];
  const dwellNanoseconds = a.first.widthNanoseconds;
  return { bitLine: cell >> 9, sourceLine: cell & 511, ...branches, stepMillivolts: a.stepMillivolts, dwellNanoseconds, cycles: 1 + (counted % 2) };
}

t.test('no request gets a pulse past the envelope', async (t) => {
  const totalCurrentMaximumMicroamperes = 150;
  const limits = { formingPulsesPerCellMaximum: 30, setPulsesPerCellMaximum: 3, resetPulsesPerCellMaximum: 4, totalCurrentMaximumMicroamperes };
  const celsius = fc.constantFrom(25, 10, 40, 39.9, 9.9, 40.1);
  let pulses = 0;
  await fc.assert(
    fc.property(fc.array(asked, { maxLength: 6 }), celsius, (requests, temperatureCelsius) => {
      const rig = rigOf('formed', { ...limits, temperatureCelsius }, 'lab-half');
      const { chip } = rig;
      const strikes: boolean[] = [];
      const inside = ({ amplitudeMillivolts, widthNanoseconds, complianceMicroamperes }: ReturnType<typeof first>, kind: 'forming' | 'set' | 'reset') =>
        amplitudeMillivolts >= 1 && amplitudeMillivolts <= (kind === 'forming' ? 4000 : 2500) && widthNanoseconds >= 1 && widthNanoseconds <= 1_000_000
        && complianceMicroamperes <= totalCurrentMaximumMicroamperes && (kind === 'reset' || complianceMicroamperes >= 1);
      const watch = (kind: 'forming' | 'set' | 'reset', strike: (cell: number, pulse: ReturnType<typeof first>) => void) =>
        (cell: number, pulse: ReturnType<typeof first>) => {
          strikes.push(inside(pulse, kind));
          strike.call(chip, cell, pulse);
        };
      Object.assign(chip, { form: watch('forming', chip.form), set: watch('set', chip.set), reset: watch('reset', chip.reset) });
      for (const [method, selected, a, b] of requests) {
        const cellsSha256 = put(rig, bitmapOf(selected));
        if (method === 'formCells') run(rig, method, { ...formRequest(cellsSha256, 20), staircase: a });
        if (method === 'setCells') run(rig, method, { cellsSha256, pulse: a.first });
        if (method === 'resetCells') run(rig, method, { cellsSha256, ...a.first });
        if (method === 'sweepCell') run(rig, method, sweepOf(selected, a, b));
        if (method !== 'programCells') continue;
        const windowsSha256 = put(rig, windowsOf(new Map(selected.map((cell) => [cell, 4 + (cell % 12)])), 0.1));
        run(rig, method, { windowsSha256, reset: a, set: b, pulsesPerCell: 8, averages: 1 });
      }
      pulses += strikes.length;
      const isBounded = Array.from({ length: 2048 }, (_, cell) => cell).every((cell) => {
        const [forming, sets, all] = [chip.formingCounts[cell] ?? 0, chip.setCounts[cell] ?? 0, chip.pulseCounts[cell] ?? 0];
        return forming <= 30 && sets <= 3 && all - forming - sets <= 4;
      });
      const isTemperate = temperatureCelsius >= 10 && temperatureCelsius <= 40;
      return strikes.every(Boolean) && isBounded && (isTemperate || strikes.length === 0);
    }),
    { numRuns: 60, seed: 4 },
  );
  t.ok(pulses > 100, `${pulses} pulses were inside`);
});

t.test('where lines resist, what that makes of a source line is worked out one line a step: the board answers between them', async (t) => {
  const region = { firstBitLine: 3, bitLines: 1, firstSourceLine: 5, sourceLines: 6 };
  const stepsOf = (lineResistanceOhmsPerCell: number) => {
    const rig = rigOf('formed', { lineResistanceOhmsPerCell });
    const targets = new Map([[3 * 512 + 40, 9], [3 * 512 + 41, 9]]);
    return [
      run(rig, 'readCells', { region, averages: 1 }), run(rig, 'readCells', { region, averages: 1 }),
      run(rig, 'programCells', { windowsSha256: put(rig, windowsOf(targets, 0.5)), reset, set, pulsesPerCell: 1, averages: 1 }),
    ].map(({ steps }) => steps);
  };
  const [none, known, program] = stepsOf(0);
  t.strictSame(stepsOf(1), [none + 6, known, program + 2]);
});
