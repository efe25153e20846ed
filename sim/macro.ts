import { sourceLineCount } from '../firmware-protocol/limits.js';
import { convert, GaussianStream, shiftRounded } from '../firmware-protocol/numerics/index.js';
import type { Pulse } from '../proto/message.js';
import { noiseStream } from './chance.js';
import { type Chip, topCode } from './chip.js';
import { ConductionLaw } from './conduction.js';
import { Converters, type Range } from './converters.js';
import { type CellCurrent, CurrentMeter } from './current-meter.js';
import { EffectiveArray } from './effective-array.js';
import { KernelNetwork, kernelHolds } from './kernel-network.js';
import { KernelTile } from './kernel-tile.js';
import type { RunProgram } from './network-run.js';
import type { Profile } from './profile.js';
import { ReadNoise } from './read-noise.js';

/** Range of the converters in which single cells are read. */
const cellRange = 1;

/** Tiles that are kept, the longest unused goes first: a few networks of eight layers. */
const tileLimit = 64;
/** Networks that are kept in a kernel: as many as a board holds programs. */
const networkLimit = 4;

/** A block of cells that is multiplied at once: some bit lines by a list of source lines. */
export interface TileLines {
  readonly firstBitLine: number;
  readonly bitLineCount: number;
  /** Their order is the order of the codes and part of the noise's key. */
  readonly sourceLines: readonly number[];
}

/** The cells of a tile, row by row (bit line), as the inner loop wants them, and the converters of its lines. */
export interface TileCells {
  readonly firstBitLine: number;
  readonly lineCount: number;
  readonly codes: Int32Array;
  /** Variance of each cell's read noise in units of 2^12; empty where there is no noise. */
  readonly squares: Int32Array;
  /** Gain of each line's conversion, 2^20 is one code a unit of the sum: all lines in the first range, then all in the second. */
  readonly gainsQ20: Int32Array;
  /** ADC codes that each line reads for no current, in the same order. */
  readonly offsets: Int32Array;
}

/** One binary multiply: which bit lines of a tile are driven, and where the noise belongs. */
export interface Drive {
  /** Indices within the tile, each once, of which the first `rowCount` count. */
  readonly rows: Int32Array;
  readonly rowCount: number;
  readonly position: number;
  readonly plane: number;
}

/** Names one binary multiply, so that its noise is its own whatever order multiplies come in. */
export interface MultiplyKey {
  readonly inferenceNumber: number;
  readonly timestep: number;
  readonly tile: number;
}

/** Femtojoules a unit of the summed codes: multiplier / 2^shift. */
export interface EnergyScale {
  readonly multiplier: number;
  readonly shift: number;
}

/** The array with its converters: binary multiplies and cell reads, with their duration, energy and saturations. */
export class Macro {
  readonly converters: Converters;
  conversions = 0;
  saturations = 0;
  /** Of the operation under way, which sets it to 0: the sum of many operations would leave the integers that a double holds. */
  energyFemtojoules = 0;

  private readonly effective: EffectiveArray;
  private readonly conduction: ConductionLaw;
  readonly currentMeter: CurrentMeter;
  private readonly tiles = new Map<string, TileCells>();
  private tilesState = '';
  private readonly noise: ReadNoise;
  private readonly multiplyDraws: GaussianStream;
  private readonly readDraws: GaussianStream;
  private readonly energyScale: EnergyScale;
  private kernelTiles = new WeakMap<TileCells, Map<number, KernelTile>>();
  private readonly kernelNetworks = new Map<RunProgram, KernelNetwork>();
  private networksState = '';
  /** Networks with drives of bit lines that are not booked yet. */
  private readonly drivingNetworks = new Set<KernelNetwork>();
  private readonly sums = new Int32Array(sourceLineCount);
  private readonly variances = new Int32Array(sourceLineCount);
  private readonly deviates = new Int32Array(sourceLineCount + 4);

  /** @param kernel kernel.as.ts compiled, for speed; without it the same arithmetic runs in TypeScript */
  constructor(readonly chip: Chip, private readonly kernel?: WebAssembly.Module) {
    const { profile } = chip;
    this.effective = new EffectiveArray(chip);
    this.conduction = new ConductionLaw(profile);
    this.converters = new Converters(profile, chip.seed);
    this.noise = new ReadNoise(profile);
    this.multiplyDraws = new GaussianStream({ seed: chip.seed, stream: noiseStream.multiply });
    this.readDraws = new GaussianStream({ seed: chip.seed, stream: noiseStream.read });
    this.currentMeter = new CurrentMeter(chip, this.converters, this.conduction, this.noise, this.readDraws);
    this.energyScale = lineEnergyScale(profile);
  }

