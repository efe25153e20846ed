// The C reference firmware: its own unit tests, native, under sanitizers and on an emulated Cortex-A9; and that a host cannot tell it from the
// simulator: the same membranes in every timestep, costs, digests and cells.
import t, { type Test } from 'tap';
import { type Device, openDevice, parseAddress, type RunResult, type TimestepResult } from '../driver/index.js';
import { binEvents } from '../server/dataset/frames.js';
import { parseRecording } from '../server/dataset/recording.js';
import { bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { compile, earlyStopAt } from '../server/network/compile.js';
import { runHostStepped } from '../server/network/host-stepped.js';
import { systemClock } from '../server/system-clock.js';
import { filmedDigits } from './digits.js';
import { armSkip, type Build, FirmwareBoard, firmwareSkip, make } from './firmware-board.js';
import { smallBundle } from './small-bundle.js';
import { countingPrng, TcpBoard } from './tcp-board.js';

const wholeArray = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };
const builds: readonly Build[] = ['native', 'sanitize', 'arm'];
const skipOf = (build: Build) => (build === 'arm' ? armSkip : firmwareSkip);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

let devices = 0;
function open(t: Test, address: string): Device {
  devices += 1;
  const device = openDevice({ address: parseAddress(address), clock: systemClock, prng: countingPrng(1000 + 2 * devices), onEvent: () => undefined });
  t.teardown(() => device.close());
  return device;
}

async function boardOf(t: Test, build: Build, ...choices: string[]): Promise<FirmwareBoard> {
  const board = await FirmwareBoard.start(build, ...choices);
  t.teardown(() => board.close());
  return board;
}

async function simulated(t: Test, profile: string): Promise<Device> {
  const board = await TcpBoard.start(profile);
  t.teardown(() => board.close());
  return open(t, board.address);
}

interface Inference {
  readonly timesteps: TimestepResult[];
  readonly result: RunResult;
}

const plain = ({ timestep, membranes, layers, confidenceQ24 }: TimestepResult): TimestepResult => ({
  timestep, membranes: [...membranes], confidenceQ24,
  layers: layers.map(({ conversions, saturations, spikes }) => ({ conversions, saturations, spikes })),
});

const plainResult = ({ timesteps, stoppedEarly, prediction, operationNanoseconds, energyFemtojoules }: RunResult): RunResult =>
  ({ timesteps, stoppedEarly, prediction, operationNanoseconds, energyFemtojoules });

/** Brings the small network to a chip and reads three digits with it, with and without early stop, stepped by the device and by the host. */
async function inferEverything(device: Device) {
  const { geometry, converter, chipId, arrayState } = await device.whenReady(10_000);
  const formed = hex(new Uint8Array((await device.readCells(wholeArray, 1)).codes.buffer));
  const compiled = compile(bundleFromFiles(filesOfBundle(smallBundle())), { geometry, converter });
  if (compiled.snapshot === undefined) throw new Error('the small bundle brings its weights');
  const loaded = await device.loadSnapshot(compiled.snapshot);
  const programSha256 = await device.loadProgram(compiled.program);
  const inferences: Inference[] = [];
  for (const [index, { input, label, bytes }] of filmedDigits(3).entries()) {
    const { codes: frames } = binEvents(parseRecording(bytes, input, label), compiled.program.timestepCount, 'number');
    for (const threshold of [0.11, undefined]) {
      const earlyStop = threshold === undefined ? undefined : earlyStopAt(compiled, threshold);
      const timesteps: TimestepResult[] = [];
      const take = (result: TimestepResult) => timesteps.push(plain(result));
      const run = { programSha256, frames, inferenceNumber: index, ...(earlyStop && { earlyStop }) };
      inferences.push({ timesteps: [...timesteps], result: plainResult(await device.runNetwork(run, take)) });
      inferences.push({ timesteps: timesteps.splice(0), result: plainResult(await runHostStepped(device, compiled, frames, index, earlyStop, take)) });
      inferences.push({ timesteps: timesteps.splice(0), result: inferences[inferences.length - 1].result });
    }
  }
  const placed = hex(new Uint8Array((await device.readCells(wholeArray, 3)).codes.buffer));
  const { operationNanoseconds, arrayEpoch, pulses } = await device.status();
  return {
    chipId, arrayState: hex(arrayState), formed, converter: { ...converter }, pairs: loaded.pairs, loadedState: hex(loaded.arrayState), inferences, placed,
    operationNanoseconds, arrayEpoch, pulses,
  };
}

for (const build of builds) {
  t.test(`unit tests: ${build}`, { skip: skipOf(build), timeout: 300_000 }, async (t) => {
    const { status, output } = make(build === 'native' ? 'test' : build);
    t.equal(status, 0, output);
    t.match(output, /all tests passed/);
    if (build === 'native') t.equal(make('all').status, 0);
  });
}

for (const profile of ['ideal', 'lab-paper-quiet', 'lab-paper']) {
  t.test(`whole inferences, ${profile}: the firmware gives the simulator's bits`, { skip: firmwareSkip, timeout: 300_000 }, async (t) => {
    const expected = await inferEverything(await simulated(t, profile));
    t.ok(expected.inferences.length > 6 && expected.inferences.some(({ result }) => result.stoppedEarly));
    for (const build of builds) {
      if (skipOf(build)) continue;
      const board = await boardOf(t, build, '--profile', profile);
      const actual = await inferEverything(open(t, board.address));
      for (const [name, value] of Object.entries(expected)) t.strictSame(actual[name as keyof typeof actual], value, `${build}: ${name}`);
    }
  });
}
