import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binEvents, type Frames } from '../../server/dataset/frames.js';
import { findRecordings } from '../../server/dataset/nmnist.js';
import { parseRecording } from '../../server/dataset/recording.js';
import { type Bundle, readBundle } from '../../server/network/bundle.js';
import { packageFolder } from '../../server/version.js';
import { filmedDigit } from '../../server/training/digits.js';

export interface BenchInputs {
  readonly bundle: Bundle;
  readonly frames: readonly Frames[];
  readonly source: string;
}

const recordingCount = 50;

/** The published network on real recordings where `PRIME_DATA` has them, otherwise the demonstration network on filmed digits. */
export function benchInputs(): BenchInputs {
  const data = process.env['PRIME_DATA'];
  if (data !== undefined) {
    const bundle = readBundle(join(data, 'prime-bundle'));
    const recordings = findRecordings([join(data, 'nmnist', 'Test')]).slice(0, recordingCount);
    const frames = recordings.map(({ path, input }) => binEvents(parseRecording(readFileSync(path), input), bundle.network.timestepCount, 'number'));
    return { bundle, frames, source: 'published network, real recordings' };
  }
  const bundle = withoutChip(readBundle(join(packageFolder(), 'server', 'training', 'demonstration')));
  const frames = Array.from({ length: recordingCount }, (_, index) => binEvents(filmedDigit('test', index), bundle.network.timestepCount, 'number'));
  return { bundle, frames, source: 'demonstration network, filmed digits' };
}

/** The masks of a network on weights of the stated spread: what it costs to run does not depend on which chip it was found on. */
function withoutChip({ network, layers, digest }: Bundle): Bundle {
  const spreadMicrosiemens = 0.0635 / network.weightScale;
  const weight = (length: number) => Float32Array.from({ length }, (_, index) => spreadMicrosiemens * Math.sin(index * 12.9898));
  return { network, digest, layers: layers.map(({ name, mask }) => ({ name, mask, weight: weight(mask.length) })) };
}
