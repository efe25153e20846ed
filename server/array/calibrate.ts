import Type, { type Static } from 'typebox';
import { type Region, wholeArray } from '../../driver/index.js';
import { strict } from '../network/network.js';
import { topCode } from '../network/snapshot.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import type { Operation } from './operation.js';
import { averages, conductsMicrosiemens, pulsingFields } from './parameters.js';
import { planOf } from './plan.js';

const calibrateSchema = strict({ averages: Type.Optional(averages), user: pulsingFields.user });

interface CalibrateParameters {
  readonly averages: number;
  readonly user?: string;
}

const usualAverages = 16;
/** Source lines whose codes fit one answer. */
const linesPerMultiply = 128;
/** Bit lines across the array on which noise is measured, and single reads of each. */
const noiseLines = 8;
const noiseReads = 16;

/** What is known of one converter. */
export interface ChannelCalibration {
  readonly channel: number;
  /** ADC codes with no line driven, by name of the range. A converter without sign shows an offset below 0 as 0. */
  readonly offsetCodes: Readonly<Record<string, number>>;
  /** Against the median of all channels; null where its lines hold no cell that conducts. */
  readonly relativeGain: number | null;
  readonly relativeGainStandardError: number | null;
  /** Of one read of a cell, relative to its conductance. */
  readonly noiseFraction: number | null;
  readonly cells: number;
}

const medianOf = (sorted: Float64Array) => sorted[sorted.length >> 1];
/** The standard error of a median of normal values against that of their mean. */
const medianEfficiency = 1.2533;

/** Codes of every source line with no bit line driven: what a converter makes of nothing. */
async function offsetsOf({ device, identity }: MeteredArray, range: number): Promise<number[]> {
  const offsets: number[] = [];
  for (let first = 0; first < identity.geometry.sourceLines; first += linesPerMultiply) {
    const sourceLines = Array.from({ length: linesPerMultiply }, (_, line) => first + line);
    const drives = [{ position: 0, plane: 0, lines: new Uint8Array(1) }];
    const { codes } = await device.multiply({ firstBitLine: 0, bitLineCount: 1, sourceLines, range, inferenceNumber: 0, timestep: 0, tile: 0, drives });
    const view = new DataView(codes.buffer, codes.byteOffset, codes.byteLength);
    const codeBytes = codes.length / linesPerMultiply;
    for (let at = 0; at < codes.length; at += codeBytes) offsets.push(codeBytes === 4 ? view.getInt32(at, true) : view.getUint16(at, true));
  }
  return offsets;
}

const ofChannel = <Value>(values: readonly Value[], channel: number, channels: number) => values.filter((_, line) => line % channels === channel);
const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Conductances of the formed cells of each channel, sorted. Reset and broken cells say nothing of gain. */
function conductancesByChannel(array: MeteredArray, { codes }: CellMap, channels: number): Float64Array[] {
  const low = array.codeOf(conductsMicrosiemens);
  return Array.from({ length: channels }, (_, channel) => {
    const formed: number[] = [];
    codes.forEach((code, cell) => {
      if ((cell % array.identity.geometry.sourceLines) % channels === channel && code >= low && code < topCode) formed.push(array.microsiemensOf(code));
    });
    return Float64Array.from(formed).sort();
  });
}

const noiseRegion = (line: number): Region => ({ ...wholeArray, firstBitLine: Math.floor((line * wholeArray.bitLines) / noiseLines), bitLines: 1 });

