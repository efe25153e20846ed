import { MacroError } from '../../proto/error.js';
import { digitPixels } from './mnist.js';
import { nmnistThresholdPattern } from './nmnist-sensor.js';
import { fieldPixels, type Recording } from './recording.js';
import { filmEventsMaximum, lightLevels, screenPixels, Sensor, stepMicroseconds } from './sensor.js';

/**
 * A model of how N-MNIST was recorded (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using
 * saccades"): a digit on a screen, an event camera that makes three saccades of about 100 ms along a triangle before it. Each pixel follows
 * the logarithm of its light and sends an event when that has moved by a threshold since the last one.
 */
export interface CameraParameters {
  /** Where the digit stands on the sensor every 10 ms, in pixels right of and below its centre. */
  readonly pathPixels: readonly (readonly [right: number, below: number])[];
  /** Pixels of the sensor that a pixel of the image covers, each way. */
  readonly magnification: number;
  /** Light of full ink over light of the bare screen. */
  readonly inkLightFraction: number;
  /** Width (sd) of the blur of lens and screen. */
  readonly blurPixels: number;
  /** Time constant of the photoreceptor. */
  readonly photoreceptorMicroseconds: number;
  /** Change of log light (natural) that makes an event. */
  readonly onThreshold: number;
  readonly offThreshold: number;
  /** What each pixel's thresholds are relative to these, ON and then OFF, 2 × 34 × 34; null: all alike. */
  readonly thresholdPattern: Float32Array | null;
  /** Spread (sd) of each pixel's thresholds from film to film, relative to their mean. */
  readonly thresholdMismatch: number;
  /** For so long a pixel is blind after an event. */
  readonly refractoryMicroseconds: number;
  /** Rate of events without cause, of each polarity, for one pixel. */
  readonly noiseHertz: number;
  /** Rate of ON events of a pixel in constant light, because its reference leaks. */
  readonly leakHertz: number;
  /** Spread (sd) of the start of the first saccade. */
  readonly startJitterMicroseconds: number;
  /** Spread (sd) of the place of the digit, each way. */
  readonly placeJitterPixels: number;
}

/**
 * The three saccades as the recordings show them: at each time the shift at which the signed events of 5 ms fit the gradient of the MNIST
 * digit best, over 1 000 recordings, drawn towards where filmed train digits come closest to the recordings of the same digits.
 */
const nmnistPath = [
  [-2.51, -1.68], [-2.51, -1.6], [-2.58, -1.29], [-2.61, -0.63], [-2.61, 0.46], [-2.48, 1.71], [-1.87, 2.68], [-1.27, 3.26],
  [-1.03, 3.42], [-1.02, 3.48], [-0.95, 3.48], [-0.82, 3.44], [-0.62, 3.41], [-0.07, 3.14], [0.78, 2.3], [1.35, 1.17],
  [1.61, 0.04], [1.98, -0.96], [2.34, -1.56], [2.51, -1.69], [2.67, -1.71], [2.84, -1.7], [2.88, -1.72], [2.73, -1.7],
  [1.9, -1.65], [0.93, -1.65], [-0.12, -1.7], [-1.21, -1.75], [-1.8, -1.86], [-2.25, -1.89], [-2.41, -1.88], [-2.44, -1.88],
] as const;

const knotMicroseconds = 10_000;
const stepsPerKnot = knotMicroseconds / stepMicroseconds;

/**
 * The camera of N-MNIST, fitted to real recordings whose digits were filmed again from their MNIST images: path, noise and leak to 1 000
 * recordings (50 are of test digits), thresholds and their pattern to the 950 of train digits, all else by a search on 40 of these for frames of
 * 5 ms, numbers of events and times between events of one pixel that are like theirs. docs/camera.md says what a wrong guess of each would do.
 */
