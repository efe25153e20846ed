import { stopRulesCapability } from '../../../proto/method.js';
import { type LifParameters, StopGate, stepAccumulate, stepLif, stopRules } from '../../../firmware-protocol/numerics/index.js';
import { type Arithmetic, type ArithmeticResult, neuronKinds } from '../../../proto/message.js';
import type { Bench } from '../bench.js';
import { type Conversation, expectResult } from '../conversation.js';
import { expect, expectEqual } from '../deviation.js';
import type { Item } from '../item.js';

const listLimit = 64;
/** So many neurons with membranes and currents of any size fit a message each way. */
const neuronCount = 40;
const rounds = 8;

/** round(value · multiplier / 2^shift), halves away from zero, in integers of any size: it shares nothing with the code under test. */
function exactScale(value: number, multiplier: number, shift: number): number {
  const product = BigInt(Math.abs(value)) * BigInt(multiplier);
  const rounded = shift === 0 ? product : (product + (1n << BigInt(shift - 1))) >> BigInt(shift);
  return value < 0 ? 0 - Number(rounded) : Number(rounded);
}

async function calculate(conversation: Conversation, operation: Arithmetic): Promise<Partial<ArithmeticResult>> {
  return expectResult(await conversation.request('arithmetic', operation), 'arithmetic');
}

/** @throws Deviation naming the first number that differs */
function expectNumbers(came: ArrayLike<number> | undefined, wanted: ArrayLike<number>, describe: (index: number) => string): void {
  expectEqual('numbers in the answer:', came?.length ?? 0, wanted.length);
  for (let index = 0; index < wanted.length; index += 1) {
    const value = came?.[index];
    expect(value === wanted[index], `${describe(index)} = ${wanted[index]}`, String(value));
  }
}

async function expectScaled(conversation: Conversation, multiplier: number, shift: number, values: number[], wanted: readonly number[]): Promise<void> {
  const answer = await calculate(conversation, { scale: { by: { multiplier, shift }, values } });
  expectNumbers(answer.values, wanted, (index) => `round(${values[index]} · ${multiplier} / 2^${shift})`);
}

async function rounding(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { numerics } = bench.options.vectors;
  for (const [value, shift, result] of numerics.rounding) await expectScaled(conversation, 1, shift, [value], [result]);
  for (const [value, multiplier, shift, result] of numerics.scale) await expectScaled(conversation, multiplier, shift, [value], [result]);
}

/** Halves of both signs, their neighbours, and numbers at random. */
async function halves(bench: Bench): Promise<void> {
  const { prng } = bench.options;
  const conversation = await bench.open();
  for (let round = 0; round < rounds; round += 1) {
    const shift = 1 + (prng.nextUint32() % 20);
    const multiplier = 1 + 2 * (prng.nextUint32() % 1000);
    const half = 2 ** (shift - 1);
    const values = Array.from({ length: listLimit }, (_, index) => {
      // An odd multiple of half a step stays a half under an odd multiplier.
      const value = (2 * (prng.nextUint32() % 10_000) + 1) * half + (index % 3) - 1;
      return index % 2 === 0 ? value : -value;
    });
    await expectScaled(conversation, multiplier, shift, values, values.map((value) => exactScale(value, multiplier, shift)));
  }
}

async function conversion(bench: Bench): Promise<void> {
  const { prng, vectors } = bench.options;
  const conversation = await bench.open();
  const check = async (gainQ20: number, offset: number, sums: number[], noise: number[], wanted: readonly number[]) => {
    const answer = await calculate(conversation, { convert: { gainQ20, offset, sums, noise_256: noise } });
    expectNumbers(answer.values, wanted, (index) => `code of sum ${sums[index]}, noise ${noise[index]}, gain ${gainQ20}, offset ${offset}`);
  };
  for (const [sum, noise, gain, offset, code] of vectors.numerics.conversion) await check(gain, offset, [sum], [noise], [code]);
  for (let round = 0; round < rounds; round += 1) {
    const gain = 1 + (prng.nextUint32() % 2 ** 17);
    const offset = (prng.nextUint32() % 21) - 10;
    const sums = Array.from({ length: listLimit }, () => prng.nextUint32() % 2 ** 24);
    const noise = Array.from({ length: listLimit }, () => (prng.nextUint32() % 20_001) - 10_000);
    await check(gain, offset, sums, noise, sums.map((sum, index) => exactScale(sum * 256 + noise[index], gain, 28) + offset));
  }
}

async function membrane(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { threshold, leak, slope, shift, currents, membranes, spikes } = bench.options.vectors.numerics.lif;
  const neuron = { kind: neuronKinds.lif, threshold, leak: { multiplier: leak, shift }, negativeSlope: { multiplier: slope, shift } };
  let before = { membrane: 0, spike: 0 };
  for (const [step, current] of currents.entries()) {
    const answer = await calculate(conversation, {
      neuron: { neuron, membranes: [before.membrane], spikes: Uint8Array.of(before.spike), currents: [current] },
    });
    expectNumbers(answer.membranes, [membranes[step]], () => `membrane after timestep ${step}, from ${before.membrane} and current ${current},`);
    expectNumbers(answer.spikes, [spikes[step]], () => `spike in timestep ${step}`);
    before = { membrane: membranes[step], spike: spikes[step] };
  }
}

