// Aim: the kernel and its twin in TypeScript give the same bits: codes, membranes of every timestep, counts, energy and operation time. Whatever
// tile, layer, drive, noise and range it is; one multiply or many, one run or several by turns, one worker or two.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { compile, earlyStopAt } from '../server/network/compile.js';
import { bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { packageFolder } from '../server/version.js';
import { layerKinds, neuronKinds, type Program } from '../proto/message.js';
import { Chip } from '../sim/chip.js';
import { kernelHolds } from '../sim/kernel-network.js';
import { type Drive, Macro, type TileCells } from '../sim/macro.js';
import { NetworkRun, type ProgramLayer, type ProgramTile, type RunProgram } from '../sim/network-run.js';
import { readKernel } from '../sim/process/kernel-file.js';
import { overrideProfile, type Profile, profileNamed } from '../sim/profile.js';
import { programProblem } from '../sim/program-check.js';
import { smallBundle } from './small-bundle.js';

const kernel = readKernel();
const resetPulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 };

/** Reproducible integers below a bound; fast-check shrinks the seed's companions, not a quarter of a million cells. */
function integersFrom(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const profiles = fc.oneof(
  fc.constantFrom(...['ideal', 'lab-half', 'lab-paper', 'lab-paper-quiet'].map(profileNamed)),
  fc.record({
    readNoiseFraction: fc.constantFrom(0, 0.002, 0.02, 0.3, 1),
    multiplyFullScaleMicrosiemens: fc.integer({ min: 100, max: 5000 }),
    parallelConverters: fc.integer({ min: 1, max: 32 }),
    readVoltageMillivolts: fc.integer({ min: 1, max: 500 }),
  }).map((overrides) => overrideProfile(profileNamed('lab-paper'), overrides)),
  fc.constantFrom(0.01, 1).map((readNoiseFraction) => overrideProfile(profileNamed('ideal'), { readNoiseFraction })),
);
const maximumCodes = fc.constantFrom(1, 500, 8000, 30_000, 65_534);

/** A chip whose cells are anything, twice: with the kernel and without. */
function twins(profile: Profile, seed: number, maximumCode: number): [Macro, Macro] {
  const next = integersFrom(seed);
  const chip = Chip.pristine(profile, seed);
  for (let cell = 0; cell < chip.codes.length; cell += 1) chip.codes[cell] = next(8) === 0 ? 0 : next(maximumCode + 1);
  const copy = Chip.deserialise(chip.serialise(), profile);
  assert.ok(copy);
  return [new Macro(chip, kernel), new Macro(copy)];
}

function meters(macro: Macro) {
  macro.settleDrives();
  const { conversions, saturations, energyFemtojoules, operationNanoseconds, chip: { drivenNanoseconds } } = macro;
  return { conversions, saturations, energyFemtojoules, operationNanoseconds, drivenNanoseconds: Array.from(drivenNanoseconds) };
}

/** Lines with converters of their own, and variances that are no function of the codes. */
function unequal(cells: TileCells, seed: number): TileCells {
  const next = integersFrom(seed);
  return {
    ...cells,
    squares: cells.squares.map((square) => (next(3) === 0 ? next(2 ** 20) : square)),
    gainsQ20: cells.gainsQ20.map((gain) => Math.min(2 ** 20, Math.max(1, gain + next(2000) - 1000))),
    offsets: cells.offsets.map(() => next(200) - 100),
  };
}

t.test('multiplies: the same codes, saturations, energy and time', async () => {
  const multiply = fc.record({
    profile: profiles, seed: fc.nat(), maximumCode: maximumCodes, range: fc.nat(1), isUnequal: fc.boolean(),
    firstBitLine: fc.nat(bitLineCount - 1), bitLines: fc.integer({ min: 1, max: bitLineCount }), lineCount: fc.integer({ min: 1, max: 80 }),
    inferenceNumber: fc.nat(2 ** 32 - 1), timestep: fc.nat(63), tile: fc.nat(255),
    driveCount: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 100, max: 150 })),
  });
  fc.assert(fc.property(multiply, ({ profile, seed, maximumCode, range, isUnequal, firstBitLine, bitLines, lineCount, driveCount, ...key }) => {
    const macros = twins(profile, seed, maximumCode);
    const next = integersFrom(seed + 1);
    const bitLineCountOfTile = Math.min(bitLines, bitLineCount - firstBitLine);
    const sourceLines = Array.from({ length: lineCount }, () => next(sourceLineCount));
    const drives: Drive[] = Array.from({ length: driveCount }, () => {
      const oneOf = 1 + next(6);
      const rows = Int32Array.from({ length: bitLineCountOfTile }, (_, row) => row).filter(() => next(oneOf) === 0);
      return { rows, rowCount: rows.length, position: next(2 ** 16), plane: next(4) };
    });
    const answers = macros.map((macro) => {
      const cells = macro.tile({ firstBitLine, bitLineCount: bitLineCountOfTile, sourceLines });
      const out = new Int32Array(driveCount * lineCount);
      const saturated = macro.multiplyAll(isUnequal ? unequal(cells, seed) : cells, drives, range, key, out);
      return { codes: Array.from(out), saturated, ...meters(macro) };
    });
    assert.deepEqual(answers[0], answers[1]);
  }), { numRuns: 100 });
});

