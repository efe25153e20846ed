import type { Device, ResetPulse } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { JobContext, JobKind } from '../../server/job/scheduler.js';
import type { Ledger } from './ledger.js';
import { wholeArray } from './observed-device.js';
import { SeededPrng } from '../rig/seeded-prng.js';
import { Chance } from './chance.js';
import type { Verdict } from './verdict.js';

/** What jobs of the simulation share. */
export interface Workshop {
  readonly ledger: Ledger;
  readonly verdict: Verdict;
  /** Cells that no other job names. */
  newCells(count: number): number[];
  /** The one cell that many jobs pulse, until its budget is spent. */
  readonly wornCell: number;
}

export interface Work {
  readonly kind: string;
  readonly parameters: unknown;
}

const pulse: ResetPulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000 };
const connectMilliseconds = 10_000;
const bitmapBytes = 512 * 64;

export function bitmapOf(cells: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(bitmapBytes);
  for (const cell of cells) bitmap[cell >> 3] |= 1 << (cell & 7);
  return bitmap;
}

async function ready({ device, signal }: JobContext, isCautious: boolean): Promise<Device> {
  await device.whenReady(connectMilliseconds);
  if (signal.aborted) throw new MacroError('CANCELLED', 'the job was stopped before it had begun');
  if (isCautious && device.state === 'needs-reconcile') await device.readCells(wholeArray, 1);
  return device;
}

function kind<Parameters>(name: string, run: (context: JobContext, parameters: Parameters) => Promise<unknown>): JobKind {
  return { name, run: (context, parameters) => run(context, parameters as Parameters) };
}

const goOn = ({ signal }: JobContext, done: number) => {
  if (signal.aborted) throw new MacroError('CANCELLED', `stopped after ${done} steps`);
};

/** Additions, one after the other or at once. */
const count = ({ ledger }: Workshop) => kind<{ additions: number; together: boolean; isCautious: boolean }>('count', async (context, parameters) => {
  const { additions, together, isCautious } = parameters;
  const device = await ready(context, isCautious);
  if (together) {
    const results = await Promise.allSettled(Array.from({ length: additions }, () => device.scratch(ledger.newAddition())));
    const failed = results.find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    return { additions };
  }
  for (let done = 0; done < additions; done += 1) {
    goOn(context, done);
    await device.scratch(ledger.newAddition());
    context.progress(done + 1, additions);
  }
  return { additions };
});

interface PulseWork {
  readonly pulses: number;
  readonly cells: number;
  readonly isCautious: boolean;
  readonly isWild: boolean;
  /** Whether a stop ends a RESET that is under way, or waits for it. */
  readonly isHasty: boolean;
}

/** RESET pulses on cells of its own, and one beyond the envelope where it is asked to. */
const pulses = (shop: Workshop) => kind<PulseWork>('pulse', async (context, parameters) => {
  const device = await ready(context, parameters.isCautious);
  for (let done = 0; done < parameters.pulses; done += 1) {
    goOn(context, done);
    if (parameters.isWild) await refuseWild(device, shop);
    await device.resetCells(bitmapOf(shop.newCells(parameters.cells)), pulse, undefined, parameters.isHasty ? context.signal : undefined);
    context.progress(done + 1, parameters.pulses);
    context.checkpoint('pulses', done + 1);
  }
  return parameters;
});

async function refuseWild(device: Device, { verdict, newCells }: Workshop): Promise<void> {
  const refusal = await device.resetCells(bitmapOf(newCells(1)), { ...pulse, amplitudeMillivolts: 2600 }).catch((error: unknown) => MacroError.from(error));
  verdict.expect(refusal instanceof MacroError && refusal.outcome === 'not-applied', () => 'a pulse outside the envelope was not refused');
}

const wear = ({ wornCell }: Workshop) => kind<{ isCautious: boolean }>('wear', async (context, { isCautious }) => {
  const device = await ready(context, isCautious);
  return { pulses: (await device.resetCells(bitmapOf([wornCell]), pulse)).pulses };
});

const read = () => kind<{ region: typeof wholeArray; averages: number }>('read', async (context, { region, averages }) => {
  const device = await ready(context, false);
  const { saturatedCells } = await device.readCells(region, averages);
  return { saturatedCells };
});

