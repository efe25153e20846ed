// The integers that host, simulator and firmware share: committed vectors, and properties against real arithmetic.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  binaryLogarithm, confidenceOne, confidenceScale, convert, countPool, GaussianStream, gainOf, gaussianOfWord, gaussianOne, isConfident, marginScale,
  negativePower, packNibbles, philox, StopGate, type StopRule, scale, shiftRounded, stepAccumulate, stepLif, stopRules, unpackNibbles,
} from '../firmware-protocol/numerics/index.js';
import { gaussianQuantiles } from '../firmware-protocol/numerics/gaussian-table.js';
import { negativePowers } from '../firmware-protocol/numerics/power-table.js';

interface Vectors {
  readonly rounding: [value: number, shift: number, result: number][];
  readonly scale: [value: number, multiplier: number, shift: number, result: number][];
  readonly philox: { rounds: number; counter: string[]; key: string[]; result: string[] }[];
  readonly gaussian: [word: string, deviate: number][];
  readonly conversion: [sum: number, noise256: number, gainQ20: number, offset: number, result: number][];
  readonly lif: { threshold: number; leak: number; slope: number; shift: number; currents: number[]; membranes: number[]; spikes: number[] };
  readonly confidence: {
    multiplier: number; shift: number; membranes: number[][];
    confidenceQ24: number[]; entropyQ24: number[]; marginQ24: number[]; relativeMarginQ24: number[];
  };
}

const path = join(import.meta.dirname, '..', 'firmware-protocol', 'vectors', 'numerics.json');
const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vectors;
const word = (text: string) => Number.parseInt(text, 16);

t.test('committed vectors hold', async (t) => {
  for (const [value, shift, result] of vectors.rounding) t.equal(shiftRounded(value, shift), result, `${value} / 2^${shift}`);
  for (const [value, multiplier, shift, result] of vectors.scale) t.equal(scale(value, { multiplier, shift }), result);
  for (const [text, deviate] of vectors.gaussian) t.equal(gaussianOfWord(word(text)), deviate, text);
  for (const [sum, noise, gainQ20, offset, result] of vectors.conversion) {
    t.equal(convert(sum, noise, gainQ20, offset), result);
  }
  const { threshold, leak, slope, shift, currents, membranes, spikes } = vectors.lif;
  const [membrane, spike] = [new Int32Array(1), new Uint8Array(1)];
  for (const [step, current] of currents.entries()) {
    stepLif(membrane, spike, Int32Array.of(current), { threshold, leak: { multiplier: leak, shift }, negativeSlope: { multiplier: slope, shift } });
    t.strictSame([membrane[0], spike[0]], [membranes[step], spikes[step]], `timestep ${step}`);
  }
  const { membranes: steps, confidenceQ24, entropyQ24, marginQ24, relativeMarginQ24 } = vectors.confidence;
  for (const [index, wanted] of [confidenceQ24, entropyQ24, marginQ24, relativeMarginQ24].entries()) {
    const gate = new StopGate(3, vectors.confidence, stopRules[index]);
    t.strictSame(steps.map((step) => gate.add(step)), wanted, stopRules[index]);
  }
});

t.test('Philox gives the words that its authors publish', async (t) => {
  t.ok(vectors.philox.length >= 4);
  for (const { rounds, counter, key, result } of vectors.philox) {
    const block = Uint32Array.from(counter, word);
    philox(block, word(key[0] ?? ''), word(key[1] ?? ''), rounds);
    t.strictSame(Array.from(block, (value) => value.toString(16).padStart(8, '0')), result);
  }
});

t.test('halves are rounded away from zero, and the mirror image is the same', async () => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 45), max: 2 ** 45 }), fc.integer({ min: 1, max: 40 }), (value, shift) => {
      const exact = (BigInt(Math.abs(value)) + (1n << BigInt(shift - 1))) >> BigInt(shift);
      return Math.abs(shiftRounded(value, shift)) === Number(exact) && shiftRounded(-value, shift) === 0 - shiftRounded(value, shift);
    }),
  );
});

/** erfc by its continued fraction and series (Abramowitz and Stegun 7.1.5, 7.1.14), to about 1e-13. */
function upperTail(z: number): number {
  const x = z / Math.SQRT2;
  if (x < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 80; n += 1) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return 0.5 - sum / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 80; n > 0; n -= 1) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / (2 * Math.sqrt(Math.PI) * (x + fraction));
}

