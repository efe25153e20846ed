import { ConfidenceGate, confidenceOne } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import type { CompiledNetwork, EarlyStop } from '../network/compile.js';
import { roundSixDecimals } from './result.js';

/**
 * Recomputes on the host what the device decided: the confidence of each timestep from its integer membranes, and where to stop. A device
 * that disagrees does not follow NUMERICS.md, and its answer is refused.
 */
export class HostGate {
  readonly #gate: ConfidenceGate;
  readonly #sums: Float64Array;
  readonly #timestepCount: number;
  readonly #unitsPerNetworkUnit: number;
  readonly #thresholdQ24: number;
  #timesteps = 0;
  #confidenceQ24 = 0;

  /** @param earlyStop as the device was told it; undefined to run all timesteps */
  constructor(compiled: CompiledNetwork, earlyStop: EarlyStop | undefined) {
    const { timestepCount, layers } = compiled.program;
    const outputs = layers[layers.length - 1].outputChannels;
    this.#gate = new ConfidenceGate(outputs, compiled.confidence);
    this.#sums = new Float64Array(outputs);
    this.#timestepCount = timestepCount;
    this.#unitsPerNetworkUnit = compiled.membraneUnitsPerNetworkUnit;
    this.#thresholdQ24 = earlyStop?.thresholdQ24 ?? Number.POSITIVE_INFINITY;
  }

  /** @param membranes of the output layer after the timestep, membrane units */
  add(timestep: number, membranes: ArrayLike<number>): void {
    if (timestep !== this.#timesteps || membranes.length !== this.#sums.length) {
      this.#refuse(`timestep ${timestep} with ${membranes.length} outputs came, ${this.#timesteps} with ${this.#sums.length} was due`);
    }
    if (this.#isConfident) this.#refuse(`timestep ${timestep} came after the confidence had passed the threshold`);
    for (let output = 0; output < this.#sums.length; output += 1) this.#sums[output] += membranes[output];
    this.#confidenceQ24 = this.#gate.add(membranes);
    this.#timesteps += 1;
  }

  get #isConfident(): boolean {
    return this.#timesteps > 0 && this.#confidenceQ24 > this.#thresholdQ24;
  }

  #refuse(problem: string): never {
    throw new MacroError('PROTOCOL_VIOLATION', `the early stop of the device differs from the host's: ${problem}`);
  }

  /** After the last timestep that was added, rounded to 6 decimals. */
  get confidence(): number {
    return roundSixDecimals(this.#confidenceQ24 / confidenceOne);
  }

  /** Class with the largest sum so far, the lowest where several are equal. */
  get prediction(): number {
    return this.#sums.indexOf(Math.max(...this.#sums));
  }

  /**
   * The decision, after the device has said that it is done.
   *
   * @throws MacroError PROTOCOL_VIOLATION where the device stopped elsewhere or names another class
   */
  decide(device: { readonly timesteps: number; readonly prediction: number }) {
    const timesteps = this.#timesteps;
    if (device.timesteps !== timesteps) this.#refuse(`it states ${device.timesteps} timesteps and sent ${timesteps}`);
    const isComplete = this.#isConfident || timesteps === this.#timestepCount;
    if (!isComplete) this.#refuse(`it stopped after ${timesteps} of ${this.#timestepCount} timesteps`);
    if (device.prediction !== this.prediction) this.#refuse(`it reads class ${device.prediction}, the host reads ${this.prediction}`);
    const units = this.#unitsPerNetworkUnit * timesteps;
    return {
      prediction: this.prediction,
      stoppedAtTimestep: timesteps,
      confidence: this.confidence,
      outputMean: Array.from(this.#sums, (sum) => roundSixDecimals(sum / units)),
    };
  }
}
