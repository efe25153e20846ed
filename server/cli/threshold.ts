import type { Command } from 'commander';
import { stopRules } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import type { Threshold } from '../early-stop/policy.js';
import type { ThresholdEntry } from '../http/thresholds.js';
import { inferenceOptions } from '../inference/options.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import { type Console, exitDone, table } from './console.js';
import { type ServiceChoice, withService } from './service-choice.js';

interface ThresholdArguments extends ServiceChoice {
  readonly model?: string;
  readonly source?: string;
  readonly rule?: string;
  readonly json: boolean;
}

const describe = (thresholds: readonly ThresholdEntry[]) =>
  (thresholds.length === 0 ? 'no thresholds\n' : table(['rule', 'threshold', 'stored', 'model', 'in force', 'from'], thresholds.map((entry) =>
    [entry.rule, String(entry.threshold), entry.storedAt, entry.model.slice(0, 12), entry.isCurrent ? 'yes' : 'no', entry.source ?? ''])));

async function threshold(chip: string, value: string | undefined, given: ThresholdArguments, console: Console): Promise<ThresholdEntry[]> {
  if (value === undefined) return withService(given, console, (client) => client.thresholds(chip));
  const { model: folder, source } = given;
  if (folder === undefined) throw new MacroError('BAD_ARGUMENT', 'a threshold is that of a bundle; name it with --model', { field: 'model' });
  const bundle = readBundle(folder);
  const { threshold: confidence = bundle.network.earlyStop.threshold, rule } = inferenceOptions({ threshold: value, rule: given.rule }, bundle.network);
  const files = filesOfBundle(bundle);
  return withService(given, console, async (client) => {
    const model = await client.uploadModel(files);
    return [await client.writeThreshold(chip, { model, threshold: confidence as Threshold, ...(rule && { rule }), ...(source !== undefined && { source }) })];
  });
}

/** `prime chip threshold`: the confidences to stop at that a chip has, or another one. */
export function addThreshold(chip: Command, withOptions: (command: Command) => Command, console: Console, done: (exitCode: number) => void): void {
  withOptions(chip.command('threshold').description('list early-stop thresholds of a chip, or store one: prime infer uses it while the array stays as it is'))
    .argument('<chip>', 'chip that it is for')
    .argument('[confidence]', 'to stop at, or one a timestep with commas')
    .option('--rule <name>', `what it is decided by: ${stopRules.join(', ')} (default: the bundle's)`)
    .option('--model <bundle>', 'folder of the bundle whose mask it is for')
    .option('--source <text>', 'where it comes from: who found it, on which recordings')
    .option('--json', 'one JSON object a line', false)
    .action(async (id: string, value: string | undefined, given: ThresholdArguments) => {
      const list = await threshold(id, value, given, console);
      console.out(given.json ? list.map((entry) => `${JSON.stringify(entry)}\n`).join('') : describe(list));
      done(exitDone);
    });
}
