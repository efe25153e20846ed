import { bitLineCount, maximumLayerCount, maximumTimestepCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { type Layer, layerKinds, type Neuron, type Program, type Scale, type Tile } from '../proto/message.js';

const maximumPixels = 256;
const maximumNeurons = 1 << 16;
const maximumDriveBits = 4;
/** A membrane has 31 bits, a recombined sum fewer than 30: with these multipliers every product stays below 2^52 (NUMERICS.md). */
const maximumMultipliers = { membrane: 2 ** 20, current: 2 ** 22 };
const maximumShift = 52;

/** Outputs of the last layer: their membranes go into one message, five bytes each at worst, beside the counts of eight layers. */
const maximumOutputs = 80;

type Problem = string | undefined;

const outside = (field: string, value: number, minimum: number, maximum: number): Problem =>
  value >= minimum && value <= maximum ? undefined : `${field} is ${value}; the range is ${minimum} to ${maximum}`;

const first = (...problems: Problem[]): Problem => problems.find((problem) => problem !== undefined);

function scaleProblem(field: string, scale: Scale | null | undefined, maximumMultiplier: number): Problem {
  if (!scale) return `${field} is missing`;
  return first(outside(`${field}.multiplier`, scale.multiplier, 0, maximumMultiplier), outside(`${field}.shift`, scale.shift, 0, maximumShift));
}

/** A leak or a slope is at most 1, so that a membrane cannot leave its register by it. */
function fractionProblem(field: string, scale: Scale | null | undefined): Problem {
  return scaleProblem(field, scale, Math.min(maximumMultipliers.membrane, 2 ** (scale?.shift ?? 0)));
}

function neuronProblem(field: string, neuron: Neuron | null | undefined): Problem {
  if (!neuron) return `${field}.neuron is missing`;
  return first(fractionProblem(`${field}.leak`, neuron.leak), fractionProblem(`${field}.negativeSlope`, neuron.negativeSlope));
}

function tileProblem(field: string, tile: Tile, layer: Layer): Problem {
  const outputs = layer.outputChannels;
  const lines = [...tile.plusLines, ...tile.minusLines];
  return first(
    outside(`${field}.inputCount`, tile.inputCount, 1, bitLineCount),
    outside(`${field}.firstBitLine`, tile.firstBitLine, 0, bitLineCount - tile.inputCount),
    outside(`${field}.plusLines.length`, tile.plusLines.length, outputs, outputs),
    outside(`${field}.minusLines.length`, tile.minusLines.length, outputs, outputs),
    outside(`${field} line`, Math.max(...lines), 0, sourceLineCount - 1),
    new Set(lines).size === lines.length ? undefined : `${field} names a source line twice`,
  );
}

/** Every input of a layer is on exactly one bit line of its tiles. */
function coverProblem(field: string, layer: Layer, inputs: number): Problem {
  let next = 0;
  for (const tile of layer.tiles) {
    if (tile.firstInput !== next) return `${field}.tiles begin at input ${tile.firstInput}; ${next} is next`;
    next += tile.inputCount;
  }
  return outside(`${field} inputs on its tiles`, next, inputs, inputs);
}

/** A kernel lies inside the padded input. */
const largestKernel = ({ inputHeight, inputWidth, padding }: Layer) => Math.min(16, inputHeight + 2 * padding, inputWidth + 2 * padding);

function layerProblem(field: string, layer: Layer, ranges: number): Problem {
  const isConvolution = layer.kind === layerKinds.convolution;
  const inputs = layer.inputChannels * (isConvolution ? layer.kernel * layer.kernel : 1);
  const pixelsOut = (pixels: number) => Math.floor((pixels + 2 * layer.padding - layer.kernel) / layer.stride) + 1;
  const height = isConvolution ? pixelsOut(layer.inputHeight) : 1;
  const width = isConvolution ? pixelsOut(layer.inputWidth) : 1;
  return first(
    outside(`${field}.inputChannels`, layer.inputChannels, 1, maximumNeurons),
    outside(`${field}.inputHeight`, layer.inputHeight, 1, maximumPixels),
    outside(`${field}.inputWidth`, layer.inputWidth, 1, maximumPixels),
    outside(`${field}.kernel`, layer.kernel, 1, isConvolution ? largestKernel(layer) : 16),
    outside(`${field}.stride`, layer.stride, 1, 16),
    outside(`${field}.padding`, layer.padding, 0, 8),
    outside(`${field}.outputChannels`, layer.outputChannels, 1, sourceLineCount / 2),
    outside(`${field}.outputHeight`, layer.outputHeight, Math.max(1, height), Math.max(1, height)),
    outside(`${field}.outputWidth`, layer.outputWidth, Math.max(1, width), Math.max(1, width)),
    outside(`${field} neurons`, layer.outputChannels * layer.outputHeight * layer.outputWidth, 1, maximumNeurons),
    outside(`${field}.driveBits`, layer.driveBits, 1, maximumDriveBits),
    outside(`${field}.range`, layer.range, 0, ranges - 1),
    outside(`${field}.poolSize`, layer.poolSize, 1, Math.min(3, layer.outputHeight, layer.outputWidth)),
    scaleProblem(`${field}.current`, layer.current, maximumMultipliers.current),
    neuronProblem(field, layer.neuron),
    outside(`${field}.tiles.length`, layer.tiles.length, 1, 64),
    first(...layer.tiles.map((tile, index) => tileProblem(`${field}.tiles[${index}]`, tile, layer))),
    coverProblem(field, layer, inputs),
  );
}

/** What a layer hands on, as channels, height, width and bits of a drive code. */
function outputOf({ outputChannels, outputHeight, outputWidth, poolSize }: Layer): { values: number; bits: number } {
  const pixels = Math.floor(outputHeight / poolSize) * Math.floor(outputWidth / poolSize);
  return { values: outputChannels * pixels, bits: 32 - Math.clz32(poolSize * poolSize) };
}

/** Why a program cannot run on this array, naming the field and its range; undefined where it can. */
export function programProblem(program: Program, ranges: number): Problem {
  const problem = first(
    outside('timestepCount', program.timestepCount, 1, maximumTimestepCount),
    outside('layers.length', program.layers.length, 1, maximumLayerCount),
    outside('inputs', program.inputChannels * program.inputHeight * program.inputWidth, 1, maximumNeurons),
  );
  if (problem !== undefined) return problem;
  let before = { values: program.inputChannels * program.inputHeight * program.inputWidth, bits: maximumDriveBits };
  for (const [index, layer] of program.layers.entries()) {
    const field = `layers[${index}]`;
    const values = layer.inputChannels * layer.inputHeight * layer.inputWidth;
    const wrong = first(
      layerProblem(field, layer, ranges),
      outside(`${field} inputs`, values, before.values, before.values),
      outside(`${field}.driveBits`, layer.driveBits, before.bits, maximumDriveBits),
    );
    if (wrong !== undefined) return wrong;
    before = outputOf(layer);
  }
  const last = program.layers[program.layers.length - 1];
  return outside('outputs', last.outputChannels * last.outputHeight * last.outputWidth, 1, maximumOutputs);
}
