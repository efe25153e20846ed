// The simulated silicon and its converters: each law against what PRIME.md §6 states of it, exact quantities exactly.
import fc from 'fast-check';
import t from 'tap';
import { cellState, Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { overrideProfile, profileNamed, profileNames } from '../sim/profile.js';

const cells = 512 * 512;
const resetPulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 };
const chipOf = (profile: string, overrides: object = {}, seed = 1) => Chip.formed(overrideProfile(profileNamed(profile), overrides), seed);

function moments(values: readonly number[]): { mean: number; sd: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, sd: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) };
}

const microsiemens = ({ codes, profile }: Chip) => Array.from(codes, (code) => (code * profile.cellUnitNanosiemens) / 1000);
const differences = (chip: Chip) => {
  const values = microsiemens(chip);
  return Array.from({ length: cells / 2 }, (_, pair) => (values[2 * pair] ?? 0) - (values[2 * pair + 1] ?? 0));
};
/** A quarter of a million elements, where a comparison that explains itself takes minutes. */
const isEqual = (left: Uint8Array | Uint16Array | undefined, right: Uint8Array | Uint16Array) =>
  left !== undefined && Buffer.compare(Buffer.from(left.buffer), Buffer.from(right.buffer)) === 0;
const near = (value: number, wanted: number, tolerance: number) => Math.abs(value - wanted) <= tolerance;

t.test('lab-half: half of the cells are formed, 12.34 ± 1.84 µS; pairs spread by 8.9 µS, a quarter of them zero', async (t) => {
  const chip = chipOf('lab-half');
  const formed = microsiemens(chip).filter((value) => value > 0);
  t.ok(near(formed.length / cells, 0.5, 0.005), `${formed.length} formed`);
  const { mean, sd } = moments(formed);
  t.ok(near(mean, 12.34, 0.02) && near(sd, 1.84, 0.02), `${mean} ± ${sd}`);
  const pairs = differences(chip);
  t.ok(near(moments(pairs).sd, 8.9, 0.1), `pairs ${moments(pairs).sd}`);
  t.ok(near(pairs.filter((value) => value === 0).length / pairs.length, 0.25, 0.01));
});

t.test('lab-full: all formed, pairs spread by 2.6 µS', async (t) => {
  const chip = chipOf('lab-full');
  t.ok(chip.codes.every((code) => code > 0));
  t.ok(near(moments(differences(chip)).sd, 2.6, 0.03));
});

t.test('lab-paper: pairs N(0, 6.352) around cells of mean 12.34', async (t) => {
  const chip = chipOf('lab-paper');
  const { mean, sd } = moments(differences(chip));
  t.ok(near(mean, 0, 0.06) && near(sd, 6.352, 0.06), `${mean} ± ${sd}`);
  t.ok(near(moments(microsiemens(chip)).mean, 12.34, 0.06));
});

t.test('a formed chip is a function of profile and seed', async (t) => {
  t.ok(isEqual(chipOf('lab').codes, chipOf('lab-half').codes));
  t.notOk(isEqual(chipOf('lab', {}, 2).codes, chipOf('lab').codes));
  t.equal(chipOf('lab', {}, 7).chipId, 'sim-lab-half-7');
  t.ok(Chip.pristine(profileNamed('lab'), 1).codes.every((code) => code === 0));
});

t.test('ideal: every difference is exact, and both cells are at least 0', async () => {
  await fc.assert(
    fc.property(fc.array(fc.integer({ min: -65_000, max: 65_000 }), { minLength: 1, maxLength: 40 }), fc.boolean(), (wanted, keep) => {
      const chip = chipOf('ideal');
      const kept = new Uint8Array(wanted.length).fill(keep ? 1 : 0);
      chip.loadSnapshot([{ firstBitLine: 3, plusLines: [10], minusLines: [11], differenceNanosiemens: wanted, kept }]);
      return wanted.every((difference, row) => {
        const at = (3 + row) * 512;
        return (chip.codes[at + 10] ?? 0) - (chip.codes[at + 11] ?? 0) === (keep ? difference : 0);
      });
    }),
    { numRuns: 20 },
  );
});

t.test('a RESET leaves the residual, counts its pulse, and never touches another cell', async (t) => {
  const chip = chipOf('lab', { stuckOnFraction: 0 });
  const before = chip.codes.slice();
  const chosen = Array.from({ length: 20_000 }, (_, index) => index * 13);
  const epoch = chip.arrayEpoch;
  chip.beginOperation();
  for (const cell of chosen) chip.reset(cell, resetPulse);
  t.equal(chip.arrayEpoch, epoch + 1);
  t.equal(chip.pulses, chosen.length);
  const residuals = chosen.filter((cell) => (before[cell] ?? 0) > 0).map((cell) => ((chip.codes[cell] ?? 0) * 4) / 1000);
  const { mean, sd } = moments(residuals);
  t.ok(near(mean, 0.506, 0.02) && near(sd, 0.29, 0.02), `${mean} ± ${sd}: N(0.5, 0.3) cut at 0`);
  t.ok(chosen.every((cell) => (before[cell] ?? 0) > 0 || chip.codes[cell] === 0), 'what never formed stays as it is');
  const touched = new Set(chosen);
  t.ok(before.every((code, cell) => touched.has(cell) || chip.codes[cell] === code));
  const once = chip.codes.slice();
  for (const cell of chosen) chip.reset(cell, resetPulse);
  t.ok(chosen.some((cell) => chip.codes[cell] !== once[cell]), 'a second pulse draws again');
  t.equal(chip.states[chosen.find((cell) => (before[cell] ?? 0) > 0) ?? 0], cellState.reset);
});

