import type { Scale } from '../firmware-protocol/numerics/index.js';
import { layerKinds, neuronKinds } from '../proto/message.js';
import { type KernelSettings, KernelSpace, structure } from './kernel.js';
import { batchDrives, driveStructure, placeTile, rowBytes, slotCountOf, slotOf, tileStructure } from './kernel-tile.js';
import type { EnergyScale, TileCells, TileLines } from './macro.js';
import type { LayerCounts, ProgramLayer, ProgramTile, RunProgram } from './network-run.js';

const layerStructure = structure(
  [
    'positionRows', 'positionColumns', 'positionRowBytes', 'positionColumnBytes', 'input', 'spanCount', 'spanLength', 'spanBytes', 'bits', 'bitRows',
    'bitRowBytes', 'rowCodes', 'stepRows', 'stepCodes', 'planeCounts', 'planesUsed', 'rowOffsets', 'rowTiles', 'tileCount', 'tiles', 'driveBits',
    'lineCount', 'drivenRows', 'drivenCounts', 'waiting', 'waitingBytes', 'waitingCounts', 'waitingOutputs', 'sums', 'sumsBytes', 'differences',
    'differenceBytes', 'pixelCodes', 'inputPairs', 'pairSums', 'pixelPairs', 'bandPairs', 'bandColumns', 'sumGrids', 'gridBytes', 'gridRowBytes',
    'gridOrigin', 'gridStepBytes', 'codeSums', 'tileSumsBytes', 'windowRows', 'slotOffsets', 'outputs', 'neuronStride', 'sumsOfOutputs', 'membranes',
    'spikes', 'threshold', 'leak', 'leakLow', 'leakHigh', 'slope', 'slopeLow', 'slopeHigh', 'saturates', 'currentMultiplier', 'poolSize', 'output',
    'outputRowBytes', 'outputPixelBytes', 'drives', 'saturations', 'spikeCount',
  ],
  ['currentFactor', 'driveFemtojoules', 'unitFemtojoules', 'energyFemtojoules'],
);

const codeSumsStructure = structure(['column', 'sums', 'sumsBytes'], []);

/** What a network takes from its macro, for one epoch of the array. */
export interface KernelMacro {
  readonly program: WebAssembly.Module;
  readonly settings: KernelSettings;
  readonly energyScale: EnergyScale;
  tile(lines: TileLines): TileCells;
}

/** Channels, height and width of what a layer is fed with. */
interface Shape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

const bytesPerCode = 2;
const doubleBytes = 8;
const pairBytes = 8;
/** Counts the rows of a tile in the fraction of their sum: up to 512 stay below 1. */
const rowUnit = 2 ** -16;
const planeLimit = 4;
const mostDriveCode = 2 ** planeLimit - 1;
/** Rows of a tile in one plane, and of all planes. */
const drivenRowsBytes = 512 * 4 * planeLimit;
/** Bits are read eight bytes at a time, and the place of no bit is past those of a word. */
const bitSlackBytes = 9;
const wordBits = 64;
const maximumInt16 = 2 ** 15 - 1;
const maximumInt32 = 2 ** 31 - 1;
/** Outputs are summed 16 at a time, the last 12 or fewer 12 at a time. */
function summedOutputs(outputs: number): number {
  const evened = (outputs + 15) & ~15;
  return evened - outputs < 4 ? evened : evened - 4;
}
/** A pixel is written with as many channels as were summed. */
const pixelSlackBytes = 16 * bytesPerCode;
const evenOf = (count: number) => (count + 1) & ~1;
const factorOf = ({ multiplier, shift }: Scale) => multiplier * 2 ** -shift;
/** A fraction with 20 fractional bits, as an integer. */
const twentyBitsOf = (fraction: Scale) => factorOf(fraction) * 2 ** 20;

const fractionFields = (name: 'leak' | 'slope', multiplier: number) =>
  ({ [name]: multiplier, [`${name}Low`]: multiplier % 2 ** 10, [`${name}High`]: 2 * Math.floor(multiplier / 2 ** 10) });

/** Whole factors multiply integers, where nothing is rounded. */
const currentFields = (factor: number) =>
  (Number.isInteger(factor) ? { currentMultiplier: factor, currentFactor: 1 } : { currentMultiplier: 1, currentFactor: factor });