/** Brings an object to the board and back. */
const carry = ({ verdict }: Workshop) => kind<{ bytes: number; seed: number }>('carry', async (context, parameters) => {
  const device = await ready(context, false);
  const bytes = new Chance(new SeededPrng(parameters.seed)).bytes(parameters.bytes);
  const digest = await device.uploadBulk(bytes);
  const back = await device.fetchBulk(digest, bytes.length);
  verdict.expect(Buffer.compare(back, bytes) === 0, () => 'an object came back different from the one that was sent');
  return { bytes: bytes.length };
});

/** One pair of cells of its own. */
const snapshot = ({ newCells }: Workshop) => kind<{ isCautious: boolean }>('snapshot', async (context, { isCautious }) => {
  const device = await ready(context, isCautious);
  const [cell] = newCells(2);
  const line = cell % 512;
  const tile = {
    firstBitLine: (cell - line) / 512, plusLines: [line], minusLines: [line ^ 1], differenceNanosiemens: [1000 + cell], kept: Uint8Array.of(1),
  };
  return { pairs: (await device.loadSnapshot({ tiles: [tile] })).pairs };
});

/** Long, and ends when it is told to. */
const patrol = ({ ledger }: Workshop) => kind<{ steps: number }>('patrol', async (context, { steps }) => {
  const device = await ready(context, true);
  for (let done = 0; done < steps; done += 1) {
    goOn(context, done);
    await device.noOperation();
    if (done % 10 === 0) await device.status();
    if (done % 7 === 0) await device.scratch(ledger.newAddition());
    if (done % 25 === 0) await device.readCells({ ...wholeArray, bitLines: 4 }, 2);
    context.progress(done + 1, steps);
    if (done % 20 === 0) context.checkpoint('steps', done);
  }
  return { steps };
});

/** The host's own reset button. */
const restart = () => kind<null>('restart', async (context) => {
  const device = await ready(context, false);
  await device.restartController();
  return 'restarted';
});

/** The job kinds of the simulation beside the service's own. */
export function workKinds(shop: Workshop): JobKind[] {
  return [count(shop), pulses(shop), wear(shop), read(), carry(shop), snapshot(shop), patrol(shop), restart()];
}

/** Draws one job. */
export function drawWork(chance: Chance, inferenceVariants: number): Work {
  const isCautious = chance.happens(0.7);
  const pulseWork = (pulses: number): PulseWork =>
    ({ pulses, cells: chance.between(1, 4), isCautious, isWild: false, isHasty: chance.happens(0.5) });
  const draws: readonly (() => Work)[] = [
    () => ({ kind: 'count', parameters: { additions: chance.between(1, 6), together: chance.happens(0.5), isCautious } }),
    () => ({ kind: 'count', parameters: { additions: 1, together: false, isCautious } }),
    () => ({ kind: 'pulse', parameters: { ...pulseWork(1), isWild: chance.happens(0.2) } }),
    () => ({ kind: 'pulse', parameters: pulseWork(chance.between(2, 4)) }),
    () => ({ kind: 'wear', parameters: { isCautious } }),
    () => ({ kind: 'read', parameters: drawRead(chance) }),
    () => ({ kind: 'carry', parameters: { bytes: chance.pick([0, 1, 600, 5000, 40_000]), seed: chance.below(1e6) } }),
    () => ({ kind: 'snapshot', parameters: { isCautious } }),
    () => ({ kind: 'restart', parameters: null }),
    () => ({ kind: 'patrol', parameters: { steps: chance.between(20, 120) } }),
    () => ({ kind: 'inference', parameters: { variant: chance.below(inferenceVariants), execution: chance.happens(0.7) ? 'device' : 'host' } }),
  ];
  return chance.pick(draws)();
}

function drawRead(chance: Chance) {
  if (chance.happens(0.3)) return { region: wholeArray, averages: 1 };
  const [bitLines, sourceLines] = [chance.between(1, 60), chance.between(1, 60)];
  const region = { firstBitLine: chance.below(512 - bitLines), bitLines, firstSourceLine: chance.below(512 - sourceLines), sourceLines };
  return { region, averages: chance.between(1, 4) };
}
