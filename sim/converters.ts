import { type Conversion, gainOf } from '../firmware-protocol/numerics/index.js';
import { Chance, noiseStream } from './chance.js';
import type { Profile } from './profile.js';

export interface Range {
  readonly name: string;
  readonly stepNumeratorNanosiemens: number;
  readonly stepDenominator: number;
}

const microToNano = (microsiemens: number) => Math.round(microsiemens * 1000);

/** Ranges of the converters, in the order in which requests name them. */
export function rangesOf(profile: Profile): readonly Range[] {
  if (profile.converterBits === 32) {
    return ['multiply', 'cell'].map((name) => ({ name, stepNumeratorNanosiemens: profile.cellUnitNanosiemens, stepDenominator: 1 }));
  }
  const stepDenominator = 2 ** profile.converterBits;
  return [
    { name: 'multiply', stepNumeratorNanosiemens: microToNano(profile.multiplyFullScaleMicrosiemens), stepDenominator },
    { name: 'cell', stepNumeratorNanosiemens: microToNano(profile.cellFullScaleMicrosiemens), stepDenominator },
  ];
}

/**
 * The converters of a board: source line s is read by channel s modulo their number, and no channel is quite like another (MODEL.md §"Reading"). Gain
 * and offset of a channel are a function of the chip's seed, which stands for the board as well.
 */
export class Converters {
  readonly ranges: readonly Range[];
  readonly minimumCode = 0;
  readonly maximumCode: number;
  /** Range by range, then channel by channel. */
  private readonly channels: readonly (readonly Conversion[])[];

  constructor(private readonly profile: Profile, seed: number) {
    const { converterBits, cellUnitNanosiemens, parallelConverters } = profile;
    const chance = new Chance(seed);
    this.ranges = rangesOf(profile);
    this.maximumCode = this.isExact ? 2 ** 31 - 1 : 2 ** converterBits - 1;
    this.channels = this.ranges.map(({ stepNumeratorNanosiemens, stepDenominator }) => {
      const gainQ20 = gainOf(cellUnitNanosiemens, stepNumeratorNanosiemens, stepDenominator);
      return Array.from({ length: parallelConverters }, (_, channel) => this.mismatched(gainQ20, channel, chance));
    });
  }

  /** Codes are the sums themselves. */
  get isExact(): boolean {
    return this.profile.converterBits === 32;
  }

  of(range: number, sourceLine: number): Conversion {
    return this.channels[range][sourceLine % this.profile.parallelConverters];
  }

  private mismatched(gainQ20: number, channel: number, chance: Chance): Conversion {
    const { channelGainSdFraction, channelOffsetSdCodes } = this.profile;
    const { minimumCode, maximumCode } = this;
    if (this.isExact) return { gainQ20, offset: 0, minimumCode, maximumCode };
    const gain = 1 + channelGainSdFraction * chance.normal(noiseStream.channelGain, channel);
    const offset = Math.round(channelOffsetSdCodes * chance.normal(noiseStream.channelOffset, channel));
    return { gainQ20: Math.round(gainQ20 * gain), offset, minimumCode, maximumCode };
  }
}
