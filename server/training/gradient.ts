import { layerGeometries, type LayerGeometry, layerInputs, layerOutputs, type Network, type NetworkLayer } from '../network/network.js';
import { type Kernel, Workspace } from './kernel.js';

/** The spike's slope is taken as 1 where the membrane is this near to the threshold (PRIME.md §4). */
const surrogateWindow = 0.5;

const padded = (outputs: number) => (outputs + 3) & ~3;

interface Neuron { readonly leak: number; readonly slope: number; readonly threshold: number; readonly isOutput: boolean }

function neuronOf({ neuron }: NetworkLayer): Neuron {
  if (neuron.type === 'accumulate') return { leak: 1, slope: neuron.negativeSlope, threshold: Number.POSITIVE_INFINITY, isOutput: true };
  return { leak: neuron.leak, slope: neuron.negativeSlope, threshold: neuron.threshold, isOutput: false };
}

/** One layer over all timesteps of one recording: what it saw, what it did, and what its weights should have been. */
class LayerTrace {
  readonly weights: Float32Array;
  readonly gradient: Float32Array;
  /** Per timestep: what the layer hands on (counts of a pool, or spikes). */
  readonly handedOn: Uint8Array[];
  readonly membranes: Float32Array[];
  readonly outputs: number;
  private readonly spikes: Uint8Array[];
  private readonly currents: Float32Array;
  private readonly errors: Float32Array;
  private readonly carried: Float32Array;
  private readonly neuron: Neuron;
  private readonly neurons: number;
  private readonly kernelSize: number;
  private readonly padding: number;
  private readonly inputScale: number;

  constructor(private readonly workspace: Workspace, layer: NetworkLayer, private readonly geometry: LayerGeometry, timestepCount: number) {
    if (layer.type === 'convolution' && layer.stride !== 1) throw new RangeError(`${layer.name}: training takes a stride of 1`);
    this.outputs = padded(layerOutputs(layer));
    this.neurons = this.outputs * geometry.outputHeight * geometry.outputWidth;
    this.kernelSize = layer.type === 'convolution' ? layer.kernel : 1;
    this.padding = layer.type === 'convolution' ? layer.padding : 0;
    this.inputScale = 1 / geometry.driveScale;
    this.neuron = neuronOf(layer);
    this.weights = workspace.floats(layerInputs(layer) * this.outputs);
    this.gradient = workspace.floats(this.weights.length);
    this.currents = workspace.floats(this.neurons);
    this.errors = workspace.floats(this.neurons);
    this.carried = workspace.floats(this.neurons);
    const perTimestep = <Array_>(make: () => Array_) => Array.from({ length: timestepCount }, make);
    this.membranes = perTimestep(() => workspace.floats(this.neurons));
    this.spikes = perTimestep(() => workspace.bytes(this.neurons));
    const { outputChannels, outputHeight, outputWidth, poolSize } = geometry;
    const handed = outputChannels * Math.floor(outputHeight / poolSize) * Math.floor(outputWidth / poolSize);
    this.handedOn = perTimestep(() => workspace.bytes(handed));
  }

  private get kernel(): Kernel {
    return this.workspace.kernel;
  }

