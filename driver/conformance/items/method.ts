import { programCodec } from '../../../proto/codec.js';
import { type Layer, layerKinds, neuronKinds, type Program } from '../../../proto/message.js';
import { sha256 } from '../../bulk.js';
import type { Bench } from '../bench.js';
import { type Conversation, expectFailure, expectResult, isSame } from '../conversation.js';
import { expect, expectEqual } from '../deviation.js';
import type { Item } from '../item.js';

const section = 'PROTOCOL.md §Methods';

/** One linear layer of four inputs and two outputs: the least that a board takes for a network. */
export function smallProgram(changes: Partial<Program> = {}, layerChanges: Partial<Layer> = {}): Program {
  const scale = { multiplier: 104_858, shift: 20 };
  const layer: Layer = {
    name: 'output', kind: layerKinds.linear, inputChannels: 4, inputHeight: 1, inputWidth: 1, outputChannels: 2, outputHeight: 1, outputWidth: 1,
    kernel: 1, stride: 1, padding: 0, driveBits: 4, range: 0, current: { multiplier: 16, shift: 0 },
    neuron: { kind: neuronKinds.accumulate, threshold: 0, leak: scale, negativeSlope: scale }, poolSize: 1,
    tiles: [{ firstInput: 0, inputCount: 4, firstBitLine: 0, plusLines: [0, 1], minusLines: [2, 3] }],
    ...layerChanges,
  };
  return { timestepCount: 2, inputChannels: 4, inputHeight: 1, inputWidth: 1, layers: [layer], ...changes };
}

const load = async (conversation: Conversation, program: Program) => {
  const digest = await conversation.upload(programCodec.encode(program));
  return { digest, final: await conversation.request('loadProgram', { sha256: digest }) };
};

