import type { Envelope, Pulse, Staircase } from '../../driver/index.js';
import type { CellMap, MeteredArray } from './metered-array.js';
import { type BrokenLimit, brokenByStrength, leastPulses, mostPulses, type PlannedPulses, type PulseNumbers, wearAfter } from './planned-pulses.js';

/** What an operation would do, told before it is done. Nothing but reads has touched the array by then. */
export interface Plan {
  readonly kind: string;
  readonly chipId: string;
  /** Cells that would be looked at. */
  readonly cells: number;
  readonly leastPulses: PulseNumbers;
  /** In the worst case; where it equals `leastPulses` the number is exact. */
  readonly mostPulses: PulseNumbers;
  /** On the device, in the worst case. */
  readonly seconds: number;
  /** Of the pulses, in the worst case. */
  readonly energyNanojoules: number;
  readonly wearAfter: readonly { readonly kind: string; readonly largestPulsesPerCell: number; readonly limitPulsesPerCell: number }[];
  readonly brokenLimits: readonly BrokenLimit[];
  /** What the kind of operation has to tell beside it. */
  readonly figures: Readonly<Record<string, number | string | null>>;
}

/** A word line settles before and after a pulse; boards take about so long for both (MODEL.md). */
export const pulseSettlingNanoseconds = 2000;
export const femtojoulesPerNanojoule = 1e6;

/** What one pulse may cost: its charge at the current that the compliance, or the cell, lets through. V · µA · ns are femtojoules. */
export function pulseFemtojoules({ amplitudeMillivolts, widthNanoseconds, complianceMicroamperes }: Pulse, microsiemens: number): number {
  const volts = amplitudeMillivolts / 1000;
  const microamperes = complianceMicroamperes === 0 ? volts * microsiemens : complianceMicroamperes;
  return volts * microamperes * widthNanoseconds;
}

export interface Effort {
  readonly planned: PlannedPulses;
  readonly staircase: Staircase;
  /** Averages of the read behind each pulse. */
  readonly averages: number;
}

/** The limits that pulses would break by themselves, however often they were given; those of efforts without a pulse break none. */
const brokenByStrengths = (efforts: readonly Effort[], envelope: Envelope): BrokenLimit[] =>
  efforts.filter(({ planned }) => mostPulses([planned])[planned.kind] > 0)
    .flatMap(({ planned: { kind }, staircase }) => brokenByStrength(kind, staircase, envelope[kind]));

/** Adds up what efforts could take. @param map of the reads that were done, whose duration says what others will take */
export function planOf(
  kind: string, array: MeteredArray, map: CellMap, readAverages: number, looked: number, efforts: readonly Effort[], figures: Plan['figures'],
): Plan {
  const planned = efforts.map((effort) => effort.planned);
  const conducting = map.codes.reduce((largest, code) => Math.max(largest, code), 0);
  let nanoseconds = 0;
  let femtojoules = 0;
  for (const { planned: pulses, staircase, averages } of efforts) {
    const most = mostPulses([pulses])[pulses.kind];
    const highest = { ...staircase.first, amplitudeMillivolts: staircase.lastMillivolts };
    // Boards convert several averages at once, so that fewer need not be quicker.
    const verifyNanoseconds = map.nanosecondsPerCell * Math.max(1, averages / readAverages);
    nanoseconds += most * (staircase.first.widthNanoseconds + pulseSettlingNanoseconds + verifyNanoseconds);
    femtojoules += most * pulseFemtojoules(highest, array.microsiemensOf(conducting));
  }
  return {
    kind,
    chipId: array.identity.chipId,
    cells: looked,
    leastPulses: leastPulses(planned),
    mostPulses: mostPulses(planned),
    seconds: (map.operationNanoseconds + nanoseconds) / 1e9,
    energyNanojoules: femtojoules / femtojoulesPerNanojoule,
    wearAfter: wearAfter(planned, array.wear, array.envelope),
    brokenLimits: [...array.brokenBy(planned), ...brokenByStrengths(efforts, array.envelope)],
    figures,
  };
}
