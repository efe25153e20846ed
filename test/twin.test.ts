// Twins: what repeated reads of chips with known parameters say of them, and how well a twin that was made from that matches.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { correlationOf, kolmogorovSmirnov } from '../server/twin/distance.js';
import { type FittedField, fieldRanges, fitTwin } from '../server/twin/fit.js';
import { matchOf } from '../server/twin/match.js';
import { fractionOf } from '../server/twin/moments.js';
import { type RepeatedReads, readRepeatedReads, repeatedReads } from '../server/twin/repeated-reads.js';
import { TelegraphTest } from '../server/twin/telegraph.js';
import { Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';
import { profileFields } from '../sim/profile-fields.js';

interface Reading {
  readonly bitLines?: number;
  readonly reads?: number;
  readonly averages?: number;
  /** Operation time of each read. */
  readonly nanoseconds?: readonly number[];
}

/** Reads of the first bit lines of a chip, as a board gives them. */
function readsOf(chip: Chip, { bitLines = 40, reads = 24, averages = 1, nanoseconds }: Reading = {}): RepeatedReads {
  const macro = new Macro(chip);
  const cells = bitLines * 512;
  const codes = new Uint16Array(reads * cells);
  for (let read = 0; read < reads; read += 1) {
    if (nanoseconds !== undefined) macro.operationNanoseconds = nanoseconds[read];
    codes.set(macro.readCells({ firstBitLine: 0, bitLines, firstSourceLine: 0, sourceLines: 512 }, averages).codes, read * cells);
  }
  const times = nanoseconds === undefined ? {} : { secondsSinceLastPulse: nanoseconds.map((at) => at / 1e9) };
  return repeatedReads({ reads, cells, codes, cellUnitNanosiemens: chip.profile.cellUnitNanosiemens, averages, ...times }, 'reads');
}

const chipOf = (overrides: object, seed = 1, name = 'lab') => Chip.formed(overrideProfile(profileNamed(name), overrides), seed);

/** What a fit may be off by, and what its interval must allow for. */
const tolerances: Partial<Record<FittedField, number>> = {
  readNoiseFraction: 0.02, formedMeanMicrosiemens: 0.005, formedSdMicrosiemens: 0.05,
};

const lawOf = (formedMeanMicrosiemens: number, formedSdMicrosiemens: number, formedSkewness: number) =>
  ({ formedMeanMicrosiemens, formedSdMicrosiemens, formedSkewness });

const sources = [
  { overrides: {}, averages: 1 },
  { overrides: { ...lawOf(20, 3, 0.9), readNoiseFraction: 0.05, readNoiseSpread: 0.6, formingYieldFraction: 0.8 }, averages: 4 },
  { overrides: { ...lawOf(10, 1, 0), readNoiseFraction: 0.01, readNoiseSpread: 0, formingYieldFraction: 0.25 }, averages: 1 },
];

t.test('a fit finds the parameters of the chips that were read', async (t) => {
  for (const [index, { overrides, averages }] of sources.entries()) {
    const chip = chipOf(overrides, index + 3);
    const fit = fitTwin(readsOf(chip, { averages }));
    for (const [field, relative] of Object.entries(tolerances) as [FittedField, number][]) {
      const truth = chip.profile[field];
      t.ok(Math.abs(fit.profile[field]! - truth) <= relative * truth, `${index}: ${field} ${fit.profile[field]}, truth ${truth}`);
    }
    t.ok(Math.abs(fit.profile.readNoiseSpread! - chip.profile.readNoiseSpread) <= 0.06, `${index}: spread ${fit.profile.readNoiseSpread}`);
    t.ok(Math.abs(fit.profile.formedSkewness! - chip.profile.formedSkewness) <= 0.15, `${index}: skewness ${fit.profile.formedSkewness}`);
    t.ok(Math.abs(fit.profile.formingYieldFraction! - chip.profile.formingYieldFraction) <= 0.015, `${index}: yield ${fit.profile.formingYieldFraction}`);
    t.equal(fit.profile.telegraphCellFraction, 0, 'no steady cell is taken for one of two levels');
    t.equal(fit.profile.driftMeanFractionPerDecade, undefined, 'without times nothing is said of drift');
  }
});

t.test('intervals cover the truth about as often as they say', async (t) => {
  const fields = ['readNoiseFraction', 'readNoiseSpread', 'formedSdMicrosiemens', 'formedSkewness', 'formingYieldFraction'] as const;
  // One converter gain for all: the spread of eight gains is a truth of the board that no single chip tells.
  const overrides = { channelGainSdFraction: 0, channelOffsetSdCodes: 0 };
  let [inside, all] = [0, 0];
  for (let seed = 100; seed < 120; seed += 1) {
    const chip = chipOf(overrides, seed);
    const { estimates } = fitTwin(readsOf(chip, { bitLines: 8, reads: 12 }));
    for (const field of fields) {
      const { low, high } = estimates[field]!;
      all += 1;
      if (low <= chip.profile[field] && chip.profile[field] <= high) inside += 1;
    }
  }
  t.ok(inside / all >= 0.88, `${inside} of ${all} intervals of 95 %`);
});

t.test('a twin of the fitted profile reads like its source, and one of another profile does not', async (t) => {
  const source = chipOf({ readNoiseFraction: 0.03, readNoiseSpread: 0.4, formedMeanMicrosiemens: 15, formedSdMicrosiemens: 2.5 }, 9);
  const reads = readsOf(source, { reads: 16 });
  const { profile } = fitTwin(reads);
  const map = Float64Array.from({ length: source.codes.length }, (_, cell) => {
    if (cell >= reads.cells) return 0;
    let sum = 0;
    for (let read = 0; read < reads.reads; read += 1) sum += reads.codes[read * reads.cells + cell];
    return ((sum / reads.reads) * reads.cellUnitNanosiemens) / 1000;
  });
  const twinOf = (overrides: object) => {
    const chip = chipOf(overrides, 77);
    chip.setConductances(map);
    return chip;
  };
  const match = matchOf(reads, readsOf(twinOf(profile), { reads: 16 }), 4);
  t.ok(match.correlation > 0.99, `cell by cell ${match.correlation}`);
  t.ok(match.conductances.distance < 0.02, `conductances ${match.conductances.distance}`);
  t.ok(match.deviations.distance < 0.01, `deviations ${match.deviations.distance}`);
  t.ok(Math.abs(match.beyondFourSigma.source - match.beyondFourSigma.twin) < 0.0008, JSON.stringify(match.beyondFourSigma));
  t.ok(match.beyondFourSigma.source > 0.0005, 'tails are heavier than those of the normal law, 0.00006');
  const fresh = matchOf(reads, readsOf(chipOf(profile, 78), { reads: 16 }), 4);
  t.ok(fresh.conductances.distance < 0.03, `another chip of that profile: conductances ${fresh.conductances.distance}`);
  t.ok(Math.abs(fresh.correlation) < 0.05, 'it is another chip');
  const wrong = matchOf(reads, readsOf(chipOf({}, 77), { reads: 16 }), 4);
  t.ok(wrong.conductances.distance > 0.3, `wrong profile: conductances ${wrong.conductances.distance}`);
  t.ok(wrong.deviations.distance > 0.05, `wrong profile: deviations ${wrong.deviations.distance}`);
});

t.test('drift is measured where the times since the last pulse are known', async (t) => {
  const truth = { driftMeanFractionPerDecade: 0.01, driftSdFractionPerDecade: 0.004, readNoiseFraction: 0.02 };
  const chip = Chip.pristine(overrideProfile(profileNamed('lab'), truth), 4);
  for (let cell = 0; cell < 8 * 512; cell += 1) chip.form(cell, { amplitudeMillivolts: 3900, widthNanoseconds: 1000, complianceMicroamperes: 50 });
  const nanoseconds = Array.from({ length: 21 }, (_, read) => Math.round(10 ** (read / 4)) * 1e9);
  const { estimates, profile } = fitTwin(readsOf(chip, { bitLines: 8, averages: 16, reads: 21, nanoseconds }));
  for (const field of ['driftMeanFractionPerDecade', 'driftSdFractionPerDecade'] as const) {
    t.ok(Math.abs(profile[field]! - truth[field]) < 0.1 * truth[field], `${field} ${JSON.stringify(estimates[field])}`);
  }
  t.ok(Math.abs(profile.readNoiseFraction! - 0.02) < 0.0006, `drift is not taken for noise: ${profile.readNoiseFraction}`);
});

t.test('cells with two levels are found, and only those', async (t) => {
  const jumps = { telegraphCellFraction: 0.05, telegraphAmplitudeFraction: 0.15, telegraphDwellNanoseconds: 1e9 };
  const chip = chipOf({ ...jumps, readNoiseFraction: 0.02, formingYieldFraction: 1 }, 6);
  const nanoseconds = Array.from({ length: 48 }, (_, read) => 1e9 * (1 + 4 * read));
  const { profile, map, estimates } = fitTwin(readsOf(chip, { bitLines: 16, nanoseconds, reads: 48 }));
  const found = profile.telegraphCellFraction!;
  t.ok(found > 0.6 * 0.05 && found <= 0.053, `fraction ${found}: those that kept their level are not seen`);
  t.ok(Math.abs(profile.telegraphAmplitudeFraction! - 0.15) < 0.01, `amplitude ${profile.telegraphAmplitudeFraction}`);
  const dwell = profile.telegraphDwellNanoseconds!;
  t.ok(dwell > 3e8 && dwell < 1e10, `dwell ${JSON.stringify(estimates.telegraphDwellNanoseconds)}: an order of magnitude`);
  t.ok(map.telegraph.every((cell, index) => cell > (map.telegraph[index - 1] ?? -1)), 'the map names cells in order');
  t.ok(Math.abs(profile.readNoiseFraction! - 0.02) < 0.001, `they are not taken for noise: ${profile.readNoiseFraction}`);
});

t.test('broken and silent cells are named, and are no part of the statistics', async (t) => {
  const chip = chipOf({ formingYieldFraction: 1 }, 8);
  chip.codes[5] = 65_535;
  const reads = readsOf(chip, { bitLines: 4, reads: 10 });
  for (let read = 0; read < reads.reads; read += 1) reads.codes[read * reads.cells + 7] = 3000;
  const { map, counts, remarks } = fitTwin(reads);
  t.strictSame([map.saturated, map.constant.includes(7)], [[5], true]);
  t.equal(counts.formed + counts.unformed + counts.saturated, counts.cells);
  t.match(remarks.join(' '), /1 saturated cells/);
});

t.test('reads that say too little are refused or remarked', async (t) => {
  const csv = (text: string) => new TextEncoder().encode(text);
  await t.rejects(readRepeatedReads(csv('1,2\n3,4\n'), 'reads.csv', { unit: 'uS' }), { code: 'BAD_SNAPSHOT', message: /2 reads, 3 or more/ });
  const few = await readRepeatedReads(csv('12.1,0,11\n12.0,0,11.2\n12.3,0,10.9\n'), 'reads.csv', { unit: 'uS' });
  const fit = fitTwin(few);
  t.strictSame(fit.counts, { cells: 3, formed: 2, unformed: 1, saturated: 0, constant: 0 });
  t.strictSame(Object.keys(fit.profile), ['formingYieldFraction']);
  t.match(fit.remarks.join(' '), /only 2 formed cells/);
  const turned = await readRepeatedReads(csv('12.1,12.0,12.3\n0,0,0\n'), 'reads.csv', { unit: 'uS', isTransposed: true });
  t.strictSame([turned.reads, turned.cells], [3, 2]);
  const falling = readRepeatedReads(csv('1,2\n3,4\n5,6\n'), 'r.csv', { unit: 'uS', secondsSinceLastPulse: [0, 3, 1] });
  await t.rejects(falling, { code: 'BAD_SNAPSHOT', field: 'seconds' });
});

t.test('what the figures are made of', async (t) => {
  t.strictSame(kolmogorovSmirnov(Float64Array.of(1, 2, 3, 4), Float64Array.of(3, 4, 5, 6)).distance, 0.5);
  t.equal(kolmogorovSmirnov(Float64Array.of(2, 1), Float64Array.of(1, 2)).distance, 0);
  t.ok(Math.abs(correlationOf([1, 2, 3], [2, 4, 6]) - 1) < 1e-12);
  t.equal(correlationOf([1, 1, 1], [2, 4, 6]), 0);
  const rare = fractionOf(0, 1000);
  t.ok(rare.value === 0 && rare.low < 1e-9 && Math.abs(rare.high - 0.0038) < 0.0002, 'none of a thousand may still be four');
  const test = new TelegraphTest(16);
  t.equal(test.cellOf(Float64Array.of(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5), 0.004), undefined, 'one stray read is no level');
  t.match(test.cellOf(Float64Array.from({ length: 16 }, (_, read) => (read % 4 < 2 ? 10 : 9) + 0.01 * (read % 3)), 0.004), { jumps: 7 });
  t.equal(test.cellOf(Float64Array.from({ length: 16 }, (_, read) => 10 + 0.004 * (read % 2)), 0.004), undefined, 'one code or the next is no level');
});

t.test('the ranges of fitted fields are those of a profile', async (t) => {
  for (const [field, range] of Object.entries(fieldRanges)) {
    const { minimum, maximum } = profileFields[field as FittedField];
    t.strictSame(range, [minimum, maximum], field);
  }
});

/** A matrix of repeated reads among the data for acceptance, by its name. */
function publishedReads(): string | undefined {
  const folder = process.env['PRIME_DATA'];
  if (folder === undefined || !existsSync(folder)) return undefined;
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const found = names.find((name) => /(repeat|reads)[^/]*\.(npy|csv|xlsx|npz)$/i.test(name));
  return found === undefined ? undefined : join(folder, found);
}

const published = publishedReads();
t.test('a published map of repeated reads is fitted', { skip: published === undefined && 'PRIME_DATA holds no map of repeated reads' }, async (t) => {
  const path = published as string;
  const { profile, counts } = fitTwin(await readRepeatedReads(new Uint8Array(readFileSync(path)), path, { unit: 'uS' }));
  t.ok(counts.formed > 100 && profile.readNoiseFraction! > 0.001 && profile.readNoiseFraction! < 0.2, JSON.stringify(profile));
});