export const nmnistCamera: CameraParameters = {
  pathPixels: nmnistPath,
  // By the search: with 1 the films reach less far than the recordings, at every edge of the field.
  magnification: 1.02,
  // Below 1: a dark digit on a bright screen. The edge that moves ahead is OFF in the recordings. A bright digit with swapped polarity was
  // searched for too and fits worse: cosine of 5 ms frames 0.53 instead of 0.62.
  inkLightFraction: 0.125,
  // By the search.
  blurPixels: 0.5,
  photoreceptorMicroseconds: 310,
  // By the search, then shifted for as many ON and OFF events as the recordings have, in the presence of leak.
  onThreshold: 0.245,
  offThreshold: 0.2125,
  // The recordings are all of one sensor: half of them tell the counts of each pixel in the other half to 2 % of the OFF and 3 % of the ON events.
  thresholdPattern: nmnistThresholdPattern,
  // By the search, with the pattern: what is left may be drawn anew in each film.
  thresholdMismatch: 0.05,
  // By the search; the times between events of one pixel decide it.
  refractoryMicroseconds: 770,
  // From the 48 events a recording that are far from any ink: 3 % of them are OFF, the others come at a steady rate.
  noiseHertz: 0.013,
  leakHertz: 0.34,
  // The shift at which the event rate of one recording fits the mean rate best has an sd of 1.7 ms, some of it from the estimate.
  startJitterMicroseconds: 1500,
  // A guess: the digits were shown in one place, the motors return to it within a fraction of a pixel.
  placeJitterPixels: 0.1,
};

const parameterRanges: Readonly<Record<Exclude<keyof CameraParameters, 'pathPixels' | 'thresholdPattern'>, readonly [minimum: number, maximum: number]>> = {
  magnification: [0.8, 1.25],
  inkLightFraction: [0.001, 1],
  blurPixels: [0, 3],
  photoreceptorMicroseconds: [0, 1e6],
  onThreshold: [0.01, 100],
  offThreshold: [0.01, 100],
  thresholdMismatch: [0, 1],
  refractoryMicroseconds: [0, 1e6],
  noiseHertz: [0, 1000],
  leakHertz: [0, 1000],
  startJitterMicroseconds: [0, 1e5],
  placeJitterPixels: [0, 0.4],
};

const refuse = (field: string, problem: string) => new MacroError('BAD_REQUEST', `camera.${field} ${problem}`, { field });

function checkParameters(parameters: CameraParameters): void {
  for (const [field, [minimum, maximum]] of Object.entries(parameterRanges)) {
    const value = parameters[field as keyof typeof parameterRanges];
    if (!(value >= minimum && value <= maximum)) throw refuse(field, `is ${value}, the range is ${minimum} to ${maximum}`);
  }
  const { pathPixels, thresholdPattern } = parameters;
  const isStrange = (factor: number) => !(factor >= 0.2 && factor <= 5);
  if (thresholdPattern !== null && (thresholdPattern.length !== 2 * fieldPixels ** 2 || thresholdPattern.some(isStrange))) {
    throw refuse('thresholdPattern', `is not ${2 * fieldPixels ** 2} factors of 0.2 to 5`);
  }
  const { length } = pathPixels;
  if (length < 2 || length > 800) throw refuse('pathPixels', `holds ${length} places, the range is 2 to 800`);
  const isOutside = (pixels: number) => !(Math.abs(pixels) <= 6);
  if (pathPixels.some((place) => place.some(isOutside))) throw refuse('pathPixels', 'leaves the range −6 to 6 pixels');
}

/** Catmull-Rom through the knots of the path, which rests before the first and after the last. */
function placeAt(path: CameraParameters['pathPixels'], microseconds: number): { right: number; below: number } {
  const last = path.length - 1;
  const position = Math.min(Math.max(microseconds / knotMicroseconds, 0), last);
  const knot = Math.min(Math.floor(position), last - 1);
  const u = position - knot;
  const along = (axis: 0 | 1) => {
    const [a, b, c, d] = [-1, 0, 1, 2].map((step) => path[Math.min(Math.max(knot + step, 0), last)][axis]);
    return b + (u / 2) * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)));
  };
  return { right: along(0), below: along(1) };
}

