import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';

const attempts = 3;

/** The process that holds the lock, or undefined where it is gone or the file is being made. */
function holderOf(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    if (!Number.isInteger(pid) || pid <= 0) return undefined;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? -1 : undefined;
  }
}

/**
 * Takes a home folder for this process alone: two services on one store would both believe that they own the chip.
 * @returns what gives it back
 * @throws MacroError STORE_LOCKED, naming the holder
 */
export function lockHome(homeFolder: string): () => void {
  mkdirSync(homeFolder, { recursive: true, mode: 0o700 });
  const path = join(homeFolder, 'lock');
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    try {
      const file = openSync(path, 'wx', 0o600);
      writeSync(file, String(process.pid));
      closeSync(file);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const holder = holderOf(path);
      if (holder !== undefined) throw new MacroError('STORE_LOCKED', `process ${holder} holds ${homeFolder}`);
      rmSync(path, { force: true }); // its holder was killed
    }
  }
  throw new MacroError('STORE_LOCKED', `another process keeps taking ${homeFolder}`);
}
