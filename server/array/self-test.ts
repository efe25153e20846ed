import { type Device, pulseKinds, type Region, wholeArray } from '../../driver/index.js';
import { convert } from '../../firmware-protocol/numerics/index.js';
import { strict } from '../network/network.js';
import { topCode } from '../network/snapshot.js';
import type { MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { conductsMicrosiemens, pulsingFields } from './parameters.js';
import { planOf } from './plan.js';
import { conductancesOf } from './read.js';

const selfTestSchema = strict({ user: pulsingFields.user });

interface SelfTestParameters { readonly user?: string }

/** One check of a self-test. `isPassed` null: the board does not offer what it needs. */
export interface Check {
  readonly name: string;
  readonly isPassed: boolean | null;
  readonly detail: string;
  readonly figures: Readonly<Record<string, number>>;
}

const roundTrips = 10;
const slowestRoundTripMilliseconds = 1000;
/** Noise is read on some bit lines across the array, so often. */
const noiseLines = 4;
const noiseReads = 16;
/** Of one read of a cell: PRIME §6 knows 0.2 % to 20 %; above 10 % networks lose steps and points (§7). */
const noiseLimitFraction = 0.1;
/** One cell in a thousand that is broken ruins a network (PRIME §7). */
const brokenLimitFraction = 0.001;

async function checkLink(device: Device): Promise<Check> {
  const times: number[] = [];
  for (let trip = 0; trip < roundTrips; trip += 1) times.push((await device.noOperation()).roundTripMicroseconds / 1000);
  const slowest = Math.max(...times);
  const figures = { meanMilliseconds: times.reduce((sum, time) => sum + time, 0) / times.length, slowestMilliseconds: slowest };
  const detail = `${roundTrips} questions came back, the slowest after ${slowest.toFixed(2)} ms`;
  return { name: 'link', isPassed: slowest <= slowestRoundTripMilliseconds, detail, figures };
}

/** Sums and noise around rounding, of both signs, at a gain that is no power of two. */
const conversion = { gainQ20: 699_051, offset: 7, sums: [0, 1, 2, -3, 511, 25_600, -25_600, 1_000_003], noise_256: [0, 128, -128, 127, 1, -255, 255, 3] };

async function checkArithmetic(array: MeteredArray, device: Device): Promise<Check> {
  const name = 'converter arithmetic';
  if (!array.can('Arithmetic')) return { name, isPassed: null, detail: 'the board does not offer its arithmetic', figures: {} };
  const { values = [] } = await device.arithmetic({ convert: conversion });
  const { gainQ20, offset, sums } = conversion;
  const expected = sums.map((sum, index) => convert(sum, conversion.noise_256[index], gainQ20, offset));
  const wrong = expected.filter((value, index) => values[index] !== value).length;
  const detail = wrong === 0 ? `${expected.length} codes as NUMERICS.md says` : `${wrong} of ${expected.length} codes are not what NUMERICS.md says`;
  return { name, isPassed: wrong === 0, detail, figures: { codes: expected.length, wrongCodes: wrong } };
}

const noiseRegion = (line: number): Region => ({ ...wholeArray, firstBitLine: Math.floor((line * wholeArray.bitLines) / noiseLines), bitLines: 1 });

/** Relative deviations of single reads from their mean, of cells that conduct. */
async function relativeNoise(array: MeteredArray): Promise<{ cells: number; noise: number }> {
  let [cells, squares] = [0, 0];
  for (let line = 0; line < noiseLines; line += 1) {
    const region = noiseRegion(line);
    const reads: Uint16Array[] = [];
    for (let read = 0; read < noiseReads; read += 1) reads.push((await array.read(region, 1)).codes);
    const first = region.firstBitLine * wholeArray.sourceLines;
    for (let cell = first; cell < first + wholeArray.sourceLines; cell += 1) {
      const mean = reads.reduce((sum, codes) => sum + codes[cell], 0) / noiseReads;
      if (array.microsiemensOf(mean) < conductsMicrosiemens || reads.some((codes) => codes[cell] >= topCode)) continue;
      cells += 1;
      squares += reads.reduce((sum, codes) => sum + (codes[cell] - mean) ** 2, 0) / ((noiseReads - 1) * mean ** 2);
    }
  }
  return { cells, noise: cells === 0 ? 0 : Math.sqrt(squares / cells) };
}

async function checkNoise(array: MeteredArray): Promise<Check> {
  const { cells, noise } = await relativeNoise(array);
  const figures = { cells, noiseFraction: noise };
  if (cells === 0) return { name: 'read noise', isPassed: null, detail: 'no cell of the sample conducts', figures };
  const detail = `${(100 * noise).toFixed(2)} % of a single read, over ${noiseReads} reads of ${cells} cells`;
  return { name: 'read noise', isPassed: noise <= noiseLimitFraction, detail, figures };
}

async function checkCells(array: MeteredArray): Promise<Check> {
  const { codes } = await array.read(wholeArray, 1);
  const { cells, saturatedCells, lowCells, conductingCells, meanMicrosiemens } = conductancesOf(codes, (code) => array.microsiemensOf(code));
  const fraction = saturatedCells / cells;
  const detail = `${conductingCells} conduct, ${lowCells} are unformed or reset, ${saturatedCells} are broken (${(100 * fraction).toFixed(3)} %)`;
  const figures = { conductingCells, lowCells, brokenCells: saturatedCells, meanMicrosiemens: meanMicrosiemens ?? 0 };
  return { name: 'cells', isPassed: fraction <= brokenLimitFraction, detail, figures };
}

function checkEnvelope({ identity, envelope }: MeteredArray): Check {
  const figures = Object.fromEntries(pulseKinds.map((kind) => [`${kind}MaximumMillivolts`, envelope[kind].amplitudeMaximumMillivolts]));
  const isStated = Boolean(identity.envelope);
  const detail = isStated ? 'the board states what it lets through' : 'the board states no limits: only those of this host hold';
  return { name: 'envelope', isPassed: isStated ? true : null, detail, figures };
}

/** The job kind `self-test`: whether line, board and array are as they should be. No cell is pulsed. */
export const selfTestOperation: Operation<SelfTestParameters> = {
  name: 'self-test',
  schema: selfTestSchema,
  parametersOf: (given) => given as SelfTestParameters,
  async plan(array) {
    const map = await array.read({ ...wholeArray, bitLines: 1 }, 1);
    const linesRead = wholeArray.bitLines + noiseLines * noiseReads;
    const all = { ...map, operationNanoseconds: map.operationNanoseconds * linesRead };
    return planOf('self-test', array, all, 1, wholeArray.bitLines * wholeArray.sourceLines, [], {});
  },
  async run(array, _parameters, job) {
    const checks: Check[] = [];
    const steps = [
      () => checkLink(array.device), () => checkArithmetic(array, array.device), () => checkEnvelope(array), () => checkNoise(array), () => checkCells(array),
    ];
    for (const step of steps) {
      const check = await step();
      checks.push(check);
      job.row(check);
    }
    const failed = checks.filter(({ isPassed }) => isPassed === false).length;
    return { chipId: array.identity.chipId, passed: checks.filter(({ isPassed }) => isPassed === true).length, failed, checks };
  },
};
