import { MacroError } from '../../proto/error.js';
import { binEvents, type Split } from './frames.js';
import { parseRecording } from './recording.js';
import type { Source } from './source.js';

/** One recording of a run: how results call it, and its label where it has one. */
export interface RecordingEntry {
  readonly input: string;
  readonly label: number | null;
}

/** A recording as it was sent: ATIS events of 5 bytes. */
export interface SentRecording extends RecordingEntry {
  readonly bytes: Uint8Array;
}

/** Recordings of one request; the number of parts of a form and of rows of a result. */
export const maximumRecordings = 20_000;

/** As a source of a dataset, in the order in which they were sent. @param name how errors call it */
export const sentSource = (name: string, recordings: readonly SentRecording[]): Source => ({
  name,
  entries: recordings.map(({ input: path, label, bytes }) => ({ path, label, read: () => bytes, parse: () => parseRecording(bytes, path, label) })),
  close: () => undefined,
});

interface Header {
  readonly recordings: readonly { readonly input: string; readonly label: number | null; readonly bytes: number }[];
}

/**
 * Does all that could fail for a recording's own fault, before there is a job, or a pulse.
 * @throws MacroError RECORDING_… naming the recording
 */
export function checkRecordings(recordings: readonly SentRecording[], timestepCount: number, split: Split): void {
  for (const { input, label, bytes } of recordings) binEvents(parseRecording(bytes, input, label), timestepCount, split);
}

const lengthBytes = 4;

/**
 * All recordings of a run as one object, so that a run of a thousand costs one file and one flush to disk: length of the header (u32,
 * little-endian), the header as JSON, then the recordings one after the other.
 */
export function packRecordings(recordings: readonly SentRecording[]): Uint8Array {
  const header: Header = { recordings: recordings.map(({ input, label, bytes }) => ({ input, label, bytes: bytes.length })) };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const size = recordings.reduce((sum, { bytes }) => sum + bytes.length, lengthBytes + text.length);
  const pack = new Uint8Array(size);
  new DataView(pack.buffer).setUint32(0, text.length, true);
  pack.set(text, lengthBytes);
  let at = lengthBytes + text.length;
  for (const { bytes } of recordings) {
    pack.set(bytes, at);
    at += bytes.length;
  }
  return pack;
}

/** The inverse. The bytes of the recordings are views into the pack. @throws MacroError INTERNAL_ERROR where the object is no pack */
export function unpackRecordings(pack: Uint8Array): SentRecording[] {
  const headerLength = pack.length < lengthBytes ? Number.POSITIVE_INFINITY : new DataView(pack.buffer, pack.byteOffset).getUint32(0, true);
  if (lengthBytes + headerLength > pack.length) throw new MacroError('INTERNAL_ERROR', 'the stored recordings have lost their header');
  const { recordings } = JSON.parse(new TextDecoder().decode(pack.subarray(lengthBytes, lengthBytes + headerLength))) as Header;
  let at = lengthBytes + headerLength;
  return recordings.map(({ input, label, bytes }) => ({ input, label, bytes: pack.subarray(at, (at += bytes)) }));
}
