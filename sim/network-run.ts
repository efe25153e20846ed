import { countPool, type EarlyStopRule, isConfident, type Scale, StopGate, scale, stepAccumulate, stepLif } from '../firmware-protocol/numerics/index.js';
import type { KernelNetwork, MembraneOwner } from './kernel-network.js';
import type { Macro, MultiplyKey, TileCells } from './macro.js';

export interface ProgramTile {
  readonly firstInput: number;
  readonly inputCount: number;
  readonly firstBitLine: number;
  readonly plusLines: readonly number[];
  readonly minusLines: readonly number[];
}

export interface ProgramLayer {
  readonly name: string;
  readonly kind: number;
  readonly inputChannels: number;
  readonly inputHeight: number;
  readonly inputWidth: number;
  readonly outputChannels: number;
  readonly outputHeight: number;
  readonly outputWidth: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly driveBits: number;
  readonly range: number;
  readonly current: Scale;
  readonly neuron: { readonly kind: number; readonly threshold: number; readonly leak: Scale; readonly negativeSlope: Scale };
  readonly poolSize: number;
  readonly tiles: readonly ProgramTile[];
}

export interface RunProgram {
  readonly timestepCount: number;
  readonly inputChannels: number;
  readonly inputHeight: number;
  readonly inputWidth: number;
  readonly layers: readonly ProgramLayer[];
}

export interface LayerCounts { conversions: number; saturations: number; spikes: number }

export interface TimestepOutcome {
  readonly timestep: number;
  readonly membranes: readonly number[];
  readonly layers: readonly LayerCounts[];
  /** 0 where there is no early stop. */
  readonly confidenceQ24: number;
}

const lifKind = 0;
const linearKind = 1;

/** Where the inputs of a tile's bit lines lie in a padded input, from the corner of a position's receptive field. */
function rowOffsets(layer: ProgramLayer, tile: ProgramTile): Int32Array {
  const offsets = new Int32Array(tile.inputCount);
  const width = layer.inputWidth + 2 * layer.padding;
  const height = layer.inputHeight + 2 * layer.padding;
  for (let row = 0; row < tile.inputCount; row += 1) {
    const index = tile.firstInput + row;
    if (layer.kind === linearKind) {
      offsets[row] = index;
      continue;
    }
    const kernelRow = Math.floor(index / layer.kernel);
    offsets[row] = Math.floor(kernelRow / layer.kernel) * height * width + (kernelRow % layer.kernel) * width + (index % layer.kernel);
  }
  return offsets;
}

/** One layer at work: its cells, its membranes, and what it hands on. */
class LayerRun {
  readonly counts: LayerCounts = { conversions: 0, saturations: 0, spikes: 0 };
  readonly membranes: Int32Array;
  readonly output: Uint8Array;
  private readonly cells: readonly TileCells[];
  private readonly offsets: readonly Int32Array[];
  private readonly padded: Uint8Array;
  private readonly spikes: Uint8Array;
  private readonly currents: Int32Array;
  private readonly accumulators: Int32Array;
  private readonly codes: Int32Array;
  private readonly rows: readonly Int32Array[];
  private readonly rowCounts: Int32Array;

  constructor(private readonly macro: Macro, private readonly layer: ProgramLayer, private readonly firstTile: number) {
    const { outputChannels, outputHeight, outputWidth, poolSize, tiles, driveBits } = layer;
    const neurons = outputChannels * outputHeight * outputWidth;
    this.membranes = new Int32Array(neurons);
    this.spikes = new Uint8Array(neurons);
    this.currents = new Int32Array(neurons);
    this.output = poolSize === 1 ? this.spikes : new Uint8Array(outputChannels * Math.floor(outputHeight / poolSize) * Math.floor(outputWidth / poolSize));
    this.offsets = tiles.map((tile) => rowOffsets(layer, tile));
    this.padded = new Uint8Array(layer.inputChannels * (layer.inputHeight + 2 * layer.padding) * (layer.inputWidth + 2 * layer.padding));
    this.accumulators = new Int32Array(outputChannels);
    this.codes = new Int32Array(2 * outputChannels);
    this.rows = Array.from({ length: driveBits }, () => new Int32Array(512));
    this.rowCounts = new Int32Array(driveBits);
    this.cells = tiles.map(({ firstBitLine, inputCount, plusLines, minusLines }) =>
      macro.tile({ firstBitLine, bitLineCount: inputCount, sourceLines: [...plusLines, ...minusLines] }));
  }

