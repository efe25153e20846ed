import { MacroError } from '../proto/error.js';
import { type ProfileChoices, profileChoices, type ProfileField, type ProfileFieldName, profileFields } from './profile-fields.js';

/** The parameters of a simulated chip and board. MODEL.md gives the source or the reason of every value. */
export type Profile = Readonly<Record<ProfileFieldName, number>> & ProfileChoices & {
  readonly name: string;
  /** Conductance of one step of a cell's 16-bit code. */
  readonly cellUnitNanosiemens: number;
  /** How the cells of a formed chip are drawn: one by one, or as pairs of neighbours with a stated difference. */
  readonly formedLaw: 'cells' | 'pairs';
  /** Whether a bundle's weights become cells without rounding or residual (DESIGN §5, `ideal`). */
  readonly exactSnapshots: boolean;
  /** 32: exact sums; otherwise unsigned codes of so many bits. */
  readonly converterBits: number;
};

const labHalf: Profile = {
  name: 'lab-half',
  cellUnitNanosiemens: 4,
  formedLaw: 'cells',
  formingYieldFraction: 0.5,
  formedMeanMicrosiemens: 12.34,
  formedSdMicrosiemens: 1.84,
  formedSkewness: 0.54,
  breakdownMeanMillivolts: 3433,
  breakdownSdMillivolts: 114,
  breakdownMillivoltsPerDecade: 100,
  formingReferenceNanoseconds: 1000,
  complianceReferenceMicroamperes: 50,
  overFormingMillivolts: 700,
  overFormedMicrosiemens: 1000,
  neverFormsFraction: 0,
  stuckOnFraction: 0.002,
  stuckOffFraction: 0,
  resetThresholdMillivolts: 1000,
  resetThresholdSdMillivolts: 60,
  resetSpanMillivolts: 600,
  setThresholdMillivolts: 900,
  setThresholdSdMillivolts: 60,
  setSpanMillivolts: 600,
  switchingJitterMillivolts: 20,
  setCellVarianceFraction: 0.3,
  enduranceCycles: 0,
  enduranceSdFraction: 0.2,
  driftMeanFractionPerDecade: 0.001,
  driftSdFractionPerDecade: 0.002,
  driftReferenceNanoseconds: 1000,
  temperatureCelsius: 25,
  driftDoublingCelsius: 10,
  telegraphCellFraction: 0,
  telegraphAmplitudeFraction: 0,
  telegraphDwellNanoseconds: 1_000_000_000,
  readDisturbFractionPerSecond: 0,
  halfSelectDisturbFraction: 0,
  wordLines: 'along-bit-lines',
  ageingStepNanoseconds: 100_000_000,
  pairDifferenceSdMicrosiemens: 6.352,
  pairMeanSdMicrosiemens: 3.18,
  exactSnapshots: false,
  residualMeanMicrosiemens: 0.5,
  residualSdMicrosiemens: 0.3,
  readNoiseFraction: 0.02,
  readNoiseSpread: 0.26,
  converterBits: 14,
  multiplyFullScaleMicrosiemens: 2500,
  cellFullScaleMicrosiemens: 102.4,
  ivNonlinearityMillivolts: 0,
  readVoltageMillivolts: 100,
  settlingNanoseconds: 2000,
  conversionNanoseconds: 20_000,
  parallelConverters: 8,
  channelGainSdFraction: 0.002,
  channelOffsetSdCodes: 0.5,
  conversionEnergyFemtojoules: 500_000_000,
  lineResistanceOhmsPerCell: 0,
  multiplexerResistanceOhms: 0,
  formingAmplitudeMaximumMillivolts: 4000,
  formingWidthMaximumNanoseconds: 1_000_000,
  formingPulsesPerCellMaximum: 256,
  setAmplitudeMaximumMillivolts: 2500,
  setWidthMaximumNanoseconds: 1_000_000,
  setPulsesPerCellMaximum: 20,
  resetAmplitudeMaximumMillivolts: 2500,
  resetWidthMaximumNanoseconds: 1_000_000,
  resetPulsesPerCellMaximum: 100,
  complianceMaximumMicroamperes: 200,
  totalCurrentMaximumMicroamperes: 1000,
  temperatureMinimumCelsius: 10,
  temperatureMaximumCelsius: 40,
};

const labFull: Profile = { ...labHalf, name: 'lab-full', formingYieldFraction: 1 };
/** What the published bundle assumes: nothing of a cell is uncertain but what PRIME §6 states. */
const labPaper: Profile = {
  ...labHalf,
  name: 'lab-paper',
  formedLaw: 'pairs',
  formingYieldFraction: 1,
  formedSkewness: 0,
  stuckOnFraction: 0,
  driftMeanFractionPerDecade: 0,
  driftSdFractionPerDecade: 0,
  readNoiseSpread: 0,
  channelGainSdFraction: 0,
  channelOffsetSdCodes: 0,
};
const ideal: Profile = {
  ...labPaper,
  name: 'ideal',
  cellUnitNanosiemens: 1,
  exactSnapshots: true,
  residualMeanMicrosiemens: 0,
  residualSdMicrosiemens: 0,
  resetThresholdMillivolts: 0,
  resetThresholdSdMillivolts: 0,
  resetSpanMillivolts: 1,
  setThresholdMillivolts: 0,
  setThresholdSdMillivolts: 0,
  setSpanMillivolts: 1,
  switchingJitterMillivolts: 0,
  breakdownSdMillivolts: 0,
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

function checkChoice(field: keyof ProfileChoices, value: unknown): unknown {
  const choices: readonly unknown[] = profileChoices[field].choices;
  if (!choices.includes(value)) throw new MacroError('BAD_PROFILE', `${field} is ${JSON.stringify(value)}; it is ${choices.join(' or ')}`, { field });
  return value;
}

function checkField(field: string, value: unknown): unknown {
  if (Object.hasOwn(profileChoices, field)) return checkChoice(field as keyof ProfileChoices, value);
  if (!Object.hasOwn(profileFields, field)) {
    throw new MacroError('BAD_PROFILE', `"${field}" is not a field of a profile`, { field });
  }
  const { minimum, maximum, integer }: ProfileField = profileFields[field as ProfileFieldName];
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
