import type { Pulse } from '../proto/message.js';
import { type Chance, largestDeviate, noiseStream, skewed } from './chance.js';
import { faultOf } from './forming.js';
import type { Profile } from './profile.js';

/** What a SET or RESET needs to know of a cell that was formed. */
export interface SwitchedCell {
  readonly cell: number;
  readonly microsiemens: number;
  /** Pulses of every kind that it has had, this one included: they name its draws. */
  readonly pulses: number;
  /** SET and RESET pulses among them. */
  readonly cycles: number;
}

/** Whole millivolts below which no SET, or no RESET, moves any cell: neither its threshold nor its jitter deviates further. */
export function switchingFromMillivolts(kind: 'set' | 'reset', profile: Profile): number {
  const [mean, sd] = kind === 'set'
    ? [profile.setThresholdMillivolts, profile.setThresholdSdMillivolts]
    : [profile.resetThresholdMillivolts, profile.resetThresholdSdMillivolts];
  return Math.max(0, Math.floor(mean - largestDeviate * (sd + profile.switchingJitterMillivolts)));
}

/**
 * SET and RESET (MODEL.md §"SET and RESET"): below its threshold a cell does not move, above the span it moves all the way, and in between by a
 * part of it. Every pulse that moves it all the way draws anew.
 */
export class SwitchingLaw {
  constructor(private readonly profile: Profile, private readonly chance: Chance) {}

  /** @returns conductance after a RESET pulse, µS; undefined where it did not move the cell */
  reset(before: SwitchedCell, { amplitudeMillivolts }: Pulse): number | undefined {
    const { profile, chance } = this;
    const { cell, microsiemens, pulses } = before;
    if (this.isStuck(before, 'stuck-on')) return undefined;
    const threshold = profile.resetThresholdMillivolts + profile.resetThresholdSdMillivolts * chance.normal(noiseStream.resetThreshold, cell);
    const part = this.partMoved(before, amplitudeMillivolts - threshold, profile.resetSpanMillivolts);
    if (part === 0) return undefined;
    const residual = profile.residualMeanMicrosiemens + profile.residualSdMicrosiemens * chance.normal(noiseStream.residual, cell, pulses);
    if (part === 1) return residual;
    return microsiemens > residual ? microsiemens + part * (residual - microsiemens) : undefined;
  }

  /** @returns conductance after a SET pulse, µS; undefined where it did not move the cell */
  set(before: SwitchedCell, { amplitudeMillivolts, complianceMicroamperes }: Pulse): number | undefined {
    const { profile, chance } = this;
    const { cell, microsiemens } = before;
    if (this.isStuck(before, 'stuck-off')) return undefined;
    const threshold = profile.setThresholdMillivolts + profile.setThresholdSdMillivolts * chance.normal(noiseStream.setThreshold, cell);
    const part = this.partMoved(before, amplitudeMillivolts - threshold, profile.setSpanMillivolts);
    if (part === 0) return undefined;
    const wanted = (this.setMicrosiemens(before) * complianceMicroamperes) / profile.complianceReferenceMicroamperes;
    if (part === 1) return wanted;
    return microsiemens < wanted ? microsiemens + part * (wanted - microsiemens) : undefined;
  }

  /** What a full SET at the reference compliance leaves: partly the cell's own, partly the pulse's. */
  private setMicrosiemens({ cell, pulses }: SwitchedCell): number {
    const { formedMeanMicrosiemens, formedSdMicrosiemens, formedSkewness, setCellVarianceFraction } = this.profile;
    const own = Math.sqrt(setCellVarianceFraction) * this.chance.normal(noiseStream.setCell, cell);
    const fresh = Math.sqrt(1 - setCellVarianceFraction) * this.chance.normal(noiseStream.setPulse, cell, pulses);
    return formedMeanMicrosiemens + formedSdMicrosiemens * skewed(own + fresh, formedSkewness);
  }

  /** How far a cell moves, from 0 to 1; from pulse to pulse it is not the same. */
  private partMoved({ cell, pulses }: SwitchedCell, overdriveMillivolts: number, spanMillivolts: number): number {
    const { switchingJitterMillivolts } = this.profile;
    const jitter = switchingJitterMillivolts === 0 ? 0 : switchingJitterMillivolts * this.chance.normal(noiseStream.switching, cell, pulses);
    return Math.min(1, Math.max(0, (overdriveMillivolts + jitter) / spanMillivolts));
  }

  /** From the beginning, or because it is worn out. */
  private isStuck({ cell, cycles }: SwitchedCell, fault: 'stuck-on' | 'stuck-off'): boolean {
    const { enduranceCycles, enduranceSdFraction } = this.profile;
    if (faultOf(this.profile, this.chance, cell) === fault) return true;
    if (enduranceCycles === 0) return false;
    return cycles > enduranceCycles * (1 + enduranceSdFraction * this.chance.normal(noiseStream.endurance, cell));
  }
}
