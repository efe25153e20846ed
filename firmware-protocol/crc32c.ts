/** CRC-32C (Castagnoli): reflected polynomial 82f63b78, start and final xor ffffffff; "123456789" gives e3069283 (RFC 3720 §B.4). */
const polynomial = 0x82f63b78;

/** tables[k][b]: the remainder of byte b followed by k zero bytes, so that four bytes are taken at once. */
const tables = makeTables();

function makeTables(): readonly Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte += 1) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ ((remainder & 1) === 1 ? polynomial : 0);
    first[byte] = remainder;
  }
  const all = [first];
  for (let table = 1; table < 4; table += 1) {
    const before = all[table - 1];
    all.push(Uint32Array.from(before, (remainder) => (remainder >>> 8) ^ first[remainder & 0xff]));
  }
  return all;
}

/** The checksum of bytes[start, end), as an unsigned 32-bit integer. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const [t0, t1, t2, t3] = tables;
  let remainder = 0xffffffff;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    remainder ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    remainder = t3[remainder & 0xff] ^ t2[(remainder >>> 8) & 0xff] ^ t1[(remainder >>> 16) & 0xff] ^ t0[remainder >>> 24];
  }
  for (; at < end; at += 1) remainder = (remainder >>> 8) ^ t0[(remainder ^ bytes[at]) & 0xff];
  return (remainder ^ 0xffffffff) >>> 0;
}
