import type { MacroError } from '../../proto/error.js';
import { binEvents } from '../dataset/frames.js';
import { findRecordings, type RecordingFile } from '../dataset/nmnist.js';
import { parseRecording } from '../dataset/recording.js';
import type { AuditReport, Estimate } from '../early-stop/audit.js';
import { inferenceOptions } from '../inference/options.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import { type Decision, decisionOf, type InferenceRow, type RunSummary, saturationWarningFraction } from '../inference/result.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import type { Network } from '../network/network.js';
import type { ServiceClient } from './client.js';
import { type Console, exitDone, exitFailed, table } from './console.js';
import { readRecording } from './input-file.js';
import { ProgressLine } from './progress.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface InferArguments extends ServiceChoice {
  readonly model: string;
  readonly input: readonly string[];
  readonly split?: string;
  readonly threshold?: string;
  readonly rule?: string;
  readonly audit?: string;
  readonly earlyStop: boolean;
  readonly execution?: string;
  readonly device?: string;
  readonly keepGoing: boolean;
  readonly json: boolean;
}

interface CheckedInput {
  readonly file: RecordingFile;
  readonly recording: SentRecording | undefined;
  readonly error: MacroError | undefined;
}

/** Reads a recording and does all that could fail for its own fault, before anything runs. */
function check(file: RecordingFile, timestepCount: number): CheckedInput {
  try {
    const recording = readRecording(file);
    binEvents(parseRecording(recording.bytes, file.input, file.label), timestepCount, 'number');
    return { file, recording, error: undefined };
  } catch (error) {
    return { file, recording: undefined, error: error as MacroError };
  }
}

type Line = Decision | { readonly input: string; readonly error: { readonly code: string } };

/** Lines in the order of the inputs: what was refused stands at its place. */
class OrderedLines {
  #next = 0;

  constructor(private readonly inputs: readonly CheckedInput[], private readonly print: (line: Line) => void) {}

  #printRefused(): void {
    for (let input = this.inputs[this.#next]; input?.error !== undefined; input = this.inputs[this.#next]) {
      this.print({ input: input.file.input, error: { code: input.error.code } });
      this.#next += 1;
    }
  }

  add(row: InferenceRow): void {
    this.#printRefused();
    this.print(decisionOf(row));
    this.#next += 1;
  }

  end(): void {
    this.#printRefused();
  }
}

function humanTable(lines: readonly Line[]): string {
  const rows = lines.map((line) =>
    'error' in line
      ? [line.input, '', line.error.code, '', '']
      : [line.input, line.label ?? '', line.prediction, line.stoppedAtTimestep, line.confidence.toFixed(4)],
  );
  return table(['recording', 'label', 'prediction', 'stopped at timestep', 'confidence'], rows);
}

function describeAudit({ recordings, stopped, accuracyLoss, savedFraction }: AuditReport): string {
  const points = ({ value, low, high }: Estimate) => `${(100 * value).toFixed(1)} (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
  const cost = accuracyLoss === null ? '' : ` costs ${points(accuracyLoss)} points of accuracy and`;
  return `audit of ${recordings} recordings, ${stopped} of them stopped early: the stop${cost} saves ${points(savedFraction)} % of the timesteps\n`;
}

function describeSummary(summary: RunSummary): string {
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  const accuracy = summary.accuracy === null ? 'no labels' : `accuracy ${percent(summary.accuracy)}`;
  const figures = [
    `${summary.recordings} recordings`,
    ...(summary.failed > 0 ? [`${summary.failed} refused`] : []),
    accuracy,
    `mean timesteps ${summary.meanTimesteps.toFixed(2)} (${percent(summary.savedFraction)} saved)`,
    `${summary.energyNanojoules.toFixed(1)} nJ a recording`,
    `${summary.executionSeconds.toFixed(3)} s on the device`,
  ];
  return `${figures.join(' · ')}\n${summary.audit === null ? '' : describeAudit(summary.audit)}`;
}

function warn(console: Console, summary: RunSummary): void {
  for (const warning of summary.warnings) console.error(`warning: ${warning}\n`);
  for (const [layer, fraction] of Object.entries(summary.saturatedFractionByLayer)) {
    if (fraction <= saturationWarningFraction) continue;
    console.error(`warning: ${(100 * fraction).toFixed(2)} % of the conversions of layer ${layer} were saturated\n`);
  }
}

/** Runs the good recordings as one job; prints a line for each as it comes. Returns the summary, refused ones counted. */
async function runJob(
  client: ServiceClient, given: InferArguments, files: ReadonlyMap<string, Uint8Array>, inputs: readonly CheckedInput[], console: Console,
  print: (line: Line) => void,
): Promise<RunSummary> {
  const good = inputs.flatMap(({ recording }) => recording ?? []);
  const { split, threshold, rule, audit, earlyStop, execution, device } = given;
  const model = await client.uploadModel(files);
  const job = await client.submitInference(model, good, {
    split, threshold, rule, audit, execution, ...(!earlyStop && { earlyStop }), ...(device !== undefined && { device }),
  });
  const lines = new OrderedLines(inputs, print);
  const progress = new ProgressLine(console, good.length);
  for await (const row of client.results(job.id)) {
    lines.add(row);
    progress.step();
  }
  progress.end();
  const { summary } = await client.ended(job.id);
  lines.end();
  const failed = inputs.length - good.length;
  return { ...summary, recordings: summary.recordings + failed, failed };
}

const noResult = (recordings: number, { layers, earlyStop: { rule } }: Network): RunSummary => ({
  recordings,
  failed: recordings,
  accuracy: null,
  meanTimesteps: 0,
  savedFraction: 0,
  saturatedFraction: 0,
  energyNanojoules: 0,
  executionSeconds: 0,
  saturatedFractionByLayer: Object.fromEntries(layers.map(({ name }) => [name, 0])),
  rule,
  threshold: null,
  audit: null,
  membraneUnitsPerNetworkUnit: 0,
  warnings: [],
  calibration: null,
  objects: {},
});

/**
 * `prime infer`: reads and checks everything, then has the service run it.
 *
 * @returns exit code; 1 where a recording was refused and the others were run
 */
export async function infer(given: InferArguments, console: Console): Promise<number> {
  const startMilliseconds = performance.now();
  const bundle = readBundle(given.model);
  inferenceOptions(given, bundle.network);
  const inputs = findRecordings(given.input).map((file) => check(file, bundle.network.timestepCount));
  const refused = inputs.filter(({ error }) => error !== undefined);
  if (refused.length > 0 && !given.keepGoing) throw refused[0].error;
  for (const { error } of refused) console.error(`${error?.message}\n`);
  const kept: Line[] = [];
  const print = (line: Line) => (given.json ? console.out(`${JSON.stringify(line)}\n`) : void kept.push(line));
  let summary: RunSummary;
  if (refused.length === inputs.length) {
    new OrderedLines(inputs, print).end();
    summary = noResult(inputs.length, bundle.network);
  } else {
    const files = filesOfBundle(bundle);
    summary = await withService(given, console, (client) => runJob(client, given, files, inputs, console, print));
  }
  console.out(given.json ? `${JSON.stringify({ summary })}\n` : `${humanTable(kept)}\n${describeSummary(summary)}`);
  warn(console, summary);
  console.error(`wall time ${((performance.now() - startMilliseconds) / 1000).toFixed(2)} s\n`);
  return refused.length > 0 ? exitFailed : exitDone;
}
