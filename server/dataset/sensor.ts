import { readFileSync } from 'node:fs';
import { fieldPixels } from './recording.js';

/** The functions of sensor.as.ts. Every number is an address in the memory, a count, or a float64. */
interface SensorProgram {
  place(at: number): void;
  sensorBytes(): number;
  eventKeys(): number;
  begin(seed: number): void;
  normal(): number;
  film(
    screen: number, table: number, pattern: number, places: number, steps: number,
    on: number, off: number, mismatch: number, part: number, leak: number, refractory: number, noise: number,
  ): number;
}

/** What pixels do with light. Rates are events a step. */
export interface SensorParameters {
  readonly onThreshold: number;
  readonly offThreshold: number;
  readonly thresholdMismatch: number;
  /** Part of the way to the light that the photoreceptor goes in a step. */
  readonly followedPart: number;
  /** What a reference loses in a step, in log light. */
  readonly leak: number;
  readonly refractoryMicroseconds: number;
  /** Events of the whole sensor without cause. */
  readonly noise: number;
}

export const screenPixels = 52;
export const lightLevels = 4096;
export const stepMicroseconds = 1000;
/** Beyond them a film is refused: real recordings hold 1 000 to 9 000. */
export const filmEventsMaximum = 2 ** 18;

const pageBytes = 65_536;
/** The compiler keeps nothing of its own beyond the first page. */
const firstFreeByte = pageBytes;
const stepsMaximum = 8000;
const screenBytes = 4 * screenPixels ** 2;
const tableBytes = 4 * (lightLevels + 4);
const placesBytes = 16 * (stepsMaximum + 1);
const patternBytes = 2 * 4 * fieldPixels ** 2;

/** The pixels of the camera, with a memory of their own. */
export class Sensor {
  /** Ink, 0 to 1, row by row; no pixel of the outer ten holds any. */
  readonly screen: Float32Array;
  /** Log light of each of 4 097 levels of ink. */
  readonly table: Float32Array;
  /** Threshold of each pixel relative to all, ON and then OFF. */
  readonly pattern: Float32Array;
  /** Column and row of the screen at the sensor's corner, at the start and behind each step. */
  readonly places: Float64Array;
  private readonly program: SensorProgram;
  private readonly memory: WebAssembly.Memory;

  constructor() {
    const fixedBytes = firstFreeByte + screenBytes + tableBytes + patternBytes + placesBytes;
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(fixedBytes / pageBytes) });
    const abort = () => {
      throw new Error('the camera kernel failed');
    };
    const compiled = new WebAssembly.Module(readFileSync(new URL('./sensor.wasm', import.meta.url)));
    this.program = new WebAssembly.Instance(compiled, { env: { memory: this.memory, abort } }).exports as unknown as SensorProgram;
    this.memory.grow(Math.ceil(this.program.sensorBytes() / pageBytes) + 1);
    this.program.place(fixedBytes);
    const { buffer } = this.memory;
    this.places = new Float64Array(buffer, firstFreeByte, 2 * (stepsMaximum + 1));
    this.screen = new Float32Array(buffer, firstFreeByte + placesBytes, screenPixels ** 2);
    this.table = new Float32Array(buffer, firstFreeByte + placesBytes + screenBytes, lightLevels + 1);
    this.pattern = new Float32Array(buffer, firstFreeByte + placesBytes + screenBytes + tableBytes, 2 * fieldPixels ** 2);
  }

  /** Everything that is random in a film comes from here. */
  begin(seed: number): void {
    this.program.begin(seed >>> 0);
  }

  /** Nearly normal, mean 0 and sd 1. */
  normal(): number {
    return this.program.normal();
  }

  /**
   * Films the screen along the places.
   * @returns a key for each event, in order: (time in µs · 2 048 + pixel) · 2 + polarity; undefined where they are more than a film may hold
   */
  film(steps: number, parameters: SensorParameters): Float64Array | undefined {
    const { onThreshold, offThreshold, thresholdMismatch, followedPart, leak, refractoryMicroseconds, noise } = parameters;
    const count = this.program.film(
      this.screen.byteOffset, this.table.byteOffset, this.pattern.byteOffset, this.places.byteOffset, steps,
      onThreshold, offThreshold, thresholdMismatch, followedPart, leak, refractoryMicroseconds, noise,
    );
    return count > filmEventsMaximum ? undefined : new Float64Array(this.memory.buffer, this.program.eventKeys(), count).slice().sort();
  }
}
