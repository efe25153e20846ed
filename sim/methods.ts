import { bitLineCount, maximumTimestepCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { confidenceMultiplierMaximum, confidenceShiftMaximum, type EarlyStopRule, stopRules, unpackNibbles } from '../firmware-protocol/numerics/index.js';
import { programCodec, snapshotCodec } from '../proto/codec.js';
import type { EarlyStop, MethodName, MethodRequests, Region, Request, SnapshotTile } from '../proto/message.js';
import { NetworkRun } from './network-run.js';
import { programCells } from './program-cells.js';
import { programProblem } from './program-check.js';
import { formCells, resetCells, setCells } from './pulse-methods.js';
import { readWear } from './read-wear.js';
import { sweepCell } from './sweep-cell.js';
import { type Bench, hex, missingObject, outOfRange, Refusal, type Task } from './task.js';

const programLimit = 4;
const multiplyDrivesMaximum = 256;
const averagesMaximum = 1024;
const linesPerReadStep = 32;
/** Bytes of codes that an answer holds beside its other fields. */
const answerCodesBytes = 560;

function* loadProgram({ bulk, macro, programs }: Bench, { sha256 }: MethodRequests['loadProgram']): Task<'loadProgram'> {
  const bytes = bulk.get(sha256);
  if (bytes === undefined) return missingObject('sha256', sha256);
  const program = programCodec.decode(bytes);
  if (!program.ok) return new Refusal('REQUEST_INVALID', program.reason);
  const problem = programProblem(program.value, macro.ranges.length);
  if (problem !== undefined) return new Refusal('REQUEST_INVALID', `the program's ${problem}`);
  programs.delete(hex(sha256));
  programs.set(hex(sha256), program.value);
  for (const oldest of programs.keys()) {
    if (programs.size <= programLimit) break;
    programs.delete(oldest);
  }
  return { sha256 };
}

function snapshotProblem(tile: SnapshotTile, index: number): string | undefined {
  const { firstBitLine, plusLines, minusLines, kept, differenceNanosiemens } = tile;
  const rows = kept.length / Math.max(1, plusLines.length);
  if (plusLines.length === 0 || plusLines.length !== minusLines.length) {
    return `tiles[${index}] has ${plusLines.length} plus and ${minusLines.length} minus lines`;
  }
  if (!Number.isInteger(rows) || differenceNanosiemens.length !== kept.length) return `tiles[${index}] does not fill its rows`;
  if (firstBitLine + rows > bitLineCount) return `tiles[${index}] ends at bit line ${firstBitLine + rows}; the limit is ${bitLineCount}`;
  if (Math.max(...plusLines, ...minusLines) >= sourceLineCount) return `tiles[${index}] names a source line above ${sourceLineCount - 1}`;
  return undefined;
}

function* loadSnapshot({ bulk, chip, macro, arrayState, persist }: Bench, { sha256 }: MethodRequests['loadSnapshot']): Task<'loadSnapshot'> {
  const bytes = bulk.get(sha256);
  if (bytes === undefined) return missingObject('sha256', sha256);
  const snapshot = snapshotCodec.decode(bytes);
  if (!snapshot.ok) return new Refusal('REQUEST_INVALID', snapshot.reason);
  const problem = snapshot.value.tiles.map(snapshotProblem).find((text) => text !== undefined);
  if (problem !== undefined) return new Refusal('REQUEST_INVALID', problem);
  macro.settleDrives();
  const pairs = chip.loadSnapshot(snapshot.value.tiles);
  persist();
  return { arrayState: arrayState(), pairs };
}

function earlyStopProblem({ confidence, rule, thresholdsQ24 }: EarlyStop, timestepCount: number): Refusal | undefined {
  if (rule >= stopRules.length) return outOfRange('earlyStop.rule', rule, 0, stopRules.length - 1);
  const { length } = thresholdsQ24;
  if (length !== 0 && length !== timestepCount) return outOfRange('earlyStop.thresholdsQ24.length', length, timestepCount, timestepCount);
  if (!confidence) return new Refusal('REQUEST_INVALID', 'earlyStop.confidence is missing');
  const { multiplier, shift } = confidence;
  if (multiplier > confidenceMultiplierMaximum) return outOfRange('earlyStop.confidence.multiplier', multiplier, 0, confidenceMultiplierMaximum);
  return shift > confidenceShiftMaximum ? outOfRange('earlyStop.confidence.shift', shift, 0, confidenceShiftMaximum) : undefined;
}

const ruleOf = ({ rule, confidence, thresholdQ24, thresholdsQ24 }: EarlyStop): EarlyStopRule =>
  ({ rule: stopRules[rule], confidence, thresholdsQ24: thresholdsQ24.length === 0 ? [thresholdQ24] : thresholdsQ24 });

function* runNetwork(bench: Bench, request: MethodRequests['runNetwork']): Task<'runNetwork'> {
  const { macro, bulk, programs } = bench;
  const program = programs.get(hex(request.programSha256));
  if (program === undefined) return new Refusal('PROGRAM_UNKNOWN', `the program ${hex(request.programSha256.subarray(0, 8))} is not loaded`);
  const packed = bulk.get(request.framesSha256);
  if (packed === undefined) return missingObject('framesSha256', request.framesSha256);
  const codes = program.timestepCount * program.inputChannels * program.inputHeight * program.inputWidth;
  if (packed.length !== (codes + 1) >> 1) {
    return new Refusal('REQUEST_INVALID', `frames have ${packed.length} bytes; the program takes ${(codes + 1) >> 1}`);
  }
  const { earlyStop } = request;
  const problem = earlyStop ? earlyStopProblem(earlyStop, program.timestepCount) : undefined;
  if (problem !== undefined) return problem;
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  yield* macro.preparing(program.layers.flatMap(({ tiles }) => tiles.flatMap(({ plusLines, minusLines }) => [...plusLines, ...minusLines])));
  const run = new NetworkRun(macro, program, unpackNibbles(packed, codes), request.inferenceNumber, earlyStop ? ruleOf(earlyStop) : undefined);
  for (let outcome = run.step(); outcome !== undefined; outcome = run.step()) {
    yield { timestep: { ...outcome, membranes: [...outcome.membranes], layers: [...outcome.layers] } };
  }
  return {
    timesteps: run.timesteps,
    stoppedEarly: run.stoppedEarly,
    prediction: run.prediction,
    operationNanoseconds: macro.operationNanoseconds - before,
    energyFemtojoules: macro.energyFemtojoules,
  };
}

function multiplyProblem(request: MethodRequests['multiply'], ranges: number, codeBytes: number): Refusal | undefined {
  const { firstBitLine, bitLineCount: rows, sourceLines, range, timestep, tile, drives } = request;
  if (rows < 1 || rows > bitLineCount) return outOfRange('bitLineCount', rows, 1, bitLineCount);
  if (firstBitLine + rows > bitLineCount) return outOfRange('firstBitLine', firstBitLine, 0, bitLineCount - rows);
  if (sourceLines.length < 1 || sourceLines.length > sourceLineCount) return outOfRange('sourceLines.length', sourceLines.length, 1, sourceLineCount);
  if (Math.max(...sourceLines) >= sourceLineCount) return outOfRange('sourceLines', Math.max(...sourceLines), 0, sourceLineCount - 1);
  if (range >= ranges) return outOfRange('range', range, 0, ranges - 1);
  if (timestep >= maximumTimestepCount) return outOfRange('timestep', timestep, 0, maximumTimestepCount - 1);
  if (tile > 255) return outOfRange('tile', tile, 0, 255);
  if (drives.length < 1 || drives.length > multiplyDrivesMaximum) return outOfRange('drives.length', drives.length, 1, multiplyDrivesMaximum);
  const bytes = (rows + 7) >> 3;
  const short = drives.find(({ lines }) => lines.length !== bytes);
  if (short !== undefined) return outOfRange('drives.lines.length', short.lines.length, bytes, bytes);
  const plane = drives.find((drive) => drive.plane > 3)?.plane;
  if (plane !== undefined) return outOfRange('drives.plane', plane, 0, 3);
  const codes = drives.length * sourceLines.length;
  const limit = Math.floor(answerCodesBytes / codeBytes);
  return codes <= limit ? undefined : outOfRange('drives.length × sourceLines.length', codes, 1, limit);
}

function* multiply({ macro }: Bench, request: MethodRequests['multiply']): Task<'multiply'> {
  const codeBytes = macro.chip.profile.converterBits > 16 ? 4 : 2;
  const problem = multiplyProblem(request, macro.ranges.length, codeBytes);
  if (problem !== undefined) return problem;
  const { firstBitLine, bitLineCount: rows, sourceLines, range, drives } = request;
  const before = macro.operationNanoseconds;
  macro.energyFemtojoules = 0;
  yield* macro.preparing(sourceLines);
  const cells = macro.tile({ firstBitLine, bitLineCount: rows, sourceLines });
  const codes = new Uint8Array(drives.length * sourceLines.length * codeBytes);
  const view = new DataView(codes.buffer);
  const out = new Int32Array(sourceLines.length);
  const driven = new Int32Array(rows);
  let saturations = 0;
  let at = 0;
  for (const { position, plane, lines } of drives) {
    let count = 0;
    for (let row = 0; row < rows; row += 1) {
      if (((lines[row >> 3] >> (row & 7)) & 1) === 1) {
        driven[count] = row;
        count += 1;
      }
    }
    saturations += macro.multiply(cells, driven, count, range, request, position, plane, out);
    for (const code of out) {
      if (codeBytes === 4) view.setInt32(at, code, true);
      else view.setUint16(at, code, true);
      at += codeBytes;
    }
  }
  return {
    codes,
    saturations,
    operationNanoseconds: macro.operationNanoseconds - before,
    energyFemtojoules: macro.energyFemtojoules,
  };
}

function regionProblem(region: Region | null | undefined): Refusal | undefined {
  if (!region) return new Refusal('REQUEST_INVALID', 'region is missing');
  const { firstBitLine, bitLines, firstSourceLine, sourceLines } = region;
  if (bitLines < 1 || firstBitLine + bitLines > bitLineCount) return outOfRange('region.bitLines', bitLines, 1, bitLineCount - firstBitLine);
  if (sourceLines < 1 || firstSourceLine + sourceLines > sourceLineCount) {
    return outOfRange('region.sourceLines', sourceLines, 1, sourceLineCount - firstSourceLine);
  }
  return undefined;
}

function* readCells({ macro, bulk }: Bench, { region, averages }: MethodRequests['readCells']): Task<'readCells'> {
  const problem = regionProblem(region);
  if (problem !== undefined) return problem;
  if (averages < 1 || averages > averagesMaximum) return outOfRange('averages', averages, 1, averagesMaximum);
  const before = macro.operationNanoseconds;
  const codes = new Uint16Array(region.bitLines * region.sourceLines);
  let saturatedCells = 0;
  yield* macro.preparing(Array.from({ length: region.sourceLines }, (_, line) => region.firstSourceLine + line));
  for (let done = 0; done < region.bitLines; done += linesPerReadStep) {
    const bitLines = Math.min(linesPerReadStep, region.bitLines - done);
    // A decoded region keeps its zeros in its prototype, where a spread does not look.
    const { firstSourceLine, sourceLines } = region;
    const read = macro.readCells({ firstBitLine: region.firstBitLine + done, bitLines, firstSourceLine, sourceLines }, averages);
    codes.set(read.codes, done * region.sourceLines);
    saturatedCells += read.saturatedCells;
    yield { cells: { done: (done + bitLines) * region.sourceLines, total: codes.length, pulses: 0, amplitudeMillivolts: 0 } };
  }
  const sizeBytes = codes.byteLength;
  const sha256 = bulk.put(new Uint8Array(codes.buffer));
  if (sha256 === undefined) return new Refusal('BULK_TOO_LARGE', `a map of ${sizeBytes} bytes is larger than the store`);
  return { sha256, sizeBytes, saturatedCells, operationNanoseconds: macro.operationNanoseconds - before };
}

/** The work that a request of the array asks for. @throws RangeError for a method that needs no array */
export function taskOf(bench: Bench, request: Request, method: MethodName): Task {
  if (method === 'loadProgram' && request.loadProgram) return loadProgram(bench, request.loadProgram);
  if (method === 'loadSnapshot' && request.loadSnapshot) return loadSnapshot(bench, request.loadSnapshot);
  if (method === 'runNetwork' && request.runNetwork) return runNetwork(bench, request.runNetwork);
  if (method === 'multiply' && request.multiply) return multiply(bench, request.multiply);
  if (method === 'readCells' && request.readCells) return readCells(bench, request.readCells);
  if (method === 'resetCells' && request.resetCells) return resetCells(bench, request.resetCells);
  if (method === 'setCells' && request.setCells) return setCells(bench, request.setCells);
  if (method === 'formCells' && request.formCells) return formCells(bench, request.formCells);
  if (method === 'programCells' && request.programCells) return programCells(bench, request.programCells);
  if (method === 'readWear' && request.readWear) return readWear(bench);
  if (method === 'sweepCell' && request.sweepCell) return sweepCell(bench, request.sweepCell);
  throw new RangeError(`no task for ${method}`);
}