t.test('the table of quantiles is the normal distribution', async (t) => {
  let worst = 0;
  for (let octave = 0; octave < 31; octave += 1) {
    for (let segment = 0; segment < 33; segment += 1) {
      const probability = (2 ** octave * (1 + segment / 32)) / 2 ** 32;
      const z = (gaussianQuantiles[octave * 33 + segment] ?? 0) / gaussianOne;
      const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
      worst = Math.max(worst, Math.abs(upperTail(z) - probability) / density);
    }
  }
  t.ok(worst < 1.6e-5, `half a step of 1/32768 is 1.5e-5; the worst entry is off by ${worst}`);
});

t.test('deviates have the moments and the tails of a normal law', async (t) => {
  const stream = new GaussianStream({ seed: 42, stream: 1 });
  const four = new Int32Array(4);
  const count = 400_000;
  const sums = [0, 0, 0, 0];
  let beyondThree = 0;
  for (let index = 0; index < count / 4; index += 1) {
    stream.four(index, 0, 0, 0, four, 0);
    for (const deviate of four) {
      const z = deviate / gaussianOne;
      sums.forEach((_, power) => { sums[power] = (sums[power] ?? 0) + z ** (power + 1); });
      beyondThree += Math.abs(z) > 3 ? 1 : 0;
    }
  }
  const [mean = 0, second = 0, third = 0, fourth = 0] = sums.map((sum) => sum / count);
  t.ok(Math.abs(mean) < 0.008, `mean ${mean}`);
  t.ok(Math.abs(second - 1) < 0.012, `variance ${second}`);
  t.ok(Math.abs(third) < 0.03, `skew ${third}`);
  t.ok(Math.abs(fourth - 3) < 0.08, `kurtosis ${fourth}`);
  t.ok(Math.abs(beyondThree / count - 0.0027) < 0.0005, `${beyondThree} beyond three sigma`);
});

t.test('a draw depends on its counter alone', async (t) => {
  const stream = new GaussianStream({ seed: 7, stream: 6 });
  const [first, again, other] = [new Int32Array(4), new Int32Array(4), new Int32Array(4)];
  stream.four(1, 2, 3, 4, first, 0);
  stream.four(1, 2, 3, 5, other, 0);
  stream.four(1, 2, 3, 4, again, 0);
  t.strictSame(again, first);
  t.notSame(other, first);
});

t.test('powers of two are within their table and its interpolation', async (t) => {
  t.ok(negativePowers.every((power, index) => power === Math.round(2 ** 24 * 2 ** (-index / 1024))));
  fc.assert(fc.property(fc.integer({ min: 0, max: 45 * 65_536 }), (exponent) =>
    Math.abs(negativePower(exponent) / 2 ** 24 - 2 ** (-exponent / 65_536)) < 2e-7));
});

t.test('the logarithm is exact to 2^-15', async () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 52 - 1 }), (value) => Math.abs(binaryLogarithm(value) / 65_536 - Math.log2(value)) < 2 ** -15));
});

/** What each rule is in real arithmetic, of the time means of the outputs. */
const realRules: Readonly<Record<StopRule, (means: readonly number[]) => number>> = {
  softmax: (means) => Math.max(...softmaxOf(means)),
  entropy: (means) => 1 + softmaxOf(means).reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0) / Math.log(means.length),
  margin: (means) => bestTwo(means)[0] - bestTwo(means)[1],
  'relative-margin'(means) {
    const [best, second] = bestTwo(means);
    const others = (means.reduce((sum, mean) => sum + mean, 0) - best) / (means.length - 1);
    return best === others ? 0 : (best - second) / (best - others);
  },
};
const bestTwo = (means: readonly number[]) => [...means].sort((left, right) => right - left);
function softmaxOf(means: readonly number[]): number[] {
  const powers = means.map((mean) => Math.exp((mean - Math.max(...means)) / 2));
  return powers.map((power) => power / powers.reduce((sum, each) => sum + each, 0));
}

