import { CellDeviates, type Chance, decades, noiseStream } from './chance.js';
import type { Profile } from './profile.js';

const nanosecondsPerSecond = 1e9;
/** Cells of one population of telegraph noise dwell up to 2^7 times as long as the fastest. */
const dwellOctaves = 8;
const referenceCelsius = 25;

/**
 * What time and the neighbours make of a conductance (MODEL.md §"Time"): drift, disturb and telegraph noise, functions of the cell, of operation time and
 * of what was done to its lines. What is switched off costs nothing: `isOn` says whether anything has to be asked.
 */
export class AgeingLaw {
  readonly isOn: boolean;
  /** Whether reads and neighbours wear a conductance down. */
  readonly isDisturbing: boolean;
  private readonly isDrifting: boolean;
  private readonly isFlickering: boolean;
  private readonly accelerated: number;
  private readonly driftDeviates: CellDeviates;
  /** Cells that one operation has moved are of one age, mostly. */
  private lastDecades = { elapsed: 0, decades: 0 };
  /** All cells are looked at as of one moment. */
  private last = { now: Number.NaN, since: Number.NaN, moment: 0 };

  constructor(private readonly profile: Profile, private readonly chance: Chance) {
    const { driftMeanFractionPerDecade, driftSdFractionPerDecade, telegraphCellFraction, telegraphAmplitudeFraction } = profile;
    this.isDrifting = driftMeanFractionPerDecade !== 0 || driftSdFractionPerDecade !== 0;
    this.isFlickering = telegraphCellFraction > 0 && telegraphAmplitudeFraction > 0;
    this.isDisturbing = profile.readDisturbFractionPerSecond > 0 || profile.halfSelectDisturbFraction > 0;
    this.isOn = this.isDrifting || this.isFlickering || this.isDisturbing;
    this.driftDeviates = new CellDeviates(chance, noiseStream.drift);
    this.accelerated = 2 ** ((profile.temperatureCelsius - referenceCelsius) / profile.driftDoublingCelsius);
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
    const goesByTime = this.isFlickering || this.profile.readDisturbFractionPerSecond > 0;
    if (goesByTime || !this.isDrifting) return Math.floor(nowNanoseconds / step) * step;
    if (sinceNanoseconds === Number.NEGATIVE_INFINITY) return sinceNanoseconds;
    const age = nowNanoseconds - sinceNanoseconds;
    const grown = step * 2 ** Math.max(0, Math.floor(Math.log2(age / step)) - 3);
    return sinceNanoseconds + Math.floor(age / grown) * grown;
  }

  /**
   * What a conductance is to be multiplied with for drift, which stays: a pulse finds the cell so.
   * @param movedByPulse number of the pulse that moved it last: it names its drift
   * @param changedAtNanoseconds operation time of that pulse; −Infinity: never, it has settled long ago
   */
  driftFactor(cell: number, movedByPulse: number, changedAtNanoseconds: number, nowNanoseconds: number): number {
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

  /**
   * And for disturb, which stays as well.
   * @param drivenNanoseconds how long its bit line has been driven for reads since it was moved last
   * @param halfSelections pulses since then on other cells of its word line, whose gates were open with its own
   */
  disturbFactor(drivenNanoseconds: number, halfSelections: number): number {
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
