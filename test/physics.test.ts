// The laws of the simulated silicon, each against what PRIME.md §6 or MODEL.md states of it, on tens of thousands of cells.
import fc from 'fast-check';
import t from 'tap';
import { Chance, decades, skewed } from '../sim/chance.js';
import { cellState, Chip, topCode } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';

const cells = 512 * 512;
const sample = Array.from({ length: 40_000 }, (_, index) => index * 6);
const pulse = (amplitudeMillivolts: number, changes: object = {}) => ({ amplitudeMillivolts, widthNanoseconds: 1000, complianceMicroamperes: 50, ...changes });
const profileOf = (overrides: object = {}, name = 'lab') => overrideProfile(profileNamed(name), { stuckOnFraction: 0, ...overrides });
const pristine = (overrides: object = {}, seed = 1) => Chip.pristine(profileOf(overrides), seed);
const formed = (overrides: object = {}, name = 'lab-full') => Chip.formed(profileOf(overrides, name), 1);
const near = (value: number, wanted: number, tolerance: number) => Math.abs(value - wanted) <= tolerance;

function moments(values: readonly number[]) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const central = (power: number) => values.reduce((sum, value) => sum + (value - mean) ** power, 0) / values.length;
  const sd = Math.sqrt(central(2));
  return { mean, sd, skewness: central(3) / sd ** 3 };
}

const percentile = (values: readonly number[], fraction: number) => [...values].sort((a, b) => a - b)[Math.floor(values.length * fraction)] ?? Number.NaN;
const conductances = (chip: Chip, of: readonly number[] = sample) => of.map((cell) => chip.microsiemens(cell));
const yieldOf = (chip: Chip) => sample.filter((cell) => chip.states[cell] === cellState.formed).length / sample.length;

/** The fraction of cells that one pulse forms. */
function formedAt(amplitudeMillivolts: number, changes: object = {}, overrides: object = {}): number {
  const chip = pristine(overrides);
  for (const cell of sample) chip.form(cell, pulse(amplitudeMillivolts, changes));
  return yieldOf(chip);
}

t.test('logarithm and skewed deviates are what they are called', async (t) => {
  await fc.assert(fc.property(fc.double({ min: 1, max: 1e18, noNaN: true }), (value) => near(decades(value), Math.log10(value), 1e-6)));
  const chance = new Chance(3);
  const draws = Array.from({ length: 100_000 }, (_, cell) => skewed(chance.normal(1, cell), 0.54));
  const { mean, sd, skewness } = moments(draws);
  t.ok(near(mean, 0, 0.01) && near(sd, 1, 0.01) && near(skewness, 0.54, 0.04), `${mean} ± ${sd}, skewness ${skewness}`);
  t.equal(skewed(1.5, 0), 1.5);
});

t.test('forming curve: 16 % of the cells at 3.30 V, 55 % at 3.45 V, 94 % at 3.60 V, as measured on 400 cells', async (t) => {
  // Three standard errors of a fraction of 400 cells, and the tolerance of the normal law that the two published moments give.
  for (const [amplitude, measured] of [[3300, 0.16], [3450, 0.55], [3600, 0.94]] as const) {
    const simulated = formedAt(amplitude);
    t.ok(near(simulated, measured, 3 * Math.sqrt((measured * (1 - measured)) / 400)), `${amplitude} mV: ${simulated}`);
  }
  const chip = pristine();
  const breakdown = sample.map((cell) => {
    for (let amplitude = 2900; ; amplitude += 5) {
      chip.form(cell, pulse(amplitude));
      if (chip.states[cell] === cellState.formed) return amplitude / 1000;
    }
  });
  const { mean, sd } = moments(breakdown);
  t.ok(near(mean, 3.4355, 0.005) && near(sd, 0.114, 0.002), `${mean} ± ${sd} V in steps of 5 mV`);
});

t.test('a wider pulse forms at a lower voltage, by the stated decade', async (t) => {
  t.ok(near(formedAt(3333, { widthNanoseconds: 10_000 }), formedAt(3433), 0.002));
  t.ok(near(formedAt(3533, { widthNanoseconds: 100 }), formedAt(3433), 0.002));
  t.ok(near(formedAt(3433), 0.5, 0.01));
});

