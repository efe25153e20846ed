// Test digits as recordings, and a small bundle that reads them (at random: it is not trained).
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { FilmSet } from '../server/dataset/film.js';
import { readMnist } from '../server/dataset/mnist.js';
import { writeBundle } from '../server/network/bundle.js';
import { smallBundle } from './small-bundle.js';

export interface Digit {
  readonly label: number;
  readonly input: string;
  readonly bytes: Uint8Array;
}

/** The first digits of the MNIST test set, filmed. */
export function filmedDigits(count: number): Digit[] {
  const films = new FilmSet('test', readMnist('test'), 1);
  return Array.from({ length: count }, (_, digit) => ({ label: films.digits.labels[digit], input: films.pathOf(digit), bytes: films.film(digit) }));
}

/** A folder `Test` with filmed digits, removed after the test. */
export function digitFolder(t: Test, count: number): string {
  const home = mkdtempSync(join(tmpdir(), 'prime-hil-digits-'));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  for (const { input, bytes } of filmedDigits(count)) {
    mkdirSync(join(home, input, '..'), { recursive: true });
    writeFileSync(join(home, input), bytes);
  }
  return join(home, 'Test');
}

/** A folder with the small bundle, removed after the test. */
export function bundleFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeBundle(folder, smallBundle());
  return folder;
}
