import { maximumDriveCode, maximumTimestepCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { fieldPixels, type Recording } from './recording.js';

/** How events are shared out over timesteps: by equal number, or by equal duration. */
export const splits = ['number', 'time'] as const;
export type Split = (typeof splits)[number];

export interface Frames {
  readonly timestepCount: number;
  /** Event counts, timestep × polarity (OFF, ON) × 34 rows × 34 columns, each at most 15. */
  readonly codes: Uint8Array;
  /** Events that were not counted because their pixel already held 15 in that timestep. */
  readonly clippedEvents: number;
}

const framePixels = fieldPixels * fieldPixels;
const frameCodes = 2 * framePixels;

/** First event of each timestep, and one more element: the number of events. */
function cutByNumber(recording: Recording, timestepCount: number): Int32Array {
  const count = recording.x.length;
  const share = Math.floor(count / timestepCount);
  return Int32Array.from({ length: timestepCount + 1 }, (_, step) => (step === timestepCount ? count : step * share));
}

function cutByTime(recording: Recording, timestepCount: number): Int32Array {
  const times = recording.timeMicroseconds;
  const first = times[0];
  const slice = Math.floor((times[times.length - 1] - first) / timestepCount);
  const cuts = new Int32Array(timestepCount + 1).fill(times.length);
  for (let step = 0, event = 0; step < timestepCount; step += 1) {
    while (event < times.length && times[event] < first + step * slice) event += 1;
    cuts[step] = event;
  }
  return cuts;
}

/**
 * Counts the events of each timestep a pixel and polarity. `number`: floor(n/T) events a timestep, the last takes the rest. `time`: slices
 * of floor((last − first)/T) µs from the first event on, the last to the end; an empty slice is an empty frame. Both as the published code.
 *
 * @param timestepCount T, 1 to 64
 * @throws MacroError RECORDING_EMPTY where a timestep could not hold one event, BAD_REQUEST where T is out of range
 */
export function binEvents(recording: Recording, timestepCount: number, split: Split): Frames {
  if (!Number.isInteger(timestepCount) || timestepCount < 1 || timestepCount > maximumTimestepCount) {
    const range = `the range is 1 to ${maximumTimestepCount}`;
    throw new MacroError('BAD_REQUEST', `timestepCount is ${timestepCount}, ${range}`, { field: 'timestepCount' });
  }
  const { name, x, y, polarity } = recording;
  if (x.length < timestepCount) {
    throw new MacroError('RECORDING_EMPTY', `${name} has ${x.length} events, ${timestepCount} are needed`, { field: name });
  }
  const cuts = split === 'number' ? cutByNumber(recording, timestepCount) : cutByTime(recording, timestepCount);
  const codes = new Uint8Array(timestepCount * frameCodes);
  let clippedEvents = 0;
  for (let step = 0; step < timestepCount; step += 1) {
    for (let event = cuts[step]; event < cuts[step + 1]; event += 1) {
      const at = step * frameCodes + polarity[event] * framePixels + y[event] * fieldPixels + x[event];
      if (codes[at] === maximumDriveCode) clippedEvents += 1;
      else codes[at] += 1;
    }
  }
  return { timestepCount, codes, clippedEvents };
}
