import { readFileSync, statSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { refuseDataset, refuseMissing } from './refusal.js';

/** An array of unsigned bytes. */
export interface Idx {
  /** Of each dimension. */
  readonly sizes: readonly number[];
  readonly bytes: Uint8Array;
}

/** MNIST and Fashion-MNIST hold 47 MB of images at most. */
const fileBytesMaximum = 256 * 2 ** 20;
const unsignedBytes = 0x08;

function readFile(path: string): Buffer {
  try {
    if (statSync(path).size > fileBytesMaximum) refuseDataset(path, `has more than ${fileBytesMaximum} bytes`);
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return refuseMissing(path, error);
  }
}

function unpacked(file: Buffer, path: string): Buffer {
  const isGzip = file.length >= 2 && file[0] === 0x1f && file[1] === 0x8b;
  if (!isGzip) return file;
  try {
    return gunzipSync(file, { maxOutputLength: fileBytesMaximum });
  } catch (error) {
    return refuseDataset(path, `is no whole gzip file of ${fileBytesMaximum} bytes at most: ${(error as Error).message}`, error);
  }
}

/**
 * Reads an idx file of unsigned bytes (yann.lecun.com/exdb/mnist, section "FILE FORMATS"), also packed with gzip.
 *
 * @param dimensions how many it must have: 3 for images, 1 for labels
 * @throws MacroError INPUT_NOT_FOUND, BAD_DATASET naming file and offset
 */
export function readIdx(path: string, dimensions: number): Idx {
  const file = unpacked(readFile(path), path);
  const headerBytes = 4 + 4 * dimensions;
  if (file.length < headerBytes) refuseDataset(path, `ends at offset ${file.length}, inside its header of ${headerBytes} bytes`);
  if (file[0] !== 0 || file[1] !== 0) refuseDataset(path, `, offset 0: ${file.readUInt16BE(0)} where an idx file has 0`);
  if (file[2] !== unsignedBytes) refuseDataset(path, `, offset 2: elements of type ${file[2]}, expected ${unsignedBytes} (unsigned bytes)`);
  if (file[3] !== dimensions) refuseDataset(path, `, offset 3: ${file[3]} dimensions, expected ${dimensions}`);
  const sizes = Array.from({ length: dimensions }, (_, axis) => file.readUInt32BE(4 + 4 * axis));
  const stated = sizes.reduce((product, size) => product * size, 1);
  const held = file.length - headerBytes;
  if (held !== stated) refuseDataset(path, `states ${sizes.join(' × ')} = ${stated} bytes from offset ${headerBytes} on and holds ${held}`);
  return { sizes, bytes: new Uint8Array(file.subarray(headerBytes)) };
}
