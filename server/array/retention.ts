import Type, { type Static } from 'typebox';
import { setTimeout as delay } from 'node:timers/promises';
import type { Region } from '../../driver/index.js';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { integerFrom, strict } from '../network/network.js';
import { writeNpy } from '../network/npy.js';
import { topCode } from '../network/snapshot.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { partOf } from './outcomes.js';
import { averages, averagesMaximum, conductsMicrosiemens, pulsingFields, regionOf, regionSchema } from './parameters.js';
import { planOf } from './plan.js';

const secondsMaximum = 1e7;
const seconds = Type.Number({ exclusiveMinimum: 0, maximum: secondsMaximum, description: `above 0 to ${secondsMaximum} s` });

const retentionSchema = strict({
  region: Type.Optional(regionSchema),
  averages: Type.Optional(averages),
  firstSeconds: Type.Optional(seconds),
  lastSeconds: Type.Optional(seconds),
  pointsPerDecade: Type.Optional(integerFrom(1, 20)),
  secondsSinceLastPulse: Type.Optional(Type.Number({ minimum: 0, maximum: 1e10, description: 'a number from 0 to 1e10 s' })),
  user: pulsingFields.user,
});

export interface RetentionParameters {
  readonly region: Region;
  readonly averages: number;
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  readonly pointsPerDecade: number;
  /** At the first read; what drift is counted from. */
  readonly secondsSinceLastPulse?: number;
  readonly user?: string;
}

/** What the cells of a region conduct at one time, and how that compares with the first read. Only cells that conducted then count. */
export interface RetentionPoint {
  /** After the first read. */
  readonly seconds: number;
  readonly cells: number;
  readonly meanMicrosiemens: number | null;
  readonly sdMicrosiemens: number | null;
  /** Mean over the cells of their relative change since the first read, and its spread: noise of both reads included. */
  readonly meanChangeFraction: number | null;
  readonly sdChangeFraction: number | null;
  readonly largestLossFraction: number | null;
}

/** Times from the first to the last, so many to a decade, both ends included. */
export function logTimes(firstSeconds: number, lastSeconds: number, pointsPerDecade: number): number[] {
  const steps = Math.max(1, Math.ceil(Math.log10(lastSeconds / firstSeconds) * pointsPerDecade - 1e-9));
  if (lastSeconds === firstSeconds) return [firstSeconds];
  return Array.from({ length: steps + 1 }, (_, step) => firstSeconds * (lastSeconds / firstSeconds) ** (step / steps));
}

const momentsOf = (values: readonly number[]) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, sd: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) };
};

export function retentionPoint(at: number, first: Uint16Array, now: Uint16Array, microsiemensOf: (code: number) => number): RetentionPoint {
  const cells = [...first.keys()].filter((cell) => first[cell] < topCode && now[cell] < topCode && microsiemensOf(first[cell]) >= conductsMicrosiemens);
  if (cells.length === 0) {
    return { seconds: at, cells: 0, meanMicrosiemens: null, sdMicrosiemens: null, meanChangeFraction: null, sdChangeFraction: null, largestLossFraction: null };
  }
  const level = momentsOf(cells.map((cell) => microsiemensOf(now[cell])));
  const changes = cells.map((cell) => now[cell] / first[cell] - 1);
  const change = momentsOf(changes);
  return {
    seconds: at, cells: cells.length, meanMicrosiemens: level.mean, sdMicrosiemens: level.sd, meanChangeFraction: change.mean, sdChangeFraction: change.sd,
    largestLossFraction: changes.reduce((largest, value) => Math.max(largest, -value), 0),
  };
}

/** How time passes on a device: on a simulator it is what its operations take, on a board it is the clock on the wall. */
interface Passage {
  elapsedSeconds(): number;
  /** A read of the region has been made and took so long. */
  took(nanoseconds: number): void;
  pass(untilSeconds: number): Promise<void>;
}

/** A bit line beside the region: to drive it passes time on a simulator and leaves the cells that are looked at alone. */
function idleRegion({ firstBitLine, bitLines }: Region): Region {
  const firstIdle = firstBitLine > 0 ? firstBitLine - 1 : firstBitLine + bitLines;
  if (firstIdle < bitLineCount) return { firstBitLine: firstIdle, bitLines: 1, firstSourceLine: 0, sourceLines: sourceLineCount };
  throw new MacroError('BAD_REQUEST', 'region: it covers every bit line, and a simulator passes time by driving one beside it', { field: 'region' });
}

function refuseStopped({ signal }: MeteredArray): void {
  if (signal?.aborted === true) throw new MacroError('CANCELLED', 'the job was stopped between two reads');
}