  step(input: Uint8Array, inferenceNumber: number, timestep: number): void {
    const { layer, counts } = this;
    const before = this.macro.conversions;
    counts.saturations = 0;
    const drives = layer.padding === 0 ? input : this.pad(input);
    const paddedWidth = layer.inputWidth + 2 * layer.padding;
    const keys = layer.tiles.map((_, tile) => ({ inferenceNumber, timestep, tile: this.firstTile + tile }));
    for (let row = 0, position = 0; row < layer.outputHeight; row += 1) {
      for (let column = 0; column < layer.outputWidth; column += 1, position += 1) {
        this.multiplyPosition(drives, (row * paddedWidth + column) * layer.stride, position, keys);
      }
    }
    counts.conversions = this.macro.conversions - before;
    this.fire();
  }

  private pad(input: Uint8Array): Uint8Array {
    const { inputChannels, inputHeight, inputWidth, padding } = this.layer;
    const width = inputWidth + 2 * padding;
    const height = inputHeight + 2 * padding;
    for (let channel = 0; channel < inputChannels; channel += 1) {
      for (let row = 0; row < inputHeight; row += 1) {
        const first = (channel * inputHeight + row) * inputWidth;
        this.padded.set(input.subarray(first, first + inputWidth), (channel * height + row + padding) * width + padding);
      }
    }
    return this.padded;
  }

  private multiplyPosition(drives: Uint8Array, corner: number, position: number, keys: readonly MultiplyKey[]): void {
    const { layer, accumulators, codes, counts } = this;
    const outputs = accumulators.length;
    accumulators.fill(0);
    for (let tile = 0; tile < layer.tiles.length; tile += 1) {
      this.gather(drives, corner, this.offsets[tile]);
      for (let plane = 0; plane < layer.driveBits; plane += 1) {
        if (this.rowCounts[plane] === 0) continue;
        const { cells, rows, rowCounts, macro } = this;
        counts.saturations += macro.multiply(cells[tile], rows[plane], rowCounts[plane], layer.range, keys[tile], position, plane, codes);
        for (let output = 0; output < outputs; output += 1) accumulators[output] += (codes[output] - codes[outputs + output]) << plane;
      }
    }
    const stride = layer.outputHeight * layer.outputWidth;
    for (let output = 0; output < outputs; output += 1) {
      this.currents[output * stride + position] = accumulators[output] === 0 ? 0 : scale(accumulators[output], layer.current);
    }
  }

  /** Collects, plane by plane, which bit lines of a tile are driven. */
  private gather(drives: Uint8Array, corner: number, offsets: Int32Array): void {
    this.rowCounts.fill(0);
    for (let row = 0; row < offsets.length; row += 1) {
      const code = drives[corner + offsets[row]];
      if (code !== 0) this.drive(row, code);
    }
  }

  private drive(row: number, code: number): void {
    for (let plane = 0, rest = code; rest !== 0; plane += 1, rest >>= 1) {
      if ((rest & 1) === 1) {
        this.rows[plane][this.rowCounts[plane]] = row;
        this.rowCounts[plane] += 1;
      }
    }
  }

  private fire(): void {
    const { layer, membranes, spikes, currents, counts } = this;
    if (layer.neuron.kind !== lifKind) {
      stepAccumulate(membranes, currents, layer.neuron.negativeSlope);
      return;
    }
    counts.spikes = stepLif(membranes, spikes, currents, layer.neuron);
    if (layer.poolSize > 1) countPool(spikes, layer.outputChannels, layer.outputHeight, layer.outputWidth, layer.poolSize, this.output);
  }
}

/** The layers of a network with their membranes, timestep by timestep. */
interface SignalRun {
  step(frame: Uint8Array, inferenceNumber: number, timestep: number): { membranes: Int32Array; layers: readonly LayerCounts[] };
  /** No timestep follows. */
  end?(): void;
}

