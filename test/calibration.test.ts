// Calibration on a real driver, line and board: gains against references and against the truth of the simulated converters, what is refused, and what a mask
// makes of it.
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress } from '../driver/index.js';
import { gainOf } from '../firmware-protocol/numerics/index.js';
import type { ChannelCalibration } from '../server/calibration/channel.js';
import { absoluteGains, gainOfReferences, relativeGains } from '../server/calibration/gain.js';
import { type CalibrationRecord, dueOf, gainChangeFraction } from '../server/calibration/record.js';
import { readNpyArray } from '../server/network/npy.js';
import { systemClock } from '../server/system-clock.js';
import { Chip } from '../sim/chip.js';
import { Converters } from '../sim/converters.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';
import { ArrayBench, throwAwayDatabase } from './rig/array.js';
import { madeOn } from './rig/made-on.js';
import { identification, type MeterAnswers, startMeter } from './rig/meter.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

/** Resistors in the place of cells: of channels 3 and 4 of 8. Bit line 500 is none that the small network uses. */
const tenMicrosiemens = { name: 'r10', bitLine: 500, sourceLine: 3 };
const twentyMicrosiemens = { name: 'r20', bitLine: 41, sourceLine: 12 };

interface Bench { readonly board: TcpBoard; readonly device: Device; readonly array: ArrayBench }

/** A chip that starts from a snapshot in which two cells have a known conductance. */
function chipWithReferences(overrides: object, seed = 4): Chip {
  const chip = Chip.formed(overrideProfile(profileNamed('lab-full'), { stuckOnFraction: 0, ...overrides }), seed);
  const microsiemens = Array.from(chip.codes, (code) => (code * chip.profile.cellUnitNanosiemens) / 1000);
  microsiemens[500 * 512 + 3] = 10;
  microsiemens[41 * 512 + 12] = 20;
  chip.setConductances(microsiemens);
  return chip;
}

async function on(t: Test, chip: Chip): Promise<Bench> {
  const board = await TcpBoard.with(chip);
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  return { board, device, array: new ArrayBench(throwAwayDatabase(t)) };
}

/** Gain of a channel as the simulator has it: codes for a conductance, relative to what the range says. */
function trueGain({ board }: Bench, channel: number): number {
  const { profile, seed } = board.chip;
  const converters = new Converters(profile, seed);
  const [, { stepNumeratorNanosiemens, stepDenominator }] = converters.ranges;
  return converters.of(1, channel).gainQ20 / gainOf(profile.cellUnitNanosiemens, stepNumeratorNanosiemens, stepDenominator);
}

const trueOffset = ({ board }: Bench, channel: number) => new Converters(board.chip.profile, board.chip.seed).of(1, channel).offset;

t.test('gains by references are the true ones within their standard errors, in channels with and without a reference', async (t) => {
  const bench = await on(t, chipWithReferences({ channelGainSdFraction: 0.03, channelOffsetSdCodes: 2 }));
  const { array, device, board } = bench;
  const references = [{ ...tenMicrosiemens, microsiemens: 10 }, { ...twentyMicrosiemens, microsiemens: 20 }];
  t.match((await array.plan(device, 'calibrate', { references })).figures, { gain: 'absolute', references: 2 });
  const { summary, rows } = await array.run(device, 'calibrate', { references, temperatureCelsius: 23, user: 'ada' });
  t.match(summary, { gain: 'absolute', channels: 8, temperatureCelsius: 23, previous: null, gainChangeFraction: null });
  t.match(summary.references, [{ name: 'r10', microsiemens: 10, measuredBy: 'ada', meter: null }, { name: 'r20', microsiemens: 20 }]);
  const channels = rows as ChannelCalibration[];
  t.strictSame(channels.map((channel) => channel.references), [[], [], [], ['r10'], ['r20'], [], [], []]);
  for (const { channel, gain, gainStandardError, fullScaleMicrosiemens, offsetCodes } of channels) {
    const [value, error] = [gain ?? Number.NaN, gainStandardError ?? Number.NaN];
    // A converter without sign hides an offset below 0: that much of a cell of 10 µS is taken for gain.
    const hidden = (Math.max(0, -trueOffset(bench, channel)) * 0.00625) / 10;
    t.ok(Math.abs(value - trueGain(bench, channel)) <= 4 * error + 1.5 * hidden, `channel ${channel}: ${value} ± ${error}, truly ${trueGain(bench, channel)}`);
    t.ok(error > 0 && error < 0.003, `${error} tells channels apart whose gains have an sd of 0.03`);
    const fullScale = (102.4 * (1 - (offsetCodes['cell'] ?? 0) / 2 ** 14)) / value;
    t.ok(Math.abs(fullScaleMicrosiemens['cell'] - fullScale) < 1e-9, 'the gain is in the full scale');
  }
  const gains = channels.map(({ channel }) => trueGain(bench, channel));
  t.ok(Math.max(...gains) - Math.min(...gains) > 0.03, 'the channels do differ');
  t.equal(board.chip.pulses, 0);
});

