import { type WearView, wearKinds } from './client.js';
import { type Console, exitDone, table } from './console.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface WearArguments extends ServiceChoice {
  readonly device?: string;
  readonly json: boolean;
}

function describe({ chipId, pulses, histogram, worstCells, jobs, unattributed, drivenMilliseconds }: WearView): string {
  const totals = wearKinds.map((kind) => {
    const bins = histogram[kind];
    return [kind, pulses[kind], bins.reduce((sum, { cells }) => sum + cells, 0), bins.at(-1)?.pulses ?? 0];
  });
  const owners = [...jobs, { job: 'unattributed', user: null, ...unattributed }];
  const worst = worstCells.map(({ bitLine, sourceLine, forming, set, reset }) => [bitLine, sourceLine, forming, set, reset]);
  const driven = drivenMilliseconds.reduce((sum, line) => sum + line, 0) / 1000;
  return [
    `chip ${chipId}; its bit lines were driven for ${driven.toFixed(3)} s in all, the longest for ${(Math.max(...drivenMilliseconds) / 1000).toFixed(3)} s\n`,
    table(['kind', 'pulses', 'cells', 'most of a cell'], totals),
    table(['worst cells: bit line', 'source line', 'forming', 'SET', 'RESET'], worst),
    table(['job', 'user', 'forming', 'SET', 'RESET'], owners.map(({ job, user, pulses: own }) => [job, user ?? '', own.forming, own.set, own.reset])),
  ].join('\n');
}

/** `prime wear`: every pulse that the cells of a chip have had, and whose they were. */
export async function wear(given: WearArguments, console: Console): Promise<number> {
  const view = await withService(given, console, async (client) => {
    const device = given.device ?? (await client.devices())[0]?.id ?? 'macro-0';
    return client.wear(device);
  });
  console.out(given.json ? `${JSON.stringify(view)}\n` : describe(view));
  return exitDone;
}
