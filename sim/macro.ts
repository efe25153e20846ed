import { sourceLineCount } from '../firmware-protocol/limits.js';
import { type Conversion, convert, GaussianStream, gainOf, shiftRounded } from '../firmware-protocol/numerics/index.js';
import { type Chip, noiseStream, topCode } from './chip.js';
import { EffectiveArray } from './effective-array.js';
import type { Profile } from './profile.js';

/** Squares of cell codes are kept in units of 2^12, so that the sum over 512 cells fits 32 bits. */
const squareBits = 12;
/** Fractional bits of the variance factor. */
const varianceFactorBits = 8;

/** Tiles that are kept, the longest unused goes first: a few networks of eight layers. */
const tileLimit = 64;

/** A block of cells that is multiplied at once: some bit lines by a list of source lines. */
export interface TileLines {
  readonly firstBitLine: number;
  readonly bitLineCount: number;
  /** Their order is the order of the codes and part of the noise's key. */
  readonly sourceLines: readonly number[];
}

/** The cells of a tile, row by row (bit line), as the inner loop wants them. */
export interface TileCells {
  readonly lineCount: number;
  readonly codes: Int32Array;
  readonly squares: Int32Array;
}

/** Names one binary multiply, so that its noise is its own whatever order multiplies come in. */
export interface MultiplyKey {
  readonly inferenceNumber: number;
  readonly timestep: number;
  readonly tile: number;
}

export interface Range {
  readonly name: string;
  readonly stepNumeratorNanosiemens: number;
  readonly stepDenominator: number;
}

const microToNano = (microsiemens: number) => Math.round(microsiemens * 1000);

/** Ranges of the converter, in the order in which requests name them. */
export function rangesOf(profile: Profile): readonly Range[] {
  if (profile.converterBits === 32) {
    return ['multiply', 'cell'].map((name) => ({ name, stepNumeratorNanosiemens: profile.cellUnitNanosiemens, stepDenominator: 1 }));
  }
  const stepDenominator = 2 ** profile.converterBits;
  return [
    { name: 'multiply', stepNumeratorNanosiemens: microToNano(profile.multiplyFullScaleMicrosiemens), stepDenominator },
    { name: 'cell', stepNumeratorNanosiemens: microToNano(profile.cellFullScaleMicrosiemens), stepDenominator },
  ];
}

/** The array with its converters: binary multiplies and cell reads, with their duration, energy and saturations. */
export class Macro {
  readonly ranges: readonly Range[];
  conversions = 0;
  saturations = 0;
  /** Of the operation under way, which sets it to 0: the sum of many operations would leave the integers that a double holds. */
  energyFemtojoules = 0;

  private readonly effective: EffectiveArray;
  private readonly tiles = new Map<string, TileCells>();
  private tilesEpoch = -1;
  private readonly conversionOf: readonly Conversion[];
  private readonly isExact: boolean;
  private readonly varianceFactor: number;
  private readonly multiplyNoise: GaussianStream;
  private readonly readNoise: GaussianStream;
  private readonly energyScale: { multiplier: number; shift: number };
  private readonly sums = new Int32Array(sourceLineCount);
  private readonly variances = new Int32Array(sourceLineCount);
  private readonly deviates = new Int32Array(sourceLineCount + 4);

  constructor(readonly chip: Chip) {
    const { profile } = chip;
    this.effective = new EffectiveArray(chip);
    this.isExact = profile.converterBits === 32;
    this.ranges = rangesOf(profile);
    this.conversionOf = this.ranges.map(({ stepNumeratorNanosiemens, stepDenominator }) => ({
      gainQ20: gainOf(profile.cellUnitNanosiemens, stepNumeratorNanosiemens, stepDenominator),
      offset: 0,
      minimumCode: 0,
      maximumCode: this.isExact ? 2 ** 31 - 1 : 2 ** profile.converterBits - 1,
    }));
    // σ in 1/256 unit is sqrt(Σ g² · (256 r)²); the squares are in units of 2^12, the factor has 8 fractional bits that the root leaves as 4.
    this.varianceFactor = Math.round((16 * profile.readNoiseFraction) ** 2 * 2 ** squareBits * 2 ** varianceFactorBits);
    this.multiplyNoise = new GaussianStream({ seed: chip.seed, stream: noiseStream.multiply });
    this.readNoise = new GaussianStream({ seed: chip.seed, stream: noiseStream.read });
    this.energyScale = lineEnergyScale(profile);
  }

