// Recordings per second of the simulator class in process, without a line.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Frames } from '../../server/dataset/frames.js';
import { type CompiledNetwork, compile, earlyStopAt } from '../../server/network/compile.js';
import { writeOnnx } from '../../server/network/exchange/onnx.js';
import { Chip } from '../../sim/chip.js';
import { type Drive, Macro } from '../../sim/macro.js';
import { NetworkRun } from '../../sim/network-run.js';
import { readKernel } from '../../sim/process/kernel-file.js';
import { RecordingPool } from '../../sim/process/recording-pool.js';
import { profileNamed } from '../../sim/profile.js';
import { type BenchInputs, benchInputs } from './inputs.js';
import type { Figure, Subject } from './measure.js';

const geometry = { bitLines: 512, sourceLines: 512 };
const windowMilliseconds = 1500;
const multiplyBatch = 256;
/** Of one batch: about as many as a test set has, so that its end, where one worker waits for the other, is short. */
const pooledRecordings = 200;

/** Runs recordings in turn until the window is over. */
function windowOver(frames: readonly Frames[], run: (frames: Frames, index: number) => unknown): () => Promise<number> {
  let next = 0;
  return async () => {
    const start = performance.now();
    let done = 0;
    for (; performance.now() - start < windowMilliseconds; done += 1, next += 1) await run(frames[next % frames.length], next);
    return (done * 1000) / (performance.now() - start);
  };
}

/** Relative spread of repeated multiplies of one tile, against what the profile claims for a sum of independent cells. */
function assertNoise(macro: Macro): void {
  const claimed = macro.chip.profile.readNoiseFraction;
  if (claimed === 0) return;
  const rows = Int32Array.from({ length: 64 }, (_, row) => row);
  const cells = macro.tile({ firstBitLine: 0, bitLineCount: 64, sourceLines: [0, 1, 2, 3] });
  const out = new Int32Array(4);
  const repeats = 4000;
  const codes = Array.from({ length: repeats }, (_, position) => {
    macro.multiply(cells, rows, rows.length, 0, { inferenceNumber: 0, timestep: 0, tile: 0 }, position, 0, out);
    return out[0];
  });
  const mean = codes.reduce((sum, code) => sum + code, 0) / repeats;
  const sd = Math.sqrt(codes.reduce((sum, code) => sum + (code - mean) ** 2, 0) / repeats);
  const column = Array.from(rows, (row) => cells.codes[row * 4]);
  const gain = mean / column.reduce((sum, code) => sum + code, 0);
  const squares = column.reduce((sum, code) => sum + code ** 2, 0);
  const expected = Math.sqrt(claimed ** 2 * squares * gain ** 2 + 1 / 12); // and the rounding of the converter
  if (Math.abs(sd / expected - 1) > 0.1) throw new Error(`noise of ${sd.toFixed(3)} codes; the profile claims ${expected.toFixed(3)}`);
}

/** A chip that holds the bundle's network, and the network as it runs on it. */
function benchMacro({ bundle }: BenchInputs, profileName: string): { macro: Macro; compiled: CompiledNetwork } {
  const profile = profileNamed(profileName);
  const macro = new Macro(Chip.formed(profile, 1), readKernel());
  const converter = { bits: profile.converterBits, signedCodes: false, differential: false, ranges: [...macro.ranges] };
  const compiled = compile(bundle, { geometry, converter });
  macro.chip.loadSnapshot(compiled.snapshot?.tiles ?? []);
  assertNoise(macro);
  return { macro, compiled };
}

function simulator(inputs: BenchInputs, profileName: string, stop: boolean): Subject {
  const { bundle, frames } = inputs;
  const { macro, compiled } = benchMacro(inputs, profileName);
  const earlyStop = stop ? earlyStopAt(compiled, bundle.network.earlyStop.threshold) : undefined;
  const run = ({ codes }: Frames, inferenceNumber: number) => {
    const network = new NetworkRun(macro, compiled.program, codes, inferenceNumber, earlyStop);
    while (network.step() !== undefined);
  };
  return { name: profileName, window: windowOver(frames, run), close: async () => undefined };
}

