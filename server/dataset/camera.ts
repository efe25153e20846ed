import { MacroError } from '../../proto/error.js';
import { digitPixels } from './mnist.js';
import { fieldPixels, type Recording } from './recording.js';

/**
 * A model of how N-MNIST was recorded (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using
 * saccades"): a digit on a screen, an event camera that makes three saccades of about 100 ms along a triangle before it. Each pixel follows
 * the logarithm of its light and sends an event when that has moved by a threshold since the last one.
 */
export interface CameraParameters {
  /** Where the digit stands on the sensor every 10 ms, in pixels right of and below its centre. */
  readonly pathPixels: readonly (readonly [right: number, below: number])[];
  /** Light of full ink over light of the bare screen. */
  readonly inkLightFraction: number;
  /** Width (sd) of the blur of lens and screen. */
  readonly blurPixels: number;
  /** Time constant of the photoreceptor. */
  readonly photoreceptorMicroseconds: number;
  /** Change of log light (natural) that makes an event. */
  readonly onThreshold: number;
  readonly offThreshold: number;
  /** Spread (sd) of each pixel's thresholds relative to their mean. */
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
  [-2.5, -1.58], [-2.5, -1.5], [-2.57, -1.2], [-2.6, -0.55], [-2.6, 0.52], [-2.47, 1.75], [-1.87, 2.7], [-1.28, 3.27],
  [-1.05, 3.43], [-1.04, 3.49], [-0.97, 3.49], [-0.84, 3.45], [-0.64, 3.42], [-0.1, 3.15], [0.73, 2.33], [1.29, 1.22],
  [1.55, 0.11], [1.91, -0.88], [2.27, -1.46], [2.43, -1.59], [2.59, -1.61], [2.76, -1.6], [2.8, -1.62], [2.65, -1.6],
  [1.83, -1.55], [0.88, -1.55], [-0.15, -1.6], [-1.22, -1.65], [-1.8, -1.76], [-2.25, -1.79], [-2.4, -1.78], [-2.43, -1.78],
] as const;

const knotMicroseconds = 10_000;
const stepMicroseconds = 1000;
const fieldCount = fieldPixels * fieldPixels;

/**
 * The camera of N-MNIST, fitted to real recordings whose digits were filmed again from their MNIST images: path, noise and leak to 1 000
 * recordings (50 are of test digits), all else by a search on 40 recordings of train digits for frames of 5 ms, numbers of events and times
 * between events of one pixel that are like theirs (docs/camera.md).
 */
