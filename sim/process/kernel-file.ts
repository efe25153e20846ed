import { readFileSync } from 'node:fs';

let program: WebAssembly.Module | undefined;

/** kernel.as.ts compiled, which lies beside its source and in the build. */
export function readKernel(): WebAssembly.Module {
  program ??= new WebAssembly.Module(readFileSync(new URL('../kernel.wasm', import.meta.url)));
  return program;
}