t.test('formed cells: mean 12.34, sd 1.84, percentiles 8.74 and 17.57, skewness 0.54 µS', async (t) => {
  const chip = pristine({ overFormingMillivolts: 2000 });
  for (const cell of sample) chip.form(cell, pulse(3900));
  for (const values of [conductances(chip), conductances(formed())]) {
    const { mean, sd, skewness } = moments(values);
    t.ok(near(mean, 12.34, 0.03) && near(sd, 1.84, 0.03) && near(skewness, 0.54, 0.05), `${mean} ± ${sd}, skewness ${skewness}`);
    t.ok(near(percentile(values, 0.01), 8.74, 0.15) && near(percentile(values, 0.99), 17.57, 0.3), `${percentile(values, 0.01)}, ${percentile(values, 0.99)}`);
  }
});

t.test('a chip that is formed by pulses is the formed chip of its seed', async (t) => {
  const chip = pristine();
  for (const cell of sample) for (const amplitude of [3300, 3433]) if (chip.states[cell] === cellState.pristine) chip.form(cell, pulse(amplitude));
  const whole = Chip.formed(profileOf(), 1);
  t.ok(sample.every((cell) => chip.codes[cell] === whole.codes[cell]), 'half of the cells break down below the mean breakdown voltage');
});

t.test('compliance sets the conductance; too much voltage breaks a cell for good', async (t) => {
  const chip = pristine({ overFormingMillivolts: 2000 });
  for (const cell of sample) chip.form(cell, pulse(3900, { complianceMicroamperes: 100 }));
  t.ok(near(moments(conductances(chip)).mean, 24.68, 0.06));
  const broken = pristine({ overFormingMillivolts: 300 });
  for (const cell of sample) broken.form(cell, pulse(3733));
  const fraction = sample.filter((cell) => broken.codes[cell] === topCode).length / sample.length;
  t.ok(near(fraction, 0.5, 0.01), `${fraction} are 300 mV above their breakdown voltage`);
  t.throws(() => broken.form(sample[0] ?? 0, pulse(3400)), RangeError, 'a cell that was formed is never formed again');
});

t.test('faults: so many cells never form, are stuck on or off', async (t) => {
  t.ok(near(formedAt(3950, {}, { neverFormsFraction: 0.1 }), 0.9, 0.005));
  const stuckOn = formed({ stuckOnFraction: 0.05 });
  for (const cell of sample) stuckOn.reset(cell, pulse(2000));
  t.ok(near(conductances(stuckOn).filter((value) => value > 4).length / sample.length, 0.05, 0.004));
  const stuckOff = formed({ stuckOffFraction: 0.05 });
  for (const cell of sample) stuckOff.reset(cell, pulse(2000));
  for (const cell of sample) stuckOff.set(cell, pulse(2000));
  t.ok(near(conductances(stuckOff).filter((value) => value < 4).length / sample.length, 0.05, 0.004));
});

t.test('a full RESET leaves the residual, whatever was there; a weak one moves nothing; in between it moves by a part', async (t) => {
  const chip = formed();
  const before = conductances(chip);
  for (const cell of sample) chip.reset(cell, pulse(700));
  t.strictSame(conductances(chip), before, 'below every threshold');
  for (const cell of sample) chip.reset(cell, pulse(1300));
  const half = conductances(chip);
  const moved = half.map((value, index) => 1 - value / (before[index] ?? 1));
  t.ok(near(moments(moved).mean, 0.5 * (1 - 0.5 / 12.34), 0.02), `${moments(moved).mean}: half of the span above the threshold`);
  for (const cell of sample) chip.reset(cell, pulse(2000));
  const { mean, sd } = moments(conductances(chip));
  t.ok(near(mean, 0.506, 0.01) && near(sd, 0.29, 0.01), `${mean} ± ${sd}: N(0.5, 0.3) cut at 0`);
});

t.test('a cell that is SET again gets a new conductance of the same law; part of the spread is its own', async (t) => {
  const chip = formed();
  const cycle = () => {
    for (const cell of sample) chip.reset(cell, pulse(2000));
    for (const cell of sample) chip.set(cell, pulse(2000));
    return conductances(chip);
  };
  const first = cycle();
  const second = cycle();
  for (const values of [first, second]) {
    const { mean, sd, skewness } = moments(values);
    t.ok(near(mean, 12.34, 0.05) && near(sd, 1.84, 0.04) && near(skewness, 0.54, 0.06), `${mean} ± ${sd}, skewness ${skewness}`);
  }
  const [a, b] = [moments(first), moments(second)];
  const correlation = first.reduce((sum, value, index) => sum + (value - a.mean) * ((second[index] ?? 0) - b.mean), 0) / (first.length * a.sd * b.sd);
  t.ok(near(correlation, 0.3, 0.02), `correlation ${correlation} from cycle to cycle`);
});

