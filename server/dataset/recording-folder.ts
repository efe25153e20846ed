import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { MacroError } from '../../proto/error.js';

/** A folder of recordings that is being written. It has its name only when it is whole. */
export class RecordingFolder {
  private readonly folder: string;
  private readonly beside: string;
  private readonly made = new Set<string>();

  /** @throws MacroError BAD_ARGUMENT where something is there already, or nothing can be written */
  constructor(path: string) {
    this.folder = resolve(path);
    if (existsSync(this.folder) && !isEmptyFolder(this.folder)) {
      throw new MacroError('BAD_ARGUMENT', `--out ${path} is there already, and is no empty folder`, { field: 'out' });
    }
    this.beside = `${this.folder}.${randomBytes(4).toString('hex')}.tmp`;
    this.orRefuse(() => mkdirSync(this.beside, { recursive: true }));
  }

  write(path: string, bytes: Uint8Array): void {
    this.orRefuse(() => {
      const file = join(this.beside, path);
      const parent = dirname(file);
      if (!this.made.has(parent)) mkdirSync(parent, { recursive: true });
      this.made.add(parent);
      writeFileSync(file, bytes, { flag: 'wx' });
    });
  }

  finish(): void {
    this.orRefuse(() => {
      if (existsSync(this.folder)) rmdirSync(this.folder);
      renameSync(this.beside, this.folder);
    });
  }

  /** Nothing of it is left. */
  discard(): void {
    rmSync(this.beside, { recursive: true, force: true });
  }

  private orRefuse(work: () => void): void {
    try {
      work();
    } catch (error) {
      throw new MacroError('BAD_ARGUMENT', `--out ${this.folder} cannot be written: ${(error as Error).message}`, { field: 'out', cause: error });
    }
  }
}

function isEmptyFolder(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}
