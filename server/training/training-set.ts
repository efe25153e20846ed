import { MacroError } from '../../proto/error.js';
import type { Dataset } from '../dataset/dataset.js';
import type { FramePackParts } from '../dataset/frame-pack.js';

/** Recordings in memory that threads share: their frames, packed, and a label to each. */
export interface TrainingSet {
  readonly frames: FramePackParts;
  readonly labels: Uint8Array;
}

/** @throws MacroError BAD_REQUEST naming the recording that has no label */
export function demandLabel(recording: string, label: number | null): number {
  if (label !== null) return label;
  throw new MacroError('BAD_REQUEST', `${recording} has no label; its folder names it, as Train/7/60001.bin`, { field: 'dataset' });
}

/** @throws MacroError BAD_REQUEST naming the recording that has no label */
export function trainingSet({ manifest: { recordings }, pack }: Dataset): TrainingSet {
  const labels = new Uint8Array(new SharedArrayBuffer(recordings.length));
  for (const [index, { path, label }] of recordings.entries()) labels[index] = demandLabel(path, label);
  return { frames: pack.parts, labels };
}
