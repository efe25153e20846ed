import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MacroError } from '../../proto/error.js';

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Bytes on disk under their SHA-256. An object is there whole or not at all, and survives a power cut once `put` has returned. */
export class ObjectStore {
  private readonly folder: string;

  constructor(homeFolder: string) {
    this.folder = join(homeFolder, 'objects');
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
  }

  /** @returns the digest in hexadecimal */
  put(bytes: Uint8Array): string {
    const digest = createHash('sha256').update(bytes).digest('hex');
    const path = this.pathOf(digest);
    if (existsSync(path)) return digest;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const beside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    writeFileSync(beside, bytes, { flush: true, mode: 0o600 });
    renameSync(beside, path);
    syncFolder(dirname(path));
    return digest;
  }

  /** @throws MacroError INTERNAL_ERROR where the object is missing or is no longer what it was */
  get(digest: string): Uint8Array {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.pathOf(digest));
    } catch (error) {
      throw new MacroError('INTERNAL_ERROR', `the store has lost the object ${digest}`, { cause: error });
    }
    if (createHash('sha256').update(bytes).digest('hex') !== digest) throw new MacroError('INTERNAL_ERROR', `the object ${digest} was changed on disk`);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** As `get`; undefined where there is no such object. */
  find(digest: string): Uint8Array | undefined {
    return existsSync(this.pathOf(digest)) ? this.get(digest) : undefined;
  }

  private pathOf(digest: string): string {
    return join(this.folder, digest.slice(0, 2), digest);
  }
}
