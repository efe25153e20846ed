import { readFileSync } from 'node:fs';

/** The functions of kernel.as.ts. Every number is an address in the memory. */
export interface Kernel {
  convolve(layer: number, codes: number): void;
  addWeightGradient(layer: number, codes: number): void;
  propagate(layer: number, errorsIn: number): void;
  fire(layer: number, before: number, membranes: number): void;
  fireBackwards(layer: number, errorsOut: number, membranes: number): void;
  pool(layer: number, membranes: number, codes: number): void;
}

const integerFields = [
  'inputHeight', 'inputWidth', 'inputChannels', 'kernelHeight', 'kernelWidth', 'padding', 'stride', 'outputHeight', 'outputWidth', 'outputChannels', 'outputs',
  'poolSize', 'weights', 'transposed', 'gradient', 'inputs', 'before', 'window', 'currents', 'errors', 'sums',
] as const;
const floatFields = ['inputScale', 'leak', 'slope', 'threshold', 'surrogateWindow'] as const;

/** The structure `Layer` of kernel.as.ts. */
export type LayerFields = Readonly<Record<(typeof integerFields)[number] | (typeof floatFields)[number], number>>;

const pageBytes = 65_536;
/** The compiler keeps nothing of its own beyond the first page. */
const firstFreeByte = pageBytes;
/** What is read or written at once: lists and codes may be run past by less. */
const vectorBytes = 16;

let program: WebAssembly.Module | undefined;

/** Compiles kernel.wasm, which lies beside this file in sources and in the build. */
function compiled(): WebAssembly.Module {
  program ??= new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)));
  return program;
}

/** A kernel with a memory of its own that grows by what is taken of it. Freed as a whole. */
export class Workspace {
  readonly kernel: Kernel;
  private readonly memory: WebAssembly.Memory;
  private next = firstFreeByte;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 2 });
    const abort = () => {
      throw new Error('the training kernel failed');
    };
    const { exports } = new WebAssembly.Instance(compiled(), { env: { memory: this.memory, abort } });
    this.kernel = exports as unknown as Kernel;
  }

  /** Room for so many bytes, all 0. @returns its address */
  take(bytes: number): number {
    const at = this.next;
    this.next = (at + bytes + 2 * vectorBytes - 1) & -vectorBytes;
    const missing = this.next - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / pageBytes));
    return at;
  }

  /** What lies at an address. Views go stale when more is taken. */
  floats(at: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, count);
  }

  bytes(at: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, at, count);
  }

  /** @returns the address of the structure */
  layer(fields: LayerFields): number {
    const at = this.take(4 * (integerFields.length + floatFields.length));
    const view = new DataView(this.memory.buffer, at);
    integerFields.forEach((field, index) => { view.setInt32(4 * index, fields[field], true); });
    floatFields.forEach((field, index) => { view.setFloat32(4 * (integerFields.length + index), fields[field], true); });
    return at;
  }
}
