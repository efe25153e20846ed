import { sourceLineCount } from '../firmware-protocol/limits.js';
import { MacroError } from '../proto/error.js';

/** The parameters of a simulated chip and board. MODEL.md gives the source or the reason of every value. */
export interface Profile {
  readonly name: string;
  /** Conductance of one step of a cell's 16-bit code. */
  readonly cellUnitNanosiemens: number;
  /** How the cells of a formed chip are drawn: one by one, or as pairs of neighbours with a stated difference. */
  readonly formedLaw: 'cells' | 'pairs';
  readonly formingYieldFraction: number;
  readonly formedMeanMicrosiemens: number;
  readonly formedSdMicrosiemens: number;
  readonly pairDifferenceSdMicrosiemens: number;
  readonly pairMeanSdMicrosiemens: number;
  /** Whether a bundle's weights become cells without rounding or residual (DESIGN §5, `ideal`). */
  readonly exactSnapshots: boolean;
  readonly residualMeanMicrosiemens: number;
  readonly residualSdMicrosiemens: number;
  /** Standard deviation of a cell's read noise, as a fraction of its conductance. */
  readonly readNoiseFraction: number;
  /** 32: exact sums; otherwise unsigned codes of so many bits. */
  readonly converterBits: number;
  readonly multiplyFullScaleMicrosiemens: number;
  readonly cellFullScaleMicrosiemens: number;
  readonly readVoltageMillivolts: number;
  readonly settlingNanoseconds: number;
  readonly conversionNanoseconds: number;
  readonly parallelConverters: number;
  readonly conversionEnergyFemtojoules: number;
  /** Of the wire from one cell to the next, along bit lines and along source lines; 0: none. */
  readonly lineResistanceOhmsPerCell: number;
  /** In series with each bit line at its driven end; 0: none. */
  readonly multiplexerResistanceOhms: number;
  /** Envelope of the board: a RESET outside it is refused. */
  readonly resetAmplitudeMaximumMillivolts: number;
  readonly resetWidthMaximumNanoseconds: number;
  readonly resetPulsesPerCellMaximum: number;
}

const labHalf: Profile = {
  name: 'lab-half',
  cellUnitNanosiemens: 4,
  formedLaw: 'cells',
  formingYieldFraction: 0.5,
  formedMeanMicrosiemens: 12.34,
  formedSdMicrosiemens: 1.84,
  pairDifferenceSdMicrosiemens: 6.352,
  pairMeanSdMicrosiemens: 3.18,
  exactSnapshots: false,
  residualMeanMicrosiemens: 0.5,
  residualSdMicrosiemens: 0.3,
  readNoiseFraction: 0.02,
  converterBits: 14,
  multiplyFullScaleMicrosiemens: 2500,
  cellFullScaleMicrosiemens: 102.4,
  readVoltageMillivolts: 100,
  settlingNanoseconds: 2000,
  conversionNanoseconds: 20_000,
  parallelConverters: 8,
  conversionEnergyFemtojoules: 500_000_000,
  lineResistanceOhmsPerCell: 0,
  multiplexerResistanceOhms: 0,
  resetAmplitudeMaximumMillivolts: 2500,
  resetWidthMaximumNanoseconds: 1_000_000,
  resetPulsesPerCellMaximum: 100,
};

const labFull: Profile = { ...labHalf, name: 'lab-full', formingYieldFraction: 1 };
const labPaper: Profile = { ...labHalf, name: 'lab-paper', formedLaw: 'pairs', formingYieldFraction: 1 };
const ideal: Profile = {
  ...labPaper,
  name: 'ideal',
  cellUnitNanosiemens: 1,
  exactSnapshots: true,
  residualMeanMicrosiemens: 0,
  residualSdMicrosiemens: 0,
  readNoiseFraction: 0,
  converterBits: 32,
};

const quiet = (profile: Profile): Profile => ({ ...profile, name: `${profile.name}-quiet`, readNoiseFraction: 0 });

