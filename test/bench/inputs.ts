import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sourceLineCount } from '../../firmware-protocol/limits.js';
import { FilmSet } from '../../server/dataset/film.js';
import { binEvents, type Frames } from '../../server/dataset/frames.js';
import { readMnist } from '../../server/dataset/mnist.js';
import { findRecordings } from '../../server/dataset/nmnist.js';
import { parseRecording } from '../../server/dataset/recording.js';
import { type Bundle, readBundle } from '../../server/network/bundle.js';
import { snapshotDifferences } from '../../server/network/snapshot.js';
import { packageFolder } from '../../server/version.js';
import { Chip } from '../../sim/chip.js';
import { profileNamed } from '../../sim/profile.js';

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
  const films = new FilmSet('test', readMnist('test'), 1);
  const frames = Array.from({ length: recordingCount }, (_, index) =>
    binEvents(parseRecording(films.film(index), films.pathOf(index)), bundle.network.timestepCount, 'number'));
  return { bundle, frames, source: 'demonstration network, filmed digits' };
}

/** A network that was found on a simulated chip, with that chip's conductances as weights of its own: any chip can then be made to hold it. */
function withoutChip({ network, layers, chip, digest }: Bundle): Bundle {
  if (chip === undefined) throw new Error('the demonstration network was found on no chip');
  const { codes, profile } = Chip.formed(profileNamed('lab'), 1);
  return {
    network: { ...network, weightScale: chip.weightScale },
    digest,
    layers: layers.map(({ name, mask }, layer) => {
      const weight = snapshotDifferences(codes, profile.cellUnitNanosiemens, chip.placements[layer], sourceLineCount);
      return { name, mask, weight };
    }),
  };
}
