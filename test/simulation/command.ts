import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Crew } from './crew.js';
import { isOperation, operations } from './sabotage.js';
import type { RunReport } from './script.js';
import { sweep } from './sweep.js';
import type { FailureKind } from './verdict.js';

/** What the command ends with. */
export const exitCodes: Readonly<Record<'passed' | 'usage' | FailureKind, number>> = { passed: 0, crash: 1, usage: 2, safety: 3, liveness: 4 };

export const help = `npm run simulate -- --seed N [--runs M] [--threads T] [--canary]
npm run simulate -- --sweep OPERATION

Service, driver, a faulty line and the simulated board in one process, under one virtual clock and one seed.

  --seed N           the first seed, 0 to 4294967295; run i has the seed N + i − 1
  --runs M           how many runs, 1 to 1000000 (1)
  --threads T        how many at once, 1 to 64 (as many as there are processors)
  --canary           the board forgets its journal: every run must end with exit code ${exitCodes.safety}
  --sweep OPERATION  a fixed script in which the first, the second, … operation fails: ${operations.join(', ')}, or all
  --help             this text

The first and the last line but one name the seed, the last is "trace" and the SHA-256 of all that happened. The same seed gives the same.
Exit codes: ${exitCodes.passed} passed, ${exitCodes.crash} something crashed, ${exitCodes.usage} wrong usage,
${exitCodes.safety} wrong result: a promise was broken, ${exitCodes.liveness} no progress.
`;

type Write = (text: string) => void;

class Usage extends Error {}

function integer(name: string, text: string | undefined, least: number, most: number): number {
  const value = text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new Usage(`--${name} is ${text === undefined ? 'missing' : `"${text}"`}; it is an integer from ${least} to ${most}`);
}

interface Choices {
  readonly seed: number;
  readonly runs: number;
  readonly threads: number;
  readonly isCanary: boolean;
  readonly sweep: string | undefined;
  readonly isHelp: boolean;
}

const options = {
  seed: { type: 'string' }, runs: { type: 'string', default: '1' }, threads: { type: 'string', default: String(Math.min(64, availableParallelism())) },
  canary: { type: 'boolean', default: false }, sweep: { type: 'string' }, help: { type: 'boolean', default: false },
} as const;

function parsed(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options }).values;
  } catch (error) {
    // Node adds advice behind its first sentence.
    throw new Usage((error instanceof Error ? error.message : String(error)).split(/[.\n]/, 1)[0]);
  }
}

function choicesOf(words: readonly string[]): Choices {
  const values = parsed(words);
  const isSweep = values.sweep !== undefined;
  if (isSweep && values.sweep !== 'all' && !isOperation(values.sweep ?? '')) {
    throw new Usage(`--sweep is "${values.sweep}"; it is all or one of ${operations.join(', ')}`);
  }
  if (isSweep && values.canary) throw new Usage('--sweep and --canary exclude one another');
  return {
    seed: values.help || isSweep ? 0 : integer('seed', values.seed, 0, 0xffffffff),
    runs: integer('runs', values.runs, 1, 1_000_000), threads: integer('threads', values.threads, 1, 64),
    isCanary: values.canary, sweep: values.sweep, isHelp: values.help,
  };
}

interface NamedReport {
  readonly name: string;
  /** The words after `--` that run it again. */
  readonly replay: string;
  readonly report: RunReport;
}

async function* seededRuns({ seed: first, runs, threads, isCanary }: Choices, crew: Crew): AsyncGenerator<NamedReport> {
  const seedOf = (index: number) => (first + index) % 2 ** 32;
  const begun: Promise<RunReport>[] = [];
  for (let index = 0; index < runs; index += 1) {
    while (begun.length < Math.min(runs, index + 2 * threads)) begun.push(crew.carryOut({ seed: seedOf(begun.length), isCanary }));
    const seed = seedOf(index);
    yield { name: `run ${index + 1} seed ${seed}`, replay: `--seed ${seed}${isCanary ? ' --canary' : ''}`, report: await begun[index] };
  }
}

async function* sweepRuns({ sweep: chosen }: Choices, crew: Crew): AsyncGenerator<NamedReport> {
  for (const operation of operations.filter((name) => chosen === 'all' || chosen === name)) {
    for await (const { name, report: done } of sweep(operation, (sabotage) => crew.carryOut({ sabotage }))) {
      yield { name, replay: `--sweep ${operation}`, report: done };
    }
  }
}

const seconds = (microseconds: number) => `${(microseconds / 1e6).toFixed(1)} s`;

function describe({ name, report: { failure, digest, virtualMicroseconds, events, jobs, plan } }: NamedReport): string {
  const result = failure === undefined ? 'passed' : `FAILED (${failure.kind}: ${failure.text.split('\n', 1)[0]})`;
  return `${name}: ${result}, ${seconds(virtualMicroseconds)}, ${events} events, ${jobs}; ${plan}; ${digest.slice(0, 16)}\n`;
}

function describeFailure({ name, replay, report: { failure, virtualMicroseconds, lastEvents } }: NamedReport): string {
  const what = `${name} failed at ${virtualMicroseconds / 1e6} s of virtual time (${failure?.kind}): ${failure?.text}`;
  return `\n${what}\nReplay: npm run simulate -- ${replay}\n${lastEvents.join('\n')}\n\n`;
}

/** Prints runs in their order. @returns the exit code: that of the first run that failed */
async function report(runs: AsyncIterable<NamedReport>, out: Write): Promise<number> {
  const hash = createHash('sha256');
  let code = exitCodes.passed;
  for await (const run of runs) {
    const { failure, digest } = run.report;
    hash.update(digest);
    out(describe(run));
    if (failure === undefined || code !== exitCodes.passed) continue;
    out(describeFailure(run));
    code = exitCodes[failure.kind];
  }
  out(`trace ${hash.digest('hex')}\n`);
  return code;
}

/** The command line. @returns the exit code */
export async function runCommand(words: readonly string[], out: Write, err: Write): Promise<number> {
  let choices: Choices;
  try {
    choices = choicesOf(words);
  } catch (error) {
    if (!(error instanceof Usage)) throw error;
    err(`BAD_ARGUMENT: ${error.message}. See npm run simulate -- --help.\n`);
    return exitCodes.usage;
  }
  if (choices.isHelp) {
    out(help);
    return exitCodes.passed;
  }
  const crew = new Crew(Math.min(choices.threads, choices.sweep === undefined ? choices.runs : choices.threads));
  try {
    const title = choices.sweep === undefined ? `seed ${choices.seed}\n` : `sweep ${choices.sweep}\n`;
    out(title);
    return await report(choices.sweep === undefined ? seededRuns(choices, crew) : sweepRuns(choices, crew), (text) => {
      out(text.startsWith('trace ') ? title + text : text);
    });
  } finally {
    await crew.close();
  }
}