t.test('one after the other is the same as all at once', async () => {
  const [macro] = twins(profileNamed('lab-paper'), 5, 8000);
  const cells = macro.tile({ firstBitLine: 0, bitLineCount: 64, sourceLines: Array.from({ length: 40 }, (_, line) => line) });
  const key = { inferenceNumber: 7, timestep: 3, tile: 2 };
  const rows = Int32Array.from({ length: 64 }, (_, row) => row);
  const drives = Array.from({ length: 70 }, (_, position) => ({ rows, rowCount: position % 65, position, plane: position % 4 }));
  const together = new Int32Array(drives.length * 40);
  macro.multiplyAll(cells, drives, 0, key, together);
  const single = new Int32Array(40);
  drives.forEach(({ rowCount, position, plane }, index) => {
    macro.multiply(cells, rows, rowCount, 0, key, position, plane, single);
    assert.deepEqual(single, together.slice(index * 40, (index + 1) * 40));
  });
});

interface Shape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

function tilesOf(inputs: number, outputs: number, next: (bound: number) => number): ProgramTile[] {
  const tiles: ProgramTile[] = [];
  for (let firstInput = 0; firstInput < inputs;) {
    const inputCount = Math.min(inputs - firstInput, next(3) === 0 ? 1 + next(40) : bitLineCount);
    const lines = Array.from({ length: sourceLineCount }, (_, line) => line).sort(() => next(3) - 1).slice(0, 2 * outputs);
    tiles.push({
      firstInput, inputCount, firstBitLine: next(bitLineCount - inputCount + 1), plusLines: lines.slice(0, outputs), minusLines: lines.slice(outputs),
    });
    firstInput += inputCount;
  }
  return tiles;
}

const pooled = ({ outputChannels, outputHeight, outputWidth, poolSize }: ProgramLayer): Shape =>
  ({ channels: outputChannels, height: Math.floor(outputHeight / poolSize), width: Math.floor(outputWidth / poolSize) });

/** A layer of any geometry that fits on what it is fed with; its currents are about as large as its threshold, or so large that membranes saturate. */
function layerOf({ channels, height, width }: Shape, isLast: boolean, maximumCode: number, range: number, next: (bound: number) => number): ProgramLayer {
  const isLinear = isLast || next(4) === 0;
  const padding = isLinear ? 0 : next(3);
  const kernel = isLinear ? 1 : 1 + next(Math.min(5, height + 2 * padding, width + 2 * padding));
  const stride = 1 + next(2);
  const sizeOut = (size: number) => (isLinear ? 1 : Math.floor((size + 2 * padding - kernel) / stride) + 1);
  const [outputHeight, outputWidth] = [sizeOut(height), sizeOut(width)];
  const outputChannels = 1 + next(isLinear ? 40 : 36);
  const inputs = channels * (isLinear ? height * width : kernel * kernel);
  const shift = 20 + next(8);
  const unit = 2 ** 20 / (maximumCode * 8);
  const fraction = () => ({ multiplier: next(2 ** 20 + 1), shift: 20 });
  return {
    name: isLinear ? 'linear' : 'convolution', kind: isLinear ? layerKinds.linear : layerKinds.convolution,
    ...(isLinear ? { inputChannels: inputs, inputHeight: 1, inputWidth: 1 } : { inputChannels: channels, inputHeight: height, inputWidth: width }),
    outputChannels, outputHeight, outputWidth, kernel, stride, padding, driveBits: 4, range,
    current: next(5) === 0
      ? { multiplier: 1 + next(2 ** 19), shift: 0 }
      : { multiplier: Math.min(2 ** 22 - 1, Math.max(1, Math.round(unit * 2 ** (shift - 20) * (1 + next(20))))), shift },
    neuron: { kind: isLast ? neuronKinds.accumulate : neuronKinds.lif, threshold: next(3) === 0 ? 0 : next(60), leak: fraction(), negativeSlope: fraction() },
    poolSize: 1 + next(Math.min(3, outputHeight, outputWidth)),
    tiles: tilesOf(inputs, outputChannels, next),
  };
}