const pooledShape = ({ outputChannels, outputHeight, outputWidth, poolSize }: ProgramLayer): Shape =>
  ({ channels: outputChannels, height: Math.floor(outputHeight / poolSize), width: Math.floor(outputWidth / poolSize) });

/** What the kernel's arithmetic and layout hold; the twin in TypeScript runs whatever else a program may ask for. */
function isHeld(layer: ProgramLayer, fed: Shape): boolean {
  const { neuron, current, driveBits } = layer;
  const isLinear = layer.kind === layerKinds.linear;
  const fits = isLinear
    ? layer.padding === 0 && layer.outputHeight * layer.outputWidth === 1 && layer.inputChannels === fed.channels * fed.height * fed.width
    : layer.inputChannels === fed.channels && layer.inputHeight === fed.height && layer.inputWidth === fed.width;
  const fractions = neuron.kind === neuronKinds.lif ? [neuron.leak, neuron.negativeSlope] : [neuron.negativeSlope];
  return fits && driveBits <= planeLimit && factorOf(current) < 2 ** 20 && neuron.threshold >= 0 && neuron.threshold <= maximumInt32
    && fractions.every((fraction) => Number.isInteger(twentyBitsOf(fraction)) && twentyBitsOf(fraction) <= 2 ** 20);
}

export function kernelHolds(program: RunProgram): boolean {
  let fed: Shape = { channels: program.inputChannels, height: program.inputHeight, width: program.inputWidth };
  return program.layers.every((layer) => {
    const held = isHeld(layer, fed);
    fed = pooledShape(layer);
    return held;
  });
}

/** The inputs of a window in the order in which the kernel meets them: spans of adjacent codes, channels innermost; undefined fills up to even. */
function windowInputs({ kind, kernel }: ProgramLayer, { channels, height, width }: Shape): (number | undefined)[] {
  const [rows, columns] = kind === layerKinds.linear ? [height, width] : [kernel, kernel];
  const stride = evenOf(channels);
  return Array.from({ length: rows * columns * stride }, (_, index) => {
    const channel = index % stride;
    return channel < channels ? channel * rows * columns + (index - channel) / stride : undefined;
  });
}

/** Where a window's input has its bit line: a tile and a row of it. */
interface Place {
  readonly tile: number;
  readonly row: number;
}

function placeOf(tiles: readonly ProgramTile[], input: number | undefined): Place | undefined {
  if (input === undefined) return undefined;
  const tile = tiles.findIndex(({ firstInput, inputCount }) => input >= firstInput && input < firstInput + inputCount);
  return tile < 0 ? undefined : { tile, row: input - tiles[tile].firstInput };
}

/** A layer in the kernel's memory. */
class KernelLayer {
  readonly at: number;
  /** First code of the input without its padding, and the way to the next row and pixel. */
  readonly inputOrigin: number;
  readonly inputRowBytes: number;
  readonly inputPixelBytes: number;
  readonly membranes: number;
  readonly lineCount: number;
  readonly neurons: number;
  private fields: Int32Array = new Int32Array();
  private floats: Float64Array = new Float64Array();
  private readonly places: readonly (Place | undefined)[];
  private readonly planeCounts: number;
  private readonly inputRows: number;
  private readonly rowCodes: number;
  private readonly stepCodes: number;
  private readonly spanLength: number;
  /** Rows of a window, and its columns. */
  private readonly windowRows: number;
  /** Codes of one row and column of the input; a linear layer's window has one column. */
  private readonly pixelCodes: number;

