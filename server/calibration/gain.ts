import type { MeasuredReference } from './reference.js';

/** A measured number, and how far it strays from one measurement to the next. */
export interface Estimate {
  readonly value: number;
  readonly standardError: number;
}

/** The standard error of a median of normal values against that of their mean. */
const medianEfficiency = 1.2533;
const medianOf = (sorted: Float64Array) => sorted[sorted.length >> 1];
const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const relative = ({ value, standardError }: Estimate) => standardError / value;

/**
 * Gains against the median of all channels: the formed cells of the channels are of one law, so that their medians tell the channels apart.
 * @param conductances of the formed cells of each channel, sorted; null where they are too few to say how they scatter
 */
export function relativeGains(conductances: readonly Float64Array[]): (Estimate | null)[] {
  const median = medianOf(Float64Array.from(conductances.flatMap((values) => [...values])).sort());
  return conductances.map((values) => {
    if (values.length < 2) return null;
    const mean = meanOf([...values]);
    const sd = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
    return { value: medianOf(values) / median, standardError: (medianEfficiency * sd) / Math.sqrt(values.length) / median };
  });
}

/** What references say of the gain of their channel: read / true, the mean where there are several. @param offsetMicrosiemens of the channel */
export function gainOfReferences(references: readonly MeasuredReference[], offsetMicrosiemens: number): Estimate | null {
  if (references.length === 0) return null;
  const gains = references.map(({ readMicrosiemens, microsiemens }) => (readMicrosiemens - offsetMicrosiemens) / microsiemens);
  const variances = references.map(({ readStandardErrorMicrosiemens, microsiemens }) => (readStandardErrorMicrosiemens / microsiemens) ** 2);
  return { value: meanOf(gains), standardError: Math.sqrt(meanOf(variances) / references.length) };
}

/**
 * Absolute gains of all channels. A channel without a reference has its relative gain, on the scale that the channels with one agree on.
 * @param relatives of every channel
 * @param referenced what references say, null where a channel has none
 */
export function absoluteGains(relatives: readonly (Estimate | null)[], referenced: readonly (Estimate | null)[]): (Estimate | null)[] {
  const scales = referenced.flatMap((gain, channel) => {
    const median = relatives[channel];
    if (gain === null || median === null) return [];
    const value = gain.value / median.value;
    return { value, standardError: value * Math.hypot(relative(gain), relative(median)) };
  });
  const scale = meanOf(scales.map(({ value }) => value));
  const scaleError = Math.sqrt(meanOf(scales.map(({ standardError }) => standardError ** 2)) / scales.length) / scale;
  return referenced.map((gain, channel) => {
    const median = relatives[channel];
    if (gain !== null) return gain;
    if (median === null || scales.length === 0) return null;
    const value = median.value * scale;
    return { value, standardError: value * Math.hypot(relative(median), scaleError) };
  });
}