function simulatedPassage(array: MeteredArray, region: Region): Passage {
  const idle = idleRegion(region);
  let nanoseconds = 0;
  let perAverage: number | undefined;
  const drive = async (times: number) => {
    const { operationNanoseconds } = await array.read(idle, times);
    nanoseconds += operationNanoseconds;
    return operationNanoseconds;
  };
  return {
    elapsedSeconds: () => nanoseconds / 1e9,
    took(of) { nanoseconds += of; },
    async pass(untilSeconds) {
      while (nanoseconds < untilSeconds * 1e9) {
        refuseStopped(array);
        const left = perAverage === undefined ? 1 : Math.ceil((untilSeconds * 1e9 - nanoseconds) / perAverage);
        const times = Math.min(averagesMaximum, Math.max(1, left));
        perAverage = (await drive(times)) / times;
      }
    },
  };
}

function wallPassage(array: MeteredArray, nowMilliseconds: () => number): Passage {
  const start = nowMilliseconds();
  const elapsedSeconds = () => (nowMilliseconds() - start) / 1000;
  return {
    elapsedSeconds,
    took: () => undefined,
    async pass(untilSeconds) {
      const left = Math.max(0, untilSeconds - elapsedSeconds());
      const options = array.signal === undefined ? {} : { signal: array.signal };
      // A timer of Node ends at 2^31 ms.
      for (let rest = left * 1000; rest > 0 && array.signal?.aborted !== true; rest -= 1e9) {
        await delay(Math.min(rest, 1e9), undefined, options).catch(() => undefined); // a stop wakes it up
      }
      refuseStopped(array);
    },
  };
}

/** A capability that only simulators declare (DESIGN §7). */
const passageOf = (array: MeteredArray, region: Region): Passage =>
  (array.can('LoadSnapshot') ? simulatedPassage(array, region) : wallPassage(array, () => performance.now()));

/** The job kind `retention`: the same cells again and again at times that are evenly spaced on a logarithmic scale. Reads only. */
export const retentionOperation: Operation<RetentionParameters> = {
  name: 'retention',
  schema: retentionSchema,
  parametersOf(given) {
    const { region, averages: repeats = 16, firstSeconds = 1, lastSeconds = 1000, pointsPerDecade = 3, ...rest } = given as Static<typeof retentionSchema>;
    if (lastSeconds < firstSeconds) {
      throw new MacroError('BAD_REQUEST', `lastSeconds is ${lastSeconds}, it is at least firstSeconds, ${firstSeconds}`, { field: 'lastSeconds' });
    }
    const usual = { firstBitLine: 0, bitLines: 16, firstSourceLine: 0, sourceLines: sourceLineCount };
    return { ...rest, region: regionOf(region ?? usual), averages: repeats, firstSeconds, lastSeconds, pointsPerDecade };
  },
  async plan(array, { region, averages: repeats, firstSeconds, lastSeconds, pointsPerDecade }) {
    const map = await array.read({ ...region, bitLines: 1 }, repeats);
    const reads = logTimes(firstSeconds, lastSeconds, pointsPerDecade).length + 1;
    const whole = { ...map, operationNanoseconds: map.operationNanoseconds * region.bitLines + lastSeconds * 1e9 };
    return planOf('retention', array, whole, repeats, region.bitLines * region.sourceLines, [], { reads });
  },
  async run(array, { region, averages: repeats, firstSeconds, lastSeconds, pointsPerDecade, secondsSinceLastPulse }, job) {
    const passage = passageOf(array, region);
    const reads: Uint16Array[] = [];
    const times: number[] = [];
    for (const target of [0, ...logTimes(firstSeconds, lastSeconds, pointsPerDecade)]) {
      await passage.pass(target);
      const at = passage.elapsedSeconds();
      const map = await array.read(region, repeats);
      passage.took(map.operationNanoseconds);
      reads.push(partOf(map.codes, region));
      times.push(at);
      job.row(retentionPoint(at, reads[0], reads[reads.length - 1], (code) => array.microsiemensOf(code)));
    }
    const all = new Uint16Array(reads.length * reads[0].length);
    reads.forEach((read, index) => { all.set(read, index * read.length); });
    job.keep('reads', writeNpy(all, [reads.length, reads[0].length]));
    job.keep('seconds', writeNpy(Float64Array.from(times), [times.length]));
    return {
      chipId: array.identity.chipId, region, averages: repeats, reads: reads.length, seconds: times, cellUnitNanosiemens: array.cellUnitNanosiemens,
      ...(secondsSinceLastPulse !== undefined && { secondsSinceLastPulse }),
      last: retentionPoint(times[times.length - 1], reads[0], reads[reads.length - 1], (code) => array.microsiemensOf(code)),
    };
  },
};