/** Middle of the screen and of an image, in pixels from the middle of their first. */
const screenMiddle = (screenPixels - 1) / 2;
const digitMiddle = (digitPixels - 1) / 2;

/** Pixels without ink around an image, so that every place of the screen lies between two pixels. */
const imageMargin = 4;
const paddedPixels = digitPixels + 2 * imageMargin;

/** An image at the pixels `first` to `last` of the screen, each way: between its own pixels where it is magnified. Ink is 0 to 1. */
function magnified(image: Uint8Array, magnification: number, first: number, last: number): Float64Array {
  const size = last - first + 1;
  const places = Float64Array.from({ length: size }, (_, at) => (first + at - screenMiddle) / magnification + digitMiddle + imageMargin);
  const wide = new Float64Array(paddedPixels * size);
  const line = new Float64Array(paddedPixels);
  for (let row = 0; row < digitPixels; row += 1) {
    for (let column = 0; column < digitPixels; column += 1) line[column + imageMargin] = image[row * digitPixels + column] / 255;
    for (let at = 0; at < size; at += 1) {
      const left = Math.floor(places[at]);
      wide[(row + imageMargin) * size + at] = line[left] + (places[at] - left) * (line[left + 1] - line[left]);
    }
  }
  const result = new Float64Array(size * size);
  for (let y = 0; y < size; y += 1) {
    const top = Math.floor(places[y]);
    for (let at = 0; at < size; at += 1) {
      const upper = wide[top * size + at];
      result[y * size + at] = upper + (places[y] - top) * (wide[(top + 1) * size + at] - upper);
    }
  }
  return result;
}

/** Blurs the square of the screen from pixel `first` to `last`, each way, along rows (stride 1) or columns. */
function blurAlong(source: Float32Array, stride: number, taps: Float32Array, first: number, last: number): Float32Array {
  const radius = (taps.length - 1) / 2;
  const result = new Float32Array(source.length);
  for (let y = first; y <= last; y += 1) {
    for (let at = y * screenPixels + first; at <= y * screenPixels + last; at += 1) {
      let sum = 0;
      for (let tap = 0, from = at - radius * stride; tap < taps.length; tap += 1, from += stride) sum += taps[tap] * source[from];
      result[at] = sum;
    }
  }
  return result;
}

function blurTaps(blurPixels: number): Float32Array {
  const radius = Math.max(1, Math.ceil(3 * blurPixels));
  const taps = Float32Array.from({ length: 2 * radius + 1 }, (_, tap) => Math.exp(-((tap - radius) ** 2) / (2 * blurPixels ** 2 + 1e-9)));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  return taps.map((tap) => tap / total);
}

/** Ink on the screen, 0 to 1, as the lens shows it. */
function blurredScreen(image: Uint8Array, { magnification, blurPixels }: CameraParameters): Float32Array {
  const reach = Math.ceil((magnification * (digitPixels + 1)) / 2);
  const [first, last] = [Math.floor(screenMiddle) - reach, Math.floor(screenMiddle) + reach + 1];
  const size = last - first + 1;
  const ink = magnified(image, magnification, first, last);
  const screen = new Float32Array(screenPixels * screenPixels);
  for (let y = 0; y < size; y += 1) screen.set(ink.subarray(y * size, (y + 1) * size), (first + y) * screenPixels + first);
  const taps = blurTaps(blurPixels);
  const radius = (taps.length - 1) / 2;
  const [from, to] = [Math.max(radius, first - radius), Math.min(screenPixels - 1 - radius, last + radius)];
  return blurAlong(blurAlong(screen, 1, taps, from, to), screenPixels, taps, from, to);
}

/** Log of light for each of 4 097 levels of ink, in single precision, so that one platform's logarithm is another's. */
function logLightTable(inkLightFraction: number): Float32Array {
  const table = new Float32Array(lightLevels + 1);
  for (let level = 0; level <= lightLevels; level += 1) table[level] = Math.log(1 - (1 - inkLightFraction) * (level / lightLevels));
  return table;
}

let theSensor: Sensor | undefined;
let inkLightOfTable: number | undefined;

