import { type Chance, decades, noiseStream } from './chance.js';
import type { Profile } from './profile.js';

const nanosecondsPerSecond = 1e9;
/** Cells of one population of telegraph noise dwell up to 2^7 times as long as the fastest. */
const dwellOctaves = 8;
const referenceCelsius = 25;

/** When a cell was last pulsed, and what it was under since. */
export interface CellAge {
  readonly cell: number;
  /** Pulses of every kind that it had. */
  readonly pulses: number;
  /** Operation time of the last pulse; −Infinity: never, it has settled long ago. */
  readonly changedAtNanoseconds: number;
  /** How long its bit line has been driven for reads since. */
  readonly drivenNanoseconds: number;
  /** Pulses since then on other cells of its word line, whose gates were open with its own. */
  readonly halfSelections: number;
}

/**
 * What time and the neighbours make of a conductance (MODEL.md §"Time"): drift, disturb and telegraph noise, functions of the cell, of operation time and
 * of what was done to its lines. What is switched off costs nothing: `isOn` says whether anything has to be asked.
 */
export class AgeingLaw {
  private readonly accelerated: number;

  constructor(private readonly profile: Profile, private readonly chance: Chance) {
    this.accelerated = 2 ** ((profile.temperatureCelsius - referenceCelsius) / profile.driftDoublingCelsius);
  }

  get isOn(): boolean {
    const { readDisturbFractionPerSecond, halfSelectDisturbFraction } = this.profile;
    return this.isDrifting || this.isFlickering || readDisturbFractionPerSecond > 0 || halfSelectDisturbFraction > 0;
  }

  /** How long nothing changes of itself, at most; Infinity where only reads and pulses change anything. */
  get stepNanoseconds(): number {
    return this.isFlickering ? this.profile.telegraphDwellNanoseconds : Number.POSITIVE_INFINITY;
  }

  /** What a conductance is to be multiplied with. */
  factor(age: CellAge, nowNanoseconds: number): number {
    return this.driftFactor(age, nowNanoseconds) * this.disturbFactor(age) * this.telegraphFactor(age.cell, nowNanoseconds);
  }

  private get isDrifting(): boolean {
    return this.profile.driftMeanFractionPerDecade !== 0 || this.profile.driftSdFractionPerDecade !== 0;
  }

  private get isFlickering(): boolean {
    return this.profile.telegraphCellFraction > 0 && this.profile.telegraphAmplitudeFraction > 0;
  }

  private driftFactor({ cell, pulses, changedAtNanoseconds }: CellAge, nowNanoseconds: number): number {
    const { driftMeanFractionPerDecade, driftSdFractionPerDecade, driftReferenceNanoseconds } = this.profile;
    if (!this.isDrifting || changedAtNanoseconds === Number.NEGATIVE_INFINITY) return 1;
    const rate = driftMeanFractionPerDecade + driftSdFractionPerDecade * this.chance.normal(noiseStream.drift, cell, pulses);
    const elapsed = ((nowNanoseconds - changedAtNanoseconds) * this.accelerated) / driftReferenceNanoseconds;
    return Math.max(0, 1 - rate * decades(1 + Math.max(0, elapsed)));
  }

  private disturbFactor({ drivenNanoseconds, halfSelections }: CellAge): number {
    const { readDisturbFractionPerSecond, halfSelectDisturbFraction } = this.profile;
    const read = (readDisturbFractionPerSecond * drivenNanoseconds) / nanosecondsPerSecond;
    return Math.max(0, 1 - read - halfSelectDisturbFraction * halfSelections);
  }

  private telegraphFactor(cell: number, nowNanoseconds: number): number {
    const { telegraphCellFraction, telegraphAmplitudeFraction, telegraphDwellNanoseconds } = this.profile;
    if (!this.isFlickering) return 1;
    const draw = this.chance.even(noiseStream.telegraphCell, cell);
    if (draw >= telegraphCellFraction) return 1;
    const octave = Math.floor((draw / telegraphCellFraction) * dwellOctaves);
    const epoch = Math.floor(nowNanoseconds / (telegraphDwellNanoseconds * 2 ** octave));
    return this.chance.even(noiseStream.telegraphState, cell, epoch) < 0.5 ? 1 : 1 - telegraphAmplitudeFraction;
  }
}
