// The operations on an array, on a real driver, line and board: what each does to cells, that a dry run says it before, and that nothing is pulsed twice.
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress, type Region, wholeArray } from '../driver/index.js';
import { hasCell } from '../server/array/cell-bitmap.js';
import { type Bundle, bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { readNpyArray } from '../server/network/npy.js';
import { predictAccuracy } from '../server/network/prediction.js';
import { placeNetwork } from '../server/network/placement.js';
import { fingerprintOf, prunedCells, snapshotDigest } from '../server/network/snapshot.js';
import { systemClock } from '../server/system-clock.js';
import { Chip } from '../sim/chip.js';
import { firmwares } from '../sim/firmware.js';
import { profileNamed } from '../sim/profile.js';
import { ArrayBench, countsOf, throwAwayDatabase } from './rig/array.js';
import { filmedDigits } from './digits.js';
import { smallBundle } from './small-bundle.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const geometry = { bitLines: 512, sourceLines: 512 };
const corner: Region = { firstBitLine: 4, bitLines: 20, firstSourceLine: 8, sourceLines: 20 };

interface Bench { readonly board: TcpBoard; readonly device: Device; readonly array: ArrayBench }

async function on(t: Test, started: Promise<TcpBoard>): Promise<Bench> {
  const board = await started;
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  return { board, device, array: new ArrayBench(throwAwayDatabase(t)) };
}

/** The small network on the cells that a chip happens to have; `keep` may change its masks. */
function madeOn({ chip }: TcpBoard, keep: (weight: number, kept: number) => number = (_, kept) => kept): Bundle {
  const { network, layers } = smallBundle();
  const record = {
    format: 'prime-chip/1' as const, chipId: chip.chipId, fingerprint: fingerprintOf(chip.codes, geometry), snapshotDigest: snapshotDigest(chip.codes),
    weightScale: network.weightScale, placements: placeNetwork(network, { geometry }),
  };
  const masked = layers.map(({ name, mask }) => ({ name, mask: mask.map((kept, weight) => keep(weight, kept)) }));
  return bundleFromFiles(filesOfBundle({ network, layers: masked, chip: record }));
}

function add(array: ArrayBench, bundle: Bundle): string {
  array.bundles.set(bundle.digest, bundle);
  return bundle.digest;
}

const not = (passes: (cell: number) => boolean) => (cell: number) => !passes(cell);
const cells = [...Array(512 * 512).keys()];
/** Deep comparison of a quarter of a million numbers takes minutes. */
const isSame = (left: ArrayLike<number>, right: ArrayLike<number>) =>
  left.length === right.length && Array.prototype.every.call(left, (value, index) => value === right[index]);
/** Whether a cell is pruned by the mask of a bundle. */
const prunedBy = ({ layers, chip }: Bundle) => {
  const bitmap = prunedCells(layers.map(({ mask }) => mask), chip?.placements ?? [], geometry);
  return (cell: number) => hasCell(bitmap, cell);
};
const isIn = ({ firstBitLine, bitLines, firstSourceLine, sourceLines }: Region) => (cell: number) => {
  const [bitLine, sourceLine] = [Math.floor(cell / 512) - firstBitLine, (cell % 512) - firstSourceLine];
  return bitLine >= 0 && bitLine < bitLines && sourceLine >= 0 && sourceLine < sourceLines;
};

t.test('forming reaches its target on a chip whose breakdown it does not know, and pulses no formed cell again', async (t) => {
  for (const breakdownMeanMillivolts of [3353, 3433, 3513]) {
    const { board, device, array } = await on(t, TcpBoard.start('lab', 3, { breakdownMeanMillivolts }, 'pristine'));
    const plan = await array.plan(device, 'form', { region: corner, targetYield: 0.5 });
    t.match(plan, { cells: 400, mostPulses: { forming: 400 * 201 }, brokenLimits: [], figures: { targetCells: 200, formedCells: 0 } });
    t.equal(board.chip.pulses, 0, 'a dry run touches nothing');
    const { summary, progress } = await array.run(device, 'form', { region: corner, targetYield: 0.5 });
    const formed = cells.filter((cell) => board.chip.states[cell] === 1);
    t.ok(Math.abs(summary.yieldFraction - 0.5) <= 0.02, `${summary.yieldFraction}`);
    t.equal(formed.length, summary.formedCells);
    t.ok(formed.every(isIn(corner)), 'no cell outside the region');
    t.ok(summary.pulses.forming > 0 && summary.pulses.forming <= plan.mostPulses.forming && summary.pulses.forming === board.chip.pulses);
    t.ok(plan.seconds >= summary.operationSeconds, `${plan.seconds} s said, ${summary.operationSeconds} s taken`);
    t.ok(progress.length > 10, 'it tells how far it is');
    const before = countsOf(board.chip).forming;
    const again = await array.run(device, 'form', { region: corner, targetYield: 0.5 });
    t.equal(again.summary.pulses.forming, 0);
    t.ok(isSame(countsOf(board.chip).forming, before));
    const map = readNpyArray(array.objects.get(summary.objects.outcomes) as Uint8Array, 'outcomes', 'u1');
    t.strictSame(map.shape, [20, 20]);
    t.equal(map.data.filter((outcome) => outcome === 2).length, summary.outcomes.formed);
  }
});

t.test('a forming that was cut off goes on at the amplitude where each cell stands', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab', 5, {}, 'pristine'));
  const stop = new AbortController();
  const asked = { region: corner, targetYield: 0.9 };
  const running = array.run(device, 'form', asked, stop.signal);
  while (board.chip.pulses < 20_000) await new Promise((resolve) => setTimeout(resolve, 1));
  stop.abort();
  await t.rejects(running, { code: 'CANCELLED', outcome: 'applied' });
  const cut = countsOf(board.chip).forming.slice();
  const { summary } = await array.run(device, 'form', asked);
  t.equal(summary.formedCells, 360);
  const { forming } = countsOf(board.chip);
  const whole = await on(t, TcpBoard.start('lab', 5, {}, 'pristine'));
  await whole.array.run(whole.device, 'form', asked);
  t.ok(isSame(forming, countsOf(whole.board.chip).forming), 'cell by cell as many pulses as if it had not been cut off');
  t.ok(cut.some((count, cell) => count > 0 && forming[cell] > count));
  const shares = array.ledger.shares(board.chip.chipId).map(({ owner, pulses }) => [owner?.jobId, pulses.forming]);
  t.equal(shares.reduce((sum, [, pulses]) => sum + Number(pulses), 0), board.chip.pulses, 'every pulse is somebody\'s');
  t.strictSame(shares.map(([job]) => job).sort(), ['job-1', 'job-2']);
});

