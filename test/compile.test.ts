// Aim: every weight of a bundle sits in one pair of cells, every scale is the integer that NUMERICS.md wants, and both executions of a
// compiled network give the same integers. The chip is the simulator's own class, without a wire between.
import { join } from 'node:path';
import fc from 'fast-check';
import assert from 'node:assert/strict';
import t from 'tap';
import { deviceMessageCodec, hostMessageCodec, programCodec, snapshotCodec } from '../proto/codec.js';
import type { Converter, MultiplyResult, RunResult, TimestepResult } from '../proto/message.js';
import { type Bundle, bundleFromFiles, filesOfBundle, readBundle } from '../server/network/bundle.js';
import { type CompiledNetwork, compile, earlyStopAt } from '../server/network/compile.js';
import { type MultiplyRequest, runHostStepped } from '../server/network/host-stepped.js';
import { layerInputs, layerOutputs } from '../server/network/network.js';
import { checkPlacements, placeNetwork } from '../server/network/placement.js';
import {
  brokenSourceLines, fingerprintCells, fingerprintCorrelation, fingerprintOf, prunedCells, snapshotDifferences, snapshotDigest, weightCells,
} from '../server/network/snapshot.js';
import { Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { NetworkRun } from '../sim/network-run.js';
import { profileNamed } from '../sim/profile.js';
import { smallBundle, smallNetwork } from './small-bundle.js';

const data = process.env['PRIME_DATA'];
const geometry = { bitLines: 512, sourceLines: 512 };
const lab: Converter = {
  bits: 14, signedCodes: false, differential: false,
  ranges: [
    { name: 'cell', stepNumeratorNanosiemens: 102_400, stepDenominator: 16_384 },
    { name: 'multiply', stepNumeratorNanosiemens: 2_500_000, stepDenominator: 16_384 },
  ],
};
const ideal: Converter = { ...lab, bits: 32, ranges: [{ name: 'multiply', stepNumeratorNanosiemens: 1, stepDenominator: 1 }] };
const small = () => bundleFromFiles(filesOfBundle(smallBundle()));

const converterOf = (macro: Macro): Converter =>
  ({ bits: macro.chip.profile.converterBits, signedCodes: false, differential: false, ranges: [...macro.ranges] });

/** The device's multiply on the simulator's array; every message also passes its codec, so its size is held. */
function multiplyOn(macro: Macro) {
  const requests: MultiplyRequest[] = [];
  const answer = (request: MultiplyRequest): MultiplyResult => {
    const { firstBitLine, bitLineCount, sourceLines, range, inferenceNumber, timestep, tile } = request;
    const cells = macro.tile({ firstBitLine, bitLineCount, sourceLines });
    const before = { nanoseconds: macro.operationNanoseconds, energy: macro.energyFemtojoules };
    const wide = macro.chip.profile.converterBits > 16;
    const codes = new Uint8Array(request.drives.length * sourceLines.length * (wide ? 4 : 2));
    const view = new DataView(codes.buffer);
    const out = new Int32Array(sourceLines.length);
    let saturations = 0;
    request.drives.forEach(({ position, plane, lines }, drive) => {
      const rows = Int32Array.from({ length: bitLineCount }, (_, row) => row).filter((row) => (lines[row >> 3] >> (row & 7)) & 1);
      saturations += macro.multiply(cells, rows, rows.length, range, { inferenceNumber, timestep, tile }, position, plane, out);
      out.forEach((code, line) => {
        const at = drive * sourceLines.length + line;
        if (wide) view.setInt32(4 * at, code, true);
        else view.setUint16(2 * at, code, true);
      });
    });
    return {
      codes, saturations,
      operationNanoseconds: macro.operationNanoseconds - before.nanoseconds, energyFemtojoules: macro.energyFemtojoules - before.energy,
    };
  };
  const multiply = async (request: MultiplyRequest): Promise<MultiplyResult> => {
    requests.push(request);
    const requestId = new Uint8Array(16);
    const sent = hostMessageCodec.decode(hostMessageCodec.encode({
      request: { requestId, deadlineMicroseconds: 1e12, leaseEpoch: 2 ** 31, method: 'multiply', multiply: request },
    }));
    assert.ok(sent.ok && sent.value.request?.multiply);
    const result = answer(sent.value.request.multiply);
    const received = deviceMessageCodec.decode(deviceMessageCodec.encode({
      final: { requestId, repeatedFromJournal: true, result: 'multiply', multiply: result },
    }));
    assert.ok(received.ok && received.value.final?.multiply);
    return received.value.final.multiply;
  };
  return { requests, device: { multiply } };
}

interface Outcome { steps: TimestepResult[]; result: RunResult }

function onDevice(macro: Macro, compiled: CompiledNetwork, frames: Uint8Array, number: number, threshold?: number): Outcome {
  const before = { nanoseconds: macro.operationNanoseconds, energy: macro.energyFemtojoules };
  const stop = threshold === undefined ? undefined : earlyStopAt(compiled, threshold);
  const run = new NetworkRun(macro, compiled.program, frames, number, stop);
  const steps: TimestepResult[] = [];
  for (let outcome = run.step(); outcome; outcome = run.step()) {
    const { timestep, membranes, layers, confidenceQ24 } = outcome;
    steps.push({ timestep, membranes: [...membranes], layers: [...layers], confidenceQ24 });
  }
  const { timesteps, stoppedEarly, prediction } = run;
  const operationNanoseconds = macro.operationNanoseconds - before.nanoseconds;
  const energyFemtojoules = macro.energyFemtojoules - before.energy;
  return { steps, result: { timesteps, stoppedEarly, prediction, operationNanoseconds, energyFemtojoules } };
}

/** Frames with a moving blot, codes up to 15. */
function blot(timestepCount: number, seed: number): Uint8Array {
  const frames = new Uint8Array(timestepCount * 2 * 34 * 34);
  let state = seed;
  for (let event = 0; event < 700 * timestepCount; event += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const step = event % timestepCount;
    const at = ((step * 2 + (state >>> 31)) * 34 + 8 + ((state >>> 16) % 18)) * 34 + 6 + step + ((state >>> 8) % 18);
    frames[at] = Math.min(15, frames[at] + 1 + ((state >>> 24) & 1));
  }
  return frames;
}

t.test('scales and thresholds are the integers of NUMERICS.md', async (t) => {
  const bundle = small();
  const { program, membraneUnitsPerNetworkUnit, codeBytes } = compile(bundle, { geometry, converter: ideal });
  const [first, second, last] = program.layers;
  t.strictSame(program.layers.map(({ driveBits }) => driveBits), [4, 3, 1], 'counts to 15, pools of 4 spikes, single spikes');
  t.strictSame(first.current, { multiplier: 16, shift: 0 }, '16 membrane units a nanosiemens');
  const [leak, negativeSlope] = [{ multiplier: 209_715, shift: 20 }, { multiplier: 104_858, shift: 20 }];
  t.strictSame(first.neuron, { kind: 0, threshold: 320_000, leak, negativeSlope });
  t.equal(second.neuron.threshold, 1_280_000, 'a quarter of the unit behind a 2×2 pool');
  t.equal(last.neuron.kind, 1);
  t.equal(membraneUnitsPerNetworkUnit, 1_600_000, '16 units · 1 000 nS / 0.01');
  t.equal(codeBytes, 4);
  t.strictSame([first.outputHeight, first.poolSize, second.inputHeight, second.outputHeight, last.inputChannels], [32, 2, 16, 7, 588]);
  const onLab = compile(bundle, { geometry, converter: lab });
  t.strictSame(onLab.program.layers[0].current, { multiplier: 78_125, shift: 5 }, '2 500 µS / 2^14 · 16, exactly');
  t.equal(onLab.program.layers[0].range, 1, 'the range is found by name');
  t.equal(onLab.codeBytes, 2);
  t.throws(() => compile(bundle, { geometry, converter: { ...lab, ranges: [] } }), { code: 'METHOD_UNSUPPORTED' });
  for (const threshold of [0, 1, -1, Number.NaN]) t.throws(() => earlyStopAt(onLab, threshold), { code: 'BAD_THRESHOLD' });
});

t.test('any full scale becomes a scale that is right to a millionth and stays below 2^53', async () => {
  fc.assert(fc.property(fc.integer({ min: 1000, max: 100_000_000 }), fc.integer({ min: 10, max: 16 }), (fullScale, bits) => {
    const converter = { ...lab, bits, ranges: [{ name: 'multiply', stepNumeratorNanosiemens: fullScale, stepDenominator: 2 ** bits }] };
    const { multiplier, shift } = compile(small(), { geometry, converter }).program.layers[0].current;
    const wanted = (fullScale / 2 ** bits) * 16;
    assert.ok(Math.abs(multiplier / 2 ** shift / wanted - 1) < 1e-6, `${multiplier}/2^${shift} for ${wanted}`);
    assert.ok(Number.isInteger(multiplier) && multiplier * 2 ** 31 < 2 ** 53);
  }), { numRuns: 30 });
});

t.test('each weight has two cells of its own, on lines that are not blocked', async (t) => {
  fc.assert(fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 511 }), { maxLength: 430 }), (blocked) => {
    const target = { geometry, blockedSourceLines: new Set(blocked) };
    const placements = placeNetwork(smallNetwork, target);
    checkPlacements(placements, smallNetwork, geometry, 'placement');
    const lines = placements.flatMap(({ tiles }) => tiles.flatMap(({ plusLines, minusLines }) => [...plusLines, ...minusLines]));
    assert.equal(new Set(lines).size, 72);
    assert.equal(lines.length, 72);
    assert.ok(lines.every((line) => !target.blockedSourceLines.has(line)));
  }), { numRuns: 60 });
  const most = new Set(Array.from({ length: 441 }, (_, line) => line));
  t.throws(() => placeNetwork(smallNetwork, { geometry, blockedSourceLines: most }), { code: 'NETWORK_TOO_LARGE' });
});

