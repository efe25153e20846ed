import { layerGeometries, type LayerGeometry, layerInputs, layerOutputs, type Network, type NetworkLayer } from '../network/network.js';
import { Workspace } from './kernel.js';

/** The spike's slope is taken as 1 where the membrane is this near to the threshold (PRIME.md §4). */
const surrogateWindow = 0.5;

const padded = (channels: number) => (channels + 3) & ~3;
const floatBytes = 4;
/** An input that is not zero, in the kernel. */
const inputBytes = 8;

/** What a layer is fed with, pixel by pixel. */
interface Field { readonly channels: number; readonly height: number; readonly width: number }

function pooledField({ outputChannels: channels, outputHeight, outputWidth, poolSize }: LayerGeometry): Field {
  return { channels, height: outputHeight / poolSize, width: outputWidth / poolSize };
}

const sizeOf = ({ channels, height, width }: Field) => channels * height * width;

/** A window as the kernel slides it; that of a linear layer holds the whole field. */
function windowOf(layer: NetworkLayer, { height, width }: Field) {
  if (layer.type === 'linear') return { height, width, padding: 0, stride: 1 };
  return { height: layer.kernel, width: layer.kernel, padding: layer.padding, stride: layer.stride };
}

function neuronOf({ neuron }: NetworkLayer) {
  if (neuron.type === 'accumulate') return { leak: 1, slope: neuron.negativeSlope, threshold: Number.POSITIVE_INFINITY };
  return { leak: neuron.leak, slope: neuron.negativeSlope, threshold: neuron.threshold };
}

/**
 * Where the kernel has each weight of a bundle, which counts output, channel, ky, kx: among weights and gradients as [ky][kx][channel][output], and
 * transposed as [ky][kx][output][channel].
 */
function placesOf(outputs: number, channels: number, taps: number) {
  const count = outputs * channels * taps;
  const [paddedOutputs, paddedChannels] = [padded(outputs), padded(channels)];
  const weights = new Uint32Array(count);
  const transposed = new Uint32Array(count);
  for (let index = 0; index < count; index += 1) {
    const [tap, channel, output] = [index % taps, Math.floor(index / taps) % channels, Math.floor(index / (taps * channels))];
    weights[index] = (tap * channels + channel) * paddedOutputs + output;
    transposed[index] = (tap * paddedOutputs + output) * paddedChannels + channel;
  }
  return { weights, transposed, size: taps * channels * paddedOutputs, transposedSize: taps * paddedOutputs * paddedChannels };
}

/** Where among the gradients of all layers, one after the other, each weight of a bundle has its own. */
export function gradientPlaces(network: Network): { readonly places: Uint32Array; readonly size: number } {
  const geometries = layerGeometries(network);
  let size = 0;
  const places = network.layers.flatMap((layer, index) => {
    const fed = index === 0 ? network.input : pooledField(geometries[index - 1]);
    const window = windowOf(layer, fed);
    const { weights, size: own } = placesOf(layerOutputs(layer), fed.channels, window.height * window.width);
    const first = size;
    size += own;
    return Array.from(weights, (place) => first + place);
  });
  return { places: Uint32Array.from(places), size };
}

/** One layer over all timesteps of one recording: what it saw, what it did, and what its weights should have been. */
class LayerTrace {
  /** Of each timestep, what it hands on: counts of a pool, or spikes. Pixel by pixel, channels innermost. */
  readonly handedOn: readonly number[];
  readonly slope: number;
  private readonly at: number;
  private readonly membranesAt: readonly number[];
  private readonly outputs: number;
  private readonly neurons: number;
  private readonly places: ReturnType<typeof placesOf>;
  private readonly weights: number;
  private readonly transposed: number;
  private readonly gradientAt: number;
  private readonly errorsAt: number;