t.test('a mask pulses the pruned cells that conduct, once; one that prunes a little more pulses the difference', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 2, { stuckOnFraction: 0 }));
  const first = madeOn(board);
  const sparser = madeOn(board, (weight, kept) => (weight % 100 === 0 ? 0 : kept));
  const model = add(array, first);
  const plan = await array.plan(device, 'apply-mask', { model });
  const { summary } = await array.run(device, 'apply-mask', { model });
  const pruned = cells.filter(prunedBy(first));
  t.equal(plan.leastPulses.reset, pruned.length);
  t.equal(summary.pulses.reset, pruned.length, 'one pulse each');
  t.match(summary, { stubbornCells: 0, outcomes: { inside: pruned.length }, regrownPairs: 0, staleSnapshot: null });
  const { reset } = countsOf(board.chip);
  t.ok(isSame(cells.filter((cell) => reset[cell] > 0), pruned));
  t.equal((await array.run(device, 'apply-mask', { model })).summary.pulses.reset, 0);
  const difference = cells.filter(prunedBy(sparser)).filter(not(prunedBy(first)));
  t.ok(difference.length > 0);
  t.equal((await array.run(device, 'apply-mask', { model: add(array, sparser) })).summary.pulses.reset, difference.length);
  t.ok(countsOf(board.chip).reset.every((count) => count <= 1), 'no cell was pulsed twice');
});