export const nmnistCamera: CameraParameters = {
  pathPixels: nmnistPath,
  // Below 1: a dark digit on a bright screen. The edge that moves ahead is OFF in the recordings. A bright digit with swapped polarity was
  // searched for too and fits worse: cosine of 5 ms frames 0.53 instead of 0.62.
  inkLightFraction: 0.125,
  // By the search.
  blurPixels: 0.5,
  photoreceptorMicroseconds: 310,
  // By the search, then shifted for 4 100 events a recording, half of them ON, in the presence of leak.
  onThreshold: 0.25,
  offThreshold: 0.217,
  thresholdMismatch: 0.11,
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

const parameterRanges: Readonly<Record<Exclude<keyof CameraParameters, 'pathPixels'>, readonly [minimum: number, maximum: number]>> = {
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
  const { pathPixels } = parameters;
  const { length } = pathPixels;
  if (length < 2 || length > 800) throw refuse('pathPixels', `holds ${length} places, the range is 2 to 800`);
  const isOutside = (pixels: number) => !(Math.abs(pixels) <= 6);
  if (pathPixels.some((place) => place.some(isOutside))) throw refuse('pathPixels', 'leaves the range −6 to 6 pixels');
}

/** xoshiro128** (Blackman and Vigna 2018), its state filled by splitmix32. */
class CameraChance {
  private readonly state = new Uint32Array(4);

  constructor(seed: number) {
    let z = seed >>> 0;
    for (let word = 0; word < 4; word += 1) {
      z = (z + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.state[word] = mixed ^ (mixed >>> 15);
    }
  }

  private nextUint32(): number {
    const s = this.state;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.nextUint32() / 2 ** 32;
  }

  /** Nearly normal, from sums of uniforms: the same digits on every platform, and tails that end at 6. */
  normal(): number {
    let sum = -6;
    for (let term = 0; term < 12; term += 1) sum += this.uniform();
    return sum;
  }
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

/** Paper around the digit, so that every pixel of the sensor sees some at every place of the path. */
const marginPixels = 12;
const screenPixels = digitPixels + 2 * marginPixels;

function blurAlong(source: Float32Array, stride: number, kernel: Float32Array): Float32Array {
  const radius = (kernel.length - 1) / 2;
  const result = new Float32Array(source.length);
  for (let at = radius * stride; at < source.length - radius * stride; at += 1) {
    let sum = 0;
    for (let tap = -radius; tap <= radius; tap += 1) sum += kernel[tap + radius] * source[at + tap * stride];
    result[at] = sum;
  }
  return result;
}

/** Ink on the screen, 0 to 1, as the lens shows it. */
function blurredScreen(image: Uint8Array, blurPixels: number): Float32Array {
  const screen = new Float32Array(screenPixels * screenPixels);
  for (let y = 0; y < digitPixels; y += 1) {
    for (let x = 0; x < digitPixels; x += 1) {
      screen[(y + marginPixels) * screenPixels + x + marginPixels] = image[y * digitPixels + x] / 255;
    }
  }
  const radius = Math.max(1, Math.ceil(3 * blurPixels));
  const taps = Float32Array.from({ length: 2 * radius + 1 }, (_, tap) => Math.exp(-((tap - radius) ** 2) / (2 * blurPixels ** 2 + 1e-9)));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  const kernel = taps.map((tap) => tap / total);
  return blurAlong(blurAlong(screen, 1, kernel), screenPixels, kernel);
}

const lightLevels = 4096;

/** Log of light for each of 4 097 levels of ink, in single precision, so that one platform's logarithm is another's. */
function logLightTable(inkLightFraction: number): Float32Array {
  return Float32Array.from({ length: lightLevels + 1 }, (_, level) => Math.log(1 - (1 - inkLightFraction) * (level / lightLevels)));
}

/** Log light of each sensor pixel with the digit at a place. */
function logLight(screen: Float32Array, table: Float32Array, right: number, below: number, result: Float32Array): void {
  const inset = marginPixels - (fieldPixels - digitPixels) / 2;
  const fromX = inset - right;
  const fromY = inset - below;
  const firstX = Math.floor(fromX);
  const firstY = Math.floor(fromY);
  const u = fromX - firstX;
  const v = fromY - firstY;
  for (let y = 0, pixel = 0; y < fieldPixels; y += 1) {
    let at = (firstY + y) * screenPixels + firstX;
    for (let x = 0; x < fieldPixels; x += 1, at += 1, pixel += 1) {
      const upper = screen[at] + u * (screen[at + 1] - screen[at]);
      const lower = screen[at + screenPixels] + u * (screen[at + screenPixels + 1] - screen[at + screenPixels]);
      result[pixel] = table[Math.round((upper + v * (lower - upper)) * lightLevels)];
    }
  }
}

interface Event {
  readonly pixel: number;
  readonly polarity: number;
  readonly timeMicroseconds: number;
}

/** The pixels of the sensor: reference level, thresholds, and until when each is blind. */
class Sensor {
  private readonly level = new Float32Array(fieldCount);
  private readonly reference = new Float32Array(fieldCount);
  private readonly blindUntil = new Float64Array(fieldCount);
  private readonly onThreshold = new Float32Array(fieldCount);
  private readonly offThreshold = new Float32Array(fieldCount);
  readonly events: Event[] = [];

  constructor(private readonly parameters: CameraParameters, private readonly chance: CameraChance, light: Float32Array) {
    const { onThreshold, offThreshold, thresholdMismatch } = parameters;
    for (let pixel = 0; pixel < fieldCount; pixel += 1) {
      this.onThreshold[pixel] = onThreshold * Math.max(0.2, 1 + thresholdMismatch * chance.normal());
      this.offThreshold[pixel] = offThreshold * Math.max(0.2, 1 + thresholdMismatch * chance.normal());
      this.level[pixel] = light[pixel];
      // The camera has looked at the still digit for long, so its leak has brought each pixel somewhere on its way to the next ON event.
      const since = chance.uniform() * this.onThreshold[pixel];
      this.reference[pixel] = light[pixel] - since;
    }
  }

  /** Follows the light over one step that ends at `end`, and sends what crosses a threshold. */
  step(light: Float32Array, end: number): void {
    const { photoreceptorMicroseconds, leakHertz, onThreshold } = this.parameters;
    const follow = photoreceptorMicroseconds <= 0 ? 1 : 1 - 1 / (1 + stepMicroseconds / photoreceptorMicroseconds);
    const leak = leakHertz * onThreshold * stepMicroseconds * 1e-6;
    const start = end - stepMicroseconds;
    const { level, reference, blindUntil } = this;
    for (let pixel = 0; pixel < fieldCount; pixel += 1) {
      const before = level[pixel];
      const after = before + follow * (light[pixel] - before);
      level[pixel] = after;
      const change = after - (reference[pixel] -= leak);
      const isQuiet = change < this.onThreshold[pixel] && change > -this.offThreshold[pixel] && blindUntil[pixel] <= start;
      if (!isQuiet) this.cross(pixel, before, after, end);
    }
    this.noise(end);
  }

  private cross(pixel: number, before: number, after: number, end: number): void {
    const start = end - stepMicroseconds;
    const slope = (after - before) / stepMicroseconds;
    const levelAt = (time: number) => before + slope * (time - start);
    let now = start;
    for (;;) {
      const blind = this.blindUntil[pixel];
      if (blind >= end) return;
      if (blind > now) {
        now = blind;
        this.reference[pixel] = levelAt(now);
      }
      const change = after - this.reference[pixel];
      const polarity = change >= this.onThreshold[pixel] ? 1 : change <= -this.offThreshold[pixel] ? 0 : -1;
      if (polarity < 0) return;
      const target = this.reference[pixel] + (polarity === 1 ? this.onThreshold[pixel] : -this.offThreshold[pixel]);
      if (slope !== 0) now = Math.min(end, Math.max(now, start + (target - before) / slope));
      this.send(pixel, polarity, now);
    }
  }

  private send(pixel: number, polarity: number, time: number): void {
    this.events.push({ pixel, polarity, timeMicroseconds: Math.floor(time) });
    const threshold = polarity === 1 ? this.onThreshold[pixel] : -this.offThreshold[pixel];
    this.reference[pixel] += threshold;
    this.blindUntil[pixel] = time + Math.max(1, this.parameters.refractoryMicroseconds);
  }

  private noise(end: number): void {
    const expected = this.parameters.noiseHertz * 2 * fieldCount * stepMicroseconds * 1e-6;
    let count = Math.floor(expected) + (this.chance.uniform() < expected - Math.floor(expected) ? 1 : 0);
    for (; count > 0; count -= 1) {
      const pixel = Math.floor(this.chance.uniform() * fieldCount);
      const polarity = this.chance.uniform() < 0.5 ? 0 : 1;
      this.events.push({ pixel, polarity, timeMicroseconds: Math.floor(end - this.chance.uniform() * stepMicroseconds) });
    }
  }
}

function toRecording(events: Event[], name: string, label: number | null): Recording {
  events.sort((left, right) => left.timeMicroseconds - right.timeMicroseconds || left.pixel - right.pixel);
  return {
    name,
    label,
    x: Uint8Array.from(events, ({ pixel }) => pixel % fieldPixels),
    y: Uint8Array.from(events, ({ pixel }) => Math.floor(pixel / fieldPixels)),
    polarity: Uint8Array.from(events, ({ polarity }) => polarity),
    timeMicroseconds: Uint32Array.from(events, ({ timeMicroseconds }) => timeMicroseconds),
  };
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
  const chance = new CameraChance(options.seed);
  const delay = parameters.startJitterMicroseconds * chance.normal();
  const offsetRight = parameters.placeJitterPixels * chance.normal();
  const offsetBelow = parameters.placeJitterPixels * chance.normal();
  const screen = blurredScreen(image, parameters.blurPixels);
  const table = logLightTable(parameters.inkLightFraction);
  const light = new Float32Array(fieldCount);
  const lightAt = (time: number) => {
    const { right, below } = placeAt(parameters.pathPixels, time - delay);
    logLight(screen, table, right + offsetRight, below + offsetBelow, light);
  };
  lightAt(0);
  const sensor = new Sensor(parameters, chance, light);
  const stepCount = ((parameters.pathPixels.length - 1) * knotMicroseconds) / stepMicroseconds;
  for (let step = 1; step <= stepCount; step += 1) {
    lightAt(step * stepMicroseconds);
    sensor.step(light, step * stepMicroseconds);
  }
  return toRecording(sensor.events, options.name ?? `digit-${options.seed}`, options.label ?? null);
}
