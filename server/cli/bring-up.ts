import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import type { RunSummary } from '../inference/result.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import type { PredictedAccuracy } from '../network/prediction.js';
import { describePlan, describeSummary, given, numberOf } from './array.js';
import type { DeviceView, JobView, ServiceClient } from './client.js';
import { type Console, exitDone, exitFailed, table } from './console.js';
import { checkOutputFolder } from './input-file.js';
import { ProgressLine } from './progress.js';
import { Recipe, recipeFile } from './recipe.js';
import { recordingsOf } from './recordings.js';
import { withService } from './service-choice.js';
import { describeEpoch, type LearningInput, learningInput, searchFields, type TrainArguments, writeFound } from './train.js';

export interface BringUpArguments extends TrainArguments {
  readonly test?: readonly string[];
  readonly targetYield?: string;
  readonly maximumPulses?: string;
}

type Summary = Readonly<Record<string, unknown>>;

/** The three accuracies that a bring-up is judged by, all on the same recordings, which nothing was chosen on. */
interface BringUpReport {
  readonly chipId: string;
  readonly model: string;
  readonly recordings: number;
  readonly verified: Verification;
  /** Of the masked network on the map that was read, in floating point. */
  readonly software: { readonly accuracyOfAllTimesteps: number };
  /** Of the chip as it is read behind the mask, in the integers of the board, without noise. */
  readonly twin: Pick<PredictedAccuracy, 'accuracy' | 'meanTimesteps' | 'accuracyOfAllTimesteps'>;
  readonly device: Pick<PredictedAccuracy, 'accuracy' | 'meanTimesteps' | 'accuracyOfAllTimesteps'>;
}

/** What the recipe works with; read and checked before anything is formed. */
interface Ingredients {
  readonly learning: LearningInput;
  readonly test: readonly SentRecording[];
  readonly fields: Readonly<Record<string, unknown>>;
  readonly targetYield: number;
  readonly out: string;
}

const defaultTargetYield = 0.5;

/** A simulated chip without a file is gone with its command: nothing that was done to it can be gone on with. */
function refuseThrownAway({ local, out }: BringUpArguments): void {
  if (out === undefined || local?.startsWith('sim:') !== true || /[?&]chip=/.test(local) || !existsSync(join(out, recipeFile))) return;
  const remedy = `name another folder, or keep the chip: ${local} with chip=FILE`;
  throw new MacroError('BAD_ARGUMENT', `${join(out, recipeFile)} tells of a simulated chip that is gone with its command; ${remedy}`, { field: 'out' });
}

function ingredientsOf(args: BringUpArguments): Ingredients {
  const { out, test, targetYield } = args;
  if (out === undefined) throw new MacroError('BAD_ARGUMENT', '--out must name a folder for the bundle', { field: 'out' });
  if (test === undefined) throw new MacroError('BAD_ARGUMENT', '--test must name recordings that nothing is chosen on', { field: 'test' });
  const ingredients = {
    learning: learningInput(args.data), test: test.flatMap(recordingsOf), fields: searchFields(args), out,
    targetYield: numberOf('target-yield', targetYield) ?? defaultTargetYield,
  };
  checkOutputFolder(out, recipeFile);
  if (!args.dryRun) refuseThrownAway(args);
  return ingredients;
}

/** The one device of the service, or the one that is named. @throws MacroError BAD_ARGUMENT, DEVICE_UNREACHABLE */
async function deviceOf(client: ServiceClient, name: string | undefined): Promise<DeviceView & { readonly chipId: string }> {
  await client.isReady();
  const devices = await client.devices();
  const device = name === undefined && devices.length === 1 ? devices[0] : devices.find(({ id }) => id === name);
  if (device === undefined) {
    throw new MacroError('BAD_ARGUMENT', `--device must name one of ${devices.map(({ id }) => id).join(', ') || 'no devices'}`, { field: 'device' });
  }
  if (device.chipId === null) throw new MacroError('DEVICE_UNREACHABLE', `${device.address} has not said yet which chip it carries`);
  return { ...device, chipId: device.chipId };
}

/** One bring-up on its way: each step is a job, and is kept when it has succeeded. */
class BringUp {
  constructor(
    private readonly client: ServiceClient, private readonly recipe: Recipe, private readonly args: BringUpArguments, private readonly console: Console,
  ) {}

  /** @returns what the step came to, now or before */
  async step(name: string, submit: () => Promise<JobView>, onEnd?: (job: JobView) => Promise<void>): Promise<Summary> {
    const known = this.recipe.step(name);
    if (known?.summary !== undefined) return this.tell(name, known.job, known.summary);
    const submitted = (await this.inHand(known?.job)) ?? (await submit());
    this.recipe.keep(name, { job: submitted.id });
    const ended = await this.follow(name, submitted.id);
    await onEnd?.(ended);
    const summary = ended.summary as Summary;
    this.recipe.keep(name, { job: submitted.id, summary });
    return this.tell(name, submitted.id, summary);
  }

  /** The job that an earlier start has submitted, unless it ended without success: then it is submitted again, and goes on by itself. */
  private async inHand(id: string | undefined): Promise<JobView | undefined> {
    if (id === undefined) return undefined;
    try {
      const job = await this.client.job(id);
      return ['QUEUED', 'RUNNING', 'SUCCEEDED'].includes(job.state) ? job : undefined;
    } catch (error) {
      if (error instanceof MacroError && error.code === 'JOB_UNKNOWN') return undefined;
      throw error;
    }
  }

  private async follow(name: string, id: string): Promise<JobView> {
    const progress = new ProgressLine(this.console, 1, name);
    try {
      return await this.client.ended(id, (view) => view.progress && progress.show(view.progress.done, view.progress.total));
    } finally {
      progress.end();
    }
  }

