import { packNibbles, unpackNibbles } from '../../firmware-protocol/numerics/index.js';

/** Recordings in memory that threads share: drive codes, four bits each, and a label to each recording. */
export interface TrainingSet {
  readonly count: number;
  /** Drive codes of a recording, T × C × H × W. */
  readonly codesPerRecording: number;
  readonly packed: SharedArrayBuffer;
  readonly labels: SharedArrayBuffer;
}

export interface LabelledFrames {
  /** T × 2 × 34 × 34 event counts. */
  readonly codes: Uint8Array;
  readonly label: number;
}

const bytesPerRecording = ({ codesPerRecording }: Pick<TrainingSet, 'codesPerRecording'>) => (codesPerRecording + 1) >> 1;

/** @param recordingAt asked once for each */
export function trainingSet(count: number, recordingAt: (index: number) => LabelledFrames): TrainingSet {
  const first = recordingAt(0);
  const codesPerRecording = first.codes.length;
  const bytes = bytesPerRecording({ codesPerRecording });
  const set = { count, codesPerRecording, packed: new SharedArrayBuffer(count * bytes), labels: new SharedArrayBuffer(count) };
  const [packed, labels] = [new Uint8Array(set.packed), new Uint8Array(set.labels)];
  for (let index = 0; index < count; index += 1) {
    const { codes, label } = index === 0 ? first : recordingAt(index);
    packed.set(packNibbles(codes), index * bytes);
    labels[index] = label;
  }
  return set;
}

export function recordingOf(set: TrainingSet, index: number): LabelledFrames {
  const bytes = bytesPerRecording(set);
  return { codes: unpackNibbles(new Uint8Array(set.packed, index * bytes, bytes), set.codesPerRecording), label: new Uint8Array(set.labels)[index] };
}
