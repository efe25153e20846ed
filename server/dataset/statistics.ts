import { fieldPixels, type Recording } from './recording.js';

const pixels = fieldPixels ** 2;
export const sliceMicroseconds = 10_000;
/** A pixel that sends more events in one recording is counted here. */
const countMaximum = 63;

/** Figures of many recordings. Means are over recordings. */
export interface DatasetStatistics {
  readonly recordings: number;
  /** Recordings of each label. */
  readonly labels: Readonly<Record<string, number>>;
  readonly events: { readonly mean: number; readonly sd: number; readonly minimum: number; readonly maximum: number };
  /** Mean events of each label. */
  readonly eventsByLabel: Readonly<Record<string, number>>;
  /** ON events for each OFF event. */
  readonly onPerOff: number;
  /** Events of a pixel of one polarity in a recording, where there are any. */
  readonly eventsPerActivePixel: number;
  /** Mean events of each pixel, 34 rows of 34, OFF and ON. */
  readonly pixelEvents: { readonly off: readonly number[]; readonly on: readonly number[] };
  /** How many pixels of one polarity send n events in a recording: element n, 0 to 63 or more. */
  readonly pixelsByCount: readonly number[];
  /** Mean events of each 10 ms. */
  readonly timeProfile: readonly number[];
}

/** Adds recordings up. */
export class StatisticsCollector {
  private readonly counts: number[] = [];
  private readonly byLabel = new Map<string, number[]>();
  private readonly pixelEvents = { off: new Float64Array(pixels), on: new Float64Array(pixels) };
  private readonly pixelsByCount = new Float64Array(countMaximum + 1);
  private readonly timeProfile: number[] = [];
  private readonly own = new Uint32Array(2 * pixels);

  add({ label, x, y, polarity, timeMicroseconds }: Recording): void {
    this.own.fill(0);
    for (let event = 0; event < x.length; event += 1) {
      const pixel = y[event] * fieldPixels + x[event];
      (polarity[event] === 1 ? this.pixelEvents.on : this.pixelEvents.off)[pixel] += 1;
      this.own[polarity[event] * pixels + pixel] += 1;
      const slice = Math.floor(timeMicroseconds[event] / sliceMicroseconds);
      this.timeProfile[slice] = (this.timeProfile[slice] ?? 0) + 1;
    }
    for (const count of this.own) this.pixelsByCount[Math.min(count, countMaximum)] += 1;
    this.counts.push(x.length);
    const name = label === null ? 'none' : String(label);
    const ofLabel = this.byLabel.get(name);
    if (ofLabel === undefined) this.byLabel.set(name, [x.length]);
    else ofLabel.push(x.length);
  }

  statistics(): DatasetStatistics {
    const { counts, pixelEvents: { off, on }, pixelsByCount } = this;
    const recordings = counts.length;
    const each = (sums: ArrayLike<number>) => Array.from(sums, (sum = 0) => sum / recordings);
    const mean = meanOf(counts);
    const labels = [...this.byLabel].sort(([left], [right]) => Number(left) - Number(right));
    return {
      recordings,
      labels: Object.fromEntries(labels.map(([label, events]) => [label, events.length])),
      events: {
        mean, sd: Math.sqrt(meanOf(counts.map((count) => (count - mean) ** 2))),
        minimum: counts.reduce((least, count) => Math.min(least, count)), maximum: counts.reduce((most, count) => Math.max(most, count)),
      },
      eventsByLabel: Object.fromEntries(labels.map(([label, events]) => [label, meanOf(events)])),
      onPerOff: sumOf(on) / sumOf(off),
      eventsPerActivePixel: sumOf(counts) / (2 * pixels * recordings - pixelsByCount[0]),
      pixelEvents: { off: each(off), on: each(on) },
      pixelsByCount: each(pixelsByCount),
      timeProfile: each(this.timeProfile),
    };
  }
}

const sumOf = (numbers: Iterable<number>) => {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum;
};
const meanOf = (numbers: readonly number[]) => sumOf(numbers) / numbers.length;

/** A figure of two datasets and how far the first is from the second. */
export interface Comparison {
  readonly figure: string;
  /** Undefined where the figure is a whole distribution. */
  readonly value?: number;
  readonly against?: number;
  /** Of single numbers value / against − 1; of distributions what lies elsewhere, Σ|a − b| / Σb. */
  readonly difference: number;
}

function distanceOf(values: readonly number[], against: readonly number[]): number {
  let apart = 0;
  for (let at = 0; at < Math.max(values.length, against.length); at += 1) apart += Math.abs((values[at] ?? 0) - (against[at] ?? 0));
  return apart / sumOf(against);
}

/** Compares two datasets figure by figure. */
export function compareStatistics(one: DatasetStatistics, other: DatasetStatistics): Comparison[] {
  const number = (figure: string, value: number, against: number): Comparison => ({ figure, value, against, difference: value / against - 1 });
  const distribution = (figure: string, values: readonly number[], against: readonly number[]): Comparison =>
    ({ figure, difference: distanceOf(values, against) });
  const both = ({ pixelEvents: { off, on } }: DatasetStatistics) => off.map((events, pixel) => events + on[pixel]);
  return [
    number('events a recording', one.events.mean, other.events.mean),
    number('spread (sd) of events', one.events.sd, other.events.sd),
    number('ON for each OFF event', one.onPerOff, other.onPerOff),
    number('events of an active pixel', one.eventsPerActivePixel, other.eventsPerActivePixel),
    distribution('events of each pixel', both(one), both(other)),
    distribution('OFF events of each pixel', one.pixelEvents.off, other.pixelEvents.off),
    distribution('ON events of each pixel', one.pixelEvents.on, other.pixelEvents.on),
    distribution('active pixels by their count', one.pixelsByCount.slice(1), other.pixelsByCount.slice(1)),
    distribution('events of each 10 ms', one.timeProfile, other.timeProfile),
    ...Object.keys(one.eventsByLabel).filter((label) => label in other.eventsByLabel).map((label) =>
      number(`events of label ${label}`, one.eventsByLabel[label], other.eventsByLabel[label])),
  ];
}