t.test('a chip comes back from its bytes, and state bytes know no conductance', async (t) => {
  const chip = chipOf('lab', {}, 9);
  for (let cell = 0; cell < cells; cell += 8) chip.reset(cell, resetPulse);
  const back = Chip.deserialise(chip.serialise(), chip.profile);
  t.ok(isEqual(back?.codes, chip.codes));
  t.ok(isEqual(back?.stateBytes(), chip.stateBytes()));
  chip.codes[5] = 1;
  t.ok(isEqual(back?.stateBytes(), chip.stateBytes()));
  t.equal(Chip.deserialise(new Uint8Array(10), chip.profile), undefined);
});

const rows = Int32Array.from({ length: 100 }, (_, row) => row);
const lines = Array.from({ length: 24 }, (_, line) => line);

function multiply(macro: Macro, inferenceNumber = 0, position = 0): Int32Array {
  const tile = macro.tile({ firstBitLine: 0, bitLineCount: 100, sourceLines: lines });
  const out = new Int32Array(lines.length);
  macro.multiply(tile, rows, rows.length, 0, { inferenceNumber, timestep: 0, tile: 0 }, position, 0, out);
  return out;
}

const columnSum = ({ codes }: Chip, line: number) => rows.reduce((sum, row) => sum + (codes[row * 512 + line] ?? 0), 0);

t.test('ideal: a code is the sum of the driven cells', async (t) => {
  const chip = chipOf('ideal');
  t.strictSame([...multiply(new Macro(chip))], lines.map((line) => columnSum(chip, line)));
});

t.test('lab-quiet: a code is the sum on the 14-bit scale of 2 500 µS, rounded', async (t) => {
  const chip = chipOf('lab-quiet', { channelGainSdFraction: 0, channelOffsetSdCodes: 0 });
  const codes = multiply(new Macro(chip));
  for (const line of lines) t.ok(near(codes[line] ?? 0, (columnSum(chip, line) * 4 * 2 ** 14) / 2_500_000, 0.6)); // the gain has 20 fractional bits
});

t.test('read noise has the spread of independent cells, and is keyed by what the conversion belongs to', async (t) => {
  const chip = chipOf('lab-paper');
  const macro = new Macro(chip);
  t.strictSame(multiply(macro, 1, 5), multiply(macro, 1, 5));
  t.notSame(multiply(macro, 1, 5), multiply(macro, 2, 5));
  const values = Array.from({ length: 4000 }, (_, position) => multiply(macro, 0, position)[0] ?? 0);
  const squares = rows.reduce((sum, row) => sum + (chip.codes[row * 512] ?? 0) ** 2, 0);
  const gain = (4 * 2 ** 14) / 2_500_000;
  const claimed = Math.sqrt((0.02 * gain) ** 2 * squares + 1 / 12);
  t.ok(near(moments(values).sd / claimed, 1, 0.05), `${moments(values).sd} against ${claimed}`);
  t.ok(near(moments(values).mean, columnSum(chip, 0) * gain, 0.1));
});

t.test('a code above the top is cut and counted', async (t) => {
  const macro = new Macro(chipOf('lab-paper', { multiplyFullScaleMicrosiemens: 400 }));
  t.ok(multiply(macro).every((code) => code === 2 ** 14 - 1));
  t.equal(macro.saturations, lines.length);
  t.equal(macro.conversions, lines.length);
});

t.test('a drive takes settling and one conversion for each eight lines', async (t) => {
  const macro = new Macro(chipOf('lab'));
  multiply(macro);
  t.equal(macro.operationNanoseconds, 2000 + 3 * 20_000);
  t.ok(macro.energyFemtojoules > 24 * 5e8);
});

t.test('averaged reads of cells come nearer to the truth', async (t) => {
  const chip = chipOf('lab-full');
  const macro = new Macro(chip);
  const region = { firstBitLine: 10, bitLines: 20, firstSourceLine: 30, sourceLines: 40 };
  const errorOf = (averages: number) => {
    const { codes } = macro.readCells(region, averages);
    return moments(Array.from(codes, (code, index) => {
      const truth = chip.codes[(10 + Math.floor(index / 40)) * 512 + 30 + (index % 40)] ?? 1;
      return code / truth - 1;
    })).sd;
  };
  t.ok(near(errorOf(1), 0.02, 0.003));
  t.ok(near(errorOf(64), 0.0025, 0.001));
  chip.codes[10 * 512 + 30] = 65_535;
  t.equal(macro.readCells(region, 4).saturatedCells, 1, 'the top code is flagged, not averaged');
});

t.test('profiles are named, and a file may only set what it should', async (t) => {
  t.ok(profileNames.includes('lab') && profileNames.includes('lab-quiet'));
  for (const name of profileNames) t.equal(profileNamed(name).readNoiseFraction, name.endsWith('-quiet') || name === 'ideal' ? 0 : 0.02, name);
  t.throws(() => profileNamed('lab-nope'), { code: 'BAD_PROFILE', message: /ideal/ });
  const lab = profileNamed('lab');
  t.equal(overrideProfile(lab, { readNoiseFraction: 0.3 }).readNoiseFraction, 0.3);
  const wrong = [{ readNoise: 1 }, { readNoiseFraction: 2 }, { readNoiseFraction: 'x' }, { parallelConverters: 1.5 }, [], null, { name: 'x' }];
  for (const overrides of wrong) t.throws(() => overrideProfile(lab, overrides), { code: 'BAD_PROFILE' }, JSON.stringify(overrides));
});