t.test('without a reference a common error of all gains stays unseen, and the label says so', async (t) => {
  const bench = await on(t, chipWithReferences({ channelGainSdFraction: 0.1, channelOffsetSdCodes: 0 }));
  const { array, device } = bench;
  const relative = await array.run(device, 'calibrate', {});
  t.match(relative.summary, { gain: 'relative', references: [] });
  const errorOf = ({ channel, gain }: ChannelCalibration) => Math.abs((gain ?? 0) / trueGain(bench, channel) - 1);
  const error = (rows: unknown[]) => Math.max(...(rows as ChannelCalibration[]).map(errorOf));
  const absolute = await array.run(device, 'calibrate', { references: [{ ...tenMicrosiemens, microsiemens: 10 }] });
  t.match(absolute.summary, { gain: 'absolute', previous: { job: 'job-1', gain: 'relative' } });
  t.ok(absolute.summary.gainChangeFraction < 0.01, 'of channels against each other nothing has changed');
  t.ok(error(absolute.rows) < 0.01 && error(relative.rows) > 2 * error(absolute.rows), `${error(relative.rows)} relative, ${error(absolute.rows)} absolute`);
});

t.test('a source meter measures its reference, and is named with what it says of itself', async (t) => {
  const { array, device } = await on(t, chipWithReferences({}));
  const meter = await startMeter(t, { resistance: '+1.000000E+05' });
  const { summary } = await array.run(device, 'calibrate', { references: [{ ...tenMicrosiemens, meter: meter.address }] });
  t.match(summary, { gain: 'absolute', references: [{ name: 'r10', microsiemens: 10, meter: meter.address, measuredBy: identification }] });
  t.strictSame(meter.asked, ['*IDN?', ':MEASure:RESistance?']);
  t.match(array.calibrations, [{ reason: 'asked', arrayState: summary.arrayState, takenAt: '2025-07-01T12:00:00.000Z', references: summary.references }]);
});

t.test('a calibration that is stopped keeps nothing', async (t) => {
  const { array, device } = await on(t, chipWithReferences({}));
  const silent = await startMeter(t, { resistance: null });
  const stop = new AbortController();
  const running = array.run(device, 'calibrate', { references: [{ ...tenMicrosiemens, meter: silent.address }] }, stop.signal);
  await silent.nextQuestion();
  stop.abort();
  await t.rejects(running, { code: 'CANCELLED', outcome: 'not-applied' });
  t.equal(array.calibrations.length + array.objects.size, 0);
});

