import { confidenceOne, type EarlyStopRule, isConfident, StopGate } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { type CompiledNetwork, earlyStopAt } from '../network/compile.js';
import { roundSixDecimals } from './result.js';

/**
 * Recomputes on the host what the device decided: the confidence of each timestep from its integer membranes, and where to stop. A device
 * that disagrees does not follow NUMERICS.md, and its answer is refused.
 */
export class HostGate {
  readonly #gate: StopGate;
  readonly #sums: Float64Array;
  readonly #timestepCount: number;
  readonly #unitsPerNetworkUnit: number;
  readonly #rule: EarlyStopRule;
  readonly #stops: boolean;
  #timesteps = 0;
  #confidenceQ24 = 0;

  /** @param earlyStop as the device was told it; undefined to run all timesteps */
  constructor(compiled: CompiledNetwork, earlyStop: EarlyStopRule | undefined) {
    const { timestepCount, layers } = compiled.program;
    const outputs = layers[layers.length - 1].outputChannels;
    this.#rule = earlyStop ?? earlyStopAt(compiled);
    this.#stops = earlyStop !== undefined;
    this.#gate = new StopGate(outputs, this.#rule.confidence, this.#rule.rule);
    this.#sums = new Float64Array(outputs);
    this.#timestepCount = timestepCount;
    this.#unitsPerNetworkUnit = compiled.membraneUnitsPerNetworkUnit;
  }

  /** @param membranes of the output layer after the timestep, membrane units */
  add(timestep: number, membranes: ArrayLike<number>): void {
    if (timestep !== this.#timesteps || membranes.length !== this.#sums.length) {
      this.#refuse(`timestep ${timestep} with ${membranes.length} outputs came, ${this.#timesteps} with ${this.#sums.length} was due`);
    }
    if (this.isConfident) this.#refuse(`timestep ${timestep} came after the confidence had passed the threshold`);
    for (let output = 0; output < this.#sums.length; output += 1) this.#sums[output] += membranes[output];
    this.#confidenceQ24 = this.#gate.add(membranes);
    this.#timesteps += 1;
  }

  /** Whether the rule has stopped it. */
  get isConfident(): boolean {
    return this.#stops && this.#timesteps > 0 && isConfident(this.#rule, this.#timesteps - 1, this.#confidenceQ24);
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
    const isComplete = this.isConfident || timesteps === this.#timestepCount;
    if (!isComplete) this.#refuse(`it stopped after ${timesteps} of ${this.#timestepCount} timesteps`);
    if (device.prediction !== this.prediction) this.#refuse(`it reads class ${device.prediction}, the host reads ${this.prediction}`);
    return this.decision;
  }

  /** What the timesteps that were added come to. */
  get decision() {
    const timesteps = this.#timesteps;
    const units = this.#unitsPerNetworkUnit * timesteps;
    return {
      prediction: this.prediction,
      stoppedAtTimestep: timesteps,
      confidence: this.confidence,
      outputMean: Array.from(this.#sums, (sum) => roundSixDecimals(sum / units)),
    };
  }
}