/** In TypeScript. */
class TwinRun implements SignalRun {
  private readonly layers: readonly LayerRun[];

  constructor(macro: Macro, program: RunProgram) {
    let firstTile = 0;
    this.layers = program.layers.map((layer) => {
      const run = new LayerRun(macro, layer, firstTile);
      firstTile += layer.tiles.length;
      return run;
    });
  }

  step(frame: Uint8Array, inferenceNumber: number, timestep: number): { membranes: Int32Array; layers: readonly LayerCounts[] } {
    let signal = frame;
    for (const layer of this.layers) {
      layer.step(signal, inferenceNumber, timestep);
      signal = layer.output;
    }
    return { membranes: this.layers[this.layers.length - 1].membranes, layers: this.layers.map(({ counts }) => ({ ...counts })) };
  }
}

/** In the kernel, with the same result to the bit. */
class KernelRun implements SignalRun {
  private readonly membranes: MembraneOwner = {};

  constructor(private readonly macro: Macro, private readonly program: RunProgram, private readonly network: KernelNetwork) {}

  step(frame: Uint8Array, inferenceNumber: number, timestep: number): { membranes: Int32Array; layers: readonly LayerCounts[] } {
    const { macro, program } = this;
    const { membranes, layers, drives, energyFemtojoules } = this.network.step(this.membranes, frame, inferenceNumber, timestep, macro.energyFemtojoules);
    macro.energyFemtojoules = energyFemtojoules;
    macro.noteDrives(this.network);
    layers.forEach(({ saturations }, index) => {
      macro.accountDrives(2 * program.layers[index].outputChannels, drives[index]);
      macro.saturations += saturations;
    });
    return { membranes, layers };
  }

  end(): void {
    this.network.release(this.membranes);
  }
}

/** One inference on the device: a program, the frames of a recording, timestep after timestep until it is confident or out of frames. */
export class NetworkRun {
  timesteps = 0;
  stoppedEarly = false;
  private readonly signal: SignalRun;
  private readonly gate: StopGate | undefined;
  private readonly sums: Float64Array;
  private readonly frameCodes: number;

  /** @param frames T × C × H × W drive codes, one a byte */
  constructor(
    macro: Macro,
    private readonly program: RunProgram,
    private readonly frames: Uint8Array,
    private readonly inferenceNumber: number,
    private readonly earlyStop?: EarlyStopRule,
  ) {
    const network = macro.kernelNetwork(program);
    this.signal = network === undefined ? new TwinRun(macro, program) : new KernelRun(macro, program, network);
    this.frameCodes = program.inputChannels * program.inputHeight * program.inputWidth;
    const { outputChannels, outputHeight, outputWidth } = program.layers[program.layers.length - 1];
    const outputs = outputChannels * outputHeight * outputWidth;
    this.sums = new Float64Array(outputs);
    if (earlyStop !== undefined) this.gate = new StopGate(outputs, earlyStop.confidence, earlyStop.rule);
  }

  /** Runs one timestep; undefined when the run is over. */
  step(): TimestepOutcome | undefined {
    if (this.stoppedEarly || this.timesteps === this.program.timestepCount) return undefined;
    const timestep = this.timesteps;
    const frame = this.frames.subarray(timestep * this.frameCodes, (timestep + 1) * this.frameCodes);
    const { membranes, layers } = this.signal.step(frame, this.inferenceNumber, timestep);
    this.timesteps += 1;
    for (let output = 0; output < membranes.length; output += 1) this.sums[output] += membranes[output];
    const confidenceQ24 = this.gate?.add(membranes) ?? 0;
    this.stoppedEarly = this.earlyStop !== undefined && isConfident(this.earlyStop, timestep, confidenceQ24) && this.timesteps < this.program.timestepCount;
    const outcome = { timestep, membranes: Array.from(membranes), layers, confidenceQ24 };
    if (this.stoppedEarly || this.timesteps === this.program.timestepCount) this.signal.end?.();
    return outcome;
  }

  /** The class with the largest sum of membranes so far, the lowest where several are equal. */
  get prediction(): number {
    return this.sums.indexOf(Math.max(...this.sums));
  }
}