/** Root mean square of the deviations of single reads from their mean, by channel, relative to that mean. */
async function noiseByChannel(array: MeteredArray, channels: number): Promise<(number | null)[]> {
  const squares = new Float64Array(channels);
  const counts = new Float64Array(channels);
  for (let line = 0; line < noiseLines; line += 1) {
    const reads: CellMap[] = [];
    for (let read = 0; read < noiseReads; read += 1) reads.push(await array.read(noiseRegion(line), 1));
    const first = noiseRegion(line).firstBitLine * wholeArray.sourceLines;
    for (let sourceLine = 0; sourceLine < wholeArray.sourceLines; sourceLine += 1) {
      const codes = reads.map((map) => map.codes[first + sourceLine]);
      if (Math.min(...codes) < array.codeOf(conductsMicrosiemens) || Math.max(...codes) >= topCode) continue;
      const mean = meanOf(codes);
      squares[sourceLine % channels] += codes.reduce((sum, code) => sum + (code / mean - 1) ** 2, 0);
      counts[sourceLine % channels] += noiseReads - 1;
    }
  }
  return Array.from(squares, (sum, channel) => (counts[channel] === 0 ? null : Math.sqrt(sum / counts[channel])));
}

/** What each converter makes of nothing, of a cell, and of the same cell again. */
async function channelsOf(array: MeteredArray, map: CellMap): Promise<ChannelCalibration[]> {
  const { ranges, channels: stated = 0 } = array.identity.converter;
  // A board that does not say how its lines are shared out has one converter for all, as far as anyone can tell.
  const channels = Math.max(1, stated);
  const offsets = array.can('Multiply') ? await Promise.all(ranges.map((_, range) => offsetsOf(array, range))) : [];
  const conductances = conductancesByChannel(array, map, channels);
  const noise = await noiseByChannel(array, channels);
  const all = Float64Array.from(conductances.flatMap((values) => [...values])).sort();
  return conductances.map((values, channel) => {
    const mean = meanOf([...values]);
    const sd = Math.sqrt(meanOf(Array.from(values, (value) => (value - mean) ** 2)));
    const isEmpty = values.length === 0;
    return {
      channel,
      offsetCodes: Object.fromEntries(offsets.map((codes, range) => [ranges[range].name, meanOf(ofChannel(codes, channel, channels))])),
      relativeGain: isEmpty ? null : medianOf(values) / medianOf(all),
      relativeGainStandardError: isEmpty ? null : (medianEfficiency * sd) / Math.sqrt(values.length) / medianOf(all),
      noiseFraction: noise[channel],
      cells: values.length,
    };
  });
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/**
 * The job kind `calibrate`: gain, offset and noise of every converter. Without a reference on the board gain is relative: the formed cells of the channels
 * are of one law, so that their medians tell the channels apart, and nothing tells the scale of them all. It holds for the array state that it names.
 */
export const calibrateOperation: Operation<CalibrateParameters> = {
  name: 'calibrate',
  schema: calibrateSchema,
  parametersOf: (given) => ({ averages: usualAverages, ...(given as Static<typeof calibrateSchema>) }),
  async plan(array, { averages: reads }) {
    const map = await array.read({ ...wholeArray, bitLines: 1 }, reads);
    const linesRead = wholeArray.bitLines + (noiseLines * noiseReads) / reads;
    const all = { ...map, operationNanoseconds: map.operationNanoseconds * linesRead };
    return planOf('calibrate', array, all, reads, wholeArray.bitLines * wholeArray.sourceLines, [], { gain: 'relative' });
  },
  async run(array, { averages: reads }, job) {
    const map = await array.read(wholeArray, reads);
    const channels = await channelsOf(array, map);
    for (const channel of channels) job.row(channel);
    const { arrayState } = await array.device.status();
    const gains = channels.flatMap(({ relativeGain }) => relativeGain ?? []);
    const noise = channels.flatMap(({ noiseFraction }) => noiseFraction ?? []);
    return {
      chipId: array.identity.chipId, gain: 'relative', arrayState: hex(arrayState), averages: reads, channels: channels.length,
      gainSpreadFraction: gains.length === 0 ? null : Math.max(...gains) - Math.min(...gains),
      noiseFraction: noise.length === 0 ? null : Math.sqrt(meanOf(noise.map((value) => value ** 2))),
      fullScaleMicrosiemens: Object.fromEntries(array.identity.converter.ranges.map(({ name, stepNumeratorNanosiemens, stepDenominator }) =>
        [name, (stepNumeratorNanosiemens / stepDenominator) * 2 ** array.identity.converter.bits / 1000])),
    };
  },
};
