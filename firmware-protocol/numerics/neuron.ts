import { type Scale, saturateInt32, scale } from './round.js';

export interface LifParameters {
  /** Membrane units. */
  readonly threshold: number;
  readonly leak: Scale;
  readonly negativeSlope: Scale;
}

/**
 * One timestep of leaky integrate-and-fire neurons, in the order of the published network (PRIME §2): clear where the neuron spiked, leak,
 * integrate, LeakyReLU, fire above the threshold. Membranes are int32 and saturate.
 *
 * @param membranes membrane units, changed in place
 * @param spikes 1 where a neuron spiked in the last timestep; holds this timestep's spikes afterwards
 * @param currents membrane units
 * @returns the number of spikes
 */
export function stepLif(membranes: Int32Array, spikes: Uint8Array, currents: Int32Array, parameters: LifParameters): number {
  const { threshold, leak, negativeSlope } = parameters;
  let fired = 0;
  for (let index = 0; index < membranes.length; index += 1) {
    const kept = spikes[index] === 1 ? 0 : scale(membranes[index], leak);
    let membrane = saturateInt32(kept + currents[index]);
    if (membrane < 0) membrane = scale(membrane, negativeSlope);
    membranes[index] = membrane;
    const spike = membrane > threshold ? 1 : 0;
    spikes[index] = spike;
    fired += spike;
  }
  return fired;
}

/** One timestep of output neurons: integrate and LeakyReLU, no leak, no reset, no spike. Units as in `stepLif`. */
export function stepAccumulate(membranes: Int32Array, currents: Int32Array, negativeSlope: Scale): void {
  for (let index = 0; index < membranes.length; index += 1) {
    const membrane = saturateInt32(membranes[index] + currents[index]);
    membranes[index] = membrane < 0 ? scale(membrane, negativeSlope) : membrane;
  }
}

/**
 * Counts spikes over size × size squares; a row or column that does not fill a square is left out.
 *
 * @param spikes channel × height × width
 * @param counts channel × floor(height/size) × floor(width/size), overwritten
 */
export function countPool(spikes: Uint8Array, channels: number, height: number, width: number, size: number, counts: Uint8Array): void {
  const outputHeight = Math.floor(height / size);
  const outputWidth = Math.floor(width / size);
  let at = 0;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let row = 0; row < outputHeight; row += 1) {
      for (let column = 0; column < outputWidth; column += 1) {
        let count = 0;
        for (let dy = 0; dy < size; dy += 1) {
          const first = (channel * height + row * size + dy) * width + column * size;
          for (let dx = 0; dx < size; dx += 1) count += spikes[first + dx];
        }
        counts[at] = count;
        at += 1;
      }
    }
  }
}
