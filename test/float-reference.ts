// The masked network in plain float64, written from the description of the neuron and from nothing else of this project: what exports are held against.
import type { FloatLayer } from '../server/network/float-network.js';

export interface ReferenceRun {
  /** Of the output layer after every timestep, [T][outputs]. */
  readonly membranes: number[][];
  /** How near any hidden membrane has come to its threshold, before it was compared. */
  readonly nearestToThreshold: number;
}

function convolve(input: Float64Array, { layer, geometry, weights }: FloatLayer): Float64Array {
  if (layer.type === 'linear') {
    const { inputs, outputs } = layer;
    return Float64Array.from({ length: outputs }, (_, output) => input.reduce((sum, value, index) => sum + value * weights[output * inputs + index], 0));
  }
  const { kernel, stride, padding } = layer;
  const { inputChannels, inputHeight, inputWidth, outputChannels, outputHeight, outputWidth } = geometry;
  const currents = new Float64Array(outputChannels * outputHeight * outputWidth);
  currents.forEach((_, at) => {
    const [x, y, output] = [at % outputWidth, Math.floor(at / outputWidth) % outputHeight, Math.floor(at / (outputWidth * outputHeight))];
    for (let channel = 0; channel < inputChannels; channel += 1) {
      for (let row = 0; row < kernel; row += 1) {
        for (let column = 0; column < kernel; column += 1) {
          const [fromY, fromX] = [y * stride + row - padding, x * stride + column - padding];
          if (fromY < 0 || fromX < 0 || fromY >= inputHeight || fromX >= inputWidth) continue;
          const weight = weights[((output * inputChannels + channel) * kernel + row) * kernel + column];
          currents[at] += weight * input[(channel * inputHeight + fromY) * inputWidth + fromX];
        }
      }
    }
  });
  return currents;
}

function averages(spikes: Float64Array, { geometry: { outputChannels, outputHeight, outputWidth, poolSize } }: FloatLayer): Float64Array {
  const [height, width] = [outputHeight / poolSize, outputWidth / poolSize];
  const means = new Float64Array(outputChannels * height * width);
  spikes.forEach((spike, at) => {
    const [x, y, channel] = [at % outputWidth, Math.floor(at / outputWidth) % outputHeight, Math.floor(at / (outputWidth * outputHeight))];
    means[(channel * height + Math.floor(y / poolSize)) * width + Math.floor(x / poolSize)] += spike / poolSize ** 2;
  });
  return means;
}

const leakyRelu = (value: number, slope: number) => (value < 0 ? slope * value : value);

/** @param frames event counts, [T, channels, height, width] */
export function runReference(layers: readonly FloatLayer[], frames: Uint8Array, timestepCount: number): ReferenceRun {
  const states = layers.map(({ neuronShape }) => {
    const count = neuronShape.reduce((product, size) => product * size, 1);
    return { membranes: new Float64Array(count), spikes: new Float64Array(count) };
  });
  let nearestToThreshold = Number.POSITIVE_INFINITY;
  const membranes = Array.from({ length: timestepCount }, (_, timestep) => {
    const pixels = frames.length / timestepCount;
    let signal: Float64Array = Float64Array.from(frames.subarray(timestep * pixels, (timestep + 1) * pixels));
    layers.forEach((floatLayer, index) => {
      const { neuron } = floatLayer.layer;
      const state = states[index];
      convolve(signal, floatLayer).forEach((current, at) => {
        const kept = neuron.type === 'lif' ? neuron.leak * state.membranes[at] * (1 - state.spikes[at]) : state.membranes[at];
        state.membranes[at] = leakyRelu(kept + current, neuron.negativeSlope);
        if (neuron.type !== 'lif') return;
        nearestToThreshold = Math.min(nearestToThreshold, Math.abs(state.membranes[at] - neuron.threshold));
        state.spikes[at] = state.membranes[at] > neuron.threshold ? 1 : 0;
      });
      signal = floatLayer.geometry.poolSize > 1 ? averages(state.spikes, floatLayer) : state.spikes.slice();
    });
    return [...states[states.length - 1].membranes];
  });
  return { membranes, nearestToThreshold };
}