  forward(timestep: number, input: Uint8Array): void {
    const { kernel, geometry, neuron, currents, neurons } = this;
    const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth, poolSize } = geometry;
    const { weights, outputs, kernelSize, padding, inputScale } = this;
    kernel.convolve(
      input.byteOffset, inputChannels, inputHeight, inputWidth, inputScale, weights.byteOffset, outputs, kernelSize, padding, currents.byteOffset,
    );
    const before = timestep === 0 ? 0 : this.membranes[timestep - 1].byteOffset;
    const spikesBefore = timestep === 0 ? 0 : this.spikes[timestep - 1].byteOffset;
    const spikes = this.spikes[timestep].byteOffset;
    kernel.fire(currents.byteOffset, before, spikesBefore, this.membranes[timestep].byteOffset, spikes, neurons, neuron.leak, neuron.slope, neuron.threshold);
    if (!neuron.isOutput) kernel.pool(spikes, outputChannels, outputs, outputHeight, outputWidth, poolSize, this.handedOn[timestep].byteOffset);
  }

  beginBackward(): void {
    this.carried.fill(0);
  }

  /** Takes ∂L/∂(membrane) of the output layer, or ∂L/∂(what was handed on) of a hidden one. */
  backward(timestep: number, errorsOfOutput: Float32Array, input: Uint8Array, errorsOfInput: Float32Array | undefined): void {
    const { kernel, geometry, neuron, errors, carried, neurons } = this;
    const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth, poolSize } = geometry;
    const { weights, outputs, kernelSize, padding, inputScale } = this;
    if (neuron.isOutput) this.accumulateBackwards(timestep, errorsOfOutput);
    else {
      kernel.unpool(errorsOfOutput.byteOffset, outputChannels, outputs, outputHeight, outputWidth, poolSize, errors.byteOffset);
      const { leak, slope, threshold } = neuron;
      const [membranes, spikes] = [this.membranes[timestep].byteOffset, this.spikes[timestep].byteOffset];
      kernel.fireBackwards(errors.byteOffset, carried.byteOffset, membranes, spikes, neurons, leak, slope, threshold, surrogateWindow);
    }
    kernel.addWeightGradient(
      input.byteOffset, inputChannels, inputHeight, inputWidth, inputScale, errors.byteOffset, outputs, kernelSize, padding, this.gradient.byteOffset,
    );
    if (errorsOfInput === undefined) return;
    kernel.propagate(
      errors.byteOffset, inputChannels, inputHeight, inputWidth, inputScale, weights.byteOffset, outputs, kernelSize, padding,
      errorsOfInput.byteOffset,
    );
  }

  private accumulateBackwards(timestep: number, errorsOfMembranes: Float32Array): void {
    const membranes = this.membranes[timestep];
    for (let output = 0; output < errorsOfMembranes.length; output += 1) {
      const error = (errorsOfMembranes[output] + this.carried[output]) * (membranes[output] < 0 ? this.neuron.slope : 1);
      this.errors[output] = error;
      this.carried[output] = error;
    }
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

/**
 * A network that computes gradients: back-propagation through time with the surrogate slope of PRIME.md §4, the reset not detached, and the
 * cross-entropy of the time-mean output. Weights are in network units.
 */
export class GradientNetwork {
  private readonly layers: readonly LayerTrace[];
  private readonly frames: Uint8Array[];
  private readonly errorsBetween: readonly Float32Array[];
  private readonly classes: number;

  constructor(readonly network: Network) {
    const geometries = layerGeometries(network);
    const { timestepCount, input } = network;
    const workspace = new Workspace(workspaceBytes(network, geometries));
    this.layers = network.layers.map((layer, index) => new LayerTrace(workspace, layer, geometries[index], timestepCount));
    this.frames = Array.from({ length: timestepCount }, () => workspace.bytes(input.channels * input.height * input.width));
    this.errorsBetween = geometries.map(({ inputChannels, inputHeight, inputWidth }) => workspace.floats(inputChannels * inputHeight * inputWidth));
    this.classes = layerOutputs(network.layers[network.layers.length - 1]);
  }

  /** Sets a layer's weights, given in the order of the bundle: output by output. */
  setWeights(layer: number, weights: ArrayLike<number>): void {
    const { outputs, weights: target } = this.layers[layer];
    const inputs = target.length / outputs;
    target.fill(0);
    for (let index = 0; index < weights.length; index += 1) target[(index % inputs) * outputs + Math.floor(index / inputs)] = weights[index];
  }

  /** ∂L/∂(weight) summed since the last call of `clearGradients`, in the order of the bundle. */
  gradient(layer: number): Float32Array {
    const { outputs, gradient } = this.layers[layer];
    const inputs = gradient.length / outputs;
    const count = inputs * layerOutputs(this.network.layers[layer]);
    return Float32Array.from({ length: count }, (_, index) => gradient[(index % inputs) * outputs + Math.floor(index / inputs)]);
  }

  clearGradients(): void {
    for (const { gradient } of this.layers) gradient.fill(0);
  }

  /** The time mean of the output membranes after each timestep. @param codes T × C × H × W event counts */
  forward(codes: Uint8Array): number[][] {
    const { timestepCount } = this.network;
    const length = codes.length / timestepCount;
    const sums = new Array<number>(this.classes).fill(0);
    const means: number[][] = [];
    for (let timestep = 0; timestep < timestepCount; timestep += 1) {
      this.frames[timestep].set(codes.subarray(timestep * length, (timestep + 1) * length));
      let signal = this.frames[timestep];
      for (const layer of this.layers) {
        layer.forward(timestep, signal);
        signal = layer.handedOn[timestep];
      }
      const { membranes } = this.layers[this.layers.length - 1];
      for (let output = 0; output < this.classes; output += 1) sums[output] += membranes[timestep][output];
      means.push(sums.map((sum) => sum / (timestep + 1)));
    }
    return means;
  }

  /** Adds the gradient of one recording's loss to the sums. */
  learn(codes: Uint8Array, label: number): Outcome {
    const means = this.forward(codes)[this.network.timestepCount - 1];
    const probabilities = softmax(means);
    const { timestepCount } = this.network;
    const errors = Float32Array.from(probabilities, (probability, output) => (probability - (output === label ? 1 : 0)) / timestepCount);
    for (const layer of this.layers) layer.beginBackward();
    for (let timestep = timestepCount - 1; timestep >= 0; timestep -= 1) this.backward(timestep, errors);
    return { loss: -Math.log(Math.max(probabilities[label], 1e-30)), prediction: means.indexOf(Math.max(...means)) };
  }

  private backward(timestep: number, errorsOfMembranes: Float32Array): void {
    let errors = errorsOfMembranes;
    for (let index = this.layers.length - 1; index >= 0; index -= 1) {
      const input = index === 0 ? this.frames[timestep] : this.layers[index - 1].handedOn[timestep];
      const errorsOfInput = index === 0 ? undefined : this.errorsBetween[index];
      this.layers[index].backward(timestep, errors, input, errorsOfInput);
      if (errorsOfInput !== undefined) errors = errorsOfInput;
    }
  }
}

/** Room for everything that a network keeps, with a little for alignment. */
function workspaceBytes(network: Network, geometries: readonly LayerGeometry[]): number {
  const { timestepCount, input } = network;
  const alignment = 64 * (timestepCount + 8);
  const layers = network.layers.map((layer, index) => {
    const { outputHeight, outputWidth, inputChannels, inputHeight, inputWidth } = geometries[index];
    const neurons = padded(layerOutputs(layer)) * outputHeight * outputWidth;
    const weights = padded(layerOutputs(layer)) * layerInputs(layer);
    return 8 * weights + neurons * (12 + 6 * timestepCount) + 4 * inputChannels * inputHeight * inputWidth + 2 * alignment;
  });
  return layers.reduce((sum, bytes) => sum + bytes, 0) + timestepCount * (input.channels * input.height * input.width + 16);
}