  /** Operation time since the chip was made; it lives with the chip. */
  get operationNanoseconds(): number {
    return this.chip.operationNanoseconds;
  }

  set operationNanoseconds(nanoseconds: number) {
    this.chip.operationNanoseconds = nanoseconds;
  }

  get ranges(): readonly Range[] {
    return this.converters.ranges;
  }

  get isNoisy(): boolean {
    return this.noise.isOn;
  }

  /** To be gone through before an operation asks for many cells, where the resistance of lines counts. @param sourceLines that it will read */
  preparing(sourceLines: Iterable<number>): Generator<undefined, void> {
    return this.effective.preparing(sourceLines);
  }

  /** The cells of a tile, copied out of the array and kept until an operation changes it. */
  tile(lines: TileLines): TileCells {
    const { stateName } = this.chip;
    if (this.tilesState !== stateName) this.tiles.clear();
    this.tilesState = stateName;
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
    this.settleDrives();
    this.effective.settle();
    const lineCount = sourceLines.length;
    const codes = new Int32Array(bitLineCount * lineCount);
    const squares = new Int32Array(this.isNoisy ? codes.length : 0);
    for (let row = 0, at = 0; row < bitLineCount; row += 1) {
      const first = (firstBitLine + row) * sourceLineCount;
      for (let line = 0; line < lineCount; line += 1, at += 1) {
        const cell = first + sourceLines[line];
        const code = this.effective.code(cell);
        codes[at] = code;
        if (this.isNoisy) squares[at] = this.chip.noiseSquare(cell, code);
      }
    }
    const conversions = this.ranges.flatMap((_, range) => sourceLines.map((line) => this.converters.of(range, line)));
    const gainsQ20 = Int32Array.from(conversions, ({ gainQ20 }) => gainQ20);
    return { firstBitLine, lineCount, codes, squares, gainsQ20, offsets: Int32Array.from(conversions, ({ offset }) => offset) };
  }

  /**
   * A network in the kernel with the cells as they are; kept until an operation changes the array.
   * @returns undefined where there is no kernel, or the program is outside of what it holds
   */
  kernelNetwork(program: RunProgram): KernelNetwork | undefined {
    const { kernel, kernelNetworks: networks, chip, energyScale } = this;
    if (kernel === undefined || !kernelHolds(program)) return undefined;
    const { stateName } = chip;
    if (this.networksState !== stateName) networks.clear();
    this.networksState = stateName;
    const tile = (lines: TileLines) => this.tile(lines);
    const known = networks.get(program)
      ?? new KernelNetwork(program, { program: kernel, settings: this.kernelSettings, energyScale, tile });
    networks.delete(program);
    networks.set(program, known);
    for (const oldest of networks.keys()) {
      if (networks.size <= networkLimit) break;
      networks.delete(oldest);
    }
    return known;
  }

  /** Books how long networks in the kernel, which only count, have driven bit lines. Called before anything hangs on `drivenNanoseconds`. */
  settleDrives(): void {
    for (const network of this.drivingNetworks) {
      network.takeDrives((bitLine, drives, lineCount) => {
        this.chip.drivenNanoseconds[bitLine] += drives * this.driveNanoseconds(lineCount);
      });
    }
    this.drivingNetworks.clear();
  }

  /** Called before the first pulse of an operation. */
  beginPulses(): void {
    this.settleDrives();
    this.chip.beginOperation();
  }

  /** Notes that a network in the kernel has driven bit lines. */
  noteDrives(network: KernelNetwork): void {
    this.drivingNetworks.add(network);
    if (network.isFullOfDrives) this.settleDrives();
  }

  private driveRows({ firstBitLine, lineCount }: TileCells, rows: Int32Array, rowCount: number): void {
    const nanoseconds = this.driveNanoseconds(lineCount);
    const { drivenNanoseconds } = this.chip;
    for (let row = 0; row < rowCount; row += 1) drivenNanoseconds[firstBitLine + rows[row]] += nanoseconds;
  }

  private get kernelSettings() {
    const { minimumCode, maximumCode, isExact } = this.converters;
    return { chip: this.chip, noiseScale: this.noise.scale, minimumCode, maximumCode, isExact: isExact && !this.isNoisy };
  }

