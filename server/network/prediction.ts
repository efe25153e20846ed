import { convert, type EarlyStopRule, gainOf, isConfident, StopGate } from '../../firmware-protocol/numerics/index.js';
import type { MultiplyResult } from '../../proto/message.js';
import { binEvents, type Split } from '../dataset/frames.js';
import { parseRecording } from '../dataset/recording.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import type { Bundle } from './bundle.js';
import { type CompiledNetwork, type CompileTarget, compile, earlyStopAt } from './compile.js';
import { type MultiplyDevice, type MultiplyRequest, runHostStepped } from './host-stepped.js';

/** What a chip is, as far as a prediction goes: a map of its codes, and what HELLO_ACK says of its converters. */
export interface PredictedChip extends CompileTarget {
  readonly geometry: CompileTarget['geometry'] & { readonly cellUnitNanosiemens: number };
}

/** How a network would do on labelled recordings. */
export interface PredictedAccuracy {
  readonly recordings: number;
  /** With the bundle's early stop. */
  readonly accuracy: number;
  readonly meanTimesteps: number;
  readonly accuracyOfAllTimesteps: number;
}

/** The multiplies that the cells of a map would give to converters that are all alike, without noise (NUMERICS.md §"Conversion"). */
class MapMultiplier implements MultiplyDevice {
  private readonly gains: readonly number[];
  private readonly maximumCode: number;
  private readonly codeBytes: 2 | 4;

  constructor(private readonly codes: Uint16Array, private readonly chip: PredictedChip, { codeBytes }: CompiledNetwork) {
    const { geometry, converter: { bits, ranges } } = chip;
    this.gains = ranges.map(({ stepNumeratorNanosiemens, stepDenominator }) =>
      gainOf(geometry.cellUnitNanosiemens, stepNumeratorNanosiemens, stepDenominator));
    this.maximumCode = bits >= 32 ? 2 ** 31 - 1 : 2 ** bits - 1;
    this.codeBytes = codeBytes;
  }

  async multiply(request: MultiplyRequest): Promise<MultiplyResult> {
    // A prediction is long; other work of the service goes on between its multiplies.
    await new Promise((resolve) => { setImmediate(resolve); });
    const { drives, sourceLines, range } = request;
    const codes = new Uint8Array(drives.length * sourceLines.length * this.codeBytes);
    const view = new DataView(codes.buffer);
    const sums = new Float64Array(sourceLines.length);
    let saturations = 0;
    drives.forEach(({ lines }, drive) => {
      this.addDriven(request, lines, sums);
      sums.forEach((sum, line) => {
        const code = convert(sum, 0, this.gains[range], 0);
        if (code > this.maximumCode) saturations += 1;
        const at = (drive * sourceLines.length + line) * this.codeBytes;
        if (this.codeBytes === 2) view.setUint16(at, Math.min(code, this.maximumCode), true);
        else view.setInt32(at, Math.min(code, this.maximumCode), true);
      });
    });
    return { codes, saturations, operationNanoseconds: 0, energyFemtojoules: 0 };
  }

  private addDriven({ firstBitLine, bitLineCount, sourceLines }: MultiplyRequest, driven: Uint8Array, sums: Float64Array): void {
    sums.fill(0);
    for (let row = 0; row < bitLineCount; row += 1) {
      if (((driven[row >> 3] >> (row & 7)) & 1) === 0) continue;
      const first = (firstBitLine + row) * this.chip.geometry.sourceLines;
      for (let line = 0; line < sourceLines.length; line += 1) sums[line] += this.codes[first + sourceLines[line]];
    }
  }
}

const argmax = (sums: Float64Array) => sums.indexOf(Math.max(...sums));

/** Decisions of one recording: where the early stop would have been, and after all timesteps. */
async function decide(device: MultiplyDevice, compiled: CompiledNetwork, frames: Uint8Array, rule: EarlyStopRule, signal?: AbortSignal) {
  const sums = new Float64Array(compiled.program.layers.at(-1)?.outputChannels ?? 0);
  const gate = new StopGate(sums.length, rule.confidence, rule.rule);
  let stop: { prediction: number; timesteps: number } | undefined;
  const { prediction, timesteps } = await runHostStepped(device, compiled, frames, 0, undefined, ({ timestep, membranes }) => {
    membranes.forEach((membrane, output) => { sums[output] += membrane; });
    if (isConfident(rule, timestep, gate.add(membranes))) stop ??= { prediction: argmax(sums), timesteps: timestep + 1 };
  }, signal);
  return { last: prediction, stop: stop ?? { prediction, timesteps } };
}

/**
 * What accuracy a bundle would have on a chip whose cells conduct what a map says. Read noise and what tells converters apart are left out: it predicts the
 * network, not a run of it.
 *
 * @param codes of every cell, bit line by bit line
 * @param recordings those without a label are left out
 * @returns null where none has a label
 * @throws MacroError CANCELLED when the signal aborts, and what recordings and bundles are refused with
 */
export async function predictAccuracy(
  chip: PredictedChip, bundle: Bundle, codes: Uint16Array, recordings: readonly SentRecording[], split: Split, signal?: AbortSignal,
): Promise<PredictedAccuracy | null> {
  const compiled = compile(bundle, chip);
  const { timestepCount } = bundle.network;
  const earlyStop = earlyStopAt(compiled);
  const device = new MapMultiplier(codes, chip, compiled);
  const labelled = recordings.filter(({ label }) => label !== null);
  let [right, rightAtEnd, timesteps] = [0, 0, 0];
  for (const { bytes, input, label } of labelled) {
    const frames = binEvents(parseRecording(bytes, input, label), timestepCount, split);
    const { stop, last } = await decide(device, compiled, frames.codes, earlyStop, signal);
    right += stop.prediction === label ? 1 : 0;
    rightAtEnd += last === label ? 1 : 0;
    timesteps += stop.timesteps;
  }
  const { length } = labelled;
  if (length === 0) return null;
  return { recordings: length, accuracy: right / length, meanTimesteps: timesteps / length, accuracyOfAllTimesteps: rightAtEnd / length };
}
