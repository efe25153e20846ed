import { gaussianQuantiles } from '../firmware-protocol/numerics/index.js';
import { noiseStream } from './chance.js';
import type { Chip } from './chip.js';

/** The functions of kernel.as.ts. Every number is an address in the memory, a count, or a parameter of the chip. */
interface KernelFunctions {
  quantiles(): number;
  configure(chipSeed: number, noiseStream: number, noiseScale: number, minimumCode: number, maximumCode: number): void;
  multiply(tile: number, inferenceNumber: number, timestep: number, drives: number, driveCount: number): void;
  stepLayer(layer: number, inferenceNumber: number, timestep: number): void;
  placeFrame(frame: number, channels: number, height: number, width: number, input: number, rowBytes: number, pixelBytes: number): void;
}

/** How the converters of a chip round off: what every kernel of it is configured with. */
export interface KernelSettings {
  readonly chip: Chip;
  readonly noiseScale: number;
  readonly minimumCode: number;
  readonly maximumCode: number;
  /** Codes are exact sums, whatever gains and offsets say. */
  readonly isExact: boolean;
}

const pageBytes = 65_536;
/** The compiler's own data lie in the first page. */
const firstFreeByte = pageBytes;
const segmentCount = 32;
const stepBits = 10;

/** A class of kernel.as.ts: int32 fields in their order, then float64 fields. */
export interface Structure<Name extends string> {
  readonly offsets: Readonly<Record<Name, number>>;
  readonly floats: ReadonlySet<string>;
  readonly sizeBytes: number;
}

export function structure<Integer extends string, Float extends string>(integers: readonly Integer[], floats: readonly Float[]): Structure<Integer | Float> {
  const firstFloat = floats.length === 0 ? integers.length * 4 : (integers.length * 4 + 7) & ~7;
  const offsets = Object.fromEntries([
    ...integers.map((name, index) => [name, index * 4]), ...floats.map((name, index) => [name, firstFloat + index * 8]),
  ]) as Record<Integer | Float, number>;
  return { offsets, floats: new Set<string>(floats), sizeBytes: firstFloat + floats.length * 8 };
}

/** A kernel with a memory of its own, which grows as places are taken and is freed as a whole. */
export class KernelSpace {
  readonly functions: KernelFunctions;
  private readonly memory = new WebAssembly.Memory({ initial: 2 });
  private next = firstFreeByte;

  constructor(program: WebAssembly.Module, { chip, noiseScale, minimumCode, maximumCode }: KernelSettings) {
    const abort = () => {
      throw new Error('the kernel of the macro failed');
    };
    const { exports } = new WebAssembly.Instance(program, { env: { memory: this.memory, abort } });
    this.functions = exports as unknown as KernelFunctions;
    this.functions.configure(chip.seed, noiseStream.multiply, noiseScale, minimumCode, maximumCode);
    this.writeQuantiles();
  }

  /** One word an entry, so that a deviate takes one load: a quantile and its distance to the next. */
  private writeQuantiles(): void {
    const octaves = gaussianQuantiles.length / (segmentCount + 1);
    const packed = this.integers(this.functions.quantiles(), octaves * segmentCount);
    for (let octave = 0, at = 0; octave < octaves; octave += 1) {
      for (let segment = 0; segment < segmentCount; segment += 1, at += 1) {
        const quantile = gaussianQuantiles[octave * (segmentCount + 1) + segment];
        packed[at] = (quantile << stepBits) | (quantile - gaussianQuantiles[octave * (segmentCount + 1) + segment + 1]);
      }
    }
  }

  /** The address of so many bytes that are 0. Vectors may read 16 bytes past their end. Views that were made before are void. */
  take(bytes: number): number {
    const at = this.next;
    this.next = (at + bytes + 16 + 15) & ~15;
    const missing = this.next - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / pageBytes));
    return at;
  }

  integers(at: number, count: number): Int32Array {
    return new Int32Array(this.memory.buffer, at, count);
  }

  shorts(at: number, count: number): Int16Array {
    return new Int16Array(this.memory.buffer, at, count);
  }

  bytes(at: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, count);
  }

  doubles(at: number, count: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, count);
  }

  write<Name extends string>(at: number, { offsets, floats }: Structure<Name>, values: Readonly<Partial<Record<Name, number>>>): void {
    const view = new DataView(this.memory.buffer, at);
    for (const [name, value] of Object.entries(values) as [Name, number][]) {
      if (floats.has(name)) view.setFloat64(offsets[name], value, true);
      else view.setInt32(offsets[name], value, true);
    }
  }
}