t.test('a board of protocol 2 gets the same mask by pulses and reads of the host', async (t) => {
  const chip = Chip.formed({ ...profileNamed('lab-full'), stuckOnFraction: 0 }, 2);
  const capabilities = firmwares.current.capabilities.filter((name) => !['FormCells', 'SetCells', 'ProgramCells', 'ReadWear'].includes(name));
  const firmware = { ...firmwares.current, protocol: { minimum: 1, maximum: 2 }, capabilities };
  const { board, device, array } = await on(t, TcpBoard.with(chip, firmware));
  const bundle = madeOn(board);
  const model = add(array, bundle);
  const pruned = cells.filter(prunedBy(bundle));
  t.equal((await array.run(device, 'apply-mask', { model })).summary.pulses.reset, pruned.length);
  t.ok(isSame(array.ledger.counts(chip.chipId).reset, countsOf(chip).reset), 'the ledger counts for it');
  t.equal((await array.run(device, 'apply-mask', { model })).summary.pulses.reset, 0);
  await t.rejects(array.run(device, 'form', {}), { code: 'METHOD_UNSUPPORTED' });
});

t.test('cells that no RESET moves are reported, and not worn by the next application', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 2, { stuckOnFraction: 0.01 }));
  const model = add(array, madeOn(board));
  const { summary } = await array.run(device, 'apply-mask', { model });
  t.ok(summary.stubbornCells > 50, `${summary.stubbornCells}`);
  t.equal(summary.outcomes['too-high'], summary.stubbornCells);
  const again = await array.run(device, 'apply-mask', { model });
  t.equal(again.summary.pulses.reset, 0);
  t.equal(again.summary.stubbornCells, summary.stubbornCells);
});

/** A chip with a mask on it, and a bundle that keeps one percent of the pairs that the mask pruned. */
async function regrowing(t: Test) {
  const still = { stuckOnFraction: 0, driftMeanFractionPerDecade: 0, driftSdFractionPerDecade: 0 };
  const bench = await on(t, TcpBoard.start('lab-quiet', 2, still));
  const { board, device, array } = bench;
  const before = board.chip.codes.slice();
  const first = madeOn(board);
  const model = add(array, madeOn(board, (weight, kept) => (weight % 100 === 0 ? 1 : kept)));
  await array.run(device, 'apply-mask', { model: add(array, first) });
  return { ...bench, before, first, model, bundle: array.bundles.get(model) as Bundle };
}

t.test('a mask that keeps pairs which were RESET is refused with their count, and redrawn where that is asked for', async (t) => {
  const { board, device, array, before, first, model, bundle } = await regrowing(t);
  const lost = cells.filter(prunedBy(first)).filter(not(prunedBy(bundle))).filter((cell) => before[cell] > 0);
  const plan = await array.plan(device, 'apply-mask', { model });
  const pulses = board.chip.pulses;
  const message = new RegExp(`${plan.figures['regrowingPairs']} pairs .*${lost.length} cells`);
  await t.rejects(array.run(device, 'apply-mask', { model }), { code: 'MASK_REGROWS', message });
  t.equal(board.chip.pulses, pulses);
  array.snapshots.set(bundle.chip?.snapshotDigest ?? '', before);
  array.datasets.set('digits', filmedDigits(6));
  const { summary, rows } = await array.run(device, 'apply-mask', { model, regrow: 'redraw', dataset: 'digits' });
  const isPruned = prunedBy(bundle);
  const { codes: read } = await device.readCells(wholeArray, 4);
  const recorded = before.map((code, cell) => (isPruned(cell) ? read[cell] : code));
  const predicted = await predictAccuracy(await device.whenReady(5000), bundle, recorded, filmedDigits(6), 'number');
  t.match(summary, { pulses: { set: lost.length, reset: 0 }, regrownPairs: plan.figures['regrowingPairs'], staleSnapshot: bundle.chip?.snapshotDigest });
  t.same(new Set(summary.staleModels), new Set(array.bundles.keys()), 'every bundle on that snapshot is stale');
  const { set } = countsOf(board.chip);
  t.ok(isSame(cells.filter((cell) => set[cell] > 0), lost), 'cells that never formed are not SET');
  t.equal(rows.length, summary.regrownPairs);
  t.match(array.stale.get(bundle.chip?.snapshotDigest ?? ''), { job: 'job-3', changedPairs: summary.regrownPairs });
  t.same(summary.predictedBefore, predicted, 'of what was recorded of the kept cells');
  t.match(summary.predictedAfter, { recordings: 6, accuracy: Number, meanTimesteps: Number });
  const [row] = rows as { oldMicrosiemens: number; newMicrosiemens: number }[];
  t.ok(Math.abs(row.oldMicrosiemens) < 40 && Math.abs(row.newMicrosiemens) < 40 && row.oldMicrosiemens !== row.newMicrosiemens);
  t.equal((await array.run(device, 'apply-mask', { model })).summary.regrownPairs, 0, 'now they are as the mask wants them');
});

