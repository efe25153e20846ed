import { cellCount } from '../../firmware-protocol/limits.js';
import { topCode } from '../network/snapshot.js';
import { addCell, type CellBitmap, noCells } from './cell-bitmap.js';

const windowBytes = 4;

/** Between which codes cells shall read, as `ProgramCells` takes them: two u16 a cell, lowest and highest; 65535 and 0 where it is not selected. */
export class CellWindows {
  readonly bytes = new Uint8Array(cellCount * windowBytes);
  readonly cells: CellBitmap = noCells();
  readonly #view = new DataView(this.bytes.buffer);

  constructor() {
    for (let cell = 0; cell < cellCount; cell += 1) this.#view.setUint16(cell * windowBytes, topCode, true);
  }

  /** The top code means "at or above", so that no window reaches it. */
  select(cell: number, lowestCode: number, highestCode: number): void {
    const highest = Math.min(highestCode, topCode - 1);
    this.#view.setUint16(cell * windowBytes, Math.min(lowestCode, highest), true);
    this.#view.setUint16(cell * windowBytes + 2, highest, true);
    addCell(this.cells, cell);
  }
}
