import { CellDeviates, type Chance, decades, noiseStream } from './chance.js';
import type { Profile } from './profile.js';

const nanosecondsPerSecond = 1e9;
/** Cells of one population of telegraph noise dwell up to 2^7 times as long as the fastest. */
const dwellOctaves = 8;
const referenceCelsius = 25;

/** When a pulse last moved a cell, and what it was under since. */
export interface CellAge {
  readonly cell: number;
  /** Number of the pulse that moved it last: it names its drift. */
  readonly movedByPulse: number;
  /** Operation time of that pulse; −Infinity: never, it has settled long ago. */
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
  private readonly driftDeviates: CellDeviates;
  /** Cells that one operation has moved are of one age, mostly. */
  private lastDecades = { elapsed: 0, decades: 0 };
  /** All cells are looked at as of one moment. */
  private last = { now: Number.NaN, since: Number.NaN, moment: 0 };

  constructor(private readonly profile: Profile, private readonly chance: Chance) {
    this.driftDeviates = new CellDeviates(chance, noiseStream.drift);
    this.accelerated = 2 ** ((profile.temperatureCelsius - referenceCelsius) / profile.driftDoublingCelsius);
  }

  get isOn(): boolean {
    const { readDisturbFractionPerSecond, halfSelectDisturbFraction } = this.profile;
    return this.isDrifting || this.isFlickering || readDisturbFractionPerSecond > 0 || halfSelectDisturbFraction > 0;
  }

  private get isOnlyDrifting(): boolean {
    return this.isDrifting && !this.isFlickering && this.profile.readDisturbFractionPerSecond === 0;
  }

  /**
   * The moment as of which slow states count at some time: the profile's step apart. Drift goes with the logarithm of time, so where nothing else is on,
   * the steps grow to an eighth of the time since the last pulse, which is 5 % of a decade's drift.
   * @param sinceNanoseconds when a pulse last moved any cell; −Infinity: never
   */
  momentNanoseconds(nowNanoseconds: number, sinceNanoseconds: number): number {
    const { last } = this;
    if (last.now !== nowNanoseconds || last.since !== sinceNanoseconds) {
      this.last = { now: nowNanoseconds, since: sinceNanoseconds, moment: this.workOutMoment(nowNanoseconds, sinceNanoseconds) };
    }
    return this.last.moment;
  }

  private workOutMoment(nowNanoseconds: number, sinceNanoseconds: number): number {
    const step = this.profile.ageingStepNanoseconds;
    if (!this.isOnlyDrifting) return Math.floor(nowNanoseconds / step) * step;
    if (sinceNanoseconds === Number.NEGATIVE_INFINITY) return sinceNanoseconds;
    const age = nowNanoseconds - sinceNanoseconds;
    const grown = step * 2 ** Math.max(0, Math.floor(Math.log2(age / step)) - 3);
    return sinceNanoseconds + Math.floor(age / grown) * grown;
  }

  /** What a conductance is to be multiplied with for what stays: a pulse finds the cell so. */
  lastingFactor(age: CellAge, nowNanoseconds: number): number {
    return this.driftFactor(age, nowNanoseconds) * this.disturbFactor(age);
  }

  private get isDrifting(): boolean {
    return this.profile.driftMeanFractionPerDecade !== 0 || this.profile.driftSdFractionPerDecade !== 0;
  }

  private get isFlickering(): boolean {
    return this.profile.telegraphCellFraction > 0 && this.profile.telegraphAmplitudeFraction > 0;
  }

  private driftFactor({ cell, movedByPulse, changedAtNanoseconds }: CellAge, nowNanoseconds: number): number {
    const { driftMeanFractionPerDecade, driftSdFractionPerDecade, driftReferenceNanoseconds } = this.profile;
    if (!this.isDrifting || changedAtNanoseconds === Number.NEGATIVE_INFINITY) return 1;
    const rate = driftMeanFractionPerDecade + driftSdFractionPerDecade * this.driftDeviates.of(cell, movedByPulse);
    const elapsed = ((nowNanoseconds - changedAtNanoseconds) * this.accelerated) / driftReferenceNanoseconds;
    return Math.max(0, 1 - rate * this.decadesAfter(Math.max(0, elapsed)));
  }

  private decadesAfter(elapsed: number): number {
    if (this.lastDecades.elapsed !== elapsed) this.lastDecades = { elapsed, decades: decades(1 + elapsed) };
    return this.lastDecades.decades;
  }

  private disturbFactor({ drivenNanoseconds, halfSelections }: CellAge): number {
    const { readDisturbFractionPerSecond, halfSelectDisturbFraction } = this.profile;
    const read = (readDisturbFractionPerSecond * drivenNanoseconds) / nanosecondsPerSecond;
    return Math.max(0, 1 - read - halfSelectDisturbFraction * halfSelections);
  }

  /** And for what comes and goes. */
  passingFactor(cell: number, nowNanoseconds: number): number {
    const { telegraphCellFraction, telegraphAmplitudeFraction, telegraphDwellNanoseconds } = this.profile;
    if (!this.isFlickering) return 1;
    const draw = this.chance.even(noiseStream.telegraphCell, cell);
    if (draw >= telegraphCellFraction) return 1;
    const octave = Math.floor((draw / telegraphCellFraction) * dwellOctaves);
    const epoch = Math.floor(nowNanoseconds / (telegraphDwellNanoseconds * 2 ** octave));
    return this.chance.even(noiseStream.telegraphState, cell, epoch) < 0.5 ? 1 : 1 - telegraphAmplitudeFraction;
  }
}
