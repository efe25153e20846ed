import { MacroError } from '../../proto/error.js';

/** Sensor field of N-MNIST, in pixels (Orchard et al. 2015). */
export const fieldPixels = 34;

/** Ten timesteps need at least one event each. */
export const minimumEvents = 10;

/** Real recordings hold 1 000 to 9 000 events of 5 bytes; two hundred times that is a mistake, not a digit. */
export const maximumRecordingBytes = 5 * 2 ** 20;

const bytesPerEvent = 5;
export const maximumTimeMicroseconds = 2 ** 23 - 1;

/** Events of one digit in the order of their time. All arrays have one element an event. */
export interface Recording {
  /** File or upload that it came from, for messages. */
  readonly name: string;
  readonly label: number | null;
  /** Column, 0 to 33 from the left. */
  readonly x: Uint8Array;
  /** Row, 0 to 33 from the top. */
  readonly y: Uint8Array;
  /** 1: ON, the pixel became brighter; 0: OFF. */
  readonly polarity: Uint8Array;
  readonly timeMicroseconds: Uint32Array;
}

/** What a size says of a recording, before anything of it is read. @throws MacroError RECORDING_TOO_LARGE, RECORDING_TRUNCATED, RECORDING_EMPTY */
export function checkRecordingSize(length: number, name: string): void {
  if (length > maximumRecordingBytes) {
    throw new MacroError('RECORDING_TOO_LARGE', `${name} has ${length} bytes, the limit is ${maximumRecordingBytes}`, { field: name });
  }
  const rest = length % bytesPerEvent;
  if (rest !== 0) {
    const where = `its last event at offset ${length - rest} has ${rest} of ${bytesPerEvent} bytes`;
    throw new MacroError('RECORDING_TRUNCATED', `${name} has ${length} bytes, ${where}`, { field: name });
  }
  if (length < minimumEvents * bytesPerEvent) {
    const where = `ends at offset ${length} with ${length / bytesPerEvent} events`;
    throw new MacroError('RECORDING_EMPTY', `${name} ${where}, ${minimumEvents} are needed`, { field: name });
  }
}

/** As `checkRecordingSize`, for events that are not 5 bytes. @throws MacroError RECORDING_TOO_LARGE, RECORDING_EMPTY */
export function checkEventCount(count: number, name: string): void {
  const maximumEvents = Math.floor(maximumRecordingBytes / bytesPerEvent);
  if (count > maximumEvents) throw new MacroError('RECORDING_TOO_LARGE', `${name} has ${count} events, the limit is ${maximumEvents}`, { field: name });
  if (count < minimumEvents) throw new MacroError('RECORDING_EMPTY', `${name} has ${count} events, ${minimumEvents} are needed`, { field: name });
}

function refuse(name: string, event: number, problem: string): never {
  throw new MacroError('RECORDING_INVALID', `${name}, event ${event} at offset ${event * bytesPerEvent}: ${problem}`, { field: name });
}

/**
 * Reads ATIS events of 40 bits: x, y (a byte each), polarity in the top bit of the third byte, then 23 bits of microseconds, big-endian
 * (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades").
 *
 * @param name the file, as messages shall call it
 * @throws MacroError RECORDING_TOO_LARGE, RECORDING_TRUNCATED, RECORDING_EMPTY (fewer than ten events), RECORDING_INVALID (a pixel outside
 *   34×34, or time running backwards); each names file and offset
 */
export function parseRecording(bytes: Uint8Array, name: string, label: number | null = null): Recording {
  checkRecordingSize(bytes.length, name);
  const count = bytes.length / bytesPerEvent;
  const recording = {
    name,
    label,
    x: new Uint8Array(count),
    y: new Uint8Array(count),
    polarity: new Uint8Array(count),
    timeMicroseconds: new Uint32Array(count),
  };
  let earlier = 0;
  for (let event = 0, at = 0; event < count; event += 1, at += bytesPerEvent) {
    const x = bytes[at];
    const y = bytes[at + 1];
    if (x >= fieldPixels) refuse(name, event, `x is ${x}, the range is 0 to ${fieldPixels - 1}`);
    if (y >= fieldPixels) refuse(name, event, `y is ${y}, the range is 0 to ${fieldPixels - 1}`);
    const time = ((bytes[at + 2] & 0x7f) << 16) | (bytes[at + 3] << 8) | bytes[at + 4];
    if (time < earlier) refuse(name, event, `time runs backwards from ${earlier} to ${time} µs`);
    earlier = time;
    recording.x[event] = x;
    recording.y[event] = y;
    recording.polarity[event] = bytes[at + 2] >> 7;
    recording.timeMicroseconds[event] = time;
  }
  return recording;
}

/** The recording as ATIS bytes, 5 an event; the inverse of `parseRecording`. */
export function encodeRecording(recording: Recording): Uint8Array {
  const { x, y, polarity, timeMicroseconds } = recording;
  const bytes = new Uint8Array(x.length * bytesPerEvent);
  for (let event = 0, at = 0; event < x.length; event += 1, at += bytesPerEvent) {
    const time = timeMicroseconds[event];
    if (time > maximumTimeMicroseconds) refuse(recording.name, event, `time ${time} µs needs more than 23 bits`);
    bytes[at] = x[event];
    bytes[at + 1] = y[event];
    bytes[at + 2] = (polarity[event] << 7) | (time >> 16);
    bytes[at + 3] = (time >> 8) & 0xff;
    bytes[at + 4] = time & 0xff;
  }
  return bytes;
}
