/** One value a cell, one a line, or one a line and step of voltage. */
export type Values = Uint8Array | Uint16Array | Uint32Array | Float64Array;

const numberBytes = 4;

export const bytesOf = ({ buffer, byteOffset, byteLength }: Values): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** A record is the number of a cell, or of another place in the arrays, and behind it what each array holds there. */
function layOut(values: readonly Values[]) {
  const columns = values.map((array) => ({ own: bytesOf(array), size: array.BYTES_PER_ELEMENT }));
  const recordBytes = columns.reduce((sum, { size }) => sum + size, numberBytes);
  return { columns, recordBytes };
}

/** What arrays hold at some places: how many those are, then record by record, numbers little-endian. */
export function encodePlaces(values: readonly Values[], places: ReadonlySet<number>): Uint8Array {
  const { columns, recordBytes } = layOut(values);
  const bytes = new Uint8Array(numberBytes + recordBytes * places.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, places.size, true);
  let at = numberBytes;
  for (const place of places) {
    view.setUint32(at, place, true);
    at += numberBytes;
    for (const { own, size } of columns) for (let from = place * size; from < (place + 1) * size; from += 1, at += 1) bytes[at] = own[from];
  }
  return bytes;
}

/** Puts back what `encodePlaces` has made. @returns the bytes behind it */
export function applyPlaces(values: readonly Values[], bytes: Uint8Array): Uint8Array {
  const { columns, recordBytes } = layOut(values);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = numberBytes + recordBytes * view.getUint32(0, true);
  for (let at = numberBytes; at < end; ) {
    const place = view.getUint32(at, true);
    at += numberBytes;
    for (const { own, size } of columns) for (let to = place * size; to < (place + 1) * size; to += 1, at += 1) own[to] = bytes[at];
  }
  return bytes.subarray(end);
}