  private tell(step: string, job: string, summary: Summary): Summary {
    if (this.args.json) this.console.out(`${JSON.stringify({ step, job, summary })}\n`);
    else this.console.out(`${step}\n${describeSummary(summary)}\n`);
    return summary;
  }
}

async function submitSearch(client: ServiceClient, { learning, fields }: Ingredients, snapshot: unknown, test: string): Promise<JobView> {
  const input = 'films' in learning ? learning : { dataset: await client.uploadDataset(learning.recordings) };
  return client.submitOperation('/v1/trainings', { ...fields, ...input, snapshot, test });
}

/** Writes the bundle as soon as the search has ended, with a row of each epoch. */
async function keepFound(client: ServiceClient, out: string, { id, parameters, summary }: JobView, console: Console): Promise<void> {
  const epochs = [];
  for await (const row of client.results(id)) epochs.push(row);
  const last = epochs.at(-1);
  if (last !== undefined) console.error(`${describeEpoch(last as never)}\n`);
  await writeFound(client, out, String((summary as Summary)['model']), { parameters, summary, epochs });
}

/** What a second look at the array has found of the cells that the mask prunes. */
interface Verification {
  readonly prunedCells: number;
  /** Of them, those that conduct and may still be pulsed. */
  readonly conductingCells: number;
  /** Those that conduct and have had all the RESET pulses that they may have. */
  readonly stubbornCells: number;
}

/** Looks at the array once more, as a dry run of the mask does: it would pulse whatever conducts and may still be pulsed. */
async function verify(client: ServiceClient, common: object, model: string): Promise<Verification> {
  const { figures } = await client.planOperation('/v1/mask-applications', { ...common, model });
  const [prunedCells, conductingCells, stubbornCells] = ['prunedCells', 'conductingCells', 'stubbornCells'].map((name) => Number(figures[name]));
  return { prunedCells, conductingCells, stubbornCells };
}

const percent = (fraction: number | undefined) => (fraction === undefined ? '' : `${(100 * fraction).toFixed(2)} %`);

function describeReport({ chipId, recordings, software, twin, device }: BringUpReport): string {
  const row = (name: string, figures: Partial<BringUpReport['twin']>) =>
    [name, percent(figures.accuracyOfAllTimesteps), percent(figures.accuracy), figures.meanTimesteps?.toFixed(2) ?? ''];
  const rows = [row('software, on the map that was read', software), row('twin, as the chip is behind the mask', twin), row('device, measured', device)];
  return `${chipId}, ${recordings} recordings\n${table(['', 'all timesteps', 'early stop', 'mean timesteps'], rows)}`;
}

/** Forms, reads, searches, applies, looks again and measures, as one recipe on one chip. */
async function bringUpOn(client: ServiceClient, ingredients: Ingredients, args: BringUpArguments, console: Console): Promise<BringUpReport> {
  const { out, test, fields, targetYield } = ingredients;
  const { id: device, chipId } = await deviceOf(client, args.device);
  const asked = [fields, targetYield, args.data, args.test];
  const run = new BringUp(client, Recipe.open(out, asked, chipId), args, console);
  const common = given({ device, user: args.user });
  const pulsing = given({ ...common, maximumPulses: numberOf('maximum-pulses', args.maximumPulses) });
  const testId = await client.uploadDataset(test);

  await run.step('form', () => client.submitOperation('/v1/formings', { ...pulsing, targetYield }));
  const averages = fields['averages'];
  const map = await run.step('read', () => client.submitOperation('/v1/snapshot-takings', given({ ...common, averages })));
  const found = await run.step('train', () => submitSearch(client, ingredients, map['digest'], testId), (job) => keepFound(client, out, job, console));
  const model = await client.uploadModel(filesOfBundle(readBundle(out)));
  const split = fields['split'];
  const applied = await run.step('apply-mask', () =>
    client.submitOperation('/v1/mask-applications', given({ ...pulsing, model, dataset: testId, split })));
  const verified = await verify(client, common, model);
  console.out(args.json ? `${JSON.stringify({ step: 'verify', summary: verified })}\n` : `verify\n${describeSummary({ ...verified })}\n`);
  const infer = (name: string, options: object) =>
    run.step(name, () => client.submitInference(model, test, { device, ...given({ split }), ...options })) as unknown as Promise<RunSummary>;
  const stopped = await infer('infer', {});
  const whole = await infer('infer all timesteps', { earlyStop: false });
  return {
    chipId, model, recordings: test.length, verified,
    software: { accuracyOfAllTimesteps: Number(found['testAccuracy']) },
    twin: applied['predictedAfter'] as PredictedAccuracy,
    device: { accuracy: Number(stopped.accuracy), meanTimesteps: stopped.meanTimesteps, accuracyOfAllTimesteps: Number(whole.accuracy) },
  };
}

/** `prime bring-up`: from a fresh chip to a classifier that was measured on it. Begun again, it goes on where it was. */
export async function bringUp(args: BringUpArguments, console: Console): Promise<number> {
  const ingredients = ingredientsOf(args);
  return withService(args, console, async (client) => {
    if (args.dryRun) {
      const { id: device } = await deviceOf(client, args.device);
      const plan = await client.planOperation('/v1/formings', given({ device, user: args.user, targetYield: ingredients.targetYield }));
      console.out(args.json ? `${JSON.stringify({ plan })}\n` : `${describePlan(plan)}\nwhat the mask will RESET is known when the search has ended\n`);
      return plan.brokenLimits.length > 0 ? exitFailed : exitDone;
    }
    const report = await bringUpOn(client, ingredients, args, console);
    console.out(args.json ? `${JSON.stringify({ report })}\n` : describeReport(report));
    return exitDone;
  });
}
