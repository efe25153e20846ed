// The job kind `inference` on a real driver, line and board: how a bundle reaches a chip, that the gate holds the device to its word, and
// that a run can be taken up again.
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress } from '../driver/index.js';
import { MacroError } from '../proto/error.js';
import { WearMeter } from '../server/array/wear-meter.js';
import { BundleApplier } from '../server/inference/apply.js';
import { HostGate } from '../server/inference/gate.js';
import { type InferenceParameters, inferenceJob } from '../server/inference/job.js';
import { packRecordings } from '../server/dataset/recording-pack.js';
import { type InferenceRow, summarise } from '../server/inference/result.js';
import type { JobContext } from '../server/job/scheduler.js';
import { type Bundle, bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { compile, earlyStopAt } from '../server/network/compile.js';
import { placeNetwork } from '../server/network/placement.js';
import { fingerprintOf, prunedCells, snapshotDigest } from '../server/network/snapshot.js';
import { WearLedger } from '../server/store/wear-ledger.js';
import { systemClock } from '../server/system-clock.js';
import { filmedDigits } from './digits.js';
import { throwAwayDatabase } from './rig/array.js';
import { smallBundle } from './small-bundle.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const geometry = { bitLines: 512, sourceLines: 512 };

async function bench(t: Test, profile: string, seed = 1, overrides: object = {}): Promise<{ board: TcpBoard; device: Device }> {
  const board = await TcpBoard.start(profile, seed, overrides);
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng: countingPrng(7), onEvent: () => undefined });
  t.teardown(async () => {
    await device.close();
    board.close();
  });
  return { board, device };
}

const applier = (t: Test) =>
  new BundleApplier({ meter: new WearMeter(new WearLedger(throwAwayDatabase(t))), snapshot: () => undefined, keep: () => '', now: () => '' });
const work = { owner: { jobId: 'job', user: null } };

const withWeights = () => bundleFromFiles(filesOfBundle(smallBundle()));

/** The small network on the cells that a formed chip happens to have. */
function madeOn({ chip }: TcpBoard): Bundle {
  const { network, layers } = smallBundle();
  const placements = placeNetwork(network, { geometry });
  const record = {
    format: 'prime-chip/1' as const,
    chipId: chip.chipId,
    fingerprint: fingerprintOf(chip.codes, geometry),
    snapshotDigest: snapshotDigest(chip.codes),
    weightScale: network.weightScale,
    placements,
  };
  return bundleFromFiles(filesOfBundle({ network, layers: layers.map(({ name, mask }) => ({ name, mask })), chip: record }));
}

const isSet = (bitmap: Uint8Array, cell: number) => ((bitmap[cell >> 3] >> (cell & 7)) & 1) === 1;
const bits = (bitmap: Uint8Array) => Array.from({ length: bitmap.length * 8 }, (_, cell) => cell).filter((cell) => isSet(bitmap, cell));

t.test('a bundle made on a chip is applied by resetting exactly the pruned cells that conduct, once', async (t) => {
  const { board, device } = await bench(t, 'lab', 1, { stuckOnFraction: 0 });
  const bundle = madeOn(board);
  const { layers, chip } = bundle;
  const pruned = prunedCells(layers.map(({ mask }) => mask), chip?.placements ?? [], geometry);
  const before = board.chip.codes.slice();
  const conducting = bits(pruned).filter((cell) => before[cell] > 0);
  const identity = await device.whenReady(5000);
  const first = await applier(t).apply(device, identity, bundle, true, work);
  t.ok(conducting.length > 1000 && conducting.length < bits(pruned).length, 'half of the pairs never formed');
  t.equal(first.pulses, conducting.length);
  const changed = Array.from(before.keys()).filter((cell) => board.chip.codes[cell] !== before[cell]);
  t.ok(changed.every((cell) => isSet(pruned, cell)), 'no other cell was touched');
  t.equal(board.chip.pulses, conducting.length);
  const again = await applier(t).apply(device, identity, bundle, true, work);
  t.equal(again.pulses, 0, 'what is applied is not pulsed again');
  t.equal(board.chip.pulses, conducting.length);
});

