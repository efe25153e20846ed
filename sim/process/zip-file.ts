import { inflateRawSync } from 'node:zlib';

const endSignature = 0x06054b50;
const entrySignature = 0x02014b50;
const localSignature = 0x04034b50;
const endBytes = 22;
const commentBytesMaximum = 0xffff;
const entryBytes = 46;
const localBytes = 30;
const stored = 0;
const deflated = 8;

function endOf(bytes: Buffer): number {
  const first = Math.max(0, bytes.length - endBytes - commentBytesMaximum);
  for (let at = bytes.length - endBytes; at >= first; at -= 1) if (bytes.readUInt32LE(at) === endSignature) return at;
  throw new RangeError('this is no zip archive');
}

function contentOf(bytes: Buffer, method: number, packedBytes: number, fileBytes: number, localAt: number, name: string): Buffer {
  if (bytes.readUInt32LE(localAt) !== localSignature) throw new RangeError(`${name} is not where the archive says`);
  const start = localAt + localBytes + bytes.readUInt16LE(localAt + 26) + bytes.readUInt16LE(localAt + 28);
  if (start + packedBytes > bytes.length) throw new RangeError(`${name} is cut off`);
  const packed = bytes.subarray(start, start + packedBytes);
  if (method !== stored && method !== deflated) throw new RangeError(`${name} is packed by method ${method}`);
  const content = method === stored ? packed : inflateRawSync(packed, { maxOutputLength: Math.max(1, fileBytes) });
  if (content.length !== fileBytes) throw new RangeError(`${name} has ${content.length} bytes instead of ${fileBytes}`);
  return content;
}

/**
 * Some files of a zip archive by name; 64-bit archives and encryption are not known.
 * @param fileBytesMaximum no file that is larger is unpacked
 * @throws RangeError or what zlib throws
 */
export function filesOfZip(bytes: Buffer, wanted: ReadonlySet<string>, fileBytesMaximum: number): Map<string, Buffer> {
  const end = endOf(bytes);
  const files = new Map<string, Buffer>();
  let at = bytes.readUInt32LE(end + 16);
  for (let index = 0; index < bytes.readUInt16LE(end + 10); index += 1) {
    if (bytes.readUInt32LE(at) !== entrySignature) throw new RangeError('the list of its files is damaged');
    const [method, packedBytes, fileBytes] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 24)];
    const nameBytes = bytes.readUInt16LE(at + 28);
    const name = bytes.toString('utf8', at + entryBytes, at + entryBytes + nameBytes);
    if (wanted.has(name)) {
      if (files.has(name)) throw new RangeError(`${name} is there twice`);
      if (fileBytes > fileBytesMaximum) throw new RangeError(`${name} has ${fileBytes} bytes, the limit is ${fileBytesMaximum}`);
      files.set(name, contentOf(bytes, method, packedBytes, fileBytes, bytes.readUInt32LE(at + 42), name));
    }
    at += entryBytes + nameBytes + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return files;
}
