/** Number of bit planes that hold every code up to `maximumCode`. */
export const planesOf = (maximumCode: number): number => 32 - Math.clz32(maximumCode);

/** Two drive codes a byte, the first in the low nibble; an odd count leaves the last high nibble 0. */
export function packNibbles(codes: Uint8Array): Uint8Array {
  const packed = new Uint8Array((codes.length + 1) >> 1);
  for (let index = 0; index < codes.length; index += 1) packed[index >> 1] |= codes[index] << ((index & 1) << 2);
  return packed;
}

/** The inverse of `packNibbles`. */
export function unpackNibbles(packed: Uint8Array, count: number): Uint8Array {
  const codes = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) codes[index] = (packed[index >> 1] >> ((index & 1) << 2)) & 15;
  return codes;
}