t.test('a bundle is refused on another chip, and on one that only claims to be the same', async (t) => {
  const { board } = await bench(t, 'lab', 1);
  const bundle = madeOn(board);
  const other = await bench(t, 'lab', 2);
  const identity = await other.device.whenReady(5000);
  const apply = (changed: Bundle) => applier(t).apply(other.device, identity, changed, true, work);
  await t.rejects(apply(bundle), { code: 'BUNDLE_CHIP_MISMATCH', message: /made on sim-lab-half-1/ });
  const claimed = { ...bundle, ...(bundle.chip && { chip: { ...bundle.chip, chipId: identity.chipId } }) };
  await t.rejects(apply(claimed), { code: 'BUNDLE_CHIP_MISMATCH', message: /correlate/ });
  t.equal(other.board.chip.pulses, 0, 'no pulse was sent');
});

t.test('after a command whose outcome is unknown the cells are read, then the bundle is applied', async (t) => {
  const { board, device } = await bench(t, 'ideal');
  await device.whenReady(5000);
  const lost = device.scratch(1);
  await board.powerCycle();
  await t.rejects(lost, { code: 'OUTCOME_UNKNOWN', outcome: 'unknown' });
  t.equal(device.state, 'needs-reconcile');
  const identity = await device.whenReady(5000);
  await applier(t).apply(device, identity, withWeights(), true, work);
  t.equal(device.state, 'ready');
});

t.test('a bundle with weights needs a device that can take them', async (t) => {
  const { device } = await bench(t, 'ideal');
  const identity = await device.whenReady(5000);
  const board = { ...identity, capabilities: identity.capabilities.filter((name) => name !== 'LoadSnapshot') };
  await t.rejects(applier(t).apply(device, board, withWeights(), true, work), { code: 'METHOD_UNSUPPORTED' });
});

const ranges = [{ name: 'multiply', stepNumeratorNanosiemens: 1, stepDenominator: 1 }];
const converter = { bits: 32, signedCodes: true, differential: false, ranges };

t.test('a device that does not stop where the host would is refused', async (t) => {
  const compiled = compile(withWeights(), { geometry, converter });
  const threshold = earlyStopAt(compiled, 0.5);
  const sure = [4_000_000, 0, 0, 0, 0, 0, 0, 0, 0, 0].map((value) => value * 16);
  const unsure = sure.map(() => 0);
  const gateAfter = (...steps: number[][]) => {
    const gate = new HostGate(compiled, threshold);
    steps.forEach((membranes, timestep) => { gate.add(timestep, membranes); });
    return gate;
  };
  t.strictSame(gateAfter(unsure, sure).decide({ timesteps: 2, prediction: 0 }).stoppedAtTimestep, 2);
  t.throws(() => gateAfter(sure, unsure), { code: 'PROTOCOL_VIOLATION' }, 'it ran on');
  t.throws(() => gateAfter(unsure).decide({ timesteps: 1, prediction: 0 }), { code: 'PROTOCOL_VIOLATION' }, 'it stopped unsure');
  t.throws(() => gateAfter(sure).decide({ timesteps: 1, prediction: 3 }), { code: 'PROTOCOL_VIOLATION' }, 'it names another class');
  t.throws(() => gateAfter(sure).decide({ timesteps: 2, prediction: 0 }), { code: 'PROTOCOL_VIOLATION' }, 'it lost a timestep');
  t.throws(() => new HostGate(compiled, threshold).add(1, unsure), { code: 'PROTOCOL_VIOLATION' }, 'it skipped a timestep');
  t.equal(gateAfter(unsure, unsure, unsure, unsure).decide({ timesteps: 4, prediction: 0 }).confidence, 0.1);
});

interface Outcome {
  readonly rows: InferenceRow[];
  readonly summary: unknown;
  readonly timesteps: unknown[];
}

