import type { TopologySearch } from './search.js';

/** Where a search has got to, as a job keeps it: everything that it goes on from. */
export interface SearchCheckpoint {
  /** Of the map that it searches on: the chip is not read again, because another read would be another search. */
  readonly snapshot: string;
  /** Of the chip when it was read. */
  readonly arrayState: string;
  readonly stepCount: number;
  readonly layers: readonly { readonly stepCount: number; readonly scores: string; readonly first: string; readonly second: string }[];
  readonly history: readonly EpochRow[];
  /** Of the epoch that is not done. */
  readonly tally: EpochTally;
}

/** What an epoch came to. */
export interface EpochRow {
  /** Counted from 1. */
  readonly epoch: number;
  readonly meanLoss: number;
  readonly accuracy: number;
  /** Of the masked network in software, without noise; null where nothing was kept for validation. */
  readonly validationAccuracy: number | null;
  /** Pairs whose mask changed. */
  readonly changedPairs: number;
  /** SHA-256 of masks and scores. */
  readonly digest: string;
}

/** Sums over the recordings of an epoch, and the masks that it began with. */
export interface EpochTally {
  readonly loss: number;
  readonly correct: number;
  readonly recordings: number;
  readonly masks: readonly string[];
}

const textOf = (values: Float32Array | Uint8Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
export const masksOf = ({ layers }: TopologySearch): string[] => layers.map(({ mask }) => textOf(mask));
export const maskOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

function floatsOf(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  return new Float32Array(bytes.buffer);
}

export function checkpointOf(search: TopologySearch, rest: Omit<SearchCheckpoint, 'stepCount' | 'layers'>): SearchCheckpoint {
  const { stepCount, layers } = search.state;
  return {
    ...rest, stepCount,
    layers: layers.map(({ scores, first, second, stepCount: steps }) =>
      ({ stepCount: steps, scores: textOf(scores), first: textOf(first), second: textOf(second) })),
  };
}

export function restoreSearch(search: TopologySearch, { stepCount, layers }: SearchCheckpoint): void {
  const states = layers.map((layer) => ({
    stepCount: layer.stepCount, scores: floatsOf(layer.scores), first: floatsOf(layer.first), second: floatsOf(layer.second),
  }));
  search.restore({ stepCount, layers: states });
}