  /** Operation time since the chip was made; it lives with the chip. */
  get operationNanoseconds(): number {
    return this.chip.operationNanoseconds;
  }

  set operationNanoseconds(nanoseconds: number) {
    this.chip.operationNanoseconds = nanoseconds;
  }

  get isNoisy(): boolean {
    return this.varianceFactor > 0;
  }

  /** The cells of a tile, copied out of the array and kept until an operation changes it. */
  tile(lines: TileLines): TileCells {
    if (this.tilesEpoch !== this.chip.arrayEpoch) this.tiles.clear();
    this.tilesEpoch = this.chip.arrayEpoch;
    const name = `${lines.firstBitLine}+${lines.bitLineCount}:${lines.sourceLines.join()}`;
    const known = this.tiles.get(name) ?? this.copyTile(lines);
    this.tiles.delete(name);
    this.tiles.set(name, known);
    for (const oldest of this.tiles.keys()) {
      if (this.tiles.size <= tileLimit) break;
      this.tiles.delete(oldest);
    }
    return known;
  }

  private copyTile({ firstBitLine, bitLineCount, sourceLines }: TileLines): TileCells {
    const lineCount = sourceLines.length;
    const codes = new Int32Array(bitLineCount * lineCount);
    const squares = new Int32Array(this.isNoisy ? codes.length : 0);
    for (let row = 0, at = 0; row < bitLineCount; row += 1) {
      const first = (firstBitLine + row) * sourceLineCount;
      for (let line = 0; line < lineCount; line += 1, at += 1) {
        const code = this.effective.code(first + sourceLines[line]);
        codes[at] = code;
        if (this.isNoisy) squares[at] = shiftRounded(code * code, squareBits);
      }
    }
    return { lineCount, codes, squares };
  }

  /**
   * Drives some bit lines of a tile, grounds the others, and converts every source line of it.
   *
   * @param rows indices of the driven bit lines within the tile, of which the first `rowCount` count
   * @param out one ADC code a source line, overwritten
   * @returns how many conversions saturated
   */
  multiply(cells: TileCells, rows: Int32Array, rowCount: number, range: number, key: MultiplyKey, position: number, plane: number, out: Int32Array): number {
    const { lineCount } = cells;
    this.addRows(cells, rows, rowCount);
    let total = 0;
    for (let line = 0; line < lineCount; line += 1) total += this.sums[line];
    this.account(lineCount, total);
    if (this.isExact && !this.isNoisy) {
      for (let line = 0; line < lineCount; line += 1) out[line] = this.sums[line];
      return 0;
    }
    if (this.isNoisy) {
      const where = key.timestep * 2 ** 16 + key.tile * 2 ** 8 + plane;
      for (let line = 0; line < lineCount; line += 4) this.multiplyNoise.four(key.inferenceNumber, where, position, line >> 2, this.deviates, line);
    }
    return this.convertLines(lineCount, this.conversionOf[range], out);
  }

  private addRows(cells: TileCells, rows: Int32Array, rowCount: number): void {
    const { lineCount, codes, squares } = cells;
    const { sums, variances } = this;
    sumRows(codes, lineCount, rows, rowCount, sums);
    if (this.isNoisy) sumRows(squares, lineCount, rows, rowCount, variances);
  }

  private convertLines(lineCount: number, conversion: Conversion, out: Int32Array): number {
    const { sums, variances, deviates, varianceFactor } = this;
    const { minimumCode, maximumCode } = conversion;
    let saturated = 0;
    for (let line = 0; line < lineCount; line += 1) {
      const noise = varianceFactor === 0 ? 0 : shiftRounded(Math.floor(Math.sqrt(variances[line] * varianceFactor)) * deviates[line], 15);
      let code = convert(sums[line], noise, conversion);
      if (code > maximumCode) {
        code = maximumCode;
        saturated += 1;
      } else if (code < minimumCode) {
        code = minimumCode;
      }
      out[line] = code;
    }
    this.saturations += saturated;
    return saturated;
  }

