import { type WearView, wearKinds } from './client.js';
import { type Console, exitDone, table } from './console.js';
import { type ServiceChoice, withService } from './service-choice.js';

export interface WearArguments extends ServiceChoice {
  readonly device?: string;
  readonly json: boolean;
}

const range = (from: number, to: number | null) => (to === null ? `${from} and more` : `${from} to below ${to}`);

function describe({ chipId, pulses, histogram, worstCells, jobs, unattributed, drivenMilliseconds, drivenByVoltage }: WearView): string {
  const totals = wearKinds.map((kind) => {
    const cells = histogram[kind].reduce((sum, bin) => sum + bin.cells, 0);
    const most = Math.max(0, ...histogram[kind].map(({ pulses }) => pulses));
    return [kind, pulses[kind], cells, most];
  });
  const owners = [...jobs, { job: 'unattributed', user: null, ...unattributed }];
  const driven = drivenMilliseconds.reduce((sum, line) => sum + line, 0) / 1000;
  const voltages = drivenByVoltage.map(({ fromMillivolts, toMillivolts, longest, ...all }) =>
    [range(fromMillivolts, toMillivolts), all.drivenMilliseconds, longest.drivenMilliseconds, longest.bitLine]);
  const worst = worstCells.map((cell) => [cell.bitLine, cell.sourceLine, cell.forming, cell.set, cell.reset]);
  return [
    `chip ${chipId}; its bit lines were driven for ${driven.toFixed(3)} s in all, the longest for ${(Math.max(...drivenMilliseconds) / 1000).toFixed(3)} s\n`,
    table(['kind', 'pulses', 'cells', 'most of a cell'], totals),
    table(['bit lines driven at, mV', 'ms in all', 'ms of the longest', 'bit line'], voltages),
    table(['worst cells: bit line', 'source line', 'forming', 'SET', 'RESET'], worst),
    table(['job', 'user', 'forming', 'SET', 'RESET'], owners.map(({ job, user, pulses: own }) => [job, user ?? '', own.forming, own.set, own.reset])),
  ].join('\n');
}

/** `prime wear`: every pulse that the cells of a chip have had, the time of its bit lines under voltage, and whose they were. */
export async function wear(given: WearArguments, console: Console): Promise<number> {
  const view = await withService(given, console, async (client) => {
    const device = given.device ?? (await client.devices())[0]?.id ?? 'macro-0';
    return client.wear(device);
  });
  console.out(given.json ? `${JSON.stringify(view)}\n` : describe(view));
  return exitDone;
}