/** Membranes of both signs and near saturation, against the integers of the host. */
async function population(bench: Bench): Promise<void> {
  const { prng } = bench.options;
  const conversation = await bench.open();
  const int32 = () => prng.nextUint32() | 0;
  const scale = { multiplier: 209_715, shift: 20 };
  for (let round = 0; round < rounds; round += 1) {
    const parameters: LifParameters = { threshold: int32() >> 12, leak: scale, negativeSlope: { multiplier: 104_858, shift: 20 } };
    const width = round * 3;
    const membranes = Int32Array.from({ length: neuronCount }, () => int32() >> width);
    const currents = Int32Array.from({ length: neuronCount }, () => int32() >> width);
    const spikes = Uint8Array.from({ length: neuronCount }, () => prng.nextUint32() & 1);
    for (const kind of [neuronKinds.lif, neuronKinds.accumulate]) {
      const [after, fired] = [membranes.slice(), spikes.slice()];
      if (kind === neuronKinds.lif) stepLif(after, fired, currents, parameters);
      else stepAccumulate(after, currents, parameters.negativeSlope);
      const answer = await calculate(conversation, {
        neuron: { neuron: { kind, ...parameters }, membranes: [...membranes], spikes, currents: [...currents] },
      });
      expectNumbers(answer.membranes, after, (index) => `membrane from ${membranes[index]}, spike ${spikes[index]} and current ${currents[index]}`);
      if (kind === neuronKinds.lif) expectNumbers(answer.spikes, fired, (index) => `spike at membrane ${after[index]}, threshold ${parameters.threshold}`);
    }
  }
}

async function confidence(bench: Bench): Promise<void> {
  const { prng, vectors } = bench.options;
  const conversation = await bench.open();
  const check = async (scale: { multiplier: number; shift: number }, steps: readonly (readonly number[])[], wanted: readonly number[], best: number) => {
    const answer = await calculate(conversation, { gate: { confidence: scale, outputs: steps[0].length, membranes: steps.flat(), rule: 0 } });
    expectNumbers(answer.confidenceQ24, wanted, (index) => `confidence after timestep ${index}`);
    expectEqual('prediction:', answer.prediction ?? 0, best);
  };
  const run = (scale: { multiplier: number; shift: number }, steps: readonly (readonly number[])[]) => {
    const gate = new StopGate(steps[0].length, scale);
    return check(scale, steps, steps.map((step) => gate.add(step)), gate.prediction);
  };
  const { multiplier, shift, membranes, confidenceQ24 } = vectors.numerics.confidence;
  const sums = membranes[0].map((_, output) => membranes.reduce((sum, step) => sum + step[output], 0));
  await check({ multiplier, shift }, membranes, confidenceQ24, sums.indexOf(Math.max(...sums)));
  for (let round = 0; round < rounds; round += 1) {
    const width = 4 + 2 * round;
    await run({ multiplier, shift }, Array.from({ length: 6 }, () => Array.from({ length: 10 }, () => (prng.nextUint32() | 0) >> width)));
  }
  await run({ multiplier, shift }, [[5, 5, 5], [0, 0, 0]]); // equal sums: the lowest index is the prediction
}

const two = { protocol: 2, capabilities: ['Arithmetic'] } as const;
const ofScales = 'NUMERICS.md §Rounding and scales';
const ofMembranes = 'NUMERICS.md §Membranes';

/** Each rule of an early stop, against the integers of the host. */
async function rules(bench: Bench): Promise<void> {
  const { prng, vectors } = bench.options;
  const conversation = await bench.open();
  const { multiplier, shift, membranes, entropyQ24, marginQ24, relativeMarginQ24 } = vectors.numerics.confidence;
  const check = async (rule: number, steps: readonly (readonly number[])[], wanted: readonly number[]) => {
    const answer = await calculate(conversation, { gate: { confidence: { multiplier, shift }, outputs: steps[0].length, membranes: steps.flat(), rule } });
    expectNumbers(answer.confidenceQ24, wanted, (index) => `${stopRules[rule]} after timestep ${index}`);
  };
  for (const [index, wanted] of [entropyQ24, marginQ24, relativeMarginQ24].entries()) await check(index + 1, membranes, wanted);
  for (let round = 0; round < rounds; round += 1) {
    const steps = Array.from({ length: 6 }, () => Array.from({ length: 10 }, () => (prng.nextUint32() | 0) >> (4 + 2 * round)));
    for (const [number, rule] of stopRules.entries()) {
      const gate = new StopGate(10, { multiplier, shift }, rule);
      await check(number, steps, steps.map((step) => gate.add(step)));
    }
  }
}

export const numericsItems: readonly Item[] = [
  { name: 'numerics-rounding', section: ofScales, title: 'the vectors of rounding and scales hold', ...two, run: rounding },
  { name: 'numerics-halves', section: ofScales, title: 'halves are rounded away from zero, both signs', ...two, run: halves },
  { name: 'numerics-conversion', section: 'NUMERICS.md §Conversion', title: 'sums become codes as stated', ...two, run: conversion },
  { name: 'numerics-membrane', section: ofMembranes, title: 'the vector of one neuron holds', ...two, run: membrane },
  { name: 'numerics-population', section: ofMembranes, title: 'membranes leak, saturate and fire as stated', ...two, run: population },
  { name: 'numerics-confidence', section: 'NUMERICS.md §Confidence', title: 'confidence is exact to the last bit', ...two, run: confidence },
  {
    name: 'numerics-stop-rules', section: 'NUMERICS.md §Confidence', title: 'every rule of an early stop decides as stated', protocol: 2,
    capabilities: ['Arithmetic', stopRulesCapability], run: rules,
  },
];
