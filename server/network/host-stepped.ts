import { maximumPayloadBytes } from '../../firmware-protocol/limits.js';
import { countPool, type EarlyStopRule, isConfident, StopGate, scale, stepAccumulate, stepLif } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import {
  type Drive, type Layer, type LayerCounts, type MethodRequests, type MultiplyResult, neuronKinds, type RunResult,
  type TimestepResult,
} from '../../proto/message.js';
import type { CompiledNetwork } from './compile.js';
import type { TilePlacement } from './placement.js';

export type { LayerCounts, MultiplyResult, RunResult, TimestepResult };

/** Raw binary multiplies of one tile; each drive names its position and bit plane. */
export type MultiplyRequest = MethodRequests['multiply'];

/** The one verb that a board without neuron firmware needs. Codes come little-endian, drive by drive, in the order of the source lines. */
export interface MultiplyDevice {
  multiply(request: MultiplyRequest): Promise<MultiplyResult>;
}

/** Enough to hide the round trip, well below the 32 that a device may have to hold. */
const requestsInFlight = 8;
/** Of a message, what is neither codes nor drives: ids, deadline, field tags. */
const messageOverheadBytes = 72;
const driveOverheadBytes = 12;
const lineNumberBytes = 2;

/** How many drives of a tile fit one message each way. */
function drivesPerRequest(tile: TilePlacement, lineCount: number, codeBytes: number): number {
  const room = maximumPayloadBytes - messageOverheadBytes;
  const down = (room - lineNumberBytes * lineCount) / (driveOverheadBytes + Math.ceil(tile.inputCount / 8));
  const count = Math.floor(Math.min(down, room / (lineCount * codeBytes)));
  if (count < 1) {
    const most = Math.floor(room / codeBytes / 2);
    throw new MacroError('NETWORK_TOO_LARGE', `a layer of ${lineCount / 2} outputs cannot be host-stepped, the limit is ${most}`);
  }
  return count;
}

/** Totals of what the device reports. */
interface Bill { operationNanoseconds: number; energyFemtojoules: number }

interface StepKey { readonly inferenceNumber: number; readonly timestep: number }

/** One layer whose multiplies the device does and whose neurons the host steps, in the integers of NUMERICS.md. */
class HostLayer {
  readonly membranes: Int32Array;
  readonly output: Uint8Array;
  counts: LayerCounts = { conversions: 0, saturations: 0, spikes: 0 };
  private readonly spikes: Uint8Array;
  private readonly accumulators: Int32Array;
  private readonly positions: number;

  constructor(private readonly layer: Layer, private readonly firstTile: number, private readonly codeBytes: 2 | 4) {
    const { outputChannels, outputHeight, outputWidth, poolSize } = layer;
    this.positions = outputHeight * outputWidth;
    const neurons = outputChannels * this.positions;
    this.membranes = new Int32Array(neurons);
    this.spikes = new Uint8Array(neurons);
    this.accumulators = new Int32Array(neurons);
    const pooled = outputChannels * Math.floor(outputHeight / poolSize) * Math.floor(outputWidth / poolSize);
    this.output = poolSize === 1 ? this.spikes : new Uint8Array(pooled);
  }

  async step(device: MultiplyDevice, input: Uint8Array, key: StepKey, bill: Bill, signal: AbortSignal | undefined): Promise<void> {
    this.accumulators.fill(0);
    this.counts = { conversions: 0, saturations: 0, spikes: 0 };
    await inParallel(this.requests(input, key), async (request) => {
      if (signal?.aborted) throw new MacroError('CANCELLED', 'the run was stopped between multiplies');
      const result = await device.multiply(request);
      bill.operationNanoseconds += result.operationNanoseconds;
      bill.energyFemtojoules += result.energyFemtojoules;
      this.add(request, result);
    });
    this.fire();
  }

  private *requests(input: Uint8Array, key: StepKey): Generator<MultiplyRequest> {
    const { layer, codeBytes } = this;
    for (const [index, tile] of layer.tiles.entries()) {
      const sourceLines = [...tile.plusLines, ...tile.minusLines];
      const most = drivesPerRequest(tile, sourceLines.length, codeBytes);
      const { firstBitLine, inputCount: bitLineCount } = tile;
      const common = { firstBitLine, bitLineCount, sourceLines, range: layer.range, ...key, tile: this.firstTile + index };
      let drives: Drive[] = [];
      for (const drive of this.drives(tile, input)) {
        drives.push(drive);
        if (drives.length < most) continue;
        yield { ...common, drives };
        drives = [];
      }
      if (drives.length > 0) yield { ...common, drives };
    }
  }

  /** Bit planes with a driven line, position by position. */
  private *drives(tile: TilePlacement, input: Uint8Array): Generator<Drive> {
    const planes = Array.from({ length: this.layer.driveBits }, () => new Uint8Array(Math.ceil(tile.inputCount / 8)));
    for (let position = 0; position < this.positions; position += 1) {
      let driven = 0;
      for (const lines of planes) lines.fill(0);
      for (let row = 0; row < tile.inputCount; row += 1) {
        const code = this.codeAt(input, position, tile.firstInput + row);
        if (code === 0) continue;
        driven |= code;
        planes.forEach((lines, plane) => {
          if ((code >> plane) & 1) lines[row >> 3] |= 1 << (row & 7);
        });
      }
      for (const [plane, lines] of planes.entries()) if ((driven >> plane) & 1) yield { position, plane, lines: lines.slice() };
    }
  }

