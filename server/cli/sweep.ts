import { type StopRule, stopRules } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { frontierChart } from '../early-stop/chart.js';
import type { HalvesReport } from '../early-stop/fit.js';
import { isStopRule, temperatureOf } from '../early-stop/policy.js';
import { type RuleSweep, type SweepPoint, sweepRule, type SweptRun } from '../early-stop/sweep.js';
import type { SentRecording } from '../dataset/recording-pack.js';
import type { InferenceRow } from '../inference/result.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import { type Console, exitDone, table } from './console.js';
import { checkOutput, numberOption, writeOutput } from './input-file.js';
import { ProgressLine } from './progress.js';
import { recordingsOf } from './recordings.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface SweepArguments extends ServiceChoice {
  readonly model: string;
  readonly input: readonly string[];
  readonly rule?: readonly string[];
  readonly split?: string;
  readonly execution?: string;
  readonly device?: string;
  readonly loss: string;
  readonly halves: string;
  readonly seed: string;
  readonly csv?: string;
  readonly svg?: string;
  readonly json: boolean;
}

function rulesOf(names: readonly string[] = stopRules): readonly StopRule[] {
  const wrong = names.find((name) => !isStopRule(name));
  if (wrong === undefined) return names as readonly StopRule[];
  throw new MacroError('BAD_ARGUMENT', `--rule is "${wrong}", the choices are ${stopRules.join(', ')}`, { field: 'rule' });
}

/** Fitted on one half and tried on the other: there is one in each. */
const fewestRecordings = 2;

/** All of them labelled. @throws MacroError BAD_ARGUMENT, and what recordings are refused with */
function sweptRecordings(input: readonly string[]): SentRecording[] {
  const recordings = input.flatMap(recordingsOf);
  const unlabelled = recordings.find(({ label }) => label === null);
  if (unlabelled !== undefined) {
    throw new MacroError('BAD_ARGUMENT', `${unlabelled.input} has no label; its folder names it, as Test/7/60001.bin`, { field: 'input' });
  }
  if (recordings.length >= fewestRecordings) return recordings;
  throw new MacroError('BAD_ARGUMENT', `--input has ${recordings.length} recording; a sweep needs ${fewestRecordings} or more`, { field: 'input' });
}

function runOf({ label, timesteps = [], energyFemtojoules }: InferenceRow): SweptRun {
  return {
    label: Number(label), membranes: timesteps.map(({ membranes }) => membranes), conversions: timesteps.map(({ conversions }) => conversions),
    energyNanojoules: energyFemtojoules / 1e6,
  };
}

const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
const cellsOf = ({ threshold, accuracy, meanTimesteps, energyNanojoules }: SweepPoint) =>
  [threshold === null ? 'none' : [threshold].flat()[0].toPrecision(3), percent(accuracy), meanTimesteps.toFixed(2), `${energyNanojoules.toFixed(1)} nJ`];

function describeHalves(shape: string, { halves, meanTimesteps, timestepsSd, accuracyLoss, accuracyLossSd }: HalvesReport): string {
  const steps = `${meanTimesteps.toFixed(2)} ± ${timestepsSd.toFixed(2)} timesteps`;
  const lost = `${(100 * accuracyLoss).toFixed(2)} ± ${(100 * accuracyLossSd).toFixed(2)} points lost`;
  return `${shape}, fitted on one half, on the other: ${steps}, ${lost} (${halves} times)\n`;
}

/** Of a threshold that falls its first is shown. */
function describe({ rule, points, fits }: RuleSweep): string {
  const rows = [...points.map((point) => ['', ...cellsOf(point)]), ...fits.map(({ shape, fitted }) => [`${shape}, fitted`, ...cellsOf(fitted)])];
  const halves = fits.map((fit) => describeHalves(fit.shape, fit.halves)).join('');
  return `${rule}\n${table(['', 'threshold', 'accuracy', 'mean timesteps', 'energy'], rows)}${halves}\n`;
}

const csvOf = (sweeps: readonly RuleSweep[]) =>
  `rule,threshold,accuracy,mean_timesteps,energy_nanojoules\n${sweeps.flatMap(({ rule, points }) => points.map((point) =>
    `${[rule, point.threshold ?? '', point.accuracy, point.meanTimesteps, point.energyNanojoules].join(',')}\n`)).join('')}`;

/** `prime sweep`: one look at all timesteps of every recording, and what each rule would have made of it at each threshold. */
export async function sweep(args: SweepArguments, console: Console): Promise<number> {
  const rules = rulesOf(args.rule);
  const [accuracyLoss, halves, seed] = [
    numberOption('loss', args.loss, 0, 1), numberOption('halves', args.halves, 1, 1000, true), numberOption('seed', args.seed, 0, 2 ** 32 - 1, true),
  ];
  const bundle = readBundle(args.model);
  const recordings = sweptRecordings(args.input);
  for (const option of ['csv', 'svg'] as const) if (args[option] !== undefined) checkOutput(args[option], option);
  const { runs, membraneUnitsPerNetworkUnit } = await withService(args, console, async (client) => {
    const { split, execution, device } = args;
    const model = await client.uploadModel(filesOfBundle(bundle));
    const job = await client.submitInference(model, recordings, { split, execution, earlyStop: false, timesteps: true, ...(device && { device }) });
    const progress = new ProgressLine(console, recordings.length);
    const looked: SweptRun[] = [];
    for await (const row of client.results(job.id)) {
      looked.push(runOf(row));
      progress.step();
    }
    progress.end();
    return { runs: looked, membraneUnitsPerNetworkUnit: (await client.ended(job.id)).summary.membraneUnitsPerNetworkUnit };
  });
  const options = { temperature: temperatureOf(bundle.network.earlyStop), membraneUnitsPerNetworkUnit, accuracyLoss, halves, seed };
  const sweeps = rules.map((rule) => sweepRule(runs, rule, options));
  if (args.csv !== undefined) writeOutput(args.csv, csvOf(sweeps), 'csv');
  if (args.svg !== undefined) writeOutput(args.svg, await frontierChart(sweeps, `${bundle.network.name}, ${runs.length} recordings`), 'svg');
  console.out(args.json ? sweeps.map((one) => `${JSON.stringify(one)}\n`).join('') : sweeps.map(describe).join(''));
  return exitDone;
}