  constructor(private readonly space: KernelSpace, private readonly macro: KernelMacro, readonly layer: ProgramLayer, fed: Shape, firstTile: number) {
    const { padding, stride, outputChannels, outputHeight, outputWidth, tiles, kind, kernel, driveBits, neuron, current, poolSize } = layer;
    const isLinear = kind === layerKinds.linear;
    const codeStride = evenOf(fed.channels);
    const width = fed.width + 2 * padding;
    this.inputPixelBytes = codeStride * bytesPerCode;
    this.inputRowBytes = width * this.inputPixelBytes;
    const input = space.take((fed.height + 2 * padding) * this.inputRowBytes + pixelSlackBytes);
    this.inputOrigin = input + padding * (this.inputRowBytes + this.inputPixelBytes);
    this.lineCount = 2 * outputChannels;
    this.places = windowInputs(layer, fed).map((index) => placeOf(tiles, index));
    const neuronStride = summedOutputs(outputChannels);
    this.neurons = neuronStride * outputHeight * outputWidth;
    this.membranes = space.take(this.neurons * 4);
    const isFiring = neuron.kind === neuronKinds.lif;
    this.at = space.take(layerStructure.sizeBytes);
    const cells = tiles.map(({ firstBitLine, inputCount, plusLines, minusLines }) =>
      macro.tile({ firstBitLine, bitLineCount: inputCount, sourceLines: [...plusLines, ...minusLines] }));
    // A linear layer sees its input as one row.
    this.inputRows = isLinear ? 1 : fed.height + 2 * padding;
    this.rowCodes = (isLinear ? fed.height : 1) * width * codeStride;
    this.stepCodes = stride * codeStride;
    this.windowRows = isLinear ? 1 : kernel;
    this.spanLength = this.places.length / this.windowRows;
    this.pixelCodes = this.spanLength / this.windowRows;
    this.planeCounts = space.take(this.inputRows * this.rowCodes * bytesPerCode);
    const { inputRows: bitRows, rowCodes, stepCodes, spanLength, planeCounts } = this;
    const bitRowBytes = (rowCodes >> 3) + bitSlackBytes;
    const { settingsOfDrives } = this;
    space.write(this.at, layerStructure, {
      positionRows: outputHeight, positionColumns: outputWidth,
      positionRowBytes: stride * this.inputRowBytes, positionColumnBytes: stride * this.inputPixelBytes,
      input,
      spanCount: this.windowRows, spanLength,
      spanBytes: this.inputRowBytes,
      bits: space.take(planeLimit * bitRows * bitRowBytes), bitRows, bitRowBytes, rowCodes, stepRows: stride, stepCodes, planeCounts,
      tileCount: tiles.length, driveBits, lineCount: this.lineCount, outputs: outputChannels,
      neuronStride, sumsOfOutputs: space.take(this.neurons * 4), membranes: this.membranes, spikes: space.take(this.neurons * 2),
      threshold: isFiring ? neuron.threshold : maximumInt32,
      poolSize,
      ...currentFields(factorOf(current)),
      ...fractionFields('leak', isFiring ? twentyBitsOf(neuron.leak) : 2 ** 20),
      ...fractionFields('slope', twentyBitsOf(neuron.negativeSlope)),
      ...settingsOfDrives,
    });
    if (!this.placeDifferences(cells)) this.placeTiles(cells, firstTile);
  }

  private get settingsOfDrives() {
    const { chip: { profile } } = this.macro.settings;
    const { multiplier, shift } = this.macro.energyScale;
    return { driveFemtojoules: this.lineCount * profile.conversionEnergyFemtojoules, unitFemtojoules: multiplier * 2 ** -shift };
  }

  /** The row of a tile's matrix that stands for an input, 0 where the input is only there to make a pair. */
  private valuesOf<Value>(pick: (place: Place) => Value, nothing: Value): Value[] {
    return this.places.map((place) => (place === undefined ? nothing : pick(place)));
  }

  /**
   * Whether a membrane might leave 32 bits (1) or not (0): where a leak leaves half of one or less, that and a current below 2^30 can't.
   * @param mostDifference of the lines of an output, where all rows are driven in one plane
   */
  private mightSaturate(mostDifference: number): number {
    const { neuron, current } = this.layer;
    const isHalved = neuron.kind === neuronKinds.lif && twentyBitsOf(neuron.leak) <= 2 ** 19;
    return isHalved && mostDifference * mostDriveCode * factorOf(current) < 2 ** 30 - 1 ? 0 : 1;
  }

  /** Bit-serial: rows of cells, tile by tile. */
  private placeTiles(cells: readonly TileCells[], firstTile: number): void {
    const { space, macro: { settings }, layer, places } = this;
    const tiles = space.take(cells.length * tileStructure.sizeBytes);
    for (const [index, tile] of cells.entries()) {
      placeTile(space, settings, tile, layer.range, tiles + index * tileStructure.sizeBytes, firstTile + index);
    }
    const rowOffsets = space.take((places.length + wordBits) * 4);
    space.integers(rowOffsets, places.length).set(this.valuesOf(({ row }) => row * rowBytes, 0));
    const slotOffsets = space.take(this.lineCount * 4);
    space.integers(slotOffsets, this.lineCount).set(Array.from({ length: this.lineCount }, (_, line) => slotOf(line) * 4));
    space.write(this.at, layerStructure, {
      tiles, rowOffsets, slotOffsets, rowTiles: this.placeRowTiles(), ...this.roomForDrives(cells.length),
      saturates: this.mightSaturate(cells.length * (settings.maximumCode - settings.minimumCode)),
    });
  }

