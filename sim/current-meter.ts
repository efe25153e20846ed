import { sourceLineCount } from '../firmware-protocol/limits.js';
import { convert, type GaussianStream } from '../firmware-protocol/numerics/index.js';
import type { CurrentRange, Pulse } from '../proto/message.js';
import { type Chip, topCode } from './chip.js';
import type { ConductionLaw } from './conduction.js';
import type { Converters } from './converters.js';
import type { ReadNoise } from './read-noise.js';

/** A current that was converted while a cell was under bias. */
export interface CellCurrent {
  readonly nanoamperes: number;
  /** Index into the ranges of the meter. */
  readonly range: number;
  readonly isSaturated: boolean;
}

/** Ranges of the converters by their numbers, the finest first: that of single cells, that of multiplies. */
const converterRanges = [1, 0] as const;
/** Fractional bits of a sum, as of the noise that is added to it. */
const sumUnit = 256;
/** Above it a sum is not converted exactly (NUMERICS.md); no range reaches so far. */
const largestSum = (2 ** 25 - 1) * sumUnit;

/**
 * The converters of the board as a meter of the current of one cell under any voltage. Their ranges are of conductance at the read voltage, and so of current:
 * a current is converted as the sum, in 1/256 of a cell unit, that would flow as much at the read voltage.
 */
export class CurrentMeter {
  private readonly deviates = new Int32Array(4);

  constructor(
    private readonly chip: Chip, private readonly converters: Converters, private readonly conduction: ConductionLaw,
    private readonly noise: ReadNoise, private readonly stream: GaussianStream,
  ) {}

  get ranges(): CurrentRange[] {
    return converterRanges.map((range) => {
      const { stepNumeratorNanosiemens, stepDenominator } = this.converters.ranges[range];
      const resolutionPicoamperes = Math.round((stepNumeratorNanosiemens * this.chip.profile.readVoltageMillivolts) / stepDenominator);
      return { fullScaleNanoamperes: this.nanoamperesOf(this.converters.maximumCode, range), resolutionPicoamperes };
    });
  }

  /** How long a cell has to be under bias: its lines settle, and every range may have to be tried. */
  get leastNanoseconds(): number {
    const { settlingNanoseconds, conversionNanoseconds } = this.chip.profile;
    return settlingNanoseconds + converterRanges.length * conversionNanoseconds;
  }

  /**
   * Converts what flows under a pulse, in the finest range that holds it. A current that the compliance limits has none of the cell's noise.
   * @param code what the cell conducts, as the converters meet it
   */
  read(cell: number, code: number, pulse: Pulse): CellCurrent {
    const { readVoltageMillivolts, cellUnitNanosiemens } = this.chip.profile;
    const ohmicMillivolts = this.conduction.ohmicMillivolts(pulse.amplitudeMillivolts);
    const flowing = code === topCode ? Number.POSITIVE_INFINITY : Math.round((sumUnit * code * ohmicMillivolts) / readVoltageMillivolts);
    const limit = Math.round((sumUnit * pulse.complianceMicroamperes * 1e6) / (readVoltageMillivolts * cellUnitNanosiemens));
    const sum = Math.min(flowing, limit, largestSum);
    const sigma = sum === flowing ? this.noise.cellSigma(this.chip.noiseSquare(cell, Math.round(sum / sumUnit))) : 0;
    this.deviates.fill(0);
    if (sigma > 0) this.stream.four(this.chip.operationCount, cell, 0, 0, this.deviates, 0);
    return this.convert(sum, sigma, cell % sourceLineCount);
  }

  /** @param sum in 1/256 of a cell unit */
  private convert(sum: number, sigma: number, sourceLine: number): CellCurrent {
    const { minimumCode, maximumCode } = this.converters;
    for (let range = 0; ; range += 1) {
      const { gainQ20, offset } = this.converters.of(converterRanges[range], sourceLine);
      const code = convert(0, sum + this.noise.ofCell(sigma, this.deviates[range]), gainQ20, offset);
      const isSaturated = code >= maximumCode;
      if (isSaturated && range + 1 < converterRanges.length) continue;
      const nanoamperes = this.nanoamperesOf(Math.min(maximumCode, Math.max(minimumCode, code)), converterRanges[range]);
      return { nanoamperes, range, isSaturated };
    }
  }

  private nanoamperesOf(adcCode: number, range: number): number {
    const { stepNumeratorNanosiemens, stepDenominator } = this.converters.ranges[range];
    return Math.round((adcCode * stepNumeratorNanosiemens * this.chip.profile.readVoltageMillivolts) / (1000 * stepDenominator));
  }
}
