/**
 * Consistent overhead byte stuffing (Cheshire and Baker, 1999): bytes without any 00, at most one more for every 254. A code byte n says that
 * n − 1 bytes follow and then a 00, except after n = 255, where none is meant.
 */

/** Longest encoding of `length` bytes. */
export const encodedLength = (length: number): number => length + 1 + Math.floor(length / 254);

/** Encodes source[0, length) to `target` from `at` on. @returns the index behind the last byte written */
export function encodeCobs(source: Uint8Array, length: number, target: Uint8Array, at: number): number {
  let codeAt = at;
  let code = 1;
  at += 1;
  for (let index = 0; index < length; index += 1) {
    const byte = source[index];
    if (byte !== 0) {
      target[at] = byte;
      at += 1;
      code += 1;
    }
    if (byte === 0 || (code === 255 && index + 1 < length)) {
      target[codeAt] = code;
      codeAt = at;
      at += 1;
      code = 1;
    }
  }
  target[codeAt] = code;
  return at;
}

/** Decodes source[0, length) to the start of `target`. @returns the decoded length, or −1 where a code byte points beyond the end */
export function decodeCobs(source: Uint8Array, length: number, target: Uint8Array): number {
  let at = 0;
  let index = 0;
  while (index < length) {
    const code = source[index];
    const end = index + code;
    if (code === 0 || end > length) return -1;
    for (index += 1; index < end; index += 1) {
      target[at] = source[index];
      at += 1;
    }
    if (code < 255 && index < length) {
      target[at] = 0;
      at += 1;
    }
  }
  return at;
}
