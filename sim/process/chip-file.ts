import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { MacroError } from '../../proto/error.js';
import { Chip } from '../chip.js';
import type { Profile } from '../profile.js';

/** Reads a chip that was saved; undefined where there is no file yet. @throws MacroError BAD_PROFILE where the file is another chip's or none */
export function readChipFile(path: string, profile: Profile, seed: number): Chip | undefined {
  if (!existsSync(path)) return undefined;
  const chip = Chip.deserialise(readFileSync(path), profile);
  if (chip === undefined) throw new MacroError('BAD_PROFILE', `${path} is no chip file of this version`, { field: 'chip' });
  if (chip.seed !== seed) throw new MacroError('BAD_PROFILE', `${path} holds chip ${chip.seed}, not ${seed}`, { field: 'seed' });
  return chip;
}

/** Puts a chip on disk so that it is there whole, or as it was before, whatever happens: written beside, synced, renamed, folder synced. */
export function writeChipFile(path: string, chip: Chip): void {
  const beside = `${path}.tmp`;
  const file = openSync(beside, 'w');
  try {
    writeSync(file, chip.serialise());
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
