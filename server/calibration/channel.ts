import Type, { type Static } from 'typebox';
import { MacroError } from '../../proto/error.js';
import type { CellMap, MeteredArray } from '../array/metered-array.js';
import { conductsMicrosiemens } from '../array/parameters.js';
import { strict } from '../network/network.js';
import { topCode } from '../network/snapshot.js';
import { absoluteGains, type Estimate, gainOfReferences, relativeGains } from './gain.js';
import { type NoiseMap, noiseOfChannel } from './noise-map.js';
import type { MeasuredReference } from './reference.js';

const numberOrNull = Type.Union([Type.Number(), Type.Null()]);
const byRange = Type.Record(Type.String(), Type.Number());

export const channelSchema = strict({
  channel: Type.Integer(),
  /** ADC codes with no bit line driven, by name of the range. A converter without sign shows an offset below 0 as 0. */
  offsetCodes: byRange,
  /** What it reads of a conductance, relative to it; relative to the median of all channels where the calibration has no reference; null where nothing tells. */
  gain: numberOrNull,
  gainStandardError: numberOrNull,
  /** Names of the references that the gain is from; without any it is from medians. */
  references: Type.Array(Type.String()),
  /** Against the median of all channels, also where the gain is absolute. */
  relativeGain: numberOrNull,
  relativeGainStandardError: numberOrNull,
  /** Conductance at which the code ends, by name of the range, gain and offset applied; empty where the gain is not known. */
  fullScaleMicrosiemens: byRange,
  /** Of one read of a cell, relative to its conductance. */
  noiseFraction: numberOrNull,
  /** Cells that the relative gain is from. */
  cells: Type.Integer(),
});
/** What is known of one converter. */
export type ChannelCalibration = Static<typeof channelSchema>;

/** Source lines whose codes fit one answer. */
const linesPerMultiply = 128;
/** The range in which single cells are read. */
const cellRange = 'cell';

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const ofChannel = <Value>(values: readonly Value[], channel: number, channels: number) => values.filter((_, line) => line % channels === channel);

/** Codes of every source line with no bit line driven: what a converter makes of nothing. */
async function offsetsOf({ device, identity, signal }: MeteredArray, range: number): Promise<number[]> {
  const offsets: number[] = [];
  for (let first = 0; first < identity.geometry.sourceLines; first += linesPerMultiply) {
    if (signal?.aborted === true) throw new MacroError('CANCELLED', 'the calibration was stopped between two multiplies');
    const sourceLines = Array.from({ length: linesPerMultiply }, (_, line) => first + line);
    const drives = [{ position: 0, plane: 0, lines: new Uint8Array(1) }];
    const { codes } = await device.multiply({ firstBitLine: 0, bitLineCount: 1, sourceLines, range, inferenceNumber: 0, timestep: 0, tile: 0, drives });
    const view = new DataView(codes.buffer, codes.byteOffset, codes.byteLength);
    const codeBytes = codes.length / linesPerMultiply;
    for (let at = 0; at < codes.length; at += codeBytes) offsets.push(codeBytes === 4 ? view.getInt32(at, true) : view.getUint16(at, true));
  }
  return offsets;
}

/** How many converters share the source lines out; one, as far as anyone can tell, where a board does not say. */
const channelCount = ({ identity }: MeteredArray) => Math.max(1, identity.converter.channels ?? 0);

/** By channel, the mean offset of each range. */
async function offsetCodesByChannel(array: MeteredArray): Promise<Record<string, number>[]> {
  const { ranges } = array.identity.converter;
  const channels = channelCount(array);
  const offsets: number[][] = [];
  if (array.can('Multiply')) for (const range of ranges.keys()) offsets.push(await offsetsOf(array, range));
  return Array.from({ length: channels }, (_, channel) =>
    Object.fromEntries(offsets.map((codes, range) => [ranges[range].name, meanOf(ofChannel(codes, channel, channels))])));
}

/** Conductances of the formed cells of each channel, without its offset, sorted. Reset and broken cells say nothing of gain, references are no formed cells. */
function conductancesByChannel(array: MeteredArray, { codes }: CellMap, offsets: readonly number[], references: readonly MeasuredReference[]): Float64Array[] {
  const low = array.codeOf(conductsMicrosiemens);
  const { sourceLines } = array.identity.geometry;
  const excluded = new Set(references.map(({ bitLine, sourceLine }) => bitLine * sourceLines + sourceLine));
  const formed: number[][] = offsets.map(() => []);
  codes.forEach((code, cell) => {
    const channel = (cell % sourceLines) % offsets.length;
    if (code >= low && code < topCode && !excluded.has(cell)) formed[channel].push(array.microsiemensOf(code) - offsets[channel]);
  });
  return formed.map((values) => Float64Array.from(values).sort());
}

/** Conductances at which the codes of a channel end. */
function fullScales({ converter: { bits, ranges } }: MeteredArray['identity'], offsetCodes: Readonly<Record<string, number>>, gain: Estimate | null) {
  if (gain === null) return {};
  return Object.fromEntries(ranges.map(({ name, stepNumeratorNanosiemens, stepDenominator }) => {
    const codes = 2 ** bits - (offsetCodes[name] ?? 0);
    return [name, (codes * stepNumeratorNanosiemens) / stepDenominator / 1000 / gain.value];
  }));
}

/**
 * What each converter makes of nothing, of a cell, and of the same cell again.
 * @param map of the whole array
 * @throws MacroError CANCELLED, and what the device says
 */
export async function channelsOf(array: MeteredArray, map: CellMap, references: readonly MeasuredReference[], noise: NoiseMap): Promise<ChannelCalibration[]> {
  const offsetCodes = await offsetCodesByChannel(array);
  const channels = offsetCodes.length;
  const { stepNumeratorNanosiemens = 0, stepDenominator = 1 } = array.identity.converter.ranges.find(({ name }) => name === cellRange) ?? {};
  const offsets = offsetCodes.map((codes) => ((codes[cellRange] ?? 0) * stepNumeratorNanosiemens) / stepDenominator / 1000);
  const referencesOf = (channel: number) => references.filter(({ sourceLine }) => sourceLine % channels === channel);
  const conductances = conductancesByChannel(array, map, offsets, references);
  const relatives = relativeGains(conductances);
  const gains = references.length === 0 ? relatives : absoluteGains(relatives, offsets.map((offset, channel) => gainOfReferences(referencesOf(channel), offset)));
  return offsetCodes.map((codes, channel) => ({
    channel,
    offsetCodes: codes,
    gain: gains[channel]?.value ?? null,
    gainStandardError: gains[channel]?.standardError ?? null,
    references: referencesOf(channel).map(({ name }) => name),
    relativeGain: relatives[channel]?.value ?? null,
    relativeGainStandardError: relatives[channel]?.standardError ?? null,
    fullScaleMicrosiemens: fullScales(array.identity, codes, gains[channel]),
    noiseFraction: noiseOfChannel(noise, channel, channels),
    cells: conductances[channel].length,
  }));
}