  private kernelTile(kernel: WebAssembly.Module, cells: TileCells, range: number): KernelTile {
    const ranges = this.kernelTiles.get(cells) ?? new Map<number, KernelTile>();
    const known = ranges.get(range) ?? new KernelTile(kernel, this.kernelSettings, cells, range);
    this.kernelTiles.set(cells, ranges.set(range, known));
    return known;
  }

  /**
   * Several multiplies of one tile, as if one after the other.
   * @param out ADC codes, drive by drive, one a source line, overwritten
   * @returns how many conversions saturated
   */
  multiplyAll(cells: TileCells, drives: readonly Drive[], range: number, key: MultiplyKey, out: Int32Array): number {
    const { kernel } = this;
    if (kernel !== undefined) {
      const saturated = this.kernelTile(kernel, cells, range).multiply(drives, key, out, (sumOfCodes) => this.account(cells.lineCount, sumOfCodes));
      this.saturations += saturated;
      for (const { rows, rowCount } of drives) this.driveRows(cells, rows, rowCount);
      return saturated;
    }
    return drives.reduce((saturated, { rows, rowCount, position, plane }, index) => {
      const codes = out.subarray(index * cells.lineCount, (index + 1) * cells.lineCount);
      return saturated + this.multiplyHere(cells, rows, rowCount, range, key, position, plane, codes);
    }, 0);
  }

  /**
   * Drives some bit lines of a tile, grounds the others, and converts every source line of it.
   *
   * @param rows indices of the driven bit lines within the tile, of which the first `rowCount` count
   * @param out one ADC code a source line, overwritten
   * @returns how many conversions saturated
   */
  multiply(cells: TileCells, rows: Int32Array, rowCount: number, range: number, key: MultiplyKey, position: number, plane: number, out: Int32Array): number {
    if (this.kernel !== undefined) return this.multiplyAll(cells, [{ rows, rowCount, position, plane }], range, key, out);
    return this.multiplyHere(cells, rows, rowCount, range, key, position, plane, out);
  }

  private multiplyHere(
    cells: TileCells, rows: Int32Array, rowCount: number, range: number, key: MultiplyKey, position: number, plane: number, out: Int32Array,
  ): number {
    const { lineCount } = cells;
    this.addRows(cells, rows, rowCount);
    let total = 0;
    for (let line = 0; line < lineCount; line += 1) total += this.sums[line];
    this.account(lineCount, total);
    this.driveRows(cells, rows, rowCount);
    if (this.converters.isExact && !this.isNoisy) {
      for (let line = 0; line < lineCount; line += 1) out[line] = this.sums[line];
      return 0;
    }
    if (this.isNoisy) {
      const where = key.timestep * 2 ** 16 + key.tile * 2 ** 8 + plane;
      for (let line = 0; line < lineCount; line += 4) this.multiplyDraws.four(key.inferenceNumber, where, position, line >> 2, this.deviates, line);
    }
    return this.convertLines(cells, range, out);
  }

  private addRows(cells: TileCells, rows: Int32Array, rowCount: number): void {
    const { lineCount, codes, squares } = cells;
    const { sums, variances } = this;
    sumRows(codes, lineCount, rows, rowCount, sums);
    if (this.isNoisy) sumRows(squares, lineCount, rows, rowCount, variances);
  }