/** The sensor with a digit before it. There is one: a film is over before the next begins. */
function sensorFor(image: Uint8Array, parameters: CameraParameters): Sensor {
  theSensor ??= new Sensor();
  if (inkLightOfTable !== parameters.inkLightFraction) {
    theSensor.table.set(logLightTable(parameters.inkLightFraction));
    inkLightOfTable = parameters.inkLightFraction;
  }
  if (parameters.thresholdPattern === null) theSensor.pattern.fill(1);
  else theSensor.pattern.set(parameters.thresholdPattern);
  theSensor.screen.set(blurredScreen(image, parameters));
  return theSensor;
}

/** Where the digit stands in each step. @returns the number of steps */
function layPath(sensor: Sensor, { pathPixels, startJitterMicroseconds, placeJitterPixels }: CameraParameters): number {
  const delay = startJitterMicroseconds * sensor.normal();
  const offsetRight = placeJitterPixels * sensor.normal();
  const offsetBelow = placeJitterPixels * sensor.normal();
  const corner = (screenPixels - fieldPixels) / 2;
  const steps = (pathPixels.length - 1) * stepsPerKnot;
  for (let step = 0; step <= steps; step += 1) {
    const { right, below } = placeAt(pathPixels, step * stepMicroseconds - delay);
    sensor.places[2 * step] = corner - (right + offsetRight);
    sensor.places[2 * step + 1] = corner - (below + offsetBelow);
  }
  return steps;
}

function recordingOf(keys: Float64Array, name: string, label: number | null): Recording {
  const count = keys.length;
  const recording = {
    name, label, x: new Uint8Array(count), y: new Uint8Array(count), polarity: new Uint8Array(count), timeMicroseconds: new Uint32Array(count),
  };
  for (let event = 0; event < count; event += 1) {
    const time = Math.floor(keys[event] / 4096);
    const place = keys[event] - time * 4096;
    recording.x[event] = (place >> 1) % fieldPixels;
    recording.y[event] = Math.floor((place >> 1) / fieldPixels);
    recording.polarity[event] = place & 1;
    recording.timeMicroseconds[event] = time;
  }
  return recording;
}

export interface FilmOptions {
  /** Decides thresholds, jitter and noise; the same seed gives the same bytes. */
  readonly seed: number;
  readonly name?: string;
  readonly label?: number | null;
  readonly camera?: Partial<CameraParameters>;
}

/**
 * Films a digit as N-MNIST did.
 *
 * @param image 28×28 pixels, 0 (paper) to 255 (ink), row by row
 * @returns about 4 000 events over 310 ms, in order of time
 * @throws MacroError BAD_REQUEST where the image has another size or a camera parameter is out of range
 */
export function filmDigit(image: Uint8Array, options: FilmOptions): Recording {
  if (image.length !== digitPixels ** 2) {
    throw new MacroError('BAD_REQUEST', `the image has ${image.length} pixels, a digit has ${digitPixels ** 2}`, { field: 'image' });
  }
  const parameters = { ...nmnistCamera, ...options.camera };
  checkParameters(parameters);
  const { name = `digit-${options.seed}`, label = null } = options;
  const sensor = sensorFor(image, parameters);
  sensor.begin(options.seed);
  const steps = layPath(sensor, parameters);
  const keys = sensor.film(steps, {
    ...parameters,
    followedPart: parameters.photoreceptorMicroseconds <= 0 ? 1 : 1 - 1 / (1 + stepMicroseconds / parameters.photoreceptorMicroseconds),
    leak: parameters.leakHertz * parameters.onThreshold * stepMicroseconds * 1e-6,
    refractoryMicroseconds: Math.max(1, parameters.refractoryMicroseconds),
    noise: parameters.noiseHertz * 2 * fieldPixels ** 2 * stepMicroseconds * 1e-6,
  });
  if (keys === undefined) throw new MacroError('BAD_REQUEST', `${name} has more than ${filmEventsMaximum} events`, { field: 'camera' });
  return recordingOf(keys, name, label);
}