t.test('pristine cells: a RESET counts and does nothing, a SET is an error of whoever gave it', async (t) => {
  const chip = pristine();
  chip.reset(7, pulse(2000));
  t.equal(chip.codes[7], 0);
  t.equal(chip.pulseCounts[7], 1);
  t.throws(() => chip.set(7, pulse(2000)), RangeError);
});

t.test('endurance: a worn-out cell stays where it is', async (t) => {
  const chip = formed({ enduranceCycles: 10, enduranceSdFraction: 0 });
  for (let cycle = 0; cycle < 5; cycle += 1) {
    chip.reset(0, pulse(2000));
    chip.set(0, pulse(2000));
  }
  const last = chip.codes[0];
  chip.reset(0, pulse(2000));
  t.equal(chip.codes[0], last);
});

t.test('drift: so much for each decade since the last pulse, faster where it is warm; an old chip has settled', async (t) => {
  const drift = { driftMeanFractionPerDecade: 0.01, driftSdFractionPerDecade: 0, ageingStepNanoseconds: 1000 };
  const lossAfter = (seconds: number, overrides: object = {}) => {
    const chip = formed({ ...drift, ...overrides });
    for (const cell of sample) chip.set(cell, pulse(2000));
    const before = sample.map((cell) => chip.codes[cell] ?? 0);
    chip.operationNanoseconds += seconds * 1e9;
    return moments(sample.map((cell, index) => 1 - chip.codeNow(cell) / (before[index] ?? 1))).mean;
  };
  t.ok(near(lossAfter(1), 0.06, 0.0003), '1 s is six decades of the reference of 1 µs');
  t.ok(near(lossAfter(3600), 0.0956, 0.0003));
  t.ok(near(lossAfter(1, { temperatureCelsius: 58.22 }), 0.07, 0.0003), 'a factor of ten in time at 2^(33.22/10)');
  const old = formed(drift);
  const codes = old.codes.slice();
  old.operationNanoseconds += 1e15;
  t.ok(sample.every((cell) => old.codeNow(cell) === codes[cell]));
});

t.test('drift differs from cell to cell and from pulse to pulse', async (t) => {
  const chip = formed({ driftMeanFractionPerDecade: 0, driftSdFractionPerDecade: 0.002, ageingStepNanoseconds: 1000 });
  for (const cell of sample) chip.set(cell, pulse(2000));
  chip.operationNanoseconds += 1e9;
  const change = sample.map((cell) => chip.codeNow(cell) / (chip.codes[cell] ?? 1) - 1);
  t.ok(near(moments(change).sd, 0.012, 0.0005), `${moments(change).sd} after six decades`);
});

t.test('a pulse that is too weak does not make a cell younger, and one that moves it starts from what time has left', async (t) => {
  const chip = formed({ driftMeanFractionPerDecade: 0.01, driftSdFractionPerDecade: 0, ageingStepNanoseconds: 1000, switchingJitterMillivolts: 0 });
  for (const cell of sample) chip.set(cell, pulse(2000));
  chip.operationNanoseconds += 1e15;
  const aged = conductances(chip);
  for (const cell of sample) chip.reset(cell, pulse(500));
  t.strictSame(conductances(chip), aged, 'drift goes on as if there had been no pulse');
  t.ok(sample.every((cell) => chip.pulseCounts[cell] === 2), 'which counts all the same');
  for (const cell of sample) chip.reset(cell, pulse(1300));
  const moved = conductances(chip).map((value, index) => value / (aged[index] ?? 1));
  t.ok(near(moments(moved).mean, 0.525, 0.02), `${moments(moved).mean}: half of the way from there to the residual`);
});

t.test('telegraph noise: so many cells jump between two levels and stay there for a dwell', async (t) => {
  const chip = formed({ telegraphCellFraction: 0.1, telegraphAmplitudeFraction: 0.2, telegraphDwellNanoseconds: 1_000_000_000, driftSdFractionPerDecade: 0 });
  const seen = sample.map(() => new Set<number>());
  const low: number[] = [];
  for (let second = 0; second < 400; second += 20) {
    chip.operationNanoseconds = second * 1e9;
    sample.slice(0, 5000).forEach((cell, index) => { seen[index]?.add(chip.codeNow(cell)); });
    low.push(sample.slice(0, 5000).filter((cell) => chip.codeNow(cell) < (chip.codes[cell] ?? 0)).length / 5000);
  }
  const jumping = seen.slice(0, 5000).filter(({ size }) => size === 2).length / 5000;
  t.ok(near(jumping, 0.1, 0.015), `${jumping} jump`);
  t.ok(near(moments(low).mean, 0.05, 0.01), 'half of the time low');
  const name = chip.stateName;
  chip.operationNanoseconds += 1000;
  t.equal(chip.stateName, name, 'constant within one inference');
});