t.test('the placement of plain networks never changes, so old bundles keep naming the same cells', async (t) => {
  const [conv0, , linear0] = placeNetwork(smallNetwork, { geometry, blockedSourceLines: new Set([3]) });
  t.strictSame(conv0.tiles, [{ firstInput: 0, inputCount: 50, firstBitLine: 0, plusLines: [0, 4, 6, 8], minusLines: [1, 5, 7, 9] }]);
  const tiles = linear0.tiles.map(({ firstInput, inputCount, plusLines }) => [firstInput, inputCount, plusLines[0]]);
  t.strictSame(tiles, [[0, 512, 34], [512, 76, 54]]);
});

t.test('a snapshot holds every weight where the placement says', async (t) => {
  const bundle = small();
  const { snapshot, placements } = compile(bundle, { geometry, converter: ideal });
  assert.ok(snapshot);
  const decoded = snapshotCodec.decode(snapshotCodec.encode(snapshot));
  t.ok(decoded.ok);
  const chip = Chip.formed(profileNamed('ideal'), 1);
  t.equal(chip.loadSnapshot(snapshot.tiles), bundle.layers.reduce((sum, { mask }) => sum + mask.length, 0));
  placements.forEach((placement, index) => {
    const { mask, weight } = bundle.layers[index];
    const read = snapshotDifferences(chip.codes, 1, placement, 512);
    const nanosiemens = (microsiemens: number) => Math.sign(microsiemens) * Math.round(Math.abs(microsiemens) * 1000);
    const expected = (weight as Float32Array).map((microsiemens, at) => (nanosiemens(microsiemens) * mask[at]) / 1000);
    const wrong = read.findIndex((microsiemens, at) => Math.abs(microsiemens - expected[at]) > 1e-6);
    t.equal(wrong, -1, placement.layer);
  });
});

