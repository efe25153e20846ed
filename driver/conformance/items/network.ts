import { packNibbles, StopGate, stopRules } from '../../../firmware-protocol/numerics/index.js';
import { programCodec, snapshotCodec } from '../../../proto/codec.js';
import { type EarlyStop, type Layer, layerKinds, neuronKinds, type Program, type TimestepResult } from '../../../proto/message.js';
import { stopRulesCapability } from '../../../proto/method.js';
import type { Bench } from '../bench.js';
import { type Conversation, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { codesOf, type Multiply, type ReferenceStep, runReference } from '../reference-network.js';

const timestepCount = 4;
const fifth = { multiplier: 209_715, shift: 20 };
const tenth = { multiplier: 104_858, shift: 20 };
const confidence = { multiplier: 247_853, shift: 25 };
/** Above every confidence: no run stops, and each timestep says how confident it is. */
const never = 0xffffffff;

const linear: Omit<Layer, 'name' | 'inputChannels' | 'outputChannels' | 'driveBits' | 'tiles'> = {
  kind: layerKinds.linear, inputHeight: 1, inputWidth: 1, outputHeight: 1, outputWidth: 1, kernel: 1, stride: 1, padding: 0, range: 0,
  current: { multiplier: 16, shift: 0 }, neuron: { kind: neuronKinds.lif, threshold: 40_000, leak: fifth, negativeSlope: tenth }, poolSize: 1,
};

const range = (first: number, length: number) => Array.from({ length }, (_, index) => first + index);

/** A convolution with padding and a pool, a layer over two tiles that is fed by counts, and an output: every path that a board has. */
export const network: Program = {
  timestepCount, inputChannels: 2, inputHeight: 6, inputWidth: 6,
  layers: [
    {
      ...linear, name: 'convolution', kind: layerKinds.convolution, inputChannels: 2, inputHeight: 6, inputWidth: 6, outputChannels: 3, outputHeight: 6,
      outputWidth: 6, kernel: 3, padding: 1, driveBits: 4, poolSize: 2,
      tiles: [{ firstInput: 0, inputCount: 18, firstBitLine: 0, plusLines: range(0, 3), minusLines: range(3, 3) }],
    },
    {
      ...linear, name: 'hidden', inputChannels: 27, outputChannels: 5, driveBits: 4,
      tiles: [
        { firstInput: 0, inputCount: 15, firstBitLine: 18, plusLines: range(10, 5), minusLines: range(20, 5) },
        { firstInput: 15, inputCount: 12, firstBitLine: 40, plusLines: range(30, 5), minusLines: range(40, 5) },
      ],
    },
    {
      ...linear, name: 'output', inputChannels: 5, outputChannels: 4, driveBits: 4, neuron: { ...linear.neuron, kind: neuronKinds.accumulate },
      tiles: [{ firstInput: 0, inputCount: 5, firstBitLine: 60, plusLines: range(50, 4), minusLines: range(54, 4) }],
    },
  ],
};

interface Run {
  readonly steps: readonly TimestepResult[];
  readonly result: { timesteps: number; stoppedEarly: boolean; prediction: number };
}

async function runOnBoard(
  conversation: Conversation, programSha256: Uint8Array, frames: Uint8Array, inferenceNumber: number, thresholdQ24: number,
  { rule = 0, thresholdsQ24 = [] }: Partial<EarlyStop> = {},
): Promise<Run> {
  const framesSha256 = await conversation.upload(packNibbles(frames));
  const earlyStop = { thresholdQ24, confidence, rule, thresholdsQ24 };
  const id = await conversation.begin('runNetwork', { programSha256, framesSha256, inferenceNumber, earlyStop });
  const final = await conversation.answer(id, 0, 'RunNetwork', 60_000);
  const result = expectResult(final, 'runNetwork');
  return { steps: conversation.progressOf(id).flatMap(({ timestep }) => timestep ?? []), result };
}

function expectSteps(steps: readonly TimestepResult[], wanted: readonly ReferenceStep[]): void {
  expectEqual('timesteps of the run:', steps.map(({ timestep }) => timestep), wanted.map((_, index) => index));
  for (const [index, { membranes, layers, confidenceQ24 }] of wanted.entries()) {
    const step = steps[index];
    for (const [layer, counts] of layers.entries()) {
      const { conversions = 0, saturations = 0, spikes = 0 } = step.layers[layer] ?? {};
      expectEqual(`counts of layer ${layer} in timestep ${index}:`, { conversions, saturations, spikes }, counts);
    }
    expectEqual(`output membranes after timestep ${index}:`, [...step.membranes], membranes);
    expectEqual(`confidence after timestep ${index}:`, step.confidenceQ24, confidenceQ24);
  }
}

const multiplyOf = (conversation: Conversation): Multiply => async (request) => {
  const result = expectResult(await conversation.request('multiply', request), 'multiply');
  const codes = codesOf(result, conversation.identity.converter.bits);
  expectEqual('codes of a multiply:', codes.length, request.drives.length * request.sourceLines.length);
  return { codes, saturations: result.saturations };
};

/** A connection, the network on its board, and frames at random for it. */
async function loaded(bench: Bench) {
  const { prng } = bench.options;
  const conversation = await bench.open();
  const frames = Uint8Array.from({ length: timestepCount * 2 * 36 }, () => (prng.nextUint32() % 3 === 0 ? prng.nextUint32() & 15 : 0));
  const inferenceNumber = prng.nextUint32() & 0xffff;
  const programSha256 = await conversation.upload(programCodec.encode(network));
  expectResult(await conversation.request('loadProgram', { sha256: programSha256 }), 'loadProgram');
  return { conversation, frames, inferenceNumber, programSha256 };
}

/** Only a simulator gives the same multiply the same noise, so only there do two ways to run a network agree to the last bit. */
async function agrees(bench: Bench): Promise<void> {
  const { conversation, frames, inferenceNumber, programSha256 } = await loaded(bench);
  const wanted = await runReference(network, frames, inferenceNumber, confidence, multiplyOf(conversation));
  const { steps, result } = await runOnBoard(conversation, programSha256, frames, inferenceNumber, never);
  expectSteps(steps, wanted);
  expectEqual('prediction:', result.prediction, wanted[timestepCount - 1].prediction);
  expectEqual('timesteps in the answer:', result.timesteps, timestepCount);
  expectEqual('stopped_early in the answer:', result.stoppedEarly, false);
  const thresholdQ24 = Math.max(0, wanted[1].confidenceQ24 - 1);
  const stop = wanted.findIndex((step) => step.confidenceQ24 > thresholdQ24);
  const early = await runOnBoard(conversation, programSha256, frames, inferenceNumber, thresholdQ24);
  expectSteps(early.steps, wanted.slice(0, stop + 1));
  expectEqual('timesteps of a run that stops early:', early.result.timesteps, stop + 1);
  expectEqual('prediction of a run that stops early:', early.result.prediction, wanted[stop].prediction);
}

/** Every rule stops a run, and so do thresholds of single timesteps. */
async function stops(bench: Bench): Promise<void> {
  const { conversation, frames, inferenceNumber, programSha256 } = await loaded(bench);
  const { steps } = await runOnBoard(conversation, programSha256, frames, inferenceNumber, never);
  for (const [rule, name] of stopRules.entries()) {
    const gate = new StopGate(steps[0].membranes.length, confidence, name);
    const confidences = steps.map(({ membranes }) => gate.add(membranes));
    // No other timestep can stop it but the second, and that only where its confidence is above 0.
    const thresholdsQ24 = confidences.map((confidenceQ24, timestep) => (timestep === 1 ? Math.max(0, confidenceQ24 - 1) : 2 ** 32 - 1));
    const early = await runOnBoard(conversation, programSha256, frames, inferenceNumber, 0, { rule, thresholdsQ24 });
    const wanted = confidences[1] > 0 ? 2 : timestepCount;
    expectEqual(`timesteps of a run that ${name} stops:`, early.result.timesteps, wanted);
    expectEqual(`confidences by ${name}:`, early.steps.map(({ confidenceQ24 }) => confidenceQ24), confidences.slice(0, wanted));
  }
}

/** Where codes are sums, a multiply says what the cells hold. */
async function multiplies(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { identity: { converter } } = conversation;
  const multiply = multiplyOf(conversation);
  const sourceLines = [5, 3, 500];
  const request = { firstBitLine: 7, bitLineCount: 20, sourceLines, range: 0, inferenceNumber: 3, timestep: 1, tile: 2 };
  const driven = [Uint8Array.of(1, 0, 0), Uint8Array.of(0xff, 0xff, 0x0f), Uint8Array.of(0xaa, 0x55, 0x05)];
  const drives = driven.map((lines, position) => ({ position, plane: 0, lines }));
  const { codes } = await multiply({ ...request, drives });
  if (bench.declares('LoadSnapshot')) {
    const again = await multiply({ ...request, drives });
    expectEqual('codes of the same multiply once more:', [...again.codes], [...codes]);
  }
  if (converter.bits !== 32) return;
  const region = { firstBitLine: 7, bitLines: 20, firstSourceLine: 0, sourceLines: 512 };
  const read = expectResult(await conversation.request('readCells', { region, averages: 1 }), 'readCells');
  const cells = new Uint16Array((await conversation.fetch(read.sha256, read.sizeBytes)).buffer);
  const sums = drives.flatMap(({ lines }) => sourceLines.map((line) =>
    range(0, 20).reduce((sum, row) => sum + (((lines[row >> 3] >> (row & 7)) & 1) === 1 ? cells[row * 512 + line] : 0), 0)));
  expectEqual('codes of three drives, as sums of cells:', [...codes], sums);
}

/** Pairs that are loaded come back as differences of codes. */
async function snapshot(bench: Bench): Promise<void> {
  const { prng, allowedPulses, isThrowAway } = bench.options;
  if (!isThrowAway && allowedPulses === undefined) throw new NotRun('LoadSnapshot changes the cells of this simulator, and pulses are not allowed');
  const conversation = await bench.open();
  if (conversation.identity.converter.bits !== 32) throw new NotRun('the converter rounds; its codes are no sums');
  const [rows, lines] = [8, 3];
  const [plusLines, minusLines] = [range(100, lines), range(200, lines)];
  const differenceNanosiemens = range(0, rows * lines).map(() => (prng.nextUint32() % 20_001) - 10_000);
  const kept = new Uint8Array(rows * lines).fill(1);
  const tile = { firstBitLine: 300, plusLines, minusLines, differenceNanosiemens, kept };
  const sha256 = await conversation.upload(snapshotCodec.encode({ tiles: [tile] }));
  const loaded = expectResult(await conversation.request('loadSnapshot', { sha256 }), 'loadSnapshot');
  expectEqual('pairs that were loaded:', loaded.pairs, rows * lines);
  const drives = range(0, rows).map((row) => ({ position: row, plane: 0, lines: Uint8Array.of(1 << row) }));
  const request = { firstBitLine: 300, bitLineCount: rows, sourceLines: [...plusLines, ...minusLines], range: 0, inferenceNumber: 0, timestep: 0, tile: 0 };
  const { codes } = await multiplyOf(conversation)({ ...request, drives });
  const differences = range(0, rows).flatMap((row) => range(0, lines).map((line) => codes[2 * lines * row + line] - codes[2 * lines * row + lines + line]));
  expect(JSON.stringify(differences) === JSON.stringify(differenceNanosiemens), `differences ${differenceNanosiemens}`, String(differences));
}

export const networkItems: readonly Item[] = [
  {
    name: 'numerics-multiply', section: 'NUMERICS.md §Cells and sums', title: 'a multiply is the sum of its cells', capabilities: ['Multiply', 'ReadCells'],
    run: multiplies,
  },
  {
    name: 'numerics-network', section: 'NUMERICS.md §Membranes', title: 'a network on the board and on the host agree bit for bit',
    capabilities: ['LoadProgram', 'RunNetwork', 'Multiply', 'LoadSnapshot'], run: agrees,
  },
  {
    name: 'numerics-stop', section: 'NUMERICS.md §Confidence', title: 'every rule stops a run, by thresholds of single timesteps too',
    protocol: 2, capabilities: ['LoadProgram', 'RunNetwork', 'LoadSnapshot', stopRulesCapability], run: stops,
  },
  {
    name: 'numerics-snapshot', section: 'NUMERICS.md §Recombination', title: 'pairs that are loaded are what is multiplied',
    capabilities: ['LoadSnapshot', 'Multiply'], run: snapshot,
  },
];