t.test('noise is kept cell by cell', async (t) => {
  const chip = chipWithReferences({ readNoiseSpread: 0 });
  chip.codes[64 * 512 + 7] = 65535;
  chip.codes[64 * 512 + 8] = 0;
  const { array, device } = await on(t, chip);
  const { summary, rows } = await array.run(device, 'calibrate', {});
  const { data, shape } = readNpyArray(array.objects.get(summary.objects.noiseMap) as Uint8Array, 'noiseMap', 'f4');
  t.strictSame(shape, [8, 512]);
  const bitLines = readNpyArray(array.objects.get(summary.objects.noiseMapBitLines) as Uint8Array, 'noiseMapBitLines', 'i4');
  t.strictSame([...bitLines.data], [0, 64, 128, 192, 256, 320, 384, 448]);
  t.ok(Number.isNaN(data[512 + 7]) && Number.isNaN(data[512 + 8]), 'a cell that saturates or conducts nothing tells nothing');
  const told = data.filter((fraction) => !Number.isNaN(fraction));
  t.equal(told.length, 8 * 512 - 2);
  t.ok(told.filter((fraction) => fraction > 0.01 && fraction < 0.032).length > 0.99 * told.length, 'each of 16 reads of a noise of 2 %');
  for (const { channel, noiseFraction } of rows as ChannelCalibration[]) {
    const squares = [...data].filter((fraction, cell) => cell % 8 === channel && !Number.isNaN(fraction)).map((fraction) => fraction ** 2);
    const mean = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
    t.ok(Math.abs((noiseFraction ?? 0) / mean - 1) < 1e-6 && Math.abs(mean - 0.02) < 0.001, `${noiseFraction} of the map's ${mean}`);
  }
});

t.test('a reference that tells nothing is refused by name, and nothing is kept', async (t) => {
  const chip = chipWithReferences({});
  chip.codes[9 * 512 + 1] = 65535;
  chip.codes[9 * 512 + 2] = 150;
  const { array, device, board } = await on(t, chip);
  const good = { ...tenMicrosiemens, microsiemens: 10 };
  const overloaded = await startMeter(t, { resistance: '9.9E37' });
  const talker = await startMeter(t, { identification: 'HTTP/1.1 400 Bad Request', resistance: 'Connection: close' });
  const wrong: [string, RegExp, object][] = [
    ['REFERENCE_UNFIT', /"broken" at bit line 9, source line 1 reads as saturated/, { name: 'broken', bitLine: 9, sourceLine: 1, microsiemens: 10 }],
    ['REFERENCE_UNFIT', /"open" at bit line 9, source line 2 reads 0\.6\d\d µS, near zero/, { name: 'open', bitLine: 9, sourceLine: 2, microsiemens: 10 }],
    ['REFERENCE_UNFIT', /"r10" .*is said to be 100\.000 µS/, { ...tenMicrosiemens, microsiemens: 100 }],
    ['METER_OVERLOAD', /overload/, { ...tenMicrosiemens, meter: overloaded.address }],
    ['METER_INVALID', /one number of ohms/, { ...tenMicrosiemens, meter: talker.address }],
  ];
  for (const [code, message, reference] of wrong) {
    const references = [{ ...twentyMicrosiemens, microsiemens: 20 }, reference];
    await t.rejects(array.run(device, 'calibrate', { references }), { code, message, outcome: 'not-applied' });
  }
  const impossible: [string, RegExp, object[]][] = [
    ['references.0.bitLine', /bitLine of "r10" is 512, the range is 0 to 511/, [{ ...good, bitLine: 512 }]],
    ['references.1.sourceLine', /sourceLine of "b" is -1, the range is 0 to 511/, [good, { ...good, name: 'b', sourceLine: -1 }]],
    ['references.0.microsiemens', /either/, [tenMicrosiemens]],
    ['references.0.microsiemens', /either/, [{ ...good, meter: overloaded.address }]],
    ['references.1.name', /another/, [good, good]],
    ['references.1.meter', /another/, [{ ...tenMicrosiemens, meter: overloaded.address }, { ...twentyMicrosiemens, meter: overloaded.address }]],
  ];
  for (const [field, message, references] of impossible) {
    await t.rejects(array.run(device, 'calibrate', { references }), { code: 'BAD_REQUEST', field, message });
  }
  await t.rejects(array.run(device, 'calibrate', { references: [{ ...tenMicrosiemens, meter: 'serial:/dev/ttyS0' }] }), { code: 'BAD_ADDRESS' });
  t.strictSame(array.calibrations, []);
  t.equal(array.objects.size + board.chip.pulses, 0);
});

