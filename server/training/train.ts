import { availableParallelism } from 'node:os';
import { wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { MeteredArray } from '../array/metered-array.js';
import type { Operation, OperationJob } from '../array/operation.js';
import { planOf } from '../array/plan.js';
import { takeSnapshot } from '../array/snapshot.js';
import { readDataset } from '../dataset/dataset.js';
import { filmSource } from '../dataset/film.js';
import type { FrameCache } from '../dataset/frame-cache.js';
import { checkRecordings, type SentRecording, sentSource } from '../dataset/recording-pack.js';
import type { Source } from '../dataset/source.js';
import { type Bundle, filesOfBundle } from '../network/bundle.js';
import type { Network } from '../network/network.js';
import { fingerprintOf, snapshotDigest } from '../network/snapshot.js';
import type { Snapshot } from '../snapshot/snapshot.js';
import { checkpointOf, type EpochRow, type EpochTally, maskOf, masksOf, restoreSearch, type SearchCheckpoint } from './checkpoint.js';
import { type ChipDevices, chipDevices } from './chip-devices.js';
import { type Course, frontierAt, judge } from '../early-stop/course.js';
import { fitThreshold } from '../early-stop/fit.js';
import { type EarlyStopPolicy, type Threshold, temperatureOf } from '../early-stop/policy.js';
import { formingFigures } from './forming-advice.js';
import { GradientPool } from './gradient-pool.js';
import { type TrainParameters, trainParameters, trainSchema } from './parameters.js';
import { TopologySearch } from './search.js';
import { shuffled } from './shuffle.js';
import { demandLabel, type TrainingSet, trainingSet } from './training-set.js';

/** Where a search finds what it learns from, and leaves what it found. */
export interface TrainingSources {
  /** @throws MacroError DATASET_UNKNOWN */
  dataset(id: string): readonly SentRecording[];
  /** Codes of a map of the whole array by its digest; undefined where the service does not hold it. */
  snapshot(digest: string): Uint16Array | undefined;
  /** Where frames are kept that take long to film. */
  readonly frames?: FrameCache;
  keepSnapshot?(snapshot: Snapshot): void;
  keep(bytes: Uint8Array): string;
  keepModel(files: ReadonlyMap<string, Uint8Array>): Bundle;
  /** Date and time, as ISO 8601 says it. */
  now(): string;
}

const checkpointName = 'search';
/** What the threshold of a bundle may cost: two recordings in a thousand. */
const accuracyLossOfStop = 0.002;
/** Steps between two checkpoints, beside those at the end of each epoch. */
const checkpointSteps = 100;
/** The order of the recordings that validation takes its own from; epochs count from 0. */
const validationTurn = 2 ** 32 - 1;

const bytesOf = (codes: Uint16Array) => new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function refuseStopped({ signal }: MeteredArray): void {
  if (signal?.aborted === true) throw new MacroError('CANCELLED', 'the search was stopped between two steps; submit it again and it goes on');
}

interface ChipMap {
  readonly codes: Uint16Array;
  readonly digest: string;
  readonly arrayState: string;
}

/** The map that a search is made on: that of an earlier start, one that is named, or a fresh read. */
async function chipMap(
  array: MeteredArray, parameters: TrainParameters, job: OperationJob, sources: TrainingSources, earlier?: SearchCheckpoint,
): Promise<ChipMap> {
  const arrayState = hex((await array.device.status()).arrayState);
  const digest = earlier?.snapshot ?? parameters.snapshot;
  if (digest !== undefined) {
    const codes = sources.snapshot(digest);
    if (codes === undefined) throw new MacroError('BAD_REQUEST', `there is no snapshot "${digest}"`, { field: 'snapshot' });
    return { codes, digest, arrayState };
  }
  const asked = { reads: 1, averages: parameters.averages, conditions: {} };
  const snapshot = await takeSnapshot(array, asked, { job: job.id, takenAt: sources.now() });
  sources.keepSnapshot?.(snapshot);
  sources.keep(bytesOf(snapshot.codes));
  return { codes: snapshot.codes, digest: snapshotDigest(snapshot.codes), arrayState };
}

function sourceOf({ dataset, films = '' }: TrainParameters, sources: TrainingSources): Source {
  return dataset === undefined ? filmSource(films, 'train') : sentSource(dataset, sources.dataset(dataset));
}

async function loadSet(parameters: TrainParameters, sources: TrainingSources, { signal }: MeteredArray, job: OperationJob): Promise<TrainingSet> {
  const { dataset, split, network: { timestepCount } } = parameters;
  const cache = dataset === undefined ? sources.frames : undefined;
  const onProgress = (done: number, total: number) => { job.progress(done, total, { stage: 'frames' }); };
  const options = { timestepCount, split, onProgress, ...(cache && { cache }), ...(signal && { signal }) };
  return trainingSet(await readDataset(sourceOf(parameters, sources), options));
}

/** Recordings to learn from and others to validate with. */
export function divided(count: number, { seed, validationFraction }: Pick<TrainParameters, 'seed' | 'validationFraction'>) {
  const order = shuffled(count, seed, validationTurn);
  const validated = Math.round(validationFraction * count);
  if (validated >= count) {
    const problem = `validationFraction leaves none of ${count} recordings to learn from`;
    throw new MacroError('BAD_REQUEST', problem, { field: 'validationFraction' });
  }
  return { learn: order.subarray(validated).sort(), validate: order.subarray(0, validated).sort() };
}

/** After all timesteps; null where there are no recordings. */
const accuracyOf = (courses: readonly Course[]) => (courses.length === 0 ? null : frontierAt(judge(courses, 'relative-margin'), undefined).accuracy);

/** Of what was found, on recordings that nothing was chosen on; null where none are named. In software, on the map of the chip. */
async function accuracyOfTest(search: TopologySearch, network: Network, { test, split, seed }: TrainParameters, sources: TrainingSources) {
  if (test === undefined) return null;
  const set = trainingSet(await readDataset(sentSource(test, sources.dataset(test)), { timestepCount: network.timestepCount, split }));
  const pool = new GradientPool(network, set, { seed, timestepLossFraction: 0, isNoisy: false, workerCount: availableParallelism() });
  try {
    return accuracyOf(await search.courses(Uint32Array.from(set.labels.keys()), pool));
  } finally {
    await pool.close();
  }
}

/** A search as a job runs it: epoch by epoch, with what it needs to go on after whatever stops it. */
class TrainingRun {
  private readonly history: EpochRow[];
  private tally: EpochTally;

  constructor(
    private readonly search: TopologySearch, private readonly map: ChipMap, private readonly validate: Uint32Array, private readonly job: OperationJob,
    earlier: SearchCheckpoint | undefined,
  ) {
    this.history = [...(earlier?.history ?? [])];
    if (earlier !== undefined) restoreSearch(search, earlier);
    this.tally = earlier?.tally ?? this.emptyTally();
    this.history.forEach((row) => { job.row(row); });
  }

  /** @returns a row an epoch */
  async run(array: MeteredArray): Promise<readonly EpochRow[]> {
    const { search, job } = this;
    for await (const { step, loss, correct, recordings, epoch, isEndOfEpoch } of search.steps()) {
      const { tally } = this;
      this.tally = { ...tally, loss: tally.loss + loss, correct: tally.correct + correct, recordings: tally.recordings + recordings };
      job.progress(step, search.totalSteps, { epoch: epoch + 1, loss: loss / recordings, accuracy: correct / recordings });
      if (isEndOfEpoch) await this.endEpoch(epoch);
      const isStopped = array.signal?.aborted === true;
      if (isEndOfEpoch || isStopped || step % checkpointSteps === 0) this.save();
      if (step < search.totalSteps) refuseStopped(array);
    }
    return this.history;
  }

  private emptyTally(): EpochTally {
    return { loss: 0, correct: 0, recordings: 0, masks: masksOf(this.search) };
  }

  private async endEpoch(epoch: number): Promise<void> {
    const { loss, correct, recordings, masks } = this.tally;
    const changedPairs = this.search.layers.reduce((sum, { mask }, layer) => {
      const before = maskOf(masks[layer]);
      return sum + mask.reduce((count, kept, pair) => count + (kept === before[pair] ? 0 : 1), 0);
    }, 0);
    const validationAccuracy = accuracyOf(await this.search.courses(this.validate));
    const row = {
      epoch: epoch + 1, meanLoss: loss / recordings, accuracy: correct / recordings, validationAccuracy, changedPairs, digest: this.search.digest(),
    };
    this.history.push(row);
    this.job.row(row);
    this.tally = this.emptyTally();
  }

  private save(): void {
    const { digest: snapshot, arrayState } = this.map;
    this.job.checkpoint(checkpointName, checkpointOf(this.search, { snapshot, arrayState, history: this.history, tally: this.tally }));
  }
}

/** What was found, as a bundle. The threshold of its early stop is fitted on what was kept for validation, or else on what was learned from. */
function bundleOf({ identity }: MeteredArray, search: TopologySearch, chip: ChipDevices, map: ChipMap, network: Network, threshold: Threshold) {
  const { chipId, geometry } = identity;
  const record = {
    format: 'prime-chip/1' as const, chipId, fingerprint: fingerprintOf(chip.codes, geometry), snapshotDigest: map.digest, weightScale: chip.weightScale,
    placements: [...chip.placements],
  };
  const layers = network.layers.map(({ name }, index) => ({ name, mask: search.layers[index].mask, scores: search.layers[index].scores }));
  const found = { ...network, weightScale: chip.weightScale, earlyStop: { ...network.earlyStop, threshold } as EarlyStopPolicy };
  return filesOfBundle({ network: found, layers, chip: record });
}

/**
 * The job kind `train`: reads the chip once and searches, on the host and on those very conductances, which synapses to keep. Nothing is pulsed: the mask
 * is applied by whoever wants it (`apply-mask`). Pairs without a working device are pruned from the start and count for nothing, so that a search on a chip
 * that already carries a mask prunes and never re-grows. A job that is submitted again goes on where the last one stopped.
 */
export function trainOperation(sources: TrainingSources): Operation<TrainParameters> {
  return {
    name: 'train',
    schema: trainSchema,
    parametersOf(given) {
      const parameters = trainParameters(given);
      const { dataset, films, test, network, split } = parameters;
      if (films !== undefined) filmSource(films, 'train');
      const recordings = [dataset, test].flatMap((id) => (id === undefined ? [] : sources.dataset(id)));
      for (const { input, label } of recordings) demandLabel(input, label);
      checkRecordings(recordings, network.timestepCount, split);
      return parameters;
    },
    async plan(array, parameters) {
      const { averages, epochs, batchSize, validationFraction } = parameters;
      const map = await array.read({ ...wholeArray, bitLines: 1 }, averages);
      const whole = { ...map, operationNanoseconds: map.operationNanoseconds * wholeArray.bitLines };
      const count = sourceOf(parameters, sources).entries.length;
      const learned = count - Math.round(validationFraction * count);
      const figures = { recordings: count, steps: epochs * Math.ceil(learned / batchSize) };
      return planOf('train', array, whole, averages, wholeArray.bitLines * wholeArray.sourceLines, [], figures);
    },
    async run(array, parameters, job) {
      const earlier = job.earlierCheckpoint(checkpointName) as SearchCheckpoint | undefined;
      const map = await chipMap(array, parameters, job, sources, earlier);
      const isSame = earlier?.arrayState === map.arrayState;
      const chip = chipDevices(map.codes, array.identity.geometry, parameters.network);
      const network = { ...parameters.network, weightScale: chip.weightScale };
      const set = await loadSet(parameters, sources, array, job);
      const recordings = set.labels.length;
      const { learn, validate } = divided(recordings, parameters);
      const { seed, timestepLossFraction, noise } = parameters;
      const workerCount = availableParallelism();
      const pool = new GradientPool(network, set, { seed, timestepLossFraction, isNoisy: noise !== undefined, workerCount });
      try {
        const search = new TopologySearch(network, chip.layers, parameters, pool, learn);
        const history = await new TrainingRun(search, map, validate, job, isSame ? earlier : undefined).run(array);
        const courses = await search.courses(validate.length > 0 ? validate : learn);
        const { rule } = network.earlyStop;
        const threshold = fitThreshold(judge(courses, rule, { temperature: temperatureOf(network.earlyStop) }), rule, accuracyLossOfStop);
        const testAccuracy = await accuracyOfTest(search, network, parameters, sources);
        const bundle = sources.keepModel(bundleOf(array, search, chip, map, parameters.network, threshold));
        const { epoch: epochs, ...last } = history[history.length - 1];
        return {
          model: bundle.digest, snapshot: map.digest, recordings, validated: validate.length, epochs, ...last, testAccuracy, threshold,
          weightScale: chip.weightScale, ...formingFigures(chip),
        };
      } finally {
        await pool.close();
      }
    },
  };
}

