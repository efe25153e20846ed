import type { Pulse } from '../proto/message.js';
import type { Profile } from './profile.js';

/** The hyperbolic sine by its series: only sums and products, so that it is the same to the bit everywhere. */
function sinh(x: number): number {
  let sum = 0;
  let term = x;
  for (let power = 1; term > sum * Number.EPSILON; power += 2) {
    sum += term;
    term *= (x * x) / ((power + 1) * (power + 2));
  }
  return sum;
}

/** The current of a cell under a voltage (MODEL.md §"Current and voltage"): what it conducts at the read voltage is its conductance, whatever the law. */
export class ConductionLaw {
  constructor(private readonly profile: Profile) {}

  /** Under which voltage an ohmic cell, of the same conductance at the read voltage, would carry as much. */
  ohmicMillivolts(amplitudeMillivolts: number): number {
    const { ivNonlinearityMillivolts, readVoltageMillivolts } = this.profile;
    if (ivNonlinearityMillivolts === 0) return amplitudeMillivolts;
    return (readVoltageMillivolts * sinh(amplitudeMillivolts / ivNonlinearityMillivolts)) / sinh(readVoltageMillivolts / ivNonlinearityMillivolts);
  }

  /** What flows during a pulse, which the compliance limits; where it is 0 the driver of the line does, at what a pulse may draw in all. */
  microamperes(microsiemens: number, { amplitudeMillivolts, complianceMicroamperes }: Pulse): number {
    const microamperes = (microsiemens * this.ohmicMillivolts(amplitudeMillivolts)) / 1000;
    return Math.min(microamperes, complianceMicroamperes === 0 ? this.profile.totalCurrentMaximumMicroamperes : complianceMicroamperes);
  }
}
