import type { Pulse } from '../proto/message.js';
import { type Chance, decades, largestDeviate, noiseStream, skewed } from './chance.js';
import type { Profile } from './profile.js';

/** What became of a pristine cell under a forming pulse. */
export interface Formed {
  readonly microsiemens: number;
  /** It broke down harder than it should have, and conducts for good. */
  readonly isOver: boolean;
}

/** How much lower a voltage breaks a cell down when the pulse is longer than the reference. */
function widthGainMillivolts({ breakdownMillivoltsPerDecade, formingReferenceNanoseconds }: Profile, widthNanoseconds: number): number {
  const ratio = widthNanoseconds / formingReferenceNanoseconds;
  return breakdownMillivoltsPerDecade * (ratio >= 1 ? decades(ratio) : -decades(1 / ratio));
}

/** Whole millivolts below which no pulse forms any cell, be it as wide as the board lets it. */
export function formingFromMillivolts(profile: Profile): number {
  const { breakdownMeanMillivolts, breakdownSdMillivolts, formingWidthMaximumNanoseconds } = profile;
  const gain = widthGainMillivolts(profile, Math.max(1, formingWidthMaximumNanoseconds));
  return Math.max(0, Math.floor(breakdownMeanMillivolts - largestDeviate * breakdownSdMillivolts - gain));
}

/**
 * Electroforming (MODEL.md §"Forming"): a cell breaks down where the amplitude reaches its breakdown voltage, which falls with the width of the pulse,
 * and then conducts what the compliance lets it.
 */
export class FormingLaw {
  constructor(private readonly profile: Profile, private readonly chance: Chance) {}

  /** At the reference width. */
  breakdownMillivolts(cell: number): number {
    const { breakdownMeanMillivolts, breakdownSdMillivolts } = this.profile;
    return breakdownMeanMillivolts + breakdownSdMillivolts * this.chance.quantile(noiseStream.forming, cell);
  }

  /** Whether a cell is among those that break down first, a fraction of all. */
  isAmongFirst(cell: number, fraction: number): boolean {
    return this.chance.even(noiseStream.forming, cell) < fraction;
  }

  /** Conductance of a cell that was formed at the reference compliance, µS; may fall below 0 where the law is wide. */
  formedMicrosiemens(cell: number): number {
    const { formedMeanMicrosiemens, formedSdMicrosiemens, formedSkewness } = this.profile;
    return formedMeanMicrosiemens + formedSdMicrosiemens * skewed(this.chance.normal(noiseStream.formed, cell), formedSkewness);
  }

  /** @returns undefined where the pulse was too weak, or the cell never forms */
  form(cell: number, { amplitudeMillivolts, widthNanoseconds, complianceMicroamperes }: Pulse): Formed | undefined {
    const { profile } = this;
    if (faultOf(profile, this.chance, cell) === 'never-forms') return undefined;
    const overdrive = amplitudeMillivolts - this.breakdownMillivolts(cell) + widthGainMillivolts(profile, widthNanoseconds);
    if (overdrive < 0) return undefined;
    if (overdrive >= profile.overFormingMillivolts) return { microsiemens: profile.overFormedMicrosiemens, isOver: true };
    return { microsiemens: (this.formedMicrosiemens(cell) * complianceMicroamperes) / profile.complianceReferenceMicroamperes, isOver: false };
  }
}

/** What is wrong with a cell from the beginning. */
export type Fault = 'none' | 'never-forms' | 'stuck-on' | 'stuck-off';

/** A function of the chip's seed: the same cells are faulty whatever was done to the chip. */
export function faultOf(profile: Profile, chance: Chance, cell: number): Fault {
  const { neverFormsFraction, stuckOnFraction, stuckOffFraction } = profile;
  if (neverFormsFraction + stuckOnFraction + stuckOffFraction === 0) return 'none';
  const draw = chance.even(noiseStream.fault, cell);
  if (draw < neverFormsFraction) return 'never-forms';
  if (draw < neverFormsFraction + stuckOnFraction) return 'stuck-on';
  return draw < neverFormsFraction + stuckOnFraction + stuckOffFraction ? 'stuck-off' : 'none';
}