/** Runs a job of three digits; `done` rows are there already. `signal` aborts after so many rows. */
async function runJob(
  t: Test, device: Device, changes: Partial<InferenceParameters>, done: InferenceRow[] = [], stopAfter?: number,
): Promise<Outcome> {
  const bundle = withWeights();
  const pack = packRecordings(filmedDigits(3).map(({ input, label, bytes }) => ({ input, label, bytes })));
  const rows = [...done];
  const timesteps: unknown[] = [];
  const stop = new AbortController();
  const kind = inferenceJob({
    connectTimeoutMilliseconds: 5000,
    meter: new WearMeter(new WearLedger(throwAwayDatabase(t))),
    snapshot: () => undefined,
    staleness: () => null,
    model: () => bundle,
    object: () => pack,
    keep: () => '',
    now: () => '',
    rows: () => done,
    answered: () => undefined,
  });
  const context = {
    job: { id: 'job', device: 'device' },
    device,
    signal: stop.signal,
    result: (index: number, row: unknown) => {
      rows[index] = row as InferenceRow;
      if (rows.length === stopAfter) stop.abort();
    },
    progress: () => undefined,
    event: (topic: string, event: unknown) => void (topic === 'timestep' && timesteps.push(event)),
  } as unknown as JobContext;
  const parameters: InferenceParameters = {
    model: bundle.digest, split: 'number', threshold: 0.5, execution: 'auto', recordings: '', recordingCount: 3, firstInferenceNumber: 10,
    ...changes,
  };
  const summary = await kind.run(context, parameters).catch((error: unknown) => error);
  return { rows, summary, timesteps };
}

t.test('device and host execution give the same rows, costs and noise included', async (t) => {
  const { device } = await bench(t, 'lab-paper');
  const onDevice = await runJob(t, device, { execution: 'device' });
  t.equal(onDevice.rows.length, 3);
  t.strictSame(await runJob(t, device, { execution: 'host' }), onDevice);
  const later = await runJob(t, device, { execution: 'device', firstInferenceNumber: 20 });
  t.not(later.rows[0].outputMean[0], onDevice.rows[0].outputMean[0], 'noise is keyed by the inference number');
});

t.test('each timestep is told as it happens, and the row is what they add up to', async (t) => {
  const { device } = await bench(t, 'ideal');
  const { rows, timesteps } = await runJob(t, device, { threshold: null });
  t.equal(timesteps.length, 3 * 4);
  const last = timesteps[3] as { timestep: number; prediction: number; confidence: number };
  t.equal(last.timestep, 3);
  t.equal(last.prediction, rows[0].prediction);
  t.equal(last.confidence, rows[0].confidence);
});

t.test('a run that was cut off goes on behind its rows and ends with the same summary', async (t) => {
  const { device } = await bench(t, 'lab-paper');
  const whole = await runJob(t, device, {});
  const cut = await runJob(t, device, {}, [], 1);
  t.ok(cut.summary instanceof MacroError && cut.summary.code === 'CANCELLED');
  t.strictSame(cut.rows, whole.rows.slice(0, cut.rows.length));
  const resumed = await runJob(t, device, {}, cut.rows);
  t.strictSame(resumed.rows, whole.rows);
  t.strictSame(resumed.summary, whole.summary);
});

t.test('the summary counts what it says', async (t) => {
  const row = (label: number | null, stoppedAtTimestep: number): InferenceRow => ({
    input: '', label, prediction: 1, stoppedAtTimestep, confidence: 0.6, outputMean: [], clippedEvents: 0, warnings: [],
    layers: [
      { name: 'conv0', conversions: 100, saturations: 3, spikes: 5 },
      { name: 'linear0', conversions: 300, saturations: 0, spikes: 0 },
    ],
    operationNanoseconds: 5e8, energyFemtojoules: 2e6,
  });
  t.strictSame(summarise([row(1, 2), row(2, 4), row(null, 3)], 10, 1), {
    recordings: 4, failed: 1, accuracy: 0.5, meanTimesteps: 3, savedFraction: 0.7, saturatedFraction: 0.0075,
    saturatedFractionByLayer: { conv0: 0.03, linear0: 0 }, energyNanojoules: 2, executionSeconds: 1.5,
  });
  t.equal(summarise([row(null, 3)], 10).accuracy, null);
});