  /** The drive code of an input (channel, ky, kx) at an output position; padding is not driven. */
  private codeAt(input: Uint8Array, position: number, index: number): number {
    const { kernel, stride, padding, inputHeight, inputWidth, outputWidth } = this.layer;
    const x = (position % outputWidth) * stride - padding + (index % kernel);
    const y = Math.floor(position / outputWidth) * stride - padding + (Math.floor(index / kernel) % kernel);
    if (x < 0 || y < 0 || x >= inputWidth || y >= inputHeight) return 0;
    const channel = Math.floor(index / (kernel * kernel));
    return input[(channel * inputHeight + y) * inputWidth + x];
  }

  /** Subtracts pairs, weighs planes, adds tiles. */
  private add(request: MultiplyRequest, result: MultiplyResult): void {
    const lineCount = request.sourceLines.length;
    const outputs = lineCount / 2;
    const { codes } = result;
    const expected = request.drives.length * lineCount * this.codeBytes;
    if (codes.length !== expected) throw new MacroError('PROTOCOL_VIOLATION', `a multiply gave ${codes.length} bytes for ${expected}`);
    const view = new DataView(codes.buffer, codes.byteOffset, codes.byteLength);
    const codeAt = this.codeBytes === 2 ? (at: number) => view.getUint16(2 * at, true) : (at: number) => view.getInt32(4 * at, true);
    request.drives.forEach(({ position, plane }, drive) => {
      for (let output = 0; output < outputs; output += 1) {
        const at = drive * lineCount + output;
        this.accumulators[output * this.positions + position] += (codeAt(at) - codeAt(at + outputs)) * 2 ** plane;
      }
    });
    this.counts.conversions += request.drives.length * lineCount;
    this.counts.saturations += result.saturations;
  }

  private fire(): void {
    const { layer, membranes, spikes, counts } = this;
    const { outputChannels, outputHeight, outputWidth, poolSize } = layer;
    const currents = this.accumulators.map((sum) => scale(sum, layer.current));
    if (layer.neuron.kind !== neuronKinds.lif) {
      stepAccumulate(membranes, currents, layer.neuron.negativeSlope);
      return;
    }
    counts.spikes = stepLif(membranes, spikes, currents, layer.neuron);
    if (poolSize > 1) countPool(spikes, outputChannels, outputHeight, outputWidth, poolSize, this.output);
  }
}

/** Does work on each item, a few at once. After a failure nothing new begins; what has begun is awaited. */
async function inParallel<Item>(items: Iterable<Item>, work: (item: Item) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const worker = async () => {
    for (let next = rest.next(); !failed && !next.done; next = rest.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: requestsInFlight }, worker));
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure) throw failure.reason;
}

/**
 * Runs a network on a device that only multiplies; the same integers as on-device execution, so the same results to the bit.
 *
 * @param frames timesteps × channels × height × width drive codes, one a byte
 * @param earlyStop absent: all timesteps
 * @throws MacroError of the device; CANCELLED when the signal aborts; NETWORK_TOO_LARGE where one drive does not fit a message
 */
export async function runHostStepped(
  device: MultiplyDevice,
  compiled: CompiledNetwork,
  frames: Uint8Array,
  inferenceNumber: number,
  earlyStop: EarlyStopRule | undefined,
  onTimestep: (result: TimestepResult) => void,
  signal?: AbortSignal,
): Promise<RunResult> {
  const { program, codeBytes } = compiled;
  let firstTile = 0;
  const layers = program.layers.map((layer) => new HostLayer(layer, (firstTile += layer.tiles.length) - layer.tiles.length, codeBytes));
  const { membranes } = layers[layers.length - 1];
  const frameCodes = program.inputChannels * program.inputHeight * program.inputWidth;
  const gate = earlyStop && new StopGate(membranes.length, earlyStop.confidence, earlyStop.rule);
  const sums = new Float64Array(membranes.length);
  const bill: Bill = { operationNanoseconds: 0, energyFemtojoules: 0 };
  let timestep = 0;
  let stoppedEarly = false;
  for (; timestep < program.timestepCount && !stoppedEarly; timestep += 1) {
    let codes = frames.subarray(timestep * frameCodes, (timestep + 1) * frameCodes);
    for (const layer of layers) {
      await layer.step(device, codes, { inferenceNumber, timestep }, bill, signal);
      codes = layer.output;
    }
    membranes.forEach((membrane, output) => { sums[output] += membrane; });
    const confidenceQ24 = gate?.add(membranes) ?? 0;
    stoppedEarly = earlyStop !== undefined && isConfident(earlyStop, timestep, confidenceQ24) && timestep + 1 < program.timestepCount;
    onTimestep({ timestep, membranes: Array.from(membranes), layers: layers.map(({ counts }) => ({ ...counts })), confidenceQ24 });
  }
  return { timesteps: timestep, stoppedEarly, prediction: sums.indexOf(Math.max(...sums)), ...bill };
}
