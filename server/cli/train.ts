import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';
import { isMnistSpec } from '../dataset/film.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import { openSource } from '../dataset/source.js';
import type { EpochRow } from '../training/checkpoint.js';
import { type ArrayArguments, describePlan, describeSummary, given, numberOf } from './array.js';
import type { JobView, ServiceClient } from './client.js';
import { type Console, exitDone, exitFailed } from './console.js';
import { checkOutputFolder, readInput } from './input-file.js';
import { ProgressLine } from './progress.js';
import { recordingsOf } from './recordings.js';
import { withService } from './service-choice.js';

export interface TrainArguments extends ArrayArguments {
  readonly data?: readonly string[];
  readonly network?: string;
  readonly snapshot?: string;
  readonly split?: string;
  readonly epochs?: string;
  readonly batch?: string;
  readonly learningRate?: string;
  readonly weightDecay?: string;
  readonly sparsity?: string;
  readonly seed?: string;
  readonly timestepLoss?: string;
  readonly noise?: boolean;
  readonly readNoise?: string;
  readonly residualSd?: string;
  readonly validation?: string;
  readonly averages?: string;
}

/** What a search has left beside its bundle: with which options, how it went and what came of it. */
const reportFile = 'training.json';

const numbersOf = (option: string, text: string | undefined) => {
  const numbers = text?.split(',').map((part) => numberOf(option, part) as number);
  return numbers?.length === 1 ? numbers[0] : numbers;
};

function networkOf(path: string | undefined): object | undefined {
  if (path === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(readInput(path))) as object;
  } catch (error) {
    if (error instanceof MacroError) throw error;
    throw new MacroError('BAD_ARGUMENT', `${path} is not JSON: ${(error as Error).message}`, { field: 'network', cause: error });
  }
}

function noiseOf({ noise, readNoise, residualSd }: TrainArguments): object | undefined {
  const fields = given({ readFraction: numberOf('read-noise', readNoise), residualSdMicrosiemens: numberOf('residual-sd', residualSd) });
  return noise || Object.keys(fields).length > 0 ? fields : undefined;
}

/** What the options say of the search, as the service takes it. */
export const searchFields = (args: TrainArguments) => given({
  device: args.device, user: args.user, snapshot: args.snapshot, split: args.split, network: networkOf(args.network), noise: noiseOf(args),
  epochs: numberOf('epochs', args.epochs), batchSize: numberOf('batch', args.batch),
  learningRate: numberOf('learning-rate', args.learningRate), weightDecay: numberOf('weight-decay', args.weightDecay),
  sparsity: numbersOf('sparsity', args.sparsity), seed: numberOf('seed', args.seed), timestepLossFraction: numberOf('timestep-loss', args.timestepLoss),
  validationFraction: numberOf('validation', args.validation), averages: numberOf('averages', args.averages),
});

/** Digits that the service films itself, or recordings to send to it. */
export type LearningInput = { readonly films: string } | { readonly recordings: readonly SentRecording[] };

/** @throws MacroError BAD_ARGUMENT where nothing is named, and what `openSource` throws */
export function learningInput(data: readonly string[] = []): LearningInput {
  if (data.length === 0) throw new MacroError('BAD_ARGUMENT', '--data must name what to learn from: folders, archives, mnist:train', { field: 'data' });
  const films = data.find(isMnistSpec);
  if (films !== undefined && data.length === 1) {
    openSource(films).close();
    return { films };
  }
  return { recordings: data.flatMap(recordingsOf) };
}

const percent = (fraction: number) => `${(100 * fraction).toFixed(2)} %`;

export function describeEpoch({ epoch, meanLoss, accuracy, validationAccuracy, changedPairs }: EpochRow): string {
  const validation = validationAccuracy === null ? '' : ` · validation ${percent(validationAccuracy)}`;
  return `epoch ${epoch} · loss ${meanLoss.toFixed(4)} · accuracy ${percent(accuracy)}${validation} · ${changedPairs} pairs changed`;
}

/** Prints epochs as they come. @returns all of them */
async function follow(client: ServiceClient, job: JobView, args: TrainArguments, console: Console): Promise<EpochRow[]> {
  const rows: EpochRow[] = [];
  const progress = new ProgressLine(console, 1, 'steps');
  const look = (view: JobView) => view.progress && progress.show(view.progress.done, view.progress.total);
  const ended = client.ended(job.id, look);
  ended.catch(() => undefined); // asked again by whoever needs the answer
  for await (const row of client.results<EpochRow>(job.id)) {
    rows.push(row);
    if (args.json) console.out(`${JSON.stringify(row)}\n`);
    else console.error(`${describeEpoch(row)}\n`);
  }
  await ended.catch(() => undefined);
  progress.end();
  return rows;
}

/** Writes the bundle that a job has found, and the report of how. */
export async function writeFound(client: ServiceClient, folder: string, model: string, report: object): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of await client.modelFiles(model)) writeFileSync(join(folder, name), bytes);
  writeFileSync(join(folder, reportFile), `${JSON.stringify(report, null, 1)}\n`);
}

/** `prime train`: searches which synapses to keep on the conductances that the chip has, and writes what it found as a bundle. */
export async function train(args: TrainArguments, console: Console): Promise<number> {
  const { out } = args;
  if (out === undefined && !args.dryRun) throw new MacroError('BAD_ARGUMENT', '--out must name a folder for the bundle', { field: 'out' });
  const fields = searchFields(args);
  const input = learningInput(args.data);
  if (out !== undefined) checkOutputFolder(out);
  return withService(args, console, async (client) => {
    const body = { ...fields, ...('films' in input ? input : { dataset: await client.uploadDataset(input.recordings) }) };
    if (args.dryRun) {
      const plan = await client.planOperation('/v1/trainings', body);
      console.out(args.json ? `${JSON.stringify({ plan })}\n` : describePlan(plan));
      return plan.brokenLimits.length > 0 ? exitFailed : exitDone;
    }
    const submitted = await client.submitOperation('/v1/trainings', body);
    const epochs = await follow(client, submitted, args, console);
    const { summary, parameters } = (await client.ended(submitted.id)) as unknown as { summary: Record<string, unknown>; parameters: unknown };
    await writeFound(client, out as string, String(summary['model']), { parameters, summary, epochs });
    console.out(args.json ? `${JSON.stringify({ summary })}\n` : describeSummary(summary));
    return exitDone;
  });
}
