import { MacroError } from '../../proto/error.js';
import type { Bundle } from './bundle.js';
import { type LayerGeometry, layerGeometries, type NetworkLayer, weightShape } from './network.js';

/** One layer of the masked network in real numbers: what programs other than this one can run. */
export interface FloatLayer {
  readonly name: string;
  readonly layer: NetworkLayer;
  readonly geometry: LayerGeometry;
  /** Channels, height and width of what the layer before hands on, or its outputs. */
  readonly inputShape: readonly number[];
  /** Before the pool. */
  readonly neuronShape: readonly number[];
  /** Network units: conductance × weightScale × mask, in the order of the bundle. */
  readonly weights: Float32Array;
  readonly shape: readonly number[];
}

/**
 * The layers of a bundle that holds its weights.
 * @throws MacroError BAD_BUNDLE where they are on a chip
 */
export function floatLayers({ network, layers }: Omit<Bundle, 'digest'>): FloatLayer[] {
  const geometries = layerGeometries(network);
  let handedOn: readonly number[] = [network.input.channels, network.input.height, network.input.width];
  return network.layers.map((layer, index) => {
    const { mask, weight } = layers[index];
    if (weight === undefined) {
      const problem = `${layer.name}.weight.npy is missing: the weights are on a chip, and no snapshot of it is given (--snapshot)`;
      throw new MacroError('BAD_BUNDLE', problem, { field: 'snapshot' });
    }
    const weights = weight.map((microsiemens, synapse) => (mask[synapse] === 1 ? microsiemens * network.weightScale : 0));
    const geometry = geometries[index];
    const { outputChannels, outputHeight, outputWidth, poolSize } = geometry;
    const [inputShape, isLinear] = [handedOn, layer.type === 'linear'];
    handedOn = isLinear ? [outputChannels] : [outputChannels, outputHeight / poolSize, outputWidth / poolSize];
    const neuronShape = isLinear ? [outputChannels] : [outputChannels, outputHeight, outputWidth];
    return { name: layer.name, layer, geometry, inputShape, neuronShape, weights, shape: weightShape(layer) };
  });
}
