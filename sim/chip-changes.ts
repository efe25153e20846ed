/** One value a cell, or one a line. */
export type Values = Uint8Array | Uint16Array | Uint32Array | Float64Array;

const numberBytes = 4;

export const bytesOf = ({ buffer, byteOffset, byteLength }: Values): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** A record is the number of a cell, and behind it what each array holds of it. */
function layOut(values: readonly Values[]) {
  const columns = values.map((array) => ({ own: bytesOf(array), size: array.BYTES_PER_ELEMENT }));
  const recordBytes = columns.reduce((sum, { size }) => sum + size, numberBytes);
  return { columns, recordBytes };
}

/** What is known of some cells, record by record, numbers little-endian. */
export function encodeCells(values: readonly Values[], cells: ReadonlySet<number>): Uint8Array {
  const { columns, recordBytes } = layOut(values);
  const bytes = new Uint8Array(recordBytes * cells.size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const cell of cells) {
    view.setUint32(at, cell, true);
    at += numberBytes;
    for (const { own, size } of columns) for (let from = cell * size; from < (cell + 1) * size; from += 1, at += 1) bytes[at] = own[from];
  }
  return bytes;
}

/** Puts back what `encodeCells` has made. */
export function applyCells(values: readonly Values[], bytes: Uint8Array): void {
  const { columns } = layOut(values);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; ) {
    const cell = view.getUint32(at, true);
    at += numberBytes;
    for (const { own, size } of columns) for (let to = cell * size; to < (cell + 1) * size; to += 1, at += 1) own[to] = bytes[at];
  }
}