t.test('a redraw that is stopped leaves the old map stale: nobody knows which pairs still have their values', async (t) => {
  const { device, array, model, bundle } = await regrowing(t);
  const digest = bundle.chip?.snapshotDigest ?? '';
  await t.rejects(array.run(device, 'apply-mask', { model }), { code: 'MASK_REGROWS' });
  t.notOk(array.stale.has(digest), 'what was refused has changed nothing');
  const { regrowingPairs } = (await array.plan(device, 'apply-mask', { model })).figures;
  const stopped = AbortSignal.abort();
  await t.rejects(array.run(device, 'apply-mask', { model, regrow: 'redraw' }, stopped), { code: 'CANCELLED' });
  t.match(array.stale.get(digest), { changedPairs: regrowingPairs });
});

t.test('regrow "program" brings pairs back to about what the snapshot recorded', async (t) => {
  const { board, device, array, before, model, bundle } = await regrowing(t);
  await t.rejects(array.run(device, 'apply-mask', { model, regrow: 'program' }), { code: 'BAD_REQUEST', message: /snapshot/ });
  array.snapshots.set(bundle.chip?.snapshotDigest ?? '', before);
  const plan = await array.plan(device, 'apply-mask', { model, regrow: 'program' });
  t.strictSame(plan.brokenLimits, []);
  const { summary, rows } = await array.run(device, 'apply-mask', { model, regrow: 'program', toleranceFraction: 0.1 });
  const counts = countsOf(board.chip);
  const set = cells.filter((cell) => counts.set[cell] > 0);
  t.ok(set.length > 0 && summary.pulses.set >= set.length && summary.pulses.set <= plan.mostPulses.set);
  const near = set.filter((cell) => Math.abs(board.chip.codes[cell] / before[cell] - 1) < 0.15);
  t.ok(near.length >= 0.9 * set.length, `${near.length} of ${set.length} cells are where they were`);
  const missed = (rows as { isRestored: boolean }[]).filter(({ isRestored }) => !isRestored).length;
  t.equal(array.stale.get(bundle.chip?.snapshotDigest ?? '')?.changedPairs ?? 0, missed, 'only what could not be restored makes the map stale');
});

t.test('cells are programmed to a target, by region or one by one', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4, { stuckOnFraction: 0 }));
  const plan = await array.plan(device, 'program', { region: corner, microsiemens: 8 });
  t.strictSame(plan.brokenLimits, []);
  const { summary } = await array.run(device, 'program', { region: corner, microsiemens: 8 });
  t.equal(summary.cells, 400);
  t.ok(summary.outcomes.inside >= 380, `${summary.outcomes.inside} of 400 inside with ${JSON.stringify(summary.pulses)}`);
  const truth = cells.filter(isIn(corner)).map((cell) => board.chip.codes[cell] * 0.004);
  t.ok(truth.filter((value) => Math.abs(value / 8 - 1) <= 0.08).length >= 370);
  const again = await array.run(device, 'program', { region: corner, microsiemens: 9, user: 'ada' });
  const { set } = countsOf(board.chip);
  const most = Math.max(...cells.filter(isIn(corner)).map((cell) => set[cell]));
  t.ok(again.summary.outcomes.inside >= 350 && most <= 20, `${again.summary.outcomes.inside} of 400 once more, at most ${most} SET pulses a cell`);
  const one = await array.run(device, 'program', { cells: [{ bitLine: 100, sourceLine: 7, microsiemens: 20 }], toleranceFraction: 0.1 });
  t.equal(one.summary.outcomes.inside, 1);
});