/** A bundle on the cells of the chip; the larger the number, the more its mask prunes. */
function addBundle({ board, array }: Bench, sparser: number): string {
  const bundle = madeOn(board.chip, (weight) => weight % 50 < sparser);
  array.bundles.set(bundle.digest, bundle);
  return bundle.digest;
}

t.test('a mask that pulsed something is followed by the chip\'s calibration', async (t) => {
  const bench = await on(t, chipWithReferences({}));
  const { array, device } = bench;
  const [first, second, third, fourth, fifth] = [0, 1, 2, 3, 4].map((sparser) => addBundle(bench, sparser));
  t.equal((await array.run(device, 'apply-mask', { model: first })).summary.calibration, null, 'a chip that was never calibrated has nothing to repeat');
  const answers: { resistance: string | null } & MeterAnswers = { resistance: '1e5' };
  const meter = await startMeter(t, answers);
  const references = [{ ...tenMicrosiemens, meter: meter.address }, { ...twentyMicrosiemens, microsiemens: 20 }];
  await array.run(device, 'calibrate', { references, averages: 8, temperatureCelsius: 23, user: 'ada' });
  const { summary } = await array.run(device, 'apply-mask', { model: second });
  t.match(summary.calibration, { state: 'repeated', gain: 'absolute' });
  t.ok(summary.calibration.gainChangeFraction < 0.02 && summary.objects.noiseMap !== undefined);
  const [before, after] = array.calibrations;
  t.match(after, { reason: 'mask', job: 'job-3', averages: 8, user: 'ada', temperatureCelsius: 25 }, 'what was stated is of then: of now the board tells it');
  t.match(after.references, [{ name: 'r10', meter: meter.address, measuredBy: identification }, { name: 'r20', meter: null, measuredBy: 'ada' }]);
  t.equal(meter.asked.length, 4, 'the meter was asked again');
  t.not(after.arrayState, before.arrayState);
  t.equal((await array.run(device, 'apply-mask', { model: second })).summary.calibration, null, 'nothing was pulsed');
  t.equal((await array.run(device, 'apply-mask', { model: third, calibrate: false })).summary.calibration, null);
  t.equal(array.calibrations.length, 2);
  answers.resistance = null;
  const stop = new AbortController();
  const stopped = array.run(device, 'apply-mask', { model: fourth }, stop.signal);
  while ((await meter.nextQuestion()) !== ':MEASure:RESistance?');
  stop.abort();
  t.match((await stopped).summary.calibration, { state: 'failed', code: 'CANCELLED' }, 'a stop behind the mask leaves it applied');
  meter.close();
  const failed = await array.run(device, 'apply-mask', { model: fifth });
  t.match(failed.summary, { stubbornCells: 0, calibration: { state: 'failed', code: 'METER_UNREACHABLE', detail: /ECONNREFUSED/ } });
  t.ok(failed.summary.pulses.reset > 0, 'the mask was applied nevertheless');
  t.equal(array.calibrations.length, 2, 'nothing partial is kept');
});

t.test('multiplexers make a gain of the column sum: a mask moves it, and the calibration behind the mask sees that', async (t) => {
  const bench = await on(t, chipWithReferences({ multiplexerResistanceOhms: 200 }));
  const { array, device } = bench;
  const references = [{ ...twentyMicrosiemens, microsiemens: 20 }];
  await array.run(device, 'calibrate', { references });
  const { summary } = await array.run(device, 'apply-mask', { model: addBundle(bench, 25) });
  t.match(summary.calibration, { state: 'repeated', gain: 'absolute' });
  t.ok(summary.calibration.gainChangeFraction > 0.02, `${summary.calibration.gainChangeFraction}`);
  const [before, after] = array.calibrations;
  const gainOf = ({ channels }: CalibrationRecord) => channels[4].gain ?? 0;
  t.ok(gainOf(after) > gainOf(before), 'less current, less loss');
  t.strictSame(dueOf(after, before, { arrayState: after.arrayState, temperatureCelsius: null }), ['gain']);
});