  /** Books what one drive of a tile takes: settling, conversions in groups of parallel converters, and charge through the cells. */
  private account(lineCount: number, sumOfCodes: number): void {
    const { settlingNanoseconds, conversionNanoseconds, parallelConverters, conversionEnergyFemtojoules } = this.chip.profile;
    this.conversions += lineCount;
    this.operationNanoseconds += settlingNanoseconds + Math.ceil(lineCount / parallelConverters) * conversionNanoseconds;
    this.energyFemtojoules += lineCount * conversionEnergyFemtojoules + shiftRounded(sumOfCodes * this.energyScale.multiplier, this.energyScale.shift);
  }

  /**
   * Reads cells one by one, `averages` times each, and averages. A cell that saturates reads as the top code.
   * @returns cell codes, bit line by bit line
   */
  readCells(
    region: { firstBitLine: number; bitLines: number; firstSourceLine: number; sourceLines: number }, averages: number,
  ): { codes: Uint16Array; saturatedCells: number } {
    const codes = new Uint16Array(region.bitLines * region.sourceLines);
    const deviates = new Int32Array(4);
    const conversion = this.conversionOf[1];
    let saturatedCells = 0;
    this.chip.operationCount += 1;
    for (let index = 0; index < codes.length; index += 1) {
      const line = index % region.sourceLines;
      const cell = (region.firstBitLine + (index - line) / region.sourceLines) * sourceLineCount + region.firstSourceLine + line;
      const read = this.readCell(cell, averages, conversion, deviates);
      if (read === topCode) saturatedCells += 1;
      codes[index] = read;
      this.account(averages, this.effective.code(cell) * averages);
    }
    return { codes, saturatedCells };
  }

  private readCell(cell: number, averages: number, conversion: Conversion, deviates: Int32Array): number {
    const code = this.effective.code(cell);
    if (code === topCode) return topCode;
    const sigma = Math.floor(Math.sqrt(shiftRounded(code * code, squareBits) * this.varianceFactor));
    let total = 0;
    for (let average = 0; average < averages; average += 1) {
      if (this.isNoisy && (average & 3) === 0) this.readNoise.four(this.chip.operationCount, cell, average >> 2, 0, deviates, 0);
      const noise = this.isNoisy ? shiftRounded(sigma * deviates[average & 3], 15) : 0;
      const converted = convert(code, noise, conversion);
      if (converted >= conversion.maximumCode) return topCode;
      total += Math.max(conversion.minimumCode, converted);
    }
    return this.cellCodeOf(total / averages);
  }

  /** A mean ADC code of the cell range as a cell code. */
  private cellCodeOf(adcCode: number): number {
    const { stepNumeratorNanosiemens, stepDenominator } = this.ranges[1];
    const code = Math.round((adcCode * stepNumeratorNanosiemens) / (stepDenominator * this.chip.profile.cellUnitNanosiemens));
    return Math.min(topCode - 1, code);
  }
}

/** Adds rows of a matrix, four at a time so that the sums are loaded and stored once for four; integers, so the order does not matter. */
function sumRows(matrix: Int32Array, lineCount: number, rows: Int32Array, rowCount: number, sums: Int32Array): void {
  sums.fill(0, 0, lineCount);
  let index = 0;
  for (; index + 4 <= rowCount; index += 4) {
    const first = rows[index] * lineCount;
    const second = rows[index + 1] * lineCount;
    const third = rows[index + 2] * lineCount;
    const fourth = rows[index + 3] * lineCount;
    for (let line = 0; line < lineCount; line += 1) {
      sums[line] += matrix[first + line] + matrix[second + line] + matrix[third + line] + matrix[fourth + line];
    }
  }
  for (; index < rowCount; index += 1) {
    const first = rows[index] * lineCount;
    for (let line = 0; line < lineCount; line += 1) sums[line] += matrix[first + line];
  }
}

/** Energy in the cells per unit of the summed codes of one drive, in femtojoules: unit · V² · conversion time. */
function lineEnergyScale(profile: Profile): { multiplier: number; shift: number } {
  const volts = profile.readVoltageMillivolts / 1000;
  const femtojoules = profile.cellUnitNanosiemens * volts ** 2 * (profile.settlingNanoseconds + profile.conversionNanoseconds) * 1e-3;
  const shift = 16;
  return { multiplier: Math.round(femtojoules * 2 ** shift), shift };
}
