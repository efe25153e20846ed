import { cellCount } from '../../firmware-protocol/limits.js';

/** A set of cells, 1 bit a cell: bit line × 512 + source line, bit i of byte i>>3. What requests that pulse cells take. */
export type CellBitmap = Uint8Array;

export const noCells = (): CellBitmap => new Uint8Array(cellCount / 8);

export const hasCell = (bitmap: CellBitmap, cell: number): boolean => ((bitmap[cell >> 3] >> (cell & 7)) & 1) === 1;

export function addCell(bitmap: CellBitmap, cell: number): void {
  bitmap[cell >> 3] |= 1 << (cell & 7);
}

/** The cells of a set, in their order. */
export function* cellsOf(bitmap: CellBitmap): Generator<number> {
  for (let index = 0; index < bitmap.length; index += 1) {
    if (bitmap[index] === 0) continue;
    for (let cell = index * 8; cell < index * 8 + 8; cell += 1) if (hasCell(bitmap, cell)) yield cell;
  }
}

/** The cells of a set that pass. */
export function cellsWhere(bitmap: CellBitmap, passes: (cell: number) => boolean): CellBitmap {
  const passed = noCells();
  for (const cell of cellsOf(bitmap)) if (passes(cell)) addCell(passed, cell);
  return passed;
}

export function countCells(bitmap: CellBitmap): number {
  let count = 0;
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) count += 1;
  return count;
}
