import { planesOf } from '../../firmware-protocol/numerics/index.js';
import { type LayerGeometry, layerGeometries, layerInputs, layerOutputs, type Network, type NetworkLayer } from './network.js';

/**
 * One ADS8324, the converter of the published board: 50 000 samples a second (its data sheet, SBAS172). Eight of them work at once on the boards that the
 * simulator stands for (MODEL.md); the lines of the array settle for 2 µs before.
 */
export const usualConverters = { count: 8, conversionNanoseconds: 20_000, settlingNanoseconds: 2000 } as const;

export interface Converters {
  /** How many convert at once. */
  readonly count: number;
  readonly conversionNanoseconds: number;
  readonly settlingNanoseconds: number;
}

/** What one layer takes of an array, and what one timestep of it takes. */
export interface LayerRequirement {
  readonly name: string;
  readonly type: NetworkLayer['type'];
  /** Channels, height, width. */
  readonly input: readonly number[];
  /** Behind the pool. */
  readonly output: readonly number[];
  readonly weights: number;
  /** Bit lines, all tiles together: the inputs of one output. */
  readonly rows: number;
  readonly tiles: number;
  /** Plus and minus lines of all tiles. */
  readonly sourceLines: number;
  /** Two a weight. */
  readonly cells: number;
  /** Multiplies of the whole layer in a timestep: output positions × bit planes × tiles. */
  readonly drives: number;
  /** Converted source lines in a timestep. Planes that drive no line are left out when it runs: this is the most. */
  readonly conversions: number;
  readonly seconds: number;
}

/** What a network takes of an array of so many lines; times and conversions are of one timestep, at most. */
export interface NetworkRequirement {
  readonly bitLines: number;
  readonly availableSourceLines: number;
  readonly sourceLines: number;
  readonly tiles: number;
  readonly cells: number;
  readonly conversionsPerTimestep: number;
  readonly secondsPerTimestep: number;
  readonly timestepCount: number;
  readonly isFitting: boolean;
  readonly layers: readonly LayerRequirement[];
}

export interface RequirementTarget {
  readonly bitLines: number;
  /** Lines that may be used: those of the array without blocked ones. */
  readonly sourceLines: number;
}

function layerRequirement(layer: NetworkLayer, geometry: LayerGeometry, bitLines: number, converters: Converters): LayerRequirement {
  const [rows, outputs] = [layerInputs(layer), layerOutputs(layer)];
  const tiles = Math.ceil(rows / bitLines);
  const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth, poolSize } = geometry;
  const drives = outputHeight * outputWidth * planesOf(geometry.maximumDrive) * tiles;
  const nanosecondsPerDrive = converters.settlingNanoseconds + Math.ceil((2 * outputs) / converters.count) * converters.conversionNanoseconds;
  return {
    name: layer.name,
    type: layer.type,
    input: layer.type === 'linear' ? [rows] : [inputChannels, inputHeight, inputWidth],
    output: layer.type === 'linear' ? [outputs] : [outputChannels, outputHeight / poolSize, outputWidth / poolSize],
    weights: rows * outputs,
    rows,
    tiles,
    sourceLines: 2 * outputs * tiles,
    cells: 2 * rows * outputs,
    drives,
    conversions: drives * 2 * outputs,
    seconds: (drives * nanosecondsPerDrive) / 1e9,
  };
}

/** What a network needs, layer by layer, whether it fits or not. */
export function requirementOf(network: Network, { bitLines, sourceLines }: RequirementTarget, converters: Converters = usualConverters): NetworkRequirement {
  const geometries = layerGeometries(network);
  const layers = network.layers.map((layer, index) => layerRequirement(layer, geometries[index], bitLines, converters));
  const total = (of: 'sourceLines' | 'tiles' | 'cells' | 'conversions' | 'seconds') => layers.reduce((sum, layer) => sum + layer[of], 0);
  return {
    bitLines,
    availableSourceLines: sourceLines,
    sourceLines: total('sourceLines'),
    tiles: total('tiles'),
    cells: total('cells'),
    conversionsPerTimestep: total('conversions'),
    secondsPerTimestep: total('seconds'),
    timestepCount: network.timestepCount,
    isFitting: total('sourceLines') <= sourceLines,
    layers,
  };
}

const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`;

/** A requirement in one sentence, for refusals: layer by layer, then the whole. */
export function describeRequirement(needed: NetworkRequirement): string {
  const layers = needed.layers.map(({ name, rows, tiles, sourceLines, cells }) =>
    `${name} ${count(rows, 'row')} in ${count(tiles, 'tile')} on ${sourceLines} source lines (${cells} cells)`);
  const { sourceLines, bitLines, availableSourceLines, tiles, cells, conversionsPerTimestep, secondsPerTimestep } = needed;
  return `${sourceLines} source lines of ${bitLines} rows, the array has ${availableSourceLines} to use: ${layers.join(', ')}; `
    + `together ${count(tiles, 'tile')}, ${cells} cells, and up to ${conversionsPerTimestep} conversions or ${secondsPerTimestep.toFixed(3)} s a timestep`;
}
