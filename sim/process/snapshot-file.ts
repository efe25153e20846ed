import { readFileSync } from 'node:fs';
import { MacroError } from '../../proto/error.js';

const headerStart = 10;

/**
 * A map of conductances from a .npy file (format 1.0, little-endian float32, C order).
 * @returns µS, bit line by bit line
 * @throws MacroError BAD_PROFILE, naming the file and what it should hold
 */
export function readSnapshotFile(path: string, shape: readonly [number, number]): Float32Array {
  const refuse = (problem: string): never => {
    throw new MacroError('BAD_PROFILE', `${path}: ${problem}`, { field: 'snapshot' });
  };
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
  if (bytes.length < headerStart || bytes.toString('latin1', 0, 6) !== '\x93NUMPY') return refuse('this is no .npy file');
  const start = headerStart + bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', headerStart, start);
  const wanted = `(${shape[0]}, ${shape[1]})`;
  if (!header.includes("'descr': '<f4'") || !header.includes("'fortran_order': False") || !header.includes(`'shape': ${wanted}`)) {
    return refuse(`a snapshot is float32 of shape ${wanted} in C order`);
  }
  if (bytes.length - start !== shape[0] * shape[1] * 4) return refuse(`${bytes.length - start} bytes of data; there are ${shape[0] * shape[1] * 4}`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length));
}
