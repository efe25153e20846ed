/**
 * Consistent overhead byte stuffing (Cheshire and Baker, 1999): bytes without any 00, at most one more for every 254. A code byte n says that
 * n − 1 bytes follow and then a 00, except after n = 255, where none is meant.
 */

/** The code byte of 254 bytes that no zero follows. */
const fullBlock = 255;
const nearBytes = 16;

/** Longest encoding of `length` bytes. */
export const encodedLength = (length: number): number => length + 1 + Math.floor(length / 254);

/**
 * Encodes in place: `length` bytes that lie in `target` from at + 1 on become their encoding from `at` on.
 * @returns the index behind the last byte of the encoding; up to there `target` must have room
 */
export function encodeCobs(target: Uint8Array, at: number, length: number): number {
  let codeAt = at;
  let end = at + 1 + length;
  for (let zero = nextZero(target, at + 1, end); ; zero = nextZero(target, zero + 1, end)) {
    for (; zero - codeAt > fullBlock || (zero - codeAt === fullBlock && zero < end); end += 1, zero += 1) {
      target[codeAt] = fullBlock;
      codeAt += fullBlock;
      target.copyWithin(codeAt + 1, codeAt, end);
    }
    target[codeAt] = zero - codeAt;
    if (zero === end) return end;
    codeAt = zero;
  }
}

/** The first zero of target[from, end), or `end`. Most bytes are looked at by the platform's own search, which is slow to begin and fast then. */
function nextZero(target: Uint8Array, from: number, end: number): number {
  const near = Math.min(end, from + nearBytes);
  for (let index = from; index < near; index += 1) {
    if (target[index] === 0) return index;
  }
  const found = near === end ? -1 : target.indexOf(0, near);
  return found < 0 || found > end ? end : found;
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
