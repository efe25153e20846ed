import { cellCount } from '../../firmware-protocol/limits.js';
import { readNpy, readNpyArray, writeNpy } from '../network/npy.js';
import { readArchive, utf8, writeArchive } from './archive.js';
import { parseHeader } from './header.js';
import { asSnapshot, refuseSnapshot } from './refusal.js';
import { headerOf, keptReadsMaximum, mapShape, type Snapshot, snapshotOf } from './snapshot.js';

const names = { metadata: 'metadata.npy', codes: 'codes.npy', flags: 'flags.npy', reads: 'read_codes.npy' };
const limits = { files: 4, fileBytes: 2 * cellCount * keptReadsMaximum + 1024 };
const metadataBytesMaximum = 2 ** 17;

/** A snapshot as a NumPy archive: `metadata` (JSON as bytes), `codes`, `flags`, and `read_codes` where single reads were kept. */
export function writeNpz(snapshot: Snapshot): Uint8Array {
  const { codes, flags, reads } = snapshot;
  const metadata = utf8(JSON.stringify(headerOf(snapshot)));
  const all = new Uint16Array(reads.length * cellCount);
  reads.forEach((read, index) => { all.set(read, index * cellCount); });
  return writeArchive({
    [names.metadata]: writeNpy(metadata, [metadata.length]),
    [names.codes]: writeNpy(codes, mapShape),
    [names.flags]: writeNpy(flags, mapShape),
    ...(reads.length > 0 && { [names.reads]: writeNpy(all, [reads.length, ...mapShape]) }),
  });
}

function readKept(bytes: Uint8Array | undefined, file: string): Uint16Array[] {
  if (bytes === undefined) return [];
  const name = `${file}: ${names.reads}`;
  const { shape, data } = readNpyArray(bytes, name, 'u2');
  const [count, ...map] = shape;
  if (map.length !== 2 || map.some((size, axis) => size !== mapShape[axis])) {
    refuseSnapshot(name, `has the shape (${shape.join(', ')}), expected (reads, ${mapShape.join(', ')})`, { field: 'read_codes' });
  }
  return Array.from({ length: count }, (_, read) => data.slice(read * cellCount, (read + 1) * cellCount));
}

/** @throws MacroError BAD_SNAPSHOT naming the file and the array */
export function readNpz(bytes: Uint8Array, file: string): Snapshot {
  const known = new Set(Object.values(names));
  const files = readArchive(bytes, file, { ...limits, wants: (name) => known.has(name) });
  const part = (name: string) => files[name] ?? refuseSnapshot(file, `has no ${name}`, { field: name.replace('.npy', '') });
  return asSnapshot(() => {
    const { data: metadata } = readNpyArray(part(names.metadata), `${file}: ${names.metadata}`, 'u1');
    if (metadata.length > metadataBytesMaximum) refuseSnapshot(file, `has ${metadata.length} bytes of metadata, the limit is ${metadataBytesMaximum}`);
    const header = parseHeader(new TextDecoder().decode(metadata), `${file}: metadata`);
    const codes = readNpy(part(names.codes), `${file}: ${names.codes}`, 'u2', mapShape);
    const flags = readNpy(part(names.flags), `${file}: ${names.flags}`, 'u1', mapShape);
    return snapshotOf(header, codes, flags, readKept(files[names.reads], file), file);
  });
}