  /** Drives of one tile wait for each other; those of several tiles are converted position by position. */
  private roomForDrives(tileCount: number) {
    const { space, places } = this;
    const drives = tileCount === 1 ? batchDrives : planeLimit;
    const waitingBytes = drives * driveStructure.sizeBytes;
    const sumsBytes = slotCountOf(this.lineCount) * 4;
    return {
      drivenRows: space.take(tileCount === 1 ? batchDrives * places.length * 4 : tileCount * drivenRowsBytes),
      drivenCounts: space.take(tileCount * planeLimit * 4),
      waiting: space.take(tileCount * waitingBytes), waitingBytes, waitingCounts: space.take(tileCount * 4),
      waitingOutputs: space.take(drives * 4), sums: space.take(drives * sumsBytes), sumsBytes,
    };
  }

  private placeRowTiles(): number {
    const rowTiles = this.space.take(this.places.length);
    this.space.bytes(rowTiles, this.places.length).set(this.valuesOf(({ tile }) => tile, 0));
    return rowTiles;
  }

  /** Exact sums: differences of plus and minus lines, where they fit 16 bits. */
  private placeDifferences(cells: readonly TileCells[]): boolean {
    if (!this.macro.settings.isExact) return false;
    const { space, layer: { outputChannels: outputs } } = this;
    const rows = this.valuesOf(({ tile, row }) => cells[tile].codes.subarray(row * this.lineCount, (row + 1) * this.lineCount), new Int32Array(this.lineCount));
    const differencesOf = (codes: Int32Array) => Int32Array.from({ length: outputs }, (_, output) => codes[output] - codes[outputs + output]);
    const rowDifferences = rows.map(differencesOf);
    if (!rowDifferences.every((row) => row.every((difference) => Math.abs(difference) < 2 ** 15))) return false;
    const rowShorts = summedOutputs(outputs);
    const differences = space.take(rows.length * rowShorts * 2);
    const shorts = space.shorts(differences, rows.length * rowShorts);
    rowDifferences.forEach((row, index) => {
      const first = (index >> 1) * rowShorts * 2 + (index & 1);
      row.forEach((difference, output) => { shorts[first + output * 2] = difference; });
    });
    const mostDifferences = rowDifferences[0].map((_, output) => rowDifferences.reduce((sum, row) => sum + Math.abs(row[output]), 0));
    const saturates = this.mightSaturate(Math.max(...mostDifferences));
    space.write(this.at, layerStructure, { differences, differenceBytes: rowShorts * 4, saturates, ...this.roomForPairs() });
    this.placeGrids(rows.map((codes) => codes.reduce((sum, code) => sum + code, 0)));
    return true;
  }

  /** Driven pairs are written with one more past the last, and copied by columns of a window's height. */
  private roomForPairs() {
    const { space, inputRows, rowCodes, spanLength, windowRows, pixelCodes } = this;
    const columns = rowCodes / pixelCodes;
    const spareBytes = spanLength / 2 * pairBytes;
    return {
      pixelCodes,
      inputPairs: space.take(inputRows * rowCodes / 2 * pairBytes + spareBytes),
      pairSums: space.take((inputRows * rowCodes / 2 + 1) * pairBytes),
      pixelPairs: space.take(columns * (inputRows + 1) * 4),
      bandPairs: space.take(windowRows * rowCodes / 2 * pairBytes + spareBytes),
      bandColumns: space.take((columns + 1) * 4),
    };
  }