async function program(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { digest, final } = await load(conversation, smallProgram());
  expectEqual('digest of the program that was loaded:', expectResult(final, 'loadProgram').sha256, digest);
  expectFailure(await conversation.request('loadProgram', { sha256: bench.randomBytes(32) }), 'BULK_UNKNOWN');
  const garbage = await conversation.upload(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
  expectFailure(await conversation.request('loadProgram', { sha256: garbage }), 'REQUEST_INVALID');
}

const lines = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

async function programChecks(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const tile = { firstInput: 0, inputCount: 4, firstBitLine: 0, plusLines: [0, 1], minusLines: [2, 3] };
  const wrong: Program[] = [
    smallProgram({ timestepCount: 0 }),
    smallProgram({ timestepCount: 65 }),
    smallProgram({ layers: [] }),
    smallProgram({ inputChannels: 5 }),
    smallProgram({}, { driveBits: 5 }),
    smallProgram({}, { range: 99 }),
    smallProgram({}, { poolSize: 0 }),
    smallProgram({}, { current: { multiplier: 1, shift: 53 } }),
    smallProgram({}, { tiles: [] }),
    smallProgram({}, { tiles: [{ ...tile, plusLines: [0, 512] }] }),
    smallProgram({}, { tiles: [{ ...tile, firstBitLine: 509 }] }),
    smallProgram({}, { tiles: [{ ...tile, inputCount: 3 }] }),
    smallProgram({}, { tiles: [{ ...tile, minusLines: [1, 2] }] }),
    smallProgram({}, { tiles: [{ ...tile, minusLines: [2] }] }),
    // Right in itself; the results of one timestep would not fit a message.
    smallProgram({}, { outputChannels: 81, tiles: [{ ...tile, plusLines: lines(0, 81), minusLines: lines(81, 81) }] }),
  ];
  for (const [index, candidate] of wrong.entries()) {
    const { final } = await load(conversation, candidate);
    const code = final.failure?.code ?? 'a result';
    expect(code === 'REQUEST_INVALID', `REQUEST_INVALID for wrong program ${index + 1} of ${wrong.length}`, code);
    expectFailure(final, 'REQUEST_INVALID', 'NOT_APPLIED', /\d|missing|twice/);
  }
}

async function runRefusals(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const frames = await conversation.upload(Uint8Array.of(0x21, 0x43, 0x21, 0x43));
  const run = { programSha256: bench.randomBytes(32), framesSha256: frames, inferenceNumber: 1 };
  expectFailure(await conversation.request('runNetwork', run), 'PROGRAM_UNKNOWN');
  const { digest } = await load(conversation, smallProgram());
  expectFailure(await conversation.request('runNetwork', { ...run, programSha256: digest, framesSha256: bench.randomBytes(32) }), 'BULK_UNKNOWN');
  const short = await conversation.upload(Uint8Array.of(0x21));
  expectFailure(await conversation.request('runNetwork', { ...run, programSha256: digest, framesSha256: short }), 'REQUEST_INVALID');
}

async function readCells(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { bitLines, sourceLines } = conversation.identity.geometry;
  const region = { firstBitLine: bitLines - 3, bitLines: 3, firstSourceLine: sourceLines - 5, sourceLines: 5 };
  const result = expectResult(await conversation.request('readCells', { region, averages: 2 }), 'readCells');
  expectEqual('bytes of a map of 3 × 5 cells:', result.sizeBytes, 30);
  const map = await conversation.fetch(result.sha256, result.sizeBytes);
  expect(isSame(sha256(map), result.sha256), 'a map with the digest of the answer', Buffer.from(sha256(map)).toString('hex'));
  const top = [...new Uint16Array(map.buffer)].filter((code) => code === 65_535).length;
  expectEqual('saturated cells of the answer:', result.saturatedCells, top);
  expect(result.operationNanoseconds > 0, 'an operation time above 0', String(result.operationNanoseconds));
  const wrong: [object, number][] = [
    [{ bitLines: bitLines + 1, firstBitLine: 0 }, 1], [{ bitLines: 0 }, 1], [{ firstSourceLine: sourceLines }, 1], [{ sourceLines: 0 }, 1],
    [{}, 0], [{}, 100_000],
  ];
  for (const [changes, averages] of wrong) {
    const final = await conversation.request('readCells', { region: { ...region, ...changes }, averages });
    expectFailure(final, 'REQUEST_INVALID', 'NOT_APPLIED', /[a-z]/i);
  }
}

async function multiplyRefusals(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const drive = { position: 0, plane: 0, lines: Uint8Array.of(0xff) };
  const right = { firstBitLine: 0, bitLineCount: 8, sourceLines: [0, 1], range: 0, inferenceNumber: 0, timestep: 0, tile: 0, drives: [drive] };
  expectResult(await conversation.request('multiply', right), 'multiply');
  const wrong: object[] = [
    { firstBitLine: 505 }, { bitLineCount: 0 }, { bitLineCount: 513 }, { sourceLines: [] }, { sourceLines: [512] }, { range: 99 }, { timestep: 64 },
    { tile: 256 }, { drives: [] }, { drives: [{ ...drive, plane: 4 }] }, { drives: [{ ...drive, lines: Uint8Array.of(1, 2) }] },
    { sourceLines: lines(0, 281) }, // 562 bytes of codes
  ];
  for (const changes of wrong) {
    const final = await conversation.request('multiply', { ...right, ...changes });
    expect(final.failure?.code === 'REQUEST_INVALID', `REQUEST_INVALID for ${JSON.stringify(changes)}`, final.failure?.code ?? 'a result');
  }
}

export const methodItems: readonly Item[] = [
  { name: 'method-load-program', section, title: 'a program is kept by its digest', capabilities: ['LoadProgram'], run: program },
  { name: 'method-program-checks', section, title: 'a program that cannot run is refused, with its field', capabilities: ['LoadProgram'], run: programChecks },
  { name: 'method-run-refusals', section, title: 'a run without program or frames is refused', capabilities: ['LoadProgram', 'RunNetwork'], run: runRefusals },
  { name: 'method-read-cells', section, title: 'a region is read, one beyond the array refused', capabilities: ['ReadCells'], run: readCells },
  { name: 'method-multiply-refusals', section, title: 'a multiply beyond the array is refused', capabilities: ['Multiply'], run: multiplyRefusals },
];
