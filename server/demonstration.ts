import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MacroError } from '../proto/error.js';
import { ServiceClient } from './cli/client.js';
import { type Console, describeError, exitCodeOf, exitDone, processConsole, table } from './cli/console.js';
import { ProgressLine } from './cli/progress.js';
import { portOf, stopped } from './cli/serve.js';
import { configurationOf, defaultPort } from './config.js';
import { FilmSet } from './dataset/film.js';
import { readMnist } from './dataset/mnist.js';
import type { SentRecording } from './dataset/recording-pack.js';
import type { InferenceRow, Summary } from './inference/result.js';
import { filesOfBundle, readBundle } from './network/bundle.js';
import { type Service, startService } from './service.js';
import { packageFolder } from './version.js';

const defaultBundle = join(packageFolder(), 'server', 'training', 'demonstration');
const defaultDevice = 'sim:lab';
const defaultDigits = 100;
const digitPool = 10_000;
const filmSeed = 1;

interface Choices {
  readonly once: boolean;
  readonly digits: number;
  readonly device: string;
  readonly model: string;
  readonly port: number;
}

function choicesOf(argv: readonly string[]): Choices {
  const text = (defaultValue: string) => ({ type: 'string' as const, default: defaultValue });
  const options = {
    once: { type: 'boolean' as const, default: false },
    digits: text(String(defaultDigits)),
    device: text(defaultDevice),
    model: text(defaultBundle),
    port: text(String(defaultPort)),
  };
  let values: ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];
  try {
    ({ values } = parseArgs({ args: [...argv], options }));
  } catch (error) {
    throw new MacroError('BAD_ARGUMENT', (error as Error).message.replace(/\.$/, ''), { cause: error });
  }
  const digits = Number(values.digits);
  if (!Number.isInteger(digits) || digits < 1 || digits > digitPool) {
    throw new MacroError('BAD_ARGUMENT', `--digits is "${values.digits}", the range is 1 to ${digitPool}`, { field: 'digits' });
  }
  return { once: values.once, digits, device: values.device, model: values.model, port: values.once ? 0 : portOf(values.port) };
}

/** Handwritten test digits as the camera of the N-MNIST procedure would have recorded them. */
function filmDigits(count: number): SentRecording[] {
  const films = new FilmSet('test', readMnist('test'), filmSeed);
  return Array.from({ length: count }, (_, digit) => ({ input: films.pathOf(digit), label: films.digits.labels[digit], bytes: films.film(digit) }));
}

function printDecisions(rows: readonly InferenceRow[], summary: Summary, console: Console): void {
  const cells = rows.map(({ input, label, prediction, stoppedAtTimestep, confidence }) => [
    input, label ?? '', prediction, prediction === label ? 'right' : 'wrong', stoppedAtTimestep, confidence.toFixed(3),
  ]);
  console.out(`\n${table(['recording', 'label', 'read as', '', 'stopped at timestep', 'confidence'], cells)}\n`);
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  const timesteps = `mean timesteps ${summary.meanTimesteps.toFixed(2)}, ${percent(summary.savedFraction)} of the work saved`;
  console.out(`accuracy ${percent(summary.accuracy ?? 0)} · ${timesteps}\n`);
}

async function demonstrate(service: Service, choices: Choices, token: string | undefined, console: Console): Promise<void> {
  const client = new ServiceClient(service.url, token, console.signal);
  const model = await client.uploadModel(filesOfBundle(readBundle(choices.model)));
  const recordings = filmDigits(choices.digits);
  console.error(`${recordings.length} handwritten digits, filmed as events, go to ${choices.device}\n`);
  const [device] = await client.devices();
  const job = await client.submitInference(model, recordings, { device: device.id });
  const rows: InferenceRow[] = [];
  const progress = new ProgressLine(console, recordings.length);
  for await (const row of client.results(job.id)) {
    rows.push(row);
    progress.step();
  }
  progress.end();
  printDecisions(rows, (await client.ended(job.id)).summary, console);
}

async function run(choices: Choices, console: Console): Promise<void> {
  const temporaryHome = choices.once ? mkdtempSync(join(tmpdir(), 'prime-hil-')) : undefined;
  try {
    const home = temporaryHome === undefined ? {} : { homeFolder: temporaryHome };
    const configuration = configurationOf(console.environment, { port: choices.port, devices: [choices.device], ...home });
    const service = await startService(configuration, { logLevel: console.environment['PRIME_LOG'] ?? 'warn' });
    try {
      await demonstrate(service, choices, configuration.token, console);
      if (choices.once) return;
      console.out(`\nThe service is at ${service.url}, its API at ${service.url}/docs. Ctrl-C ends it.\n`);
      await stopped(console.signal);
    } finally {
      await service.close();
    }
  } finally {
    if (temporaryHome !== undefined) rmSync(temporaryHome, { recursive: true, force: true });
  }
}

/**
 * `npm start`: a simulated chip, the service, and handwritten digits through its REST interface; then the service stays up. Options:
 * `--once` uses a temporary folder and exits, `--digits N`, `--device ADDRESS`, `--model BUNDLE`, `--port PORT`.
 *
 * @returns exit code
 */
export async function main(argv: readonly string[], given?: Console): Promise<number> {
  const console = given ?? processConsole();
  try {
    await run(choicesOf(argv), console);
    return exitDone;
  } catch (error) {
    console.error(describeError(error, console.environment['PRIME_DEBUG'] !== undefined));
    return exitCodeOf(error);
  } finally {
    if (given === undefined) (console as ReturnType<typeof processConsole>).dispose();
  }
}