  constructor(private readonly workspace: Workspace, layer: NetworkLayer, fed: Field, geometry: LayerGeometry, timestepCount: number) {
    const { outputChannels, outputHeight, outputWidth, poolSize, driveScale } = geometry;
    const window = windowOf(layer, fed);
    this.outputs = padded(outputChannels);
    this.neurons = this.outputs * outputHeight * outputWidth;
    this.places = placesOf(outputChannels, fed.channels, window.height * window.width);
    const floats = (count: number) => workspace.take(count * floatBytes);
    this.weights = floats(this.places.size);
    this.transposed = floats(this.places.transposedSize);
    this.gradientAt = floats(this.places.size);
    this.errorsAt = floats(this.neurons);
    this.membranesAt = Array.from({ length: timestepCount }, () => floats(this.neurons));
    this.handedOn = Array.from({ length: timestepCount }, () => workspace.take(sizeOf(pooledField(geometry))));
    const neuron = neuronOf(layer);
    this.slope = neuron.slope;
    this.at = workspace.layer({
      inputHeight: fed.height, inputWidth: fed.width, inputChannels: fed.channels,
      kernelHeight: window.height, kernelWidth: window.width, padding: window.padding, stride: window.stride,
      outputHeight, outputWidth, outputChannels, outputs: this.outputs, poolSize,
      weights: this.weights, transposed: this.transposed, gradient: this.gradientAt,
      inputs: workspace.take(sizeOf(fed) * inputBytes), before: workspace.take(fed.height * (fed.width + 1) * 4),
      window: workspace.take(layerInputs(layer) * inputBytes),
      currents: floats(this.neurons), errors: this.errorsAt, sums: floats(4 * 12),
      inputScale: 1 / driveScale, ...neuron, surrogateWindow,
    });
  }

  membranes(timestep: number): Float32Array {
    return this.workspace.floats(this.membranesAt[timestep], this.neurons);
  }

  get errors(): Float32Array {
    return this.workspace.floats(this.errorsAt, this.neurons);
  }

  /** @param values in the order of the bundle */
  setWeights(values: ArrayLike<number>): void {
    const { places } = this;
    const weights = this.workspace.floats(this.weights, places.size);
    const transposed = this.workspace.floats(this.transposed, places.transposedSize);
    for (let index = 0; index < places.weights.length; index += 1) {
      weights[places.weights[index]] = values[index];
      transposed[places.transposed[index]] = values[index];
    }
  }

  /** As the kernel has it; `gradientPlaces` says where each weight's is. */
  get gradient(): Float32Array {
    return this.workspace.floats(this.gradientAt, this.places.size);
  }

  /** @param codes address of what the layer is fed with */
  forward(timestep: number, codes: number): void {
    const { kernel } = this.workspace;
    kernel.convolve(this.at, codes);
    kernel.fire(this.at, timestep === 0 ? 0 : this.membranesAt[timestep - 1], this.membranesAt[timestep]);
    kernel.pool(this.at, this.membranesAt[timestep], this.handedOn[timestep]);
  }

  /** Takes ∂L/∂(what it handed on) at an address; the errors of its currents are made from that and those of the timestep after. */
  fireBackwards(timestep: number, errorsOut: number): void {
    this.workspace.kernel.fireBackwards(this.at, errorsOut, this.membranesAt[timestep]);
  }

  /** From the errors of its currents to its gradient, and to those of what it was fed with, where an address is given. */
  backward(codes: number, errorsIn: number | undefined): void {
    this.workspace.kernel.addWeightGradient(this.at, codes);
    if (errorsIn !== undefined) this.workspace.kernel.propagate(this.at, errorsIn);
  }
}

export interface Outcome {
  readonly loss: number;
  readonly prediction: number;
}

