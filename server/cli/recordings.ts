import { encodeRecording } from '../dataset/recording.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import { openSource } from '../dataset/source.js';

/** The recordings of a folder, an archive or what is filmed, as they are sent. @throws MacroError INPUT_NOT_FOUND, BAD_DATASET, RECORDING_… */
export function recordingsOf(spec: string): SentRecording[] {
  const source = openSource(spec);
  try {
    return source.entries.map((entry) => ({ input: entry.path, label: entry.label, bytes: encodeRecording(entry.parse(entry.read())) }));
  } finally {
    source.close();
  }
}
