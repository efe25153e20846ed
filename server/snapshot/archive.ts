import { strToU8, type Unzipped, unzipSync, type Zippable, zipSync } from 'fflate';
import { problemOf, refuseSnapshot } from './refusal.js';

/** The oldest time that an archive can state: the same snapshot is the same bytes, whenever it is written. */
const mtime = new Date(1980, 0, 1);
/** Conductances hardly compress; the quickest level takes what there is. */
const level = 1;

export function writeArchive(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  return zipSync(files as Zippable, { level, mtime });
}

export interface ArchiveLimits {
  readonly files: number;
  /** Of one file, unpacked. */
  readonly fileBytes: number;
  /** Of all files that are wanted, unpacked (default: files × fileBytes). */
  readonly totalBytes?: number;
  /** Files that nobody needs stay packed. */
  readonly wants: (name: string) => boolean;
}

/**
 * Unpacks some files of a zip archive.
 * @throws MacroError BAD_SNAPSHOT where it is none, or one of them is too large; nothing larger than the limit is unpacked
 */
export function readArchive(bytes: Uint8Array, file: string, { files, fileBytes, totalBytes = files * fileBytes, wants }: ArchiveLimits): Unzipped {
  const seen = new Set<string>();
  let problem: string | undefined;
  let total = 0;
  let unpacked: Unzipped = {};
  try {
    unpacked = unzipSync(bytes, {
      filter({ name, size, originalSize }) {
        if (problem !== undefined || !wants(name)) return false;
        if (seen.has(name)) problem = `holds ${name} twice`;
        seen.add(name);
        if (seen.size > files) problem = `holds more than ${files} files`;
        // A stored file is as long as its packed size says, whatever it states unpacked.
        const bytesOfFile = Math.max(size, originalSize);
        total += bytesOfFile;
        if (bytesOfFile > fileBytes) problem = `holds ${name} with ${bytesOfFile} bytes, the limit is ${fileBytes}`;
        if (total > totalBytes) problem = `holds more than ${totalBytes} bytes, unpacked`;
        return problem === undefined;
      },
    });
  } catch (error) {
    refuseSnapshot(file, `is not a readable zip archive: ${problemOf(error)}`, { cause: error });
  }
  if (problem !== undefined) refuseSnapshot(file, problem);
  return unpacked;
}

export const utf8 = strToU8;