t.test('each stop rule is what it is in real arithmetic', async (t) => {
  const units = 64_000 / 0.01;
  const outputs = fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: 10, maxLength: 10 });
  for (const rule of stopRules) {
    const by = rule === 'margin' ? marginScale(units) : confidenceScale(units, 2);
    fc.assert(fc.property(fc.array(outputs, { minLength: 1, maxLength: 10 }), (steps) => {
      const gate = new StopGate(10, by, rule);
      const sums = new Array<number>(10).fill(0);
      let confidence = 0;
      for (const step of steps) {
        const membranes = step.map((value) => Math.round(value * units));
        membranes.forEach((membrane, output) => { sums[output] += membrane; });
        confidence = gate.add(membranes) / confidenceOne;
      }
      const real = realRules[rule](sums.map((sum) => sum / steps.length / units));
      return Math.abs(confidence - real) < Math.max(1e-4, 1e-4 * real);
    }), { numRuns: 200 });
  }
  const gate = (rule: StopRule, ...steps: number[][]) => {
    const one = new StopGate(steps[0].length, { multiplier: 2 ** 18 - 1, shift: 0 }, rule);
    return steps.map((step) => one.add(step)).at(-1);
  };
  t.strictSame(stopRules.map((rule) => gate(rule, [5, 5, 5])), [Math.floor(2 ** 24 / 3), 0, 0, 0], 'all alike');
  t.strictSame(stopRules.map((rule) => gate(rule, [7])), [2 ** 24, 2 ** 24, 0, 0], 'a single output');
  t.equal(gate('margin', [2 ** 31 - 1, -(2 ** 31)]), 2 ** 32 - 1, 'a margin beyond the register is cut');
  t.equal(isConfident({ thresholdsQ24: [5, 3] }, 1, 4), true);
  t.equal(isConfident({ thresholdsQ24: [5] }, 1, 4), false);
});

t.test('the confidence is the largest softmax of the mean, to 2e-5', async () => {
  const units = 64_000 / 0.01;
  const by = confidenceScale(units, 2);
  const outputs = fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: 10, maxLength: 10 });
  fc.assert(
    fc.property(fc.array(outputs, { minLength: 1, maxLength: 10 }), (steps) => {
      const gate = new StopGate(10, by);
      const sums = new Array<number>(10).fill(0);
      let confidence = 0;
      for (const step of steps) {
        const membranes = step.map((value) => Math.round(value * units));
        membranes.forEach((membrane, output) => { sums[output] = (sums[output] ?? 0) + membrane; });
        confidence = gate.add(membranes) / confidenceOne;
      }
      const means = sums.map((sum) => sum / steps.length / units / 2);
      const largest = Math.max(...means);
      return Math.abs(confidence - 1 / means.reduce((total, mean) => total + Math.exp(mean - largest), 0)) < 2e-5;
    }),
    { numRuns: 500 },
  );
});

t.test('membranes saturate and never wrap', async (t) => {
  const parameters = { threshold: 2 ** 31 - 1, leak: { multiplier: 2 ** 20, shift: 20 }, negativeSlope: { multiplier: 2 ** 20, shift: 20 } };
  const membranes = Int32Array.of(2 ** 31 - 5, -(2 ** 31) + 5);
  stepLif(membranes, new Uint8Array(2), Int32Array.of(100, -100), parameters);
  t.strictSame(membranes, Int32Array.of(2 ** 31 - 1, -(2 ** 31)));
  stepAccumulate(membranes, Int32Array.of(1, -1), { multiplier: 2 ** 19, shift: 20 });
  t.strictSame(membranes, Int32Array.of(2 ** 31 - 1, -(2 ** 30)));
});

t.test('a pool counts, and leaves a remainder out', async (t) => {
  const counts = new Uint8Array(1);
  countPool(Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1), 1, 3, 3, 2, counts);
  t.strictSame(counts, Uint8Array.of(3));
});

t.test('nibbles come back, whatever their number', async () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 15 })), (codes) => {
    const bytes = Uint8Array.from(codes);
    return Buffer.compare(unpackNibbles(packNibbles(bytes), bytes.length), bytes) === 0;
  }));
});

t.test('a gain is what its range says', async (t) => {
  t.equal(gainOf(4, 2_500_000, 2 ** 14), 27_488);
  t.equal(gainOf(1, 1, 1), 2 ** 20);
});
