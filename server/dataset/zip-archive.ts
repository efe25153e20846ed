import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32, inflateRawSync } from 'node:zlib';
import { refuseDataset, refuseMissing } from './refusal.js';

/** One file in an archive. */
export interface ZipEntry {
  readonly path: string;
  /** Unpacked. */
  readonly bytes: number;
  readonly packedBytes: number;
  /** 0: stored, 8: deflated. */
  readonly method: number;
  readonly crc: number;
  /** Where its local header begins. */
  readonly offset: number;
}

type ReadAt = (offset: number, length: number) => Buffer;

const signatures = { end: 0x06054b50, end64Locator: 0x07064b50, end64: 0x06064b50, central: 0x02014b50, local: 0x04034b50 } as const;
const endBytes = 22;
const end64LocatorBytes = 20;
const end64Bytes = 56;
const centralBytes = 46;
const localBytes = 30;
const commentBytesMaximum = 65_535;
/** A million recordings of N-MNIST's names. */
const directoryBytesMaximum = 128 * 2 ** 20;
const encrypted = 1;
const all32 = 0xffffffff;
const zip64Field = 0x0001;

/**
 * The files of a zip archive, each read where it lies: the published archives of N-MNIST are too large to be unpacked in memory. Every file is
 * held to its CRC-32. Layout: PKWARE APPNOTE.TXT 6.3, sections 4.3 and 4.5.3 (zip64, which archives of more than 65 535 files need).
 */
export class ZipArchive {
  /** In the order of the archive's directory; folders are left out. */
  readonly entries: readonly ZipEntry[];

  private constructor(private readonly name: string, private readonly size: number, private readonly readAt: ReadAt, private readonly free: () => void) {
    this.entries = this.readDirectory();
  }

  /** @throws MacroError INPUT_NOT_FOUND, BAD_DATASET naming file and offset */
  static open(path: string): ZipArchive {
    let handle: number;
    try {
      handle = openSync(path, 'r');
    } catch (error) {
      return refuseMissing(path, error);
    }
    const readAt = (offset: number, length: number) => {
      const bytes = Buffer.allocUnsafe(length);
      const read = readSync(handle, bytes, 0, length, offset);
      return bytes.subarray(0, read);
    };
    try {
      return new ZipArchive(path, fstatSync(handle).size, readAt, () => closeSync(handle));
    } catch (error) {
      closeSync(handle);
      throw error;
    }
  }

  /** An archive in memory. @throws MacroError BAD_DATASET */
  static of(bytes: Uint8Array, name: string): ZipArchive {
    const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return new ZipArchive(name, bytes.length, (offset, length) => all.subarray(offset, offset + length), () => undefined);
  }

