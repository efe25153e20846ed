import { type Console, exitDone, table } from './console.js';
import { type ServiceChoice, withService } from './service-choice.js';

/** `prime devices`: what the service owns, and whether it answers. */
export async function devices(given: ServiceChoice & { readonly json: boolean }, console: Console): Promise<number> {
  const list = await withService(given, console, async (client) => {
    await client.isReady();
    return client.devices();
  });
  const rows = list.map(({ id, state, chipId, temperatureCelsius, address }) => [id, state, chipId ?? '', temperatureCelsius ?? '', address]);
  if (given.json) for (const device of list) console.out(`${JSON.stringify(device)}\n`);
  else console.out(table(['device', 'state', 'chip', 'degC', 'address'], rows));
  return exitDone;
}