t.test('read disturb: a driven bit line loses so much a second, and a pulse makes good for it', async (t) => {
  const chip = formed({ readDisturbFractionPerSecond: 0.01, driftSdFractionPerDecade: 0, driftMeanFractionPerDecade: 0 });
  chip.drivenNanoseconds[0] = 10e9;
  t.ok(near(chip.microsiemens(3) / ((chip.codes[3] ?? 1) * 0.004), 0.9, 0.001));
  t.equal(chip.codeNow(512), chip.codes[512]);
  chip.reset(3, pulse(2000));
  t.equal(chip.codeNow(3), chip.codes[3]);
});

t.test('half-select disturb: a pulse costs the other cells of its word line so much, whichever way that runs', async (t) => {
  for (const [wordLines, beside, apart] of [['along-bit-lines', 3, 512], ['along-source-lines', 512, 3]] as const) {
    const chip = formed({ halfSelectDisturbFraction: 0.001, wordLines, driftSdFractionPerDecade: 0, driftMeanFractionPerDecade: 0 });
    for (let pulses = 0; pulses < 50; pulses += 1) chip.reset(0, pulse(700));
    t.ok(near(chip.microsiemens(beside) / ((chip.codes[beside] ?? 1) * 0.004), 0.95, 0.001), wordLines);
    t.equal(chip.codeNow(apart), chip.codes[apart]);
    t.equal(chip.codeNow(0), chip.codes[0]);
  }
  t.throws(() => profileOf({ wordLines: 'across' }), { code: 'BAD_PROFILE', message: /along-bit-lines or along-source-lines/ });
});

t.test('read noise: 2 % on the average of all cells, 0.07 % of the reads beyond four sigma', async (t) => {
  const chip = formed();
  const macro = new Macro(chip);
  const region = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };
  const step = 102_400 / 2 ** 14 / 4; // of the converter, in cell codes: it rounds by up to half of it
  const deviations: number[] = [];
  for (let read = 0; read < 2; read += 1) {
    macro.readCells(region, 1).codes.forEach((code, cell) => {
      const truth = chip.codes[cell] ?? 1;
      deviations.push((code - truth) / Math.hypot(truth * 0.02, step / Math.sqrt(12)));
    });
  }
  const { sd } = moments(deviations);
  const beyond = deviations.filter((value) => Math.abs(value) > 4).length / deviations.length;
  t.ok(near(sd, 1, 0.01), `${sd}`);
  t.ok(near(beyond, 0.0007, 0.0002), `${beyond} beyond 4σ`);
});

t.test('converters: lines of one channel agree, channels differ by the stated gain and offset', async (t) => {
  const lone = { formedSdMicrosiemens: 0, readNoiseFraction: 0, channelGainSdFraction: 0.02, channelOffsetSdCodes: 0 };
  const region = { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 512 };
  const { codes } = new Macro(formed(lone)).readCells(region, 1);
  t.ok(codes.every((code, line) => code === codes[line % 8]), 'eight converters');
  const many = new Macro(formed({ ...lone, parallelConverters: 512 })).readCells(region, 1).codes;
  const { mean, sd } = moments(Array.from(many));
  t.ok(near(sd / mean, 0.02, 0.002) && near(mean, 3085, 8), `${mean} ± ${sd}`);
  const offsets = new Macro(formed({ ...lone, channelGainSdFraction: 0, channelOffsetSdCodes: 20, parallelConverters: 512 })).readCells(region, 1).codes;
  t.ok(near(moments(Array.from(offsets)).sd, (20 * 102_400) / 2 ** 14 / 4, 3), 'in ADC codes of 6.25 nS');
});

t.test('what is switched off costs nothing and changes nothing', async (t) => {
  const chip = Chip.formed(profileNamed('lab-paper'), 1);
  const codes = chip.codes.slice();
  chip.operationNanoseconds += 1e15;
  t.equal(chip.stateName, String(chip.arrayEpoch));
  t.ok(Array.from({ length: cells }, (_, cell) => cell).every((cell) => chip.codeNow(cell) === codes[cell]));
});
