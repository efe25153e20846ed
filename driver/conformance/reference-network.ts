import { countPool, type Scale, StopGate, scale, stepAccumulate, stepLif } from '../../firmware-protocol/numerics/index.js';
import {
  type Drive, type Layer, type LayerCounts, layerKinds, type MethodRequests, type MultiplyResult, neuronKinds, type Program, type Tile,
} from '../../proto/message.js';

export type MultiplyRequest = MethodRequests['multiply'];
/** Codes of a multiply, drive by drive, in the order of the source lines. */
export type Multiply = (request: MultiplyRequest) => Promise<{ codes: Int32Array; saturations: number }>;

/** What a board should say of one timestep. */
export interface ReferenceStep {
  readonly membranes: readonly number[];
  readonly layers: readonly LayerCounts[];
  readonly confidenceQ24: number;
  /** The output with the largest sum so far. */
  readonly prediction: number;
}

/** Few enough for a message each way whatever the width of a code. */
const drivesPerRequest = 8;

/** Codes of a Multiply as numbers, whatever their width. */
export function codesOf({ codes }: MultiplyResult, converterBits: number): Int32Array {
  const width = converterBits > 16 ? 4 : 2;
  const view = new DataView(codes.buffer, codes.byteOffset, codes.byteLength);
  return Int32Array.from({ length: codes.length / width }, (_, at) => (width === 4 ? view.getInt32(4 * at, true) : view.getUint16(2 * at, true)));
}

/** The drive code of an input (channel, ky, kx) at an output position; padding is not driven. */
function codeAt(layer: Layer, input: Uint8Array, position: number, index: number): number {
  if (layer.kind === layerKinds.linear) return input[index];
  const { kernel, stride, padding, inputHeight, inputWidth, outputWidth } = layer;
  const x = (position % outputWidth) * stride - padding + (index % kernel);
  const y = Math.floor(position / outputWidth) * stride - padding + (Math.floor(index / kernel) % kernel);
  if (x < 0 || y < 0 || x >= inputWidth || y >= inputHeight) return 0;
  return input[(Math.floor(index / kernel ** 2) * inputHeight + y) * inputWidth + x];
}

/** The bit planes of one position of a tile that have a driven line. */
function drivesAt(layer: Layer, tile: Tile, input: Uint8Array, position: number): Drive[] {
  const planes = Array.from({ length: layer.driveBits }, (_, plane) => ({ position, plane, lines: new Uint8Array((tile.inputCount + 7) >> 3) }));
  let driven = 0;
  for (let row = 0; row < tile.inputCount; row += 1) {
    const code = codeAt(layer, input, position, tile.firstInput + row);
    driven |= code;
    for (const { plane, lines } of planes) if (((code >> plane) & 1) === 1) lines[row >> 3] |= 1 << (row & 7);
  }
  return planes.filter(({ plane }) => ((driven >> plane) & 1) === 1);
}

/** One layer: its multiplies are the board's, everything behind them is done here as NUMERICS.md says. */
class ReferenceLayer {
  readonly membranes: Int32Array;
  readonly output: Uint8Array;
  counts: LayerCounts = { conversions: 0, saturations: 0, spikes: 0 };
  private readonly spikes: Uint8Array;
  private readonly positions: number;

  constructor(private readonly layer: Layer, private readonly firstTile: number) {
    const { outputChannels, outputHeight, outputWidth, poolSize } = layer;
    this.positions = outputHeight * outputWidth;
    this.membranes = new Int32Array(outputChannels * this.positions);
    this.spikes = new Uint8Array(this.membranes.length);
    const pooled = outputChannels * Math.floor(outputHeight / poolSize) * Math.floor(outputWidth / poolSize);
    this.output = poolSize === 1 ? this.spikes : new Uint8Array(pooled);
  }

  async step(multiply: Multiply, input: Uint8Array, inferenceNumber: number, timestep: number): Promise<void> {
    const { layer, positions } = this;
    const sums = new Int32Array(this.membranes.length);
    this.counts = { conversions: 0, saturations: 0, spikes: 0 };
    for (const [index, tile] of layer.tiles.entries()) {
      const drives = Array.from({ length: positions }, (_, position) => drivesAt(layer, tile, input, position)).flat();
      const { firstBitLine, inputCount: bitLineCount, plusLines, minusLines } = tile;
      const request = {
        firstBitLine, bitLineCount, sourceLines: [...plusLines, ...minusLines], range: layer.range, inferenceNumber, timestep, tile: this.firstTile + index,
      };
      for (let at = 0; at < drives.length; at += drivesPerRequest) {
        await this.add(multiply, { ...request, drives: drives.slice(at, at + drivesPerRequest) }, sums);
      }
    }
    this.fire(sums.map((sum) => scale(sum, layer.current)));
  }

  /** Subtracts pairs, weighs planes, adds tiles. */
  private async add(multiply: Multiply, request: MultiplyRequest, sums: Int32Array): Promise<void> {
    const { codes, saturations } = await multiply(request);
    const lines = request.sourceLines.length;
    for (const [drive, { position, plane }] of request.drives.entries()) {
      for (let output = 0; output < lines / 2; output += 1) {
        const at = drive * lines + output;
        sums[output * this.positions + position] += (codes[at] - codes[at + lines / 2]) * 2 ** plane;
      }
    }
    this.counts.conversions += request.drives.length * lines;
    this.counts.saturations += saturations;
  }

  private fire(currents: Int32Array): void {
    const { layer: { neuron, outputChannels, outputHeight, outputWidth, poolSize }, membranes, spikes, counts } = this;
    if (neuron.kind !== neuronKinds.lif) {
      stepAccumulate(membranes, currents, neuron.negativeSlope);
      return;
    }
    counts.spikes = stepLif(membranes, spikes, currents, neuron);
    if (poolSize > 1) countPool(spikes, outputChannels, outputHeight, outputWidth, poolSize, this.output);
  }
}

/**
 * Runs a program timestep by timestep with the multiplies of a board: what its own neurons should make of the same codes.
 *
 * @param frames T × C × H × W drive codes, one a byte
 */
export async function runReference(
  program: Program, frames: Uint8Array, inferenceNumber: number, confidence: Scale, multiply: Multiply,
): Promise<ReferenceStep[]> {
  let firstTile = 0;
  const layers = program.layers.map((layer) => {
    firstTile += layer.tiles.length;
    return new ReferenceLayer(layer, firstTile - layer.tiles.length);
  });
  const output = layers[layers.length - 1];
  const gate = new StopGate(output.membranes.length, confidence);
  const inputs = program.inputChannels * program.inputHeight * program.inputWidth;
  const steps: ReferenceStep[] = [];
  for (let timestep = 0; timestep < program.timestepCount; timestep += 1) {
    let signal = frames.subarray(timestep * inputs, (timestep + 1) * inputs);
    for (const layer of layers) {
      await layer.step(multiply, signal, inferenceNumber, timestep);
      signal = layer.output;
    }
    const confidenceQ24 = gate.add(output.membranes);
    steps.push({ membranes: [...output.membranes], layers: layers.map(({ counts }) => counts), confidenceQ24, prediction: gate.prediction });
  }
  return steps;
}
