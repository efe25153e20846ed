import type { BulkChunk } from './message.js';

// Keys of macro.proto: field number · 8 + wire type.
export const hostChunkKey = 26;
export const deviceChunkKey = 34;
const sha256Key = 10;
const offsetBytesKey = 16;
const dataKey = 26;

const varintBytes = (value: number) => (value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5);
/** A field of bytes with its key; an empty one is left out. */
const fieldBytes = (length: number) => (length === 0 ? 0 : 1 + varintBytes(length) + length);

function putVarint(target: Uint8Array, at: number, value: number): number {
  for (; value > 0x7f; value >>>= 7) target[at++] = (value & 0x7f) | 0x80;
  target[at] = value;
  return at + 1;
}

function putBytes(target: Uint8Array, at: number, key: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return at;
  target[at] = key;
  const start = putVarint(target, at + 1, bytes.length);
  target.set(bytes, start);
  return start + bytes.length;
}

/**
 * A chunk as HostMessage or DeviceMessage, byte for byte as the generated code encodes it and in a fifth of its time: a transfer sends tens of
 * thousands a second.
 * @param key of the chunk's field in the message
 */
export function encodeBulkChunk(key: number, { sha256, offsetBytes, data }: BulkChunk): Uint8Array {
  const offset = offsetBytes === 0 ? 0 : 1 + varintBytes(offsetBytes);
  const body = fieldBytes(sha256.length) + offset + fieldBytes(data.length);
  const bytes = Buffer.allocUnsafe(1 + varintBytes(body) + body);
  bytes[0] = key;
  let at = putVarint(bytes, 1, body);
  at = putBytes(bytes, at, sha256Key, sha256);
  if (offset > 0) {
    bytes[at] = offsetBytesKey;
    at = putVarint(bytes, at + 1, offsetBytes);
  }
  putBytes(bytes, at, dataKey, data);
  return bytes;
}
