import { type CrossbarFields, crossbarFields, type Sweeps, type SweepsMaker } from './line-resistance.js';

/** The functions of line-resistance.as.ts. Numbers are counts of lines, addresses in the memory, or float64. */
interface LineKernel {
  factorise(
    rows: number, columns: number, coupling: number, bitPivots: number, sourcePivots: number, driverScale: number, bitScale: number, sourceScale: number,
  ): void;
  alongBitLines(
    rows: number, columns: number, coupling: number, pivots: number, residual: number, search: number, answer: number, ends: number, scratch: number,
    beta: number,
  ): number;
  alongSourceLines(
    rows: number, columns: number, pivots: number, residual: number, search: number, answer: number, scratch: number, alpha: number,
  ): number;
}

const pageBytes = 65_536;
/** The compiler keeps nothing of its own beyond the first page. */
const firstFreeByte = pageBytes;
/** Between two fields, so that the same cell of each lies in another set of the cache. */
const staggerBytes = 320;

/** The sweeps with SIMD; the same bits as ReferenceSweeps gives. */
class CompiledSweeps implements Sweeps {
  readonly fields: CrossbarFields;
  private readonly kernel: LineKernel;
  private readonly scratch: Float64Array;

  constructor(program: WebAssembly.Module, bitLineCount: number, sourceLineCount: number) {
    const bytes = 6 * (bitLineCount * sourceLineCount * 8 + staggerBytes) + (bitLineCount + 4 * sourceLineCount) * 8 + 2 * staggerBytes;
    const memory = new WebAssembly.Memory({ initial: Math.ceil((firstFreeByte + bytes) / pageBytes) });
    let next = firstFreeByte;
    const take = (count: number) => {
      const part = new Float64Array(memory.buffer, next, count);
      next += count * 8 + staggerBytes;
      return part;
    };
    this.fields = crossbarFields(bitLineCount, sourceLineCount, take);
    this.scratch = take(4 * sourceLineCount);
    const abort = () => {
      throw new Error('the line kernel failed');
    };
    this.kernel = new WebAssembly.Instance(program, { env: { memory, abort } }).exports as unknown as LineKernel;
  }

  factorise(driverScale: number, bitScale: number, sourceScale: number): void {
    const { bitLineCount, sourceLineCount, coupling, bitPivots, sourcePivots } = this.fields;
    this.kernel.factorise(
      bitLineCount, sourceLineCount, coupling.byteOffset, bitPivots.byteOffset, sourcePivots.byteOffset, driverScale, bitScale, sourceScale,
    );
  }

  alongBitLines(beta: number): number {
    const { bitLineCount, sourceLineCount, coupling, bitPivots, residual, search, answer, drivenEnds } = this.fields;
    return this.kernel.alongBitLines(
      bitLineCount, sourceLineCount, coupling.byteOffset, bitPivots.byteOffset, residual.byteOffset, search.byteOffset, answer.byteOffset,
      drivenEnds.byteOffset, this.scratch.byteOffset, beta,
    );
  }

  alongSourceLines(alpha: number): number {
    const { bitLineCount, sourceLineCount, sourcePivots, residual, search, answer } = this.fields;
    return this.kernel.alongSourceLines(
      bitLineCount, sourceLineCount, sourcePivots.byteOffset, residual.byteOffset, search.byteOffset, answer.byteOffset, this.scratch.byteOffset, alpha,
    );
  }
}

/** @param program the compiled line-resistance.as.ts */
export function compiledSweeps(program: WebAssembly.Module): SweepsMaker {
  return (bitLineCount, sourceLineCount) => new CompiledSweeps(program, bitLineCount, sourceLineCount);
}
