// Curves and calibrations, on a real driver, line and board: that they find what the simulated chip and its converters were given.
import t, { type Test } from 'tap';
import { openDevice, parseAddress } from '../driver/index.js';
import type { ChannelCalibration } from '../server/calibration/channel.js';
import { systemClock } from '../server/system-clock.js';
import { Converters } from '../sim/converters.js';
import { ArrayBench, throwAwayDatabase } from './rig/array.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const region = { firstBitLine: 0, bitLines: 32, firstSourceLine: 0, sourceLines: 32 };
const near = (value: number, wanted: number, tolerance: number) => Math.abs(value - wanted) <= tolerance;

async function on(t: Test, started: Promise<TcpBoard>) {
  const board = await started;
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  return { board, device, array: new ArrayBench(throwAwayDatabase(t)) };
}

t.test('a forming sweep finds the breakdown voltages of a chip', async (t) => {
  const truth = { breakdownMeanMillivolts: 3390, breakdownSdMillivolts: 90 };
  const { board, device, array } = await on(t, TcpBoard.start('lab', 4, truth, 'pristine'));
  const plan = await array.plan(device, 'characterise', { sweep: 'forming', region });
  t.equal(plan.mostPulses.forming, 1024 * 201);
  t.equal(board.chip.pulses, 0);
  const { summary, rows } = await array.run(device, 'characterise', { sweep: 'forming', region });
  t.equal(summary.formedCells, 1024);
  t.ok(near(summary.breakdownMeanMillivolts, 3390, 10) && near(summary.breakdownSdMillivolts, 90, 8), JSON.stringify(summary));
  const half = (rows as { amplitudeMillivolts: number; formedFraction: number }[]).find(({ formedFraction }) => formedFraction >= 0.5);
  t.ok(near(half?.amplitudeMillivolts ?? 0, 3390, 15));
});

t.test('RESET and SET sweeps find where cells begin to move and where they have moved', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4));
  const { summary: reset, rows } = await array.run(device, 'characterise', { sweep: 'reset', region });
  t.ok(reset.firstMovedMillivolts >= 1000 && reset.firstMovedMillivolts <= 1100, `moves from ${reset.firstMovedMillivolts} mV on`);
  t.ok(reset.switchedMillivolts > reset.firstMovedMillivolts && reset.endMedianMicrosiemens < 1, JSON.stringify(reset));
  t.equal(rows.length, 1 + 31);
  const table = new TextDecoder().decode(array.objects.get(reset.objects.table)).trimEnd().split('\n');
  t.equal(table[0], 'amplitudeMillivolts,cells,meanMicrosiemens,sdMicrosiemens,p5Microsiemens,medianMicrosiemens,p95Microsiemens');
  t.equal(table.length, 1 + 32);
  await t.rejects(array.run(device, 'characterise', { sweep: 'noise', staircase: { firstMillivolts: 1 } }), { code: 'BAD_REQUEST' });
  const elsewhere = { ...region, firstBitLine: 100 };
  const { summary: set } = await array.run(device, 'characterise', { sweep: 'set', region: elsewhere });
  t.ok(near(set.endMedianMicrosiemens, 12.2, 0.5) && set.startMedianMicrosiemens < 1 && set.switchedMillivolts > 900, JSON.stringify(set));
  t.equal(board.chip.setCounts.reduce((sum, count) => sum + count, 0), set.cells * 16);
});

t.test('endurance keeps to the life of a cell; noise is what the profile claims', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4));
  await t.rejects(array.run(device, 'characterise', { sweep: 'endurance', region, cycles: 21 }), { code: 'PULSE_REFUSED' });
  t.equal(board.chip.pulses, 0, 'nothing of a sweep that would break a limit');
  const { summary, rows } = await array.run(device, 'characterise', { sweep: 'endurance', region, cycles: 3 });
  t.equal(rows.length, 6);
  t.ok(summary.failedResetCells <= 10 && summary.failedSetCells === 0, JSON.stringify(summary));
  const noise = (await array.run(device, 'characterise', { sweep: 'noise', region: { ...region, firstBitLine: 200 } })).summary;
  t.ok(near(noise.noiseFraction, 0.02, 0.001) && noise.beyondFourSigmaFraction > 0.0001, JSON.stringify(noise));
});

t.test('a calibration finds gain, offset and noise of the converters, and pulses nothing', async (t) => {
  const truths = { channelGainSdFraction: 0.03, channelOffsetSdCodes: 8, formedSdMicrosiemens: 0.5 };
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4, truths));
  const { summary, rows } = await array.run(device, 'calibrate', {});
  t.equal(board.chip.pulses, 0);
  t.match(summary, { gain: 'relative', channels: 8 });
  const found = rows as ChannelCalibration[];
  const converters = new Converters(board.chip.profile, board.chip.seed);
  const truth = found.map(({ channel }) => converters.of(0, channel));
  const cellGain = found.map(({ channel }) => converters.of(1, channel).gainQ20);
  const middle = [...cellGain].sort((a, b) => a - b)[4];
  found.forEach(({ relativeGain, relativeGainStandardError, offsetCodes, noiseFraction }, channel) => {
    // An offset of some codes of 6.25 nS stands in cells of 12 µS as a part of a thousandth.
    t.ok(near(relativeGain ?? 0, cellGain[channel] / middle, 5 * (relativeGainStandardError ?? 0) + 0.02), `gain ${relativeGain}`);
    t.equal(offsetCodes['multiply'], Math.max(0, truth[channel].offset), 'a converter without sign shows nothing below 0');
    t.ok(near(noiseFraction ?? 0, 0.02, 0.003), `noise ${noiseFraction}`);
  });
});