t.test('the cells that a mask prunes are both of each pruned pair, and no other', async (t) => {
  const { network, layers } = small();
  const placements = placeNetwork(network, { geometry });
  const bitmap = prunedCells(layers.map(({ mask }) => mask), placements, geometry);
  const isPruned = (cell: number) => ((bitmap[cell >> 3] >> (cell & 7)) & 1) === 1;
  let pruned = 0;
  placements.forEach((placement, index) => {
    const { plus, minus } = weightCells(placement, 512);
    t.equal(plus.length, layerInputs(network.layers[index]) * layerOutputs(network.layers[index]));
    const { mask } = layers[index];
    pruned += mask.reduce((sum, kept) => sum + 2 * (1 - kept), 0);
    const isRight = (kept: number, weight: number) => isPruned(plus[weight]) === (kept === 0) && isPruned(minus[weight]) === (kept === 0);
    t.ok(mask.every(isRight), placement.layer);
  });
  t.equal(bitmap.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0), pruned);
});

t.test('a bundle that was made on a chip keeps its placement', async (t) => {
  const { network, layers } = smallBundle();
  const codes = Chip.formed(profileNamed('lab-half'), 1).codes;
  const elsewhere = placeNetwork(network, { geometry, blockedSourceLines: new Set([0, 1, 7, 200]) });
  const bundle: Bundle = {
    network, digest: '', layers: layers.map(({ name, mask }) => ({ name, mask })),
    chip: {
      format: 'prime-chip/1', chipId: 'sim-lab-half-1', fingerprint: fingerprintOf(codes, geometry), snapshotDigest: snapshotDigest(codes),
      weightScale: 0.0071, placements: elsewhere,
    },
  };
  const compiled = compile(bundle, { geometry, converter: lab, blockedSourceLines: new Set([2, 3, 4]) });
  t.strictSame(compiled.placements, elsewhere);
  t.strictSame(compiled.program.layers.map(({ tiles }) => tiles), elsewhere.map(({ tiles }) => tiles));
  t.equal(compiled.snapshot, undefined);
  t.equal(compiled.program.layers[0].neuron.threshold, Math.round((0.2 * 16_000) / 0.0071));
  t.throws(() => compile(bundle, { geometry: { bitLines: 256, sourceLines: 512 }, converter: lab }), { code: 'BAD_BUNDLE' });
});