  private convertLines({ lineCount, gainsQ20, offsets }: TileCells, range: number, out: Int32Array): number {
    const { sums, variances, deviates, noise } = this;
    const { minimumCode, maximumCode } = this.converters;
    let saturated = 0;
    for (let line = 0; line < lineCount; line += 1) {
      const noise256 = noise.isOn ? noise.ofSum(variances[line], deviates[line]) : 0;
      const at = range * lineCount + line;
      let code = convert(sums[line], noise256, gainsQ20[at], offsets[at]);
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

  /** Time of one drive of a tile: settling, and conversions in groups of parallel converters. */
  private driveNanoseconds(lineCount: number): number {
    const { settlingNanoseconds, conversionNanoseconds, parallelConverters } = this.chip.profile;
    return settlingNanoseconds + Math.ceil(lineCount / parallelConverters) * conversionNanoseconds;
  }

  /** Books drives of a tile whose charge is booked already. */
  accountDrives(lineCount: number, drives: number): void {
    this.conversions += drives * lineCount;
    this.operationNanoseconds += drives * this.driveNanoseconds(lineCount);
  }

  /** Books what one drive of a tile takes: its time, its conversions, and charge through the cells. */
  private account(lineCount: number, sumOfCodes: number): void {
    const { conversionEnergyFemtojoules } = this.chip.profile;
    this.accountDrives(lineCount, 1);
    this.energyFemtojoules += lineCount * conversionEnergyFemtojoules + shiftRounded(sumOfCodes * this.energyScale.multiplier, this.energyScale.shift);
  }

  /**
   * Books what a pulse takes: its width, and one settling time of the word line, half of it before and half after (the line is never switched while
   * the gates are open), the time of its bit line under its voltage, and the charge through the cell, which the compliance limits.
   */
  accountPulse(cell: number, pulse: Pulse): void {
    const { amplitudeMillivolts, widthNanoseconds } = pulse;
    const microsiemens = this.chip.microsiemens(cell);
    this.chip.drivePulse(cell, pulse);
    this.operationNanoseconds += widthNanoseconds + this.chip.profile.settlingNanoseconds;
    // mV · µA · ns are 10^-18 J.
    this.energyFemtojoules += Math.round((amplitudeMillivolts * this.conduction.microamperes(microsiemens, pulse) * widthNanoseconds) / 1000);
  }

  /**
   * Reads cells one by one, `averages` times each, and averages. A cell that saturates reads as the top code.
   * @returns cell codes, bit line by bit line
   */
  readCells(
    region: { firstBitLine: number; bitLines: number; firstSourceLine: number; sourceLines: number }, averages: number,
  ): { codes: Uint16Array; saturatedCells: number } {
    const codes = new Uint16Array(region.bitLines * region.sourceLines);
    let saturatedCells = 0;
    this.chip.operationCount += 1;
    this.settleDrives();
    this.effective.settle();
    for (let index = 0; index < codes.length; index += 1) {
      const line = index % region.sourceLines;
      const cell = (region.firstBitLine + (index - line) / region.sourceLines) * sourceLineCount + region.firstSourceLine + line;
      codes[index] = this.readCell(cell, averages);
      if (codes[index] === topCode) saturatedCells += 1;
    }
    return { codes, saturatedCells };
  }

  /**
   * Reads one cell within the operation under way. Its noise is keyed by that operation's count, which whoever reads a cell twice has to raise.
   * @returns its cell code, the top code where it saturates
   */
  readCell(cell: number, averages: number): number {
    const { chip, deviates } = this;
    const { gainQ20, offset, minimumCode, maximumCode } = this.converters.of(cellRange, cell % sourceLineCount);
    const code = this.effective.code(cell);
    this.account(averages, code * averages);
    chip.drivenNanoseconds[Math.floor(cell / sourceLineCount)] += this.driveNanoseconds(averages);
    if (code === topCode) return topCode;
    const sigma = code > 0 ? this.noise.cellSigma(chip.noiseSquare(cell, code)) : 0;
    let total = 0;
    for (let average = 0; average < averages; average += 1) {
      if (sigma > 0 && (average & 3) === 0) this.readDraws.four(chip.operationCount, cell, average >> 2, 0, deviates, 0);
      const noise256 = sigma > 0 ? this.noise.ofCell(sigma, deviates[average & 3]) : 0;
      const converted = convert(code, noise256, gainQ20, offset);
      if (converted >= maximumCode) return topCode;
      total += Math.max(minimumCode, converted);
    }
    return this.cellCodeOf(total / averages);
  }

  /** Converts the current of one cell under the bias of a pulse. Its noise is keyed as that of `readCell`; its time is booked with the pulse. */
  readCurrent(cell: number, pulse: Pulse): CellCurrent {
    const current = this.currentMeter.read(cell, this.effective.code(cell), pulse);
    this.conversions += current.range + 1;
    this.energyFemtojoules += (current.range + 1) * this.chip.profile.conversionEnergyFemtojoules;
    return current;
  }

  /** A mean ADC code of the cell range as a cell code. */
  private cellCodeOf(adcCode: number): number {
    const { stepNumeratorNanosiemens, stepDenominator } = this.ranges[cellRange];
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
function lineEnergyScale(profile: Profile): EnergyScale {
  const volts = profile.readVoltageMillivolts / 1000;
  const femtojoules = profile.cellUnitNanosiemens * volts ** 2 * (profile.settlingNanoseconds + profile.conversionNanoseconds) * 1e-3;
  const shift = 16;
  return { multiplier: Math.round(femtojoules * 2 ** shift), shift };
}