async function onnxRuntime(inputs: BenchInputs): Promise<Subject> {
  const { timestepCount, input } = inputs.bundle.network;
  const shape = [timestepCount, input.channels, input.height, input.width];
  const session = await InferenceSession.create(writeOnnx(inputs.bundle), { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const run = ({ codes }: Frames) => session.run({ frames: new Tensor('float32', Float32Array.from(codes), shape) });
  return { name: 'onnxruntime-node', window: windowOver(inputs.frames, run), close: () => session.release() };
}

/** How long something took: of the day, or of all processors that worked on it. */
const clocks = {
  s: () => performance.now() / 1000,
  'CPU-second': () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  },
};
type Clock = keyof typeof clocks;

/** Whole batches of recordings in so many threads. */
function pooled(inputs: BenchInputs, profileName: string, workerCount: number, clock: Clock): Subject {
  const { macro, compiled } = benchMacro(inputs, profileName);
  const pool = new RecordingPool(macro.chip, compiled.program, workerCount);
  const recordings = Array.from({ length: pooledRecordings }, (_, index) => inputs.frames[index % inputs.frames.length].codes);
  let next = 0;
  const window = async () => {
    const [start, before] = [performance.now(), clocks[clock]()];
    let done = 0;
    for (; performance.now() - start < windowMilliseconds; done += recordings.length) await pool.run(recordings, (next += recordings.length));
    return done / (clocks[clock]() - before);
  };
  return { name: `${workerCount} ${workerCount === 1 ? 'worker' : 'workers'}`, window, close: () => pool.close() };
}

/** Multiplies of the whole array with half of its bit lines driven, and noise in every conversion. */
function multiplies(): Subject {
  const macro = new Macro(Chip.formed(profileNamed('lab-paper'), 1), readKernel());
  assertNoise(macro);
  const lines = Array.from({ length: geometry.sourceLines }, (_, line) => line);
  const cells = macro.tile({ firstBitLine: 0, bitLineCount: geometry.bitLines, sourceLines: lines });
  const drives: Drive[] = Array.from({ length: multiplyBatch }, (_, position) => {
    const rows = Int32Array.from(lines).filter((row) => (((row * 2654435761) >>> 7) ^ (position >>> (row % 5))) & 1);
    return { rows, rowCount: rows.length, position, plane: 0 };
  });
  const out = new Int32Array(drives.length * lines.length);
  let inferenceNumber = 0;
  const window = async () => {
    const start = performance.now();
    let done = 0;
    for (; performance.now() - start < windowMilliseconds; done += drives.length) {
      macro.multiplyAll(cells, drives, 0, { inferenceNumber, timestep: 0, tile: 0 }, out);
      inferenceNumber += 1;
    }
    return (done * 1000) / (performance.now() - start);
  };
  return { name: 'lab-paper', window, close: async () => undefined };
}

function figure(name: string, profile: string, stop: boolean): Figure {
  return {
    name,
    unit: 'recordings/s',
    better: 'higher',
    async open() {
      const inputs = benchInputs();
      return { subject: simulator(inputs, profile, stop), baseline: await onnxRuntime(inputs) };
    },
  };
}

function twoWorkers(name: string, clock: Clock): Figure {
  return {
    name,
    unit: `recordings/${clock}`,
    better: 'higher',
    async open() {
      const inputs = benchInputs();
      return { subject: pooled(inputs, 'lab', 2, clock), baseline: pooled(inputs, 'lab', 1, clock) };
    },
  };
}

export const inferFigures: readonly Figure[] = [
  figure('infer-ideal', 'ideal', false),
  figure('infer-ideal-early-stop', 'ideal', true),
  figure('infer-lab', 'lab', false),
  figure('infer-lab-early-stop', 'lab', true),
  twoWorkers('infer-lab-two-workers', 's'),
  twoWorkers('infer-lab-two-workers-work', 'CPU-second'),
  { name: 'multiply-noise', unit: 'multiplies/s', better: 'higher', open: async () => ({ subject: multiplies() }) },
];
