import { readFileSync } from 'node:fs';

/** The functions of kernel.as.ts. Every first-class number is an address in the memory, a count, or a float32. */
export interface Kernel {
  readonly memory: WebAssembly.Memory;
  convolve(
    input: number, channels: number, height: number, width: number, scale: number, weights: number, outputs: number, kernel: number, padding: number,
    currents: number,
  ): void;
  addWeightGradient(
    input: number, channels: number, height: number, width: number, scale: number, errors: number, outputs: number, kernel: number, padding: number,
    gradient: number,
  ): void;
  propagate(
    errors: number, channels: number, height: number, width: number, scale: number, weights: number, outputs: number, kernel: number, padding: number,
    errorsIn: number,
  ): void;
  fire(
    currents: number, membranesBefore: number, spikesBefore: number, membranes: number, spikes: number, count: number, leak: number, slope: number,
    threshold: number,
  ): void;
  fireBackwards(
    errors: number, carried: number, membranes: number, spikes: number, count: number, leak: number, slope: number, threshold: number, window: number,
  ): void;
  pool(spikes: number, channels: number, stride: number, height: number, width: number, size: number, counts: number): void;
  unpool(errorsIn: number, channels: number, stride: number, height: number, width: number, size: number, errors: number): void;
}

const pageBytes = 65_536;
/** The compiler keeps nothing of its own beyond the first page. */
const firstFreeByte = pageBytes;

let program: WebAssembly.Module | undefined;

/** Compiles kernel.wasm, which lies beside this file in sources and in the build. */
function compiled(): WebAssembly.Module {
  program ??= new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)));
  return program;
}

/** A kernel with a memory of its own and a place for everything in it. Freed as a whole. */
export class Workspace {
  readonly kernel: Kernel;
  private readonly memory: WebAssembly.Memory;
  private next = firstFreeByte;

  constructor(bytes: number) {
    this.memory = new WebAssembly.Memory({ initial: Math.ceil((firstFreeByte + bytes) / pageBytes) + 1 });
    const abort = () => {
      throw new Error('the training kernel failed');
    };
    const { exports } = new WebAssembly.Instance(compiled(), { env: { memory: this.memory, abort } });
    this.kernel = exports as unknown as Kernel;
  }

  floats(count: number): Float32Array {
    return new Float32Array(this.memory.buffer, this.take(count * 4), count);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, this.take(count), count);
  }

  private take(bytes: number): number {
    const at = this.next;
    this.next = (at + bytes + 15) & ~15;
    if (this.next > this.memory.buffer.byteLength) throw new RangeError(`the workspace is ${this.next - this.memory.buffer.byteLength} bytes too small`);
    return at;
  }
}