function programOf(seed: number, maximumCode: number, range: number): RunProgram {
  const next = integersFrom(seed);
  const input = { channels: 1 + next(3), height: 1 + next(12), width: 1 + next(12) };
  const depth = 1 + next(3);
  const layers: ProgramLayer[] = [];
  let fed: Shape = input;
  for (let index = 0; index < depth; index += 1) {
    const layer = layerOf(fed, index === depth - 1, maximumCode, range, next);
    layers.push(layer);
    fed = pooled(layer);
  }
  return { timestepCount: 3, inputChannels: input.channels, inputHeight: input.height, inputWidth: input.width, layers };
}

function framesOf(program: RunProgram, seed: number): Uint8Array {
  const next = integersFrom(seed);
  const length = program.timestepCount * program.inputChannels * program.inputHeight * program.inputWidth;
  const oneOf = 1 + next(6);
  return Uint8Array.from({ length }, () => (next(oneOf) === 0 ? next(16) : 0));
}

function runToEnd(macro: Macro, program: RunProgram, frames: Uint8Array, inferenceNumber: number): unknown {
  macro.energyFemtojoules = 0;
  const run = new NetworkRun(macro, program, frames, inferenceNumber);
  const outcomes = [];
  for (let outcome = run.step(); outcome !== undefined; outcome = run.step()) outcomes.push(outcome);
  return { outcomes, prediction: run.prediction, ...meters(macro) };
}

t.test('networks: the same membranes, conversions, saturations, spikes, energy and time in every timestep', async (t) => {
  const run = fc.record({ profile: profiles, seed: fc.nat(), maximumCode: maximumCodes, range: fc.nat(1), inferenceNumber: fc.nat(2 ** 32 - 1) });
  let spiking = 0;
  fc.assert(fc.property(run, ({ profile, seed, maximumCode, range, inferenceNumber }) => {
    const [fast, twin] = twins(profile, seed, maximumCode);
    const program = programOf(seed, maximumCode, range);
    assert.equal(programProblem(program as Program, 2), undefined);
    assert.ok(kernelHolds(program));
    for (const recording of [1, 2]) {
      const frames = framesOf(program, seed + recording);
      const answer = runToEnd(fast, program, frames, inferenceNumber) as { outcomes: { layers: { spikes: number }[] }[] };
      assert.deepEqual(answer, runToEnd(twin, program, frames, inferenceNumber));
      if (answer.outcomes.some(({ layers }) => layers.some(({ spikes }) => spikes > 0))) spiking += 1;
    }
  }), { numRuns: 200 });
  t.ok(spiking > 20, `${spiking} runs have spikes`);
});

function smallCompiled(macro: Macro) {
  const bits = macro.chip.profile.converterBits;
  const converter = { bits, signedCodes: false, differential: false, ranges: [...macro.ranges] };
  return compile(bundleFromFiles(filesOfBundle(smallBundle())), { geometry: { bitLines: bitLineCount, sourceLines: sourceLineCount }, converter });
}

