import { createHash } from 'node:crypto';
import type { CachedFrames, FrameCache } from './frame-cache.js';
import { type FramePack, FramePackBuilder, frameShape } from './frame-pack.js';
import { type DatasetSplit, splitManifest, type SplitRule } from './dataset-split.js';
import { binEvents, type Split } from './frames.js';
import { usualColumns } from './event-array.js';
import { digestOf, type Manifest, type ManifestEntry, manifestEntry, manifestOf } from './manifest.js';
import { openSource, type Source, type SourceEntry, type SourceOptions, visit, type VisitOptions } from './source.js';

export interface DatasetOptions extends SourceOptions, VisitOptions {
  /** T, 1 to 64. */
  readonly timestepCount?: number;
  /** How events are shared out over timesteps. */
  readonly split?: Split;
  /** Where frames are kept for the next time; none where left out. */
  readonly cache?: FrameCache;
}

/** Labelled recordings as frames, all of them in memory, packed. */
export class Dataset {
  constructor(readonly name: string, readonly manifest: Manifest, readonly pack: FramePack) {}

  get count(): number {
    return this.pack.count;
  }

  /** T × 2 × 34 × 34 */
  get shape(): readonly [timesteps: number, channels: number, height: number, width: number] {
    return [this.pack.timestepCount, ...frameShape];
  }

  /** Of each recording; null where its folder is no number. */
  get labels(): readonly (number | null)[] {
    return this.manifest.recordings.map(({ label }) => label);
  }

  /** Event counts of one recording, T × 2 × 34 × 34, each at most 15. @param codes where they go; a new array where left out */
  frames(index: number, codes?: Uint8Array): Uint8Array {
    return this.pack.frames(index, codes);
  }

  /** A pure function of content and rule; see `splitManifest`. @throws MacroError BAD_REQUEST */
  split(rule: SplitRule): DatasetSplit {
    return splitManifest(this.manifest, rule);
  }
}

async function readFrames(source: Source, timestepCount: number, split: Split, options: DatasetOptions): Promise<CachedFrames> {
  const builder = new FramePackBuilder(timestepCount, source.entries.length);
  const recordings: ManifestEntry[] = [];
  const read = (entry: SourceEntry) => {
    const bytes = entry.read();
    const recording = entry.parse(bytes);
    builder.add(binEvents(recording, timestepCount, split).codes);
    recordings.push(manifestEntry(entry, bytes, recording.x.length));
  };
  await visit(source, read, options);
  return { manifest: manifestOf(recordings), pack: builder.build() };
}

/** What decides every count of the frames. Files have to be read for it; what is filmed is known beforehand. */
async function keyOf(source: Source, timestepCount: number, split: Split, { columns = usualColumns, signal }: DatasetOptions): Promise<string> {
  let { identity } = source;
  if (identity === undefined) {
    const hash = createHash('sha256');
    await visit(source, (entry) => void hash.update(`${entry.path} ${digestOf(entry.read())}\n`), signal === undefined ? {} : { signal });
    identity = hash.digest('hex');
  }
  return JSON.stringify([identity, columns, timestepCount, split]);
}

/**
 * Reads all recordings of a source and counts their events into frames. 60 000 recordings of ten timesteps take 160 MB of memory. Closes the source.
 *
 * @throws MacroError INPUT_NOT_FOUND, BAD_DATASET, RECORDING_… of the first that is damaged, with file and offset; CANCELLED
 */
export async function readDataset(source: Source, options: DatasetOptions = {}): Promise<Dataset> {
  const { timestepCount = 10, split = 'number', cache } = options;
  try {
    if (cache === undefined) {
      const { manifest, pack } = await readFrames(source, timestepCount, split, options);
      return new Dataset(source.name, manifest, pack);
    }
    const key = await keyOf(source, timestepCount, split, options);
    const known = cache.find(key);
    const { manifest, pack } = known ?? (await readFrames(source, timestepCount, split, options));
    if (known === undefined) cache.keep(key, { manifest, pack });
    return new Dataset(source.name, manifest, pack);
  } finally {
    source.close();
  }
}

/** The same of a folder, a zip archive, `mnist:train` or an idx file of images. @param spec see `openSource` */
export const openDataset = async (spec: string, options: DatasetOptions = {}): Promise<Dataset> => readDataset(openSource(spec, options), options);