t.test('a fingerprint tells chips apart, and a broken cell blocks its line', async (t) => {
  const chip = (seed: number) => Chip.formed(profileNamed('lab-half'), seed).codes;
  const cells = fingerprintCells(geometry);
  t.equal(new Set(cells).size, 1024);
  const [one, two] = [fingerprintOf(chip(1), geometry), fingerprintOf(chip(2), geometry)];
  t.ok(fingerprintCorrelation(one, one.map((code) => code * 1.01 + 3)) > 0.999);
  t.ok(Math.abs(fingerprintCorrelation(one, two)) < 0.15);
  t.equal(fingerprintCorrelation(one, one.map(() => 5)), 0);
  const codes = Uint16Array.from(chip(1));
  t.strictSame(brokenSourceLines(codes, 512), new Set());
  codes[5 * 512 + 77] = 0xffff;
  t.strictSame(brokenSourceLines(codes, 512), new Set([77]));
});

for (const name of ['ideal', 'lab-paper']) {
  t.test(`host-stepped and on-device execution agree to the bit on ${name}`, async (t) => {
    const chip = Chip.formed(profileNamed(name), 7);
    const macro = new Macro(chip);
    const compiled = compile(small(), { geometry, converter: converterOf(macro) });
    assert.ok(compiled.snapshot);
    chip.loadSnapshot(compiled.snapshot.tiles);
    const program = programCodec.decode(programCodec.encode(compiled.program));
    assert.ok(program.ok);
    t.same(program.value, compiled.program, 'the program survives its codec');
    const { device, requests } = multiplyOn(macro);
    for (const [number, threshold] of [[1, undefined], [2, 0.2], [3, 0.999]] as const) {
      const frames = blot(4, number);
      const expected = onDevice(macro, compiled, frames, number, threshold);
      const steps: TimestepResult[] = [];
      const stop = threshold === undefined ? undefined : earlyStopAt(compiled, threshold);
      const result = await runHostStepped(device, compiled, frames, number, stop, (step) => steps.push(step));
      t.strictSame(steps, expected.steps);
      t.strictSame(result, expected.result);
      t.ok(expected.steps.some(({ layers }) => layers[0].spikes > 0 && layers[1].spikes > 0), 'both hidden layers fire');
      if (threshold === 0.2) t.ok(result.stoppedEarly && result.timesteps < 4, 'the low threshold stops early');
    }
    t.ok(requests.some(({ drives }) => drives.length > 1), 'drives share messages');
  });
}

t.test('a run on the host ends when it is told to, and when the device fails', async (t) => {
  const chip = Chip.formed(profileNamed('ideal'), 1);
  const macro = new Macro(chip);
  const compiled = compile(small(), { geometry, converter: converterOf(macro) });
  const { device } = multiplyOn(macro);
  const stop = new AbortController();
  let steps = 0;
  const run = runHostStepped(device, compiled, blot(4, 1), 1, undefined, () => {
    steps += 1;
    stop.abort();
  }, stop.signal);
  await t.rejects(run, { code: 'CANCELLED' });
  t.equal(steps, 1);
  let open = 0;
  let calls = 0;
  const failing = {
    multiply: async (request: MultiplyRequest) => {
      calls += 1;
      open += 1;
      const isLast = calls === 5;
      const result = await device.multiply(request);
      open -= 1;
      if (isLast) throw new Error('gone');
      return result;
    },
  };
  await t.rejects(runHostStepped(failing, compiled, blot(4, 1), 1, undefined, () => {}), { message: 'gone' });
  t.equal(open, 0, 'nothing is left in flight');
  t.ok(calls < 20, 'nothing new was begun');
  const short = { multiply: async (request: MultiplyRequest) => ({ ...(await device.multiply(request)), codes: new Uint8Array(3) }) };
  await t.rejects(runHostStepped(short, compiled, blot(4, 1), 1, undefined, () => {}), { code: 'PROTOCOL_VIOLATION' });
});

t.test('the published bundle takes 252 source lines', { skip: data ? false : 'PRIME_DATA is not set' }, async (t) => {
  const bundle = readBundle(join(data as string, 'prime-bundle'));
  const { program, membraneUnitsPerNetworkUnit } = compile(bundle, { geometry, converter: lab });
  const linesOf = (layer: number) => program.layers[layer].tiles.map(({ plusLines, minusLines }) => plusLines.length + minusLines.length);
  t.strictSame([linesOf(0), linesOf(1), linesOf(2)], [[24], [128], [20, 20, 20, 20, 20]]);
  t.strictSame(program.layers[2].tiles.map(({ inputCount }) => inputCount), [512, 512, 512, 512, 256]);
  t.equal(membraneUnitsPerNetworkUnit, 6_400_000);
});