  /**
   * A file, unpacked.
   * @param bytesMaximum nothing larger is unpacked
   * @throws MacroError BAD_DATASET naming archive, file and offset
   */
  read(entry: ZipEntry, bytesMaximum: number): Uint8Array {
    const { path, bytes, packedBytes, method, crc, offset } = entry;
    const refuse = (problem: string, cause?: unknown) => refuseDataset(`${this.name}, ${path} at offset ${offset}:`, problem, cause);
    if (bytes > bytesMaximum) refuse(`has ${bytes} bytes, the limit is ${bytesMaximum}`);
    const header = this.exactly(offset, localBytes);
    if (header.readUInt32LE(0) !== signatures.local) refuse('has no header there');
    const from = offset + localBytes + header.readUInt16LE(26) + header.readUInt16LE(28);
    const packed = this.exactly(from, packedBytes);
    let unpacked: Buffer = packed;
    try {
      if (method === 8) unpacked = inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes) });
      else if (method !== 0) refuse(`is packed by method ${method}; stored (0) and deflated (8) are read`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).errno === undefined && (error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw error;
      refuse(`cannot be unpacked: ${(error as Error).message}`, error);
    }
    if (unpacked.length !== bytes) refuse(`has ${unpacked.length} bytes, its directory states ${bytes}`);
    if (crc32(unpacked) !== crc) refuse('is damaged: its CRC-32 is wrong');
    return new Uint8Array(unpacked.buffer, unpacked.byteOffset, unpacked.length);
  }

  close(): void {
    this.free();
  }

  private exactly(offset: number, length: number): Buffer {
    const bytes = offset + length <= this.size ? this.readAt(offset, length) : Buffer.alloc(0);
    if (bytes.length !== length) refuseDataset(this.name, `ends at offset ${this.size}, inside what begins at offset ${offset}`);
    return bytes;
  }

  /** Where the directory is, by the record at the end of the archive, behind which a comment may stand. */
  private findDirectory(): { count: number; bytes: number; offset: number } {
    const tailBytes = Math.min(this.size, endBytes + commentBytesMaximum);
    const tail = this.exactly(this.size - tailBytes, tailBytes);
    let at = tail.length - endBytes;
    while (at >= 0 && tail.readUInt32LE(at) !== signatures.end) at -= 1;
    if (at < 0) refuseDataset(this.name, 'is no zip archive, or was cut off: the record of its end is missing');
    const plain = { count: tail.readUInt16LE(at + 10), bytes: tail.readUInt32LE(at + 12), offset: tail.readUInt32LE(at + 16) };
    const locatorAt = this.size - tailBytes + at - end64LocatorBytes;
    const locator = locatorAt >= 0 ? this.exactly(locatorAt, end64LocatorBytes) : undefined;
    if (locator?.readUInt32LE(0) !== signatures.end64Locator) return plain;
    const end64 = this.exactly(Number(locator.readBigUInt64LE(8)), end64Bytes);
    if (end64.readUInt32LE(0) !== signatures.end64) refuseDataset(this.name, `, offset ${locatorAt}: the zip64 record is not where it says`);
    const [count, bytes, offset] = [32, 40, 48].map((field) => Number(end64.readBigUInt64LE(field)));
    return { count, bytes, offset };
  }

  private readDirectory(): ZipEntry[] {
    const { count, bytes, offset } = this.findDirectory();
    if (bytes > directoryBytesMaximum) refuseDataset(this.name, `has a directory of ${bytes} bytes, the limit is ${directoryBytesMaximum}`);
    const directory = this.exactly(offset, bytes);
    const entries: ZipEntry[] = [];
    let at = 0;
    for (let entry = 0; entry < count; entry += 1) {
      const isThere = at + centralBytes <= bytes && directory.readUInt32LE(at) === signatures.central;
      if (!isThere) refuseDataset(this.name, `, offset ${offset + at}: entry ${entry} of ${count} of the directory is missing`);
      const nameBytes = directory.readUInt16LE(at + 28);
      const end = at + centralBytes + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
      if (end > bytes) refuseDataset(this.name, `, offset ${offset + at}: entry ${entry} of the directory is cut off`);
      const found = this.entryAt(directory.subarray(at, end), nameBytes, offset + at);
      if (!found.path.endsWith('/')) entries.push(found);
      at = end;
    }
    return entries;
  }

  private entryAt(record: Buffer, nameBytes: number, offset: number): ZipEntry {
    const path = record.toString('utf8', centralBytes, centralBytes + nameBytes).replaceAll('\\', '/');
    if ((record.readUInt16LE(8) & encrypted) !== 0) refuseDataset(this.name, `, offset ${offset}: ${path} is encrypted`);
    const extra = record.subarray(centralBytes + nameBytes, centralBytes + nameBytes + record.readUInt16LE(30));
    const wide = wideNumbers(extra);
    const number = (at: number) => {
      const narrow = record.readUInt32LE(at);
      return narrow === all32 ? (wide.shift() ?? narrow) : narrow;
    };
    const [unpackedBytes, packedBytes, local] = [24, 20, 42].map(number);
    return { path, bytes: unpackedBytes, packedBytes, method: record.readUInt16LE(10), crc: record.readUInt32LE(16), offset: local };
  }
}

/** The numbers of 64 bits that stand for those that 32 bits do not hold, in their order. */
function wideNumbers(extra: Buffer): number[] {
  for (let at = 0; at + 4 <= extra.length; ) {
    const [kind, bytes] = [extra.readUInt16LE(at), extra.readUInt16LE(at + 2)];
    const field = extra.subarray(at + 4, at + 4 + bytes);
    if (kind === zip64Field) return Array.from({ length: Math.floor(field.length / 8) }, (_, index) => Number(field.readBigUInt64LE(8 * index)));
    at += 4 + bytes;
  }
  return [];
}
