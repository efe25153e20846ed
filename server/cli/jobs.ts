import { MacroError } from '../../proto/error.js';
import { endError, type JobView, type ServiceClient } from './client.js';
import { type Console, exitDone, table } from './console.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface JobsArguments extends ServiceChoice {
  readonly stop: boolean;
  readonly state?: string;
  readonly json: boolean;
}

async function chosen(client: ServiceClient, id: string | undefined, { stop, state }: JobsArguments): Promise<JobView[]> {
  if (id === undefined && stop) throw new MacroError('BAD_ARGUMENT', '--stop needs the id of a job', { field: 'stop' });
  if (id === undefined) return client.jobs(state);
  return [await (stop ? client.stopJob(id) : client.job(id))];
}

const undone: readonly string[] = ['FAILED', 'INTERRUPTED'];

/** `prime jobs [id]`: what was asked for and what became of it; of one that was not done also why, and what to do; `--stop` stops one. */
export async function jobs(id: string | undefined, given: JobsArguments, console: Console): Promise<number> {
  const list = await withService(given, console, (client) => chosen(client, id, given));
  if (given.json) for (const job of list) console.out(`${JSON.stringify(job)}\n`);
  else {
    const rows = list.map((job) => [job.id, job.kind, job.device, job.state, job.createdAt, job.failure?.code ?? '']);
    console.out(table(['job', 'kind', 'device', 'state', 'created', 'failure'], rows));
  }
  for (const job of id === undefined ? [] : list) if (undone.includes(job.state)) console.error(`${endError(job).message}\n`);
  return exitDone;
}