  /** Exact sums: what each code of a row of the input adds to the sums of the windows that hold it. */
  private placeGrids(rowSums: readonly number[]): void {
    const { space, inputRows, rowCodes, stepCodes, pixelCodes, windowRows: size, layer: { tiles, driveBits } } = this;
    const gridRowBytes = evenOf(rowCodes / pixelCodes + size + 1) * doubleBytes;
    const gridBytes = (inputRows + size - 1) * gridRowBytes;
    const tileSumsBytes = size * evenOf(size + 1) * doubleBytes;
    const channels = Array.from({ length: 2 * pixelCodes }, (_, code) => this.placeChannelSums(rowSums, code % pixelCodes, Math.floor(code / pixelCodes)));
    const codeSums = space.take(rowCodes * codeSumsStructure.sizeBytes);
    for (let code = 0; code < rowCodes; code += 1) {
      const { firstTile, sums, sumsBytes } = channels[code % (2 * pixelCodes)];
      const column = firstTile * driveBits * gridBytes + Math.floor(code / (2 * pixelCodes)) * 2 * doubleBytes;
      space.write(codeSums + code * codeSumsStructure.sizeBytes, codeSumsStructure, { column, sums, sumsBytes });
    }
    space.write(this.at, layerStructure, {
      sumGrids: space.take(tiles.length * driveBits * gridBytes), gridBytes, gridRowBytes, codeSums, tileSumsBytes, windowRows: size,
      gridOrigin: (size - 1) * (gridRowBytes + doubleBytes), gridStepBytes: (stepCodes / pixelCodes) * doubleBytes,
    });
  }

  /**
   * Sums of the rows of one channel, of each tile that holds any. Backwards: in the first window that holds a code, it is last. In an odd column they begin
   * one later, so that vectors of a grid are the same two windows for every code: the kernel would wait for what it wrote across two of them.
   */
  private placeChannelSums(rowSums: readonly number[], channel: number, oddColumn: number) {
    const { space, places, spanLength, pixelCodes, windowRows: size, layer: { tiles } } = this;
    const windows = evenOf(size + 1);
    const ofTiles = tiles.map((_, tile) => Array.from({ length: size * windows }, (_, at) => {
      const column = size - 1 - (at % windows) + oddColumn;
      const index = (size - 1 - Math.floor(at / windows)) * spanLength + column * pixelCodes + channel;
      return column >= 0 && column < size && places[index]?.tile === tile ? rowSums[index] + rowUnit : 0;
    }));
    const holds = ofTiles.map((sums) => sums.some((sum) => sum > 0));
    const firstTile = Math.max(0, holds.indexOf(true));
    const values = ofTiles.slice(firstTile, holds.lastIndexOf(true) + 1).flat();
    const sums = space.take(values.length * doubleBytes);
    space.doubles(sums, values.length).set(values);
    return { firstTile, sums, sumsBytes: values.length * doubleBytes };
  }

  /** Once everything has its place: the structure as arrays, so that reading it costs nothing. */
  settle(): void {
    this.fields = this.space.integers(this.at, layerStructure.sizeBytes / 4);
    this.floats = this.space.doubles(this.at, layerStructure.sizeBytes / 8);
  }

  feeds(next: KernelLayer): void {
    const { inputOrigin: output, inputRowBytes: outputRowBytes, inputPixelBytes: outputPixelBytes } = next;
    this.space.write(this.at, layerStructure, { output, outputRowBytes, outputPixelBytes });
  }

  /** One timestep. @returns the energy of the operation after it */
  step(inferenceNumber: number, timestep: number, energyFemtojoules: number): number {
    const { functions } = this.space;
    this.floats[layerStructure.offsets.energyFemtojoules / 8] = energyFemtojoules;
    functions.stepLayer(this.at, inferenceNumber, timestep);
    return this.floats[layerStructure.offsets.energyFemtojoules / 8];
  }

  get drives(): number {
    return this.fields[layerStructure.offsets.drives / 4];
  }

  get counts(): LayerCounts {
    const { fields, drives, lineCount } = this;
    const { saturations, spikeCount } = layerStructure.offsets;
    return { conversions: drives * lineCount, saturations: fields[saturations / 4], spikes: fields[spikeCount / 4] };
  }

  /**
   * Tells how many drives each row of each tile had a part in since this was last asked: a code drives its row once a plane and position whose window
   * holds it.
   */
  takeDrives(tell: (tile: ProgramTile, row: number, drives: number) => void): void {
    const { layer: { outputHeight, outputWidth, stride, tiles }, places, inputRows, rowCodes, stepCodes, spanLength } = this;
    const counts = this.space.shorts(this.planeCounts, inputRows * rowCodes);
    const alongRows = new Float64Array(inputRows * spanLength);
    for (let row = 0; row < inputRows; row += 1) {
      for (let column = 0; column < outputWidth; column += 1) {
        const from = row * rowCodes + column * stepCodes;
        for (let code = 0; code < spanLength; code += 1) alongRows[row * spanLength + code] += counts[from + code];
      }
    }
    places.forEach((place, index) => {
      let drives = 0;
      for (let row = 0; row < outputHeight; row += 1) drives += alongRows[row * stride * spanLength + index];
      if (place !== undefined && drives > 0) tell(tiles[place.tile], place.row, drives);
    });
    counts.fill(0);
  }

