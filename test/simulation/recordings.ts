import type { WearMeter } from '../../server/array/wear-meter.js';
import { encodeRecording } from '../../server/dataset/recording.js';
import type { InferenceParameters, InferenceSources } from '../../server/inference/job.js';
import { packRecordings, type SentRecording } from '../../server/dataset/recording-pack.js';
import type { InferenceRow } from '../../server/inference/result.js';
import type { JobStore } from '../../server/job/store.js';
import { bundleFromFiles, filesOfBundle } from '../../server/network/bundle.js';
import { SeededPrng } from '../rig/seeded-prng.js';
import { smallBundle } from '../small-bundle.js';
import { Chance } from './chance.js';

/** Different inference jobs that a run may hold; each is a pure function of its number. */
export const inferenceVariants = 3;
const recordingsPerJob = 2;
const eventsPerRecording = 400;
const connectTimeoutMilliseconds = 10_000;

function noisyRecording(number: number): SentRecording {
  const chance = new Chance(new SeededPrng(1000 + number));
  const pixels = () => Uint8Array.from({ length: eventsPerRecording }, () => chance.below(34));
  const bytes = encodeRecording({
    name: `${number}.bin`, label: null, x: pixels(), y: pixels(), polarity: Uint8Array.from({ length: eventsPerRecording }, () => chance.below(2)),
    timeMicroseconds: Uint32Array.from({ length: eventsPerRecording }, (_, event) => event * 700),
  });
  return { input: `${number}.bin`, label: null, bytes };
}

const bundle = bundleFromFiles(filesOfBundle(smallBundle()));
const packs = Array.from({ length: inferenceVariants }, (_, variant) =>
  packRecordings(Array.from({ length: recordingsPerJob }, (_unused, index) => noisyRecording(variant + index))));

export function inferenceParameters(variant: number, execution: 'device' | 'host'): InferenceParameters {
  return {
    model: bundle.digest, split: 'number', threshold: variant === 0 ? null : 0.5, execution, recordings: String(variant), recordingCount: recordingsPerJob,
    firstInferenceNumber: 10 * variant,
  };
}

/** The number of the variant that parameters are of. */
export const variantOf = (parameters: unknown): number => Number((parameters as InferenceParameters).recordings);

export function inferenceSources(store: JobStore, meter: WearMeter): InferenceSources {
  return {
    connectTimeoutMilliseconds,
    meter,
    snapshot: () => undefined,
    staleness: () => null,
    model: () => bundle,
    keep: () => '',
    now: () => '',
    object: (number) => packs[Number(number)],
    rows: (id) => store.results(id) as Iterable<InferenceRow>,
    answered: () => undefined,
  };
}