const profiles: ReadonlyMap<string, Profile> = new Map(
  [ideal, labHalf, labFull, labPaper, quiet(labHalf), quiet(labFull), quiet(labPaper)].map((profile) => [profile.name, profile]),
);
const aliases: ReadonlyMap<string, string> = new Map([['lab', 'lab-half'], ['lab-quiet', 'lab-half-quiet']]);

export const profileNames: readonly string[] = [...profiles.keys(), ...aliases.keys()];

/** @throws MacroError BAD_PROFILE */
export function profileNamed(name: string): Profile {
  const profile = profiles.get(aliases.get(name) ?? name);
  if (profile === undefined) throw new MacroError('BAD_PROFILE', `there is no profile "${name}"; there are ${profileNames.join(', ')}`, { field: 'profile' });
  return profile;
}

interface Bounds {
  readonly minimum: number;
  readonly maximum: number;
  readonly integer?: true;
}

/** What a profile file may set, and how far. Names and exactness are not parameters of physics. */
const bounds: Readonly<Record<string, Bounds>> = {
  formingYieldFraction: { minimum: 0, maximum: 1 },
  formedMeanMicrosiemens: { minimum: 0, maximum: 100 },
  formedSdMicrosiemens: { minimum: 0, maximum: 50 },
  pairDifferenceSdMicrosiemens: { minimum: 0, maximum: 50 },
  pairMeanSdMicrosiemens: { minimum: 0, maximum: 50 },
  residualMeanMicrosiemens: { minimum: 0, maximum: 50 },
  residualSdMicrosiemens: { minimum: 0, maximum: 50 },
  readNoiseFraction: { minimum: 0, maximum: 1 },
  multiplyFullScaleMicrosiemens: { minimum: 100, maximum: 100_000 },
  cellFullScaleMicrosiemens: { minimum: 70, maximum: 1000 },
  readVoltageMillivolts: { minimum: 1, maximum: 500, integer: true },
  settlingNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  conversionNanoseconds: { minimum: 1, maximum: 1e9, integer: true },
  parallelConverters: { minimum: 1, maximum: sourceLineCount, integer: true },
  conversionEnergyFemtojoules: { minimum: 0, maximum: 1e12, integer: true },
  lineResistanceOhmsPerCell: { minimum: 0, maximum: 100 },
  multiplexerResistanceOhms: { minimum: 0, maximum: 1000 },
  resetAmplitudeMaximumMillivolts: { minimum: 0, maximum: 5000, integer: true },
  resetWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  resetPulsesPerCellMaximum: { minimum: 0, maximum: 1e6, integer: true },
};

function checkField(field: string, value: unknown): number {
  const bound = bounds[field];
  if (bound === undefined) {
    throw new MacroError('BAD_PROFILE', `"${field}" is not a field of a profile; fields are ${Object.keys(bounds).join(', ')}`, { field });
  }
  const { minimum, maximum, integer } = bound;
  const isNumber = typeof value === 'number' && value >= minimum && value <= maximum && (integer !== true || Number.isInteger(value));
  if (!isNumber) {
    const kind = integer === true ? 'an integer' : 'a number';
    throw new MacroError('BAD_PROFILE', `${field} is ${JSON.stringify(value)}; it is ${kind} from ${minimum} to ${maximum}`, { field });
  }
  return value;
}

/**
 * A profile with some fields replaced, as a profile file states them.
 * @throws MacroError BAD_PROFILE, naming the field and its range
 */
export function overrideProfile(profile: Profile, overrides: unknown): Profile {
  if (typeof overrides !== 'object' || overrides === null || Array.isArray(overrides)) {
    throw new MacroError('BAD_PROFILE', 'a profile file holds one JSON object');
  }
  const checked = Object.fromEntries(Object.entries(overrides).map(([field, value]) => [field, checkField(field, value)]));
  return { ...profile, ...checked };
}