function softmax(values: readonly number[]): number[] {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

const crossEntropy = (probabilities: readonly number[], label: number) => -Math.log(Math.max(probabilities[label], 1e-30));

/**
 * A network that computes gradients: back-propagation through time with the surrogate slope of PRIME.md §4, the reset not detached, and the
 * cross-entropy of the time-mean output. Weights are in network units.
 */
export class GradientNetwork {
  private readonly workspace = new Workspace();
  private readonly layers: readonly LayerTrace[];
  private readonly frames: readonly number[];
  private readonly frameBytes: number;
  private readonly errorsBetween: readonly number[];
  private readonly classes: number;

  /** @param timestepLossFraction of the loss that is the mean, over all timesteps, of the cross-entropy of the mean so far; the rest is that of the last */
  constructor(readonly network: Network, private readonly timestepLossFraction = 0) {
    const geometries = layerGeometries(network);
    const { timestepCount, input } = network;
    const { workspace } = this;
    this.layers = network.layers.map((layer, index) =>
      new LayerTrace(workspace, layer, index === 0 ? input : pooledField(geometries[index - 1]), geometries[index], timestepCount));
    this.frameBytes = sizeOf(input);
    this.frames = Array.from({ length: timestepCount }, () => workspace.take(this.frameBytes));
    this.errorsBetween = geometries.slice(0, -1).map((geometry) => {
      const { channels, ...pixels } = pooledField(geometry);
      return workspace.take(sizeOf({ channels: padded(channels), ...pixels }) * floatBytes);
    });
    this.classes = layerOutputs(network.layers[network.layers.length - 1]);
  }

  /** Sets a layer's weights, given in the order of the bundle: output by output. */
  setWeights(layer: number, weights: ArrayLike<number>): void {
    this.layers[layer].setWeights(weights);
  }

  /** ∂L/∂(weight) summed since the last call of `clearGradients`, layer by layer in places of its own. */
  get gradients(): readonly Float32Array[] {
    return this.layers.map(({ gradient }) => gradient);
  }

  clearGradients(): void {
    for (const { gradient } of this.layers) gradient.fill(0);
  }

  /** The time mean of the output membranes after each timestep. @param codes T × C × H × W event counts */
  forward(codes: Uint8Array): number[][] {
    const last = this.layers[this.layers.length - 1];
    const sums = new Array<number>(this.classes).fill(0);
    return this.frames.map((frame, timestep) => {
      this.placeFrame(codes.subarray(timestep * this.frameBytes, (timestep + 1) * this.frameBytes), frame);
      this.layers.forEach((layer, index) => { layer.forward(timestep, this.fed(index, timestep)); });
      const membranes = last.membranes(timestep);
      for (let output = 0; output < this.classes; output += 1) sums[output] += membranes[output];
      return sums.map((sum) => sum / (timestep + 1));
    });
  }

  /** Adds the gradient of one recording's loss to the sums. */
  learn(codes: Uint8Array, label: number): Outcome {
    const means = this.forward(codes);
    const probabilities = means.map(softmax);
    const shares = this.lossShares();
    for (const layer of this.layers) layer.errors.fill(0);
    const last = this.layers[this.layers.length - 1];
    const slopes = new Float64Array(this.classes);
    for (let timestep = means.length - 1; timestep >= 0; timestep -= 1) {
      for (let output = 0; output < this.classes; output += 1) {
        slopes[output] += (shares[timestep] * (probabilities[timestep][output] - (output === label ? 1 : 0))) / (timestep + 1);
      }
      this.accumulateBackwards(last, timestep, slopes);
      this.backward(timestep);
    }
    const loss = shares.reduce((sum, share, timestep) => sum + (share === 0 ? 0 : share * crossEntropy(probabilities[timestep], label)), 0);
    const decision = means[means.length - 1];
    return { loss, prediction: decision.indexOf(Math.max(...decision)) };
  }

  /** Of each timestep, its part of the loss. They add up to 1. */
  private lossShares(): number[] {
    const { timestepCount } = this.network;
    const each = this.timestepLossFraction / timestepCount;
    return Array.from({ length: timestepCount }, (_, timestep) => each + (timestep === timestepCount - 1 ? 1 - this.timestepLossFraction : 0));
  }

  /** What a layer is fed with at a timestep. */
  private fed(index: number, timestep: number): number {
    return index === 0 ? this.frames[timestep] : this.layers[index - 1].handedOn[timestep];
  }

  private backward(timestep: number): void {
    for (let index = this.layers.length - 1; index >= 0; index -= 1) {
      const errorsIn = index === 0 ? undefined : this.errorsBetween[index - 1];
      this.layers[index].backward(this.fed(index, timestep), errorsIn);
      if (errorsIn !== undefined) this.layers[index - 1].fireBackwards(timestep, errorsIn);
    }
  }

  /** The output neurons backwards. @param slopes ∂L/∂(membrane) of this timestep, not by way of later ones */
  private accumulateBackwards(layer: LayerTrace, timestep: number, slopes: Float64Array): void {
    const [membranes, errors] = [layer.membranes(timestep), layer.errors];
    for (let output = 0; output < this.classes; output += 1) {
      errors[output] = (slopes[output] + errors[output]) * (membranes[output] < 0 ? layer.slope : 1);
    }
  }

  /** Channel by channel to pixel by pixel. */
  private placeFrame(codes: Uint8Array, at: number): void {
    const { channels } = this.network.input;
    const frame = this.workspace.bytes(at, this.frameBytes);
    const pixels = this.frameBytes / channels;
    for (let channel = 0; channel < channels; channel += 1) {
      for (let pixel = 0, to = channel; pixel < pixels; pixel += 1, to += channels) frame[to] = codes[channel * pixels + pixel];
    }
  }
}