  /** Membranes in the order of the twin: output by output. */
  get membranesByOutput(): Int32Array {
    const { outputChannels, outputHeight, outputWidth } = this.layer;
    const positions = outputHeight * outputWidth;
    const stride = this.neurons / positions;
    const membranes = this.space.integers(this.membranes, this.neurons);
    const ordered = new Int32Array(outputChannels * positions);
    for (let output = 0, at = 0; output < outputChannels; output += 1) {
      for (let position = 0; position < positions; position += 1, at += 1) ordered[at] = membranes[position * stride + output];
    }
    return ordered;
  }
}

/** What a timestep comes to. */
export interface KernelTimestep {
  readonly membranes: Int32Array;
  readonly layers: readonly LayerCounts[];
  /** Drives of each layer, for the operation time. */
  readonly drives: readonly number[];
  readonly energyFemtojoules: number;
}

/** Which run's membranes are in the memory; those of others wait outside. */
export interface MembraneOwner {
  saved?: readonly Int32Array[] | undefined;
}

/** A network in a kernel with the cells of one epoch. Runs may take turns. */
export class KernelNetwork {
  private readonly space: KernelSpace;
  private readonly layers: readonly KernelLayer[];
  private readonly frame: number;
  private owner: MembraneOwner | undefined;
  private timesteps = 0;

  constructor(private readonly program: RunProgram, macro: KernelMacro) {
    const { inputChannels: channels, inputHeight: height, inputWidth: width } = program;
    this.space = new KernelSpace(macro.program, macro.settings);
    let fed: Shape = { channels, height, width };
    let firstTile = 0;
    this.layers = program.layers.map((layer) => {
      const placed = new KernelLayer(this.space, macro, layer, fed, firstTile);
      fed = pooledShape(layer);
      firstTile += layer.tiles.length;
      return placed;
    });
    for (const [index, layer] of this.layers.slice(1).entries()) this.layers[index].feeds(layer);
    this.frame = this.space.take(channels * height * width);
    for (const layer of this.layers) layer.settle();
  }

  step(owner: MembraneOwner, frame: Uint8Array, inferenceNumber: number, timestep: number, energyBefore: number): KernelTimestep {
    const { space, layers, program: { inputChannels, inputHeight, inputWidth } } = this;
    this.lend(owner);
    this.timesteps += 1;
    space.bytes(this.frame, frame.length).set(frame);
    const [first] = layers;
    space.functions.placeFrame(this.frame, inputChannels, inputHeight, inputWidth, first.inputOrigin, first.inputRowBytes, first.inputPixelBytes);
    const energyFemtojoules = layers.reduce((energy, layer) => layer.step(inferenceNumber, timestep, energy), energyBefore);
    const drives = layers.map((layer) => layer.drives);
    const counts = layers.map((layer) => layer.counts);
    return { membranes: layers[layers.length - 1].membranesByOutput, layers: counts, drives, energyFemtojoules };
  }

  /** Whether drives have to be taken before the next timestep, lest their counts run over. */
  get isFullOfDrives(): boolean {
    return this.timesteps * planeLimit > maximumInt16 - planeLimit;
  }

  /** Tells how often bit lines were driven since this was last asked, with how many lines converted each time. */
  takeDrives(tell: (bitLine: number, drives: number, lineCount: number) => void): void {
    this.timesteps = 0;
    for (const layer of this.layers) {
      layer.takeDrives(({ firstBitLine }, row, drives) => tell(firstBitLine + row, drives, layer.lineCount));
    }
  }

  /** A run that is over: its membranes need not be kept for it. */
  release(owner: MembraneOwner): void {
    if (this.owner === owner) this.owner = undefined;
  }

  private lend(owner: MembraneOwner): void {
    if (this.owner === owner) return;
    if (this.owner !== undefined) this.owner.saved = this.layers.map(({ membranes, neurons }) => this.space.integers(membranes, neurons).slice());
    this.owner = owner;
    this.layers.forEach(({ membranes, neurons }, index) => {
      const place = this.space.integers(membranes, neurons);
      const saved = owner.saved?.[index];
      if (saved === undefined) place.fill(0);
      else place.set(saved);
    });
    owner.saved = undefined;
  }
}