const channelOf = (channel: number, gain: number | null, relativeGain = gain): ChannelCalibration => ({
  channel, offsetCodes: {}, gain, gainStandardError: 0.001, references: [], relativeGain, relativeGainStandardError: 0.001, fullScaleMicrosiemens: {},
  noiseFraction: null, cells: 10,
});
const recordOf = (changes: Partial<CalibrationRecord>): CalibrationRecord => ({
  chipId: 'c', job: 'j', takenAt: null, reason: 'asked', arrayState: 'aa', temperatureCelsius: 20, gain: 'absolute', references: [], averages: 16, user: null,
  channels: [channelOf(0, 1), channelOf(1, 1.1)], ...changes,
});

t.test('a calibration is due by mask, by 5 degC and by 2 % of gain', async (t) => {
  const now = { arrayState: 'aa', temperatureCelsius: 20 };
  const record = recordOf({});
  t.strictSame(dueOf(record, undefined, now), []);
  t.strictSame(dueOf(record, record, now), []);
  t.strictSame(dueOf(record, undefined, { ...now, arrayState: 'bb' }), ['mask']);
  t.strictSame(dueOf(record, undefined, { arrayState: null, temperatureCelsius: null }), [], 'what is not known is no reason');
  for (const [celsius, due] of [[24.9, []], [25, ['temperature']], [15, ['temperature']]] as const) {
    t.strictSame(dueOf(record, undefined, { ...now, temperatureCelsius: celsius }), due);
  }
  t.strictSame(dueOf(recordOf({ temperatureCelsius: null }), undefined, now), []);
  const moved = (gain: number | null, relativeGain: number) => recordOf({ channels: [channelOf(0, 1), channelOf(1, gain, relativeGain)] });
  t.strictSame(dueOf(moved(1.121, 1.1), record, now), [], '1.9 %');
  t.strictSame(dueOf(moved(1.123, 1.1), record, now), ['gain']);
  t.strictSame(dueOf(moved(1.123, 1.1), record, { arrayState: 'bb', temperatureCelsius: 30 }), ['mask', 'temperature', 'gain']);
  t.strictSame(dueOf({ ...moved(2.2, 1.1), gain: 'relative' }, record, now), [], 'of an absolute and a relative one only relative gains compare');
  t.strictSame(dueOf({ ...moved(2.2, 1.2), gain: 'relative' }, record, now), ['gain']);
  t.equal(gainChangeFraction(recordOf({ channels: [] }), record), null);
  t.equal(gainChangeFraction(record, recordOf({ channels: [channelOf(0, null)] })), null);
});

t.test('gains: several references of a channel are averaged, and channels that nothing tells of have none', async (t) => {
  const reference = (readMicrosiemens: number, readStandardErrorMicrosiemens: number) =>
    ({ name: 'r', bitLine: 0, sourceLine: 0, microsiemens: 10, meter: null, measuredBy: '', readMicrosiemens, readStandardErrorMicrosiemens });
  const gain = gainOfReferences([reference(10.4, 0.03), reference(10.2, 0.04)], 0.1);
  t.ok(Math.abs((gain?.value ?? 0) - 1.02) < 1e-12 && Math.abs((gain?.standardError ?? 0) - 0.0025) < 1e-12, JSON.stringify(gain));
  t.equal(gainOfReferences([], 0), null);
  const relatives = relativeGains([Float64Array.from([9, 10, 11]), Float64Array.from([18, 20, 22]), Float64Array.from([10]), new Float64Array()]);
  t.strictSame(relatives.map((estimate) => estimate && estimate.value / (10 / 11)), [1, 2, null, null], 'one cell does not say how it scatters');
  t.strictSame(absoluteGains(relatives, [{ value: 1.5, standardError: 0 }, null, null, null]).map((estimate) => estimate?.value ?? null), [1.5, 3, null, null]);
  const onlyReference = absoluteGains([null, relatives[1]], [{ value: 1.5, standardError: 0.1 }, null]);
  t.strictSame(onlyReference, [{ value: 1.5, standardError: 0.1 }, null], 'no channel has both: nothing brings the scale over');
});
