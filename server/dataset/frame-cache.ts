import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FramePack } from './frame-pack.js';
import { type Manifest, type ManifestEntry, manifestOf } from './manifest.js';

/** Frames, and the recordings that they were counted from. */
export interface CachedFrames {
  readonly manifest: Manifest;
  readonly pack: FramePack;
}

interface Header {
  readonly format: typeof format;
  readonly timestepCount: number;
  readonly digest: string;
  readonly recordings: readonly ManifestEntry[];
  /** Tokens of each recording. */
  readonly lengths: readonly number[];
}

const format = 'prime-frames/1';
const extension = '.frames';
const lengthBytes = 4;
const digestBytes = 32;
/** 60 000 recordings of ten timesteps take about 165 MB. */
export const usualCacheBytes = 2 * 2 ** 30;

const sha256 = (...parts: readonly Uint8Array[]) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

/** Length of the header (u32, little-endian), the header as JSON, the tokens, SHA-256 of all before. */
function encode({ manifest, pack }: CachedFrames): readonly Uint8Array[] {
  const { tokens, starts, timestepCount } = pack.parts;
  const lengths = Array.from({ length: pack.count }, (_, index) => starts[index + 1] - starts[index]);
  const header: Header = { format, timestepCount, digest: manifest.digest, recordings: manifest.recordings, lengths };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(text.length);
  return [length, text, tokens, sha256(length, text, tokens)];
}

/** The inverse; undefined where the bytes are damaged. */
function decode(file: Buffer): CachedFrames | undefined {
  const end = file.length - digestBytes;
  if (end < lengthBytes || !sha256(file.subarray(0, end)).equals(file.subarray(end))) return undefined;
  const tokensAt = lengthBytes + file.readUInt32LE(0);
  const header = JSON.parse(file.toString('utf8', lengthBytes, tokensAt)) as Header;
  const manifest = manifestOf(header.recordings);
  if (header.format !== format || manifest.digest !== header.digest) return undefined;
  const tokens = new Uint8Array(new SharedArrayBuffer(end - tokensAt));
  tokens.set(file.subarray(tokensAt, end));
  const starts = new Float64Array(new SharedArrayBuffer(8 * (header.lengths.length + 1)));
  for (const [index, length] of header.lengths.entries()) starts[index + 1] = starts[index] + length;
  return { manifest, pack: new FramePack({ timestepCount: header.timestepCount, tokens, starts }) };
}

/**
 * Frames on disk, by what decides them. A file is there whole or not at all; one that was damaged is as good as none. When all together take more
 * than the limit, those go that were not used for longest.
 */
export class FrameCache {
  constructor(private readonly folder: string, private readonly bytesMaximum = usualCacheBytes) {}

  /** @param key what decides every count: a text of any length */
  find(key: string): CachedFrames | undefined {
    const path = this.pathOf(key);
    let file: Buffer;
    try {
      file = readFileSync(path);
    } catch {
      return undefined;
    }
    const found = decode(file);
    if (found === undefined) rmSync(path, { force: true });
    else this.touch(path);
    return found;
  }

  /** @returns whether they are kept: not where they alone take more than the limit */
  keep(key: string, frames: CachedFrames): boolean {
    const parts = encode(frames);
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (bytes > this.bytesMaximum) return false;
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    this.makeRoom(bytes);
    const beside = `${this.pathOf(key)}.${randomBytes(6).toString('hex')}.tmp`;
    for (const part of parts) writeFileSync(beside, part, { flag: 'a', mode: 0o600 });
    renameSync(beside, this.pathOf(key));
    return true;
  }

  private makeRoom(bytes: number): void {
    const files = readdirSync(this.folder).filter((name) => name.includes(extension)).map((name) => {
      const path = join(this.folder, name);
      const { size, mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { size: 0, mtimeMs: 0 };
      return { path, size, mtimeMs };
    });
    let room = this.bytesMaximum - files.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of files.toSorted((left, right) => left.mtimeMs - right.mtimeMs)) {
      if (room >= bytes) return;
      rmSync(path, { force: true });
      room += size;
    }
  }

  private touch(path: string): void {
    const now = new Date();
    try {
      utimesSync(path, now, now);
    } catch {
      // Another process has made room; the frames are in memory already.
    }
  }

  private pathOf(key: string): string {
    return join(this.folder, `${createHash('sha256').update(key).digest('hex')}${extension}`);
  }
}
