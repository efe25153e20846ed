import { type KernelSettings, KernelSpace, structure } from './kernel.js';
import type { Drive, MultiplyKey, TileCells } from './macro.js';

const blockLines = 16;
/** Codes of a row in a block, or variances. */
export const rowBytes = blockLines * 4;
/** Four gains in double, four offsets in int32. */
const fourLinesBytes = 4 * 8 + 4 * 4;
/** The gain's 20 fractional bits. */
const gainUnit = 2 ** -20;

export const tileStructure = structure(['matrix', 'varianceBytes', 'blockBytes', 'rowCount', 'lineCount', 'number', 'lines'], []);
export const driveStructure = structure(['rows', 'count', 'position', 'plane', 'codes', 'shift', 'saturations'], ['sumOfCodes']);

/** Where the kernel has a line: vector j, lane i of a block of 16 is line 4i + j. */
export const slotOf = (line: number) => (line & ~15) | ((line & 3) << 2) | ((line >> 2) & 3);

export const slotCountOf = (lineCount: number) => Math.ceil(lineCount / blockLines) * blockLines;

/** Copies a tile into the kernel's memory. @returns the address of its structure */
export function placeTile(space: KernelSpace, settings: KernelSettings, cells: TileCells, range: number, at: number, number: number): void {
  const { lineCount, codes, squares } = cells;
  const rowCount = codes.length / lineCount;
  const varianceWords = blockLines * rowCount;
  const blockWords = settings.noiseScale > 0 ? 2 * varianceWords : varianceWords;
  const blockCount = slotCountOf(lineCount) / blockLines;
  const matrix = space.take(blockCount * blockWords * 4);
  const words = space.integers(matrix, blockCount * blockWords);
  for (let line = 0; line < lineCount; line += 1) {
    const slot = slotOf(line);
    let word = (slot >> 4) * blockWords + (slot & 15);
    for (let cell = line; cell < codes.length; cell += lineCount, word += blockLines) {
      words[word] = codes[cell];
      if (blockWords > varianceWords) words[word + varianceWords] = squares[cell];
    }
  }
  space.write(at, tileStructure, {
    matrix, varianceBytes: varianceWords * 4, blockBytes: blockWords * 4, rowCount, lineCount, number, lines: placeLines(space, settings, cells, range),
  });
}

/** Of each four slots their gains, then their offsets. */
function placeLines(space: KernelSpace, { isExact }: KernelSettings, { lineCount, gainsQ20, offsets }: TileCells, range: number): number {
  const fours = slotCountOf(lineCount) / 4;
  const at = space.take(fours * fourLinesBytes);
  const gains = space.doubles(at, (fours * fourLinesBytes) / 8);
  const codes = space.integers(at, (fours * fourLinesBytes) / 4);
  for (let line = 0; line < lineCount; line += 1) {
    const slot = slotOf(line);
    const four = (slot >> 2) * fourLinesBytes;
    gains[four / 8 + (slot & 3)] = isExact ? 1 : gainsQ20[range * lineCount + line] * gainUnit;
    codes[four / 4 + 8 + (slot & 3)] = isExact ? 0 : offsets[range * lineCount + line];
  }
  return at;
}

/** Drives that one call takes, as many as the kernel has sums for: their cells come from memory once, and what they share is added up once. */
export const batchDrives = 128;

/** A tile in a kernel, for multiplies from outside of a network. */
export class KernelTile {
  private readonly space: KernelSpace;
  private readonly tile: number;
  private readonly drives: number;
  private readonly rows: number;
  private readonly codes: number;
  private readonly rowCount: number;
  private readonly slotCount: number;

  constructor(program: WebAssembly.Module, settings: KernelSettings, private readonly cells: TileCells, range: number) {
    this.space = new KernelSpace(program, settings);
    this.tile = this.space.take(tileStructure.sizeBytes);
    placeTile(this.space, settings, cells, range, this.tile, 0);
    this.rowCount = cells.codes.length / cells.lineCount;
    this.slotCount = slotCountOf(cells.lineCount);
    this.drives = this.space.take(batchDrives * driveStructure.sizeBytes);
    this.rows = this.space.take(batchDrives * this.rowCount * 4);
    this.codes = this.space.take(batchDrives * this.slotCount * 4);
    for (let index = 0; index < batchDrives; index += 1) {
      const places = { rows: this.rows + index * this.rowCount * 4, codes: this.codes + index * this.slotCount * 4 };
      this.space.write(this.drives + index * driveStructure.sizeBytes, driveStructure, places);
    }
  }

  /**
   * Multiplies drive after drive. Codes go to `out`, drive by drive and line by line.
   * @param booked is told the sum of the codes of the driven cells of each drive, in turn
   * @returns how many conversions saturated
   */
  multiply(drives: readonly Drive[], key: MultiplyKey, out: Int32Array, booked: (sumOfCodes: number) => void): number {
    let saturations = 0;
    this.space.write(this.tile, tileStructure, { number: key.tile });
    for (let first = 0; first < drives.length; first += batchDrives) {
      const batch = drives.slice(first, first + batchDrives);
      saturations += this.multiplyBatch(batch, key, out.subarray(first * this.cells.lineCount), booked);
    }
    return saturations;
  }

  private multiplyBatch(drives: readonly Drive[], key: MultiplyKey, out: Int32Array, booked: (sumOfCodes: number) => void): number {
    const { space, slotCount, cells: { lineCount } } = this;
    this.feed(drives);
    space.functions.multiply(this.tile, key.inferenceNumber, key.timestep, this.drives, drives.length);
    const codes = space.integers(this.codes, drives.length * slotCount);
    const view = new DataView(codes.buffer, this.drives);
    let saturations = 0;
    for (let index = 0, at = 0; index < drives.length; index += 1, at += driveStructure.sizeBytes) {
      out.set(codes.subarray(index * slotCount, index * slotCount + lineCount), index * lineCount);
      saturations += view.getInt32(at + driveStructure.offsets.saturations, true);
      booked(view.getFloat64(at + driveStructure.offsets.sumOfCodes, true));
    }
    return saturations;
  }

  private feed(drives: readonly Drive[]): void {
    const { offsets, sizeBytes } = driveStructure;
    const places = this.space.integers(this.rows, drives.length * this.rowCount);
    const view = new DataView(places.buffer, this.drives);
    for (let index = 0, at = 0; index < drives.length; index += 1, at += sizeBytes) {
      const { rows, rowCount, position, plane } = drives[index];
      places.set(rows.subarray(0, rowCount), index * this.rowCount);
      view.setInt32(at + offsets.count, rowCount, true);
      view.setInt32(at + offsets.position, position, true);
      view.setInt32(at + offsets.plane, plane, true);
    }
  }
}