t.test('a job may not give more pulses than its budget in the worst case', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4));
  await t.rejects(array.run(device, 'program', { region: corner, microsiemens: 8, maximumPulses: 50 }), { code: 'PULSE_REFUSED', field: 'maximumPulses' });
  t.match((await array.plan(device, 'program', { region: corner, microsiemens: 8, maximumPulses: 50 })).brokenLimits, [{ field: 'maximumPulses', limit: 50 }]);
  t.equal(board.chip.pulses, 0);
});

t.test('a dry run names the limits that its pulses would break, and the job gives none of them', async (t) => {
  const limits = { totalCurrentMaximumMicroamperes: 40, resetAmplitudeMaximumMillivolts: 1800 };
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4, limits));
  const { brokenLimits } = await array.plan(device, 'program', { region: corner, microsiemens: 8 });
  t.match(brokenLimits, [
    { field: 'amplitudeMillivolts', kind: 'reset', limit: 1800 }, { field: 'totalCurrentMicroamperes', kind: 'set', limit: 40 },
  ]);
  await t.rejects(array.run(device, 'program', { region: corner, microsiemens: 8 }), { code: 'PULSE_REFUSED' });
  t.equal(board.chip.pulses, 0);
});

t.test('a chip that is too warm is read and calibrated, and gets no pulse', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab-full', 4, { temperatureCelsius: 45.5 }));
  const { brokenLimits } = await array.plan(device, 'program', { region: corner, microsiemens: 8 });
  const detail = 'the chip is at 45.5 °C; pulses are given from 10 to 40';
  t.match(brokenLimits, [{ field: 'temperatureCelsius', kind: null, limit: 40, reached: 45.5, detail }]);
  const refused = { code: 'PULSE_REFUSED', field: 'temperatureCelsius' };
  await t.rejects(array.run(device, 'program', { region: corner, microsiemens: 8 }), refused);
  t.equal((await array.run(device, 'read', { region: corner })).summary.cells, 400);
  t.equal((await array.run(device, 'calibrate', { averages: 1 })).summary.temperatureCelsius, 45.5);
  t.equal(board.chip.pulses, 0);
});

t.test('a read says what conducts, and leaves the codes', async (t) => {
  const { board, device, array } = await on(t, TcpBoard.start('lab', 6));
  const { summary } = await array.run(device, 'read', {});
  t.ok(Math.abs(summary.meanMicrosiemens - 12.34) < 0.1 && Math.abs(summary.sdMicrosiemens - 1.85) < 0.1, JSON.stringify(summary));
  t.equal(summary.conductingCells + summary.lowCells + summary.saturatedCells, 512 * 512);
  const { data, shape } = readNpyArray(array.objects.get(summary.objects.codes) as Uint8Array, 'codes', 'u2');
  t.strictSame(shape, [512, 512]);
  t.equal(snapshotDigest(data), summary.objects.snapshot, 'the bare codes lie under the digest by which bundles name them');
  t.equal(board.chip.pulses, 0);
  t.equal((await array.plan(device, 'read', { region: corner })).mostPulses.reset, 0);
});

t.test('a self-test passes on a sound chip and fails on one with broken cells', async (t) => {
  const sound = await on(t, TcpBoard.start('lab', 6));
  const { summary, rows } = await sound.array.run(sound.device, 'self-test', {});
  t.match(summary, { passed: 5, failed: 0 });
  t.equal(rows.length, 5);
  const noise = summary.checks.find(({ name }: { name: string }) => name === 'read noise').figures.noiseFraction;
  t.ok(noise > 0.018 && noise < 0.023, `${noise}`);
  const broken = await on(t, TcpBoard.start('lab', 6));
  for (let cell = 0; cell < 600; cell += 1) broken.board.chip.codes[cell * 7] = 65535;
  t.match((await broken.array.run(broken.device, 'self-test', {})).summary, { failed: 1 });
  t.equal(broken.board.chip.pulses + sound.board.chip.pulses, 0);
});
