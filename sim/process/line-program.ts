import { readFileSync } from 'node:fs';
import { compiledSweeps } from '../line-kernel.js';
import type { SweepsMaker } from '../line-resistance.js';

let sweeps: SweepsMaker | undefined;

/** Compiles line-resistance.wasm, which lies beside its source in sources and in the build. */
export function compiledLineSweeps(): SweepsMaker {
  sweeps ??= compiledSweeps(new WebAssembly.Module(readFileSync(new URL('../line-resistance.wasm', import.meta.url))));
  return sweeps;
}
