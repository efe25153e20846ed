/** CRC-32C (Castagnoli): reflected polynomial 82f63b78, start and final xor ffffffff; "123456789" gives e3069283 (RFC 3720 §B.4). */
const polynomial = 0x82f63b78;

/** tables[k][b]: the remainder of byte b followed by k zero bytes, so that eight bytes are taken at once. */
const slices = 8;
const tables = makeTables();

function makeTables(): readonly Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte += 1) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ ((remainder & 1) === 1 ? polynomial : 0);
    first[byte] = remainder;
  }
  const all = [first];
  for (let table = 1; table < slices; table += 1) {
    const before = all[table - 1];
    all.push(Uint32Array.from(before, (remainder) => (remainder >>> 8) ^ first[remainder & 0xff]));
  }
  return all;
}

/** The checksum of bytes[start, end), as an unsigned 32-bit integer. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
  let remainder = 0xffffffff;
  let at = start;
  for (; at + slices <= end; at += slices) {
    remainder ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    remainder = t7[remainder & 0xff] ^ t6[(remainder >>> 8) & 0xff] ^ t5[(remainder >>> 16) & 0xff] ^ t4[remainder >>> 24] ^
      t3[bytes[at + 4]] ^ t2[bytes[at + 5]] ^ t1[bytes[at + 6]] ^ t0[bytes[at + 7]];
  }
  for (; at < end; at += 1) remainder = (remainder >>> 8) ^ t0[(remainder ^ bytes[at]) & 0xff];
  return (remainder ^ 0xffffffff) >>> 0;
}
