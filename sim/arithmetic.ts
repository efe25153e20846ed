import {
  confidenceMultiplierMaximum, confidenceShiftMaximum, convert, type Scale, StopGate, scale, stepAccumulate, stepLif, stopRules,
} from '../firmware-protocol/numerics/index.js';
import { type Arithmetic, type ArithmeticOperations, type ArithmeticResult, neuronKinds } from '../proto/message.js';
import { Refusal } from './task.js';

const listLimit = 64;
/** Below it every product is exact in a double and in a 64-bit register (NUMERICS.md §"Rounding and scales"). */
const productLimit = 2 ** 52;
const scaleMaximum = { multiplier: 2 ** 26, shift: 52 };
const gainMaximum = 2 ** 20;

type Answer = Partial<ArithmeticResult> | Refusal;

const refuse = (field: string, value: unknown, minimum: number, maximum: number) =>
  new Refusal('REQUEST_INVALID', `${field} is ${value}; the range is ${minimum} to ${maximum}`);

/** Checks what all operations share: how long lists are, and that they fit one another. */
function listProblem(name: string, lists: Record<string, { readonly length: number }>): Refusal | undefined {
  const [first, ...others] = Object.entries(lists);
  if (first[1].length < 1 || first[1].length > listLimit) return refuse(`${name}.${first[0]}.length`, first[1].length, 1, listLimit);
  const odd = others.find(([, { length }]) => length !== first[1].length);
  return odd && refuse(`${name}.${odd[0]}.length`, odd[1].length, first[1].length, first[1].length);
}

function scaleProblem(field: string, by: Scale | null | undefined, maximum: { multiplier: number; shift: number }): Refusal | undefined {
  if (!by) return new Refusal('REQUEST_INVALID', `${field} is missing`);
  if (by.multiplier > maximum.multiplier) return refuse(`${field}.multiplier`, by.multiplier, 0, maximum.multiplier);
  return by.shift > maximum.shift ? refuse(`${field}.shift`, by.shift, 0, maximum.shift) : undefined;
}

function scaleAll({ by, values }: ArithmeticOperations['scale']): Answer {
  const problem = listProblem('scale', { values }) ?? scaleProblem('scale.by', by, scaleMaximum);
  if (problem !== undefined) return problem;
  const limit = productLimit / Math.max(1, by.multiplier);
  const wrong = values.find((value) => !Number.isInteger(value) || Math.abs(value) >= limit);
  if (wrong !== undefined) return refuse('scale.values', wrong, -Math.ceil(limit - 1), Math.ceil(limit - 1));
  return { values: values.map((value) => scale(value, by)) };
}

function convertAll({ gainQ20, offset, sums, noise_256: noise }: ArithmeticOperations['convert']): Answer {
  const problem = listProblem('convert', { sums, noise_256: noise });
  if (problem !== undefined) return problem;
  if (gainQ20 > gainMaximum) return refuse('convert.gainQ20', gainQ20, 0, gainMaximum);
  const limit = productLimit / Math.max(1, gainQ20);
  const wrong = sums.find((sum, index) => Math.abs(sum * 256 + noise[index]) >= limit);
  if (wrong !== undefined) return refuse('convert.sums', wrong, -Math.floor(limit / 256), Math.floor(limit / 256));
  return { values: sums.map((sum, index) => convert(sum, noise[index], gainQ20, offset)) };
}

function stepNeurons({ neuron, membranes, spikes, currents }: ArithmeticOperations['neuron']): Answer {
  if (!neuron) return new Refusal('REQUEST_INVALID', 'neuron.neuron is missing');
  const isFiring = neuron.kind === neuronKinds.lif;
  const problem = listProblem('neuron', { membranes, currents, ...(isFiring && { spikes }) })
    ?? (isFiring ? scaleProblem('neuron.leak', neuron.leak, scaleMaximum) : undefined)
    ?? scaleProblem('neuron.negativeSlope', neuron.negativeSlope, scaleMaximum);
  if (problem !== undefined) return problem;
  const after = Int32Array.from(membranes);
  const fired = spikes.slice();
  if (isFiring) stepLif(after, fired, Int32Array.from(currents), neuron);
  else stepAccumulate(after, Int32Array.from(currents), neuron.negativeSlope);
  return { membranes: Array.from(after), spikes: isFiring ? fired : new Uint8Array(0) };
}

function gate({ confidence, outputs, membranes, rule }: ArithmeticOperations['gate']): Answer {
  const maximum = { multiplier: confidenceMultiplierMaximum, shift: confidenceShiftMaximum };
  const problem = listProblem('gate', { membranes }) ?? scaleProblem('gate.confidence', confidence, maximum);
  if (problem !== undefined) return problem;
  if (outputs < 1 || membranes.length % outputs !== 0) return refuse('gate.outputs', outputs, 1, membranes.length);
  if (rule >= stopRules.length) return refuse('gate.rule', rule, 0, stopRules.length - 1);
  const decided = new StopGate(outputs, confidence, stopRules[rule]);
  const confidenceQ24: number[] = [];
  for (let at = 0; at < membranes.length; at += outputs) confidenceQ24.push(decided.add(membranes.slice(at, at + outputs)));
  return { confidenceQ24, prediction: decided.prediction };
}

/** The integer operations of the board's own pipeline, on numbers of the host. */
export function calculate(operation: Arithmetic): Answer {
  if (operation.scale) return scaleAll(operation.scale);
  if (operation.convert) return convertAll(operation.convert);
  if (operation.neuron) return stepNeurons(operation.neuron);
  if (operation.gate) return gate(operation.gate);
  return new Refusal('REQUEST_INVALID', 'operation is missing');
}