const disturbed = overrideProfile(profileNamed('lab-paper'), { readDisturbFractionPerSecond: 0.5, ageingStepNanoseconds: 1000 });
for (const profile of [...['ideal', 'lab-half', 'lab-paper'].map(profileNamed), disturbed]) {
  const name = profile === disturbed ? 'with read disturb' : profile.name;
  t.test(`${name}: runs that take turns, and an array that changes between them, are as without a kernel`, async (t) => {
    const [fast, twin] = [new Macro(Chip.formed(profile, 3), kernel), new Macro(Chip.formed(profile, 3))];
    const answers = [fast, twin].map((macro) => {
      const compiled = smallCompiled(macro);
      macro.chip.loadSnapshot(compiled.snapshot?.tiles ?? []);
      const { program } = compiled;
      const runs = [1, 2].map((number) => new NetworkRun(macro, program, framesOf(program, number), number, earlyStopAt(compiled, 0.999)));
      const first = runs.map((run) => [run.step(), run.step()]);
      macro.beginPulses();
      for (let cell = 0; cell < bitLineCount * sourceLineCount; cell += 4) macro.chip.reset(cell, resetPulse);
      const read = macro.readCells({ firstBitLine: 0, bitLines: 8, firstSourceLine: 0, sourceLines: 64 }, 2);
      const after = runToEnd(macro, program, framesOf(program, 3), 3);
      return { first, read, after, last: runs.map((run) => [run.step(), run.step(), run.prediction]), ...meters(macro) };
    });
    t.strictSame(answers[0], answers[1]);
  });
}

t.test('a program outside of what the kernel holds runs as the twin does', async (t) => {
  const program = programOf(11, 8000, 0);
  const [last] = program.layers.slice(-1);
  assert.ok(last);
  const beyond = { ...program, layers: [...program.layers.slice(0, -1), { ...last, current: { multiplier: 2 ** 22, shift: 0 } }] };
  t.notOk(kernelHolds(beyond));
  const [fast, twin] = twins(profileNamed('lab-paper'), 1, 8000);
  const frames = framesOf(beyond, 1);
  t.strictSame(runToEnd(fast, beyond, frames, 1), runToEnd(twin, beyond, frames, 1));
});

const poolFile = join(packageFolder(), 'dist', 'sim', 'process', 'recording-pool.js');
const { RecordingPool } = (await import(poolFile)) as typeof import('../sim/process/recording-pool.js');
const recordingsOf = (program: RunProgram) => Array.from({ length: 5 }, (_, index) => framesOf(program, index));

/** Two batches of recordings, one after the other on one chip that has aged for a while. */
async function runPooled(profile: Profile, workerCount: number) {
  const macro = new Macro(Chip.formed(profile, 3));
  const { program, snapshot } = smallCompiled(macro);
  macro.chip.loadSnapshot(snapshot?.tiles ?? []);
  macro.operationNanoseconds += 1e9;
  const pool = new RecordingPool(macro.chip, program, workerCount);
  const batches = [await pool.run(recordingsOf(program), 40), await pool.run(recordingsOf(program), 45)];
  await pool.close();
  return { batches, ...meters(macro) };
}

for (const profile of [...['lab-half', 'lab-paper'].map(profileNamed), disturbed]) {
  t.test(`${profile === disturbed ? 'with read disturb' : profile.name}: one worker and two give the same, and the chip is as old afterwards`, async (t) => {
    const [one, two] = [await runPooled(profile, 1), await runPooled(profile, 2)];
    t.strictSame(two, one);
    const nanoseconds = one.batches.flat().reduce((sum, { operationNanoseconds }) => sum + operationNanoseconds, 1e9);
    t.equal(one.operationNanoseconds, nanoseconds);
    t.ok(one.drivenNanoseconds.some((driven) => driven > 0));
  });
}

t.test('workers and none give the same', async (t) => {
  const { batches } = await runPooled(profileNamed('lab-paper'), 2);
  const macro = new Macro(Chip.formed(profileNamed('lab-paper'), 3));
  const { program, snapshot } = smallCompiled(macro);
  macro.chip.loadSnapshot(snapshot?.tiles ?? []);
  batches.flat().forEach((pooledRun, index) => {
    const alone = runToEnd(macro, program, recordingsOf(program)[index % 5], 40 + index);
    const { outcomes, prediction, energyFemtojoules } = alone as { outcomes: unknown; prediction: number; energyFemtojoules: number };
    t.match(pooledRun, { outcomes, prediction, energyFemtojoules });
  });
});
