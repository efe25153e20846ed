import type { Static } from 'typebox';
import type { PulseKind, WearCounts } from '../../driver/index.js';
import { sourceLineCount } from '../../firmware-protocol/limits.js';
import type { WearShare } from '../store/wear-ledger.js';
import { drivenByVoltage, drivenMilliseconds, millisecondsOf } from './driven-time.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { deviceIdParameter, problems, wearQuery, wearSchema } from './schemas.js';

const kinds: readonly PulseKind[] = ['forming', 'set', 'reset'];
const worstCells = 10;

const base64 = ({ buffer, byteOffset, byteLength }: Uint16Array) => Buffer.from(buffer, byteOffset, byteLength).toString('base64');

/** How many cells have had how many pulses; cells that had none are not listed. */
function histogramOf(counts: Uint16Array): { pulses: number; cells: number }[] {
  const cellsByPulses = new Map<number, number>();
  for (const count of counts) if (count > 0) cellsByPulses.set(count, (cellsByPulses.get(count) ?? 0) + 1);
  return [...cellsByPulses].sort(([left], [right]) => left - right).map(([pulses, cells]) => ({ pulses, cells }));
}

/** The cells that had the most SET and RESET pulses: those age a cell, a forming it has once. */
function worstOf({ forming, set, reset }: WearCounts) {
  const cycles = (cell: number) => set[cell] + reset[cell];
  const pulsed = [...set.keys()].filter((cell) => forming[cell] + cycles(cell) > 0);
  const worst = pulsed.sort((left, right) => cycles(right) - cycles(left) || forming[right] - forming[left] || left - right).slice(0, worstCells);
  return worst.map((cell) => ({
    bitLine: Math.floor(cell / sourceLineCount), sourceLine: cell % sourceLineCount, forming: forming[cell], set: set[cell], reset: reset[cell],
  }));
}

function usersOf(shares: readonly WearShare[]) {
  const byUser = new Map<string | null, { forming: number; set: number; reset: number }>();
  for (const { owner, pulses } of shares) {
    if (owner === null) continue;
    const sums = byUser.get(owner.user) ?? { forming: 0, set: 0, reset: 0 };
    for (const kind of kinds) sums[kind] += pulses[kind];
    byUser.set(owner.user, sums);
  }
  return [...byUser].map(([user, pulses]) => ({ user, pulses }));
}

/** The wear of a chip as clients see it. */
export function wearView(chipId: string, counts: WearCounts, shares: readonly WearShare[], withCells: boolean): Static<typeof wearSchema> {
  const total = (values: Uint16Array) => values.reduce((sum, value) => sum + value, 0);
  const nobodys = shares.find(({ owner }) => owner === null);
  return {
    chipId,
    pulses: { forming: total(counts.forming), set: total(counts.set), reset: total(counts.reset) },
    histogram: { forming: histogramOf(counts.forming), set: histogramOf(counts.set), reset: histogramOf(counts.reset) },
    worstCells: worstOf(counts),
    drivenMilliseconds: drivenMilliseconds(counts),
    drivenByVoltage: drivenByVoltage(counts, withCells),
    jobs: shares.flatMap(({ owner, pulses, drivenNanoseconds }) =>
      (owner === null ? [] : [{ job: owner.jobId, user: owner.user, pulses, drivenMilliseconds: millisecondsOf(drivenNanoseconds) }])),
    users: usersOf(shares),
    unattributed: {
      pulses: nobodys?.pulses ?? { forming: 0, set: 0, reset: 0 }, drivenMilliseconds: millisecondsOf(nobodys?.drivenNanoseconds ?? 0),
    },
    ...(withCells && { cells: { forming: base64(counts.forming), set: base64(counts.set), reset: base64(counts.reset) } }),
  };
}

/** `GET /v1/devices/:id/wear`: every pulse that the cells of its chip have had, and every voltage on its bit lines. */
export function wearRoutes(app: App, { registry, arraySources, configuration }: ServiceParts): void {
  const schema = {
    tags: ['array'],
    summary: 'Pulses that the cells of a chip have had, how long its bit lines were driven at which voltage, and whose doing it was',
    description: 'How long bit lines were driven is told by voltage: reads and multiplies at the read voltage, pulses at their amplitude. With cells=true '
      + 'also of each bit line, and one count a cell and kind: u16 little-endian, bit line by bit line, base64.',
    params: deviceIdParameter,
    querystring: wearQuery,
    response: { 200: wearSchema, ...problems },
  };
  app.get('/v1/devices/:id/wear', { schema }, async ({ params, query }) => {
    const { meter } = arraySources;
    const device = registry.device(params.id);
    const identity = await device.whenReady(configuration.connectTimeoutMilliseconds);
    const counts = await meter.read(device, identity, false);
    return wearView(identity.chipId, counts, meter.ledger.shares(identity.chipId), query.cells ?? false);
  });
}
