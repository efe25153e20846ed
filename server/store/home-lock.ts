import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';
import { lockPath } from '../../proto/process/path-lock.js';

/**
 * Takes a home folder for this process alone: two services on one store would both believe that they own the chip.
 * @returns what gives it back
 * @throws MacroError STORE_LOCKED, naming the holder
 */
export function lockHome(homeFolder: string): () => void {
  mkdirSync(homeFolder, { recursive: true, mode: 0o700 });
  return lockPath(join(homeFolder, 'store'), 0, (holder) => new MacroError('STORE_LOCKED', `process ${holder} holds ${homeFolder}`));
}
